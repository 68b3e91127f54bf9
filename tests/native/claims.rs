//! Claims: one at a time, fenced, with their endings.

use std::sync::Barrier;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use idempotency_ledger::{Begin, EndingError, Fingerprint, Ledger, Refusal};
use idempotency_tests::{Expect, PAYMENTS, asked, begin, in_memory, key};

#[test]
fn complete_then_replay_gives_the_same_bytes() {
    let (ledger, _) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    claim.complete(&[0, 255, 7]).expect("stored");
    let replay = begin(&ledger, "k").replay();
    assert_eq!(replay.response().bytes(), [0, 255, 7]);
}

#[test]
fn fifty_racers_get_one_claim_each_round() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = Ledger::open(folder.path().join("racers.redb")).expect("opens");
    for round in 0..20 {
        let (claims, barrier) = (AtomicUsize::new(0), Barrier::new(50));
        let key = key(&format!("round-{round}"));
        thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    barrier.wait();
                    match ledger
                        .operation(PAYMENTS, &key, asked())
                        .begin()
                        .expect("works")
                    {
                        Begin::Fresh(claim) => {
                            claims.fetch_add(1, Ordering::SeqCst);
                            claim.complete("done").expect("stored");
                        }
                        Begin::Replay(replay) => {
                            assert_eq!(replay.response().bytes(), b"done");
                        }
                        Begin::Refused(Refusal::InProgress { .. }) => {}
                        other => panic!("unexpected: {other:?}"),
                    }
                });
            }
        });
        assert_eq!(claims.load(Ordering::SeqCst), 1, "round {round}");
    }
    assert!(ledger.check().expect("checks").is_clean());
}

#[test]
fn release_makes_the_key_fresh() {
    let (ledger, _) = in_memory();
    begin(&ledger, "k").fresh().release().expect("released");
    assert_eq!(begin(&ledger, "k").fresh().attempt(), 1);
}

#[test]
fn a_dropped_claim_is_interrupted_and_a_ticket_reruns_it() {
    let (ledger, _) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    let old = claim.fence();
    drop(claim);
    let ticket = begin(&ledger, "k").interrupted();
    assert_eq!(ticket.fence(), old);
    let claim = ticket.rerun().expect("taken over");
    assert!(claim.fence() > old);
    assert_eq!(claim.attempt(), 2);
}

#[test]
fn of_two_tickets_the_first_wins() {
    let (ledger, _) = in_memory();
    drop(begin(&ledger, "k").fresh());
    let (one, other) = (
        begin(&ledger, "k").interrupted(),
        begin(&ledger, "k").interrupted(),
    );
    one.complete("it happened").expect("stored");
    let lost = other.release().expect_err("too late");
    assert!(matches!(lost.error, EndingError::Superseded));
    assert_eq!(
        begin(&ledger, "k").replay().response().bytes(),
        b"it happened"
    );
}

#[test]
fn another_request_is_a_mismatch_in_every_state() {
    let (ledger, _) = in_memory();
    let other = Fingerprint::of(["pay", "26 EUR"]);
    let ask = || {
        ledger
            .operation(PAYMENTS, &key("k"), other)
            .begin()
            .expect("works")
            .refused()
    };
    let claim = begin(&ledger, "k").fresh();
    assert_eq!(ask(), Refusal::Mismatch);
    drop(claim);
    assert_eq!(ask(), Refusal::Mismatch);
    begin(&ledger, "k")
        .interrupted()
        .complete("a")
        .expect("stored");
    assert_eq!(ask(), Refusal::Mismatch);
    assert_eq!(begin(&ledger, "k").replay().response().bytes(), b"a");
}
