//! A clock that is wrong, and a server that refuses keys by its own.

use serde_json::{Value, json};

use crate::harness::browser::Tab;
use crate::harness::plan::Plan;
use crate::shop::{Shop, code};

/// Sunday, long before any browser that runs this.
const SERVER_MS: u64 = 1_767_225_600_000;

fn stale() -> Plan {
    let problem = format!("{{\"code\":\"stale-key\",\"now_ms\":{SERVER_MS}}}");
    Plan::refuse(409, &problem)
}

/// The time inside a `UUIDv7`.
fn time_of(key: &str) -> u64 {
    let digits: String = key.split('-').take(2).collect();
    u64::from_str_radix(&digits, 16).expect("hexadecimal digits")
}

/// A page whose clock is eleven minutes ahead.
fn early(shop: &Shop) -> Tab<'_> {
    let tab = shop.blank_tab();
    tab.before_load("const now = Date.now; Date.now = () => now.call(Date) + 660_000;");
    shop.visit(&tab, &json!({}));
    tab
}

fn keys(shop: &Shop) -> Vec<String> {
    shop.api().keys()
}

#[test]
fn a_clock_that_is_ahead_pays_under_a_key_of_the_servers_time() {
    let shop = Shop::open();
    let tab = early(&shop);
    shop.api().next([stale()]);
    let paid = tab.run(
        "const stored = [];\n\
         const paid = await client.submit('pay:order-1', { amount: 25 }, async (attempt) => {\n\
           const [{ key }] = await records();\n\
           stored.push({ stored: key, sent: attempt.key, number: attempt.attempt });\n\
           return send(attempt);\n\
         }, { retry: quick });\n\
         return { ...await read(paid), stored };",
    );
    let keys = keys(&shop);
    assert_eq!(keys.len(), 2);
    assert_eq!(time_of(&keys[1]), SERVER_MS);
    assert_eq!(
        (&paid["status"], &paid["key"]),
        (&json!("done"), &json!(keys[1]))
    );
    let expected = json!([
        {"stored": keys[0], "sent": keys[0], "number": 1},
        {"stored": keys[1], "sent": keys[1], "number": 2},
    ]);
    assert_eq!(
        paid["stored"], expected,
        "each key is stored before it is sent"
    );
    let requests = shop.api().requests();
    assert_eq!(requests[0].request.body, requests[1].request.body);
    assert_eq!(shop.api().charges(), 1);
    let claims = "return events.filter(({ name }) => name === 'claimed').map(({ key }) => key);";
    assert_eq!(tab.run(claims), json!(keys));
    assert_eq!(
        tab.run("return (await pay('order-1', { amount: 25 })).status;"),
        "joined"
    );
}

/// What a submit ends with, and how many keys and requests there were.
fn refused(shop: &Shop, tab: &Tab<'_>, script: &str) -> (String, usize, usize) {
    let code = code(tab.try_run(script, Value::Null));
    (code, keys(shop).len(), shop.api().requests().len())
}

const PAY: &str = "return await pay('order-1');";

#[test]
fn once_an_earlier_attempt_was_sent_a_stale_key_stays_the_only_one() {
    let shop = Shop::open();
    let tab = early(&shop);
    shop.api().next([Plan::lose_answer(), stale()]);
    assert_eq!(refused(&shop, &tab, PAY), ("needs-reconcile".into(), 1, 2));
    // Nor does a later page life, or another tab.
    shop.api().next([stale()]);
    tab.reload();
    let resume = "await opened; return await resume('order-1');";
    assert_eq!(
        refused(&shop, &tab, resume),
        ("needs-reconcile".into(), 1, 3)
    );
}

#[test]
fn a_server_that_refuses_the_second_key_too_or_says_no_time_ends_the_loop() {
    let shop = Shop::open();
    let tab = early(&shop);
    shop.api().next([stale(), stale()]);
    assert_eq!(refused(&shop, &tab, PAY), ("needs-reconcile".into(), 2, 2));
    for said in [
        "",
        ",\"now_ms\":\"soon\"",
        ",\"now_ms\":1.5",
        ",\"now_ms\":-1",
    ] {
        let shop = Shop::open();
        let tab = early(&shop);
        let problem = format!("{{\"code\":\"stale-key\"{said}}}");
        shop.api().next([Plan::refuse(409, &problem)]);
        let ended = refused(&shop, &tab, PAY);
        assert_eq!(ended, ("needs-reconcile".into(), 1, 1), "{said}");
    }
}

#[test]
fn a_key_that_waited_without_a_network_beyond_the_retention_is_minted_anew() {
    let shop = Shop::open();
    let tab = shop.blank_tab();
    let network = "window.isOnline = true;\n\
        Object.defineProperty(navigator, 'onLine', { get: () => isOnline });";
    tab.before_load(network);
    shop.visit(&tab, &json!({}));
    let offline = "window.isOnline = false;\n\
        return await pay('order-1', 1, { retry: { deadlineMs: 100 } });";
    assert_eq!(code(tab.try_run(offline, Value::Null)), "unknown");
    tab.run("window.isOnline = true; await sleepFor(30 * 3_600_000);");
    shop.api().next([stale()]);
    let paid = tab.run("return await pay('order-1', 1);");
    assert_eq!(paid["status"], "done", "{paid}");
    assert_eq!((keys(&shop).len(), shop.api().charges()), (2, 1));
}

#[test]
fn a_tab_that_waits_follows_the_new_key() {
    let shop = Shop::open();
    let (tab, other) = (early(&shop), shop.another_tab());
    shop.api()
        .next([stale().held("bank"), Plan::pay().held("again")]);
    tab.start("paying", PAY);
    shop.api().wait_for(1);
    other.start("paying", PAY);
    other.run("await until(async () => (await navigator.locks.query()).pending.length === 1);");
    shop.api().open("bank");
    shop.api().wait_for(2);
    shop.api().open("again");
    let paid = tab.finish("paying").expect("it is paid");
    let joined = other.finish("paying").expect("it is joined");
    assert_eq!(
        (&joined["status"], &joined["key"]),
        (&json!("joined"), &paid["key"])
    );
    assert_eq!((keys(&shop).len(), shop.api().charges()), (2, 1));
}
