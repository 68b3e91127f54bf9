//! `idem exec`: one run of a command under a key, or the replay of it.
//!
//! In the order in which a call goes: [`plan`] checks it, [`stdin`] and [`fingerprint`] say what
//! it asks for; here the ledger is asked; [`claimed`] runs the command, with [`child`], [`watch`],
//! [`signals`], [`pump`] and [`display`]; [`verdict`] says what its ending means, [`capture`] is
//! what is stored of it, [`replay`] shows that again; [`status_file`] gives the account.

mod capture;
mod child;
mod claimed;
mod display;
mod fingerprint;
mod plan;
mod pump;
mod replay;
mod signals;
mod status_file;
mod stdin;
mod verdict;
mod watch;

use idempotency_ledger::{Begin, Refusal, Replay, Ticket};

use crate::arguments::ExecArguments;
use crate::exit::{Exit, Failure};
use crate::location::Location;
use crate::speak::say;

pub(crate) use capture::{Ending, OUTPUT_BYTES_MAX, Recorder, STORED_BYTES_MAX, StoredRun, Stream};
use plan::Plan;
use replay::Shown;
use status_file::{Account, Outcome, Reason, StatusFile};

/// Runs `idem exec`.
pub(crate) fn run(arguments: ExecArguments, location: &Location) -> Result<Exit, Failure> {
    let plan = Plan::new(arguments)?;
    let status_file = StatusFile::create(plan.output.status_file.as_deref())?;
    let account = ask(&plan, location).unwrap_or_else(|failure| {
        say(&failure);
        Account::new(Outcome::Refused, failure.exit).because(Reason::Storage)
    });
    status_file.write(&account);
    Ok(account.exit)
}

/// Asks the ledger, and does what it says.
fn ask(plan: &Plan, location: &Location) -> Result<Account, Failure> {
    let ledger = location.open_or_create(plan.verify)?;
    let program = plan.program();
    let mut request = ledger
        .operation(plan.namespace(), plan.identity.key(), plan.fingerprint)
        .scope(plan.identity.scope_bytes())
        .program(&program);
    if let Some(span) = plan.wait {
        request = request.wait(span);
    }
    match request.begin()? {
        Begin::Fresh(claim) => claimed::run(plan, claim, location),
        Begin::Replay(replay) => replayed(plan, &replay),
        Begin::Interrupted(ticket) => Ok(interrupted(plan, &ticket, location)),
        Begin::Refused(refusal) => Ok(refused(plan, &refusal)),
    }
}

fn replayed(plan: &Plan, replay: &Replay) -> Result<Account, Failure> {
    let run = replay::read(replay.response())?;
    let (exit, reason) = match replay::show(&run) {
        Shown::Whole => (Exit::Command(run.ending().code()), None),
        Shown::Omitted(_) if plan.output.accept_omitted => {
            (Exit::Command(run.ending().code()), None)
        }
        Shown::Omitted(omission) => {
            say(format_args!(
                "{} ran before ({}), but its output was not stored: {omission}; with \
                 --accept-omitted the stored exit code is enough",
                plan.identity.shown(),
                run.ending(),
            ));
            (Exit::OmittedOrQuota, Some(Reason::Omitted))
        }
        Shown::Broken(error) => {
            say(format_args!(
                "the replayed output could not be written: {error}"
            ));
            (Exit::Storage, None)
        }
    };
    if reason.is_none() && !plan.output.quiet {
        say(format_args!(
            "replayed the run of {}",
            replay.completed_at()
        ));
    }
    let outcome = if reason.is_none() {
        Outcome::Replayed
    } else {
        Outcome::Refused
    };
    let mut account = Account::new(outcome, exit)
        .of_attempt(replay.fence(), replay.attempts())
        .with_child(run.ending());
    account.reason = reason;
    Ok(account)
}

/// Nobody knows what became of an earlier attempt. Asked to rerun, the ledger would have handed
/// out a claim, unless somebody is still at it.
fn interrupted(plan: &Plan, ticket: &Ticket, location: &Location) -> Account {
    let shown = plan.identity.shown();
    let (exit, reason) = match (plan.reruns, ticket.is_running()) {
        (true, true) => {
            say(format_args!(
                "{shown}: the earlier command is still running; try again later"
            ));
            (Exit::TryLater, Reason::StillRunning)
        }
        (true, false) => {
            say(format_args!(
                "{shown}: an earlier idem still holds it although its lease is over; try again \
                 later, or end that process"
            ));
            (Exit::TryLater, Reason::InProgress)
        }
        (false, is_running) => {
            let state = if is_running {
                "; its command is still running"
            } else {
                ""
            };
            say(format_args!(
                "{shown} is interrupted: attempt {}, begun {}, may or may not have taken \
                 effect{state}\n{}",
                ticket.attempts(),
                ticket.claimed_at(),
                plan.identity.resolve_lines(location, ticket.fence()),
            ));
            (Exit::Interrupted, Reason::Interrupted)
        }
    };
    Account::new(Outcome::Refused, exit)
        .because(reason)
        .of_attempt(ticket.fence(), ticket.attempts())
}

fn refused(plan: &Plan, refusal: &Refusal) -> Account {
    let (exit, reason, hint) = match refusal {
        Refusal::InProgress { .. } => (Exit::TryLater, Reason::InProgress, ", or use --wait"),
        Refusal::Mismatch => (Exit::Mismatch, Reason::Mismatch, ""),
        Refusal::Stale { .. } => (Exit::Stale, Reason::Stale, ""),
        Refusal::Quota { .. } => (Exit::OmittedOrQuota, Reason::Quota, ""),
    };
    say(format_args!(
        "{}: {refusal}{hint}; the command was not run",
        plan.identity.shown()
    ));
    let account = Account::new(Outcome::Refused, exit).because(reason);
    match refusal {
        Refusal::Stale { now, .. } => account.at(*now),
        Refusal::InProgress { .. } | Refusal::Mismatch | Refusal::Quota { .. } => account,
    }
}
