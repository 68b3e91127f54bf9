//! What IndexedDB holds after a command: readable, whole, or as before.

use js_sys::{Array, Object};
use wasm_bindgen::prelude::*;
use wasm_bindgen_test::wasm_bindgen_test;
use web_sys::IdbTransactionMode;

use crate::database::{
    Database, OUTCOME_MS, RETENTION_MS, about, claim, command, ended, get, js, number, set, text,
};

#[wasm_bindgen_test]
async fn a_claim_is_a_record_that_a_person_can_read() {
    let database = Database::create("readable").await;
    let payload = Object::new();
    set(&payload, "amount", &25.into());
    let claim = claim("page", 1_000.0, &[("payload", payload.into())]);
    let answer = database.apply(&claim, 1_234.0).await;
    assert_eq!(text(&answer, "decision"), "mint");
    let records = database.list(&JsValue::NULL).await;
    assert_eq!(records.len(), 1);
    let record = &records[0];
    assert_eq!(number(record, "v"), 1.0);
    assert_eq!(text(record, "state"), "claimed");
    assert_eq!(text(record, "operation"), "pay:order-17");
    assert_eq!(text(record, "key"), text(&get(&answer, "record"), "key"));
    assert_eq!(text(record, "key").len(), 36);
    assert_eq!(text(record, "fingerprint").len(), 64);
    assert_eq!(number(&get(record, "payload"), "amount"), 25.0);
    for (name, value) in [
        ("createdAt", 1_234.0),
        ("firstSentAt", 1_234.0),
        ("attempts", 1.0),
    ] {
        assert_eq!(number(record, name), value, "{name}");
    }
}

#[wasm_bindgen_test]
async fn an_outcome_takes_the_payload_away_and_keeps_a_value_for_its_time() {
    let database = Database::create("outcome").await;
    let claim = claim("page", 0.0, &[("payload", 1.into())]);
    let claimed = get(&database.apply(&claim, 100.0).await, "record");
    let settle = command("settle", "page", &about(&claimed));
    set(&settle, "state", &js("succeeded"));
    set(&settle, "hasValue", &true.into());
    set(&settle, "value", &js("receipt"));
    database.apply(&settle, 200.0).await;
    let records = database.list(&JsValue::NULL).await;
    assert_eq!(text(&records[0], "state"), "succeeded");
    assert_eq!(text(&records[0], "value"), "receipt");
    assert!(get(&records[0], "payload").is_undefined());
    database.sweep(200.0 + OUTCOME_MS - 1.0, 10.0).await;
    assert_eq!(
        text(&database.list(&JsValue::NULL).await[0], "value"),
        "receipt"
    );
    database.sweep(200.0 + OUTCOME_MS, 10.0).await;
    let records = database.list(&JsValue::NULL).await;
    assert!(
        get(&records[0], "value").is_undefined(),
        "a tombstone is left"
    );
    database.sweep(200.0 + RETENTION_MS, 10.0).await;
    assert!(database.list(&JsValue::NULL).await.is_empty());
}

#[wasm_bindgen_test]
async fn a_sweep_takes_no_more_than_it_is_told() {
    let database = Database::create("sweep").await;
    for number in 0..5 {
        let order = js(&format!("pay:{number}"));
        let claim = claim("page", 0.0, &[("operation", order.clone())]);
        let claimed = database.apply(&claim, 1.0).await;
        let settle = command("settle", "page", &about(&get(&claimed, "record")));
        set(&settle, "operation", &order);
        set(&settle, "state", &js("rejected"));
        database.apply(&settle, 2.0).await;
    }
    let later = RETENTION_MS * 2.0;
    for (max, left) in [(0.0, 5), (2.0, 3), (2.0, 1), (9.0, 0)] {
        database.sweep(later, max).await;
        assert_eq!(database.list(&JsValue::NULL).await.len(), left);
    }
}

#[wasm_bindgen_test]
async fn an_answer_of_a_transaction_that_was_undone_counts_for_nothing() {
    let database = Database::create("undone").await;
    let (transaction, outcome) = database.begin(&claim("page", 0.0, &[]), 1.0);
    transaction.abort().expect("it is open");
    assert!(ended(&transaction, &outcome).await.is_err());
    assert!(database.list(&JsValue::NULL).await.is_empty());
}

#[wasm_bindgen_test]
async fn a_record_of_another_version_is_refused_and_left_as_it_is() {
    let database = Database::create("versions").await;
    let claimed = database.apply(&claim("page", 0.0, &[]), 1.0).await;
    let record = get(&claimed, "record");
    set(&record, "v", &2.into());
    let transaction = database
        .connection
        .transaction_with_str_and_mode("intents", IdbTransactionMode::Readwrite)
        .expect("it begins");
    let key = Array::of3(&0.into(), &js("pay:order-17"), &(-1).into());
    let store = transaction.object_store("intents").expect("it is there");
    store.put_with_key(&record, &key).expect("it is written");
    let refused = database.try_apply(&claim("page", 0.0, &[]), 2.0).await;
    assert_eq!(refused.expect_err("it is of the future"), "unreadable");
    let records = database.list(&JsValue::NULL).await;
    assert_eq!((records.len(), number(&records[0], "v")), (1, 2.0));
    assert_eq!(number(&records[0], "attempts"), 1.0);
}

#[wasm_bindgen_test]
async fn principals_never_meet_also_where_one_is_nobody() {
    let database = Database::create("principals").await;
    let names = [JsValue::NULL, js(""), js("0"), js("ada"), js("ada\u{0}")];
    for name in &names {
        let more = [("principal", name.clone())];
        let answer = database.apply(&claim("page", 0.0, &more), 1.0).await;
        assert_eq!(text(&answer, "decision"), "mint", "{name:?}");
    }
    database.clear(&js("ada")).await;
    for name in &names {
        let left = usize::from(*name != "ada");
        assert_eq!(database.list(name).await.len(), left, "{name:?}");
    }
}
