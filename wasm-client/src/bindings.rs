//! Everything that crosses the border to JavaScript, in both directions. Nothing is decided here.

#![expect(
    clippy::needless_pass_by_value,
    reason = "what comes from JavaScript by value needs no stack of borrowed objects in the glue"
)]

use alloc::string::String;
use alloc::vec::Vec;
use js_sys::{Array, Function, JsString, Object};
use wasm_bindgen::prelude::*;
use web_sys::{IdbDatabase, IdbTransaction, IdbTransactionMode};

use crate::{fingerprint, keys, record, store, transition};

#[wasm_bindgen]
extern "C" {
    /// A plain object. Its members are read by name: an import for each of them would make the
    /// download a third larger.
    #[wasm_bindgen(extends = Object)]
    #[derive(Clone, Debug)]
    pub type Members;

    // The build makes each of these names a string of JavaScript once, by its place in memory:
    // so they have to be static, which the methods in `record` see to.
    #[wasm_bindgen(method, structural, indexing_getter)]
    pub(crate) fn member(this: &Members, name: &str) -> JsValue;
    #[wasm_bindgen(method, structural, indexing_setter)]
    pub(crate) fn set_member(this: &Members, name: &str, value: JsValue);
    #[wasm_bindgen(method, structural, indexing_deleter)]
    pub(crate) fn remove_member(this: &Members, name: &str);

    /// A value that says itself what it is in JSON.
    #[wasm_bindgen(extends = Object)]
    pub(crate) type Convertible;

    #[wasm_bindgen(method, structural, catch, js_name = toJSON)]
    pub(crate) fn to_json(this: &Convertible) -> Result<JsValue, JsValue>;

    #[wasm_bindgen(js_namespace = ArrayBuffer, js_name = isView)]
    pub(crate) fn is_view(value: &JsValue) -> bool;
    /// `[object Kind]`, whatever the value's own `toString` says.
    #[wasm_bindgen(js_namespace = ["Object", "prototype", "toString"], js_name = call)]
    pub(crate) fn tag_of(value: &JsValue) -> JsString;
    #[wasm_bindgen(js_name = String)]
    pub(crate) fn text_of(value: &JsValue) -> JsString;
    /// web-sys knows `transaction` without its third argument.
    #[wasm_bindgen(extends = IdbDatabase)]
    #[derive(Clone, Debug)]
    pub type DurableDatabase;

    #[wasm_bindgen(method, structural, catch, js_name = transaction)]
    pub(crate) fn durable_transaction(
        this: &DurableDatabase,
        store: &str,
        mode: IdbTransactionMode,
        options: &Members,
    ) -> Result<IdbTransaction, JsValue>;
}

/// A new key. JavaScript brings the time, so that a test can bring its own.
///
/// # Errors
///
/// `no-randomness` where the browser has none.
#[wasm_bindgen(js_name = newKey)]
pub fn new_key(now_ms: f64) -> Result<String, JsValue> {
    keys::new_key(record::timestamp(now_ms))
}

/// The digest of a payload, with what else the walk over it found.
///
/// # Errors
///
/// The kind of a value that cannot be compared; `trail` has the way to it, from the inside out.
#[wasm_bindgen]
pub fn digest(payload: JsValue, trail: Array) -> Result<JsValue, JsValue> {
    fingerprint::digest(&payload, &trail).map(JsValue::from)
}

/// A digest that goes on over more bytes: those of a blob, which cannot be read at once.
#[wasm_bindgen(js_name = extendDigest)]
pub fn extend_digest(digest: &[u8], bytes: &[u8]) -> Vec<u8> {
    fingerprint::extend(digest, bytes)
}

/// Decides over the records of a slot that JavaScript read, and says which to write.
///
/// # Errors
///
/// `unreadable` for a record of another version or of another maker; nothing is to be written.
#[wasm_bindgen]
pub fn transition(
    newest: JsValue,
    seen: JsValue,
    command: JsValue,
    salt: &[u8],
    now_ms: f64,
) -> Result<JsValue, JsValue> {
    let found = transition::Found::of(newest, seen);
    transition::transition(command.unchecked_ref(), &found, salt, now_ms).map(JsValue::from)
}

/// Reads the slot of a command, decides, and writes, all in the transaction that is returned.
/// The answer is in `outcome.answer` and counts once the transaction has committed.
///
/// # Errors
///
/// What the browser threw instead of beginning a transaction.
#[wasm_bindgen(js_name = applyTo)]
pub fn apply_to(
    database: DurableDatabase,
    salt: Vec<u8>,
    command: Members,
    clock: Function,
    outcome: Members,
) -> Result<IdbTransaction, JsValue> {
    store::apply(&database, salt, command, clock, &outcome)
}

/// All intents of a principal.
///
/// # Errors
///
/// What the browser threw instead of beginning a transaction.
#[wasm_bindgen(js_name = listOf)]
pub fn list_of(
    database: DurableDatabase,
    principal: JsValue,
    outcome: Members,
) -> Result<IdbTransaction, JsValue> {
    store::list(&database, principal, &outcome)
}

/// Removes all intents of a principal.
///
/// # Errors
///
/// What the browser threw instead of beginning a transaction.
#[wasm_bindgen(js_name = clearOf)]
pub fn clear_of(
    database: DurableDatabase,
    principal: JsValue,
    outcome: Members,
) -> Result<IdbTransaction, JsValue> {
    store::clear(&database, principal, &outcome)
}

/// Removes what is due, at most `max` records of it.
///
/// # Errors
///
/// What the browser threw instead of beginning a transaction.
#[wasm_bindgen(js_name = sweepOf)]
pub fn sweep_of(
    database: DurableDatabase,
    now_ms: f64,
    max: f64,
    outcome: Members,
) -> Result<IdbTransaction, JsValue> {
    store::sweep(&database, now_ms, max, &outcome)
}
