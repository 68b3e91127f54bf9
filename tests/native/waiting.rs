//! Duplicates that wait for the winner: woken, never polling, and never beyond the lease.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::thread::{self, ScopedJoinHandle};
use std::time::Duration;

use idempotency_ledger::{
    Begin, Error, Ledger, ManualClock, Namespace, OnInterrupted, Policy, Refusal, RunError,
};
use idempotency_tests::{Expect, PAYMENTS, asked, begin, held, in_memory, key, seconds, until};

const REPEATABLE: Namespace =
    Namespace::new("repeatable").policy(Policy::DEFAULT.on_interrupted(OnInterrupted::Rerun));
const WAITERS: usize = 8;

fn begin_waiting(ledger: &Ledger, namespace: Namespace, patience: Duration) -> Begin {
    let request = ledger.operation(namespace, &key("k"), asked());
    request.wait(patience).begin().expect("the ledger works")
}

fn until_waiting(clock: &ManualClock, count: usize) {
    until("so many calls wait", || clock.waiting() == count);
}

/// What a thread comes to. One that nothing wakes is let go by the clock, so that the test fails
/// instead of hanging.
#[track_caller]
fn joined<T>(clock: &ManualClock, caller: ScopedJoinHandle<'_, T>) -> T {
    for _ in 0..5_000_000_u64 {
        if caller.is_finished() {
            return caller.join().expect("no panic");
        }
        thread::yield_now();
    }
    clock.advance(seconds(86_400));
    let _ = caller.join();
    panic!("nothing has woken the caller");
}

/// Starts callers that wait for the key, lets `happen` happen once all of them wait, and gives
/// what they made of what they got.
fn wait_for<T: Send>(
    (ledger, clock): (&Ledger, &ManualClock),
    namespace: &Namespace,
    happen: impl FnOnce(),
    make: impl Fn(Begin) -> T + Sync,
) -> Vec<T> {
    thread::scope(|scope| {
        let waiters: Vec<_> = (0..WAITERS)
            .map(|_| {
                let namespace = namespace.clone();
                scope.spawn(|| make(begin_waiting(ledger, namespace, seconds(30))))
            })
            .collect();
        until_waiting(clock, WAITERS);
        happen();
        let joined = waiters.into_iter().map(|waiter| joined(clock, waiter));
        joined.collect()
    })
}

#[test]
fn all_waiters_get_the_winners_bytes() {
    let (ledger, clock) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    let complete = || drop(claim.complete([0, 255, 7].as_slice()).expect("stored"));
    let replays = wait_for((&ledger, &clock), &PAYMENTS, complete, Begin::replay);
    assert_eq!(replays.len(), WAITERS);
    for replay in &replays {
        assert_eq!(replay.response().bytes(), [0, 255, 7]);
        assert_eq!(replay, &replays[0]);
    }
}

#[test]
fn when_the_winner_releases_exactly_one_waiter_runs() {
    let (ledger, clock) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    let ran = AtomicUsize::new(0);
    let release = || claim.release().expect("released");
    let answers = wait_for((&ledger, &clock), &PAYMENTS, release, |begun| match begun {
        Begin::Fresh(claim) => {
            ran.fetch_add(1, Ordering::SeqCst);
            claim.complete("second").expect("stored").into_response()
        }
        begun => begun.replay().into_response(),
    });
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    assert!(answers.iter().all(|answer| answer.bytes() == b"second"));
}

#[test]
fn when_the_winner_is_interrupted_all_waiters_are_told() {
    let (ledger, clock) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    let fence = claim.fence();
    let interrupt = || drop(claim);
    let tickets = wait_for((&ledger, &clock), &PAYMENTS, interrupt, Begin::interrupted);
    assert_eq!(tickets.len(), WAITERS);
    assert!(tickets.iter().all(|ticket| ticket.fence() == fence));
    assert!(tickets.iter().all(|ticket| !ticket.is_overdue()));
}

#[test]
fn where_the_policy_reruns_one_waiter_takes_over_and_the_others_wait_on() {
    let (ledger, clock) = in_memory();
    let request = ledger.operation(REPEATABLE, &key("k"), asked());
    let claim = request.begin().expect("works").fresh();
    let ran = AtomicUsize::new(0);
    let interrupt = || drop(claim);
    let answers = wait_for(
        (&ledger, &clock),
        &REPEATABLE,
        interrupt,
        |begun| match begun {
            Begin::Fresh(claim) => {
                ran.fetch_add(1, Ordering::SeqCst);
                assert_eq!(claim.attempt(), 2);
                // Some of the others wait for this claim by now, some have not looked yet.
                claim.complete("again").expect("stored").into_response()
            }
            begun => begun.replay().into_response(),
        },
    );
    assert_eq!(ran.load(Ordering::SeqCst), 1);
    assert!(answers.iter().all(|answer| answer.bytes() == b"again"));
}

#[test]
fn a_waiter_whose_patience_ends_is_refused_and_has_written_nothing() {
    let (ledger, clock) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    let before = ledger.stats().expect("counts");
    let refusal = thread::scope(|scope| {
        let waiter = scope.spawn(|| begin_waiting(&ledger, PAYMENTS, seconds(5)).refused());
        until_waiting(&clock, 1);
        clock.advance(Duration::from_millis(4_999));
        until_waiting(&clock, 1);
        clock.advance(Duration::from_millis(1));
        joined(&clock, waiter)
    });
    let retry_after = seconds(1);
    assert_eq!(refusal, Refusal::InProgress { retry_after });
    let after = ledger.stats().expect("counts");
    assert_eq!(after.commits, before.commits);
    assert_eq!(after.fence, before.fence);
    assert_eq!(held(after), held(before));
    claim.complete("done").expect("the winner is undisturbed");
}

#[test]
fn a_waiter_that_gave_up_swallows_no_wake() {
    let (ledger, clock) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    thread::scope(|scope| {
        let first = scope.spawn(|| begin_waiting(&ledger, PAYMENTS, seconds(1)).refused());
        until_waiting(&clock, 1);
        let second = scope.spawn(|| begin_waiting(&ledger, PAYMENTS, seconds(30)).fresh());
        until_waiting(&clock, 2);
        clock.advance(seconds(1));
        assert!(matches!(joined(&clock, first), Refusal::InProgress { .. }));
        until_waiting(&clock, 1);
        claim.release().expect("released");
        let claim = joined(&clock, second);
        claim.complete("done").expect("stored");
    });
}

#[test]
fn nobody_waits_beyond_the_lease() {
    let (ledger, clock) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    thread::scope(|scope| {
        let patience = seconds(3_600);
        let waiter = scope.spawn(move || {
            let (ledger, namespace) = (&ledger, PAYMENTS);
            let ticket = begin_waiting(ledger, namespace, patience).interrupted();
            assert!(ticket.is_overdue());
            ticket.fence()
        });
        until_waiting(&clock, 1);
        clock.advance(seconds(60));
        assert_eq!(joined(&clock, waiter), claim.fence());
    });
    // The holder lives and nobody took over: it still completes.
    claim.complete("late").expect("stored");
}

#[test]
fn an_overdue_holder_is_not_taken_over_by_a_waiter_even_where_the_policy_reruns() {
    let (ledger, clock) = in_memory();
    let request = ledger.operation(REPEATABLE, &key("k"), asked());
    let claim = request.begin().expect("works").fresh();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| begin_waiting(&ledger, REPEATABLE, seconds(3_600)));
        until_waiting(&clock, 1);
        clock.advance(seconds(60));
        let ticket = joined(&clock, waiter).interrupted();
        assert!(ticket.is_overdue());
    });
    let replay = claim.complete("late").expect("stored");
    assert_eq!(replay.attempts(), 1);
}

#[test]
fn a_renewal_lets_waiters_wait_on() {
    let (ledger, clock) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| begin_waiting(&ledger, PAYMENTS, seconds(3_600)).replay());
        until_waiting(&clock, 1);
        clock.advance(seconds(40));
        claim.renew().expect("renewed");
        // Beyond the lease that the waiter knows of: it looks again and waits for the new one.
        clock.advance(seconds(30));
        claim.complete("done").expect("stored");
        assert_eq!(joined(&clock, waiter).response().bytes(), b"done");
    });
}

#[test]
fn waiting_for_ones_own_claim_is_an_error_and_not_a_deadlock() {
    let (ledger, _) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    let request = ledger.operation(PAYMENTS, &key("k"), asked());
    let error = request.clone().wait(seconds(5)).begin();
    assert!(
        matches!(error, Err(Error::WouldDeadlock { .. })),
        "{error:?}"
    );
    let error = request
        .wait(seconds(5))
        .run_bytes(|_| Ok::<_, Infallible>("twice"));
    assert!(matches!(
        error,
        Err(RunError::Ledger(Error::WouldDeadlock { .. }))
    ));
    // Without waiting it is a duplicate like any other.
    assert!(matches!(
        begin(&ledger, "k").refused(),
        Refusal::InProgress { .. }
    ));
    claim.complete("once").expect("stored");
}

#[test]
fn a_claim_that_another_thread_works_with_is_waited_for() {
    let (ledger, _) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    thread::scope(|scope| {
        let (used, release) = (mpsc::channel(), mpsc::channel::<()>());
        scope.spawn(move || {
            claim.renew().expect("renewed");
            used.0.send(()).expect("heard");
            let _ = release.1.recv();
            claim.complete("done").expect("stored");
        });
        used.1.recv().expect("told");
        // No patience at all, so this asks only whether it would wait.
        let begun = begin_waiting(&ledger, PAYMENTS, Duration::ZERO);
        assert!(matches!(begun.refused(), Refusal::InProgress { .. }));
        drop(release.0);
    });
}

/// The thread that leads a batch begins for others too; their claims are not its own.
#[test]
fn a_claim_that_was_committed_by_another_callers_thread_is_waited_for() {
    let (ledger, _) = in_memory();
    let (told, asks) = mpsc::channel();
    thread::scope(|scope| {
        let ledger = &ledger;
        let held = ledger.write().expect("begins");
        let leader = scope.spawn(move || {
            let own = begin(ledger, "leads").fresh();
            asks.recv().expect("told");
            let request = ledger.operation(PAYMENTS, &key("k"), asked());
            let begun = request.wait(Duration::ZERO).begin();
            own.complete("done").expect("stored");
            begun
        });
        until("the leader queues", || {
            ledger.stats().expect("counts").queued == 1
        });
        let follower = scope.spawn(|| begin(ledger, "k").fresh());
        until("the follower queues", || {
            ledger.stats().expect("counts").queued == 2
        });
        held.abort();
        let claim = follower.join().expect("no panic");
        told.send(()).expect("heard");
        let begun = leader
            .join()
            .expect("no panic")
            .expect("it would wait, and may");
        assert!(matches!(begun.refused(), Refusal::InProgress { .. }));
        claim.complete("done").expect("stored");
    });
}

#[test]
fn concurrent_runs_run_the_closure_once() {
    let (ledger, clock) = in_memory();
    let runs = AtomicUsize::new(0);
    let run = || {
        let request = ledger.operation(PAYMENTS, &key("k"), asked());
        request.wait(seconds(30)).run_bytes(|_| {
            runs.fetch_add(1, Ordering::SeqCst);
            until_waiting(&clock, WAITERS - 1);
            Ok::<_, Infallible>("charged")
        })
    };
    let outcomes: Vec<_> = thread::scope(|scope| {
        let callers: Vec<_> = (0..WAITERS).map(|_| scope.spawn(run)).collect();
        let outcomes = callers.into_iter().map(|caller| joined(&clock, caller));
        outcomes.map(|outcome| outcome.expect("runs")).collect()
    });
    assert_eq!(runs.load(Ordering::SeqCst), 1);
    let fresh = outcomes.iter().filter(|outcome| !outcome.is_replay());
    assert_eq!(fresh.count(), 1);
    assert!(
        outcomes
            .iter()
            .all(|outcome| outcome.get().bytes() == b"charged")
    );
}

#[test]
fn transact_waits_for_a_claim_too() {
    let (ledger, clock) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    let outcome = thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let request = ledger.operation(PAYMENTS, &key("k"), asked());
            request
                .wait(seconds(30))
                .transact_bytes(|_, _| -> Result<&str, Infallible> { panic!("it ran already") })
                .expect("the winner's answer")
        });
        until_waiting(&clock, 1);
        claim.complete("charged").expect("stored");
        joined(&clock, waiter)
    });
    assert!(outcome.is_replay());
    assert_eq!(outcome.get().bytes(), b"charged");
}
