//! Who may go on with what is stored: fences, locks, and leases where there are no locks.

use wasm_bindgen::prelude::*;
use wasm_bindgen_test::wasm_bindgen_test;

use crate::database::{
    Database, LEASE_MS, about, claim, command, ended, get, js, number, set, text,
};

/// What a claim of another page with this lock is answered.
async fn looked(database: &Database, lock: &str, now: f64) -> JsValue {
    database
        .apply(&claim("another page", 0.0, &[("lock", js(lock))]), now)
        .await
}

#[wasm_bindgen_test]
async fn claims_that_begin_together_make_one_key() {
    let database = Database::create("together").await;
    let pages = ["first", "second", "third"];
    let claims = pages.map(|page| claim(page, 0.0, &[("lock", js("lease"))]));
    let begun = claims.map(|claim| database.begin(&claim, 1.0));
    let mut decisions = Vec::new();
    for (transaction, outcome) in &begun {
        let answer = ended(transaction, outcome).await.expect("it is committed");
        decisions.push(text(&answer, "decision"));
    }
    assert_eq!(decisions, ["mint", "wait", "wait"]);
    assert_eq!(database.list(&JsValue::NULL).await.len(), 1);
}

#[wasm_bindgen_test]
async fn whoever_takes_over_has_the_same_key_and_the_next_fence() {
    let database = Database::create("take over").await;
    let first = get(&looked(&database, "mine", 1.0).await, "record");
    assert_eq!(
        text(&looked(&database, "held", 2.0).await, "decision"),
        "wait"
    );
    let stolen = looked(&database, "stolen", 3.0).await;
    assert_eq!(text(&stolen, "decision"), "resume");
    let second = get(&stolen, "record");
    assert_eq!(text(&second, "key"), text(&first, "key"));
    assert_eq!(number(&second, "fence"), number(&first, "fence") + 1.0);
    assert_eq!(number(&second, "attempts"), 2.0);
}

#[wasm_bindgen_test]
async fn a_holder_with_an_old_fence_sends_nothing_and_rejects_nothing() {
    let database = Database::create("old fence").await;
    let first = get(&looked(&database, "mine", 1.0).await, "record");
    let second = get(&looked(&database, "stolen", 2.0).await, "record");
    let again = database
        .apply(&claim("first", 0.0, &about(&first)), 3.0)
        .await;
    assert_eq!(text(&again, "decision"), "superseded");
    let settle = command("settle", "first", &about(&first));
    set(&settle, "state", &js("rejected"));
    let refused = database.apply(&settle, 4.0).await;
    assert_eq!(text(&refused, "decision"), "superseded");
    let park = command("park", "first", &about(&first));
    assert_eq!(
        text(&database.apply(&park, 5.0).await, "decision"),
        "nothing"
    );
    let records = database.list(&JsValue::NULL).await;
    assert_eq!(text(&records[0], "state"), "claimed");
    assert_eq!(number(&records[0], "fence"), number(&second, "fence"));
    assert_eq!(number(&records[0], "attempts"), 2.0);
    // What happened is true under any fence.
    set(&settle, "state", &js("succeeded"));
    assert_eq!(
        text(&database.apply(&settle, 6.0).await, "decision"),
        "settled"
    );
}

#[wasm_bindgen_test]
async fn without_locks_a_claim_lives_until_its_lease_and_not_a_millisecond_longer() {
    let database = Database::create("leases").await;
    looked(&database, "lease", 1.0).await;
    let other = |now: f64| {
        let claim = claim("other", 0.0, &[("lock", js("lease"))]);
        let database = &database;
        async move { text(&database.apply(&claim, now).await, "decision") }
    };
    assert_eq!(other(LEASE_MS).await, "wait");
    assert_eq!(other(1.0 + LEASE_MS).await, "resume");
}

#[wasm_bindgen_test]
async fn giving_up_leaves_its_tombstone_and_a_running_attempt_alone() {
    let database = Database::create("giving up").await;
    let first = get(&looked(&database, "mine", 1.0).await, "record");
    let abandon = command("abandon", "other", &about(&first));
    for (lock, decision) in [
        ("held", "in-progress"),
        ("mine", "abandoned"),
        ("mine", "nothing"),
    ] {
        set(&abandon, "lock", &js(lock));
        assert_eq!(
            text(&database.apply(&abandon, 2.0).await, "decision"),
            decision
        );
    }
    let seen = database
        .apply(&claim("first", 0.0, &about(&first)), 3.0)
        .await;
    assert_eq!(
        text(&seen, "decision"),
        "abandoned",
        "whoever saw it is told"
    );
    let fresh = looked(&database, "mine", 4.0).await;
    assert_eq!(text(&fresh, "decision"), "mint");
    assert_ne!(text(&get(&fresh, "record"), "key"), text(&first, "key"));
}
