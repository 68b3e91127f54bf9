//! What callers met: counted without a write, stored with the next commit, and good for advice.

use std::io::ErrorKind;

use idempotency_ledger::{
    DedupTable, EventCounts, Ledger, ManualClock, Namespace, OnInterrupted, Policy, RetentionAdvice,
};
use idempotency_tests::storage::{Disk, Draw, Survivors, Watched};
use idempotency_tests::workload::await_queue;
use idempotency_tests::{Expect, PAYMENTS, asked, begin, clock, in_memory, key, seconds};

const EVENTS: DedupTable = DedupTable::new("events", DedupTable::SEVEN_DAYS);

fn open(disk: Disk, clock: &ManualClock) -> Ledger {
    let builder = Ledger::builder().clock(clock.clone());
    builder.open_backend(disk).expect("opens")
}

fn met(ledger: &Ledger, namespace: &str) -> EventCounts {
    let stats = ledger.stats().expect("counts");
    let mut found = stats.namespaces.into_iter();
    let found = found.find(|names| names.name == namespace);
    found.map(|names| names.events).unwrap_or_default()
}

fn pay(ledger: &Ledger, text: &str) {
    let request = ledger.operation(PAYMENTS, &key(text), asked());
    let ran = request.run_bytes(|_| Ok::<_, std::convert::Infallible>("charged"));
    drop(ran.expect("works"));
}

#[test]
fn every_answer_is_counted_once_under_its_name() {
    let (ledger, clock) = in_memory();
    pay(&ledger, "a");
    for _ in 0..3 {
        let _ = begin(&ledger, "a").replay();
    }
    let held = begin(&ledger, "b").fresh();
    let _ = begin(&ledger, "b").refused();
    let other = || ledger.operation(PAYMENTS, &key("a"), idempotency_ledger::Fingerprint::NONE);
    let _ = other().begin().expect("works").refused();
    drop(held);
    drop(begin(&ledger, "b").interrupted());
    let txn = ledger.write().expect("begins");
    let inside = other().begin_in(&txn).expect("works");
    assert!(matches!(inside, idempotency_ledger::BeginIn::Refused(_)));
    drop(inside);
    txn.abort();
    let full = PAYMENTS.policy(Policy::DEFAULT.records_max(2));
    let fourth = ledger.operation(full, &key("c"), asked());
    let _ = fourth.begin().expect("works").refused();
    let stale = PAYMENTS.policy(Policy::DEFAULT.refuse_stale_keys());
    let old = key("01000000-0000-7000-8000-000000000000");
    let fifth = ledger.operation(stale, &old, asked());
    let _ = fifth.begin().expect("works").refused();
    clock.advance(seconds(24 * 3_600));
    drop(begin(&ledger, "a").fresh());
    let expected = EventCounts {
        replays: 3,
        in_progress: 1,
        // The one in the transaction that was rolled back does not count.
        mismatches: 1,
        stale: 1,
        quota: 1,
        interruptions: 1,
        late: 1,
        swept: 0,
    };
    assert_eq!(met(&ledger, "payments"), expected);
    assert_eq!(expected.refusals(), 4);
}

#[test]
fn a_duplicate_writes_nothing_and_is_stored_with_the_next_commit() {
    let (disk, clock) = (Disk::default(), clock());
    let storage = Watched::new(disk.clone());
    let builder = Ledger::builder().clock(clock.clone());
    let ledger = builder.open_backend(storage.clone()).expect("opens");
    pay(&ledger, "a");
    let before = storage.counts();
    for _ in 0..1_000 {
        let _ = begin(&ledger, "a").replay();
    }
    let after = storage.counts();
    assert_eq!(after.steps(), before.steps(), "no write and no sync");
    let replays = |ledger: &Ledger| met(ledger, "payments").replays;
    assert_eq!(
        replays(&ledger),
        1_000,
        "those that wait count for this process"
    );
    let cut = || open(Disk::holding(disk.after_power_cut(Survivors::None)), &clock);
    assert_eq!(replays(&cut()), 0);
    drop(begin(&ledger, "b").fresh());
    assert_eq!(storage.counts().syncs, after.syncs + 1, "they cost no sync");
    assert_eq!(replays(&cut()), 1_000);
    assert_eq!(replays(&ledger), 1_000);
}

#[test]
fn closing_stores_the_last_ones_and_a_crash_loses_no_more() {
    let (disk, clock) = (Disk::default(), clock());
    let ledger = open(disk.clone(), &clock);
    pay(&ledger, "a");
    let _ = begin(&ledger, "a").replay();
    ledger.close().expect("closes");
    let ledger = open(disk.clone(), &clock);
    assert_eq!(met(&ledger, "payments").replays, 1);
    let _ = begin(&ledger, "a").replay();
    drop(ledger);
    let ledger = open(disk.clone(), &clock);
    assert_eq!(met(&ledger, "payments").replays, 2);
    let _ = begin(&ledger, "a").replay();
    let crashed = open(Disk::holding(disk.after_power_cut(Survivors::None)), &clock);
    assert_eq!(met(&crashed, "payments").replays, 2);
}

#[test]
fn what_a_transaction_took_along_waits_again_when_it_is_rolled_back() {
    let (disk, clock) = (Disk::default(), clock());
    let storage = Watched::new(disk.clone());
    let builder = Ledger::builder().clock(clock.clone());
    let ledger = builder.open_backend(storage.clone()).expect("opens");
    pay(&ledger, "a");
    let _ = begin(&ledger, "a").replay();
    storage.fail_from(0, ErrorKind::StorageFull);
    let full = ledger.operation(PAYMENTS, &key("b"), asked()).begin();
    assert!(full.is_err());
    storage.heal();
    drop(begin(&ledger, "c").fresh());
    let stored = met(&ledger, "payments").replays;
    assert!(stored <= 1, "never counted twice");
    let reopened = open(Disk::holding(disk.after_power_cut(Survivors::None)), &clock);
    assert_eq!(met(&reopened, "payments").replays, stored);
}

#[test]
fn sweeping_is_counted_in_its_own_commit() {
    let (ledger, clock) = in_memory();
    for text in ["a", "b", "c"] {
        pay(&ledger, text);
    }
    clock.advance(seconds(24 * 3_600));
    assert_eq!(ledger.sweep(2).expect("sweeps").removed, 2);
    assert_eq!(met(&ledger, "payments").swept, 2);
    pay(&ledger, "d");
    assert_eq!(
        met(&ledger, "payments").swept,
        3,
        "along with another write"
    );
}

fn advice_of(ledger: &Ledger, clock: &ManualClock, delays_ms: &[u64]) -> RetentionAdvice {
    // All keys are claimed at once; then the duplicates come in the order of their delays.
    let mut sorted: Vec<(u64, usize)> = delays_ms.iter().copied().zip(0..).collect();
    sorted.sort_unstable();
    for (_, number) in &sorted {
        let _ = ledger
            .dedup(EVENTS)
            .observe(&number.to_string())
            .expect("works");
    }
    let start = ledger.now();
    for (delay_ms, number) in sorted {
        let passed = ledger.now().saturating_since(start).as_millis();
        let passed_ms = u64::try_from(passed).expect("short");
        clock.advance(std::time::Duration::from_millis(delay_ms - passed_ms));
        let _ = ledger
            .dedup(EVENTS)
            .observe(&number.to_string())
            .expect("works");
    }
    let namespace = Namespace::of_dedup_table("events");
    ledger.retention_advice(namespace).expect("advises")
}

#[track_caller]
fn assert_within_1_percent(found: std::time::Duration, exact_ms: u64, what: &str) {
    let found_ms = u64::try_from(found.as_millis()).expect("short");
    let off = found_ms.abs_diff(exact_ms);
    assert!(
        off * 100 <= exact_ms,
        "{what}: {found_ms} ms instead of {exact_ms} ms"
    );
}

#[test]
fn the_advice_is_right_to_1_percent_on_known_distributions() {
    let mut draw = Draw::new(17);
    let uniform = (0..2_000)
        .map(|_| 1 + draw.below(86_400_000))
        .collect::<Vec<_>>();
    // Most retries come at once, a few the next day: each digit of a delay is as likely.
    let skewed = (0..2_000)
        .map(|_| {
            let digits = 1 + u32::try_from(draw.below(8)).expect("small");
            1 + draw.below(10_u64.pow(digits))
        })
        .collect::<Vec<_>>();
    let constant = vec![5_000; 100];
    for (name, delays) in [
        ("uniform", uniform),
        ("skewed", skewed),
        ("constant", constant),
    ] {
        let (ledger, clock) = in_memory();
        let advice = advice_of(&ledger, &clock, &delays);
        let mut sorted = delays;
        sorted.sort_unstable();
        let exact = |percent: usize| sorted[(sorted.len() * percent).div_ceil(100) - 1];
        assert_eq!(advice.samples, sorted.len() as u64, "{name}");
        assert_within_1_percent(advice.p50, exact(50), name);
        assert_within_1_percent(advice.p90, exact(90), name);
        assert_within_1_percent(advice.p99, exact(99), name);
        assert_within_1_percent(advice.proposed, 2 * exact(99), name);
        let longest = std::time::Duration::from_millis(exact(100));
        assert_eq!(advice.max, longest, "{name}: exactly");
        let bars = advice.histogram();
        assert_eq!(
            bars.iter().map(|bar| bar.count).sum::<u64>(),
            advice.samples
        );
        assert!(bars.windows(2).all(|pair| pair[0].until == pair[1].from));
        // It is the same behind a restart.
        drop(begin(&ledger, "any commit").fresh());
        let again = ledger.retention_advice(Namespace::of_dedup_table("events"));
        assert_eq!(again.expect("advises"), advice, "{name}");
    }
}

#[test]
fn the_advice_says_when_the_retention_is_shorter_and_has_nothing_to_say_without_samples() {
    let (ledger, clock) = in_memory();
    let none = ledger.retention_advice(PAYMENTS).expect("advises");
    assert_eq!((none.samples, none.proposed), (0, seconds(0)));
    assert!(!none.is_retention_shorter());
    assert!(none.histogram().is_empty());
    pay(&ledger, "a");
    clock.advance(seconds(10 * 3_600));
    let _ = begin(&ledger, "a").replay();
    let advice = |hours: u64| {
        let policy = Policy::DEFAULT.retention(seconds(hours * 3_600));
        ledger
            .retention_advice(PAYMENTS.policy(policy))
            .expect("advises")
    };
    assert!(advice(19).is_retention_shorter());
    assert!(!advice(21).is_retention_shorter());
}

#[test]
fn a_duplicate_is_timed_from_the_first_claim_whatever_it_met() {
    let (ledger, clock) = in_memory();
    let safe = PAYMENTS.policy(Policy::DEFAULT.on_interrupted(OnInterrupted::Rerun));
    let ask = || ledger.operation(safe.clone(), &key("a"), asked()).begin();
    let claim = ask().expect("works").fresh();
    clock.advance(seconds(10));
    let _ = ask().expect("works").refused();
    drop(claim);
    clock.advance(seconds(10));
    let taken_over = ask().expect("works").fresh();
    taken_over.complete("done").expect("stored");
    clock.advance(seconds(10));
    let _ = ask().expect("works").replay();
    clock.advance(seconds(24 * 3_600));
    drop(ask().expect("works").fresh());
    let other = ledger.operation(PAYMENTS, &key("a"), idempotency_ledger::Fingerprint::NONE);
    let _ = other.begin().expect("works").refused();
    let advice = ledger.retention_advice(PAYMENTS).expect("advises");
    assert_eq!(advice.samples, 4, "a mismatch is no duplicate");
    assert_eq!(
        advice.max,
        seconds(24 * 3_600 + 30),
        "also one that came too late"
    );
    assert_within_1_percent(advice.p50, 20_000, "p50");
    assert_eq!(met(&ledger, "payments").late, 1);
}

#[test]
fn a_damaged_row_of_counts_is_named_and_fails_no_operation() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let ledger = Ledger::open(&path).expect("opens");
    pay(&ledger, "a");
    let _ = begin(&ledger, "a").replay();
    ledger.close().expect("closes");
    let table: redb::TableDefinition<'_, &[u8], &[u8]> =
        redb::TableDefinition::new("idempotency/events");
    let database = redb::Database::open(&path).expect("opens");
    let txn = database.begin_write().expect("begins");
    {
        let mut rows = txn.open_table(table).expect("opens");
        rows.insert([0, 0].as_slice(), b"damaged".as_slice())
            .expect("inserts");
    }
    txn.commit().expect("commits");
    drop(database);
    let ledger = Ledger::open(&path).expect("opens");
    assert_eq!(
        met(&ledger, "payments").replays,
        0,
        "who only counts goes on"
    );
    assert_eq!(
        ledger.retention_advice(PAYMENTS).expect("advises").samples,
        0
    );
    let problems = ledger.check().expect("checks").problems;
    assert!(
        problems[0].contains("counts of events of \"payments\""),
        "{problems:?}"
    );
    let _ = begin(&ledger, "a").replay();
    pay(&ledger, "b");
    assert_eq!(met(&ledger, "payments").replays, 1, "begun anew");
    assert!(ledger.check().expect("checks").is_clean());
}

#[test]
fn another_policy_is_reported_when_it_is_opened_and_when_it_is_used() {
    let (disk, clock) = (Disk::default(), clock());
    let ledger = open(disk.clone(), &clock);
    assert_eq!(
        ledger.policy_drift(PAYMENTS).expect("reads"),
        None,
        "nothing is stored yet"
    );
    pay(&ledger, "a");
    assert_eq!(ledger.policy_drifts(), []);
    drop(ledger);
    let short = PAYMENTS.policy(Policy::DEFAULT.retention(seconds(3_600)));
    let builder = Ledger::builder().clock(clock.clone());
    let declared = builder.namespaces([short.clone(), Namespace::new("never used")]);
    let ledger = declared.open_backend(disk.clone()).expect("opens");
    let drifts = ledger.policy_drifts();
    assert_eq!(drifts.len(), 1);
    assert_eq!(
        (drifts[0].namespace.as_str(), drifts[0].version),
        ("payments", 1)
    );
    assert_eq!(drifts[0].stored.retention_span(), seconds(24 * 3_600));
    assert_eq!(drifts[0].given, *short.current_policy());
    assert!(
        drifts[0]
            .to_string()
            .contains("retention 3600s instead of 86400s"),
        "{}",
        drifts[0]
    );

    // Looking and replaying change nothing; a claim does, and older records keep what they had.
    let replayed = ledger.operation(short.clone(), &key("a"), asked());
    let expires_at = replayed.begin().expect("works").replay().expires_at();
    let stored = |ledger: &Ledger| {
        let stats = ledger.stats().expect("counts");
        let names = stats.namespaces.into_iter().next().expect("one");
        (names.policy_version, names.policy.retention_span())
    };
    assert_eq!(stored(&ledger), (1, seconds(24 * 3_600)));
    let claim = ledger.operation(short.clone(), &key("b"), asked()).begin();
    claim
        .expect("works")
        .fresh()
        .complete("done")
        .expect("stored");
    assert_eq!(stored(&ledger), (2, seconds(3_600)));
    let kept = begin(&ledger, "a").replay();
    assert_eq!(kept.expires_at(), expires_at);
    assert_eq!(ledger.policy_drift(short).expect("reads"), None);

    // And back again: the newest difference of each namespace is kept.
    pay(&ledger, "c");
    let drifts = ledger.policy_drifts();
    assert_eq!((drifts.len(), drifts[0].version), (1, 2));
    assert_eq!(drifts[0].given, Policy::DEFAULT);
}

#[test]
fn every_part_of_a_policy_comes_back_from_the_file() {
    let policy = Policy::DEFAULT
        .lease(seconds(7))
        .retention(seconds(70))
        .retry_hint(seconds(3))
        .response_bytes_max(9)
        .on_interrupted(OnInterrupted::Rerun)
        .records_max(11)
        .bytes_max(1_200)
        .refuse_stale_keys()
        .forget_interrupted_after(seconds(700));
    let (ledger, _clock) = in_memory();
    let request = ledger.operation(PAYMENTS.policy(policy), &key("a"), asked());
    drop(request.begin().expect("works").fresh());
    let stats = ledger.stats().expect("counts");
    assert_eq!(stats.namespaces[0].policy, policy);
}

#[test]
fn what_was_met_in_a_transaction_counts_when_it_commits() {
    let (ledger, clock) = in_memory();
    pay(&ledger, "a");
    clock.advance(seconds(24 * 3_600));
    for _ in 0..3 {
        let txn = ledger.write().expect("begins");
        let begun = ledger
            .operation(PAYMENTS, &key("a"), asked())
            .begin_in(&txn);
        drop(begun.expect("works"));
        let _ = ledger.dedup(EVENTS).observe_in(&txn, "e").expect("works");
        let _ = ledger.dedup(EVENTS).observe_in(&txn, "e").expect("works");
        txn.abort();
    }
    assert_eq!(met(&ledger, "payments").late, 0, "nothing ran");
    let txn = ledger.write().expect("begins");
    for _ in 0..2 {
        let _ = ledger.dedup(EVENTS).observe_in(&txn, "e").expect("works");
    }
    let _ = txn.commit().expect("commits");
    drop(begin(&ledger, "any commit").fresh());
    assert_eq!(met(&ledger, "dedup:events").replays, 1);
    assert_eq!(met(&ledger, "payments").late, 0);
}

#[test]
fn closing_waits_for_the_writer_before_it_stores_the_last_counts() {
    let (disk, clock) = (Disk::default(), clock());
    let ledger = open(disk.clone(), &clock);
    pay(&ledger, "a");
    let _ = begin(&ledger, "a").replay();
    let other = ledger.clone();
    let (held, is_held) = std::sync::mpsc::channel();
    let writer = std::thread::spawn(move || {
        let txn = other.write().expect("begins");
        held.send(()).expect("somebody listens");
        await_queue(&other, 1);
        txn.abort();
    });
    is_held.recv().expect("it begins");
    ledger.close().expect("closes");
    writer.join().expect("no panic");
    assert_eq!(met(&open(disk, &clock), "payments").replays, 1);
}

#[test]
fn a_teller_that_panics_stops_no_check_and_looks_like_no_damage() {
    let folder = tempfile::tempdir().expect("a folder");
    let ledger = Ledger::open(folder.path().join("app.redb")).expect("opens");
    pay(&ledger, "a");
    let copy = folder.path().join("copy.redb");
    for work in [
        Box::new(|| drop(ledger.check_telling(|_| panic!("mine")))) as Box<dyn Fn()>,
        Box::new(|| drop(ledger.backup_telling(&copy, |_| panic!("mine")))),
    ] {
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(&work));
        let said = panicked.expect_err("it is passed on");
        assert_eq!(said.downcast_ref::<&str>(), Some(&"mine"));
    }
    assert!(ledger.check().expect("checks").is_clean());
    assert!(Ledger::open(&copy).is_ok(), "the copy is whole");
    let names = std::fs::read_dir(folder.path()).expect("reads").count();
    assert_eq!(names, 4, "two ledgers, their side files, and no draft");
}
