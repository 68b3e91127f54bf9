//! `run`: what a closure's end makes of the key.

use std::cell::Cell;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};

use idempotency_ledger::{
    EndingError, Error, Invalid, Ledger, Policy, RecordState, Refusal, RunError,
};
use idempotency_tests::{Expect, PAYMENTS, START, asked, begin, in_memory, key, seconds};

#[derive(Debug, PartialEq)]
enum ChargeError {
    Timeout,
    Refused,
}

fn state(ledger: &Ledger) -> Option<RecordState> {
    let info = ledger.record(PAYMENTS, &key("k")).peek().expect("reads");
    info.map(|info| info.state())
}

#[test]
fn an_error_leaves_the_key_interrupted_and_the_retry_is_refused() {
    let (ledger, _) = in_memory();
    let request = || ledger.operation(PAYMENTS, &key("k"), asked());
    let failed = request().run_bytes(|_| Err::<&str, _>(ChargeError::Timeout));
    assert!(matches!(
        failed,
        Err(RunError::Operation(ChargeError::Timeout))
    ));
    assert_eq!(state(&ledger), Some(RecordState::Interrupted));
    let retried = request().run_bytes(|_| -> Result<&str, Infallible> { panic!("it may not run") });
    let Err(RunError::Interrupted(ticket)) = retried else {
        panic!("expected a ticket, got {retried:?}");
    };
    assert!(!ticket.is_overdue());
    ticket.complete("it did happen").expect("stored");
    let replayed =
        request().run_bytes(|_| -> Result<&str, Infallible> { panic!("it may not run") });
    let outcome = replayed.expect("the stored answer");
    assert!(outcome.is_replay());
    assert_eq!(outcome.into_inner().bytes(), b"it did happen");
}

#[test]
fn an_error_behind_nothing_happened_makes_the_key_fresh() {
    let (ledger, _) = in_memory();
    let request = || ledger.operation(PAYMENTS, &key("k"), asked());
    let failed = request().run_bytes(|operation| {
        operation.nothing_happened();
        Err::<&str, _>(ChargeError::Timeout)
    });
    assert!(matches!(
        failed,
        Err(RunError::Operation(ChargeError::Timeout))
    ));
    assert_eq!(state(&ledger), None);
    assert_eq!(begin(&ledger, "k").fresh().attempt(), 1);
}

#[test]
fn nothing_happened_does_not_undo_an_ok() {
    let (ledger, _) = in_memory();
    let request = ledger.operation(PAYMENTS, &key("k"), asked());
    let outcome = request.run_bytes(|operation| {
        operation.nothing_happened();
        Ok::<_, Infallible>("it did after all")
    });
    assert!(!outcome.expect("runs").is_replay());
    assert_eq!(state(&ledger), Some(RecordState::Completed));
}

#[test]
fn release_if_names_the_errors_that_make_the_key_fresh() {
    for (error, expected) in [
        (ChargeError::Refused, None),
        (ChargeError::Timeout, Some(RecordState::Interrupted)),
    ] {
        let (ledger, _) = in_memory();
        let failed = ledger
            .operation(PAYMENTS, &key("k"), asked())
            .release_if(|error| *error == ChargeError::Refused)
            .run_bytes(|_| Err::<&str, _>(error));
        assert!(matches!(failed, Err(RunError::Operation(_))));
        assert_eq!(state(&ledger), expected);
    }
}

#[test]
fn a_checkpoint_outweighs_nothing_happened() {
    let (ledger, _) = in_memory();
    let request = ledger.operation(PAYMENTS, &key("k"), asked());
    let failed = request.run_bytes(|operation| {
        operation.checkpoint("authorized", b"ch_1").expect("stored");
        operation.nothing_happened();
        Err::<&str, _>(ChargeError::Timeout)
    });
    assert!(matches!(failed, Err(RunError::Operation(_))));
    assert_eq!(state(&ledger), Some(RecordState::Interrupted));
}

#[test]
fn a_panic_leaves_the_key_interrupted_and_goes_on() {
    let (ledger, _) = in_memory();
    let request = || ledger.operation(PAYMENTS, &key("k"), asked());
    let panic = catch_unwind(AssertUnwindSafe(|| {
        request().run_bytes(|_| -> Result<&str, Infallible> { panic!("out of paper") })
    }));
    let message = panic.expect_err("it goes on");
    assert_eq!(message.downcast_ref::<&str>(), Some(&"out of paper"));
    assert_eq!(state(&ledger), Some(RecordState::Interrupted));
    // No key is wedged: the ledger works, and a ticket ends this one.
    begin(&ledger, "other")
        .fresh()
        .complete("done")
        .expect("stored");
    let claim = begin(&ledger, "k")
        .interrupted()
        .rerun()
        .expect("taken over");
    claim.complete("second").expect("stored");
    assert!(ledger.check().expect("checks").is_clean());
}

#[test]
fn a_panic_in_release_if_leaves_the_key_interrupted() {
    let (ledger, _) = in_memory();
    let request = ledger.operation(PAYMENTS, &key("k"), asked());
    let panic = catch_unwind(AssertUnwindSafe(|| {
        request
            .release_if(|_: &ChargeError| panic!("cannot say"))
            .run_bytes(|_| Err::<&str, _>(ChargeError::Refused))
    }));
    assert!(panic.is_err());
    assert_eq!(state(&ledger), Some(RecordState::Interrupted));
}

#[test]
fn the_closure_sees_its_claim() {
    let (ledger, clock) = in_memory();
    let request = ledger
        .operation(PAYMENTS, &key("k"), asked())
        .program("till");
    let outcome = request.run_bytes(|operation| {
        assert_eq!(operation.key().as_str(), "k");
        assert_eq!((operation.fence().get(), operation.attempt()), (1, 1));
        assert_eq!(operation.deadline(), START.saturating_add(seconds(60)));
        assert_eq!(operation.last_checkpoint(), None);
        clock.advance(seconds(30));
        assert_eq!(
            operation.renew().expect("renewed"),
            START.saturating_add(seconds(90))
        );
        assert_eq!(operation.deadline(), START.saturating_add(seconds(90)));
        let info = ledger
            .record(PAYMENTS, &key("k"))
            .peek()
            .expect("reads")
            .expect("there");
        assert_eq!(
            (info.state(), info.program()),
            (RecordState::Claimed, "till")
        );
        Ok::<_, Infallible>("charged")
    });
    let outcome = outcome.expect("runs");
    assert_eq!(outcome.completed_at(), START.saturating_add(seconds(30)));
    assert_eq!(outcome.get().bytes(), b"charged");
}

#[test]
fn the_closure_may_work_with_the_ledger_and_with_other_keys() {
    let (ledger, _) = in_memory();
    let request = |text: &str| ledger.operation(PAYMENTS, &key(text), asked());
    let outcome = request("outer").run_bytes(|_| {
        let inner = request("inner").run_bytes(|_| Ok::<_, Infallible>("inside"));
        let refused = begin(&ledger, "outer").refused();
        assert!(matches!(refused, Refusal::InProgress { .. }));
        Ok::<_, Infallible>(inner.expect("runs").into_inner())
    });
    assert_eq!(outcome.expect("runs").get().bytes(), b"inside");
}

#[test]
fn a_response_above_the_limit_comes_back_with_the_claim() {
    let (ledger, _) = in_memory();
    let small = PAYMENTS.policy(Policy::DEFAULT.response_bytes_max(4));
    let request = ledger.operation(small, &key("k"), asked());
    let failed = request.run_bytes(|_| Ok::<_, Infallible>("12345"));
    let Err(RunError::Complete(unstored)) = failed else {
        panic!("expected the value back, got {failed:?}");
    };
    assert_eq!(unstored.value.bytes(), b"12345");
    assert!(matches!(
        unstored.error,
        EndingError::Ledger(Error::Invalid(Invalid::Response { bytes: 5, limit: 4 }))
    ));
    unstored
        .claim
        .complete("1234")
        .expect("a shorter one is stored");
}

#[test]
fn a_refused_run_does_not_run() {
    let (ledger, _) = in_memory();
    let ran = Cell::new(0);
    let claim = begin(&ledger, "k").fresh();
    let request = ledger.operation(PAYMENTS, &key("k"), asked());
    let refused = request.run_bytes(|_| {
        ran.set(ran.get() + 1);
        Ok::<_, Infallible>("twice")
    });
    assert!(matches!(
        refused,
        Err(RunError::Refused(Refusal::InProgress { .. }))
    ));
    claim.complete("once").expect("stored");
    let other = ledger.operation(PAYMENTS, &key("k"), idempotency_ledger::Fingerprint::NONE);
    let refused = other.run_bytes(|_| {
        ran.set(ran.get() + 1);
        Ok::<_, Infallible>("twice")
    });
    assert!(matches!(refused, Err(RunError::Refused(Refusal::Mismatch))));
    assert_eq!(ran.get(), 0);
}
