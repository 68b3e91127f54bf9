//! `decide_intent`: the same machine as the browser sees it.
//!
//! A page has no key yet; it has a slot (principal and operation). The slot's record, the lock
//! that shows a running attempt, and two moments decide what a caller gets: when it was called,
//! and now. The rows are those of the contract, first match.

use core::time::Duration;

use super::{Fence, Fingerprint, Key, Timestamp};

/// What is stored in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Slot {
    /// Nothing: no intent yet, or the storage was cleared.
    Empty,
    /// An intent was given up on purpose; what it was is remembered, and blocks nothing.
    Abandoned {
        /// Its key.
        key: Key,
        /// When it was given up.
        at: Timestamp,
    },
    /// An intent whose outcome is not known yet.
    Claimed(Intent),
    /// An intent whose outcome is known.
    Settled(Settlement),
}

/// An intent whose outcome is not known yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Intent {
    /// Its key.
    pub key: Key,
    /// What it asks for.
    pub fingerprint: Fingerprint,
    /// The fence of its newest attempt.
    pub fence: Fence,
    /// When it was first sent; `None` before that.
    pub first_sent_at: Option<Timestamp>,
}

/// A refusal of an intent's key as stale, as the attempt that met it reports it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StaleRefusal {
    /// The fence of that attempt.
    pub fence: Fence,
    /// How many attempts were begun for the intent, that one included.
    pub attempts: u64,
    /// The server's time, where the refusal carries it.
    pub server_time: Option<Timestamp>,
}

/// What becomes of an intent whose key was refused as stale.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StaleKeyDecision {
    /// A new key takes the place of the old one, minted by the server's time and persisted
    /// before anything is sent under it.
    MintAnew {
        /// The time of the new key.
        by: Timestamp,
    },
    /// An attempt before the refused one may have happened, or the server does not say its time:
    /// a person or the server decides.
    NeedsReconcile,
    /// Another caller took the intent over, and decides.
    Superseded,
}

/// Decides what becomes of an intent whose key was refused as stale.
///
/// A clock that is wrong by more than the server's tolerance makes keys that no server takes, and
/// waiting does not help. The refusal proves that this attempt did nothing. So only where it was
/// the first one ever, nothing can have happened under the old key.
///
/// ```
/// use idempotency_ledger::decision::{
///     Fence, Intent, StaleKeyDecision, StaleRefusal, decide_stale_key,
/// };
/// use idempotency_ledger::{Fingerprint, Key, Timestamp};
///
/// let by = Timestamp::from_unix_ms(1_767_225_600_000);
/// let fence = Fence::from_stored(1);
/// let intent = Intent {
///     key: Key::new("of-a-wrong-clock")?,
///     fingerprint: Fingerprint::NONE,
///     fence,
///     first_sent_at: Some(Timestamp::from_unix_ms(1_767_312_000_000)),
/// };
/// let first = StaleRefusal { fence, attempts: 1, server_time: Some(by) };
/// assert_eq!(decide_stale_key(&intent, &first), StaleKeyDecision::MintAnew { by });
/// let second = StaleRefusal { attempts: 2, ..first };
/// assert_eq!(decide_stale_key(&intent, &second), StaleKeyDecision::NeedsReconcile);
/// # Ok::<(), idempotency_ledger::KeyError>(())
/// ```
#[must_use]
pub fn decide_stale_key(intent: &Intent, refusal: &StaleRefusal) -> StaleKeyDecision {
    if refusal.fence < intent.fence {
        return StaleKeyDecision::Superseded;
    }
    match refusal.server_time {
        Some(by) if refusal.attempts == 1 => StaleKeyDecision::MintAnew { by },
        _ => StaleKeyDecision::NeedsReconcile,
    }
}

/// An intent whose outcome is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Its key.
    pub key: Key,
    /// What it asked for.
    pub fingerprint: Fingerprint,
    /// When its outcome became known.
    pub settled_at: Timestamp,
    /// How it ended.
    pub ending: Ending,
    /// Whether its value or rejection is still stored.
    pub value: Stored,
    /// Whether the receipt has been on the screen.
    pub receipt: Receipt,
}

/// How an intent ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The server confirmed it.
    Succeeded,
    /// The server refused it for good.
    Rejected,
}

/// Whether a value is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is.
    Present,
    /// Its time was over, or it was too large to keep.
    Gone,
}

/// Whether the page said that the person saw the outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Receipt {
    /// Not yet.
    Open,
    /// Acknowledged: asking again is meant, once the person has had time to see it.
    Acknowledged {
        /// When the outcome was last handed to the page that acknowledged it.
        delivered_at: Timestamp,
    },
}

/// What is known of the lock that a running attempt holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotLock {
    /// Somebody holds it.
    Held,
    /// This caller holds it, and nobody else runs an attempt.
    Mine,
    /// This caller waited it out and took it from a holder that may still live.
    Stolen,
}

/// What a caller does while another attempt runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfBusy {
    /// It waits for the outcome.
    Wait,
    /// It is refused.
    Refuse,
}

/// What a caller does when an unresolved intent asked for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnChanged {
    /// It is refused.
    Refuse,
    /// It gives the other intent up and makes a new one, if no attempt runs. Dangerous: the
    /// other one may have happened.
    NewIntent,
}

/// What a caller asks, and when.
#[derive(Clone, Debug)]
pub struct Call<'c> {
    /// What it asks for.
    pub fingerprint: &'c Fingerprint,
    /// The moment of the call, noted before anything else was done.
    pub called_at: Timestamp,
    /// The key that this caller has already seen claimed in the slot.
    pub seen: Option<&'c Key>,
    /// What to do while another attempt runs.
    pub if_busy: IfBusy,
    /// What to do with an unresolved intent that asked for something else.
    pub on_changed: OnChanged,
    /// How long the server remembers a key, counted from the first send.
    pub retention: Duration,
    /// How long after a success an equal call joins it.
    pub join: Duration,
    /// How long after the delivery of a success an equal call joins it although it was
    /// acknowledged: the second half of a double click comes before its person can have read.
    pub spare: Duration,
}

/// What a caller of a slot gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IntentDecision {
    /// A new key, persisted before anything is sent.
    Mint,
    /// The other intent is given up and a new key made, in one transaction.
    Replace,
    /// The same key again, under the next fence.
    Resume,
    /// The other attempt's outcome, when it is there.
    Wait,
    /// Refused: another attempt runs.
    InProgress,
    /// Refused: an earlier intent of the slot asked for something else and is unresolved.
    Unresolved,
    /// Refused: the server may have forgotten the key; a person or the server decides.
    NeedsReconcile,
    /// The outcome of the same intent.
    Joined,
    /// The same intent has ended, and its value is no longer there.
    OutcomeLost,
    /// Refused: the intent that this caller saw was given up.
    Abandoned,
    /// Refused: the key that this caller saw is gone, and nobody gave it up.
    KeyLost,
}

/// Decides what a caller of a slot gets, in the order of the rows of the contract.
#[must_use]
pub fn decide_intent(
    slot: &Slot,
    call: &Call<'_>,
    lock: SlotLock,
    now: Timestamp,
) -> IntentDecision {
    match (slot, call.seen) {
        (Slot::Abandoned { key, .. }, Some(seen)) if key == seen => IntentDecision::Abandoned,
        (Slot::Empty | Slot::Abandoned { .. }, Some(_)) => IntentDecision::KeyLost,
        (Slot::Empty | Slot::Abandoned { .. }, None) => IntentDecision::Mint,
        (Slot::Claimed(intent), _) => decide_claimed(intent, call, lock, now),
        (Slot::Settled(settlement), _) => decide_settled(settlement, call, now),
    }
}

fn decide_claimed(
    intent: &Intent,
    call: &Call<'_>,
    lock: SlotLock,
    now: Timestamp,
) -> IntentDecision {
    let forgotten = |sent: Timestamp| now >= sent.saturating_add(call.retention);
    if intent.first_sent_at.is_some_and(forgotten) {
        return IntentDecision::NeedsReconcile;
    }
    if intent.fingerprint != *call.fingerprint {
        return match (call.on_changed, lock) {
            (OnChanged::NewIntent, SlotLock::Mine) => IntentDecision::Replace,
            (OnChanged::NewIntent, SlotLock::Held | SlotLock::Stolen) | (OnChanged::Refuse, _) => {
                IntentDecision::Unresolved
            }
        };
    }
    match (lock, call.if_busy) {
        (SlotLock::Held, IfBusy::Wait) => IntentDecision::Wait,
        (SlotLock::Held, IfBusy::Refuse) => IntentDecision::InProgress,
        (SlotLock::Mine | SlotLock::Stolen, _) => IntentDecision::Resume,
    }
}

fn decide_settled(settlement: &Settlement, call: &Call<'_>, now: Timestamp) -> IntentDecision {
    let is_same = settlement.fingerprint == *call.fingerprint;
    let ended_meanwhile = settlement.settled_at >= call.called_at;
    let is_fresh = match settlement.receipt {
        Receipt::Open => now < settlement.settled_at.saturating_add(call.join),
        // The press counts, however long its call had to wait for a lock since.
        Receipt::Acknowledged { delivered_at } => {
            call.called_at < delivered_at.saturating_add(call.spare)
        }
    };
    let is_fresh_success = settlement.ending == Ending::Succeeded && is_fresh;
    if !is_same || !(ended_meanwhile || is_fresh_success) {
        return IntentDecision::Mint;
    }
    match settlement.value {
        Stored::Present => IntentDecision::Joined,
        Stored::Gone => IntentDecision::OutcomeLost,
    }
}
