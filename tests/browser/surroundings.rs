//! Where the client runs: under a Content Security Policy, in a worker, offline.

use serde_json::json;

use crate::harness::plan::Plan;
use crate::shop::{Shop, code, refusal};

const POLICY: &str = "default-src 'self'; script-src 'self'";

#[test]
fn without_permission_to_compile_the_error_names_the_directive() {
    let shop = Shop::open();
    shop.server
        .add_header("/pages/shop.html", "Content-Security-Policy", POLICY);
    for entry in ["/pkg/index.js", "/pkg/web.js"] {
        let tab = shop.blank_tab();
        tab.load(&format!("{}&entry={entry}", shop.page(&json!({}))));
        let refused = tab.run("return await ended(opened);");
        assert_eq!(refusal(&refused["thrown"]), "wasm-blocked", "{entry}");
        let message = refused["thrown"]["message"].as_str().expect("a message");
        assert!(message.contains("wasm-unsafe-eval"), "{message}");
        assert!(message.contains("script-src"), "{message}");
    }
    assert_eq!(shop.api().requests().len(), 0);
}

#[test]
fn with_permission_to_compile_both_entries_work_under_a_strict_policy() {
    let shop = Shop::open();
    let policy = format!("{POLICY} 'wasm-unsafe-eval'");
    shop.server
        .add_header("/pages/shop.html", "Content-Security-Policy", &policy);
    for (number, entry) in ["/pkg/index.js", "/pkg/web.js"].into_iter().enumerate() {
        let tab = shop.blank_tab();
        tab.load(&format!("{}&entry={entry}", shop.page(&json!({}))));
        let pay = format!("await opened; return (await pay('order-{number}')).status;");
        assert_eq!(tab.run(&pay), "done", "{entry}");
    }
}

#[test]
fn a_worker_pays_like_a_page_and_shares_its_slots() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::pay().held("bank")]);
    tab.start("paying", "return pay('order-1', { amount: 25 });");
    shop.api().wait_for(1);
    tab.start(
        "worker",
        "const worker = new Worker('/pages/worker.js', { type: 'module' });\n\
         const answer = new Promise((resolve, reject) => {\n\
           worker.onmessage = (event) => resolve(event.data);\n\
           worker.onerror = (event) => reject(new Error(event.message));\n\
         });\n\
         worker.postMessage({ operation: 'pay:order-1', payload: { amount: 25 } });\n\
         return answer;",
    );
    // The worker waits for the page's lock, or comes later and joins: never a second key.
    tab.run("await until(async () => (await navigator.locks.query()).pending.length === 1);");
    shop.api().open("bank");
    let of_page = tab.finish("paying").expect("it is paid");
    let of_worker = tab.finish("worker").expect("it is paid");
    assert_eq!(of_worker["mode"], "indexeddb");
    assert_eq!(of_worker["outcome"]["key"], of_page["key"]);
    assert_eq!(of_worker["outcome"]["status"], "joined");
    assert_eq!(shop.api().requests().len(), 1);
}

#[test]
fn while_offline_attempts_wait_and_are_not_counted() {
    let shop = Shop::open();
    let tab = shop.tab();
    let network = |is_offline: bool| {
        let conditions = json!({"offline": is_offline, "latency": 0, "downloadThroughput": -1,
            "uploadThroughput": -1});
        tab.cdp("Network.enable", json!({}))
            .expect("the network can be watched");
        tab.cdp("Network.emulateNetworkConditions", conditions)
            .expect("and cut");
    };
    network(true);
    assert_eq!(tab.run("return navigator.onLine;"), false);
    tab.start(
        "paying",
        "return pay('order-1', 1, { retry: { maxAttempts: 1 } });",
    );
    let open = tab.run(
        "return await until(async () => (await client.pending()).length && client.pending());",
    );
    assert_eq!(
        (&open[0]["attempts"], &open[0]["firstSentAt"]),
        (&json!(0), &json!(null))
    );
    assert_eq!(tab.run("return attempts.length;"), 0);
    assert_eq!(shop.api().requests().len(), 0);
    network(false);
    let paid = tab
        .finish("paying")
        .expect("it goes out when the network is back");
    assert_eq!(
        (&paid["status"], &paid["attempts"]),
        (&json!("done"), &json!(1))
    );
    assert_eq!(shop.api().requests().len(), 1);
}

#[test]
fn offline_past_the_deadline_ends_and_keeps_the_key() {
    let shop = Shop::open();
    let tab = shop.tab();
    let cut = json!({"offline": true, "latency": 0, "downloadThroughput": -1,
        "uploadThroughput": -1});
    tab.cdp("Network.enable", json!({}))
        .expect("the network can be watched");
    tab.cdp("Network.emulateNetworkConditions", cut)
        .expect("and cut");
    let late = tab.try_run(
        "return await pay('order-1', 1, { retry: { deadlineMs: 300 } });",
        json!(null),
    );
    assert_eq!(code(late), "unknown");
    assert_eq!(tab.run("return (await client.pending()).length;"), 1);
    assert_eq!(tab.run("return attempts.length;"), 0);
}

#[test]
fn both_entries_of_one_page_guard_one_slot() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().otherwise(Plan::pay().after_ms(30));
    let keys = tab.run(
        "const web = await import('/pkg/web.js');\n\
         const other = await web.IdempotencyClient.open();\n\
         const both = await Promise.all([client, other].map((one) =>\n\
           one.submit('pay:order-1', 1, sendForReceipt)));\n\
         return both.map((outcome) => outcome.key);",
    );
    assert_eq!(keys[0], keys[1]);
    assert_eq!(shop.api().requests().len(), 1);
}
