//! `kill -9` of a process at every step of every write: what the next process finds.

use std::path::Path;

use idempotency_ledger::{
    Begin, CommitProfile, Error, Ledger, ManualClock, RecordFilter, RecordState, Refusal, Verify,
};
use idempotency_tests::workload::{View, Work};
use idempotency_tests::{Expect, PAYMENTS, asked, begin, clock, key, seconds};

use crate::child::{Child, REPEATABLE};
use crate::faults::Expected;

/// Kills a child at each step of a work, and once behind it.
fn kill_at_each_step(work: Work, profile: CommitProfile) {
    let expected = Expected::of(work, profile);
    let folder = tempfile::tempdir().expect("a folder");
    for step in 0..=expected.steps {
        let path = folder.path().join(format!("{step}.redb"));
        let mut child = Child::start();
        let line = format!("stop-at {work:?} {profile:?} {step} {}", path.display());
        let told = match child.ask(&line).as_str() {
            "stopped" => Err(Error::CommitUnknown(killed())),
            "done" => Ok(()),
            other => panic!("{line}: {other}"),
        };
        assert_eq!(told.is_ok(), step == expected.steps, "{line}");
        child.kill();
        let ledger = Ledger::builder()
            .clock(expected.clock.clone())
            .verify(Verify::Always)
            .open(&path)
            .expect("opens after a kill");
        assert!(ledger.open_report().repaired || profile == CommitProfile::TwoPhase);
        assert!(ledger.check().expect("checks").problems.is_empty());
        let alive = RecordFilter::all().state(RecordState::Claimed);
        assert_eq!(ledger.records(alive).expect("reads").count(), 0, "{line}");
        let found = View::of(&ledger).expect("reads");
        if step == 0 {
            assert_eq!(found, expected.before, "{line}");
        }
        expected.hold(&told, &found, &line);
    }
}
