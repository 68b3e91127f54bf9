//! A database of one test, and the commands that a page sends to it.

use idempotency_client::bindings::{self, DurableDatabase, Members};
use js_sys::{Array, JsString, Object, Promise, Reflect, Uint8Array};
use wasm_bindgen::prelude::*;
use wasm_bindgen_futures::JsFuture;
use web_sys::{IdbDatabase, IdbFactory, IdbOpenDbRequest, IdbTransaction};

/// The retention of every command here.
pub(crate) const RETENTION_MS: f64 = 1_000_000.0;
/// The lease of every command here.
pub(crate) const LEASE_MS: f64 = 30_000.0;
/// How long values are kept here.
pub(crate) const OUTCOME_MS: f64 = 600_000.0;

/// An object from its members.
pub(crate) fn object(members: &[(&str, JsValue)]) -> Members {
    let object = Object::new();
    for (name, value) in members {
        set(&object, name, value);
    }
    object.unchecked_into()
}

pub(crate) fn set(object: &JsValue, name: &str, value: &JsValue) {
    let is_set = Reflect::set(object, &name.into(), value);
    assert!(is_set.expect("objects take members"));
}

pub(crate) fn get(object: &JsValue, name: &str) -> JsValue {
    Reflect::get(object, &name.into()).expect("objects have members")
}

pub(crate) fn text(object: &JsValue, name: &str) -> String {
    let value = get(object, name);
    value
        .as_string()
        .unwrap_or_else(|| panic!("{name} is {value:?}"))
}

pub(crate) fn number(object: &JsValue, name: &str) -> f64 {
    let value = get(object, name);
    value
        .as_f64()
        .unwrap_or_else(|| panic!("{name} is {value:?}"))
}

/// A command about `pay:order-17` by a page of this name, with more members.
pub(crate) fn command(verb: &str, page: &str, more: &[(&str, JsValue)]) -> Members {
    let command = object(&[
        ("verb", verb.into()),
        ("principal", JsValue::NULL),
        ("operation", "pay:order-17".into()),
        ("holder", page.into()),
        ("retentionMs", RETENTION_MS.into()),
        ("leaseMs", LEASE_MS.into()),
        ("joinMs", 10_000.into()),
        ("outcomeMs", OUTCOME_MS.into()),
        ("isStrict", true.into()),
    ]);
    for (name, value) in more {
        set(&command, name, value);
    }
    command
}

/// A claim of a caller that has its payload and holds the lock.
pub(crate) fn claim(page: &str, called_at: f64, more: &[(&str, JsValue)]) -> Members {
    let claim = command(
        "claim",
        page,
        &[
            ("lock", "mine".into()),
            ("calledAt", called_at.into()),
            ("mayMint", true.into()),
            ("isSending", true.into()),
            ("digest", Uint8Array::from([7; 32].as_slice()).into()),
        ],
    );
    for (name, value) in more {
        set(&claim, name, value);
    }
    claim
}

/// Names the intent that a command is about.
pub(crate) fn about(record: &JsValue) -> [(&'static str, JsValue); 3] {
    ["key", "number", "fence"].map(|name| (name, get(record, name)))
}

/// An open database with its salt.
pub(crate) struct Database {
    pub(crate) connection: IdbDatabase,
}

/// What a page's own database has a random one for.
const SALT: [u8; 32] = [1; 32];

impl Database {
    /// A new one under this name.
    pub(crate) async fn create(name: &str) -> Self {
        let factory: IdbFactory = get(&js_sys::global(), "indexedDB").unchecked_into();
        finished(&factory.delete_database(name).expect("it may be deleted")).await;
        let request = factory.open(name).expect("it may be opened");
        let opening = request.clone();
        let upgrade = Closure::once_into_js(move || {
            let connection = opening.result().expect("it is open");
            let intents = connection.unchecked_into::<IdbDatabase>();
            let intents = intents.create_object_store("intents").expect("it is made");
            intents
                .create_index_with_str("dueAt", "dueAt")
                .expect("it is made");
        });
        request.set_onupgradeneeded(Some(upgrade.unchecked_ref()));
        let connection: IdbDatabase = finished(&request).await.unchecked_into();
        Self { connection }
    }

    fn shared(&self) -> DurableDatabase {
        self.connection.clone().unchecked_into()
    }

    /// Begins a command without waiting for its end.
    pub(crate) fn begin(&self, command: &Members, now: f64) -> (IdbTransaction, Members) {
        let outcome = object(&[]);
        let clock = Closure::once_into_js(move || now);
        let transaction = bindings::apply_to(
            self.shared(),
            SALT.to_vec(),
            command.clone(),
            clock.unchecked_into(),
            outcome.clone(),
        );
        (transaction.expect("it begins"), outcome)
    }

    /// A command to its end: the answer, which has been committed, or why nothing was.
    pub(crate) async fn try_apply(&self, command: &Members, now: f64) -> Result<JsValue, JsValue> {
        let (transaction, outcome) = self.begin(command, now);
        ended(&transaction, &outcome).await
    }

    pub(crate) async fn apply(&self, command: &Members, now: f64) -> JsValue {
        self.try_apply(command, now).await.expect("it is committed")
    }

    pub(crate) async fn sweep(&self, now: f64, max: f64) {
        let outcome = object(&[]);
        let sweeping = bindings::sweep_of(self.shared(), now, max, outcome.clone());
        let sweeping = sweeping.expect("it begins");
        ended(&sweeping, &outcome).await.expect("it is committed");
    }

    pub(crate) async fn clear(&self, principal: &JsValue) {
        let outcome = object(&[]);
        let clearing = bindings::clear_of(self.shared(), principal.clone(), outcome.clone());
        let clearing = clearing.expect("it begins");
        ended(&clearing, &outcome).await.expect("it is committed");
    }

    /// The records of a principal, in the order of their operations.
    pub(crate) async fn list(&self, principal: &JsValue) -> Vec<JsValue> {
        let outcome = object(&[]);
        let listing = bindings::list_of(self.shared(), principal.clone(), outcome.clone());
        let listing = listing.expect("it begins");
        let records = ended(&listing, &outcome).await.expect("it can be read");
        records.unchecked_into::<Array>().to_vec()
    }
}

/// The result of a request.
async fn finished(request: &IdbOpenDbRequest) -> JsValue {
    let promise = Promise::new(&mut |resolve, reject| {
        request.set_onsuccess(Some(&resolve));
        request.set_onerror(Some(&reject));
    });
    JsFuture::from(promise).await.expect("the request succeeds");
    request.result().expect("it has a result")
}

/// The answer, once the transaction has committed; else why it has not.
pub(crate) async fn ended(
    transaction: &IdbTransaction,
    outcome: &Members,
) -> Result<JsValue, JsValue> {
    let promise = Promise::new(&mut |resolve, reject| {
        transaction.set_oncomplete(Some(&resolve));
        transaction.set_onabort(Some(&reject));
    });
    match JsFuture::from(promise).await {
        Ok(_) => Ok(get(outcome, "answer")),
        Err(_) => Err(get(outcome, "error")),
    }
}

/// A text as JavaScript has it.
pub(crate) fn js(text: &str) -> JsValue {
    JsString::from(text).into()
}
