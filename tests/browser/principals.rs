//! Whose payment it is: a key stored for one person is never sent for another.

use serde_json::json;

use crate::harness::plan::Plan;
use crate::shop::{Shop, code};

/// A client whose principal is whatever `window.person` holds.
const OPEN: &str = "window.person ??= args;\n\
    window.client = await openClient({ principal: () => window.person });";

#[test]
fn each_principal_has_slots_of_its_own() {
    let shop = Shop::open();
    let tab = shop.tab();
    tab.run_with(OPEN, json!("alice"));
    shop.api().next([Plan::lose_answer()]);
    let once = "return await pay('order-1', 1, { retry: { maxAttempts: 1 } });";
    assert_eq!(code(tab.try_run(once, json!(null))), "unknown");
    let of_alice = shop.api().keys()[0].clone();
    tab.run("person = 'bob';");
    assert_eq!(tab.run("return await client.pending();"), json!([]));
    assert_eq!(tab.run("return await resume('order-1');"), json!(null));
    let abandon = "return await client.abandon('pay:order-1', args);";
    assert_eq!(tab.run_with(abandon, json!(of_alice)), false);
    let of_bob = tab.run("return await pay('order-1', 1);");
    assert_ne!(of_bob["key"], of_alice.as_str());
    tab.run("person = null;");
    let of_nobody = tab.run("return await pay('order-1', 1);");
    assert_ne!(of_nobody["key"], of_bob["key"]);
    tab.run("person = 'alice';");
    assert_eq!(
        tab.run("return await pay('order-1', 1);")["key"],
        of_alice.as_str()
    );
    assert_eq!(shop.api().keys().len(), 3);
}

#[test]
fn a_principal_that_changes_between_attempts_stops_the_payment() {
    let shop = Shop::open();
    let tab = shop.tab();
    tab.run_with(OPEN, json!("alice"));
    shop.api().next([Plan::problem(503, "busy")]);
    let changed = tab.try_run(
        "return await client.submit('pay:order-1', 1, (attempt) => {\n\
           const sending = sendForReceipt(attempt);\n\
           person = 'bob';\n\
           return sending;\n\
         }, { retry: quick });",
        json!(null),
    );
    assert_eq!(code(changed), "principal");
    assert_eq!(shop.api().requests().len(), 1);
    assert_eq!(
        tab.run("return await client.pending();"),
        json!([]),
        "it is not bob's"
    );
    tab.run("person = 'alice';");
    assert_eq!(
        tab.run("return (await client.pending()).length;"),
        1,
        "alice's key is kept"
    );
}

#[test]
fn a_principal_that_changes_while_waiting_for_another_tab_sends_nothing() {
    let shop = Shop::open();
    let (first, second) = (shop.tab(), shop.another_tab());
    for tab in [&first, &second] {
        tab.run_with(OPEN, json!("alice"));
    }
    shop.api().next([Plan::lose_answer().held("bank")]);
    first.start(
        "paying",
        "return pay('order-1', 1, { retry: { maxAttempts: 1 } });",
    );
    shop.api().wait_for(1);
    second.start("paying", "return pay('order-1', 1);");
    second.run("await until(async () => (await client.pending()).length === 1);");
    second.run("person = 'bob';");
    shop.api().open("bank");
    assert_eq!(code(first.finish("paying")), "unknown");
    assert_eq!(code(second.finish("paying")), "principal");
    assert_eq!(shop.api().requests().len(), 1);
}

#[test]
fn logging_out_clears_one_principal_and_no_other() {
    let shop = Shop::open();
    let tab = shop.tab();
    tab.run_with(OPEN, json!("alice"));
    shop.api().otherwise(Plan::lose_answer());
    let once = "return await pay('order-1', 1, { retry: { maxAttempts: 1 } });";
    assert!(tab.try_run(once, json!(null)).is_err());
    tab.run("person = 'bob';");
    assert!(tab.try_run(once, json!(null)).is_err());
    tab.run("await client.clear('alice');");
    assert_eq!(
        tab.run("return (await client.pending()).length;"),
        1,
        "bob's is there"
    );
    tab.run("person = 'alice';");
    assert_eq!(tab.run("return await client.pending();"), json!([]));
    tab.run("person = 'bob'; await client.clear();");
    assert_eq!(tab.run("return await records();"), json!([]));
}

#[test]
fn a_principal_must_be_text_or_nobody() {
    let shop = Shop::open();
    let tab = shop.tab();
    for wrong in [
        "() => 7",
        "() => ({})",
        "() => { throw new Error('no session'); }",
    ] {
        let script = format!(
            "const own = await openClient({{ principal: {wrong} }});\n\
             return await own.submit('pay:order-1', 1, sendForReceipt);"
        );
        assert_eq!(
            code(tab.try_run(&script, json!(null))),
            "principal",
            "{wrong}"
        );
    }
    assert_eq!(shop.api().requests().len(), 0);
}

#[test]
fn the_events_of_a_payment_name_its_principal() {
    let shop = Shop::open();
    let tab = shop.tab();
    tab.run_with(OPEN, json!("alice"));
    tab.run("await pay('order-1');");
    let principals = tab.run("return [...new Set(events.map((event) => event.principal))];");
    assert_eq!(principals, json!(["alice"]));
}

#[test]
fn a_principal_that_changes_while_the_claim_is_written_sends_nothing() {
    let shop = Shop::open();
    let tab = shop.tab();
    tab.run_with(OPEN, json!("alice"));
    tab.run(
        "const { put } = IDBObjectStore.prototype;\n\
         IDBObjectStore.prototype.put = function (...all) {\n\
           person = 'bob'; return put.apply(this, all);\n\
         };",
    );
    let changed = tab.try_run("return await pay('order-1', 1);", json!(null));
    assert_eq!(code(changed), "principal");
    assert_eq!(shop.api().requests().len(), 0);
    tab.run("person = 'alice';");
    let pending = tab.run("return await client.pending();");
    assert_eq!(pending[0]["firstSentAt"], json!(null), "it was not sent");
}

#[test]
fn clearing_somebody_who_is_no_principal_is_refused_and_clears_nobody() {
    let shop = Shop::open();
    let tab = shop.tab();
    tab.run("await pay('order-1');");
    for nobody in ["42", "{}", "'x'.repeat(2_000)"] {
        let clear = format!("await client.clear({nobody});");
        assert_eq!(code(tab.try_run(&clear, json!(null))), "principal");
    }
    assert_eq!(tab.run("return (await records()).length;"), 1);
}
