//! Looking at records, counting them, and ending them by hand.

use idempotency_ledger::{
    Error, Fence, Fingerprint, Ledger, Namespace, Policy, RecordFilter, RecordHandle, RecordInfo,
    RecordState, Resolution, Resolved, Response, Ticket,
};
use idempotency_tests::storage::Disk;
use idempotency_tests::{Expect, PAYMENTS, START, asked, begin, clock, in_memory, key, seconds};
use redb::{Database, ReadableTable as _, TableDefinition};

const REFUNDS: Namespace = Namespace::new("refunds");

fn record(ledger: &Ledger, text: &str) -> RecordHandle {
    ledger.record(PAYMENTS, &key(text))
}

#[track_caller]
fn peek(ledger: &Ledger, text: &str) -> RecordInfo {
    let info = record(ledger, text).peek().expect("reads");
    info.expect("something is stored")
}

fn state(ledger: &Ledger, text: &str) -> Option<RecordState> {
    record(ledger, text)
        .peek()
        .expect("reads")
        .map(|info| info.state())
}

#[test]
fn a_look_tells_all_of_a_record_and_writes_nothing() {
    let (ledger, clock) = in_memory();
    assert_eq!(record(&ledger, "k").peek().expect("reads"), None);
    let request = ledger.operation(PAYMENTS, &key("k"), asked());
    let request = request.scope("alice").program("till");
    let claim = request.clone().begin().expect("works").fresh();
    claim.checkpoint("authorized", b"ch_1").expect("stored");
    let look = || {
        let handle = record(&ledger, "k").scope("alice");
        handle.peek().expect("reads").expect("there")
    };
    let commits = ledger.stats().expect("counts").commits;
    let info = look();
    assert_eq!((info.namespace(), info.key().as_str()), ("payments", "k"));
    assert_eq!(info.scope().as_bytes(), b"alice");
    assert_eq!(
        (info.state(), info.program()),
        (RecordState::Claimed, "till")
    );
    assert_eq!((info.fence(), info.attempts()), (claim.fence(), 1));
    assert_eq!(info.fingerprint(), &asked());
    assert_eq!((info.first_claimed_at(), info.claimed_at()), (START, START));
    assert_eq!(info.lease_until(), Some(START.saturating_add(seconds(60))));
    assert_eq!(
        info.checkpoint().map(|it| it.bytes.as_slice()),
        Some(&b"ch_1"[..])
    );
    assert_eq!(
        (info.response(), info.completed_at(), info.expires_at()),
        (None, None, None)
    );
    assert!(!info.is_overdue() && !info.is_running());
    // Without the scope it is another operation.
    assert_eq!(record(&ledger, "k").peek().expect("reads"), None);

    clock.advance(seconds(60));
    let info = look();
    assert_eq!(info.state(), RecordState::Interrupted);
    assert!(info.is_overdue() && !info.is_running());
    drop(claim);
    assert!(!look().is_overdue());

    clock.advance(seconds(40));
    assert_eq!(ledger.stats().expect("counts").commits, commits);
    let ticket = request.begin().expect("works").interrupted();
    let claim = ticket.rerun().expect("taken over");
    let info = look();
    assert_eq!((info.state(), info.attempts()), (RecordState::Claimed, 2));
    assert_eq!(info.first_claimed_at(), START);
    assert_eq!(info.claimed_at(), START.saturating_add(seconds(100)));
    claim.complete("done").expect("stored");
    let info = look();
    assert_eq!(info.state(), RecordState::Completed);
    assert_eq!(info.response(), Some(&Response::raw("done")));
    assert_eq!(
        info.completed_at(),
        Some(START.saturating_add(seconds(100)))
    );
    assert_eq!(
        info.expires_at(),
        Some(START.saturating_add(seconds(86_500)))
    );
    assert_eq!((info.lease_until(), info.checkpoint()), (None, None));
}

/// Three records in each of two namespaces, one in each state.
fn one_of_each(ledger: &Ledger) -> Vec<idempotency_ledger::Claim> {
    let mut alive = Vec::new();
    for namespace in [REFUNDS, PAYMENTS] {
        let ask = |text: &str| {
            let request = ledger.operation(namespace.clone(), &key(text), asked());
            request.begin().expect("works").fresh()
        };
        ask("completed").complete("done").expect("stored");
        drop(ask("interrupted"));
        alive.push(ask("claimed"));
    }
    alive
}

fn listed(ledger: &Ledger, filter: RecordFilter) -> Vec<String> {
    let records = ledger.records(filter).expect("lists");
    let lines = records.map(|info| {
        let info = info.expect("reads");
        format!("{} {} {}", info.namespace(), info.key(), info.state())
    });
    lines.collect()
}

#[test]
fn records_lists_what_the_filter_lets_through() {
    let (ledger, _) = in_memory();
    let _alive = one_of_each(&ledger);
    assert_eq!(
        listed(&ledger, RecordFilter::all()),
        [
            "refunds claimed claimed",
            "refunds completed completed",
            "refunds interrupted interrupted",
            "payments claimed claimed",
            "payments completed completed",
            "payments interrupted interrupted",
        ]
    );
    let payments = RecordFilter::all().namespace(&PAYMENTS);
    assert_eq!(listed(&ledger, payments.clone()).len(), 3);
    for state in [
        RecordState::Claimed,
        RecordState::Completed,
        RecordState::Interrupted,
    ] {
        let found = listed(&ledger, payments.clone().state(state));
        assert_eq!(found, [format!("payments {state} {state}")]);
        assert_eq!(listed(&ledger, RecordFilter::all().state(state)).len(), 2);
    }
    let unused = RecordFilter::all().namespace(&Namespace::new("never used"));
    assert!(listed(&ledger, unused).is_empty());
}

#[test]
fn a_listing_is_of_one_moment() {
    let (ledger, _) = in_memory();
    for text in ["a", "b", "c"] {
        begin(&ledger, text)
            .fresh()
            .complete("done")
            .expect("stored");
    }
    let mut records = ledger.records(RecordFilter::all()).expect("lists");
    let first = records.next().expect("three").expect("reads");
    assert_eq!(first.key().as_str(), "a");
    begin(&ledger, "d")
        .fresh()
        .complete("done")
        .expect("stored");
    assert_eq!(
        record(&ledger, "b").forget().expect("works"),
        Resolved::Done
    );
    let rest: Vec<_> = records
        .map(|info| info.expect("reads").key().to_string())
        .collect();
    assert_eq!(rest, ["b", "c"]);
    assert_eq!(listed(&ledger, RecordFilter::all()).len(), 3);
}

#[test]
fn stats_are_exact_after_every_kind_of_write() {
    let (disk, clock) = (Disk::default(), clock());
    let open = || {
        let builder = Ledger::builder().clock(clock.clone());
        builder.open_backend(disk.clone()).expect("opens")
    };
    let ledger = open();
    let mut alive = one_of_each(&ledger);
    let counts = |ledger: &Ledger, name: &str| {
        let stats = ledger.stats().expect("counts");
        let mut found = stats.namespaces.into_iter().filter(|it| it.name == name);
        let found = found.next().expect("the namespace");
        (found.records, found.claimed, found.completed, found.expired)
    };
    assert_eq!(counts(&ledger, "payments"), (3, 2, 1, 0));
    assert_eq!(ledger.stats().expect("counts").live_claims, 2);
    let claim = alive.pop().expect("two");
    claim.checkpoint("a", &[7; 100]).expect("stored");
    claim.renew().expect("renewed");
    assert_eq!(counts(&ledger, "payments"), (3, 2, 1, 0));
    claim.complete("done").expect("stored");
    assert_eq!(counts(&ledger, "payments"), (3, 1, 2, 0));
    let ticket: Ticket = begin(&ledger, "interrupted").interrupted();
    ticket.release().expect("released");
    assert_eq!(counts(&ledger, "payments"), (2, 0, 2, 0));
    assert_eq!(
        record(&ledger, "completed").forget().expect("works"),
        Resolved::Done
    );
    assert_eq!(counts(&ledger, "payments"), (1, 0, 1, 0));
    clock.advance(seconds(86_400));
    assert_eq!(counts(&ledger, "payments"), (0, 0, 0, 1));
    assert_eq!(counts(&ledger, "refunds"), (2, 2, 0, 1));
    assert_eq!(ledger.sweep(10).expect("sweeps").removed, 2);
    assert_eq!(counts(&ledger, "payments"), (0, 0, 0, 0));
    let bytes = ledger.stats().expect("counts").namespaces[0].bytes;
    assert_eq!(bytes, 0, "nothing is left in payments");
    drop(alive);
    let before = ledger.stats().expect("counts");
    ledger.close().expect("closes");
    let ledger = open();
    let after = ledger.stats().expect("counts");
    assert_eq!(after.namespaces, before.namespaces);
    assert_eq!((after.fence, after.live_claims), (before.fence, 0));
    // `check` counts everything anew and compares.
    assert!(ledger.check().expect("checks").is_clean());
}

#[test]
fn only_what_is_interrupted_can_be_resolved() {
    let (ledger, clock) = in_memory();
    let released = || Resolution::Released;
    let completed = || Resolution::Completed(Response::raw("by hand"));
    assert_eq!(
        record(&ledger, "k").resolve(released()).expect("works"),
        Resolved::NothingThere
    );
    let claim = begin(&ledger, "k").fresh();
    assert_eq!(
        record(&ledger, "k").resolve(released()).expect("works"),
        Resolved::StillAlive
    );
    // Also when its lease is over, for as long as it lives.
    clock.advance(seconds(60));
    assert_eq!(
        record(&ledger, "k").resolve(completed()).expect("works"),
        Resolved::StillAlive
    );
    drop(claim);
    assert_eq!(
        record(&ledger, "k").resolve(completed()).expect("works"),
        Resolved::Done
    );
    let replay = begin(&ledger, "k").replay();
    assert_eq!(replay.response().bytes(), b"by hand");
    assert_eq!(replay.completed_at(), START.saturating_add(seconds(60)));
    let again = record(&ledger, "k").resolve(completed());
    assert_eq!(again.expect("works"), Resolved::AlreadyCompleted);
    drop(begin(&ledger, "other").fresh());
    assert_eq!(
        record(&ledger, "other").resolve(released()).expect("works"),
        Resolved::Done
    );
    let _ = begin(&ledger, "other").fresh();
}

#[test]
fn resolving_can_demand_the_fence_that_was_seen() {
    let (ledger, _) = in_memory();
    drop(begin(&ledger, "k").fresh());
    let seen = peek(&ledger, "k").fence();
    drop(
        begin(&ledger, "k")
            .interrupted()
            .rerun()
            .expect("taken over"),
    );
    let late = record(&ledger, "k").resolve_at(seen, Resolution::Released);
    assert_eq!(late.expect("works"), Resolved::Superseded);
    assert_eq!(state(&ledger, "k"), Some(RecordState::Interrupted));
    let now = peek(&ledger, "k").fence();
    let done = record(&ledger, "k").resolve_at(now, Resolution::Released);
    assert_eq!(done.expect("works"), Resolved::Done);
    let nothing = record(&ledger, "k").resolve_at(now, Resolution::Released);
    assert_eq!(nothing.expect("works"), Resolved::NothingThere);
    let never = record(&ledger, "never").resolve_at(Fence::from_stored(7), Resolution::Released);
    assert_eq!(never.expect("works"), Resolved::NothingThere);
}

#[test]
fn a_person_may_release_behind_a_checkpoint_and_a_ticket_may_not() {
    let (ledger, _) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    claim.checkpoint("authorized", b"ch_1").expect("stored");
    drop(claim);
    assert!(begin(&ledger, "k").interrupted().release().is_err());
    let resolved = record(&ledger, "k").resolve(Resolution::Released);
    assert_eq!(resolved.expect("works"), Resolved::Done);
    assert_eq!(begin(&ledger, "k").fresh().last_checkpoint(), None);
}

#[test]
fn completed_and_interrupted_records_can_be_forgotten_and_living_ones_not() {
    let (ledger, clock) = in_memory();
    assert_eq!(
        record(&ledger, "k").forget().expect("works"),
        Resolved::NothingThere
    );
    let claim = begin(&ledger, "k").fresh();
    assert_eq!(
        record(&ledger, "k").forget().expect("works"),
        Resolved::StillAlive
    );
    clock.advance(seconds(60));
    assert_eq!(
        record(&ledger, "k").forget().expect("works"),
        Resolved::StillAlive
    );
    drop(claim);
    assert_eq!(
        record(&ledger, "k").forget().expect("works"),
        Resolved::Done
    );
    begin(&ledger, "k")
        .fresh()
        .complete("done")
        .expect("stored");
    assert_eq!(
        record(&ledger, "k").forget().expect("works"),
        Resolved::Done
    );
    assert_eq!(state(&ledger, "k"), None);
    // Forgotten means that it may run again, also for another request.
    let other = ledger.operation(PAYMENTS, &key("k"), Fingerprint::NONE);
    let _ = other.begin().expect("works").fresh();
    assert!(ledger.check().expect("checks").is_clean());
}

#[test]
fn a_response_above_the_limit_is_not_resolved_with() {
    let (ledger, _) = in_memory();
    let small = PAYMENTS.policy(Policy::DEFAULT.response_bytes_max(4));
    drop(begin(&ledger, "k").fresh());
    let resolve = |text: &str| {
        let record = ledger.record(small.clone(), &key("k"));
        record.resolve(Resolution::Completed(Response::raw(text)))
    };
    assert!(matches!(resolve("12345"), Err(Error::Invalid(_))));
    assert_eq!(state(&ledger, "k"), Some(RecordState::Interrupted));
    assert_eq!(resolve("1234").expect("works"), Resolved::Done);
}

#[test]
fn a_closed_ledger_says_so_in_every_call() {
    let (ledger, _) = in_memory();
    begin(&ledger, "k")
        .fresh()
        .complete("done")
        .expect("stored");
    drop(begin(&ledger, "i").fresh());
    let ticket = begin(&ledger, "i").interrupted();
    let handle = ledger.clone();
    let listing = ledger.records(RecordFilter::all());
    drop(listing);
    ledger.close().expect("closes");
    let is_closed = |error: Option<Error>| matches!(error, Some(Error::Closed));
    let request = || handle.operation(PAYMENTS, &key("k"), asked());
    assert!(is_closed(request().begin().err()));
    assert!(is_closed(request().wait(seconds(1)).begin().err()));
    assert!(is_closed(handle.write().err()));
    assert!(is_closed(record(&handle, "k").peek().err()));
    assert!(is_closed(record(&handle, "k").forget().err()));
    assert!(is_closed(
        record(&handle, "k").resolve(Resolution::Released).err()
    ));
    assert!(is_closed(handle.records(RecordFilter::all()).err()));
    assert!(is_closed(handle.stats().err()));
    assert!(is_closed(handle.sweep(1).err()));
    assert!(is_closed(handle.compact().err()));
    assert!(is_closed(handle.check().err()));
    assert!(is_closed(handle.confirm_clock().err()));
    assert!(is_closed(handle.reopen().err()));
    let folder = tempfile::tempdir().expect("a folder");
    assert!(is_closed(
        handle.backup(folder.path().join("copy.redb")).err()
    ));
    let failed = ticket.rerun().expect_err("closed");
    assert!(matches!(
        failed.error,
        idempotency_ledger::EndingError::Ledger(Error::Closed)
    ));
    assert!(handle.close().is_ok(), "closing twice is no error");
}

/// Spoils the stored bytes of a record without the ledger.
fn spoil(disk: &Disk, record_key: &[u8]) {
    const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("idempotency/records");
    let database = Database::builder().create_with_backend(disk.clone());
    let database = database.expect("opens");
    let txn = database.begin_write().expect("begins");
    {
        let mut records = txn.open_table(RECORDS).expect("opens");
        let old = records.get(record_key).expect("reads");
        let mut bytes = old.expect("it is stored").value().to_vec();
        bytes[10] ^= 1;
        records
            .insert(record_key, bytes.as_slice())
            .expect("inserts");
    }
    txn.commit().expect("commits");
}

#[test]
fn forgetting_a_damaged_record_leaves_exact_counts_and_a_clean_index() {
    let (disk, clock) = (Disk::default(), clock());
    let open = || {
        let builder = Ledger::builder().clock(clock.clone());
        builder.open_backend(disk.clone()).expect("opens")
    };
    let ledger = open();
    for text in ["c1", "c2"] {
        begin(&ledger, text)
            .fresh()
            .complete("done")
            .expect("stored");
    }
    for text in ["i1", "i2"] {
        drop(begin(&ledger, text).fresh());
    }
    ledger.close().expect("closes");
    spoil(&disk, b"\0\0c1\0");
    spoil(&disk, b"\0\0i1\0");
    let ledger = open();
    for text in ["c1", "i1"] {
        assert!(matches!(
            record(&ledger, text).peek(),
            Err(Error::Damaged { .. })
        ));
        assert_eq!(
            record(&ledger, text).forget().expect("works"),
            Resolved::Done
        );
    }
    let stats = ledger.stats().expect("counts");
    let payments = &stats.namespaces[0];
    assert_eq!(
        (payments.records, payments.claimed, payments.completed),
        (2, 1, 1)
    );
    let report = ledger.check().expect("checks");
    assert!(report.is_clean(), "{report:?}");
    let _ = begin(&ledger, "c1").fresh();
}

#[test]
fn a_damaged_record_keeps_nobody_from_counting_and_sweeping_the_others() {
    let (disk, clock) = (Disk::default(), clock());
    let open = || {
        let builder = Ledger::builder().clock(clock.clone());
        builder.open_backend(disk.clone()).expect("opens")
    };
    let ledger = open();
    for text in ["c1", "c2"] {
        begin(&ledger, text)
            .fresh()
            .complete("done")
            .expect("stored");
    }
    ledger.close().expect("closes");
    spoil(&disk, b"\0\0c1\0");
    let ledger = open();
    clock.advance(seconds(86_400));
    let stats = ledger.stats().expect("counts");
    // What cannot be read has not expired as far as anybody knows.
    assert_eq!((stats.records(), stats.namespaces[0].expired), (1, 1));
    assert_eq!(ledger.sweep(10).expect("sweeps").removed, 1);
    let damaged = record(&ledger, "c1").peek();
    assert!(matches!(damaged, Err(Error::Damaged { .. })), "{damaged:?}");
}
