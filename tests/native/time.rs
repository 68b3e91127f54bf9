//! The ledger's time: it never runs back, it follows no leap that nobody confirmed, and every
//! boundary is judged by it.

use std::time::Duration;

use idempotency_ledger::{
    Begin, Clock as _, Fingerprint, Key, Ledger, ManualClock, Namespace, OnInterrupted, Policy,
    RecordFilter, RecordState, Refusal, Timestamp,
};
use idempotency_tests::storage::Disk;
use idempotency_tests::{
    Expect, PAYMENTS, START, asked, begin, clock, in_memory, key, key_of, seconds,
};

const MS: Duration = Duration::from_millis(1);
const HOUR: Duration = seconds(3_600);
const YEAR: Duration = seconds(365 * 86_400);
const REPEATABLE: Namespace =
    Namespace::new("repeatable").policy(Policy::DEFAULT.on_interrupted(OnInterrupted::Rerun));
/// A retention of an hour, and keys that may have been forgotten are refused.
const STRICT: Namespace =
    Namespace::new("strict").policy(Policy::DEFAULT.retention(HOUR).refuse_stale_keys());

fn open(disk: &Disk, clock: &ManualClock) -> Ledger {
    let builder = Ledger::builder().clock(clock.clone());
    builder.open_backend(disk.clone()).expect("opens")
}

fn begin_in(ledger: &Ledger, namespace: &Namespace, text: &str) -> Begin {
    let request = ledger.operation(namespace.clone(), &key(text), asked());
    request.begin().expect("works")
}

fn complete(ledger: &Ledger, namespace: &Namespace, text: &str) {
    let claim = begin_in(ledger, namespace, text).fresh();
    claim.complete("done").expect("stored");
}

#[test]
fn a_lease_is_over_at_its_end_and_not_a_millisecond_before() {
    let (ledger, clock) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    let end = claim.lease_until();
    clock.set_wall(end.saturating_sub(MS));
    assert!(matches!(
        begin(&ledger, "k").refused(),
        Refusal::InProgress { .. }
    ));
    clock.set_wall(end);
    assert!(begin(&ledger, "k").interrupted().is_overdue());
}

#[test]
fn an_answer_expires_at_its_end_and_not_a_millisecond_before() {
    let (ledger, clock) = in_memory();
    let stored = begin(&ledger, "k").fresh().complete("done");
    let end = stored.expect("stored").expires_at();
    assert_eq!(end, START.saturating_add(seconds(86_400)));
    clock.set_wall(end.saturating_sub(MS));
    assert_eq!(begin(&ledger, "k").replay().response().bytes(), b"done");
    clock.set_wall(end);
    assert_eq!(begin(&ledger, "k").fresh().attempt(), 1);
}

#[test]
fn a_clock_set_back_an_hour_revives_nothing_and_lengthens_no_lease() {
    let (disk, clock) = (Disk::default(), clock());
    let ledger = open(&disk, &clock);
    let short = Namespace::new("short").policy(Policy::DEFAULT.retention(HOUR));
    complete(&ledger, &short, "expires");
    clock.advance(HOUR);
    let record = ledger.record(short, &key("expires"));
    assert_eq!(record.peek().expect("reads"), None);
    clock.set_wall(START);
    assert_eq!(record.peek().expect("reads"), None);
    // A minute is a minute, whatever the wall clock shows.
    let claim = begin(&ledger, "k").fresh();
    assert_eq!(
        claim.lease_until(),
        START.saturating_add(HOUR + seconds(60))
    );
    clock.advance(seconds(59));
    assert!(matches!(
        begin(&ledger, "k").refused(),
        Refusal::InProgress { .. }
    ));
    clock.advance(seconds(1));
    assert!(begin(&ledger, "k").interrupted().is_overdue());
    claim.complete("late").expect("stored");
    let now = ledger.now();
    assert_eq!(now, START.saturating_add(HOUR + seconds(60)));
    ledger.close().expect("closes");
    // The mark in the file keeps it so over an opening, an hour before.
    clock.set_wall(START);
    let ledger = open(&disk, &clock);
    assert_eq!(ledger.now(), now);
    assert_eq!(
        ledger.stats().expect("counts").records(),
        1,
        "the expired one stays expired"
    );
}

#[test]
fn ten_years_ahead_at_open_nothing_expires_and_nothing_is_swept_until_confirmed() {
    let (disk, clock) = (Disk::default(), clock());
    let ledger = open(&disk, &clock);
    for text in ["a", "b", "c"] {
        complete(&ledger, &PAYMENTS, text);
    }
    ledger.close().expect("closes");
    clock.set_wall(START.saturating_add(10 * YEAR));
    let ledger = open(&disk, &clock);
    let stats = ledger.stats().expect("counts");
    assert_eq!(stats.unconfirmed_jump, Some(10 * YEAR));
    assert_eq!((stats.now, stats.records()), (START, 3));
    assert_eq!(ledger.sweep(100).expect("sweeps").removed, 0);
    assert_eq!(begin(&ledger, "a").replay().response().bytes(), b"done");
    // Leases run by the time that passes.
    let claim = begin(&ledger, "new").fresh();
    clock.advance(seconds(59));
    assert!(matches!(
        begin(&ledger, "new").refused(),
        Refusal::InProgress { .. }
    ));
    clock.advance(seconds(1));
    assert!(begin(&ledger, "new").interrupted().is_overdue());
    claim.complete("done").expect("stored");
    assert_eq!(ledger.now(), START.saturating_add(seconds(60)));
    // Confirmed, the answers of ten years ago have expired, and it stays confirmed.
    let confirmed = ledger.confirm_clock().expect("confirms");
    assert_eq!(confirmed, clock.wall());
    let stats = ledger.stats().expect("counts");
    assert_eq!((stats.unconfirmed_jump, stats.records()), (None, 0));
    ledger.close().expect("closes");
    let ledger = open(&disk, &clock);
    let stats = ledger.stats().expect("counts");
    assert_eq!((stats.unconfirmed_jump, stats.now), (None, confirmed));
    assert_eq!(ledger.sweep(100).expect("sweeps").removed, 4);
}

#[test]
fn an_unconfirmed_clock_is_told_again_at_each_opening() {
    let (disk, clock) = (Disk::default(), clock());
    complete(&open(&disk, &clock), &PAYMENTS, "a");
    clock.set_wall(START.saturating_add(10 * YEAR));
    for round in 0..3 {
        let ledger = open(&disk, &clock);
        complete(&ledger, &PAYMENTS, &format!("round-{round}"));
        let jump = ledger.stats().expect("counts").unconfirmed_jump;
        assert_eq!(jump, Some(10 * YEAR), "round {round}");
    }
}

#[test]
fn a_year_is_the_longest_step_that_needs_no_confirmation() {
    for (step, unconfirmed) in [(YEAR, None), (YEAR + MS, Some(YEAR + MS))] {
        let (disk, clock) = (Disk::default(), clock());
        complete(&open(&disk, &clock), &PAYMENTS, "a");
        clock.set_wall(START.saturating_add(step));
        let stats = open(&disk, &clock).stats().expect("counts");
        assert_eq!(stats.unconfirmed_jump, unconfirmed);
        assert_eq!(stats.records(), u64::from(unconfirmed.is_some()));
    }
}

#[test]
fn the_longest_step_is_the_openers_choice() {
    let (disk, clock) = (Disk::default(), clock());
    complete(&open(&disk, &clock), &PAYMENTS, "a");
    clock.set_wall(START.saturating_add(HOUR));
    let builder = Ledger::builder().clock(clock.clone());
    let ledger = builder
        .clock_jump_max(HOUR - MS)
        .open_backend(disk)
        .expect("opens");
    let jump = ledger.stats().expect("counts").unconfirmed_jump;
    assert_eq!(jump, Some(HOUR));
}

#[test]
fn a_new_file_believes_whatever_clock_it_meets() {
    let clock = ManualClock::starting_at(START.saturating_add(100 * YEAR));
    let ledger = open(&Disk::default(), &clock);
    let stats = ledger.stats().expect("counts");
    assert_eq!((stats.unconfirmed_jump, stats.now), (None, clock.wall()));
}

#[test]
fn a_machine_that_slept_leaves_its_claims_overdue_and_they_are_not_taken_over_by_themselves() {
    let (ledger, clock) = in_memory();
    let claim = begin_in(&ledger, &REPEATABLE, "k").fresh();
    // While it sleeps the wall clock goes on, and the elapsed time does not.
    clock.set_wall(START.saturating_add(8 * HOUR));
    let ticket = begin_in(&ledger, &REPEATABLE, "k").interrupted();
    assert!(ticket.is_overdue());
    let info = ledger.record(REPEATABLE, &key("k")).peek().expect("reads");
    let info = info.expect("there");
    assert_eq!(info.state(), RecordState::Interrupted);
    assert!(info.is_overdue());
    assert_eq!(ledger.sweep(10).expect("sweeps").removed, 0);
    claim.renew().expect("its fence stands");
    claim.complete("done").expect("stored");
    assert_eq!(ticket.fence(), ledger.stats().expect("counts").fence);
}

#[test]
fn the_mark_is_stored_with_every_commit() {
    let (disk, clock) = (Disk::default(), clock());
    let ledger = open(&disk, &clock);
    let claim = begin(&ledger, "k").fresh();
    let mut expected = START;
    let mut claim = Some(claim);
    for step in 0..4 {
        clock.advance(seconds(10));
        expected = expected.saturating_add(seconds(10));
        match (step, claim.take()) {
            (0, Some(held)) => {
                held.renew().expect("renewed");
                claim = Some(held);
            }
            (1, Some(held)) => {
                held.checkpoint("a", b"1").expect("stored");
                claim = Some(held);
            }
            (2, Some(held)) => drop(held.complete("done").expect("stored")),
            (_, _) => drop(ledger.write().expect("begins").commit().expect("commits")),
        }
        // What the file says, as a second look at the same bytes finds it.
        let image = disk.after_power_cut(idempotency_tests::storage::Survivors::None);
        let copy = Disk::holding(image);
        let behind = ManualClock::starting_at(Timestamp::from_unix_ms(1));
        let stored = open(&copy, &behind).now();
        if step < 3 {
            assert_eq!(stored, expected, "step {step}");
        } else {
            // The application's own commit changes nothing of the ledger's.
            assert_eq!(stored, expected.saturating_sub(seconds(10)));
        }
    }
}

fn begin_strict(ledger: &Ledger, key: &Key) -> Begin {
    let request = ledger.operation(STRICT, key, Fingerprint::NONE);
    request.begin().expect("works")
}

#[test]
fn a_key_that_completed_and_was_swept_never_runs_again() {
    let (ledger, clock) = in_memory();
    let key = key_of(START, 1);
    let claim = begin_strict(&ledger, &key).fresh();
    clock.advance(seconds(60));
    let expires_at = claim.complete("done").expect("stored").expires_at();
    clock.set_wall(expires_at.saturating_sub(MS));
    // Already older than the retention, but its answer counts for a minute more.
    let _ = begin_strict(&ledger, &key).replay();
    clock.set_wall(expires_at);
    let refusal = begin_strict(&ledger, &key).refused();
    let expected = Refusal::Stale {
        key_time: START,
        now: expires_at,
        ahead: false,
    };
    assert_eq!(refusal, expected, "expired, not swept yet");
    assert_eq!(ledger.sweep(10).expect("sweeps").removed, 1);
    assert_eq!(begin_strict(&ledger, &key).refused(), expected, "swept");
    clock.advance(YEAR);
    assert!(matches!(
        begin_strict(&ledger, &key).refused(),
        Refusal::Stale { .. }
    ));
}

#[test]
fn stale_keys_are_judged_at_their_boundaries() {
    let (ledger, clock) = in_memory();
    let fresh = |key: &Key| drop(begin_strict(&ledger, key).fresh().release());
    let stale = |key: &Key, is_ahead: bool| match begin_strict(&ledger, key).refused() {
        Refusal::Stale { ahead, .. } => assert_eq!(ahead, is_ahead),
        other => panic!("expected stale, got {other:?}"),
    };
    let before = ledger.stats().expect("counts");
    stale(&key_of(START.saturating_sub(HOUR), 1), false);
    stale(&key_of(START.saturating_add(seconds(600) + MS), 2), true);
    let after = ledger.stats().expect("counts");
    assert_eq!(after, before, "a refusal writes nothing");
    fresh(&key_of(START.saturating_sub(HOUR - MS), 3));
    fresh(&key_of(START.saturating_add(seconds(600)), 4));
    // Keys without a time are unaffected.
    drop(begin_in(&ledger, &STRICT, "order-17").fresh());
    // The key from ten minutes ahead keeps its answer until it is stale itself.
    let ahead = key_of(START.saturating_add(seconds(600)), 5);
    let claim = begin_strict(&ledger, &ahead).fresh();
    let stored = claim.complete("done").expect("stored");
    let stale_at = START.saturating_add(seconds(600) + HOUR);
    assert_eq!(stored.expires_at(), stale_at);
    clock.set_wall(stale_at.saturating_sub(MS));
    let _ = begin_strict(&ledger, &ahead).replay();
    clock.set_wall(stale_at);
    stale(&ahead, false);
}

#[test]
fn a_longer_retention_does_not_let_an_expired_key_run_again() {
    let (disk, clock) = (Disk::default(), clock());
    let ledger = open(&disk, &clock);
    let key = key_of(START, 1);
    let stored = begin_strict(&ledger, &key).fresh().complete("done");
    drop(stored.expect("stored"));
    clock.advance(HOUR);
    let longer = STRICT.policy(Policy::DEFAULT.retention(24 * HOUR).refuse_stale_keys());
    let ask = |ledger: &Ledger, key: &Key| {
        let request = ledger.operation(longer.clone(), key, Fingerprint::NONE);
        request.begin().expect("works")
    };
    // Whether the sweep has come by makes no difference.
    assert!(matches!(
        ask(&ledger, &key).refused(),
        Refusal::Stale { .. }
    ));
    assert_eq!(ledger.sweep(10).expect("sweeps").removed, 1);
    ledger.close().expect("closes");
    let ledger = open(&disk, &clock);
    assert!(matches!(
        ask(&ledger, &key).refused(),
        Refusal::Stale { .. }
    ));
    // Neither does any other key that is not newer than the newest one removed.
    assert!(matches!(
        ask(&ledger, &key_of(START, 2)).refused(),
        Refusal::Stale { .. }
    ));
    drop(ask(&ledger, &key_of(START.saturating_add(MS), 3)).fresh());
}

#[test]
fn the_same_key_expires_and_runs_again_where_stale_keys_are_not_refused() {
    let (ledger, clock) = in_memory();
    let lenient = Namespace::new("lenient").policy(Policy::DEFAULT.retention(HOUR));
    let key = key_of(START, 1);
    let ask = || {
        let request = ledger.operation(lenient.clone(), &key, Fingerprint::NONE);
        request.begin().expect("works")
    };
    ask().fresh().complete("first").expect("stored");
    clock.advance(HOUR);
    assert_eq!(ledger.sweep(10).expect("sweeps").removed, 1);
    ask().fresh().complete("second").expect("stored");
    let all = ledger.records(RecordFilter::all()).expect("lists");
    assert_eq!(all.count(), 1);
}
