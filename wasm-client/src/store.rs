//! The intent store on IndexedDB: read, decide and write in one transaction.
//!
//! One object store holds one record per intent under [principal, operation, -number], so the
//! newest intent of a slot is the first one of its range, which one `get` finds. Only what has
//! ended has a `dueAt`, so the index over it never leads a sweep to an intent that is still open.
//!
//! What is done here is done inside the browser's own events, without a promise between one
//! request and the next: a transaction commits as soon as it waits for anything else.

use alloc::boxed::Box;
use alloc::vec::Vec;
use js_sys::{Array, Function, Object};
use wasm_bindgen::prelude::*;
use web_sys::{
    IdbCursorWithValue, IdbKeyRange, IdbObjectStore, IdbRequest, IdbTransaction, IdbTransactionMode,
};

use crate::bindings::{DurableDatabase, Members};
use crate::record::{IntentRecord, RECORD_VERSION};
use crate::transition::{Found, transition};

const INTENTS: &str = "intents";
const DUE: &str = "dueAt";
const STRICT: &str = "strict";
const RELAXED: &str = "relaxed";

/// Applies a command to its slot.
pub(crate) fn apply(
    database: &DurableDatabase,
    salt: Vec<u8>,
    command: Members,
    clock: Function,
    outcome: &Members,
) -> Result<IdbTransaction, JsValue> {
    let is_strict = command.is("isStrict");
    let durability = if is_strict { STRICT } else { RELAXED };
    let work = Work::begin(database, IdbTransactionMode::Readwrite, durability, outcome)?;
    let slot = Array::of2(&owner(command.get("principal")), &command.get("operation"));
    let request = work.store.get(&range_of(&slot)?)?;
    work.when_done(&request, move |work, newest| {
        let found = Found::of(newest, JsValue::UNDEFINED);
        let decide = Decide {
            command,
            salt,
            clock,
        };
        if decide.is_answered_by(&found) {
            return decide.over(&found, &work);
        }
        slot.push(&place(&decide.command));
        let request = work.store.get(&slot)?;
        work.when_done(&request, move |work, seen| {
            decide.over(
                &Found {
                    seen: Found::of(seen, JsValue::UNDEFINED).newest,
                    ..found
                },
                &work,
            )
        });
        Ok(())
    });
    Ok(work.transaction)
}

/// What a command needs besides the records.
struct Decide {
    command: Members,
    salt: Vec<u8>,
    clock: Function,
}

impl Decide {
    /// Whether the newest intent is all that matters: the caller has seen no other.
    fn is_answered_by(&self, found: &Found) -> bool {
        let key = self.command.get("key");
        let is_own = |newest: &IntentRecord| newest.get("key") == key;
        self.command.get("number").is_falsy() || found.newest.as_ref().is_none_or(is_own)
    }

    fn over(&self, found: &Found, work: &Work) -> Result<(), JsValue> {
        let now_ms = self
            .clock
            .call0(&JsValue::UNDEFINED)?
            .as_f64()
            .unwrap_or_default();
        let answer = transition(&self.command, found, &self.salt, now_ms)?;
        let puts: Array = answer.get("puts").unchecked_into();
        let mut last = None;
        for record in puts.iter() {
            let record: IntentRecord = record.unchecked_into();
            last = Some(work.store.put_with_key(&record, &key_of(&record))?);
        }
        work.answer(answer.into());
        match (self.command.number("sweepMax"), last) {
            // Its own requests come after the puts, and it commits after the last of them.
            (Some(max), _) => work.sweep(now_ms, max),
            // Not before it has succeeded: a put may fail late, as WebKit's do for a file in a
            // private window, and after a commit such a transaction completes all the same.
            (None, Some(put)) => {
                work.when_done(&put, |work, _| work.commit());
                Ok(())
            }
            (None, None) => work.commit(),
        }
    }
}

/// All records of a principal, in the order of operation and number.
pub(crate) fn list(
    database: &DurableDatabase,
    principal: JsValue,
    outcome: &Members,
) -> Result<IdbTransaction, JsValue> {
    let work = Work::begin(database, IdbTransactionMode::Readonly, RELAXED, outcome)?;
    let request = work
        .store
        .get_all_with_key(&range_of(&Array::of1(&owner(principal)))?)?;
    work.when_done(&request, |work, records| {
        work.answer(records);
        Ok(())
    });
    Ok(work.transaction)
}

/// Removes all records of a principal.
pub(crate) fn clear(
    database: &DurableDatabase,
    principal: JsValue,
    outcome: &Members,
) -> Result<IdbTransaction, JsValue> {
    let work = Work::begin(database, IdbTransactionMode::Readwrite, RELAXED, outcome)?;
    work.store
        .delete(&range_of(&Array::of1(&owner(principal)))?)?;
    Ok(work.transaction)
}

/// Takes values and tombstones away whose time is over, at most `max` of them.
pub(crate) fn sweep(
    database: &DurableDatabase,
    now_ms: f64,
    max: f64,
    outcome: &Members,
) -> Result<IdbTransaction, JsValue> {
    let work = Work::begin(database, IdbTransactionMode::Readwrite, RELAXED, outcome)?;
    work.sweep(now_ms, max)?;
    Ok(work.transaction)
}

fn sweep_next(work: &Work, request: &IdbRequest, now_ms: f64, left: f64) {
    let again = request.clone();
    work.when_done(request, move |work, cursor| {
        if cursor.is_null() || left < 1.0 {
            return work.commit();
        }
        let cursor: IdbCursorWithValue = cursor.unchecked_into();
        let record: IntentRecord = cursor.value()?.unchecked_into();
        let expires_at = record.count("expiresAt");
        if record.get("v") != RECORD_VERSION {
            // What a newer package wrote is its own to sweep.
        } else if now_ms < expires_at {
            record.remove("value");
            record.remove("valueUntil");
            record.set(DUE, expires_at.into());
            cursor.update(&record)?;
        } else {
            cursor.delete()?;
        }
        cursor.continue_()?;
        sweep_next(&work, &again, now_ms, left - 1.0);
        Ok(())
    });
}

/// A transaction on the intents, and where its answer or its error goes.
#[derive(Clone)]
struct Work {
    transaction: IdbTransaction,
    store: IdbObjectStore,
    outcome: Members,
}

impl Work {
    fn begin(
        database: &DurableDatabase,
        mode: IdbTransactionMode,
        durability: &str,
        outcome: &Members,
    ) -> Result<Self, JsValue> {
        let options: Members = Object::new().unchecked_into();
        options.set("durability", durability.into());
        let transaction = database.durable_transaction(INTENTS, mode, &options)?;
        let store = transaction.object_store(INTENTS)?;
        Ok(Self {
            transaction,
            store,
            outcome: outcome.clone(),
        })
    }

    /// Goes on with the result of a request. An error undoes the transaction at once: one that is
    /// merely dropped would commit what was written so far.
    fn when_done(
        &self,
        request: &IdbRequest,
        next: impl FnOnce(Self, JsValue) -> Result<(), JsValue> + 'static,
    ) {
        let (work, done) = (self.clone(), request.clone());
        let next: Box<dyn FnOnce()> = Box::new(move || {
            let failing = work.clone();
            let outcome = done.result().and_then(|result| next(work, result));
            if let Err(error) = outcome {
                failing.outcome.set("error", error);
                // It is active now, so it can be undone.
                let _ = failing.transaction.abort();
            }
        });
        request.set_onsuccess(Some(Closure::once_into_js(next).unchecked_ref()));
    }

    fn sweep(&self, now_ms: f64, max: f64) -> Result<(), JsValue> {
        let range = IdbKeyRange::upper_bound(&now_ms.into())?;
        let request = self
            .store
            .index(DUE)?
            .open_cursor_with_range(&range.into())?;
        sweep_next(self, &request, now_ms, max);
        Ok(())
    }

    /// Says that no more requests come, which saves a turn of events. A browser that does not know
    /// this finds out by itself.
    #[expect(
        clippy::unnecessary_wraps,
        reason = "what ends a step says whether it went well"
    )]
    #[expect(
        deprecated,
        reason = "marked so by web-sys alone; browsers and the standard keep it"
    )]
    fn commit(&self) -> Result<(), JsValue> {
        let _ = self.transaction.commit();
        Ok(())
    }

    fn answer(&self, answer: JsValue) {
        self.outcome.set("answer", answer);
    }
}

/// Strings and numbers never meet as keys, so no principal can be taken for "nobody".
fn owner(principal: JsValue) -> JsValue {
    if principal.is_string() {
        principal
    } else {
        0.into()
    }
}

fn key_of(record: &IntentRecord) -> JsValue {
    let owner = owner(record.get("principal"));
    Array::of3(&owner, &record.get("operation"), &place(record)).into()
}

/// Where the intent of a record or a command stands in its slot: the newest comes first.
fn place(intent: &Members) -> JsValue {
    (-intent.count("number")).into()
}

/// All keys that start with `prefix`: an array sorts after every string and number.
fn range_of(prefix: &Array) -> Result<JsValue, JsValue> {
    let end = Array::from(prefix);
    end.push(&Array::new());
    IdbKeyRange::bound(prefix, &end).map(JsValue::from)
}
