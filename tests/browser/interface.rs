//! The rest of the interface: pending, resolve, abandon, clear, close, events, keys, bad input.

use serde_json::{Value, json};

use crate::harness::plan::Plan;
use crate::shop::{Shop, code, each};

const ONCE: &str = "return await pay('order-1', 1, { retry: { maxAttempts: 1 } });";

#[test]
fn the_package_exports_what_its_interface_says() {
    let shop = Shop::open();
    let tab = shop.tab();
    let exports = tab.run("return Object.keys(lib).sort();");
    let expected = json!([
        "IdempotencyClient",
        "IdempotencyError",
        "NotSent",
        "Rejected",
        "guardForm",
        "newKey",
        "okOrThrow"
    ]);
    assert_eq!(exports, expected);
    let methods = tab.run(
        "return ['submit', 'resume', 'pending', 'acknowledge', 'resolve', 'abandon', 'clear',\n\
           'fetch', 'fetchFor', 'guardForm', 'requestPersistence', 'on', 'close']\n\
           .filter((name) => typeof client[name] !== 'function');",
    );
    assert_eq!(methods, json!([]));
    let chain = "return [lib.NotSent, lib.Rejected, lib.IdempotencyError]\n\
                 .map((Kind) => new Kind('x', 'y') instanceof Error);";
    assert_eq!(tab.run(chain), json!([true, true, true]));
}

#[test]
fn keys_are_uuids_of_version_7_and_in_the_order_of_time() {
    let shop = Shop::open();
    let tab = shop.tab();
    let keys = tab.run("return Array.from({ length: 200 }, () => lib.newKey());");
    let keys = keys.as_array().expect("a list");
    let mut distinct: Vec<_> = keys.iter().filter_map(Value::as_str).collect();
    for key in &distinct {
        assert_eq!(key.len(), 36);
        assert_eq!(&key[14..15], "7", "{key}");
        assert!("89ab".contains(&key[19..20]), "{key}");
    }
    let first_time = distinct[0][..13].to_owned();
    assert!(first_time.as_str() <= &distinct[199][..13]);
    distinct.sort_unstable();
    distinct.dedup();
    assert_eq!(distinct.len(), 200);
}

#[test]
fn the_header_is_quoted_unless_the_application_wants_it_raw() {
    let shop = Shop::open();
    let tab = shop.tab();
    tab.run("await pay('order-1');");
    tab.run("window.client = await openClient({ headerFormat: 'raw' }); await pay('order-2');");
    let requests = shop.api().requests();
    let headers: Vec<_> = requests
        .iter()
        .filter_map(|seen| seen.request.header("idempotency-key"))
        .collect();
    assert_eq!(headers[0], format!("\"{}\"", requests[0].key));
    assert_eq!(headers[1], requests[1].key);
}

#[test]
fn pending_says_what_is_open_and_how_far_it_came() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().otherwise(Plan::lose_answer());
    let twice = "return await pay('order-1', 1, { retry: { maxAttempts: 2 } });";
    assert_eq!(code(tab.try_run(twice, json!(null))), "unknown");
    let pending = tab.run("return await client.pending();");
    let intent = &pending[0];
    assert_eq!(intent["operation"], "pay:order-1");
    assert_eq!(intent["key"], shop.api().keys()[0].as_str());
    assert_eq!(
        (&intent["attempts"], &intent["hasPayload"]),
        (&json!(2), &json!(true))
    );
    assert!(
        intent["firstSentAt"].as_f64() >= intent["createdAt"].as_f64(),
        "{intent}"
    );
    assert!(intent["state"].is_string());
}

#[test]
fn resolve_says_what_happened_in_place_of_the_server() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().otherwise(Plan::lose_answer());
    assert_eq!(code(tab.try_run(ONCE, json!(null))), "unknown");
    let key = json!(shop.api().keys()[0]);
    let wrong = "return await client.resolve('pay:order-1', 'other',\n\
                 { happened: true, value: { receipt: 9 } });";
    assert_eq!(tab.run(wrong), false);
    let happened = "return await client.resolve('pay:order-1', args,\n\
                    { happened: true, value: { receipt: 9 } });";
    assert_eq!(tab.run_with(happened, key.clone()), true);
    let joined = tab.run(ONCE);
    assert_eq!(
        (&joined["status"], &joined["value"]),
        (&json!("joined"), &json!({"receipt": 9}))
    );
    assert_eq!(joined["key"], key);
    assert_eq!(tab.run_with(happened, key), false, "it is settled already");
    let other = "return await pay('order-2', 1, { retry: { maxAttempts: 1 } });";
    assert_eq!(code(tab.try_run(other, json!(null))), "unknown");
    let key = json!(shop.api().keys()[1]);
    let not = "return await client.resolve('pay:order-2', args, { happened: false });";
    assert_eq!(tab.run_with(not, key.clone()), true);
    shop.api().otherwise(Plan::pay());
    let paid = tab.run(other);
    assert_eq!(paid["status"], "done");
    assert_ne!(
        paid["key"], key,
        "it did not happen, so trying again is a new intent"
    );
}

#[test]
fn resolving_is_refused_while_an_attempt_runs() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::pay().held("bank")]);
    tab.start("paying", "return pay('order-1');");
    shop.api().wait_for(1);
    let key = json!(shop.api().keys()[0]);
    let not = "return await client.resolve('pay:order-1', args, { happened: false });";
    assert_eq!(tab.run_with(not, key.clone()), false);
    let abandon = "return await client.abandon('pay:order-1', args);";
    assert_eq!(tab.run_with(abandon, key), false);
    shop.api().open("bank");
    tab.finish("paying").expect("it is paid");
}

#[test]
fn acknowledging_something_else_changes_nothing() {
    let shop = Shop::open();
    let tab = shop.tab();
    let paid = tab.run("return await pay('order-1');");
    for (operation, key) in [("pay:order-1", "other"), ("pay:order-2", "")] {
        let key = if key.is_empty() {
            paid["key"].clone()
        } else {
            json!(key)
        };
        let acknowledge = "return await client.acknowledge(...args);";
        assert_eq!(tab.run_with(acknowledge, json!([operation, key])), false);
    }
    assert_eq!(tab.run("return (await pay('order-1')).status;"), "joined");
}

#[test]
fn a_closed_client_refuses_and_never_aborts_an_attempt() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::pay().held("bank")]);
    tab.start("paying", "return pay('order-1');");
    shop.api().wait_for(1);
    tab.run("client.close(); client.close();");
    for call in [
        "pay('order-2')",
        "resume('order-2')",
        "client.pending()",
        "client.acknowledge('pay:order-1', 'x')",
        "client.resolve('pay:order-1', 'x', { happened: false })",
        "client.abandon('pay:order-1', 'x')",
        "client.clear()",
        "client.fetch('/api/pay', { method: 'POST', operation: 'x' })",
    ] {
        let closed = tab.try_run(&format!("return await {call};"), json!(null));
        assert_eq!(code(closed), "closed", "{call}");
    }
    shop.api().open("bank");
    let paid = tab.finish("paying").expect("closing does not abort it");
    assert_eq!(paid["value"]["receipt"], 1);
    let stored = tab.run("return await records();");
    assert_eq!(stored[0]["state"], "succeeded", "and its outcome is stored");
    assert_eq!(shop.api().requests().len(), 1);
}

#[test]
fn events_tell_the_life_of_a_payment() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::lose_answer(), Plan::pay()]);
    tab.run("await pay('order-1'); await pay('order-1');");
    let names = |tab: &crate::harness::browser::Tab<'_>| {
        let names = each(&tab.run("return events;"), "name");
        let names: Vec<String> = names
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect();
        names
    };
    assert_eq!(
        names(&tab),
        ["claimed", "attempt", "retry", "attempt", "done", "joined"]
    );
    let events = tab.run("return events;");
    for event in events.as_array().expect("a list") {
        assert_eq!(event["operation"], "pay:order-1", "{event}");
        assert_eq!(event["key"], shop.api().keys()[0].as_str(), "{event}");
    }
    tab.run("events.length = 0;");
    shop.api().otherwise(Plan::lose_answer());
    let once = "return await pay('order-2', 1, { retry: { maxAttempts: 1 } });";
    assert_eq!(code(tab.try_run(once, json!(null))), "unknown");
    assert_eq!(names(&tab), ["claimed", "attempt", "unknown"]);
    tab.run("events.length = 0; await sleepFor(24 * 3_600_000);");
    assert_eq!(code(tab.try_run(once, json!(null))), "needs-reconcile");
    assert_eq!(names(&tab), ["expired"]);
}

#[test]
fn a_listener_that_throws_changes_nothing_and_one_that_left_hears_nothing() {
    let shop = Shop::open();
    let tab = shop.tab();
    let heard = tab.run(
        "let heard = 0;\n\
         client.on('done', () => { throw new Error('a listener'); });\n\
         const leave = client.on('done', () => { heard += 1; });\n\
         await pay('order-1');\n\
         leave();\n\
         await pay('order-2');\n\
         return heard;",
    );
    assert_eq!(heard, 1);
    assert_eq!(shop.api().charges(), 2);
    assert_eq!(
        code(tab.try_run("client.on('nonsense', () => {});", json!(null))),
        "options"
    );
}

#[test]
fn persistence_is_asked_for_once_and_a_refusal_is_an_answer() {
    let shop = Shop::open();
    let tab = shop.tab();
    let asked = tab.run(
        "let asked = 0;\n\
         StorageManager.prototype.persist = async () => { asked += 1; return false; };\n\
         const answers = [await client.requestPersistence(), await client.requestPersistence()];\n\
         return { asked, answers };",
    );
    assert_eq!(asked, json!({"asked": 1, "answers": [false, false]}));
    let shop = Shop::open();
    let tab = shop.tab();
    let failing = tab.run(
        "StorageManager.prototype.persist = async () => { throw new Error('no'); };\n\
         return await client.requestPersistence();",
    );
    assert_eq!(failing, false);
}

#[test]
fn bad_options_are_refused_before_anything_is_opened() {
    let shop = Shop::open();
    let tab = shop.tab();
    let refused = [
        "retentionMs: 0",
        "retentionMs: -1",
        "retentionMs: NaN",
        "retentionMs: '5'",
        "retentionMs: Infinity",
        "retentionMs: 1_000, leaseMs: 2_000",
        "retentionMs: 1_000, joinMs: 2_000",
        "retentionMs: 1_000, outcomeMs: 2_000",
        "leaseMs: 0",
        "openTimeoutMs: 0",
        "durability: 'maybe'",
        "persist: 'everything'",
        "headerFormat: 'bare'",
        "dbName: ''",
        "dbName: 7",
        "classify: 'success'",
        "principal: 7",
    ];
    for options in refused {
        let open = format!("await openClient({{ dbName: 'refused', {options} }});");
        assert_eq!(
            code(tab.try_run(&open, json!(null))),
            "options",
            "{options}"
        );
    }
    let databases = tab.run("return (await indexedDB.databases()).map((one) => one.name);");
    assert_eq!(databases, json!(["idempotency"]));
    tab.run("await openClient({ retentionMs: 1_000, nonsense: true });");
}

#[test]
fn bad_calls_are_refused_and_nothing_is_sent() {
    let shop = Shop::open();
    let tab = shop.tab();
    let refused = [
        ("client.submit('', 1, send)", "operation"),
        ("client.submit(undefined, 1, send)", "operation"),
        ("client.submit(7, 1, send)", "operation"),
        ("client.resume('', send)", "operation"),
        ("client.submit('pay:order-1', 1)", "options"),
        ("client.submit('pay:order-1', 1, 'send')", "options"),
        (
            "client.submit('pay:order-1', 1, send, { ifBusy: 'perhaps' })",
            "options",
        ),
        (
            "client.submit('pay:order-1', 1, send, { onChanged: 'perhaps' })",
            "options",
        ),
        (
            "client.submit('pay:order-1', 1, send, { retry: { maxAttempts: 0 } })",
            "options",
        ),
        (
            "client.submit('pay:order-1', 1, send, { retry: { maxAttempts: 1.5 } })",
            "options",
        ),
        (
            "client.submit('pay:order-1', 1, send, { retry: { baseMs: -1 } })",
            "options",
        ),
        (
            "client.submit('pay:order-1', 1, send, { retry: { deadlineMs: 0 } })",
            "options",
        ),
        (
            "client.submit('pay:order-1', 1, send, { signal: 7 })",
            "options",
        ),
        ("client.resolve('pay:order-1', 'x', {})", "options"),
        ("client.resolve('pay:order-1', 'x', undefined)", "options"),
        ("client.fetch('/api/pay', { method: 'POST' })", "operation"),
        (
            "client.submit('pay:order-1', 1, send, { signal: AbortSignal.abort() })",
            "aborted",
        ),
    ];
    for (call, expected) in refused {
        let refusal = tab.try_run(&format!("return await {call};"), json!(null));
        assert_eq!(code(refusal), expected, "{call}");
    }
    assert_eq!(shop.api().requests().len(), 0);
    assert_eq!(tab.run("return await records();"), json!([]));
}

#[test]
fn two_clients_of_one_page_guard_one_slot() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().otherwise(Plan::pay().after_ms(30));
    let keys = tab.run(
        "const other = await openClient();\n\
         const both = await Promise.all([client, other].map((one) =>\n\
           one.submit('pay:order-1', 1, sendForReceipt)));\n\
         return both.map((outcome) => outcome.key);",
    );
    assert_eq!(keys[0], keys[1]);
    assert_eq!(shop.api().requests().len(), 1);
}

#[test]
fn databases_of_other_names_do_not_meet() {
    let shop = Shop::open();
    let tab = shop.tab();
    let keys = tab.run(
        "const other = await openClient({ dbName: 'another' });\n\
         const both = await Promise.all([client, other].map((one) =>\n\
           one.submit('pay:order-1', 1, sendForReceipt)));\n\
         return both.map((outcome) => outcome.key);",
    );
    assert_ne!(keys[0], keys[1]);
}
