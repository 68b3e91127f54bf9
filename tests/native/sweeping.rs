//! Sweeping: what it removes, what it must never remove, and how a ledger in use stays bounded.

use std::convert::Infallible;

use idempotency_ledger::{
    BeginIn, Ledger, ManualClock, Namespace, Policy, RecordFilter, RecordState, Refusal, Swept,
};
use idempotency_tests::storage::Disk;
use idempotency_tests::{Expect, PAYMENTS, asked, begin, clock, in_memory, key, seconds, until};
use redb::{Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("idempotency/records");
const EXPIRY: TableDefinition<'_, &[u8], ()> = TableDefinition::new("idempotency/expiry");

/// Answers count for a minute.
const SHORT: Namespace = Namespace::new("short").policy(Policy::DEFAULT.retention(seconds(60)));
/// Interrupted claims are forgotten an hour behind their lease.
const FORGETFUL: Namespace =
    Namespace::new("forgetful").policy(Policy::DEFAULT.forget_interrupted_after(seconds(3_600)));

fn on_disk() -> (Disk, Ledger, ManualClock) {
    let (disk, clock) = (Disk::default(), clock());
    let ledger = open(&disk, &clock);
    (disk, ledger, clock)
}

fn open(disk: &Disk, clock: &ManualClock) -> Ledger {
    let builder = Ledger::builder().clock(clock.clone());
    builder.open_backend(disk.clone()).expect("opens")
}

/// What becomes of the claims that a test makes in one transaction.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Completed,
    Claimed,
}

/// Begins many keys in one commit.
fn fill(ledger: &Ledger, namespace: &Namespace, keys: impl Iterator<Item = String>, fate: Fate) {
    let txn = ledger.write().expect("begins");
    for text in keys {
        let request = ledger.operation(namespace.clone(), &key(&text), asked());
        match request.begin_in(&txn) {
            Ok(BeginIn::Fresh(claim)) if fate == Fate::Completed => {
                claim.complete("done").expect("stored");
            }
            Ok(BeginIn::Fresh(claim)) => claim.keep(),
            other => panic!("expected a claim, got {other:?}"),
        }
    }
    drop(txn.commit().expect("commits"));
}

fn numbered(name: impl Into<String>, count: usize) -> impl Iterator<Item = String> {
    let name = name.into();
    (0..count).map(move |number| format!("{name}-{number:06}"))
}

/// Rows of a table, counted in the file itself.
fn rows<V: redb::Value + 'static>(disk: &Disk, table: TableDefinition<'_, &[u8], V>) -> u64 {
    let database = Database::builder().create_with_backend(disk.clone());
    let database = database.expect("opens");
    let txn = database.begin_read().expect("reads");
    let table = txn.open_table(table).expect("the table is there");
    table.len().expect("reads")
}

#[test]
fn a_sweep_of_100_takes_100_of_1000_and_says_that_more_are_left() {
    let (ledger, clock) = in_memory();
    fill(&ledger, &SHORT, numbered("k", 1_000), Fate::Completed);
    assert_eq!(ledger.sweep(100).expect("sweeps"), Swept::default());
    clock.advance(seconds(60));
    for round in 1..=10 {
        let swept = ledger.sweep(100).expect("sweeps");
        assert_eq!(
            swept,
            Swept {
                removed: 100,
                more: round < 10
            }
        );
        let stats = ledger.stats().expect("counts");
        assert_eq!(stats.namespaces[0].expired, 1_000 - 100 * round);
    }
    assert_eq!(ledger.sweep(100).expect("sweeps"), Swept::default());
    assert!(ledger.check().expect("checks").is_clean());
}

#[test]
fn a_sweep_of_none_only_looks_and_one_without_a_bound_takes_all() {
    let (ledger, clock) = in_memory();
    fill(&ledger, &SHORT, numbered("k", 300), Fate::Completed);
    clock.advance(seconds(60));
    let commits = ledger.stats().expect("counts").commits;
    let looked = Swept {
        removed: 0,
        more: true,
    };
    assert_eq!(ledger.sweep(0).expect("looks"), looked);
    assert_eq!(ledger.stats().expect("counts").commits, commits);
    let swept = ledger.sweep(usize::MAX).expect("sweeps");
    let all = Swept {
        removed: 300,
        more: false,
    };
    assert_eq!(swept, all);
}

#[test]
fn a_sweep_takes_the_oldest_first() {
    let (ledger, clock) = in_memory();
    for text in ["c", "a", "b"] {
        let request = ledger.operation(SHORT, &key(text), asked());
        let claim = request.begin().expect("works").fresh();
        claim.complete("done").expect("stored");
        clock.advance(seconds(1));
    }
    // All but the newest have expired.
    clock.advance(seconds(58));
    assert_eq!(
        ledger.sweep(1).expect("sweeps"),
        Swept {
            removed: 1,
            more: true
        }
    );
    assert_eq!(
        ledger.sweep(1).expect("sweeps"),
        Swept {
            removed: 1,
            more: false
        }
    );
    let left: Vec<_> = ledger
        .records(RecordFilter::all())
        .expect("lists")
        .map(|info| info.expect("reads").key().as_str().to_owned())
        .collect();
    assert_eq!(left, ["b"]);
}

#[test]
fn a_hundred_thousand_claims_are_never_swept_and_are_no_rows_of_the_index() {
    let (disk, ledger, clock) = on_disk();
    let claims = 100_000;
    for part in 0..10 {
        let keys = numbered(format!("claim-{part}"), claims / 10);
        fill(&ledger, &PAYMENTS, keys, Fate::Claimed);
    }
    fill(&ledger, &SHORT, numbered("k", 1_000), Fate::Completed);
    // One that lives, beside those that were dropped.
    let alive = begin(&ledger, "alive").fresh();
    clock.advance(seconds(10 * 365 * 86_400 / 11));
    assert_eq!(
        ledger.sweep(100).expect("sweeps"),
        Swept {
            removed: 100,
            more: true
        }
    );
    assert_eq!(
        ledger.sweep(10_000).expect("sweeps"),
        Swept {
            removed: 900,
            more: false
        }
    );
    let stats = ledger.stats().expect("counts");
    let payments = &stats.namespaces[0];
    assert_eq!(
        (payments.name.as_str(), payments.claimed),
        ("payments", claims as u64 + 1)
    );
    drop(alive);
    ledger.close().expect("closes");
    // What a sweep reads is the index, and claims are not in it.
    assert_eq!(rows(&disk, EXPIRY), 0);
    assert_eq!(rows(&disk, RECORDS), claims as u64 + 1 + 2);
}

#[test]
fn what_has_expired_but_was_not_swept_is_absent_everywhere() {
    let (ledger, clock) = in_memory();
    fill(&ledger, &SHORT, numbered("k", 3), Fate::Completed);
    let record = ledger.record(SHORT, &key("k-000001"));
    clock.advance(seconds(59));
    assert!(record.peek().expect("reads").is_some());
    clock.advance(seconds(1));
    assert_eq!(record.peek().expect("reads"), None);
    assert_eq!(
        ledger.records(RecordFilter::all()).expect("lists").count(),
        0
    );
    let completed = RecordFilter::all().state(RecordState::Completed);
    assert_eq!(ledger.records(completed).expect("lists").count(), 0);
    let stats = ledger.stats().expect("counts");
    assert_eq!(stats.records(), 0);
    let short = &stats.namespaces[0];
    assert_eq!((short.records, short.completed, short.bytes), (0, 0, 0));
    assert_eq!(
        (short.claimed, short.expired),
        (0, 3),
        "only as what waits for a sweep"
    );
    let nothing = idempotency_ledger::Resolved::NothingThere;
    assert_eq!(record.forget().expect("works"), nothing);
    let released = idempotency_ledger::Resolution::Released;
    assert_eq!(record.resolve(released).expect("works"), nothing);
    let request = ledger.operation(SHORT, &key("k-000001"), asked());
    let claim = request.begin().expect("works").fresh();
    assert_eq!(claim.attempt(), 1);
    claim.complete("again").expect("stored");
    assert!(ledger.check().expect("checks").is_clean());
}

#[test]
fn a_row_of_the_index_removes_no_record_that_says_another_time() {
    let (disk, ledger, clock) = on_disk();
    begin(&ledger, "k")
        .fresh()
        .complete("kept")
        .expect("stored");
    ledger.close().expect("closes");
    // A row that is not the record's, as an interrupted upgrade might leave one.
    let database = Database::builder().create_with_backend(disk.clone());
    let database = database.expect("opens");
    let txn = database.begin_write().expect("begins");
    {
        let record_key = b"\0\0k\0";
        let early = [&clock_ms(&clock).to_be_bytes()[..], b"\0", record_key].concat();
        let mut expiry = txn.open_table(EXPIRY).expect("opens");
        expiry.insert(early.as_slice(), ()).expect("inserts");
    }
    txn.commit().expect("commits");
    drop(database);
    let ledger = open(&disk, &clock);
    assert!(
        !ledger.check().expect("checks").is_clean(),
        "the check sees it"
    );
    assert_eq!(ledger.sweep(10).expect("sweeps"), Swept::default());
    assert_eq!(begin(&ledger, "k").replay().response().bytes(), b"kept");
    assert!(
        ledger.check().expect("checks").is_clean(),
        "the row is gone"
    );
}

fn clock_ms(clock: &ManualClock) -> u64 {
    use idempotency_ledger::Clock as _;
    clock.wall().unix_ms()
}

#[test]
fn interrupted_claims_are_forgotten_only_where_and_when_the_policy_says() {
    let (ledger, clock) = in_memory();
    let ask = |text: &str| {
        let request = ledger.operation(FORGETFUL, &key(text), asked());
        request.begin().expect("works")
    };
    drop(ask("dropped").fresh());
    let alive = ask("alive").fresh();
    drop(begin(&ledger, "kept").fresh());
    // The lease of a minute, the hour behind it, and not a millisecond less.
    clock.advance(seconds(3_660) - std::time::Duration::from_millis(1));
    assert_eq!(ledger.sweep(10).expect("sweeps"), Swept::default());
    let _ = ask("dropped").interrupted();
    clock.advance(std::time::Duration::from_millis(1));
    // Until it is swept it counts.
    let _ = ask("dropped").interrupted();
    assert_eq!(
        ledger.sweep(10).expect("sweeps"),
        Swept {
            removed: 1,
            more: false
        }
    );
    assert_eq!(ask("dropped").fresh().attempt(), 1);
    // A claim whose holder lives is stepped over, and another policy's is never touched.
    assert!(ask("alive").interrupted().is_overdue());
    alive.renew().expect("its fence stands");
    assert!(matches!(ask("alive").refused(), Refusal::InProgress { .. }));
    let _ = begin(&ledger, "kept").interrupted();
    // The renewal has moved its row: it is forgotten an hour behind the new lease.
    drop(alive);
    clock.advance(seconds(3_659));
    assert_eq!(ledger.sweep(10).expect("sweeps").removed, 0);
    clock.advance(seconds(1));
    assert_eq!(ledger.sweep(10).expect("sweeps").removed, 2);
    assert!(ledger.check().expect("checks").is_clean());
}

#[test]
fn living_claims_that_are_due_do_not_keep_a_sweep_from_what_is_behind_them() {
    let (ledger, clock) = in_memory();
    let short = Namespace::new("short-lived").policy(
        Policy::DEFAULT
            .lease(seconds(1))
            .forget_interrupted_after(seconds(1)),
    );
    let txn = ledger.write().expect("begins");
    for text in numbered("alive", 500) {
        let request = ledger.operation(short.clone(), &key(&text), asked());
        let Ok(BeginIn::Fresh(claim)) = request.begin_in(&txn) else {
            panic!("the key is new");
        };
        claim.keep();
    }
    let kept = txn.commit().expect("commits");
    clock.advance(seconds(2));
    fill(&ledger, &SHORT, numbered("k", 10), Fate::Completed);
    clock.advance(seconds(60));
    assert_eq!(
        ledger.sweep(100).expect("sweeps"),
        Swept {
            removed: 10,
            more: false
        }
    );
    drop(kept);
    let swept = ledger.sweep(1_000).expect("sweeps");
    assert_eq!(
        swept,
        Swept {
            removed: 500,
            more: false
        }
    );
}

/// 200,000 keys are written and expire; the file stays as large as what counts at a time.
#[test]
fn the_file_stays_bounded_over_200_000_keys() {
    let (ledger, clock) = in_memory();
    let mut highest = 0;
    for round in 0..200 {
        fill(
            &ledger,
            &SHORT,
            numbered(format!("round-{round:03}"), 1_000),
            Fate::Completed,
        );
        clock.advance(seconds(60));
        let bytes = ledger.stats().expect("counts").file_bytes.expect("known");
        if round == 10 {
            highest = bytes;
        } else if round > 10 {
            assert!(
                bytes <= highest * 2,
                "{bytes} behind {highest} in round {round}"
            );
        }
    }
    let stats = ledger.stats().expect("counts");
    assert!(stats.namespaces[0].expired <= 2_000, "{stats:?}");
}

/// A way to write something under a key.
type Way = fn(&Ledger, &str);

#[test]
fn every_way_to_write_carries_a_sweep_along() {
    let ways: [(&str, Way); 3] = [
        ("begin and complete", |ledger, text| {
            let request = ledger.operation(SHORT, &key(text), asked());
            request
                .begin()
                .expect("works")
                .fresh()
                .complete("done")
                .expect("stored");
        }),
        ("transact", |ledger, text| {
            let request = ledger.operation(SHORT, &key(text), asked());
            request
                .transact_bytes(|_, _| Ok::<_, Infallible>("done"))
                .expect("stored");
        }),
        ("a transaction of the caller's", |ledger, text| {
            fill(
                ledger,
                &SHORT,
                [text.to_owned()].into_iter(),
                Fate::Completed,
            );
        }),
    ];
    for (name, write) in ways {
        let (ledger, clock) = in_memory();
        fill(&ledger, &SHORT, numbered("old", 100), Fate::Completed);
        clock.advance(seconds(60));
        for number in 0..200 {
            write(&ledger, &format!("new-{number}"));
        }
        let stats = ledger.stats().expect("counts");
        assert_eq!(stats.namespaces[0].expired, 0, "{name}");
        assert_eq!(stats.records(), 200, "{name}");
    }
}

#[test]
fn a_commit_of_many_keys_sweeps_as_many() {
    let (ledger, clock) = in_memory();
    for round in 0..5 {
        fill(
            &ledger,
            &SHORT,
            numbered(format!("round-{round}"), 256),
            Fate::Completed,
        );
        clock.advance(seconds(60));
    }
    let stats = ledger.stats().expect("counts");
    assert_eq!(
        stats.namespaces[0].expired, 256,
        "only those of the last round"
    );
}

#[test]
fn sweep_every_sweeps_by_the_clock_and_ends_when_it_is_dropped() {
    let (ledger, clock) = in_memory();
    fill(&ledger, &SHORT, numbered("k", 250), Fate::Completed);
    let sweeper = ledger.sweep_every(seconds(100), 100);
    let expired = || ledger.stats().expect("counts").namespaces[0].expired;
    until("the thread waits", || clock.waiting() == 1);
    clock.advance(seconds(99));
    until("the thread waits", || clock.waiting() == 1);
    assert_eq!(expired(), 250);
    // What is left over is swept without waiting another period.
    clock.advance(seconds(1));
    until("all of it is swept", || expired() == 0);
    until("the thread waits", || clock.waiting() == 1);
    drop(sweeper);
    assert_eq!(clock.waiting(), 0, "its thread has ended");
    fill(&ledger, &SHORT, numbered("later", 10), Fate::Completed);
    clock.advance(seconds(1_000));
    assert_eq!(expired(), 10, "nobody sweeps any more");
}
