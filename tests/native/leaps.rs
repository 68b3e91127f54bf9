//! A wall clock that leaps within a boot is measured and held back; nothing that is right suffers;
//! what a wrong clock did all the same is taken back.

use std::time::Duration;

use idempotency_ledger::time::{BootId, ChangedKey, ClockBack, ClockState, KeyChange};
use idempotency_ledger::{
    Begin, Clock as _, Fingerprint, Key, Ledger, ManualClock, Namespace, Policy, RecordState,
    Refusal, Timestamp,
};
use idempotency_tests::storage::{Disk, Watched};
use idempotency_tests::{
    Expect, PAYMENTS, START, asked, begin, booted_clock, clock, key, key_of, seconds,
};

const MS: Duration = Duration::from_millis(1);
const MINUTE: Duration = seconds(60);
const HOUR: Duration = seconds(3_600);
const DAY: Duration = seconds(86_400);
/// As for a job that runs once a day.
const DAILY: Namespace = Namespace::new("daily").policy(Policy::DEFAULT.retention(seconds(43_200)));
/// Keys that may have been forgotten are refused.
const STRICT: Namespace = Namespace::new("strict").policy(Policy::DEFAULT.refuse_stale_keys());

fn open(disk: &Disk, clock: &ManualClock) -> Ledger {
    let builder = Ledger::builder().clock(clock.clone());
    builder.open_backend(disk.clone()).expect("opens")
}

/// What a short process does: opens, works, closes.
fn process<T>(disk: &Disk, clock: &ManualClock, work: impl FnOnce(&Ledger) -> T) -> T {
    let ledger = open(disk, clock);
    let result = work(&ledger);
    ledger.close().expect("closes");
    result
}

fn complete(ledger: &Ledger, text: &str) {
    let claim = begin(ledger, text).fresh();
    claim.complete("done").expect("stored");
}

/// Runs a job under a key, unless its answer is still there; whether it ran.
fn runs(ledger: &Ledger, namespace: Namespace, key: &Key) -> bool {
    let request = ledger.operation(namespace, key, asked());
    match request.begin().expect("works") {
        Begin::Fresh(claim) => claim.complete("done").map(|_| true).expect("stored"),
        Begin::Replay(_) => false,
        other => panic!("neither runs nor replays: {other:?}"),
    }
}

fn set_ahead(clock: &ManualClock, span: Duration) {
    clock.set_wall(clock.wall().saturating_add(span));
}

fn set_back(clock: &ManualClock, span: Duration) {
    clock.set_wall(clock.wall().saturating_sub(span));
}

fn restart(clock: &ManualClock, boot: u8) {
    clock.start_machine(BootId::from_bytes([boot; 16]));
}

fn clock_of(ledger: &Ledger) -> ClockState {
    ledger.stats().expect("counts").clock
}

#[test]
fn a_clock_two_days_ahead_for_two_seconds_runs_nothing_twice() {
    // In one process, and over a restart of the program.
    for restarts in [false, true] {
        let (disk, clock) = (Disk::default(), booted_clock(1));
        let mut ledger = open(&disk, &clock);
        complete(&ledger, "k");
        clock.advance(seconds(2));
        set_ahead(&clock, 2 * DAY);
        if restarts {
            ledger.close().expect("closes");
            ledger = open(&disk, &clock);
        }
        assert_eq!(begin(&ledger, "k").replay().response().bytes(), b"done");
        assert_eq!(ledger.sweep(10).expect("sweeps").removed, 0);
        let since = START.saturating_add(seconds(2));
        let expected = ClockState::Leapt {
            by: 2 * DAY,
            since,
            believed_at: Some(since.saturating_add(HOUR)),
        };
        let stats = ledger.stats().expect("counts");
        assert_eq!((stats.clock, stats.now), (expected, since));
        assert_eq!(stats.unconfirmed_jump, Some(2 * DAY));
        // Leases go on by the time that passes.
        let claim = begin(&ledger, "new").fresh();
        assert_eq!(claim.lease_until(), since.saturating_add(MINUTE));
        claim.complete("done").expect("stored");
        // The clock is right again, and nothing is left of it.
        set_back(&clock, 2 * DAY);
        assert_eq!(clock_of(&ledger), ClockState::Agrees);
        assert_eq!(ledger.now(), clock.wall());
    }
}

#[test]
fn five_minutes_are_no_leap_and_one_millisecond_more_is() {
    for (ahead, held) in [(5 * MINUTE, false), (5 * MINUTE + MS, true)] {
        let (disk, clock) = (Disk::default(), booted_clock(1));
        process(&disk, &clock, |ledger| complete(ledger, "k"));
        set_ahead(&clock, ahead);
        let ledger = open(&disk, &clock);
        let jump = ledger.stats().expect("counts").unconfirmed_jump;
        assert_eq!(jump, held.then_some(ahead));
        let expected = if held { START } else { clock.wall() };
        assert_eq!(ledger.now(), expected);
    }
}

#[test]
fn a_leapt_clock_is_believed_after_an_hour_of_boot_time_that_short_processes_count() {
    let (disk, clock) = (Disk::default(), booted_clock(1));
    process(&disk, &clock, |ledger| complete(ledger, "old"));
    set_ahead(&clock, 2 * DAY);
    // It is noted with the first commit that meets it.
    process(&disk, &clock, |ledger| complete(ledger, "first"));
    for minute in [20, 40] {
        clock.advance(20 * MINUTE);
        let now = process(&disk, &clock, |ledger| {
            complete(ledger, &format!("at-{minute}"));
            ledger.now()
        });
        assert_eq!(now, START.saturating_add(minute * MINUTE));
    }
    clock.advance(20 * MINUTE - MS);
    process(&disk, &clock, |ledger| {
        assert!(matches!(clock_of(ledger), ClockState::Leapt { .. }));
        let _ = begin(ledger, "old").replay();
    });
    clock.advance(MS);
    process(&disk, &clock, |ledger| {
        assert_eq!(clock_of(ledger), ClockState::Agrees);
        assert_eq!(ledger.now(), clock.wall());
        assert!(runs(ledger, PAYMENTS, &key("old")), "two days and an hour");
    });
    // It stays believed.
    process(&disk, &clock, |ledger| {
        assert_eq!(ledger.now(), clock.wall());
    });
}

#[test]
fn a_right_clock_in_between_starts_the_hour_again() {
    let (disk, clock) = (Disk::default(), booted_clock(1));
    let wrong = |text: &str| {
        set_ahead(&clock, 2 * DAY);
        process(&disk, &clock, |ledger| complete(ledger, text));
        let state = process(&disk, &clock, clock_of);
        set_back(&clock, 2 * DAY);
        state
    };
    process(&disk, &clock, |ledger| complete(ledger, "k"));
    for round in 0..5 {
        // As with one program under a wrong clock, and another one under the right one.
        let state = wrong(&format!("wrong-{round}"));
        assert!(matches!(state, ClockState::Leapt { .. }), "round {round}");
        clock.advance(30 * MINUTE);
        process(&disk, &clock, |ledger| {
            complete(ledger, &format!("right-{round}"));
            assert_eq!(ledger.now(), clock.wall());
        });
        clock.advance(30 * MINUTE);
    }
}

#[test]
fn confirmed_by_a_person_a_leap_counts_at_once_and_stays() {
    let (disk, clock) = (Disk::default(), booted_clock(1));
    process(&disk, &clock, |ledger| complete(ledger, "k"));
    set_ahead(&clock, 2 * DAY);
    let confirmed = process(&disk, &clock, Ledger::confirm_clock);
    assert_eq!(confirmed.expect("confirms"), clock.wall());
    process(&disk, &clock, |ledger| {
        assert_eq!(clock_of(ledger), ClockState::Agrees);
        assert!(runs(ledger, PAYMENTS, &key("k")));
    });
}

#[test]
fn a_machine_that_slept_a_month_is_not_stuck() {
    let (disk, clock) = (Disk::default(), booted_clock(1));
    let ledger = open(&disk, &clock);
    complete(&ledger, "k");
    let claim = begin(&ledger, "at-work").fresh();
    clock.sleep_machine(30 * DAY);
    assert_eq!(clock_of(&ledger), ClockState::Agrees);
    assert!(runs(&ledger, PAYMENTS, &key("k")), "a month later");
    assert!(begin(&ledger, "at-work").interrupted().is_overdue());
    claim.complete("done").expect("its fence stands");
}

#[test]
fn a_daily_job_with_a_retention_of_12_hours_runs_each_day() {
    let (disk, clock) = (Disk::default(), booted_clock(1));
    let job = key("report");
    let mut ran = 0;
    for day in 0..8_u8 {
        // Each run is a short process, started twice by mistake.
        ran += u32::from(process(&disk, &clock, |ledger| runs(ledger, DAILY, &job)));
        assert!(!process(&disk, &clock, |ledger| runs(ledger, DAILY, &job)));
        match day {
            // The clock was wrong and is corrected between two runs.
            1 => set_ahead(&clock, 3 * DAY),
            2 => set_back(&clock, 2 * HOUR),
            // The machine was off for six hours, and comes up with a clock that is a day behind. A
            // program has looked when a time server corrects it.
            4 => {
                restart(&clock, 2);
                set_back(&clock, DAY - 6 * HOUR);
                process(&disk, &clock, |ledger| complete(ledger, "another"));
                clock.advance(MINUTE);
                set_ahead(&clock, DAY);
            }
            _ => {}
        }
        clock.sleep_machine(DAY);
    }
    assert_eq!(ran, 8);
}

#[test]
fn a_clock_that_is_corrected_after_booting_refuses_no_key_and_is_right_an_hour_later() {
    let (disk, clock) = (Disk::default(), booted_clock(1));
    let strict = |ledger: &Ledger, number| runs(ledger, STRICT, &key_of(clock.wall(), number));
    process(&disk, &clock, |ledger| complete(ledger, "k"));
    // Off for three days; without a battery the machine comes up in 1970.
    let off = START.saturating_add(3 * DAY);
    restart(&clock, 2);
    clock.set_wall(Timestamp::from_unix_ms(5_000));
    let ledger = open(&disk, &clock);
    assert!(matches!(clock_of(&ledger), ClockState::Behind { .. }));
    complete(&ledger, "early");
    clock.advance(MINUTE);
    clock.set_wall(off);
    // Clients mint by the right clock, and by the ledger's time, which a refusal carries.
    assert!(strict(&ledger, 1));
    assert!(runs(&ledger, STRICT, &key_of(ledger.now(), 2)));
    assert!(matches!(clock_of(&ledger), ClockState::Leapt { .. }));
    clock.advance(HOUR);
    assert!(strict(&ledger, 3));
    assert_eq!(clock_of(&ledger), ClockState::Agrees);
    assert_eq!(ledger.now(), off.saturating_add(HOUR));
    // What was answered under the leap is still answered, and by the whole retention.
    assert!(!runs(&ledger, STRICT, &key_of(off, 1)));
}

#[test]
fn while_a_leap_is_held_back_keys_of_both_clocks_are_new_and_only_further_ones_ahead() {
    let (disk, clock) = (Disk::default(), booted_clock(1));
    let ledger = open(&disk, &clock);
    complete(&ledger, "k");
    set_ahead(&clock, 2 * DAY);
    assert!(runs(&ledger, STRICT, &key_of(START, 1)));
    let edge = clock.wall().saturating_add(10 * MINUTE);
    assert!(runs(&ledger, STRICT, &key_of(edge, 2)));
    let key = key_of(edge.saturating_add(MS), 3);
    let begun = ledger.operation(STRICT, &key, Fingerprint::NONE).begin();
    let Refusal::Stale { ahead, now, .. } = begun.expect("works").refused() else {
        panic!("it lies too far ahead");
    };
    assert_eq!((ahead, now), (true, START));
}

#[test]
fn over_a_reboot_only_the_longest_step_counts() {
    let step = 365 * DAY;
    for (ahead, held) in [(step, None), (step + 2 * MS, Some(step + MS))] {
        let (disk, clock) = (Disk::default(), booted_clock(1));
        process(&disk, &clock, |ledger| complete(ledger, "k"));
        restart(&clock, 2);
        set_ahead(&clock, ahead);
        let ledger = open(&disk, &clock);
        // At least a millisecond has passed over a reboot.
        assert_eq!(ledger.stats().expect("counts").unconfirmed_jump, held);
        complete(&ledger, "another");
        ledger.close().expect("closes");
        // An hour proves nothing about it: nothing was measured when it began.
        clock.advance(2 * HOUR);
        process(&disk, &clock, |ledger| match (clock_of(ledger), held) {
            (ClockState::Agrees, None) => {}
            (ClockState::Leapt { believed_at, .. }, Some(_)) => assert_eq!(believed_at, None),
            (other, _) => panic!("{other:?}"),
        });
    }
}

#[test]
fn a_file_from_before_the_boot_clock_is_read_and_measured_from_its_first_commit_on() {
    let (disk, bare) = (Disk::default(), clock());
    process(&disk, &bare, |ledger| complete(ledger, "k"));
    let clock = booted_clock(1);
    clock.advance(HOUR);
    process(&disk, &clock, |ledger| {
        let _ = begin(ledger, "k").replay();
        assert_eq!(ledger.now(), clock.wall());
        complete(ledger, "measured");
    });
    set_ahead(&clock, 2 * DAY);
    process(&disk, &clock, |ledger| {
        assert!(matches!(clock_of(ledger), ClockState::Leapt { .. }));
    });
    // Where the boot cannot be told any more, the old rule holds.
    bare.set_wall(clock.wall());
    process(&disk, &bare, |ledger| {
        assert_eq!(clock_of(ledger), ClockState::Agrees);
        assert_eq!(ledger.now(), clock.wall());
    });
}

#[test]
fn the_boot_clock_costs_no_commit_a_write_or_a_sync() {
    let cost = |clock: ManualClock, leaps: bool| {
        let disk = Watched::new(Disk::default());
        let builder = Ledger::builder().clock(clock.clone());
        let ledger = builder.open_backend(disk.clone()).expect("opens");
        // The first commits make the tables.
        complete(&ledger, "first");
        if leaps {
            set_ahead(&clock, 2 * DAY);
        }
        let before = disk.counts();
        for number in 0..20 {
            complete(&ledger, &format!("k-{number}"));
        }
        let after = disk.counts();
        let bytes = after.bytes - before.bytes;
        (
            after.writes - before.writes,
            bytes,
            after.syncs - before.syncs,
        )
    };
    let without = cost(clock(), false);
    assert_eq!(cost(booted_clock(1), false), without);
    assert_eq!(cost(booted_clock(1), true), without);
    assert_eq!(without.2, 40, "a sync for each claim and each completion");
}

/// A ledger whose time one run has driven ahead, and the right clock.
fn driven_ahead(disk: &Disk) -> ManualClock {
    let clock = booted_clock(1);
    process(disk, &clock, |ledger| {
        // What a commit of the wrong run sweeps along.
        for number in 0..3 {
            complete(ledger, &format!("swept-{number}"));
        }
        clock.advance(seconds(1));
        complete(ledger, "before");
        drop(begin(ledger, "half").fresh());
        assert!(runs(ledger, STRICT, &key_of(START, 1)));
    });
    // Over a reboot nothing can be measured.
    restart(&clock, 2);
    set_ahead(&clock, 300 * DAY);
    process(disk, &clock, |ledger| {
        assert_eq!(ledger.now(), clock.wall());
        drop(ledger.operation(PAYMENTS, &key("wrong"), asked()).begin());
    });
    restart(&clock, 3);
    clock.set_wall(START.saturating_add(MINUTE / 2));
    clock
}

#[test]
fn one_run_300_days_ahead_is_reported_and_taken_back_by_a_person() {
    let disk = Disk::default();
    let clock = driven_ahead(&disk);
    let ledger = open(&disk, &clock);
    let fence = ledger.stats().expect("counts").fence;
    let new = key_of(clock.wall(), 2);
    let ask = || ledger.operation(STRICT, &new, asked()).begin();
    assert!(matches!(
        ask().expect("works").refused(),
        Refusal::Stale { ahead: false, .. }
    ));
    let ClockState::Behind { by, since } = clock_of(&ledger) else {
        panic!("the clock is behind the ledger's time");
    };
    let driven_to = START.saturating_add(300 * DAY + seconds(1) + MS);
    assert_eq!(by, driven_to.saturating_since(clock.wall()));
    assert_eq!(since, driven_to);
    // Confirming the clock confirms nothing here: the time never runs back by itself.
    let now = ledger.confirm_clock().expect("confirms");
    assert!(now > clock.wall());
    // Counted and named before anything changes.
    let back = ledger.plan_clock_back().expect("looks").expect("is behind");
    assert_eq!((back.to, back.by), (clock.wall(), by));
    assert_named(&back);
    assert_eq!(ledger.take_clock_back().expect("takes back"), clock.wall());
    let stats = ledger.stats().expect("counts");
    assert_eq!((stats.clock, stats.now), (ClockState::Agrees, clock.wall()));
    drop(ask().expect("works").fresh());
    ledger.close().expect("closes");
    // It stays so, whatever the marks of other namespaces say, and fences only rise.
    clock.advance(HOUR);
    let ledger = open(&disk, &clock);
    assert_eq!(ledger.now(), clock.wall());
    assert_eq!(ledger.plan_clock_back().expect("looks"), None);
    let claim = begin(&ledger, "after").fresh();
    assert!(claim.fence() > fence);
    assert_eq!(
        ledger.take_clock_back().expect("nothing to do"),
        clock.wall()
    );
}

/// The answer that counts again, and the lease that runs again.
fn assert_named(back: &ClockBack) {
    let in_words = |found: &ChangedKey| {
        let name = format!("{} {}", found.namespace, found.key);
        (name, found.change)
    };
    let mut names: Vec<_> = back.changed.iter().map(in_words).collect();
    names.sort_by(|one, other| one.0.cmp(&other.0));
    let strict = format!("strict {}", key_of(START, 1));
    let expected = [
        ("payments before".to_owned(), KeyChange::AnswersAgain),
        ("payments half".to_owned(), KeyChange::LeaseRuns),
        (strict, KeyChange::AnswersAgain),
    ];
    assert_eq!(names, expected);
    assert_eq!(back.keys_changed, 3);
    assert!(back.unguarded.is_empty());
}

#[test]
fn what_the_time_was_taken_back_over_replays_and_leases_run_for_their_span_at_most() {
    let disk = Disk::default();
    let clock = driven_ahead(&disk);
    let ledger = open(&disk, &clock);
    assert_eq!(ledger.take_clock_back().expect("takes back"), clock.wall());
    let _ = begin(&ledger, "before").replay();
    // Made 300 days ahead: not in progress for 300 days.
    let wrong = ledger.record(PAYMENTS, &key("wrong"));
    let info = wrong.peek().expect("reads").expect("there");
    assert_eq!(info.state(), RecordState::Interrupted);
    assert_eq!(
        info.lease_until(),
        Some(clock.wall().saturating_add(MINUTE))
    );
    assert!(ledger.check().expect("checks").is_clean());
}

#[test]
fn removed_keys_from_the_future_are_reported_and_refuse_no_new_key_once_taken_back() {
    let (disk, clock) = (Disk::default(), booted_clock(1));
    process(&disk, &clock, |ledger| complete(ledger, "k"));
    restart(&clock, 2);
    set_ahead(&clock, 300 * DAY);
    let future = clock.wall();
    process(&disk, &clock, |ledger| {
        assert!(runs(ledger, STRICT, &key_of(future, 1)));
        clock.advance(2 * DAY);
        let _ = ledger.sweep(10).expect("sweeps");
    });
    restart(&clock, 3);
    clock.set_wall(START.saturating_add(HOUR));
    let ledger = open(&disk, &clock);
    let back = ledger.plan_clock_back().expect("looks").expect("is behind");
    let unguarded: Vec<_> = back
        .unguarded
        .iter()
        .map(|found| (found.namespace.as_str(), found.newest_removed))
        .collect();
    assert_eq!(unguarded, [("strict", future)]);
    let _ = ledger.take_clock_back().expect("takes back");
    clock.advance(MS);
    assert!(runs(&ledger, STRICT, &key_of(clock.wall(), 2)));
}
