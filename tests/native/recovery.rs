//! A ledger whose storage failed goes on as soon as the storage works again: the same handles,
//! claims, locks and waiting callers, and nothing that happened is lost or done twice.

use std::cell::Cell;
use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use idempotency_ledger::{
    Begin, CommitProfile, CompleteError, EndingError, Error, Fingerprint, Ledger, ManualClock,
    Refusal, RunError,
};
use idempotency_tests::storage::{Disk, Draw, Fate, Step, Survivors, Watched};
use idempotency_tests::workload::{Bench, SHORT, View, Work, await_queue, ledgers_own};
use idempotency_tests::{Expect, PAYMENTS, asked, begin, clock, key, seconds};
use redb::backends::FileBackend;
use redb::{Database, StorageBackend};

fn on_disk() -> (Ledger, Disk, Watched, ManualClock) {
    let disk = Disk::default();
    let storage = Watched::new(disk.clone());
    let clock = clock();
    let ledger = open(storage.clone(), &clock).expect("opens");
    (ledger, disk, storage, clock)
}

fn open(storage: impl StorageBackend, clock: &ManualClock) -> Result<Ledger, Error> {
    Ledger::builder().clock(clock.clone()).open_backend(storage)
}

/// What a new process opens if the power goes now and takes all that was not synced.
fn after_power_cut(disk: &Disk, clock: &ManualClock) -> Ledger {
    let image = disk.after_power_cut(Survivors::None);
    open(Disk::holding(image), clock).expect("opens")
}

/// Whether the error is one that a failing storage may cause.
fn is_of_storage(error: &Error) -> bool {
    matches!(error, Error::Storage(_) | Error::CommitUnknown(_))
}

#[test]
fn an_ending_asked_again_after_an_unknown_commit_is_durable() {
    for profile in [CommitProfile::OnePhase, CommitProfile::TwoPhase] {
        for work in [
            Work::Complete,
            Work::Checkpoint,
            Work::Renew,
            Work::TicketComplete,
            Work::Transact,
        ] {
            let mut step = 0;
            loop {
                let disk = Disk::default();
                let storage = Watched::new(disk.clone());
                let clock = clock();
                let builder = Ledger::builder()
                    .clock(clock.clone())
                    .commit_profile(profile);
                let ledger = builder.open_backend(storage.clone()).expect("opens");
                let mut bench = Bench::new(work, ledger, &clock);
                storage.fail_once(step, ErrorKind::Other);
                if bench.act().is_ok() {
                    break;
                }
                bench.act().expect("works when it is asked again");
                let told = View::of(&bench.ledger).expect("reads");
                let durable = View::of(&after_power_cut(&disk, &clock)).expect("reads");
                assert_eq!(told, durable, "{work:?} {profile:?} {step}");
                step += 1;
            }
            assert!(step > 3, "{work:?} has several steps");
        }
    }
}

#[test]
fn claims_and_waiting_callers_are_kept_while_the_file_is_reopened() {
    let (ledger, _, storage, clock) = on_disk();
    let held = begin(&ledger, "held").fresh();
    thread::scope(|scope| {
        let waiter = scope.spawn(|| {
            let request = ledger.operation(PAYMENTS, &key("held"), asked());
            request.wait(seconds(30)).begin().expect("works").replay()
        });
        while clock.waiting() < 1 {
            thread::yield_now();
        }
        storage.script(|_, step| match step {
            Step::Sync => Fate::Fail(ErrorKind::Other),
            Step::Write { .. } | Step::Resize | Step::Read => Fate::Pass,
        });
        let failed = ledger.operation(PAYMENTS, &key("other"), asked()).begin();
        assert!(matches!(failed, Err(Error::CommitUnknown(_))), "{failed:?}");
        storage.heal();
        let refused = begin(&ledger, "held").refused();
        assert!(matches!(refused, Refusal::InProgress { .. }));
        held.complete("once").expect("stored");
        assert_eq!(waiter.join().expect("ends").response().bytes(), b"once");
    });
}

#[test]
fn a_disk_that_stays_away_costs_errors_and_nothing_else() {
    let (ledger, _, storage, _) = on_disk();
    begin(&ledger, "done")
        .fresh()
        .complete("a")
        .expect("stored");
    let mut held = begin(&ledger, "held").fresh();
    storage.script(|_, _| Fate::Fail(ErrorKind::Other));
    for _ in 0..5 {
        let failed = ledger.operation(PAYMENTS, &key("new"), asked()).begin();
        assert!(is_of_storage(&failed.expect_err("the disk is away")));
        let CompleteError {
            claim,
            response,
            error,
        } = held.complete("b").expect_err("the disk is away");
        assert_eq!(response.bytes(), b"b");
        assert!(is_of_storage(&ledgers_own(error)));
        held = claim;
        let failed = ledger.write().expect_err("the disk is away");
        assert!(is_of_storage(&failed));
        let failed = ledger.record(PAYMENTS, &key("done")).peek();
        assert!(is_of_storage(&failed.expect_err("the disk is away")));
    }
    storage.heal();
    assert_eq!(begin(&ledger, "done").replay().response().bytes(), b"a");
    held.complete("b").expect("stored");
    assert_eq!(begin(&ledger, "held").replay().response().bytes(), b"b");
    // Unknown at the first failure: nobody holds it, so it is fresh or interrupted.
    match begin(&ledger, "new") {
        Begin::Fresh(claim) => drop(claim),
        Begin::Interrupted(ticket) => drop(ticket),
        other => panic!("unexpected: {other:?}"),
    }
    assert!(ledger.check().expect("checks").is_clean());
}

#[test]
fn a_failed_read_is_an_error_and_the_next_one_works() {
    for number in 0.. {
        let disk = Disk::default();
        let storage = Watched::new(disk);
        let clock = clock();
        let uncached = Ledger::builder().clock(clock.clone()).cache_bytes(0);
        let ledger = uncached.open_backend(storage.clone()).expect("opens");
        let mut bench = Bench::new(Work::Complete, ledger, &clock);
        let before = View::of(&bench.ledger).expect("reads");
        let first = storage.counts().reads;
        let watched = storage.clone();
        storage.script(move |_, step| match step {
            // The call itself is counted already.
            Step::Read if watched.counts().reads == first + number + 1 => {
                Fate::Fail(ErrorKind::Other)
            }
            _ => Fate::Pass,
        });
        let told = bench.act();
        let was_reached = storage.counts().reads > first + number;
        storage.heal();
        let found = View::of(&bench.ledger).expect("the next call works");
        match told {
            Ok(()) => assert_ne!(found, before, "read {number}"),
            Err(Error::Storage(_)) => assert_eq!(found, before, "read {number}"),
            Err(Error::CommitUnknown(_)) => {}
            Err(other) => panic!("read {number}: {other:?}"),
        }
        if !was_reached {
            assert!(number > 3, "an uncached completion reads");
            return;
        }
    }
}

#[test]
fn a_full_disk_is_named_loses_nothing_and_works_again_when_there_is_room() {
    let (ledger, disk, storage, clock) = on_disk();
    let limit = 4 * 1024 * 1024;
    let resized = disk.clone();
    storage.script(move |_, step| match step {
        Step::Resize if resized.len().is_ok_and(|bytes| bytes >= limit) => {
            Fate::Fail(ErrorKind::StorageFull)
        }
        _ => Fate::Pass,
    });
    let mut stored = Vec::new();
    let (full, claim) = loop {
        let text = format!("k-{}", stored.len());
        let request = ledger.operation(SHORT, &key(&text), asked());
        let claim = match request.begin() {
            Ok(begun) => begun.fresh(),
            Err(error) => break (error, None),
        };
        match claim.complete(vec![1; 60_000]) {
            Ok(_) => stored.push(text),
            Err(failed) => break (ledgers_own(failed.error), Some(failed.claim)),
        }
    };
    let cause = match &full {
        Error::Storage(cause) | Error::CommitUnknown(cause) => cause,
        other => panic!("unexpected: {other:?}"),
    };
    assert_eq!(cause.io_kind(), Some(ErrorKind::StorageFull), "{full}");
    assert!(stored.len() > 20, "{}", stored.len());
    let after_cut = after_power_cut(&disk, &clock);
    for handle in [&ledger, &after_cut] {
        for text in &stored {
            let request = handle.operation(SHORT, &key(text), asked());
            let replay = request.begin().expect("works").replay();
            assert_eq!(replay.response().bytes(), vec![1; 60_000]);
        }
    }
    storage.heal();
    match claim {
        Some(claim) => drop(claim.complete(vec![1; 60_000]).expect("there is room")),
        None => drop(begin(&ledger, "there is room").fresh()),
    }
    assert!(ledger.check().expect("checks").is_clean());
}

#[test]
fn every_write_on_a_full_disk_says_so() {
    for work in Work::ALL {
        let (ledger, disk, storage, clock) = on_disk();
        let mut bench = Bench::new(work, ledger, &clock);
        storage.fail_from(0, ErrorKind::StorageFull);
        let (kind, text) = match bench.act() {
            Err(error @ (Error::Storage(_) | Error::CommitUnknown(_))) => match &error {
                Error::Storage(cause) | Error::CommitUnknown(cause) => {
                    (cause.io_kind(), error.to_string())
                }
                _ => unreachable!("matched above"),
            },
            other => panic!("{work:?}: {other:?}"),
        };
        assert_eq!(kind, Some(ErrorKind::StorageFull), "{work:?}: {text}");
        assert!(text.contains("make room"), "{work:?}: {text}");
        storage.heal();
        bench.act().expect("works when there is room");
        let told = View::of(&bench.ledger).expect("reads");
        assert_eq!(
            told,
            View::of(&after_power_cut(&disk, &clock)).expect("reads")
        );
    }
}

#[test]
fn a_storage_error_names_its_remedy() {
    for (kind, remedy) in [
        (ErrorKind::StorageFull, "make room"),
        (ErrorKind::PermissionDenied, "check the permissions"),
        (
            ErrorKind::ReadOnlyFilesystem,
            "the file system is read-only",
        ),
        (ErrorKind::NotFound, "check the path"),
    ] {
        let storage = Watched::new(Disk::default());
        storage.fail_from(0, kind);
        let text = open(storage, &clock()).expect_err("fails").to_string();
        assert!(text.contains(remedy), "{kind:?}: {text}");
    }
}

/// Lets so many callers queue behind an open transaction, each with a request, and returns what
/// they got once it is over.
fn begin_in_one_batch(
    ledger: &Ledger,
    requests: &[(&str, Fingerprint)],
) -> Vec<Result<Begin, Error>> {
    let txn = ledger.write().expect("begins");
    thread::scope(|scope| {
        let mut callers = Vec::new();
        for (text, fingerprint) in requests {
            let request = ledger.operation(PAYMENTS, &key(text), *fingerprint);
            callers.push(scope.spawn(move || request.begin()));
            await_queue(ledger, callers.len());
        }
        txn.abort();
        let join = |caller: thread::ScopedJoinHandle<'_, _>| caller.join().expect("no panic");
        callers.into_iter().map(join).collect()
    })
}

#[test]
fn a_duplicate_in_a_batch_whose_commit_fails_is_told_unknown_like_the_winner() {
    let other = Fingerprint::of(["pay", "26 EUR"]);
    let requests = [("k", asked()), ("k", asked()), ("k", other), ("l", asked())];
    let faults: [fn(&Watched, u64); 2] = [
        |storage, number| storage.fail_once(number, ErrorKind::Other),
        |storage, number| storage.panic_at(number),
    ];
    for fault in faults {
        let steps = {
            let (ledger, _, storage, _) = on_disk();
            let before = storage.counts().steps();
            let answers = begin_in_one_batch(&ledger, &requests);
            assert!(matches!(answers[0], Ok(Begin::Fresh(_))));
            assert!(matches!(
                answers[1],
                Ok(Begin::Refused(Refusal::InProgress { .. }))
            ));
            assert!(matches!(answers[2], Ok(Begin::Refused(Refusal::Mismatch))));
            storage.counts().steps() - before
        };
        for number in 0..steps {
            let (ledger, _, storage, _) = on_disk();
            fault(&storage, number);
            for answer in begin_in_one_batch(&ledger, &requests) {
                let error = answer.expect_err("the commit failed");
                assert!(matches!(error, Error::CommitUnknown(_)), "{error:?}");
            }
            // The lead was passed on, and nobody holds what nobody was given.
            match begin(&ledger, "k") {
                Begin::Fresh(claim) => drop(claim.complete("once").expect("stored")),
                Begin::Interrupted(ticket) => drop(ticket.complete("once").expect("stored")),
                answer => panic!("{answer:?}"),
            }
            assert_eq!(begin(&ledger, "k").replay().response().bytes(), b"once");
        }
    }
}

#[test]
fn an_effect_happens_at_most_once_whatever_step_fails() {
    for number in 0.. {
        let (ledger, disk, storage, clock) = on_disk();
        let effects = Cell::new(0);
        let first = storage.counts().steps();
        storage.fail_once(number, ErrorKind::Other);
        let mut was_stored = false;
        for _ in 0..3 {
            let ran = ledger.operation(PAYMENTS, &key("k"), asked()).run_bytes(
                |_| -> Result<_, Infallible> {
                    effects.set(effects.get() + 1);
                    Ok("charged")
                },
            );
            match ran {
                Ok(outcome) => {
                    assert_eq!(outcome.into_inner().bytes(), b"charged");
                    was_stored = true;
                }
                Err(RunError::Complete(unstored)) => {
                    unstored.claim.complete(unstored.value).expect("stored");
                    was_stored = true;
                }
                Err(RunError::Interrupted(ticket)) => drop(ticket),
                Err(RunError::Ledger(error)) => assert!(is_of_storage(&error)),
                Err(other) => panic!("unexpected: {other}"),
            }
        }
        let was_reached = storage.counts().steps() - first > number;
        let after = after_power_cut(&disk, &clock);
        match begin(&after, "k") {
            Begin::Replay(replay) => assert_eq!(replay.response().bytes(), b"charged"),
            Begin::Interrupted(_) => assert!(!was_stored, "step {number}"),
            other => panic!("step {number}: {other:?}"),
        }
        assert_eq!(effects.get(), u32::from(was_stored), "step {number}");
        if !was_reached {
            return;
        }
    }
}

#[test]
fn locks_are_kept_while_the_file_is_reopened() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let storage = Watched::new(FileBackend::new(new_file(&path)).expect("a backend"));
    let clock = clock();
    let ledger = open(storage.clone(), &clock).expect("opens");
    begin(&ledger, "k").fresh().complete("a").expect("stored");
    let before = storage.counts();
    let intruder = path.clone();
    storage.script(move |number, step| match step {
        Step::Sync if number < 10 => Fate::Fail(ErrorKind::Other),
        Step::Read => Fate::Pass,
        // Somebody tries to get in at each step of the reopening.
        _ => {
            assert!(matches!(Ledger::open(&intruder), Err(Error::AlreadyOpen)));
            Fate::Pass
        }
    });
    let failed = ledger.operation(PAYMENTS, &key("l"), asked()).begin();
    assert!(matches!(failed, Err(Error::CommitUnknown(_))), "{failed:?}");
    storage.heal();
    assert_eq!(begin(&ledger, "k").replay().response().bytes(), b"a");
    let after = storage.counts();
    assert_eq!(
        (after.closes, after.unlocks),
        (before.closes, before.unlocks)
    );
    assert!(matches!(Ledger::open(&path), Err(Error::AlreadyOpen)));
    ledger.close().expect("closes");
    let reopened = Ledger::builder().clock(clock).open(&path).expect("opens");
    assert_eq!(begin(&reopened, "k").replay().response().bytes(), b"a");
}

fn new_file(path: &Path) -> File {
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true);
    options.open(path).expect("a new file")
}

#[test]
fn what_was_acknowledged_survives_a_close_that_fails_at_any_step() {
    for number in 0.. {
        let (ledger, disk, storage, clock) = on_disk();
        begin(&ledger, "done")
            .fresh()
            .complete("a")
            .expect("stored");
        let held = begin(&ledger, "held").fresh();
        storage.fail_from(number, ErrorKind::Other);
        let closed = ledger.close();
        assert!(closed.as_ref().map_or_else(is_of_storage, |()| true));
        let late = held.complete("late").expect_err("the ledger is closed");
        assert!(matches!(late.error, EndingError::Ledger(Error::Closed)));
        let after = after_power_cut(&disk, &clock);
        assert_eq!(begin(&after, "done").replay().response().bytes(), b"a");
        drop(begin(&after, "held").interrupted());
        if closed.is_ok() {
            assert!(number > 0, "closing writes");
            return;
        }
    }
}

#[test]
fn a_creation_cut_at_any_step_gives_a_ledger_or_a_clear_error() {
    let storage = Watched::new(Disk::default());
    drop(open(storage.clone(), &clock()).expect("opens"));
    let steps = storage.counts().steps();
    let mut opened = 0;
    for number in 0..steps {
        let disk = Disk::default();
        let storage = Watched::new(disk.clone());
        storage.fail_from(number, ErrorKind::Other);
        let told = open(storage, &clock());
        for survivors in [Survivors::None, Survivors::All, Survivors::Drawn(number)] {
            let image = disk.after_power_cut(survivors);
            match open(Disk::holding(image), &clock()) {
                Ok(ledger) => {
                    opened += 1;
                    drop(begin(&ledger, "k").fresh());
                }
                Err(Error::NotALedger { .. } | Error::FileDamaged(_)) => assert!(told.is_err()),
                Err(other) => panic!("step {number}, {survivors:?}: {other:?}"),
            }
        }
    }
    assert!(opened > 0);
}

#[test]
fn an_attached_ledger_says_what_to_do_after_an_error_and_goes_on_with_the_new_database() {
    let disk = Disk::default();
    let storage = Watched::new(disk.clone());
    let database = || {
        let opened = Database::builder().create_with_backend(storage.clone());
        Arc::new(opened.expect("opens"))
    };
    let clock = clock();
    let attach = |database| {
        let builder = Ledger::builder().clock(clock.clone());
        builder.attach(database).expect("attaches")
    };
    let ledger = attach(database());
    begin(&ledger, "done")
        .fresh()
        .complete("a")
        .expect("stored");
    storage.fail_once(0, ErrorKind::Other);
    let failed = ledger.operation(PAYMENTS, &key("new"), asked()).begin();
    assert!(is_of_storage(&failed.expect_err("the disk failed")));
    let failed = ledger.operation(PAYMENTS, &key("new"), asked()).begin();
    let text = failed.expect_err("nobody reopened it").to_string();
    assert!(text.contains("attach the reopened one"), "{text}");
    drop(ledger);
    let ledger = attach(database());
    assert_eq!(begin(&ledger, "done").replay().response().bytes(), b"a");
}

/// What the caller was told of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Unfinished,
    Completed,
}

impl Told {
    fn of(ledger: &Ledger, text: &str) -> Self {
        match begin(ledger, text) {
            Begin::Fresh(claim) => {
                claim.release().expect("released");
                Self::Nothing
            }
            Begin::Interrupted(_) => Self::Unfinished,
            Begin::Replay(replay) => {
                assert_eq!(replay.response().bytes(), text.as_bytes());
                Self::Completed
            }
            Begin::Refused(refusal) => panic!("{refusal}"),
        }
    }
}

/// One step in the life of a key; `Ok` with what is now true, or what may be.
fn live_on(ledger: &Ledger, text: &str, was: Told, draw: &mut Draw) -> Result<Told, (Error, Told)> {
    let request = ledger.operation(PAYMENTS, &key(text), asked());
    match was {
        Told::Nothing => match request.begin() {
            Ok(begun) => {
                drop(begun.fresh());
                Ok(Told::Unfinished)
            }
            Err(error) => Err((error, Told::Unfinished)),
        },
        Told::Unfinished => {
            let ticket = match request.begin() {
                Ok(begun) => begun.interrupted(),
                Err(error) => return Err((error, Told::Unfinished)),
            };
            let (ended, then) = match draw.below(3) {
                0 => (ticket.release(), Told::Nothing),
                1 => (ticket.rerun().map(drop), Told::Unfinished),
                _ => (ticket.complete(text).map(drop), Told::Completed),
            };
            ended.map_err(|failed| (ledgers_own(failed.error), then))?;
            Ok(then)
        }
        Told::Completed => match ledger.record(PAYMENTS, &key(text)).forget() {
            Ok(_) => Ok(Told::Nothing),
            Err(error) => Err((error, Told::Nothing)),
        },
    }
}

#[test]
fn a_power_cut_in_a_long_history_loses_nothing_that_was_acknowledged() {
    const KEYS: [&str; 6] = ["a", "b", "c", "d", "e", "f"];
    for seed in 0..60 {
        let mut draw = Draw::new(seed);
        let (ledger, disk, storage, clock) = on_disk();
        storage.fail_from(draw.below(300), ErrorKind::Other);
        let mut told = [Told::Nothing; KEYS.len()];
        let (at, error, may_be) = loop {
            let at = usize::try_from(draw.below(KEYS.len() as u64)).expect("few keys");
            match live_on(&ledger, KEYS[at], told[at], &mut draw) {
                Ok(now) => told[at] = now,
                Err((error, may_be)) => break (at, error, may_be),
            }
        };
        let image = disk.after_power_cut(Survivors::Drawn(seed));
        let found = open(Disk::holding(image), &clock).expect("opens");
        assert!(found.check().expect("checks").problems.is_empty());
        for (number, text) in KEYS.iter().enumerate() {
            let now = Told::of(&found, text);
            let holds = now == told[number]
                || (number == at && now == may_be && matches!(error, Error::CommitUnknown(_)));
            assert!(
                holds,
                "seed {seed}: {text} is {now:?}, told {told:?}, {at} {error}"
            );
        }
    }
}

#[test]
fn readers_wait_while_the_file_is_reopened() {
    let (ledger, ..) = on_disk();
    for number in 0..200 {
        let done = begin(&ledger, &format!("k{number}")).fresh();
        done.complete("a").expect("stored");
    }
    let is_over = AtomicBool::new(false);
    let read = thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|first| {
                let (ledger, is_over) = (&ledger, &is_over);
                scope.spawn(move || {
                    let mut reads = 0_usize;
                    while !is_over.load(Ordering::SeqCst) {
                        let key = key(&format!("k{}", (first * 67 + reads) % 200));
                        let found = ledger.record(PAYMENTS, &key).peek();
                        assert!(found.expect("it is read").is_some());
                        let replay = ledger.operation(PAYMENTS, &key, asked()).begin();
                        assert_eq!(replay.expect("works").replay().response().bytes(), b"a");
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        for _ in 0..300 {
            ledger.reopen().expect("it is reopened");
        }
        is_over.store(true, Ordering::SeqCst);
        let read = readers.into_iter().map(thread::ScopedJoinHandle::join);
        read.map(|reads| reads.expect("no reader fails"))
            .sum::<usize>()
    });
    assert!(read > 0);
}
