//! What a command makes of the records of its slot: the answer, and what is to be written.
//!
//! Pure but for the JavaScript objects it reads and makes, so that every store applies the same
//! transitions: IndexedDB inside one transaction, the others in one synchronous step.

use idempotency_ledger::decision::{
    Call, IfBusy, IntentDecision, OnChanged, Slot, SlotLock, StaleKeyDecision, StaleRefusal,
    decide_intent, decide_stale_key,
};
use idempotency_ledger::{Fence, Fingerprint, Key};
use js_sys::{Array, Object, Uint8Array};
use wasm_bindgen::prelude::*;

use crate::bindings::Members;
use crate::keys;
use crate::record::{self, IntentRecord, RECORD_VERSION, UNREADABLE, slot_of, span, timestamp};

/// The records of a slot that can matter to a command.
pub(crate) struct Found {
    /// The newest intent of the slot.
    pub(crate) newest: Option<IntentRecord>,
    /// The intent that the caller has seen, if it is not the newest any more.
    pub(crate) seen: Option<IntentRecord>,
}

impl Found {
    /// From two values that may be undefined.
    pub(crate) fn of(newest: JsValue, seen: JsValue) -> Self {
        let record = |value: JsValue| value.is_object().then(|| value.unchecked_into());
        Self {
            newest: record(newest),
            seen: record(seen),
        }
    }

    /// The record that speaks to the caller: its own intent, wherever that is, else the newest.
    fn speaking(&self, command: &Members) -> Option<&IntentRecord> {
        self.own(command).or(self.newest.as_ref())
    }

    /// The caller's own intent.
    fn own(&self, command: &Members) -> Option<&IntentRecord> {
        let key = command.get("key");
        [&self.newest, &self.seen]
            .into_iter()
            .flatten()
            .find(|record| record.get("key") == key)
    }

    /// The caller's own intent, while it is open.
    fn own_claimed(&self, command: &Members) -> Option<&IntentRecord> {
        self.own(command)
            .filter(|record| record.is_state("claimed"))
    }
}

/// Applies one command; nothing is written by it, and the answer says what is to be written.
pub(crate) fn transition(
    command: &Members,
    found: &Found,
    salt: &[u8],
    now_ms: f64,
) -> Result<Members, JsValue> {
    // A record of another version is refused before anything is changed in it.
    for record in [&found.newest, &found.seen].into_iter().flatten() {
        record::check_version(record)?;
    }
    match command.text("verb").unwrap_or_default().as_str() {
        "claim" => claim(command, found, salt, now_ms),
        "settle" => Ok(settle(command, found, now_ms)),
        "park" => Ok(park(command, found)),
        "mint-anew" => mint_anew(command, found, now_ms),
        "acknowledge" => acknowledge(command, found, now_ms),
        "abandon" => Ok(abandon(command, found, now_ms)),
        _ => Err(UNREADABLE.into()),
    }
}

fn answer(decision: &str, record: Option<&IntentRecord>) -> Members {
    let answer: Members = Object::new().unchecked_into();
    answer.set("decision", decision.into());
    if let Some(record) = record {
        answer.set("record", record.into());
    }
    answer.set("puts", Array::new().into());
    answer
}

fn written(decision: &str, record: &IntentRecord) -> Members {
    let answer = answer(decision, Some(record));
    answer.set("puts", Array::of1(record).into());
    answer
}

/// Asks for the slot: before the lock is held only to look, under the lock to claim, and once
/// more before every further attempt.
fn claim(command: &Members, found: &Found, salt: &[u8], now_ms: f64) -> Result<Members, JsValue> {
    let speaking = found.speaking(command);
    let slot = slot_of(speaking, now_ms)?;
    let fingerprint = fingerprint(command, &slot, salt);
    let seen = command.text("key").and_then(|key| Key::new(key).ok());
    let lock = lock(command, speaking, now_ms);
    let is_refused_busy = command.is("isRefusedBusy");
    let is_new_intent = command.is("isNewIntent");
    let call = Call {
        fingerprint: &fingerprint,
        called_at: timestamp(command.count("calledAt")),
        seen: seen.as_ref(),
        if_busy: if is_refused_busy {
            IfBusy::Refuse
        } else {
            IfBusy::Wait
        },
        on_changed: if is_new_intent {
            OnChanged::NewIntent
        } else {
            OnChanged::Refuse
        },
        retention: span(command.count("retentionMs")),
        join: span(command.count("joinMs")),
        spare: span(command.count("spareMs")),
    };
    let decision = decide_intent(&slot, &call, lock, timestamp(now_ms));
    match (decision, speaking) {
        // This page saw an intent here, and neither that nor its tombstone is left.
        (IntentDecision::Mint, None) if command.is("isRemembered") => Ok(answer("key-lost", None)),
        (IntentDecision::Mint | IntentDecision::Replace, _) if !command.is("mayMint") => {
            Ok(answer("nothing", None))
        }
        // Another caller is between its lock and its claim, or between its outcome and the
        // lock's release: the slot is decided anew when the lock is free.
        (IntentDecision::Mint, _) if lock == SlotLock::Held => Ok(answer(
            if is_refused_busy {
                "in-progress"
            } else {
                "wait"
            },
            None,
        )),
        (IntentDecision::Mint, _) => mint(command, found, &fingerprint, now_ms),
        // Its lock was stolen from a page whose attempt is not over yet.
        (IntentDecision::Replace, Some(old)) if is_run_elsewhere(old, now_ms) => {
            Ok(answer(name(IntentDecision::Unresolved), Some(old)))
        }
        (IntentDecision::Replace, old) => {
            let answer = mint(command, found, &fingerprint, now_ms)?;
            if let Some(old) = old {
                end(old, command, "abandoned", now_ms);
                answer.set("puts", Array::of2(old, &answer.get("record")).into());
            }
            Ok(answer)
        }
        (IntentDecision::Resume, Some(record)) => Ok(resume(command, record, now_ms)),
        (_, record) => Ok(answer(name(decision), record)),
    }
}

/// The names that JavaScript knows the decisions by.
const fn name(decision: IntentDecision) -> &'static str {
    match decision {
        IntentDecision::Mint => "mint",
        IntentDecision::Replace => "replace",
        IntentDecision::Resume => "resume",
        IntentDecision::Wait => "wait",
        IntentDecision::InProgress => "in-progress",
        IntentDecision::Unresolved => "unresolved",
        IntentDecision::NeedsReconcile => "needs-reconcile",
        IntentDecision::Joined => "joined",
        IntentDecision::OutcomeLost => "outcome-lost",
        IntentDecision::Abandoned => "abandoned",
        IntentDecision::KeyLost => "key-lost",
    }
}

/// What the caller asks for. A caller without a payload asks for what is stored.
fn fingerprint(command: &Members, slot: &Slot, salt: &[u8]) -> Fingerprint {
    let digest = command.get("digest");
    if digest.is_truthy() {
        let digest: &Uint8Array = digest.unchecked_ref();
        return Fingerprint::of([salt, &digest.to_vec()]);
    }
    match slot {
        Slot::Claimed(intent) => intent.fingerprint,
        Slot::Settled(settlement) => settlement.fingerprint,
        Slot::Empty | Slot::Abandoned { .. } => Fingerprint::NONE,
    }
}

/// What is known of the slot's lock. Where the browser has none, the holder's last sign of life
/// and the lease stand for it.
fn lock(command: &Members, record: Option<&IntentRecord>, now_ms: f64) -> SlotLock {
    let lock = command.get("lock");
    if lock == "mine" {
        SlotLock::Mine
    } else if lock == "stolen" {
        SlotLock::Stolen
    } else if lock == "lease" && !record.is_some_and(|record| is_leased(command, record, now_ms)) {
        SlotLock::Mine
    } else {
        SlotLock::Held
    }
}

fn is_leased(command: &Members, record: &IntentRecord, now_ms: f64) -> bool {
    record.is_state("claimed")
        && record.get("holder") != command.get("holder")
        && !has_left(command, record)
        && record
            .number("heldAt")
            .is_some_and(|at| at <= now_ms && now_ms < at + command.count("leaseMs"))
}

/// Whether the holder is a page that said goodbye: its attempts ended with it.
fn has_left(command: &Members, record: &IntentRecord) -> bool {
    let left = command.get("left");
    left.is_object()
        && left
            .unchecked_ref::<Array>()
            .includes(&record.get("holder"), 0)
}

/// Whether an attempt of a holder that was taken over may still be under way.
fn is_run_elsewhere(record: &IntentRecord, now_ms: f64) -> bool {
    record
        .number("othersUntil")
        .is_some_and(|until| now_ms < until)
}

/// Whether somebody is at an intent that a person wants to end by hand.
fn is_busy(command: &Members, record: &IntentRecord, now_ms: f64) -> bool {
    lock(command, Some(record), now_ms) == SlotLock::Held || is_run_elsewhere(record, now_ms)
}

fn mint(
    command: &Members,
    found: &Found,
    fingerprint: &Fingerprint,
    now_ms: f64,
) -> Result<Members, JsValue> {
    let key = keys::new_key(timestamp(now_ms))?;
    let number = found
        .newest
        .as_ref()
        .map_or(0.0, |newest| newest.count("number"))
        + 1.0;
    let record: IntentRecord = Object::new().unchecked_into();
    record.set("v", RECORD_VERSION.into());
    for name in ["principal", "operation"] {
        record.set(name, command.get(name));
    }
    record.set("number", number.into());
    record.set("key", key.into());
    record.set("state", "claimed".into());
    record.set("fingerprint", record::hex(fingerprint).into());
    record.set("fence", 1.into());
    record.set("attempts", 0.into());
    record.set("createdAt", now_ms.into());
    record.set("firstSentAt", JsValue::NULL);
    let payload = command.get("payload");
    if !payload.is_undefined() {
        record.set("payload", payload);
    }
    hold(command, &record, now_ms);
    Ok(written("mint", &record))
}

/// The same key again. A holder that says its fence goes on under it; if it is not the newest,
/// another has taken over. Everybody else gets the next fence.
fn resume(command: &Members, record: &IntentRecord, now_ms: f64) -> Members {
    if command.number("fence").is_none() {
        record.set("fence", (record.count("fence") + 1.0).into());
        if command.get("lock") == "stolen" {
            let until = record.count("sentUntil").max(record.count("othersUntil"));
            record.set("othersUntil", until.into());
        }
    } else if is_superseded(command, record) {
        return answer("superseded", Some(record));
    }
    let was_in_doubt = record.get("inDoubt");
    hold(command, record, now_ms);
    let answer = written("resume", record);
    answer.set("wasInDoubt", was_in_doubt);
    answer
}

/// Whether the caller holds the intent under a fence that is not the newest any more.
fn is_superseded(command: &Members, record: &IntentRecord) -> bool {
    command
        .number("fence")
        .is_some_and(|fence| fence < record.count("fence"))
}

/// Notes the holder, and the attempt that it is about to make: from then on, and until an answer
/// says otherwise, it may have happened.
fn hold(command: &Members, record: &IntentRecord, now_ms: f64) {
    record.set("heldAt", now_ms.into());
    record.set("holder", command.get("holder"));
    if command.is("isSending") {
        record.set("attempts", (record.count("attempts") + 1.0).into());
        record.set("inDoubt", true.into());
        record.set(
            "sentUntil",
            (now_ms + command.count("attemptTimeoutMs")).into(),
        );
        if record.number("firstSentAt").is_none() {
            record.set("firstSentAt", now_ms.into());
        }
    }
}

/// Notes an outcome. A success is the truth under any fence; a rejection is only known where no
/// newer attempt runs.
fn settle(command: &Members, found: &Found, now_ms: f64) -> Members {
    let Some(record) = found.own(command) else {
        return answer("key-lost", None);
    };
    if !record.is_state("claimed") {
        return answer("settled", Some(record));
    }
    // A person says so, and not an attempt.
    if command.is("lock") && is_busy(command, record, now_ms) {
        return answer("in-progress", None);
    }
    let state = command.text("state").unwrap_or_default();
    if state == "rejected" && is_superseded(command, record) {
        return answer("superseded", Some(record));
    }
    end(record, command, &state, now_ms);
    if command.is("hasValue") {
        record.set("value", command.get("value"));
        keep_value(record, now_ms + command.count("outcomeMs"));
    }
    written("settled", record)
}

fn keep_value(record: &IntentRecord, until: f64) {
    record.set("valueUntil", until.into());
    record.set("dueAt", until.into());
}

/// Turns a claimed record into a tombstone.
fn end(record: &IntentRecord, command: &Members, state: &str, now_ms: f64) {
    let expires_at = now_ms + command.count("retentionMs");
    record.set("state", state.into());
    record.set("settledAt", now_ms.into());
    for name in ["expiresAt", "dueAt"] {
        record.set(name, expires_at.into());
    }
    for name in ["payload", "heldAt", "holder", "sentUntil", "othersUntil"] {
        record.remove(name);
    }
}

/// Leaves the intent to whoever comes next, and notes whether it may have happened.
fn park(command: &Members, found: &Found) -> Members {
    let open = found.own_claimed(command);
    let Some(record) = open.filter(|record| !is_superseded(command, record)) else {
        return answer("nothing", None);
    };
    record.set("heldAt", JsValue::NULL);
    record.set("inDoubt", command.get("inDoubt"));
    if !command.is("inDoubt") {
        record.set("firstSentAt", JsValue::NULL);
    }
    written("parked", record)
}

/// The server refused the key by its own clock. The record keeps its place, so that every caller
/// that follows it goes on under the new key; and its count, so that this is done once.
fn mint_anew(command: &Members, found: &Found, now_ms: f64) -> Result<Members, JsValue> {
    let own = found.own_claimed(command);
    let (Slot::Claimed(intent), Some(record)) = (slot_of(own, now_ms)?, own) else {
        return Ok(answer("nothing", None));
    };
    let refusal = StaleRefusal {
        fence: Fence::from_stored(keys::unix_ms(command.count("fence"))),
        attempts: keys::unix_ms(record.count("attempts")),
        server_time: command.number("serverMs").map(timestamp),
    };
    match decide_stale_key(&intent, &refusal) {
        StaleKeyDecision::MintAnew { by } => {
            record.set("key", keys::new_key(by)?.into());
            record.set("inDoubt", false.into());
            record.set("firstSentAt", JsValue::NULL);
            Ok(written("mint-anew", record))
        }
        StaleKeyDecision::NeedsReconcile => Ok(answer("needs-reconcile", Some(record))),
        StaleKeyDecision::Superseded => Ok(answer("superseded", Some(record))),
    }
}

/// The receipt is on the screen: asking again is meant, a moment after its page got the outcome.
/// The value stays for those who joined.
fn acknowledge(command: &Members, found: &Found, now_ms: f64) -> Result<Members, JsValue> {
    let own = found.own(command);
    let (Slot::Settled(_), Some(record)) = (slot_of(own, now_ms)?, own) else {
        return Ok(answer("nothing", None));
    };
    record.set("acknowledgedAt", now_ms.into());
    // Another page may have acknowledged it before: the latest delivery counts, and a clock that
    // was set back since makes none later than now.
    let delivered_at = record
        .count("settledAt")
        .max(record.count("deliveredAt"))
        .max(command.count("deliveredAt"))
        .min(now_ms);
    record.set("deliveredAt", delivered_at.into());
    let until = now_ms + command.count("joinMs");
    if record
        .number("valueUntil")
        .is_some_and(|kept| now_ms < kept && kept < until)
    {
        keep_value(record, until);
    }
    Ok(written("acknowledged", record))
}

/// Gives an intent up on purpose, if nobody is at it.
fn abandon(command: &Members, found: &Found, now_ms: f64) -> Members {
    let Some(record) = found.own_claimed(command) else {
        return answer("nothing", None);
    };
    if is_busy(command, record, now_ms) {
        return answer("in-progress", None);
    }
    end(record, command, "abandoned", now_ms);
    written("abandoned", record)
}
