//! The asynchronous twins: the same promises, and no thread is held while one waits.

use std::convert::Infallible;
use std::future::Future;
use std::io::ErrorKind;
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Waker};
use std::thread;

use idempotency_ledger::{
    Begin, Claim, EndingError, Error, Ledger, ManualClock, Outcome, Refusal, Response, RunError,
    Ticket,
};
use idempotency_tests::storage::{Disk, Survivors, Watched};
use idempotency_tests::workload::BALANCES;
use idempotency_tests::{Expect, PAYMENTS, asked, begin, clock, in_memory, key, seconds, until};
use redb::ReadableTable;
use tokio::runtime::{Builder, Runtime};

fn one_thread() -> Runtime {
    Builder::new_current_thread().build().expect("starts")
}

fn several_threads() -> Runtime {
    let builder = &mut Builder::new_multi_thread();
    builder.worker_threads(2).build().expect("starts")
}

async fn begin_async(ledger: &Ledger, text: &str) -> Begin {
    let request = ledger.operation(PAYMENTS, &key(text), asked());
    request.begin_async().await.expect("the ledger works")
}

/// Lets a future go as far as it can without waiting.
fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// Does something while another thread holds the writer.
fn while_the_writer_is_held<R>(ledger: &Ledger, work: impl FnOnce() -> R) -> R {
    let (held, is_held) = mpsc::channel();
    let (over, is_over) = mpsc::channel::<()>();
    thread::scope(|scope| {
        scope.spawn(move || {
            let txn = ledger.write().expect("begins");
            held.send(()).expect("somebody listens");
            let _ = is_over.recv();
            txn.abort();
        });
        is_held.recv().expect("it begins");
        let done = work();
        drop(over);
        done
    })
}

fn stored(ledger: &Ledger, text: &str) -> bool {
    let record = ledger.record(PAYMENTS, &key(text)).peek();
    record.expect("reads").is_some()
}

#[test]
fn a_claim_is_begun_renewed_checkpointed_completed_and_replayed() {
    let (ledger, clock) = in_memory();
    one_thread().block_on(async {
        let claim = begin_async(&ledger, "a").await.fresh();
        clock.advance(seconds(10));
        let until = claim.renew_async().await.expect("renewed");
        assert_eq!(
            (until, claim.lease_until()),
            (ledger.now().saturating_add(seconds(60)), until)
        );
        claim
            .checkpoint_async("half", b"way")
            .await
            .expect("stored");
        let name = claim.last_checkpoint().map(|reached| reached.name);
        assert_eq!(name.as_deref(), Some("half"));
        let failed = claim
            .release_async()
            .await
            .expect_err("part of it happened");
        assert!(matches!(failed.error, EndingError::HasCheckpoint));
        let replay = failed
            .claim
            .complete_async("charged")
            .await
            .expect("stored");
        assert_eq!(begin_async(&ledger, "a").await.replay(), replay);

        let claim = begin_async(&ledger, "b").await.fresh();
        claim.release_async().await.expect("released");
        drop(begin_async(&ledger, "b").await.fresh());
        let ticket = begin_async(&ledger, "b").await.interrupted();
        let late = begin_async(&ledger, "b").await.interrupted();
        let claim = ticket.rerun_async().await.expect("taken over");
        assert_eq!(claim.attempt(), 2);
        let failed = late.release_async().await.expect_err("the first has won");
        assert!(matches!(failed.error, EndingError::Superseded));
        drop(claim);
        let ticket = begin_async(&ledger, "b").await.interrupted();
        let replay = ticket.complete_async("it happened").await.expect("stored");
        assert_eq!(begin(&ledger, "b").replay(), replay);
    });
}

#[test]
fn of_fifty_racing_tasks_one_gets_a_claim_each_round() {
    let (ledger, _clock) = in_memory();
    several_threads().block_on(async {
        for round in 0..20 {
            let racers: Vec<_> = (0..50)
                .map(|_| {
                    let ledger = ledger.clone();
                    tokio::spawn(async move { begin_async(&ledger, &round.to_string()).await })
                })
                .collect();
            let mut claims = Vec::new();
            for racer in racers {
                match racer.await.expect("no panic") {
                    Begin::Fresh(claim) => claims.push(claim),
                    other => assert!(matches!(other, Begin::Refused(_)), "{other:?}"),
                }
            }
            assert_eq!(claims.len(), 1, "round {round}");
        }
    });
}

#[cfg(target_os = "linux")]
fn threads_of_this_process() -> usize {
    std::fs::read_dir("/proc/self/task")
        .expect("Linux has it")
        .count()
}

#[test]
fn a_thousand_tasks_wait_on_one_thread_and_all_get_the_winners_bytes() {
    let (ledger, _clock) = in_memory();
    one_thread().block_on(async {
        let claim = begin_async(&ledger, "a").await.fresh();
        let waiters: Vec<_> = (0..1_000)
            .map(|_| {
                let request = ledger.operation(PAYMENTS, &key("a"), asked());
                tokio::task::spawn(request.wait(seconds(30)).begin_async())
            })
            .collect();
        // Each of them is polled once, and waits.
        tokio::task::yield_now().await;
        #[cfg(target_os = "linux")]
        assert!(threads_of_this_process() < 500, "no thread for each");
        assert!(waiters.iter().all(|waiter| !waiter.is_finished()));
        claim.complete_async("charged").await.expect("stored");
        for waiter in waiters {
            let begun = waiter.await.expect("no panic").expect("works");
            assert_eq!(begun.replay().response().bytes(), b"charged");
        }
    });
}

#[test]
fn when_the_winner_releases_exactly_one_waiting_task_runs() {
    let (ledger, _clock) = in_memory();
    one_thread().block_on(async {
        let claim = begin_async(&ledger, "a").await.fresh();
        let waiters: Vec<_> = (0..20)
            .map(|_| {
                let request = ledger.operation(PAYMENTS, &key("a"), asked());
                tokio::task::spawn(request.wait(seconds(30)).begin_async())
            })
            .collect();
        tokio::task::yield_now().await;
        claim.release_async().await.expect("released");
        let mut ran = 0;
        for waiter in waiters {
            match waiter.await.expect("no panic").expect("works") {
                Begin::Fresh(claim) => {
                    ran += 1;
                    claim.complete_async("second").await.expect("stored");
                }
                Begin::Replay(replay) => assert_eq!(replay.response().bytes(), b"second"),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(ran, 1);
    });
}

#[test]
fn patience_and_leases_end_by_the_ledgers_clock() {
    let (ledger, clock) = in_memory();
    let runtime = several_threads();
    let claim = begin(&ledger, "a").fresh();
    let request = ledger.operation(PAYMENTS, &key("a"), asked());
    let impatient = runtime.spawn(request.clone().wait(seconds(5)).begin_async());
    // The alarm thread waits for the clock, beside nobody else.
    until("the alarm is set", || clock.waiting() == 1);
    clock.advance(seconds(4));
    assert!(!impatient.is_finished());
    clock.advance(seconds(1));
    let refused = runtime
        .block_on(impatient)
        .expect("no panic")
        .expect("works");
    assert!(matches!(refused.refused(), Refusal::InProgress { .. }));

    let patient = runtime.spawn(request.wait(seconds(600)).begin_async());
    clock.advance(seconds(55));
    let ticket = runtime
        .block_on(patient)
        .expect("no panic")
        .expect("works")
        .interrupted();
    assert!(ticket.is_overdue(), "its holder lives");
    claim.complete("late").expect("stored");
}

#[test]
fn a_claim_that_was_made_for_nobody_is_released() {
    let (ledger, _clock) = in_memory();
    // Dropped while it queues behind the writer, and dropped with its answer.
    while_the_writer_is_held(&ledger, || {
        let mut beginning = pin!(begin_async(&ledger, "a"));
        assert!(poll_once(beginning.as_mut()).is_pending());
    });
    {
        let mut beginning = pin!(begin_async(&ledger, "b"));
        assert!(poll_once(beginning.as_mut()).is_pending());
        until("it is claimed", || stored(&ledger, "b"));
    }
    until("both are released", || {
        !stored(&ledger, "a") && !stored(&ledger, "b")
    });
    for text in ["a", "b"] {
        drop(begin(&ledger, text).fresh());
    }
}

#[test]
fn a_completion_whose_caller_is_gone_is_stored() {
    let (ledger, _clock) = in_memory();
    let claim = begin(&ledger, "a").fresh();
    while_the_writer_is_held(&ledger, || {
        {
            let mut completing = pin!(claim.complete_async("charged"));
            assert!(poll_once(completing.as_mut()).is_pending());
        }
        // Meanwhile it is not interrupted: the claim lives until it is completed.
        let looked = ledger.record(PAYMENTS, &key("a")).peek();
        let looked = looked.expect("reads").expect("there");
        assert_eq!(looked.state().as_str(), "claimed");
    });
    until("it is completed", || {
        let record = ledger.record(PAYMENTS, &key("a")).peek().expect("reads");
        record.is_some_and(|info| info.response().is_some())
    });
}

#[test]
fn operations_that_queue_share_a_commit() {
    let (ledger, _clock) = in_memory();
    let names: Vec<String> = (0..200).map(|number| number.to_string()).collect();
    let before = ledger.stats().expect("counts").commits;
    let waiting = while_the_writer_is_held(&ledger, || {
        let mut waiting: Vec<_> = names
            .iter()
            .map(|text| Box::pin(begin_async(&ledger, text)))
            .collect();
        for beginning in &mut waiting {
            assert!(poll_once(beginning.as_mut()).is_pending());
        }
        waiting
    });
    let claims: Vec<Claim> = one_thread().block_on(async {
        let mut claims = Vec::new();
        for beginning in waiting {
            claims.push(beginning.await.fresh());
        }
        claims
    });
    assert_eq!(claims.len(), 200);
    let commits = ledger.stats().expect("counts").commits - before;
    assert!(commits <= 2, "the first, and all others: {commits}");
}

#[test]
fn a_full_line_refuses_claims_and_takes_endings() {
    let (ledger, _clock) = in_memory();
    let claim = begin(&ledger, "held").fresh();
    let mut completing = Box::pin(claim.complete_async("charged"));
    while_the_writer_is_held(&ledger, || {
        let mut refused = 0;
        let mut waiting = Vec::new();
        for number in 0..5_000 {
            let request = ledger.operation(PAYMENTS, &key(&number.to_string()), asked());
            let mut beginning = Box::pin(request.begin_async());
            match poll_once(beginning.as_mut()) {
                Poll::Pending => waiting.push(beginning),
                Poll::Ready(Err(Error::Busy { .. })) => refused += 1,
                Poll::Ready(other) => panic!("{other:?}"),
            }
        }
        // The committing thread has taken a group out of the line, and holds one back.
        assert!(
            (5_000 - 4_096 - 257..=5_000 - 4_096).contains(&refused),
            "{refused} were refused"
        );
        let ending = poll_once(completing.as_mut());
        assert!(ending.is_pending(), "an ending has room");
    });
    one_thread().block_on(completing).expect("stored");
}

fn deposit(
    ledger: &Ledger,
    text: &str,
    amount: u64,
) -> impl Future<Output = Result<Outcome<Response>, RunError<&'static str>>> + Send + use<> {
    let request = ledger.operation(PAYMENTS, &key(text), asked());
    request.transact_bytes_async(move |_, txn| {
        let mut balances = txn.open_table(BALANCES).expect("opens");
        let old = balances.get("a").expect("reads").map_or(0, |it| it.value());
        balances.insert("a", old + amount).expect("inserts");
        match amount {
            13 => Err("bad luck"),
            666 => panic!("a panic in the transaction"),
            _ => Ok("deposited"),
        }
    })
}

fn balance(ledger: &Ledger) -> u64 {
    let txn = ledger.write().expect("begins");
    let balances = txn.open_table(BALANCES).expect("opens");
    balances.get("a").expect("reads").map_or(0, |it| it.value())
}

#[test]
fn a_transaction_happens_once_and_an_error_or_panic_rolls_it_back() {
    let (ledger, _clock) = in_memory();
    let runtime = several_threads();
    for replays in [false, true, true] {
        let done = runtime.block_on(deposit(&ledger, "a", 25)).expect("works");
        assert_eq!(done.is_replay(), replays);
    }
    assert_eq!(balance(&ledger), 25);
    let failed = runtime.block_on(deposit(&ledger, "b", 13));
    assert!(matches!(failed, Err(RunError::Operation("bad luck"))));
    let panicked = runtime.block_on(runtime.spawn(deposit(&ledger, "c", 666)));
    assert!(panicked.expect_err("it goes on").is_panic());
    assert_eq!(balance(&ledger), 25);
    for text in ["b", "c"] {
        assert!(!stored(&ledger, text));
        runtime.block_on(deposit(&ledger, text, 1)).expect("works");
    }
    let held = begin(&ledger, "d").fresh();
    let refused = runtime.block_on(deposit(&ledger, "d", 1));
    assert!(matches!(
        refused,
        Err(RunError::Refused(Refusal::InProgress { .. }))
    ));
    drop(held);
    let interrupted = runtime.block_on(deposit(&ledger, "d", 1));
    assert!(matches!(interrupted, Err(RunError::Interrupted(_))));
}

#[test]
fn fifty_transactions_under_one_key_apply_once() {
    let (ledger, _clock) = in_memory();
    let runtime = several_threads();
    let callers: Vec<_> = (0..50)
        .map(|_| runtime.spawn(deposit(&ledger, "a", 25)))
        .collect();
    let mut ran = 0;
    for caller in callers {
        let done = runtime.block_on(caller).expect("no panic").expect("works");
        ran += u32::from(!done.is_replay());
    }
    assert_eq!((ran, balance(&ledger)), (1, 25));
}

#[test]
fn run_leaves_an_error_interrupted_unless_it_is_certain() {
    let (ledger, _clock) = in_memory();
    let calls = AtomicU32::new(0);
    one_thread().block_on(async {
        let request = |text: &str| ledger.operation(PAYMENTS, &key(text), asked());
        let failed = request("a")
            .run_bytes_async(async |_| {
                tokio::task::yield_now().await;
                Err::<Response, _>("timeout")
            })
            .await;
        assert!(matches!(failed, Err(RunError::Operation("timeout"))));
        drop(begin_async(&ledger, "a").await.interrupted());
        let certain = request("b")
            .run_bytes_async(async |operation| {
                operation.nothing_happened();
                Err::<Response, _>("refused before sending")
            })
            .await;
        assert!(certain.is_err() && !stored(&ledger, "b"));
        let named = request("c").release_if(|error: &&str| *error == "no route");
        let named = named.run_bytes_async(async |_| Err::<Response, _>("no route"));
        assert!(named.await.is_err() && !stored(&ledger, "c"));
        for _ in 0..3 {
            let done = request("d").run_bytes_async(async |operation| {
                calls.fetch_add(1, Ordering::Relaxed);
                assert_eq!(operation.attempt(), 1);
                Ok::<_, Infallible>("charged")
            });
            assert_eq!(done.await.expect("works").get().bytes(), b"charged");
        }
        assert_eq!(calls.load(Ordering::Relaxed), 1);
    });
}

#[test]
fn a_commit_that_fails_is_told_and_gives_claim_and_response_back() {
    let disk = Disk::default();
    let storage = Watched::new(disk.clone());
    let builder = Ledger::builder().clock(clock());
    let ledger = builder.open_backend(storage.clone()).expect("opens");
    one_thread().block_on(async {
        let claim = begin_async(&ledger, "a").await.fresh();
        storage.fail_from(0, ErrorKind::StorageFull);
        let refused = ledger.operation(PAYMENTS, &key("b"), asked()).begin_async();
        assert!(matches!(
            refused.await,
            Err(Error::Storage(_) | Error::CommitUnknown(_))
        ));
        let failed = claim
            .complete_async("charged")
            .await
            .expect_err("it is full");
        assert_eq!(failed.response.bytes(), b"charged");
        storage.heal();
        failed
            .claim
            .complete_async(failed.response)
            .await
            .expect("there is room");
    });
    let found = Disk::holding(disk.after_power_cut(Survivors::None));
    let found = Ledger::builder()
        .clock(clock())
        .open_backend(found)
        .expect("opens");
    assert_eq!(begin(&found, "a").replay().response().bytes(), b"charged");
}

#[test]
fn blocking_and_asynchronous_callers_wait_for_each_other() {
    let (ledger, _clock) = in_memory();
    let runtime = several_threads();
    let held = begin(&ledger, "a").fresh();
    let request = ledger.operation(PAYMENTS, &key("a"), asked());
    let waiter = runtime.spawn(request.wait(seconds(30)).begin_async());
    held.complete("by a thread").expect("stored");
    let replay = runtime
        .block_on(waiter)
        .expect("no panic")
        .expect("works")
        .replay();
    assert_eq!(replay.response().bytes(), b"by a thread");

    let held = runtime.block_on(begin_async(&ledger, "b")).fresh();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let request = ledger.operation(PAYMENTS, &key("b"), asked());
            request.wait(seconds(30)).begin().expect("works").replay()
        });
        runtime
            .block_on(held.complete_async("by a task"))
            .expect("stored");
        let replay = waiter.join().expect("no panic");
        assert_eq!(replay.response().bytes(), b"by a task");
    });
}

#[test]
fn what_tasks_hold_can_move_between_threads() {
    fn moves<T: Send>(_: T) {}
    let (ledger, _clock) = in_memory();
    let request = || ledger.operation(PAYMENTS, &key("a"), asked());
    moves(request().begin_async());
    moves(
        request()
            .wait(seconds(1))
            .run_bytes_async(async |operation| {
                tokio::task::yield_now().await;
                drop(operation.renew());
                Ok::<_, Infallible>("ok")
            }),
    );
    moves(deposit(&ledger, "a", 1));
    let endings = |claim: Claim, ticket: Ticket| {
        moves(claim.complete_async("x"));
        moves(ticket.release_async());
    };
    let _ = endings;
    moves(Arc::new(ledger));
}

/// Lets time pass until what waits by it has given up.
fn pass_the_busy_timeout(clock: &ManualClock) {
    clock.advance(seconds(6));
}

#[test]
fn an_ending_keeps_its_room_in_a_group_that_a_claim_began() {
    let (ledger, clock) = in_memory();
    let claim = begin(&ledger, "held").fresh();
    let begin_later = |text| {
        let request = ledger.operation(PAYMENTS, &key(text), asked());
        Box::pin(request.begin_async())
    };
    let (mut first, mut second) = (begin_later("first"), begin_later("second"));
    let mut completing = Box::pin(claim.complete_async("charged"));
    while_the_writer_is_held(&ledger, || {
        // The first holds the committing thread up, so the claim and the ending behind it become
        // one group, which the claim began.
        assert!(poll_once(first.as_mut()).is_pending());
        until("the first queues", || {
            ledger.stats().expect("counts").queued == 1
        });
        assert!(poll_once(second.as_mut()).is_pending());
        assert!(poll_once(completing.as_mut()).is_pending());
        pass_the_busy_timeout(&clock);
        let refused = one_thread().block_on(first.as_mut());
        assert!(matches!(refused, Err(Error::Busy { .. })), "{refused:?}");
        until("the group queues", || {
            ledger.stats().expect("counts").queued == 1
        });
        pass_the_busy_timeout(&clock);
    });
    one_thread()
        .block_on(completing)
        .expect("an ending has room");
    let second = one_thread()
        .block_on(second)
        .expect("it came with the ending");
    drop(second.fresh());
    assert!(stored(&ledger, "held"));
}

#[test]
fn a_future_on_a_thread_that_holds_the_writer_is_an_error_and_no_deadlock() {
    let (ledger, _clock) = in_memory();
    let claims = ["complete", "release", "renew", "checkpoint"].map(|text| begin(&ledger, text));
    let [complete, release, renew, checkpoint] = claims.map(Begin::fresh);
    let is_deadlock =
        |error: &EndingError| matches!(error, EndingError::Ledger(Error::WouldDeadlock { .. }));
    let txn = ledger.write().expect("begins");
    one_thread().block_on(async {
        let begun = ledger
            .operation(PAYMENTS, &key("new"), asked())
            .begin_async();
        let begun = begun.await.expect_err("it would wait for itself");
        assert!(matches!(begun, Error::WouldDeadlock { .. }), "{begun}");
        let completed = complete.complete_async("a").await.expect_err("it would");
        assert!(is_deadlock(&completed.error));
        let released = release.release_async().await.expect_err("it would");
        assert!(is_deadlock(&released.error));
        assert!(is_deadlock(
            &renew.renew_async().await.expect_err("it would")
        ));
        let kept = checkpoint.checkpoint_async("half", b"").await;
        assert!(is_deadlock(&kept.expect_err("it would")));
        let deposited = ledger
            .operation(PAYMENTS, &key("deposit"), asked())
            .transact_bytes_async(|_, _| Ok::<_, Infallible>("a"));
        let refused = deposited.await.expect_err("it would");
        assert!(matches!(
            refused,
            RunError::Ledger(Error::WouldDeadlock { .. })
        ));
        // What was refused comes back, and works once the transaction is over.
        txn.abort();
        let again = completed.claim.complete_async(completed.response).await;
        assert_eq!(again.expect("stored").response().bytes(), b"a");
        released.claim.release_async().await.expect("released");
    });
}
