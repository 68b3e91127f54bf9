//! Claims: one at a time, fenced, with their endings.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Barrier, Mutex, mpsc};
use std::thread;

use idempotency_ledger::{
    Begin, Claim, EndingError, Error, Fingerprint, Ledger, Namespace, OnInterrupted, Policy,
    RecordInfo, Refusal, Resolution, Resolved,
};
use idempotency_tests::storage::{Disk, Fate, Step, Watched};
use idempotency_tests::workload::await_queue;
use idempotency_tests::{
    Expect, PAYMENTS, START, asked, begin, clock, in_memory, key, seconds, until,
};

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

fn peek(ledger: &Ledger, text: &str) -> Option<RecordInfo> {
    ledger.record(PAYMENTS, &key(text)).peek().expect("reads")
}

#[test]
fn fences_only_increase_over_reopen_sweep_and_aborted_transactions() {
    let (disk, clock) = (Disk::default(), clock());
    let open = || {
        let builder = Ledger::builder().clock(clock.clone());
        builder.open_backend(disk.clone()).expect("opens")
    };
    let mut last = 0;
    let mut grows = |claim: &Claim| {
        assert!(
            claim.fence().get() > last,
            "{} behind {last}",
            claim.fence()
        );
        last = claim.fence().get();
    };
    let ledger = open();
    for text in ["a", "b"] {
        let claim = begin(&ledger, text).fresh();
        grows(&claim);
        claim.complete("done").expect("stored");
    }
    // Released: nothing is stored under the key that carried the highest fence.
    let claim = begin(&ledger, "c").fresh();
    grows(&claim);
    claim.release().expect("released");
    drop(ledger);
    let ledger = open();
    let claim = begin(&ledger, "d").fresh();
    grows(&claim);
    claim.complete("done").expect("stored");
    // An aborted transaction burns its fence, in this process.
    let txn = ledger.write().expect("begins");
    let request = ledger.operation(PAYMENTS, &key("e"), asked());
    let burned = match request.begin_in(&txn).expect("works") {
        idempotency_ledger::BeginIn::Fresh(claim) => claim.fence(),
        other => panic!("expected a claim, got {other:?}"),
    };
    txn.abort();
    let claim = begin(&ledger, "e").fresh();
    assert!(claim.fence() > burned);
    grows(&claim);
    claim.complete("done").expect("stored");
    // All of it is swept: no record is left to read a fence from.
    clock.advance(seconds(2 * 86_400));
    assert_eq!(ledger.sweep(100).expect("sweeps").removed, 4);
    assert_eq!(ledger.stats().expect("counts").records(), 0);
    ledger.close().expect("closes");
    let ledger = open();
    grows(&begin(&ledger, "a").fresh());
    drop(
        begin(&ledger, "a")
            .interrupted()
            .rerun()
            .map(|claim| grows(&claim)),
    );
}

/// The ways in which a record stops being a claim's own.
fn supersede(ledger: &Ledger, how: &str) {
    let ticket = || begin(ledger, "k").interrupted();
    match how {
        "rerun" => drop(ticket().rerun().expect("taken over")),
        "rerun and completed" => {
            let claim = ticket().rerun().expect("taken over");
            claim.complete("theirs").expect("stored");
        }
        "ticket completed" => drop(ticket().complete("theirs").expect("stored")),
        "ticket released" => ticket().release().expect("released"),
        "released and claimed again" => {
            ticket().release().expect("released");
            let claim = begin(ledger, "k").fresh();
            claim.complete("theirs").expect("stored");
        }
        other => panic!("{other} is no way"),
    }
}

#[test]
fn a_superseded_holder_changes_nothing_and_keeps_its_response() {
    for how in [
        "rerun",
        "rerun and completed",
        "ticket released",
        "released and claimed again",
    ] {
        let (ledger, clock) = in_memory();
        let claim = begin(&ledger, "k").fresh();
        // The holder lives, but its lease is over: an explicit ticket may take it over.
        clock.advance(seconds(60));
        supersede(&ledger, how);
        let before = peek(&ledger, "k");
        let error = claim.renew().expect_err(how);
        assert!(matches!(error, EndingError::Superseded), "{how}: {error}");
        let error = claim.checkpoint("authorized", b"ch_1").expect_err(how);
        assert!(matches!(error, EndingError::Superseded), "{how}: {error}");
        let failed = claim.complete("mine").expect_err(how);
        assert!(
            matches!(failed.error, EndingError::Superseded),
            "{how}: {failed}"
        );
        assert_eq!(failed.response.bytes(), b"mine");
        let failed = failed.claim.release().expect_err(how);
        assert!(
            matches!(failed.error, EndingError::Superseded),
            "{how}: {failed}"
        );
        assert_eq!(peek(&ledger, "k"), before, "{how}");
        drop(failed.claim);
        assert!(ledger.check().expect("checks").is_clean());
    }
}

#[test]
fn completing_twice_is_fine_with_the_same_bytes_and_refused_with_others() {
    let (ledger, clock) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    clock.advance(seconds(60));
    supersede(&ledger, "ticket completed");
    let before = peek(&ledger, "k");
    clock.advance(seconds(1));
    let failed = claim.complete("mine").expect_err("another response");
    assert!(
        matches!(failed.error, EndingError::DifferentResponse),
        "{failed}"
    );
    assert_eq!(failed.response.bytes(), b"mine");
    // The same fence and the same bytes: what was to be stored is stored.
    let replay = failed.claim.complete("theirs").expect("stored before");
    assert_eq!(replay.completed_at(), START.saturating_add(seconds(60)));
    assert_eq!(peek(&ledger, "k"), before);
}

#[test]
fn a_failed_ending_gives_claim_and_response_back() {
    let (ledger, _) = in_memory();
    let (one, other) = (begin(&ledger, "1").fresh(), begin(&ledger, "2").fresh());
    ledger.close().expect("closes");
    let failed = one.complete("charged").expect_err("closed");
    assert!(matches!(failed.error, EndingError::Ledger(Error::Closed)));
    assert_eq!(failed.response.bytes(), b"charged");
    assert_eq!(failed.claim.key().as_str(), "1");
    let failed = other.release().expect_err("closed");
    assert!(matches!(failed.error, EndingError::Ledger(Error::Closed)));
    assert_eq!(failed.claim.key().as_str(), "2");
}

#[test]
fn an_overdue_holder_is_taken_over_by_a_ticket_alone() {
    let rerun = PAYMENTS.policy(Policy::DEFAULT.on_interrupted(OnInterrupted::Rerun));
    let (ledger, clock) = in_memory();
    let ask = |namespace: &Namespace| {
        let request = ledger.operation(namespace.clone(), &key("k"), asked());
        request.begin().expect("works")
    };
    let claim = ask(&rerun).fresh();
    clock.advance(seconds(59));
    assert!(matches!(ask(&rerun).refused(), Refusal::InProgress { .. }));
    clock.advance(seconds(1));
    let ticket = ask(&rerun).interrupted();
    assert!(ticket.is_overdue());
    assert_eq!(ticket.fence(), claim.fence());
    // While its fence stands the holder may go on.
    let until = claim.renew().expect("renewed");
    assert_eq!(until, START.saturating_add(seconds(120)));
    assert_eq!(claim.lease_until(), until);
    assert!(matches!(ask(&rerun).refused(), Refusal::InProgress { .. }));
    clock.advance(seconds(60));
    let ticket = ask(&rerun).interrupted();
    let taken = ticket.rerun().expect("an explicit ticket may");
    assert_eq!(taken.attempt(), 2);
    let error = claim.renew().expect_err("superseded");
    assert!(matches!(error, EndingError::Superseded));
    taken.complete("second").expect("stored");
}

#[test]
fn a_claim_completes_long_after_its_lease_if_nobody_took_over() {
    let (ledger, clock) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    clock.advance(seconds(30 * 3_600));
    claim.complete("late").expect("stored");
    assert_eq!(begin(&ledger, "k").replay().response().bytes(), b"late");
}

#[test]
fn rerun_takes_an_interrupted_key_over_without_asking() {
    let rerun = PAYMENTS.policy(Policy::DEFAULT.on_interrupted(OnInterrupted::Rerun));
    let (ledger, _) = in_memory();
    let request = || ledger.operation(rerun.clone(), &key("k"), asked());
    let claim = request().begin().expect("works").fresh();
    claim.checkpoint("authorized", b"ch_1").expect("stored");
    let (fence, child) = (claim.fence(), claim.child_key("stripe"));
    drop(claim);
    let claim = request().begin().expect("works").fresh();
    assert!(claim.fence() > fence);
    assert_eq!((claim.attempt(), claim.child_key("stripe")), (2, child));
    let checkpoint = claim.last_checkpoint().expect("handed over");
    assert_eq!(
        (checkpoint.name.as_str(), checkpoint.bytes.as_slice()),
        ("authorized", &b"ch_1"[..])
    );
    // Another request never takes it over, whatever the policy says.
    drop(claim);
    let other = ledger.operation(rerun.clone(), &key("k"), Fingerprint::of(["other"]));
    assert_eq!(other.begin().expect("works").refused(), Refusal::Mismatch);
}

#[test]
fn a_checkpoint_rules_a_release_out_and_is_handed_over() {
    let (ledger, _) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    assert_eq!(claim.last_checkpoint(), None);
    claim.checkpoint("authorized", b"ch_1").expect("stored");
    claim.checkpoint("captured", b"").expect("stored");
    let failed = claim.release().expect_err("part of it happened");
    assert!(
        matches!(failed.error, EndingError::HasCheckpoint),
        "{failed}"
    );
    assert_eq!(
        failed.claim.last_checkpoint().map(|it| it.name),
        Some("captured".to_owned())
    );
    drop(failed.claim);
    let ticket = begin(&ledger, "k").interrupted();
    assert_eq!(
        ticket.checkpoint().map(|it| it.name.as_str()),
        Some("captured")
    );
    let failed = ticket.release().expect_err("part of it happened");
    assert!(
        matches!(failed.error, EndingError::HasCheckpoint),
        "{failed}"
    );
    let claim = failed.ticket.rerun().expect("taken over");
    claim.complete("done").expect("stored");
    assert_eq!(
        peek(&ledger, "k").and_then(|info| info.checkpoint().cloned()),
        None
    );
}

#[test]
fn keep_alive_renews_every_third_of_the_lease() {
    let (ledger, clock) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    let alive = claim.keep_alive();
    for round in 1..=10 {
        until("the thread waits", || clock.waiting() == 1);
        clock.advance(seconds(20));
        let renewed = START.saturating_add(seconds(20 * round + 60));
        let stored = || peek(&ledger, "k").and_then(|info| info.lease_until());
        until("the lease is renewed", || stored() == Some(renewed));
        until("the claim knows", || claim.lease_until() == renewed);
        assert!(matches!(
            begin(&ledger, "k").refused(),
            Refusal::InProgress { .. }
        ));
    }
    drop(alive);
    assert_eq!(clock.waiting(), 0, "its thread has ended");
    clock.advance(seconds(60));
    assert!(begin(&ledger, "k").interrupted().is_overdue());
    claim.complete("done").expect("stored");
}

#[test]
fn keep_alive_gives_up_once_somebody_took_over() {
    let (ledger, clock) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    let alive = claim.keep_alive();
    until("the thread waits", || clock.waiting() == 1);
    // The machine slept: the thread comes too late.
    let held = ledger.write().expect("begins");
    clock.advance(seconds(60));
    until("the thread queues", || {
        ledger.stats().expect("counts").queued == 1
    });
    let request = ledger.operation(PAYMENTS, &key("k"), asked());
    match request.begin_in(&held).expect("works") {
        idempotency_ledger::BeginIn::Interrupted(ticket) => {
            assert!(ticket.is_overdue());
            ticket.release().expect("released");
        }
        other => panic!("expected a ticket, got {other:?}"),
    }
    let _ = held.commit().expect("commits");
    until("the thread ends", || {
        ledger.stats().expect("counts").queued == 0 && clock.waiting() == 0
    });
    assert_eq!(peek(&ledger, "k"), None);
    drop(alive);
    let error = claim.complete("late").expect_err("superseded").error;
    assert!(matches!(error, EndingError::Superseded));
}

#[test]
fn a_claim_moves_between_threads_and_outlives_its_ledger_handle() {
    let (ledger, _) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    let handle = ledger.clone();
    drop(ledger);
    thread::spawn(move || {
        claim
            .complete("elsewhere")
            .map(drop)
            .map_err(|failed| failed.error)
    })
    .join()
    .expect("no panic")
    .expect("stored");
    assert_eq!(
        begin(&handle, "k").replay().response().bytes(),
        b"elsewhere"
    );
}

#[test]
fn resolving_by_hand_supersedes_a_ticket() {
    let (ledger, _) = in_memory();
    drop(begin(&ledger, "k").fresh());
    let ticket = begin(&ledger, "k").interrupted();
    let record = ledger.record(PAYMENTS, &key("k"));
    let resolved = record.resolve(Resolution::Released).expect("works");
    assert_eq!(resolved, Resolved::Done);
    let lost = ticket.rerun().expect_err("too late");
    assert!(matches!(lost.error, EndingError::Superseded));
    assert_eq!(begin(&ledger, "k").fresh().attempt(), 1);
}

/// Storage that stops the first read from now on until the test says so, with what tells that it
/// has stopped and what lets it go on.
fn stop_next_read(storage: &Watched) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (told, stopped) = mpsc::channel();
    let (go_on, may_go_on) = mpsc::channel();
    let once = Mutex::new(Some((told, may_go_on)));
    storage.script(move |_, step| {
        if step == Step::Read {
            let taken = once.lock().expect("no panic").take();
            if let Some((told, may_go_on)) = taken {
                told.send(()).expect("somebody waits");
                let _ = may_go_on.recv();
            }
        }
        Fate::Pass
    });
    (stopped, go_on)
}

/// A look that says whether it found the answer.
type Look = fn(&Ledger) -> bool;

/// A holder commits its answer and is gone then. Whoever read the claim before the commit and
/// looks for the holder behind it must not take the two for an interruption.
#[test]
fn a_holder_that_completes_while_somebody_looks_is_not_taken_for_gone() {
    let storage = Watched::new(Disk::default());
    let builder = Ledger::builder().clock(clock()).cache_bytes(0);
    let ledger = builder.open_backend(storage.clone()).expect("opens");
    let looks: [(&str, Look); 2] = [
        ("begin", |ledger| {
            matches!(begin(ledger, "begin"), Begin::Replay(_))
        }),
        ("peek", |ledger| {
            peek(ledger, "peek").is_some_and(|info| info.response().is_some())
        }),
    ];
    for (text, look) in looks {
        let claim = begin(&ledger, text).fresh();
        let (stopped, go_on) = stop_next_read(&storage);
        thread::scope(|scope| {
            let looking = scope.spawn(|| look(&ledger));
            stopped.recv().expect("it reads");
            claim.complete("done").expect("stored");
            go_on.send(()).expect("it waits");
            assert!(looking.join().expect("no panic"), "{text}");
        });
    }
}

#[test]
fn a_kept_lease_is_let_go_while_the_same_thread_holds_the_writer() {
    let (ledger, clock) = in_memory();
    let claim = begin(&ledger, "a").fresh();
    let txn = ledger.write().expect("begins");
    let kept = claim.keep_alive();
    until("it waits for its next third", || clock.waiting() == 1);
    clock.advance(seconds(21));
    await_queue(&ledger, 1);
    // It would wait for the writer, and the writer for it.
    drop(kept);
    claim.complete_in(&txn, "charged").expect("stored");
    let _ = txn.commit().expect("commits");
    assert_eq!(begin(&ledger, "a").replay().response().bytes(), b"charged");
}
