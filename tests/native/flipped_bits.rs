//! One bit of the file is another: in a closed ledger, in what a crash left, verified or not.

use std::fs;
use std::path::Path;

use idempotency_ledger::{Begin, CommitProfile, Error, Ledger, Verify};
use idempotency_tests::{Expect, PAYMENTS, asked, begin, key};

use crate::damage::{answer, fill, no_answer_is_wrong, nothing_is_wrong, open};

/// redb's header, which says which commit is the newest.
const HEADER_BYTES: usize = 320;
/// The bit of the header that tells its two newest commits apart.
const NEWEST: (usize, u8) = (9, 1);

/// How a ledger was left.
#[derive(Clone, Copy, Debug)]
enum Left {
    Closed,
    /// The bytes of an open file are what a crash leaves.
    Crashed,
}

fn image(path: &Path, profile: CommitProfile, left: Left) -> Vec<u8> {
    let ledger = fill(path, profile);
    match left {
        Left::Closed => {
            ledger.close().expect("closes");
            fs::read(path).expect("reads")
        }
        Left::Crashed => fs::read(path).expect("reads"),
    }
}

/// Opens the file with one bit flipped, at each byte of its header and at many others. `hold`
/// looks at what opens; the answer is how many did not.
fn flip_each(
    left: Left,
    profile: CommitProfile,
    verify: Verify,
    step: usize,
    mut hold: impl FnMut(&Ledger, &str),
) -> usize {
    let folder = tempfile::tempdir().expect("a folder");
    let bytes = image(&folder.path().join("whole.redb"), profile, left);
    let path = folder.path().join("flipped.redb");
    let (mut refused, mut opened) = (0, 0);
    let body = (HEADER_BYTES..bytes.len()).step_by(step);
    for at in (0..HEADER_BYTES).chain(body) {
        let bit = 1 << (at % 8);
        if (at, bit) == NEWEST {
            continue;
        }
        let mut flipped = bytes.clone();
        flipped[at] ^= bit;
        fs::write(&path, &flipped).expect("writes");
        // Each is a file of its own, of which nothing was seen before.
        let _ = fs::remove_file(folder.path().join("flipped.redb.locks"));
        let context = format!("{left:?} {profile:?} {verify:?}, bit {bit:#x} of byte {at}");
        match open(&path, profile, verify) {
            Ok(ledger) => {
                opened += 1;
                hold(&ledger, &context);
            }
            Err(_) => refused += 1,
        }
    }
    assert!(opened > 0, "some places are harmless");
    refused
}

#[test]
fn in_a_closed_file_it_is_an_error_or_harmless() {
    for (profile, verify, step) in [
        (CommitProfile::OnePhase, Verify::Always, 997),
        (CommitProfile::TwoPhase, Verify::Always, 997),
        (CommitProfile::OnePhase, Verify::UpTo(64 * 1024 * 1024), 997),
    ] {
        let refused = flip_each(Left::Closed, profile, verify, step, nothing_is_wrong);
        assert!(refused > 0, "some places are not harmless");
    }
}

#[test]
fn in_an_unverified_file_it_may_hide_a_record_and_never_makes_a_wrong_answer() {
    let (profile, verify) = (CommitProfile::OnePhase, Verify::Never);
    let mut hidden = 0;
    let refused = flip_each(Left::Closed, profile, verify, 311, |ledger, context| {
        for number in 0..20 {
            let text = format!("k-{number}");
            match ledger.operation(PAYMENTS, &key(&text), asked()).begin() {
                Ok(Begin::Replay(replay)) => {
                    assert_eq!(
                        replay.response().bytes(),
                        answer(&text).as_bytes(),
                        "{context}"
                    );
                }
                Ok(Begin::Fresh(_)) => hidden += 1,
                Ok(other) => panic!("{context}: {other:?}"),
                Err(_) => {}
            }
        }
    });
    assert!(refused > 0, "some places are not harmless");
    assert!(hidden > 0, "otherwise verifying would be for nothing");
}

#[test]
fn in_what_a_crash_left_of_a_two_phase_file_it_costs_no_commit() {
    let (profile, verify) = (CommitProfile::TwoPhase, Verify::Always);
    let refused = flip_each(Left::Crashed, profile, verify, 1_499, nothing_is_wrong);
    assert!(refused > 0, "some places are not harmless");
}

#[test]
fn in_what_a_crash_left_of_a_one_phase_file_it_costs_the_newest_commit_at_most() {
    let (profile, verify) = (CommitProfile::OnePhase, Verify::Always);
    let mut lost = 0;
    flip_each(Left::Crashed, profile, verify, 1_499, |ledger, context| {
        // Looks like a commit that was torn by the crash, and the opening says so.
        assert!(ledger.open_report().repaired, "{context}");
        no_answer_is_wrong(ledger, context);
        let newest = ledger.operation(PAYMENTS, &key("lost"), asked()).begin();
        if let Ok(Begin::Fresh(_)) = newest {
            lost += 1;
        }
    });
    assert!(lost > 0, "otherwise the documentation promises too little");
}

/// The limit of the promise: what this bit says stands nowhere else in the file, and the other
/// commit is whole. Only the side file knows better.
#[test]
fn the_bit_that_names_the_newest_commit_costs_it_after_a_crash_and_is_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let profile = CommitProfile::TwoPhase;
    let mut bytes = image(&path, profile, Left::Crashed);
    bytes[NEWEST.0] ^= NEWEST.1;
    fs::write(&path, &bytes).expect("writes");
    let refused = open(&path, profile, Verify::Always);
    assert!(
        matches!(refused, Err(Error::RolledBack { .. })),
        "{refused:?}"
    );
    fs::write(&path, &bytes).expect("writes");
    fs::remove_file(folder.path().join("app.redb.locks")).expect("removes");
    let ledger = open(&path, profile, Verify::Always).expect("opens");
    assert!(ledger.open_report().repaired);
    no_answer_is_wrong(&ledger, "the newest commit");
    drop(begin(&ledger, "lost").fresh());
}
