//! One intent as a plain JavaScript object, and what the decision core sees in it.
//!
//! A person can read a record in the browser's developer tools:
//!
//! | member | |
//! | --- | --- |
//! | `v` | the version of the record |
//! | `principal`, `operation`, `number` | the slot, and which of its intents this is |
//! | `key`, `fingerprint`, `payload` | what is sent; the payload only where it may be kept |
//! | `state` | `claimed`, `succeeded`, `rejected` or `abandoned` |
//! | `fence`, `holder`, `heldAt` | the newest attempt: its fence, its page, its last sign of life |
//! | `sentUntil`, `othersUntil` | how long the newest attempt, and one taken over, may run |
//! | `attempts`, `inDoubt` | how many there were, and whether one may have happened unknown |
//! | `createdAt`, `firstSentAt`, `settledAt`, `acknowledgedAt` | in Unix milliseconds |
//! | `deliveredAt` | when the page that acknowledged it last got its outcome |
//! | `value`, `valueUntil` | what came back, and how long it is kept |
//! | `expiresAt`, `dueAt` | when the tombstone may go, and when a sweep has work here |

use alloc::string::String;
use core::time::Duration;

use idempotency_ledger::decision::{Ending, Intent, Receipt, Settlement, Slot, Stored};
use idempotency_ledger::{Fence, Fingerprint, FingerprintAlgorithm, Key, Timestamp};
use wasm_bindgen::prelude::*;

use crate::bindings::Members;
use crate::keys::unix_ms;

/// The version that every record carries. The database itself stays at its first version for
/// ever, since an old tab could not open a newer one.
pub(crate) const RECORD_VERSION: u32 = 1;

/// What reading a record of another version, or of another maker, rejects with.
pub(crate) const UNREADABLE: &str = "unreadable";

/// A stored intent.
pub(crate) type IntentRecord = Members;

impl Members {
    pub(crate) fn get(&self, name: &'static str) -> JsValue {
        self.member(name)
    }

    pub(crate) fn set(&self, name: &'static str, value: JsValue) {
        self.set_member(name, value);
    }

    pub(crate) fn remove(&self, name: &'static str) {
        self.remove_member(name);
    }

    pub(crate) fn number(&self, name: &'static str) -> Option<f64> {
        self.get(name).as_f64()
    }

    pub(crate) fn text(&self, name: &'static str) -> Option<String> {
        self.get(name).as_string()
    }

    pub(crate) fn is(&self, name: &'static str) -> bool {
        self.get(name).is_truthy()
    }

    pub(crate) fn is_state(&self, state: &str) -> bool {
        self.get("state") == state
    }

    pub(crate) fn count(&self, name: &'static str) -> f64 {
        self.number(name).unwrap_or_default()
    }
}

/// What the decision core sees in a record. Expiry is judged here, whether or not the sweeper
/// has come by.
pub(crate) fn slot_of(record: Option<&IntentRecord>, now_ms: f64) -> Result<Slot, JsValue> {
    match record {
        None => Ok(Slot::Empty),
        Some(record) => read(record, now_ms).ok_or_else(|| UNREADABLE.into()),
    }
}

/// Refuses a record of another version, before anything is made of it.
pub(crate) fn check_version(record: &IntentRecord) -> Result<(), JsValue> {
    if record.get("v") == RECORD_VERSION {
        return Ok(());
    }
    Err(UNREADABLE.into())
}

fn read(record: &IntentRecord, now_ms: f64) -> Option<Slot> {
    check_version(record).ok()?;
    let key = Key::new(record.text("key")?).ok()?;
    let fingerprint = fingerprint_of(record)?;
    if record.is_state("claimed") {
        return Some(Slot::Claimed(Intent {
            key,
            fingerprint,
            fence: Fence::from_stored(unix_ms(record.number("fence")?)),
            first_sent_at: record.number("firstSentAt").map(timestamp),
        }));
    }
    if now_ms >= record.number("expiresAt")? {
        return Some(Slot::Empty);
    }
    let settled_at = timestamp(record.number("settledAt")?);
    if record.is_state("abandoned") {
        return Some(Slot::Abandoned {
            key,
            at: settled_at,
        });
    }
    let ending = if record.is_state("succeeded") {
        Ending::Succeeded
    } else if record.is_state("rejected") {
        Ending::Rejected
    } else {
        return None;
    };
    let is_kept = record
        .number("valueUntil")
        .is_some_and(|until| now_ms < until);
    let is_acknowledged = record.is("acknowledgedAt");
    Some(Slot::Settled(Settlement {
        key,
        fingerprint,
        settled_at,
        ending,
        value: if is_kept {
            Stored::Present
        } else {
            Stored::Gone
        },
        receipt: if is_acknowledged {
            // A record of an earlier package has no such member; its outcome was not delivered
            // before it was settled.
            let delivered_at = record.number("deliveredAt").map_or(settled_at, timestamp);
            Receipt::Acknowledged { delivered_at }
        } else {
            Receipt::Open
        },
    }))
}

/// The stored form of a fingerprint.
pub(crate) fn hex(fingerprint: &Fingerprint) -> String {
    let mut text = String::with_capacity(64);
    for byte in fingerprint.digest() {
        for digit in [byte >> 4, byte & 15] {
            text.push(char::from(if digit < 10 {
                b'0' + digit
            } else {
                b'a' - 10 + digit
            }));
        }
    }
    text
}

fn fingerprint_of(record: &IntentRecord) -> Option<Fingerprint> {
    let text = record.text("fingerprint")?;
    let digits = text.as_bytes();
    if digits.len() != 64 {
        return None;
    }
    let mut digest = [0; 32];
    for (byte, pair) in digest.iter_mut().zip(digits.chunks_exact(2)) {
        for digit in pair {
            let value = char::from(*digit).to_digit(16)?;
            *byte = *byte << 4 | u8::try_from(value).ok()?;
        }
    }
    Some(Fingerprint::from_stored(
        FingerprintAlgorithm::Parts,
        digest,
    ))
}

pub(crate) fn timestamp(ms: f64) -> Timestamp {
    Timestamp::from_unix_ms(unix_ms(ms))
}

pub(crate) fn span(ms: f64) -> Duration {
    Duration::from_millis(unix_ms(ms))
}
