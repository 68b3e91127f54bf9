//! Storage that fails, tears, loses what was not synced, or panics, at each step of each write.
//!
//! The rule: what an `Ok` said is on the disk, a storage error has written nothing, and only
//! "unknown" may be either, never anything in between.

use std::fmt::Debug;
use std::io::ErrorKind;
use std::panic::{AssertUnwindSafe, catch_unwind};

use idempotency_ledger::{CommitProfile, Error, Ledger, ManualClock, Verify};
use idempotency_tests::clock;
use idempotency_tests::storage::{Disk, Survivors, Watched};
use idempotency_tests::workload::{Bench, View, Work};

const PROFILES: [CommitProfile; 2] = [CommitProfile::OnePhase, CommitProfile::TwoPhase];

/// A bench on a disk that can be made to fail.
struct Rig {
    disk: Disk,
    storage: Watched,
    clock: ManualClock,
    bench: Bench,
}

impl Rig {
    fn new(work: Work, profile: CommitProfile) -> Self {
        let disk = Disk::default();
        let storage = Watched::new(disk.clone());
        let clock = clock();
        let ledger = Ledger::builder()
            .clock(clock.clone())
            .commit_profile(profile)
            .open_backend(storage.clone())
            .expect("opens");
        let bench = Bench::new(work, ledger, &clock);
        Self {
            disk,
            storage,
            clock,
            bench,
        }
    }

    /// What a new process finds if the power goes now.
    fn found_after_power_cut(&self, survivors: Survivors) -> View {
        let disk = Disk::holding(self.disk.after_power_cut(survivors));
        let ledger = Ledger::builder()
            .clock(self.clock.clone())
            .verify(Verify::Always)
            .open_backend(disk)
            .expect("what a power cut leaves opens");
        let check = ledger.check().expect("checks");
        assert_eq!(check.problems, Vec::<String>::new());
        View::of(&ledger).expect("reads")
    }
}

/// What a work makes of the file, and in how many steps.
pub(crate) struct Expected {
    before: View,
    after: View,
    pub(crate) steps: u64,
    /// The time at which the work was done.
    pub(crate) clock: ManualClock,
}

impl Expected {
    pub(crate) fn of(work: Work, profile: CommitProfile) -> Self {
        let mut rig = Rig::new(work, profile);
        let before = rig.found_after_power_cut(Survivors::None);
        let steps = rig.storage.counts().steps();
        rig.bench.act().expect("works without a fault");
        let steps = rig.storage.counts().steps() - steps;
        let after = rig.found_after_power_cut(Survivors::None);
        assert!(steps > 0, "{work:?} writes something");
        assert!(before != after || work == Work::Compact, "{work:?}");
        Self {
            before,
            after,
            steps,
            clock: rig.clock,
        }
    }

    /// Holds what was found against a death: a caller that was told something finds it.
    #[track_caller]
    pub(crate) fn hold_after_death(&self, was_told: bool, found: &View, context: &dyn Debug) {
        let holds = *found == self.after || (!was_told && *found == self.before);
        assert!(
            holds,
            "{context:?}: told {was_told}, found {found:#?}, before {:#?}, after {:#?}",
            self.before, self.after
        );
    }

    /// Holds what was found against what the caller was told.
    #[track_caller]
    fn hold(&self, told: &Result<(), Error>, found: &View, context: &dyn Debug) {
        let (may_be_before, may_be_after) = match told {
            Ok(()) => (false, true),
            Err(Error::CommitUnknown(_)) => (true, true),
            Err(Error::Storage(_)) => (true, false),
            Err(other) => panic!("{context:?}: told {other:?}"),
        };
        let holds =
            (may_be_before && *found == self.before) || (may_be_after && *found == self.after);
        assert!(
            holds,
            "{context:?}: told {told:?}, found {found:#?}, before {:#?}, after {:#?}",
            self.before, self.after
        );
    }
}

/// Does each work with a fault at each of its steps, under both profiles.
fn at_each_step(mut trial: impl FnMut(&mut Rig, &Expected, u64, &dyn Debug)) {
    for profile in PROFILES {
        for work in Work::ALL {
            let expected = Expected::of(work, profile);
            for step in 0..expected.steps {
                let mut rig = Rig::new(work, profile);
                trial(&mut rig, &expected, step, &(work, profile, step));
            }
        }
    }
}

/// All that a power cut may leave, held against what the caller was told.
fn hold_after_power_cut(
    rig: &Rig,
    expected: &Expected,
    told: &Result<(), Error>,
    seed: u64,
    context: &dyn Debug,
) {
    for survivors in [
        Survivors::None,
        Survivors::All,
        Survivors::Drawn(seed),
        Survivors::Drawn(!seed),
    ] {
        let found = rig.found_after_power_cut(survivors);
        expected.hold(told, &found, &(context, survivors));
    }
}

#[test]
fn a_power_cut_at_any_step_leaves_the_state_before_or_after() {
    at_each_step(|rig, expected, step, context| {
        rig.storage.fail_from(step, ErrorKind::Other);
        let told = rig.bench.act();
        hold_after_power_cut(rig, expected, &told, step, context);
    });
}

#[test]
fn a_torn_write_at_any_step_leaves_the_state_before_or_after() {
    at_each_step(|rig, expected, step, context| {
        rig.storage.tear_at(step);
        let told = rig.bench.act();
        hold_after_power_cut(rig, expected, &told, step, context);
    });
}

#[test]
fn after_an_error_at_any_step_the_same_ledger_works_on_the_next_call() {
    at_each_step(|rig, expected, step, context| {
        rig.storage.fail_once(step, ErrorKind::Other);
        let told = rig.bench.act();
        let found = View::of(&rig.bench.ledger).expect("the next call works");
        expected.hold(&told, &found, context);
        // Whatever was read since then must not be lost any more: a replay may rest on it.
        let durable = rig.found_after_power_cut(Survivors::None);
        assert_eq!(durable, found, "{context:?}");
    });
}

#[test]
fn a_storage_that_panics_at_any_step_fails_its_call_and_not_the_next() {
    at_each_step(|rig, expected, step, context| {
        rig.storage.panic_at(step);
        let told = catch_unwind(AssertUnwindSafe(|| rig.bench.act()))
            .unwrap_or_else(|_| panic!("{context:?}: the panic reaches the caller"));
        let found = View::of(&rig.bench.ledger)
            .unwrap_or_else(|error| panic!("{context:?}: told {told:?}, then {error:?}"));
        expected.hold(&told, &found, context);
        let durable = rig.found_after_power_cut(Survivors::None);
        assert_eq!(durable, found, "{context:?}");
    });
}
