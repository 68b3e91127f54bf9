//! `decide_intent`, the machine as the browser sees it: every cell of its table.
//!
//! The same file is run on the wasm build by a page (`tests/browser/vectors.rs`).

use std::collections::{HashMap, HashSet};

use idempotency_ledger::decision::{
    Call, Ending, Fence, IfBusy, Intent, IntentDecision, OnChanged, Receipt, Settlement, Slot,
    SlotLock, StaleKeyDecision, StaleRefusal, Stored, decide_intent, decide_stale_key,
};
use idempotency_ledger::{Fingerprint, Key};
use serde::Deserialize;

use super::vectors::load;
use super::vectors::written::{Number, WrittenFingerprint};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    first_sent_at_ms: Number,
    retention_ms: Number,
    settled_at_ms: Number,
    join_ms: Number,
    delivered_at_ms: Number,
    spare_ms: Number,
    locks: Vec<Lock>,
    if_busy: Vec<Busy>,
    on_changed: Vec<Changed>,
    fingerprints: Fingerprints,
    keys: Keys,
    cells: Vec<Cell>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fingerprints {
    stored: WrittenFingerprint,
    same: WrittenFingerprint,
    other: WrittenFingerprint,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Keys {
    stored: String,
    other: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cell {
    stored: Kind,
    fingerprint: Asked,
    seen: Seen,
    called_at_ms: Number,
    now_ms: Number,
    /// One for each lock, `if_busy` and `on_changed`, the last changing fastest.
    decisions: Vec<Word>,
}

/// A named case, with everything written out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    slot: WrittenSlot,
    fingerprint: WrittenFingerprint,
    seen: Option<String>,
    lock: Lock,
    if_busy: Busy,
    on_changed: Changed,
    retention_ms: Number,
    join_ms: Number,
    spare_ms: Number,
    called_at_ms: Number,
    now_ms: Number,
    decision: Word,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum WrittenSlot {
    Nothing,
    Abandoned {
        key: String,
        at_ms: Number,
    },
    Claimed {
        key: String,
        fingerprint: WrittenFingerprint,
        fence: Number,
        first_sent_at_ms: Option<Number>,
    },
    Settled {
        key: String,
        fingerprint: WrittenFingerprint,
        settled_at_ms: Number,
        ending: WrittenEnding,
        value: WrittenValue,
        receipt: WrittenReceipt,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Kind {
    Nothing,
    Abandoned,
    ClaimedUnsent,
    ClaimedSent,
    Succeeded,
    SucceededAcknowledged,
    SucceededGone,
    SucceededGoneAcknowledged,
    Rejected,
    RejectedAcknowledged,
    RejectedGone,
    RejectedGoneAcknowledged,
}

const KINDS: [Kind; 12] = [
    Kind::Nothing,
    Kind::Abandoned,
    Kind::ClaimedUnsent,
    Kind::ClaimedSent,
    Kind::Succeeded,
    Kind::SucceededAcknowledged,
    Kind::SucceededGone,
    Kind::SucceededGoneAcknowledged,
    Kind::Rejected,
    Kind::RejectedAcknowledged,
    Kind::RejectedGone,
    Kind::RejectedGoneAcknowledged,
];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Asked {
    Same,
    Other,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Seen {
    Nothing,
    ItsKey,
    OtherKey,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Lock {
    Held,
    Mine,
    Stolen,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Busy {
    Wait,
    Refuse,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Changed {
    Refuse,
    NewIntent,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenEnding {
    Succeeded,
    Rejected,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WrittenValue {
    Present,
    Gone,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum WrittenReceipt {
    Open,
    Acknowledged { delivered_at_ms: Number },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Word {
    Mint,
    Replace,
    Resume,
    Wait,
    InProgress,
    Unresolved,
    NeedsReconcile,
    Joined,
    OutcomeLost,
    Abandoned,
    KeyLost,
}

impl Word {
    fn of(decision: IntentDecision) -> Self {
        match decision {
            IntentDecision::Mint => Self::Mint,
            IntentDecision::Replace => Self::Replace,
            IntentDecision::Resume => Self::Resume,
            IntentDecision::Wait => Self::Wait,
            IntentDecision::InProgress => Self::InProgress,
            IntentDecision::Unresolved => Self::Unresolved,
            IntentDecision::NeedsReconcile => Self::NeedsReconcile,
            IntentDecision::Joined => Self::Joined,
            IntentDecision::OutcomeLost => Self::OutcomeLost,
            IntentDecision::Abandoned => Self::Abandoned,
            IntentDecision::KeyLost => Self::KeyLost,
        }
    }
}

fn key(text: &str) -> Key {
    Key::new(text).expect("the vectors use valid keys")
}

impl WrittenSlot {
    fn read(&self) -> Slot {
        match self {
            Self::Nothing => Slot::Empty,
            Self::Abandoned { key: text, at_ms } => Slot::Abandoned {
                key: key(text),
                at: at_ms.time(),
            },
            Self::Claimed {
                key: text,
                fingerprint,
                fence,
                first_sent_at_ms,
            } => Slot::Claimed(Intent {
                key: key(text),
                fingerprint: fingerprint.read(),
                fence: Fence::from_stored(fence.0),
                first_sent_at: first_sent_at_ms.map(Number::time),
            }),
            Self::Settled {
                key: text,
                fingerprint,
                settled_at_ms,
                ending,
                value,
                receipt,
            } => Slot::Settled(Settlement {
                key: key(text),
                fingerprint: fingerprint.read(),
                settled_at: settled_at_ms.time(),
                ending: match ending {
                    WrittenEnding::Succeeded => Ending::Succeeded,
                    WrittenEnding::Rejected => Ending::Rejected,
                },
                value: match value {
                    WrittenValue::Present => Stored::Present,
                    WrittenValue::Gone => Stored::Gone,
                },
                receipt: match receipt {
                    WrittenReceipt::Open => Receipt::Open,
                    WrittenReceipt::Acknowledged { delivered_at_ms } => Receipt::Acknowledged {
                        delivered_at: delivered_at_ms.time(),
                    },
                },
            }),
        }
    }
}

impl File {
    /// A slot of one of the kinds, with the moments that hold for all cells.
    fn slot(&self, kind: Kind) -> WrittenSlot {
        use WrittenEnding::{Rejected, Succeeded};
        use WrittenReceipt::Open;
        use WrittenValue::{Gone, Present};

        let acknowledged = WrittenReceipt::Acknowledged {
            delivered_at_ms: self.delivered_at_ms,
        };

        let key = self.keys.stored.clone();
        let claimed = |first_sent_at_ms| WrittenSlot::Claimed {
            key: key.clone(),
            fingerprint: self.fingerprints.stored.clone(),
            fence: Number(1),
            first_sent_at_ms,
        };
        let settled = |ending, value, receipt| WrittenSlot::Settled {
            key: key.clone(),
            fingerprint: self.fingerprints.stored.clone(),
            settled_at_ms: self.settled_at_ms,
            ending,
            value,
            receipt,
        };
        match kind {
            Kind::Nothing => WrittenSlot::Nothing,
            Kind::Abandoned => WrittenSlot::Abandoned {
                key,
                at_ms: self.settled_at_ms,
            },
            Kind::ClaimedUnsent => claimed(None),
            Kind::ClaimedSent => claimed(Some(self.first_sent_at_ms)),
            Kind::Succeeded => settled(Succeeded, Present, Open),
            Kind::SucceededAcknowledged => settled(Succeeded, Present, acknowledged),
            Kind::SucceededGone => settled(Succeeded, Gone, Open),
            Kind::SucceededGoneAcknowledged => settled(Succeeded, Gone, acknowledged),
            Kind::Rejected => settled(Rejected, Present, Open),
            Kind::RejectedAcknowledged => settled(Rejected, Present, acknowledged),
            Kind::RejectedGone => settled(Rejected, Gone, Open),
            Kind::RejectedGoneAcknowledged => settled(Rejected, Gone, acknowledged),
        }
    }

    /// The cell with one lock and one pair of wishes, written out as a case.
    fn case(&self, cell: &Cell, lock: Lock, if_busy: Busy, on_changed: Changed) -> Case {
        let asked = match cell.fingerprint {
            Asked::Same => &self.fingerprints.same,
            Asked::Other => &self.fingerprints.other,
        };
        Case {
            name: format!("{:?}, {:?} payload", cell.stored, cell.fingerprint),
            slot: self.slot(cell.stored),
            fingerprint: asked.clone(),
            seen: match cell.seen {
                Seen::Nothing => None,
                Seen::ItsKey => Some(self.keys.stored.clone()),
                Seen::OtherKey => Some(self.keys.other.clone()),
            },
            lock,
            if_busy,
            on_changed,
            retention_ms: self.retention_ms,
            join_ms: self.join_ms,
            spare_ms: self.spare_ms,
            called_at_ms: cell.called_at_ms,
            now_ms: cell.now_ms,
            decision: Word::Mint,
        }
    }

    /// Every cell as its cases, each with the decision that the file expects.
    fn written_out(&self) -> Vec<Case> {
        let mut all = Vec::new();
        for cell in &self.cells {
            let mut expected = cell.decisions.iter();
            for lock in &self.locks {
                for if_busy in &self.if_busy {
                    for on_changed in &self.on_changed {
                        let mut case = self.case(cell, *lock, *if_busy, *on_changed);
                        case.decision = *expected.next().expect("one decision for each");
                        all.push(case);
                    }
                }
            }
            assert_eq!(expected.next(), None, "a decision too many");
        }
        all
    }
}

fn decide(case: &Case) -> Word {
    let fingerprint = case.fingerprint.read();
    let seen = case.seen.as_deref().map(key);
    let call = Call {
        fingerprint: &fingerprint,
        called_at: case.called_at_ms.time(),
        seen: seen.as_ref(),
        if_busy: match case.if_busy {
            Busy::Wait => IfBusy::Wait,
            Busy::Refuse => IfBusy::Refuse,
        },
        on_changed: match case.on_changed {
            Changed::Refuse => OnChanged::Refuse,
            Changed::NewIntent => OnChanged::NewIntent,
        },
        retention: case.retention_ms.span(),
        join: case.join_ms.span(),
        spare: case.spare_ms.span(),
    };
    let lock = match case.lock {
        Lock::Held => SlotLock::Held,
        Lock::Mine => SlotLock::Mine,
        Lock::Stolen => SlotLock::Stolen,
    };
    Word::of(decide_intent(
        &case.slot.read(),
        &call,
        lock,
        case.now_ms.time(),
    ))
}

fn check(case: &Case) {
    assert_eq!(
        decide(case),
        case.decision,
        "{}, seen {:?}, lock {:?}, {:?}, {:?}, called at {}, now {}",
        case.name,
        case.seen,
        case.lock,
        case.if_busy,
        case.on_changed,
        case.called_at_ms.0,
        case.now_ms.0
    );
}

#[test]
fn decide_intent_agrees_with_every_cell_and_case() {
    let file: File = load("decide_intent.json");
    let cells = file.written_out();
    assert_eq!(cells.len(), 1_152 * 12);
    cells.iter().for_each(check);
    assert_eq!(file.cases.len(), 36);
    file.cases.iter().for_each(check);
}

#[test]
fn the_cells_of_an_intent_are_all_combinations_and_each_is_there_once() {
    let file: File = load("decide_intent.json");
    assert_eq!(file.locks, [Lock::Held, Lock::Mine, Lock::Stolen]);
    assert_eq!(file.if_busy, [Busy::Wait, Busy::Refuse]);
    assert_eq!(file.on_changed, [Changed::Refuse, Changed::NewIntent]);
    let settled = file.settled_at_ms.0;
    // One boundary for both: so that one set of moments is around each of them.
    let boundary = file.first_sent_at_ms.0 + file.retention_ms.0;
    assert_eq!(boundary, settled + file.join_ms.0);
    // So that the calls are around this one.
    assert_eq!(file.delivered_at_ms.0 + file.spare_ms.0, settled + 2);
    let mut missing = HashSet::new();
    for stored in KINDS {
        for fingerprint in [Asked::Same, Asked::Other] {
            for seen in [Seen::Nothing, Seen::ItsKey, Seen::OtherKey] {
                for called_at in [settled - 1, settled, settled + 1, settled + 2] {
                    for now in [settled - 1, boundary - 1, boundary, boundary + 1] {
                        missing.insert((stored, fingerprint, seen, called_at, now));
                    }
                }
            }
        }
    }
    assert_eq!(missing.len(), 1_152);
    for cell in &file.cells {
        let at = (
            cell.stored,
            cell.fingerprint,
            cell.seen,
            cell.called_at_ms.0,
            cell.now_ms.0,
        );
        assert!(
            missing.remove(&at),
            "{at:?} is there twice, or is no combination"
        );
    }
    assert!(missing.is_empty(), "missing: {missing:?}");
}

/// What the conditions of the table read out of a case.
#[expect(
    clippy::struct_excessive_bools,
    reason = "they are the conditions of the table, each a column of its own"
)]
struct Facts {
    is_nothing: bool,
    /// The key whose giving up is remembered.
    given_up: Option<String>,
    is_claimed: bool,
    is_sent_past_retention: bool,
    is_same: bool,
    ended_since_the_call: bool,
    is_fresh_success: bool,
    is_gone: bool,
}

fn facts(case: &Case) -> Facts {
    let mut facts = Facts {
        is_nothing: false,
        given_up: None,
        is_claimed: false,
        is_sent_past_retention: false,
        is_same: false,
        ended_since_the_call: false,
        is_fresh_success: false,
        is_gone: false,
    };
    let now = u128::from(case.now_ms.0);
    let asked = case.fingerprint.read();
    match &case.slot {
        WrittenSlot::Nothing => facts.is_nothing = true,
        WrittenSlot::Abandoned { key, .. } => {
            facts.is_nothing = true;
            facts.given_up = Some(key.clone());
        }
        WrittenSlot::Claimed {
            fingerprint,
            first_sent_at_ms,
            ..
        } => {
            facts.is_claimed = true;
            facts.is_same = fingerprint.read() == asked;
            facts.is_sent_past_retention = first_sent_at_ms
                .is_some_and(|sent| now >= u128::from(sent.0) + u128::from(case.retention_ms.0));
        }
        WrittenSlot::Settled {
            fingerprint,
            settled_at_ms,
            ending,
            value,
            receipt,
            ..
        } => {
            let settled = u128::from(settled_at_ms.0);
            facts.is_same = fingerprint.read() == asked;
            facts.ended_since_the_call = settled_at_ms.0 >= case.called_at_ms.0;
            let is_fresh = match receipt {
                WrittenReceipt::Open => now < settled + u128::from(case.join_ms.0),
                WrittenReceipt::Acknowledged { delivered_at_ms } => {
                    let spared_until = u128::from(delivered_at_ms.0) + u128::from(case.spare_ms.0);
                    u128::from(case.called_at_ms.0) < spared_until
                }
            };
            facts.is_fresh_success = *ending == WrittenEnding::Succeeded && is_fresh;
            facts.is_gone = *value == WrittenValue::Gone;
        }
    }
    facts
}

/// The table of the contract a second time, as its rows: the first that applies decides.
fn row(case: &Case) -> (&'static str, Word) {
    let facts = facts(case);
    let saw = case.seen.is_some();
    let saw_the_given_up = saw && case.seen == facts.given_up;
    let is_settled = !facts.is_nothing && !facts.is_claimed;
    let may_replace = case.on_changed == Changed::NewIntent && case.lock == Lock::Mine;
    let is_held = case.lock == Lock::Held;
    let joins =
        is_settled && facts.is_same && (facts.ended_since_the_call || facts.is_fresh_success);
    let other = facts.is_claimed && !facts.is_same;
    let forgotten = facts.is_claimed && facts.is_sent_past_retention;
    let refuses = case.if_busy == Busy::Refuse;
    let rows = [
        (
            "0, given up",
            facts.is_nothing && saw_the_given_up,
            Word::Abandoned,
        ),
        ("0", facts.is_nothing && saw, Word::KeyLost),
        ("1", facts.is_nothing, Word::Mint),
        ("2", forgotten, Word::NeedsReconcile),
        ("3, new intent", other && may_replace, Word::Replace),
        ("3", other, Word::Unresolved),
        (
            "4, refuse",
            facts.is_claimed && is_held && refuses,
            Word::InProgress,
        ),
        ("4", facts.is_claimed && is_held, Word::Wait),
        ("5", facts.is_claimed, Word::Resume),
        ("6, gone", joins && facts.is_gone, Word::OutcomeLost),
        ("6", joins, Word::Joined),
        ("7", true, Word::Mint),
    ];
    let first = rows.into_iter().find(|(_, applies, _)| *applies);
    let (name, _, word) = first.expect("the last row always applies");
    (name, word)
}

#[test]
fn the_cells_of_an_intent_are_what_the_rows_of_the_contract_say() {
    let file: File = load("decide_intent.json");
    let mut met: HashMap<&str, usize> = HashMap::new();
    for case in file.written_out().iter().chain(&file.cases) {
        let (name, word) = row(case);
        assert_eq!(case.decision, word, "row {name}: {}", case.name);
        *met.entry(name).or_default() += 1;
    }
    assert_eq!(met.len(), 12, "every row decides some cell: {met:?}");
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StaleKeys {
    fences: StaleFences,
    cells: Vec<StaleCell>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StaleFences {
    stored: Number,
    older: Number,
    same: Number,
    newer: Number,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct StaleCell {
    attempts: Number,
    fence: StaleFence,
    server_time_ms: Option<Number>,
    decision: StaleWord,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StaleFence {
    Older,
    Same,
    Newer,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum StaleWord {
    MintAnew,
    NeedsReconcile,
    Superseded,
}

#[test]
fn decide_stale_key_agrees_with_every_cell() {
    let file: StaleKeys = load("stale_key.json");
    assert_eq!(file.cells.len(), 4 * 3 * 3);
    let intent = Intent {
        key: key("key-1"),
        fingerprint: Fingerprint::NONE,
        fence: Fence::from_stored(file.fences.stored.0),
        first_sent_at: None,
    };
    for cell in &file.cells {
        let fence = match cell.fence {
            StaleFence::Older => &file.fences.older,
            StaleFence::Same => &file.fences.same,
            StaleFence::Newer => &file.fences.newer,
        };
        let refusal = StaleRefusal {
            fence: Fence::from_stored(fence.0),
            attempts: cell.attempts.0,
            server_time: cell.server_time_ms.map(Number::time),
        };
        let expected = match (cell.decision, refusal.server_time) {
            (StaleWord::MintAnew, Some(by)) => StaleKeyDecision::MintAnew { by },
            (StaleWord::MintAnew, None) => panic!("no time to mint by: {refusal:?}"),
            (StaleWord::NeedsReconcile, _) => StaleKeyDecision::NeedsReconcile,
            (StaleWord::Superseded, _) => StaleKeyDecision::Superseded,
        };
        assert_eq!(decide_stale_key(&intent, &refusal), expected, "{refusal:?}");
    }
}
