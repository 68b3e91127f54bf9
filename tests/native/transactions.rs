//! The application's writes and the ledger's in one commit, or none of it.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;

use idempotency_ledger::{
    BeginIn, ClaimIn, CompleteInError, EndingError, Error, Fingerprint, Invalid, Ledger, Policy,
    RecordState, Refusal, Request, RunError, TicketIn, WriteTxn,
};
use idempotency_tests::{Expect, PAYMENTS, asked, begin, clock, in_memory, key, seconds, until};
use redb::{ReadableTable, TableDefinition};

const BALANCES: TableDefinition<'_, &str, u64> = TableDefinition::new("balances");

fn request(ledger: &Ledger, text: &str) -> Request {
    ledger.operation(PAYMENTS, &key(text), asked())
}

fn add(txn: &WriteTxn<'_>, amount: u64) {
    let mut balances = txn.open_table(BALANCES).expect("opens");
    let old = balances.get("a").expect("reads").map_or(0, |it| it.value());
    balances.insert("a", old + amount).expect("inserts");
}

fn balance(ledger: &Ledger) -> u64 {
    let txn = ledger.write().expect("begins");
    let balances = txn.open_table(BALANCES).expect("opens");
    let found = balances.get("a").expect("reads");
    found.map_or(0, |it| it.value())
}

fn state(ledger: &Ledger, text: &str) -> Option<RecordState> {
    let record = ledger.record(PAYMENTS, &key(text));
    record.peek().expect("reads").map(|info| info.state())
}

#[track_caller]
fn fresh<'t, 'l>(begun: Result<BeginIn<'t, 'l>, Error>) -> ClaimIn<'t, 'l> {
    match begun {
        Ok(BeginIn::Fresh(claim)) => claim,
        other => panic!("expected a claim, got {other:?}"),
    }
}

#[track_caller]
fn ticket<'t, 'l>(begun: Result<BeginIn<'t, 'l>, Error>) -> TicketIn<'t, 'l> {
    match begun {
        Ok(BeginIn::Interrupted(ticket)) => ticket,
        other => panic!("expected a ticket, got {other:?}"),
    }
}

#[test]
fn transact_stores_both_and_a_retry_replays() {
    let (ledger, _) = in_memory();
    for round in 0..3 {
        let outcome = request(&ledger, "k").transact_bytes(|claim, txn| {
            assert_eq!((claim.key().as_str(), claim.attempt()), ("k", 1));
            add(txn, 25);
            Ok::<_, Infallible>("deposited")
        });
        let outcome = outcome.expect("stored");
        assert_eq!(outcome.is_replay(), round > 0);
        assert_eq!(outcome.into_inner().bytes(), b"deposited");
    }
    assert_eq!(balance(&ledger), 25);
    assert_eq!(state(&ledger, "k"), Some(RecordState::Completed));
}

#[test]
fn an_error_in_transact_stores_neither_and_leaves_the_key_fresh() {
    let (ledger, _) = in_memory();
    let failed = request(&ledger, "k").transact_bytes(|_, txn| {
        add(txn, 25);
        Err::<&str, _>("insufficient funds")
    });
    assert!(matches!(
        failed,
        Err(RunError::Operation("insufficient funds"))
    ));
    assert_eq!((balance(&ledger), state(&ledger, "k")), (0, None));
    assert_eq!(ledger.stats().expect("counts").live_claims, 0);
    // Here it is known that nothing happened: the same key runs.
    let outcome = request(&ledger, "k").transact_bytes(|_, txn| {
        add(txn, 25);
        Ok::<_, Infallible>("deposited")
    });
    assert!(!outcome.expect("stored").is_replay());
    assert_eq!(balance(&ledger), 25);
}

#[test]
fn a_panic_in_transact_stores_neither_and_goes_on() {
    let (ledger, _) = in_memory();
    let panic = catch_unwind(AssertUnwindSafe(|| {
        request(&ledger, "k").transact_bytes(|_, txn| -> Result<&str, Infallible> {
            add(txn, 25);
            panic!("out of paper")
        })
    }));
    assert_eq!(
        panic.expect_err("it goes on").downcast_ref::<&str>(),
        Some(&"out of paper")
    );
    assert_eq!((balance(&ledger), state(&ledger, "k")), (0, None));
    let outcome = request(&ledger, "k").transact_bytes(|_, _| Ok::<_, Infallible>("second"));
    assert!(!outcome.expect("no wedged key").is_replay());
    assert!(ledger.check().expect("checks").is_clean());
}

#[test]
fn transact_answers_a_claimed_key_as_in_progress_and_an_interrupted_one_with_its_ticket() {
    let (ledger, _) = in_memory();
    let transact = |request: Request| {
        request.transact_bytes(|_, _| -> Result<&str, Infallible> { panic!("it may not run") })
    };
    let claim = begin(&ledger, "k").fresh();
    let refused = transact(request(&ledger, "k"));
    assert!(matches!(
        refused,
        Err(RunError::Refused(Refusal::InProgress { .. }))
    ));
    let fence = claim.fence();
    drop(claim);
    let Err(RunError::Interrupted(ticket)) = transact(request(&ledger, "k")) else {
        panic!("expected a ticket");
    };
    assert_eq!(ticket.fence(), fence);
    let other = ledger.operation(PAYMENTS, &key("k"), Fingerprint::NONE);
    assert!(matches!(
        transact(other),
        Err(RunError::Refused(Refusal::Mismatch))
    ));
    // The ticket works outside of the transaction, which is over.
    ticket.complete("it happened").expect("stored");
    let outcome = transact(request(&ledger, "k")).expect("the stored answer");
    assert_eq!(outcome.get().bytes(), b"it happened");
}

#[test]
fn a_response_above_the_limit_rolls_transact_back() {
    let (ledger, _) = in_memory();
    let small = PAYMENTS.policy(Policy::DEFAULT.response_bytes_max(4));
    let asked = |text: &str| ledger.operation(small.clone(), &key(text), asked());
    let failed = asked("k").transact_bytes(|_, txn| {
        add(txn, 25);
        Ok::<_, Infallible>("12345")
    });
    let Err(RunError::Ledger(Error::Invalid(Invalid::Response { bytes: 5, limit: 4 }))) = failed
    else {
        panic!("expected a refusal, got {failed:?}");
    };
    assert_eq!((balance(&ledger), state(&ledger, "k")), (0, None));
    let exact = asked("k").transact_bytes(|_, _| Ok::<_, Infallible>("1234"));
    assert!(exact.is_ok());
}

#[test]
fn using_the_writer_inside_a_transaction_of_the_same_thread_is_an_error_and_no_deadlock() {
    let (ledger, _) = in_memory();
    let held = begin(&ledger, "held").fresh();
    let outcome = request(&ledger, "k").transact_bytes(|_, _| {
        let begun = request(&ledger, "other").begin();
        assert!(
            matches!(begun, Err(Error::WouldDeadlock { .. })),
            "{begun:?}"
        );
        let nested = request(&ledger, "other").transact_bytes(|_, _| Ok::<_, Infallible>("x"));
        assert!(matches!(
            nested,
            Err(RunError::Ledger(Error::WouldDeadlock { .. }))
        ));
        assert!(matches!(ledger.write(), Err(Error::WouldDeadlock { .. })));
        assert!(matches!(ledger.sweep(1), Err(Error::WouldDeadlock { .. })));
        let error = held.renew().expect_err("the writer is held");
        assert!(matches!(
            error,
            EndingError::Ledger(Error::WouldDeadlock { .. })
        ));
        // Looking takes no writer.
        assert_eq!(state(&ledger, "held"), Some(RecordState::Claimed));
        Ok::<_, Infallible>("done")
    });
    assert!(outcome.is_ok());
    held.complete("nothing was lost").expect("stored");
    assert_eq!(state(&ledger, "other"), None);
}

#[test]
fn others_wait_for_a_transaction_and_then_go_on() {
    let (ledger, _) = in_memory();
    let ledger = &ledger;
    thread::scope(|scope| {
        let txn = ledger.write().expect("begins");
        let other = scope.spawn(move || begin(ledger, "k").fresh().complete("done").is_ok());
        until("the other queues", || {
            ledger.stats().expect("counts").queued == 1
        });
        add(&txn, 25);
        let _ = txn.commit().expect("commits");
        assert!(other.join().expect("no panic"));
    });
    assert_eq!(balance(ledger), 25);
}

#[test]
fn claims_in_a_transaction_end_with_its_commit() {
    let (ledger, _) = in_memory();
    let txn = ledger.write().expect("begins");
    fresh(request(&ledger, "completed").begin_in(&txn))
        .complete("done")
        .expect("stored");
    fresh(request(&ledger, "released").begin_in(&txn))
        .release()
        .expect("released");
    fresh(request(&ledger, "kept 1").begin_in(&txn)).keep();
    fresh(request(&ledger, "kept 2").begin_in(&txn)).keep();
    add(&txn, 25);
    // Nobody else sees any of it before the commit.
    thread::scope(|scope| {
        let unseen = scope.spawn(|| state(&ledger, "completed")).join();
        assert_eq!(unseen.expect("no panic"), None);
    });
    let mut kept = txn.commit().expect("commits").claims.into_iter();
    assert_eq!(balance(&ledger), 25);
    assert_eq!(state(&ledger, "completed"), Some(RecordState::Completed));
    assert_eq!(state(&ledger, "released"), None);
    let (first, second) = (kept.next().expect("two"), kept.next().expect("two"));
    assert_eq!(
        (first.key().as_str(), second.key().as_str()),
        ("kept 1", "kept 2")
    );
    assert_eq!(state(&ledger, "kept 1"), Some(RecordState::Claimed));
    first.renew().expect("an ordinary claim");
    first.complete("later").expect("stored");
    drop(second);
    assert_eq!(state(&ledger, "kept 2"), Some(RecordState::Interrupted));
    assert!(ledger.check().expect("checks").is_clean());
}

#[test]
fn a_claim_that_is_dropped_keeps_the_transaction_from_committing() {
    let (ledger, _) = in_memory();
    let txn = ledger.write().expect("begins");
    fresh(request(&ledger, "completed").begin_in(&txn))
        .complete("done")
        .expect("stored");
    add(&txn, 25);
    drop(fresh(request(&ledger, "dropped").begin_in(&txn)));
    assert!(matches!(txn.commit(), Err(Error::UnfinishedClaim)));
    assert_eq!(balance(&ledger), 0);
    assert_eq!(
        (state(&ledger, "completed"), state(&ledger, "dropped")),
        (None, None)
    );
    assert_eq!(ledger.stats().expect("counts").live_claims, 0);
    let _ = begin(&ledger, "dropped").fresh();
}

#[test]
fn an_aborted_or_dropped_transaction_leaves_nothing_and_ends_its_kept_claims() {
    for abort in [true, false] {
        let (ledger, _) = in_memory();
        let txn = ledger.write().expect("begins");
        fresh(request(&ledger, "kept").begin_in(&txn)).keep();
        fresh(request(&ledger, "completed").begin_in(&txn))
            .complete("done")
            .expect("stored");
        add(&txn, 25);
        if abort {
            txn.abort();
        } else {
            drop(txn);
        }
        assert_eq!(balance(&ledger), 0);
        assert_eq!(
            (state(&ledger, "kept"), state(&ledger, "completed")),
            (None, None)
        );
        let stats = ledger.stats().expect("counts");
        assert_eq!(
            (stats.live_claims, stats.records(), stats.commits),
            (0, 0, 0)
        );
    }
}

#[test]
fn one_transaction_sees_its_own_operations() {
    let (ledger, _) = in_memory();
    let txn = ledger.write().expect("begins");
    let claim = fresh(request(&ledger, "k").begin_in(&txn));
    assert!(matches!(
        request(&ledger, "k").begin_in(&txn),
        Ok(BeginIn::Refused(Refusal::InProgress { .. }))
    ));
    claim.release().expect("released");
    let claim = fresh(request(&ledger, "k").begin_in(&txn));
    claim.complete("done").expect("stored");
    match request(&ledger, "k").begin_in(&txn).expect("works") {
        BeginIn::Replay(replay) => assert_eq!(replay.response().bytes(), b"done"),
        other => panic!("expected a replay, got {other:?}"),
    }
    let other = ledger.operation(PAYMENTS, &key("k"), Fingerprint::NONE);
    assert!(matches!(
        other.begin_in(&txn),
        Ok(BeginIn::Refused(Refusal::Mismatch))
    ));
    let scoped = request(&ledger, "k").scope("alice").begin_in(&txn);
    fresh(scoped).complete("hers").expect("stored");
    let _ = txn.commit().expect("commits");
    assert_eq!(ledger.stats().expect("counts").records(), 2);
    assert_eq!(begin(&ledger, "k").replay().response().bytes(), b"done");
}

#[test]
fn tickets_end_inside_a_transaction() {
    let (ledger, _) = in_memory();
    for text in ["rerun", "completed", "released", "looked at"] {
        let claim = begin(&ledger, text).fresh();
        if text == "rerun" {
            claim.checkpoint("half", b"way").expect("stored");
        }
    }
    let txn = ledger.write().expect("begins");
    let rerun = ticket(request(&ledger, "rerun").begin_in(&txn));
    assert_eq!(rerun.checkpoint().map(|it| it.name.as_str()), Some("half"));
    let claim = rerun.rerun().expect("taken over");
    assert_eq!(claim.attempt(), 2);
    assert_eq!(
        claim.last_checkpoint().map(|it| it.bytes.as_slice()),
        Some(&b"way"[..])
    );
    claim.complete("second").expect("stored");
    let completed = ticket(request(&ledger, "completed").begin_in(&txn));
    completed.complete("it happened").expect("stored");
    let (one, other) = (
        ticket(request(&ledger, "released").begin_in(&txn)),
        ticket(request(&ledger, "released").begin_in(&txn)),
    );
    one.release().expect("released");
    let lost = other.complete("too late").expect_err("superseded");
    assert!(matches!(lost, EndingError::Superseded));
    // Dropping a ticket changes nothing, and neither does one that came too late.
    drop(ticket(request(&ledger, "looked at").begin_in(&txn)));
    let _ = txn.commit().expect("commits");
    assert_eq!(begin(&ledger, "rerun").replay().attempts(), 2);
    assert_eq!(
        begin(&ledger, "completed").replay().response().bytes(),
        b"it happened"
    );
    assert_eq!(state(&ledger, "released"), None);
    assert_eq!(state(&ledger, "looked at"), Some(RecordState::Interrupted));
    assert!(ledger.check().expect("checks").is_clean());
}

#[test]
fn a_refused_ending_inside_keeps_the_transaction_from_committing() {
    let (ledger, _) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    claim.checkpoint("half", b"way").expect("stored");
    drop(claim);
    let txn = ledger.write().expect("begins");
    add(&txn, 25);
    let claim = ticket(request(&ledger, "k").begin_in(&txn))
        .rerun()
        .expect("taken over");
    let refused = claim.release().expect_err("part of it happened");
    assert!(matches!(refused, EndingError::HasCheckpoint));
    assert!(matches!(txn.commit(), Err(Error::UnfinishedClaim)));
    assert_eq!(balance(&ledger), 0);
    assert_eq!(begin(&ledger, "k").interrupted().attempts(), 1);
}

#[test]
fn a_response_above_the_limit_comes_back_with_the_claim_and_the_transaction_goes_on() {
    let (ledger, _) = in_memory();
    let small = PAYMENTS.policy(Policy::DEFAULT.response_bytes_max(4));
    let txn = ledger.write().expect("begins");
    add(&txn, 25);
    let claim = fresh(ledger.operation(small, &key("k"), asked()).begin_in(&txn));
    let CompleteInError {
        claim,
        response,
        error,
    } = claim.complete("12345").expect_err("one too many");
    assert_eq!(response.bytes(), b"12345");
    assert!(matches!(
        error,
        EndingError::Ledger(Error::Invalid(Invalid::Response { bytes: 5, limit: 4 }))
    ));
    let claim = claim.expect("it is still held");
    claim.complete("1234").expect("a shorter one is stored");
    let _ = txn.commit().expect("commits");
    assert_eq!(balance(&ledger), 25);
    assert_eq!(begin(&ledger, "k").replay().response().bytes(), b"1234");
}

#[test]
fn a_request_of_another_ledger_is_refused() {
    let (ledger, _) = in_memory();
    let (other, _) = in_memory();
    let txn = ledger.write().expect("begins");
    assert!(matches!(
        request(&other, "k").begin_in(&txn),
        Err(Error::Unsupported { .. })
    ));
    let _ = txn.commit().expect("nothing of it is in the transaction");
}

#[test]
fn the_applications_writes_alone_are_worth_a_commit() {
    let (ledger, _) = in_memory();
    let txn = ledger.write().expect("begins");
    add(&txn, 25);
    assert!(txn.commit().expect("commits").claims.is_empty());
    assert_eq!(balance(&ledger), 25);
    assert_eq!(ledger.stats().expect("counts").commits, 1);
}

/// The side file notes how far the ledger has come. A note beyond what the file itself says
/// would make the next opening believe that a backup was restored.
/// Something that is done with a ledger.
type Act = fn(&Ledger);

#[test]
fn no_commit_leaves_a_note_that_is_ahead_of_the_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("shared.redb");
    let clock = clock();
    let open = || Ledger::builder().clock(clock.clone()).shared().open(&path);
    let ledger = open().expect("opens");
    begin(&ledger, "k")
        .fresh()
        .complete("done")
        .expect("stored");
    let acts: [(&str, Act); 4] = [
        ("a replay in a transaction", |ledger| {
            let txn = ledger.write().expect("begins");
            assert!(matches!(
                request(ledger, "k").begin_in(&txn),
                Ok(BeginIn::Replay(_))
            ));
            let _ = txn.commit().expect("commits");
        }),
        ("the application's writes alone", |ledger| {
            let txn = ledger.write().expect("begins");
            add(&txn, 25);
            let _ = txn.commit().expect("commits");
        }),
        ("a confirmed clock", |ledger| {
            let _ = ledger.confirm_clock().expect("confirms");
        }),
        ("a sweep", |ledger| {
            assert_eq!(ledger.sweep(10).expect("sweeps").removed, 1);
        }),
    ];
    drop(ledger);
    for (name, act) in acts {
        let ledger = open().expect(name);
        // The answer expires with the last of them.
        clock.advance(seconds(86_400 / 4));
        act(&ledger);
        ledger.close().expect("closes");
        let ledger = open();
        assert!(ledger.is_ok(), "behind {name}: {ledger:?}");
    }
}

#[test]
fn a_claim_of_before_completes_with_the_applications_writes_or_is_interrupted() {
    let (ledger, clock) = in_memory();
    let claim = begin(&ledger, "a").fresh();
    let before = ledger.stats().expect("counts").commits;
    let txn = ledger.write().expect("begins");
    add(&txn, 1);
    let replay = claim.complete_in(&txn, "charged").expect("stored");
    assert_eq!(replay.response().bytes(), b"charged");
    let _ = txn.commit().expect("commits");
    assert_eq!(ledger.stats().expect("counts").commits, before + 1);
    assert_eq!(begin(&ledger, "a").replay(), replay);

    // Rolled back, nobody knows.
    let claim = begin(&ledger, "b").fresh();
    let txn = ledger.write().expect("begins");
    claim.complete_in(&txn, "charged").expect("stored");
    txn.abort();
    drop(begin(&ledger, "b").interrupted());

    // Refused, it keeps the transaction from committing, and comes back.
    let claim = begin(&ledger, "c").fresh();
    clock.advance(seconds(61));
    let usurper = begin(&ledger, "c")
        .interrupted()
        .rerun()
        .expect("taken over");
    usurper.complete("theirs").expect("stored");
    let txn = ledger.write().expect("begins");
    let failed = claim.complete_in(&txn, "mine").expect_err("taken over");
    assert!(matches!(failed.error, EndingError::Superseded));
    assert_eq!(failed.response.bytes(), b"mine");
    assert!(matches!(txn.commit(), Err(Error::UnfinishedClaim)));

    // Too large, nothing was written, and both go on.
    let small = PAYMENTS.policy(Policy::DEFAULT.response_bytes_max(3));
    let request = ledger.operation(small, &key("d"), asked());
    let claim = request.begin().expect("works").fresh();
    let txn = ledger.write().expect("begins");
    let failed = claim.complete_in(&txn, "four").expect_err("too large");
    failed.claim.complete_in(&txn, "ok").expect("stored");
    let _ = txn.commit().expect("commits");
    assert_eq!(begin(&ledger, "d").replay().response().bytes(), b"ok");
}
