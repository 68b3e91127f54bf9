//! `kill -9` of a process at every step of every write: what the next process finds.

use std::fs;

use idempotency_ledger::{CommitProfile, Error, Ledger, RecordFilter, RecordState, Verify};
use idempotency_tests::workload::{View, Work};
use idempotency_tests::{Expect, begin};

use redb::ReadableTable;

use crate::child::Child;
use crate::faults::Expected;

/// Kills a child at each step of a work, and once behind it.
fn kill_at_each_step(work: Work, profile: CommitProfile) {
    let expected = Expected::of(work, profile);
    let folder = tempfile::tempdir().expect("a folder");
    for step in 0..=expected.steps {
        let path = folder.path().join(format!("{step}.redb"));
        let mut child = Child::start();
        let line = format!("stop-at {work:?} {profile:?} {step} {}", path.display());
        let was_told = match child.ask(&line).as_str() {
            "stopped" => false,
            "done" => true,
            other => panic!("{line}: {other}"),
        };
        child.kill();
        let ledger = Ledger::builder()
            .clock(expected.clock.clone())
            .verify(Verify::Always)
            .open(&path)
            .expect("opens after a kill");
        assert_eq!(
            ledger.check().expect("checks").problems,
            Vec::<String>::new(),
            "{line}"
        );
        let alive = RecordFilter::all().state(RecordState::Claimed);
        assert_eq!(ledger.records(alive).expect("reads").count(), 0, "{line}");
        let found = View::of(&ledger).expect("reads");
        expected.hold_after_death(was_told, &found, &line);
    }
}

/// One-phase for every work: the table of crash promises.
#[test]
fn kill_at_every_step_keeps_the_crash_table() {
    for work in Work::ALL {
        kill_at_each_step(work, CommitProfile::OnePhase);
    }
}

#[test]
fn kill_at_every_step_of_two_phase_commits_keeps_the_crash_table() {
    for work in [Work::Begin, Work::Complete, Work::Transact, Work::Sweep] {
        kill_at_each_step(work, CommitProfile::TwoPhase);
    }
}

#[test]
fn a_killed_holder_is_interrupted_at_once_in_an_exclusive_ledger() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let mut child = Child::with_open("exclusive", &path);
    assert_eq!(child.ask("begin k"), "fresh");
    assert_eq!(child.ask("checkpoint k authorized"), "ok");
    assert!(matches!(Ledger::open(&path), Err(Error::AlreadyOpen)));
    child.kill();
    let ledger = Ledger::open(&path).expect("opens");
    assert!(ledger.open_report().repaired);
    let ticket = begin(&ledger, "k").interrupted();
    assert_eq!(
        ticket.checkpoint().map(|reached| reached.name.as_str()),
        Some("authorized")
    );
}

#[test]
fn a_killed_transaction_leaves_neither_record_nor_the_applications_writes() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let mut child = Child::with_open("exclusive", &path);
    assert_eq!(child.ask("transact k"), "inside");
    child.kill();
    let ledger = Ledger::open(&path).expect("opens");
    let own: redb::TableDefinition<'_, u64, u64> = redb::TableDefinition::new("own");
    let txn = ledger.write().expect("writes");
    assert!(
        txn.open_table(own)
            .expect("opens")
            .get(1)
            .expect("reads")
            .is_none()
    );
    drop(txn);
    drop(begin(&ledger, "k").fresh());
}

#[test]
fn in_a_shared_ledger_the_dead_are_gone_at_once_and_the_living_are_never_orphans() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let mut holder = Child::with_open("shared", &path);
    let mut other = Child::with_open("shared", &path);
    assert_eq!(holder.ask("begin k"), "fresh");
    for _ in 0..20 {
        assert_eq!(other.ask("begin k"), "in progress");
    }
    holder.kill();
    assert_eq!(other.ask("begin k"), "interrupted");
    let mut third = Child::with_open("shared", &path);
    assert_eq!(third.ask("begin k"), "interrupted");
    assert_eq!(third.ask("begin l"), "fresh");
    assert_eq!(other.ask("begin l"), "in progress");
    assert_eq!(third.ask("drop l"), "ok");
    assert_eq!(other.ask("begin l"), "interrupted");
}

#[test]
fn a_living_holder_whose_lease_is_over_is_overdue_everywhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let mut holder = Child::with_open("shared", &path);
    let mut other = Child::with_open("shared", &path);
    assert_eq!(holder.ask("begin-repeatable k"), "fresh");
    assert_eq!(other.ask("advance 61"), "ok");
    // Safe to repeat, and still not taken over: somebody is at it.
    assert_eq!(other.ask("begin-repeatable k"), "overdue");
    assert_eq!(holder.ask("complete k late"), "ok");
    assert_eq!(other.ask("begin-repeatable k"), "replay late");
}

#[test]
fn a_kill_in_the_middle_of_a_backup_leaves_no_half_copy_under_its_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = (
        folder.path().join("app.redb"),
        folder.path().join("copy.redb"),
    );
    let mut child = Child::start();
    let line = format!("stop-in-backup {} {}", path.display(), copy.display());
    assert_eq!(child.ask(&line), "half");
    child.kill();
    let sizes: Vec<u64> = fs::read_dir(folder.path())
        .expect("reads")
        .map(|entry| entry.and_then(|entry| entry.metadata()))
        .map(|found| found.expect("reads").len())
        .collect();
    assert!(sizes.contains(&(1024 * 1024)), "half is written: {sizes:?}");
    assert!(!copy.exists(), "a backup appears when it is whole");
    let ledger = Ledger::open(&path).expect("opens");
    ledger.backup(&copy).expect("copies");
    assert!(Ledger::open(&copy).is_ok());
}
