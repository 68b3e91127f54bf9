//! With the claim in hand: run the command, then end the claim as the command's ending says.

use std::fmt::Display;
use std::io;

use idempotency_ledger::{Claim, EndingError, Response};
use rustix::io::{FdFlags, fcntl_setfd};

use crate::exit::{Exit, Failure};
use crate::location::Location;
use crate::speak::say;

use super::capture::Ending;
use super::child::{Finished, Running, code_of_failed_start};
use super::plan::Plan;
use super::signals::Signals;
use super::status_file::{Account, Outcome, Reason};
use super::verdict::Verdict;

/// The label of the key that the command may hand on to what it calls.
const CHILD_KEY_LABEL: &str = "idem";
/// A lease is renewed so many times within its span, so that two renewals may fail.
const RENEWALS_PER_LEASE: u32 = 3;

/// Runs the command under the claim.
pub(crate) fn run(plan: &Plan, claim: Claim, location: &Location) -> Result<Account, Failure> {
    let running = match start(plan, &claim) {
        Ok(running) => running,
        Err(not_started) => return Ok(release_unstarted(claim, not_started)),
    };
    let mut lease = Lease::Held;
    let period = claim.lease() / RENEWALS_PER_LEASE;
    let finished = running.supervise(plan.recorder(), period, || lease.renew(&claim));
    let finished = finished.map_err(|error| {
        Failure::storage(format!(
            "the command's ending is not known: {error}\n{}",
            plan.identity.resolve_lines(location, claim.fence())
        ))
    })?;
    Ok(end(plan, claim, finished, lease, location))
}

/// Why the command surely did not run.
struct NotStarted {
    exit: Exit,
    why: String,
}

impl NotStarted {
    fn new(exit: Exit, what: impl Display, error: impl Display) -> Self {
        Self {
            exit,
            why: format!("{what}: {error}"),
        }
    }
}

fn start(plan: &Plan, claim: &Claim) -> Result<Running, NotStarted> {
    let storage = |what| move |error: io::Error| NotStarted::new(Exit::Storage, what, error);
    let mut early = Signals::watch_early().map_err(storage("signals"))?;
    let run_lock = claim
        .run_lock()
        .map_err(|error| NotStarted::new(Exit::Storage, "the run's lock", error))?;
    // The command keeps this descriptor open, so the lock lives exactly as long as the command
    // and whatever it leaves behind, with or without `idem`.
    fcntl_setfd(&run_lock, FdFlags::empty())
        .map_err(|error| NotStarted::new(Exit::Storage, "the run's lock", error))?;
    let mut command = plan.command().map_err(storage("standard input"))?;
    command
        .env("IDEM_KEY", plan.identity.key().as_str())
        .env("IDEM_CHILD_KEY", claim.child_key(CHILD_KEY_LABEL).as_str())
        .env("IDEM_FENCE", claim.fence().to_string())
        .env("IDEM_ATTEMPT", claim.attempt().to_string());
    if let Some(received) = early.as_mut().and_then(Signals::pending) {
        let exit = Exit::Command(received.exit_code());
        return Err(NotStarted::new(
            exit,
            "stopped by a signal",
            received.signal,
        ));
    }
    Running::start(&mut command, early).map_err(|error| {
        let exit = Exit::Command(code_of_failed_start(&error));
        NotStarted::new(exit, plan.first_word(), error)
    })
}

fn release_unstarted(claim: Claim, not_started: NotStarted) -> Account {
    let NotStarted { exit, why } = not_started;
    say(format_args!("the command was not started: {why}"));
    let account = Account::new(Outcome::Released, exit)
        .because(Reason::NotStarted)
        .of_attempt(claim.fence(), claim.attempt());
    match claim.release() {
        Ok(()) => account,
        Err(failed) => {
            say(format_args!(
                "the key could not be released: {}",
                failed.error
            ));
            Account {
                outcome: Outcome::Unknown,
                ..account
            }
        }
    }
}

/// Whether the claim is still this call's.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Lease {
    Held,
    Superseded,
}

impl Lease {
    fn renew(&mut self, claim: &Claim) {
        if *self == Self::Superseded {
            return;
        }
        match claim.renew() {
            Ok(_) => {}
            Err(EndingError::Superseded) => {
                *self = Self::Superseded;
                say(
                    "another call has taken the key over; the command goes on, but its result \
                     will not be stored",
                );
            }
            // The next renewal comes before the lease is over, and then it may work again.
            Err(error) => say(format_args!("the lease was not renewed: {error}")),
        }
    }
}

fn end(
    plan: &Plan,
    claim: Claim,
    finished: Finished,
    lease: Lease,
    location: &Location,
) -> Account {
    let Finished {
        ending,
        recorder,
        display_failure,
    } = finished;
    let account = Account::new(Outcome::Completed, Exit::Command(ending.code()))
        .of_attempt(claim.fence(), claim.attempt())
        .with_child(ending);
    let account = match (lease, plan.reading.verdict(ending)) {
        (Lease::Superseded, _) => not_stored(account, &EndingError::Superseded),
        (Lease::Held, Verdict::Complete) => {
            complete(claim, recorder.finish(ending).encode(), account)
        }
        (Lease::Held, Verdict::Release) => release(claim, account),
        (Lease::Held, Verdict::Interrupt) => interrupt(plan, claim, ending, account, location),
    };
    match display_failure {
        Some(error) => {
            say(format_args!("the output could not be written: {error}"));
            // A success that was not shown whole is none yet; the retry shows it.
            let exit = if ending == Ending::Exited(0) {
                Exit::Storage
            } else {
                account.exit
            };
            Account { exit, ..account }
        }
        None => account,
    }
}

/// Stores the result. After a failure the ledger reopens its file, and storing the same result
/// twice is no harm, so it is tried twice.
fn complete(claim: Claim, bytes: Vec<u8>, account: Account) -> Account {
    match claim.complete(Response::command(bytes)) {
        Ok(_) => account,
        Err(failed) if matches!(failed.error, EndingError::Ledger(_)) => {
            match failed.claim.complete(failed.response) {
                Ok(_) => account,
                Err(failed) => not_stored(account, &failed.error),
            }
        }
        Err(failed) => not_stored(account, &failed.error),
    }
}

fn not_stored(account: Account, error: &EndingError) -> Account {
    say(format_args!(
        "warning: the command ran, but its result was not stored: {error}; a retry may find the \
         key interrupted"
    ));
    let superseded = matches!(error, EndingError::Superseded);
    let reason = if superseded {
        Reason::Superseded
    } else {
        Reason::Storage
    };
    Account {
        outcome: Outcome::Unknown,
        ..account
    }
    .because(reason)
}

fn release(claim: Claim, account: Account) -> Account {
    match claim.release() {
        Ok(()) => Account {
            outcome: Outcome::Released,
            ..account
        },
        Err(failed) => {
            say(format_args!(
                "warning: nothing happened, but the key was not released: {}",
                failed.error
            ));
            Account {
                outcome: Outcome::Unknown,
                ..account
            }
            .because(Reason::Storage)
        }
    }
}

fn interrupt(
    plan: &Plan,
    claim: Claim,
    ending: Ending,
    account: Account,
    location: &Location,
) -> Account {
    say(format_args!(
        "the command {ending}; whether it took effect is not known, so {} is interrupted\n{}",
        plan.identity.shown(),
        plan.identity.resolve_lines(location, claim.fence()),
    ));
    // Dropped, the claim leaves the key interrupted.
    drop(claim);
    Account {
        outcome: Outcome::Interrupted,
        ..account
    }
}
