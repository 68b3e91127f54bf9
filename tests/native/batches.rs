//! Batches: how many syncs operations take, alone and together, and the limits of batch and queue.

use std::convert::Infallible;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Duration;

use idempotency_ledger::{
    Begin, Claim, CommitProfile, Error, Fingerprint, Ledger, ManualClock, Namespace, Policy,
    Refusal, Resolution, RunError,
};
use idempotency_tests::storage::{Counts, Watched};
use idempotency_tests::workload::{Bench, SHORT, Work, await_queue, ledgers_own};
use idempotency_tests::{Expect, PAYMENTS, asked, begin, clock, key, seconds, until};
use redb::backends::InMemoryBackend;

const MEBIBYTE: usize = 1024 * 1024;

/// A namespace whose answers may be larger than a batch.
const LARGE: Namespace =
    Namespace::new("large").policy(Policy::DEFAULT.response_bytes_max(16 * 1024 * 1024));

fn counted(profile: CommitProfile) -> (Ledger, Watched, ManualClock) {
    let storage = Watched::new(InMemoryBackend::new());
    let clock = clock();
    let ledger = Ledger::builder()
        .clock(clock.clone())
        .commit_profile(profile)
        .open_backend(storage.clone())
        .expect("opens");
    (ledger, storage, clock)
}

/// Makes room inside the file, so that the commits to be counted do not grow it.
fn make_room(ledger: &Ledger, clock: &ManualClock) {
    for number in 0..32 {
        let request = ledger.operation(SHORT, &key(&format!("room-{number}")), asked());
        let claim = request.begin().expect("works").fresh();
        claim.complete(vec![0; 64 * 1024]).expect("stored");
    }
    clock.advance(seconds(2));
    while ledger.sweep(256).expect("sweeps").more {}
}

/// What a piece of work did to the storage; it must not have grown the file.
fn count(storage: &Watched, work: impl FnOnce()) -> Counts {
    let before = storage.counts();
    work();
    let after = storage.counts();
    assert_eq!(after.growths, before.growths, "the file did not grow");
    Counts {
        writes: after.writes - before.writes,
        syncs: after.syncs - before.syncs,
        ..Counts::default()
    }
}

/// Commits since the ledger was opened.
fn commits(ledger: &Ledger) -> u64 {
    ledger.stats().expect("reads").commits
}

/// Queues one call after the other behind an open transaction, ends that, and joins them.
fn queued_behind_a_transaction<T: Send>(
    ledger: &Ledger,
    calls: impl IntoIterator<Item = Box<dyn FnOnce() -> T + Send>>,
) -> Vec<T> {
    let txn = ledger.write().expect("begins");
    thread::scope(|scope| {
        let mut queued = Vec::new();
        for call in calls {
            queued.push(spawn(scope, call));
            await_queue(ledger, queued.len());
        }
        txn.abort();
        queued.into_iter().map(joined).collect()
    })
}

fn spawn<'s, T: Send + 's>(
    scope: &'s Scope<'s, '_>,
    call: impl FnOnce() -> T + Send + 's,
) -> ScopedJoinHandle<'s, T> {
    // Thousands of them have to fit.
    let builder = thread::Builder::new().stack_size(512 * 1024);
    builder.spawn_scoped(scope, call).expect("a thread")
}

fn joined<T>(handle: ScopedJoinHandle<'_, T>) -> T {
    handle.join().expect("no panic")
}

/// Calls that begin on so many keys.
fn begins(ledger: &Ledger, keys: usize) -> Vec<Box<dyn FnOnce() -> Claim + Send>> {
    let call = |number| -> Box<dyn FnOnce() -> Claim + Send> {
        let request = ledger.operation(PAYMENTS, &key(&format!("k-{number}")), asked());
        Box::new(move || request.begin().expect("works").fresh())
    };
    (0..keys).map(call).collect()
}

/// Calls that complete claims of [`LARGE`] with answers of these sizes.
fn completions(ledger: &Ledger, sizes: &[usize]) -> Vec<Box<dyn FnOnce() + Send>> {
    let call = |(number, &bytes): (usize, &usize)| -> Box<dyn FnOnce() + Send> {
        let request = ledger.operation(LARGE, &key(&format!("l-{number}")), asked());
        let claim = request.begin().expect("works").fresh();
        Box::new(move || drop(claim.complete(vec![1; bytes]).expect("stored")))
    };
    sizes.iter().enumerate().map(call).collect()
}

#[test]
fn a_lone_durable_operation_takes_exactly_one_sync() {
    for work in Work::ALL {
        // A compaction is several commits, and a two-phase commit is two syncs.
        let expected = match work {
            Work::Compact => continue,
            _ => [(CommitProfile::OnePhase, 1), (CommitProfile::TwoPhase, 2)],
        };
        for (profile, syncs) in expected {
            let (ledger, storage, clock) = counted(profile);
            make_room(&ledger, &clock);
            let mut bench = Bench::new(work, ledger, &clock);
            let done = count(&storage, || bench.act().expect("works"));
            assert_eq!(done.syncs, syncs, "{work:?} {profile:?}");
        }
    }
    let (ledger, storage, clock) = counted(CommitProfile::OnePhase);
    make_room(&ledger, &clock);
    let done = count(&storage, || {
        for number in 0..100 {
            let claim = begin(&ledger, &format!("k-{number}")).fresh();
            claim.complete("charged").expect("stored");
        }
    });
    assert_eq!(done.syncs, 200);
}

#[test]
fn looking_writes_nothing() {
    let (ledger, storage, clock) = counted(CommitProfile::OnePhase);
    make_room(&ledger, &clock);
    begin(&ledger, "done")
        .fresh()
        .complete("a")
        .expect("stored");
    let held = begin(&ledger, "held").fresh();
    drop(begin(&ledger, "lost").fresh());
    let other = Fingerprint::of(["pay", "26 EUR"]);
    let looked = count(&storage, || {
        drop(begin(&ledger, "done").replay());
        let refused = begin(&ledger, "held").refused();
        assert!(matches!(refused, Refusal::InProgress { .. }));
        drop(begin(&ledger, "lost").interrupted());
        let mismatch = ledger.operation(PAYMENTS, &key("done"), other).begin();
        assert_eq!(mismatch.expect("works").refused(), Refusal::Mismatch);
        assert!(
            ledger
                .record(PAYMENTS, &key("done"))
                .peek()
                .expect("reads")
                .is_some()
        );
        assert_eq!(ledger.sweep(10).expect("sweeps").removed, 0);
        assert_eq!(ledger.stats().expect("reads").records(), 3);
    });
    assert_eq!(looked, Counts::default());
    drop(held);
}

#[test]
fn sixty_four_callers_share_one_sync() {
    let (ledger, storage, clock) = counted(CommitProfile::OnePhase);
    make_room(&ledger, &clock);
    for _ in 0..3 {
        let mut claims = Vec::new();
        let begun = count(&storage, || {
            claims = queued_behind_a_transaction(&ledger, begins(&ledger, 64));
        });
        assert_eq!(begun.syncs, 1, "64 claims, so 0.016 a claim");
        let fences: Vec<_> = claims.iter().map(Claim::fence).collect();
        assert!(
            fences.is_sorted(),
            "who came first is served first: {fences:?}"
        );
        let calls = claims.into_iter().map(|claim| -> Box<dyn FnOnce() + Send> {
            Box::new(move || claim.release().expect("released"))
        });
        let calls: Vec<_> = calls.collect();
        let ended = count(&storage, || {
            drop(queued_behind_a_transaction(&ledger, calls));
        });
        assert_eq!(ended.syncs, 1);
    }
}

#[test]
fn a_batch_holds_256_operations_and_not_one_more() {
    for (callers, batches) in [(255, 1), (256, 1), (257, 2)] {
        let (ledger, _, _) = counted(CommitProfile::OnePhase);
        let before = commits(&ledger);
        let claims = queued_behind_a_transaction(&ledger, begins(&ledger, callers));
        assert_eq!(claims.len(), callers);
        assert_eq!(commits(&ledger) - before, batches, "{callers} callers");
    }
}

#[test]
fn a_batch_holds_four_mebibytes_and_a_larger_operation_is_a_batch_of_its_own() {
    let cases: [(&[usize], u64); 6] = [
        // An operation counts a little more than its answer.
        (&[MEBIBYTE - 1_024; 4], 1),
        (&[MEBIBYTE; 4], 2),
        (&[2 * MEBIBYTE, MEBIBYTE, MEBIBYTE], 2),
        (&[1, 5 * MEBIBYTE, 1, 1], 3),
        (&[5 * MEBIBYTE, 5 * MEBIBYTE], 2),
        (&[5 * MEBIBYTE], 1),
    ];
    for (sizes, batches) in cases {
        let (ledger, _, _) = counted(CommitProfile::OnePhase);
        let calls = completions(&ledger, sizes);
        let before = commits(&ledger);
        queued_behind_a_transaction(&ledger, calls);
        assert_eq!(commits(&ledger) - before, batches, "{sizes:?}");
        assert!(ledger.check().expect("checks").is_clean());
    }
}

#[test]
fn a_transaction_of_the_callers_own_is_a_batch_of_its_own() {
    let (ledger, _, _) = counted(CommitProfile::OnePhase);
    let before = commits(&ledger);
    let begin_on = |text: &str| -> Box<dyn FnOnce() + Send> {
        let request = ledger.operation(PAYMENTS, &key(text), asked());
        Box::new(move || drop(request.begin().expect("works").fresh()))
    };
    let own = ledger.operation(PAYMENTS, &key("own"), asked());
    let transact = Box::new(move || {
        let done = own.transact_bytes(|_, _| -> Result<_, Infallible> { Ok("done") });
        assert!(!done.expect("works").is_replay());
    });
    let calls = [
        begin_on("a"),
        begin_on("b"),
        transact,
        begin_on("c"),
        begin_on("d"),
    ];
    queued_behind_a_transaction(&ledger, calls);
    assert_eq!(commits(&ledger) - before, 3);
}

/// Begins, and is refused without having waited.
fn is_busy_at_once<'s>(ledger: &Ledger, text: &str, scope: &'s Scope<'s, '_>) {
    let request = ledger.operation(PAYMENTS, &key(text), asked());
    let caller = spawn(scope, || request.begin());
    until("the queue refuses", || caller.is_finished());
    let refused = joined(caller);
    let is_busy = matches!(&refused, Err(Error::Busy { waited }) if waited.is_zero());
    assert!(is_busy, "{refused:?}");
}

#[test]
fn a_full_queue_is_busy_for_claims_and_has_room_for_endings() {
    const LIMIT: usize = 4_096;
    let (ledger, storage, _) = counted(CommitProfile::OnePhase);
    let held = begin(&ledger, "held").fresh();
    let before = commits(&ledger);
    let txn = ledger.write().expect("begins");
    thread::scope(|scope| {
        let spawned = begins(&ledger, LIMIT).into_iter();
        let callers: Vec<_> = spawned.map(|call| spawn(scope, call)).collect();
        await_queue(&ledger, LIMIT);
        let steps = storage.counts().steps();
        is_busy_at_once(&ledger, "one too many", scope);
        let ending = spawn(scope, || held.complete("it happened").expect("has room"));
        await_queue(&ledger, LIMIT + 1);
        assert_eq!(storage.counts().steps(), steps);
        txn.abort();
        assert_eq!(joined(ending).response().bytes(), b"it happened");
        for caller in callers {
            drop(joined(caller));
        }
    });
    assert_eq!(
        commits(&ledger) - before,
        17,
        "16 full batches and the ending"
    );
    drop(begin(&ledger, "one too many").fresh());
}

#[test]
fn a_queue_of_32_mebibytes_is_busy_for_claims_and_has_room_for_endings() {
    let (ledger, _, _) = counted(CommitProfile::OnePhase);
    let mut calls = completions(&ledger, &[MEBIBYTE; 33]).into_iter();
    let begin_on = |text: &str| ledger.operation(PAYMENTS, &key(text), asked());
    let txn = ledger.write().expect("begins");
    thread::scope(|scope| {
        let mut endings = Vec::new();
        for call in calls.by_ref().take(31) {
            endings.push(spawn(scope, call));
        }
        await_queue(&ledger, 31);
        let request = begin_on("fits");
        let fits = spawn(scope, || request.begin().expect("there is room").fresh());
        await_queue(&ledger, 32);
        for call in calls {
            endings.push(spawn(scope, call));
        }
        await_queue(&ledger, 34);
        is_busy_at_once(&ledger, "does not fit", scope);
        txn.abort();
        endings.into_iter().for_each(joined);
        drop(joined(fits));
    });
    assert!(ledger.check().expect("checks").is_clean());
}

#[test]
fn a_claim_waits_for_the_writer_until_the_busy_timeout_and_then_nothing_is_written() {
    let (ledger, storage, clock) = counted(CommitProfile::OnePhase);
    begin(&ledger, "first").fresh().release().expect("released");
    let wait = |advance: Duration| {
        let steps = storage.counts().steps();
        let txn = ledger.write().expect("begins");
        let request = ledger.operation(PAYMENTS, &key("k"), asked());
        let begun = thread::scope(|scope| {
            let caller = spawn(scope, || request.begin());
            while clock.waiting() < 1 {
                thread::yield_now();
            }
            clock.advance(advance);
            if advance >= seconds(5) {
                return joined(caller);
            }
            txn.abort();
            joined(caller)
        });
        (begun, storage.counts().steps() - steps)
    };
    let (busy, steps) = wait(seconds(5));
    assert!(
        matches!(busy, Err(Error::Busy { waited }) if waited == seconds(5)),
        "{busy:?}"
    );
    assert_eq!(steps, 0);
    let (begun, _) = wait(seconds(5) - Duration::from_millis(1));
    drop(begun.expect("in time").fresh());
}

#[test]
fn an_ending_waits_for_the_writer_as_long_as_it_takes() {
    let (ledger, _, clock) = counted(CommitProfile::OnePhase);
    let held = begin(&ledger, "held").fresh();
    let txn = ledger.write().expect("begins");
    thread::scope(|scope| {
        let ending = spawn(scope, || held.complete("late").expect("never busy"));
        while clock.waiting() < 1 {
            thread::yield_now();
        }
        clock.advance(seconds(3_600));
        txn.abort();
        assert_eq!(joined(ending).response().bytes(), b"late");
    });
}

#[test]
fn a_write_inside_an_open_transaction_is_an_error_and_no_deadlock() {
    let (ledger, storage, _) = counted(CommitProfile::OnePhase);
    let folder = tempfile::tempdir().expect("a folder");
    let held = begin(&ledger, "held").fresh();
    drop(begin(&ledger, "lost").fresh());
    let ticket = begin(&ledger, "lost").interrupted();
    let record = || ledger.record(PAYMENTS, &key("lost"));
    let request = || ledger.operation(PAYMENTS, &key("new"), asked());
    let txn = ledger.write().expect("begins");
    let steps = storage.counts().steps();
    let run = request().run_bytes(|_| -> Result<&str, Infallible> { unreachable!("never runs") });
    let transact = request().transact_bytes(|_, _| -> Result<&str, Infallible> { Ok("") });
    let in_run = |done: RunError<Infallible>| match done {
        RunError::Ledger(error) => error,
        other => panic!("unexpected: {other}"),
    };
    let completed = held.complete("a").expect_err("would deadlock");
    let held = completed.claim;
    let errors = [
        request().begin().err(),
        request().wait(seconds(1)).begin().err(),
        run.err().map(in_run),
        transact.err().map(in_run),
        ledger.write().err(),
        Some(ledgers_own(completed.error)),
        held.renew().err().map(ledgers_own),
        held.checkpoint("a", b"b").err().map(ledgers_own),
        ticket
            .release()
            .err()
            .map(|failed| ledgers_own(failed.error)),
        record().resolve(Resolution::Released).err(),
        record().forget().err(),
        ledger.sweep(1).err(),
        ledger.confirm_clock().err(),
        ledger.compact().err(),
        ledger.check().err(),
        ledger.backup(folder.path().join("copy.redb")).err(),
        ledger.clone().close().err(),
    ];
    for (number, error) in errors.into_iter().enumerate() {
        assert!(
            matches!(error, Some(Error::WouldDeadlock { .. })),
            "{number}: {error:?}"
        );
    }
    assert_eq!(storage.counts().steps(), steps);
    assert!(!folder.path().join("copy.redb").exists());
    txn.abort();
    held.complete("a").expect("stored");
    drop(begin(&ledger, "new").fresh());
}

#[test]
fn a_begin_inside_transact_is_an_error_and_no_deadlock() {
    let (ledger, _, _) = counted(CommitProfile::OnePhase);
    let outer = ledger.operation(PAYMENTS, &key("outer"), asked());
    let done = outer.transact_bytes(|_, _| -> Result<_, Infallible> {
        for text in ["outer", "inner"] {
            let inner = ledger.operation(PAYMENTS, &key(text), asked()).begin();
            assert!(
                matches!(inner, Err(Error::WouldDeadlock { .. })),
                "{inner:?}"
            );
        }
        Ok("done")
    });
    assert_eq!(done.expect("works").into_inner().bytes(), b"done");
    drop(begin(&ledger, "inner").fresh());
}

#[test]
fn waiting_for_ones_own_claim_is_an_error_and_no_deadlock() {
    let (ledger, _, clock) = counted(CommitProfile::OnePhase);
    let claim = begin(&ledger, "k").fresh();
    let waiting = || {
        let request = ledger.operation(PAYMENTS, &key("k"), asked());
        request.wait(seconds(10)).begin()
    };
    let own = waiting();
    assert!(matches!(own, Err(Error::WouldDeadlock { .. })), "{own:?}");
    thread::scope(|scope| {
        let other = spawn(scope, waiting);
        while clock.waiting() < 1 {
            thread::yield_now();
        }
        claim.complete("a").expect("stored");
        match joined(other) {
            Ok(Begin::Replay(replay)) => assert_eq!(replay.response().bytes(), b"a"),
            other => panic!("unexpected: {other:?}"),
        }
    });
}
