//! `decide` and `may_take_over`, every cell.

use std::collections::HashSet;

use idempotency_ledger::Policy;
use idempotency_ledger::decision::{
    Checkpoint, ClaimLock, Claimed, Completed, Decision, Fence, Fingerprint, KeyAge, Liveness,
    OnInterrupted, PolicyStamp, Record, Response, Room, State, Timestamp, Work, decide,
    may_take_over,
};
use serde::Deserialize;

use super::load;
use super::written::{Number, WrittenFingerprint};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    expires_at_ms: Number,
    lease_until_ms: Number,
    retry_hint_ms: Number,
    ages: Vec<Age>,
    rooms: Vec<Space>,
    fingerprints: Vec<Pairing>,
    cells: Vec<Cell>,
}

/// What the record holds and what the request brings.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pairing {
    name: String,
    stored: WrittenFingerprint,
    asked: Vec<WrittenFingerprint>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cell {
    stored: Stored,
    fingerprint: String,
    liveness: Evidence,
    now_ms: Number,
    /// One for each age and room, the room changing faster.
    decisions: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Stored {
    Nothing,
    Claimed,
    ClaimedWithCheckpoint,
    Completed,
}

pub(super) const STORED: [Stored; 4] = [
    Stored::Nothing,
    Stored::Claimed,
    Stored::ClaimedWithCheckpoint,
    Stored::Completed,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Evidence {
    Alive,
    Gone,
    Unknown,
}

pub(super) const EVIDENCE: [Evidence; 3] = [Evidence::Alive, Evidence::Gone, Evidence::Unknown];

impl Evidence {
    pub(super) fn read(self) -> Liveness {
        match self {
            Self::Alive => Liveness::Alive,
            Self::Gone => Liveness::Gone,
            Self::Unknown => Liveness::Unknown,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Doing {
    Ended,
    Running,
}

impl Doing {
    pub(super) fn read(self) -> Work {
        match self {
            Self::Ended => Work::Ended,
            Self::Running => Work::Running,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Age {
    Accepted,
    Stale,
    Ahead,
}

impl Age {
    pub(super) fn read(self) -> KeyAge {
        match self {
            Self::Accepted => KeyAge::Accepted,
            Self::Stale => KeyAge::Stale,
            Self::Ahead => KeyAge::Ahead,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Space {
    Free,
    Full,
}

/// A record of one of the four kinds, with these boundaries.
pub(super) fn stored_record(
    stored: Stored,
    fingerprint: Fingerprint,
    lease_until: Timestamp,
    expires_at: Timestamp,
) -> Option<Record> {
    let claimed = |checkpoint| {
        State::Claimed(Claimed {
            lease_until,
            checkpoint,
            lock: ClaimLock::None,
        })
    };
    let state = match stored {
        Stored::Nothing => return None,
        Stored::Claimed => claimed(None),
        Stored::ClaimedWithCheckpoint => claimed(Some(Checkpoint {
            name: "authorized".to_owned(),
            bytes: b"ch_1".to_vec(),
        })),
        Stored::Completed => State::Completed(Completed {
            completed_at: Timestamp::EPOCH,
            expires_at,
            response: Response::raw("stored"),
        }),
    };
    Some(Record {
        fingerprint,
        fence: Fence::from_stored(7),
        attempts: 1,
        first_claimed_at: Timestamp::EPOCH,
        claimed_at: Timestamp::EPOCH,
        policy: PolicyStamp::of(&Policy::DEFAULT, 1),
        holder: 1,
        program: String::new(),
        state,
    })
}

fn word(decision: Decision) -> String {
    match decision {
        Decision::Stale => "stale".to_owned(),
        Decision::Ahead => "ahead".to_owned(),
        Decision::Quota => "quota".to_owned(),
        Decision::Fresh => "fresh".to_owned(),
        Decision::Expired => "expired".to_owned(),
        Decision::Mismatch => "mismatch".to_owned(),
        Decision::Replay => "replay".to_owned(),
        Decision::InProgress { retry_after } => format!("in-progress:{}", retry_after.as_millis()),
        Decision::Interrupted { overdue: false } => "interrupted".to_owned(),
        Decision::Interrupted { overdue: true } => "interrupted-overdue".to_owned(),
    }
}

#[test]
fn decide_agrees_with_every_cell() {
    let file: File = load("decide.json");
    for cell in &file.cells {
        let pairing = pairing(&file, &cell.fingerprint);
        let record = stored_record(
            cell.stored,
            pairing.stored.read(),
            file.lease_until_ms.time(),
            file.expires_at_ms.time(),
        );
        let asked: Vec<Fingerprint> = pairing.asked.iter().map(WrittenFingerprint::read).collect();
        let mut expected = cell.decisions.iter();
        for age in &file.ages {
            for room in &file.rooms {
                let room = match room {
                    Space::Free => Room::Free,
                    Space::Full => Room::Full,
                };
                let decision = decide(
                    record.as_ref(),
                    &asked,
                    age.read(),
                    room,
                    file.retry_hint_ms.span(),
                    cell.liveness.read(),
                    cell.now_ms.time(),
                );
                assert_eq!(
                    Some(&word(decision)),
                    expected.next(),
                    "{:?}, fingerprint {}, {:?}, now {}, key {age:?}, room {room:?}",
                    cell.stored,
                    cell.fingerprint,
                    cell.liveness,
                    cell.now_ms.0
                );
            }
        }
        assert_eq!(expected.next(), None);
    }
}

fn pairing<'f>(file: &'f File, name: &str) -> &'f Pairing {
    let mut named = file
        .fingerprints
        .iter()
        .filter(|pairing| pairing.name == name);
    named
        .next()
        .unwrap_or_else(|| panic!("{name} is a pairing"))
}

#[test]
fn the_cells_are_all_combinations_and_each_is_there_once() {
    let file: File = load("decide.json");
    assert_eq!(file.ages, [Age::Accepted, Age::Stale, Age::Ahead]);
    assert_eq!(file.rooms, [Space::Free, Space::Full]);
    let (expires_at, lease_until) = (file.expires_at_ms.0, file.lease_until_ms.0);
    let times = boundary_times(expires_at, lease_until);
    let mut missing = HashSet::new();
    for stored in STORED {
        for pairing in &file.fingerprints {
            for liveness in EVIDENCE {
                for now in times {
                    missing.insert((stored, pairing.name.as_str(), liveness, now));
                }
            }
        }
    }
    assert_eq!(missing.len(), 4 * 7 * 3 * 6);
    for cell in &file.cells {
        let at = (
            cell.stored,
            cell.fingerprint.as_str(),
            cell.liveness,
            cell.now_ms.0,
        );
        assert!(
            missing.remove(&at),
            "{at:?} is there twice, or is no combination"
        );
        assert_eq!(cell.decisions.len(), 6, "{at:?}");
    }
    assert!(missing.is_empty(), "missing: {missing:?}");
}

/// One millisecond before, at and behind both boundaries.
pub(super) fn boundary_times(expires_at: u64, lease_until: u64) -> [u64; 6] {
    [
        expires_at - 1,
        expires_at,
        expires_at + 1,
        lease_until - 1,
        lease_until,
        lease_until + 1,
    ]
}

/// The table of the contract a second time, as its rows: the first that applies decides. The
/// file was not made by running `decide`, and this keeps it so.
#[test]
fn the_cells_are_what_the_rows_of_the_contract_say() {
    let file: File = load("decide.json");
    let matching = ["same", "none-none", "older-accepted"];
    let mut rows_met = HashSet::new();
    for cell in &file.cells {
        let (now, lease_until) = (cell.now_ms.0, file.lease_until_ms.0);
        let is_nothing = cell.stored == Stored::Nothing;
        let is_completed = cell.stored == Stored::Completed;
        let is_expired = is_completed && file.expires_at_ms.0 <= now;
        let is_free = is_nothing || is_expired;
        let is_gone = cell.liveness == Evidence::Gone;
        let is_alive = cell.liveness == Evidence::Alive;
        let left = lease_until.saturating_sub(now).min(file.retry_hint_ms.0);
        let in_progress = format!("in-progress:{}", left.max(1_000));
        let mut expected = cell.decisions.iter();
        for age in &file.ages {
            for room in &file.rooms {
                let rows = [
                    ("0, too old", is_free && *age == Age::Stale, "stale"),
                    ("0, ahead", is_free && *age == Age::Ahead, "ahead"),
                    ("1a", is_free && *room == Space::Full, "quota"),
                    ("1", is_nothing, "fresh"),
                    ("2", is_expired, "expired"),
                    (
                        "3",
                        !matching.contains(&cell.fingerprint.as_str()),
                        "mismatch",
                    ),
                    ("4", is_completed, "replay"),
                    ("5", !is_gone && now < lease_until, in_progress.as_str()),
                    ("6, overdue", is_alive, "interrupted-overdue"),
                    ("6", true, "interrupted"),
                ];
                let (row, _, says) = rows
                    .iter()
                    .find(|(_, applies, _)| *applies)
                    .expect("the last row always applies");
                rows_met.insert(*row);
                assert_eq!(
                    expected.next().map(String::as_str),
                    Some(*says),
                    "row {row}"
                );
            }
        }
    }
    assert_eq!(rows_met.len(), 10, "every row decides some cell");
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TakeOverFile {
    cases: Vec<TakeOver>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TakeOver {
    on_interrupted: Rule,
    overdue: bool,
    work: Doing,
    takes_over: bool,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Rule {
    Refuse,
    Rerun,
}

#[test]
fn only_rerun_takes_over_and_only_what_nobody_is_at() {
    let file: TakeOverFile = load("take_over.json");
    assert_eq!(file.cases.len(), 8);
    for case in &file.cases {
        let rule = match case.on_interrupted {
            Rule::Refuse => OnInterrupted::Refuse,
            Rule::Rerun => OnInterrupted::Rerun,
        };
        assert_eq!(
            may_take_over(rule, case.overdue, case.work.read()),
            case.takes_over,
            "{:?}, overdue {}, {:?}",
            case.on_interrupted,
            case.overdue,
            case.work
        );
    }
}
