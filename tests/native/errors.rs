//! Errors: each says its part once, and a chain of them can be printed as it is.

use std::error::Error as StdError;
use std::{fmt, io};

use idempotency_ledger::{EndingError, Ledger, Policy, Response, RunError};
use idempotency_tests::storage::{Disk, Watched};
use idempotency_tests::workload::BALANCES;
use idempotency_tests::{Expect, PAYMENTS, asked, begin, clock, in_memory, key};

/// Every link of a chain; none repeats what one before it says.
#[track_caller]
fn links(error: &(dyn StdError + 'static)) -> Vec<String> {
    let mut links = vec![error.to_string()];
    let mut next = error.source();
    while let Some(error) = next {
        let text = error.to_string();
        let repeated = links.iter().find(|link| link.contains(&text));
        assert_eq!(repeated, None, "{text:?} is said twice");
        links.push(text);
        next = error.source();
    }
    links
}

#[test]
fn a_source_is_printed_once() {
    let missing = Ledger::builder()
        .existing_only()
        .open("/nowhere/at/all.redb");
    let missing = missing.expect_err("there is no such folder");
    assert!(links(&missing)[0].contains("No such file"), "{missing}");

    let (ledger, _) = in_memory();
    let small = PAYMENTS.policy(Policy::DEFAULT.response_bytes_max(3));
    let request = |text| ledger.operation(small.clone(), &key(text), asked());
    let claim = request("claim").begin().expect("works").fresh();
    let refused = claim.complete("four").expect_err("too large");
    links(&refused);
    claim_error_chains(&ledger);
    let unstored = request("run").run_bytes(|_| Ok::<_, io::Error>("four"));
    links(&unstored.expect_err("too large"));
    let failed = request("err").run_bytes(|_| Err::<Response, _>(io::Error::other("bank away")));
    let failed = failed.expect_err("it failed");
    assert_eq!(links(&failed), ["bank away"]);
}

fn claim_error_chains(ledger: &Ledger) {
    let claim = begin(ledger, "checkpoint").fresh();
    claim.checkpoint("authorized", b"").expect("stored");
    let refused = claim.release().expect_err("part of it happened");
    links(&refused);
    drop(refused.claim);
    let ticket = begin(ledger, "checkpoint").interrupted();
    links(&ticket.release().expect_err("part of it happened"));
}

#[test]
fn a_failed_commit_is_said_once_in_every_error_that_carries_it() {
    let disk = Watched::new(Disk::default());
    let opened = Ledger::builder().clock(clock()).open_backend(disk.clone());
    let ledger = opened.expect("opens");
    let claim = begin(&ledger, "k").fresh();
    disk.fail_from(0, io::ErrorKind::Other);
    let failed = claim.complete("done").expect_err("the disk is gone");
    assert!(matches!(failed.error, EndingError::Ledger(_)));
    links(&failed);
    let run = ledger.operation(PAYMENTS, &key("run"), asked());
    let failed = run.run_bytes(|_| Ok::<_, io::Error>("done"));
    let failed = failed.expect_err("the disk is gone");
    assert!(matches!(failed, RunError::Ledger(_)), "{failed:?}");
    links(&failed);
}

#[test]
fn a_question_mark_is_enough_whatever_the_closure_fails_with() {
    fn in_anyhow(ledger: &Ledger) -> anyhow::Result<u64> {
        let run = ledger.operation(PAYMENTS, &key("anyhow"), asked());
        let outcome = run.run(|_| -> anyhow::Result<u64> {
            let away = io::Error::other("no route to the bank");
            Err(anyhow::Error::new(away).context("charging order 17"))
        })?;
        Ok(outcome.into_inner())
    }
    fn boxed(ledger: &Ledger) -> Result<u64, Box<dyn StdError>> {
        let run = ledger.operation(PAYMENTS, &key("boxed"), asked());
        let outcome = run.run(|_| -> Result<u64, Box<dyn StdError>> { Err("no funds".into()) })?;
        Ok(outcome.into_inner())
    }
    fn in_a_transaction(ledger: &Ledger) -> anyhow::Result<u64> {
        let run = ledger.operation(PAYMENTS, &key("transact"), asked());
        let outcome = run.transact(|_, txn| -> anyhow::Result<u64> {
            txn.open_table(BALANCES)?.insert("ann", 25)?;
            anyhow::bail!("rolled back")
        })?;
        Ok(outcome.into_inner())
    }
    fn in_steps(ledger: &Ledger) -> anyhow::Result<u64> {
        let run = ledger.operation(PAYMENTS, &key("steps"), asked());
        let outcome = run.run_steps(|steps| {
            steps.outside("charge", |_| -> anyhow::Result<u64> {
                anyhow::bail!("bank away")
            })
        })?;
        Ok(outcome.into_inner())
    }
    let (ledger, _) = in_memory();
    let chain =
        |error: anyhow::Error| -> Vec<String> { error.chain().map(ToString::to_string).collect() };
    let failed = chain(in_anyhow(&ledger).expect_err("it failed"));
    assert_eq!(failed, ["charging order 17: no route to the bank"]);
    assert_eq!(
        boxed(&ledger).expect_err("it failed").to_string(),
        "no funds"
    );
    let failed = chain(in_a_transaction(&ledger).expect_err("it failed"));
    assert_eq!(failed, ["rolled back"]);
    let failed = chain(in_steps(&ledger).expect_err("it failed"));
    assert_eq!(failed, ["bank away"]);
    // What is no error of the closure's passes as well.
    let interrupted = in_anyhow(&ledger).expect_err("nobody knows");
    assert!(interrupted.is::<RunError<anyhow::Error, u64>>());
}

#[test]
fn a_closures_error_keeps_its_sources_where_they_can_be_seen() {
    let (ledger, _) = in_memory();
    let failing = |text: &str| {
        let run = ledger.operation(PAYMENTS, &key(text), asked());
        let bank: Box<dyn StdError + Send + Sync> = Box::new(Away(io::Error::other("no route")));
        run.run(|_| Err::<u64, _>(bank)).expect_err("it failed")
    };
    assert_eq!(links(&failing("box")), ["the bank is away", "no route"]);
    let away = failing("into").into_boxed();
    assert!(away.is::<Away>(), "{away:?}");
    let refused = failing("into").into_boxed();
    assert!(refused.to_string().contains("interrupted"), "{refused}");
}

#[derive(Debug)]
struct Away(io::Error);

impl fmt::Display for Away {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the bank is away")
    }
}

impl StdError for Away {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.0)
    }
}

/// Each type that says what went wrong is an error, and can be sent to another thread.
#[test]
fn all_errors_are_errors() {
    fn is_error<E: StdError + Send + Sync + 'static>() {}
    is_error::<idempotency_ledger::Error>();
    is_error::<idempotency_ledger::Invalid>();
    is_error::<idempotency_ledger::Cause>();
    is_error::<idempotency_ledger::KeyError>();
    is_error::<idempotency_ledger::PolicyError>();
    is_error::<idempotency_ledger::TimeTextError>();
    is_error::<idempotency_ledger::Refusal>();
    is_error::<idempotency_ledger::CompleteError>();
    is_error::<idempotency_ledger::ReleaseError>();
    is_error::<idempotency_ledger::CompleteAllError>();
    is_error::<idempotency_ledger::TicketError>();
    is_error::<idempotency_ledger::Undecodable>();
    is_error::<idempotency_ledger::Unstored<u64>>();
    is_error::<idempotency_ledger::StepError<anyhow::Error>>();
    is_error::<idempotency_ledger::decision::EndingRefusal>();
    is_error::<EndingError>();
    is_error::<RunError<String, u64>>();
}
