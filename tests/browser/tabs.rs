//! Several tabs: one sends, the others wait, and whoever takes over does it with the same key.

use serde_json::{Value, json};

use crate::harness::browser::Tab;
use crate::harness::plan::Plan;
use crate::shop::{Shop, code};

const ROUNDS: usize = 40;

/// In each round all tabs pay the same order, each a little later than the one before, and a
/// server answers in 30 ms. Everybody has to get the one receipt.
fn race(tab_count: usize, apart_ms: u32) {
    let shop = Shop::open();
    shop.api().otherwise(Plan::pay().after_ms(30));
    let first = shop.tab();
    let mut tabs = vec![first];
    tabs.extend((1..tab_count).map(|_| shop.another_tab()));
    for (number, tab) in tabs.iter().enumerate() {
        let later_ms = u32::try_from(number).expect("few tabs") * apart_ms;
        tab.start(
            "rounds",
            &format!(
                "const keys = [];\n\
                 for (let round = 0; round < {ROUNDS}; round += 1) {{\n\
                   await meet({tab_count}, `round-${{round}}`, {later_ms});\n\
                   keys.push((await pay(`order-${{round}}`)).key);\n\
                 }}\n\
                 return keys;"
            ),
        );
    }
    let keys: Vec<Value> = tabs
        .iter()
        .map(|tab| tab.finish("rounds").expect("every round ends"))
        .collect();
    for (number, of_tab) in keys.iter().enumerate() {
        assert_eq!(of_tab, &keys[0], "tab {number}, {apart_ms} ms apart");
    }
    assert_eq!(shop.api().keys().len(), ROUNDS, "one key a round");
    assert_eq!(shop.api().charges(), ROUNDS);
    assert_eq!(shop.api().requests().len(), ROUNDS, "one request a round");
}

#[test]
fn two_tabs_at_the_same_instant_make_one_key_each_of_40_times() {
    race(2, 0);
}

#[test]
fn two_tabs_2_ms_apart_make_one_key_each_of_40_times() {
    race(2, 2);
}

#[test]
fn two_tabs_40_ms_apart_make_one_key_each_of_40_times() {
    race(2, 40);
}

#[test]
fn three_tabs_at_the_same_instant_make_one_key_each_of_40_times() {
    race(3, 0);
}

#[test]
fn three_tabs_2_ms_apart_make_one_key_each_of_40_times() {
    race(3, 2);
}

/// Here joining a fresh success does not help: the winner acknowledges at once, and only the
/// moment of the call shows that the others meant the same payment.
#[test]
fn tabs_that_called_before_an_acknowledged_success_join_it_each_of_40_times() {
    let shop = Shop::open();
    let tabs = [shop.tab(), shop.another_tab(), shop.another_tab()];
    for tab in &tabs {
        tab.start(
            "rounds",
            "const keys = [];\n\
             for (let round = 0; round < 40; round += 1) {\n\
               await meet(3, `round-${round}`);\n\
               let tell;\n\
               const allCalled = new Promise((resolve) => { tell = resolve; });\n\
               const paying = client.submit(`pay:${round}`, round, async (attempt) => {\n\
                 await allCalled;\n\
                 return sendForReceipt(attempt);\n\
               });\n\
               await meet(3, `called-${round}`);\n\
               tell();\n\
               const { status, key } = await paying;\n\
               if (status === 'done') await client.acknowledge(`pay:${round}`, key);\n\
               keys.push(key);\n\
             }\n\
             return keys;",
        );
    }
    let keys = tabs.map(|tab| tab.finish("rounds").expect("every round ends"));
    assert_eq!(keys[1], keys[0]);
    assert_eq!(keys[2], keys[0]);
    assert_eq!(
        (shop.api().keys().len(), shop.api().charges()),
        (ROUNDS, ROUNDS)
    );
}

/// A first tab whose payment the bank holds.
fn paying<'b>(shop: &'b Shop, tab: &Tab<'b>) {
    shop.api().next([Plan::pay().held("bank")]);
    tab.start("paying", "return pay('order-1');");
    shop.api().wait_for(1);
}

#[test]
fn a_second_tab_waits_for_the_first_and_gets_its_result() {
    let shop = Shop::open();
    let (first, second) = (shop.tab(), shop.another_tab());
    paying(&shop, &first);
    second.start("paying", "return pay('order-1');");
    let busy = "return await pay('order-1', undefined, { ifBusy: 'refuse' });";
    assert_eq!(code(second.try_run(busy, json!(null))), "in-progress");
    let edited = "return await pay('order-1', 'something else');";
    assert_eq!(code(second.try_run(edited, json!(null))), "unresolved");
    shop.api().open("bank");
    let paid = first.finish("paying").expect("it is paid");
    let joined = second.finish("paying").expect("it is paid");
    assert_eq!(
        (&paid["status"], &joined["status"]),
        (&json!("done"), &json!("joined"))
    );
    assert_eq!(joined["value"], paid["value"]);
    assert_eq!(shop.api().requests().len(), 1);
}

#[test]
fn another_tab_gives_up_nothing_while_an_attempt_runs() {
    let shop = Shop::open();
    let (first, second) = (shop.tab(), shop.another_tab());
    paying(&shop, &first);
    let key = &shop.api().keys()[0];
    let given_up = second.run_with("return client.abandon('pay:order-1', args);", json!(key));
    assert_eq!(given_up, false);
    let replace = "return await pay('order-1', 'other', { onChanged: 'new-intent' });";
    assert_eq!(code(second.try_run(replace, json!(null))), "unresolved");
    shop.api().open("bank");
    first.finish("paying").expect("it is paid");
}

#[test]
fn an_acknowledged_payment_still_joins_the_tab_that_waited_for_it() {
    let shop = Shop::open();
    let (first, second) = (shop.tab(), shop.another_tab());
    shop.api().next([Plan::pay().held("bank")]);
    first.start(
        "paying",
        "const paid = await pay('order-1');\n\
         await client.acknowledge('pay:order-1', paid.key);\n\
         return paid;",
    );
    shop.api().wait_for(1);
    second.start("paying", "return pay('order-1');");
    shop.api().open("bank");
    let paid = first.finish("paying").expect("it is paid");
    let joined = second.finish("paying").expect("it is joined");
    assert_eq!(
        (&joined["status"], &joined["key"]),
        (&json!("joined"), &paid["key"])
    );
    assert_eq!(shop.api().keys().len(), 1);
}

#[test]
fn a_rejection_reaches_the_tab_that_waited_and_a_closed_tab_leaves_its_payment() {
    let shop = Shop::open();
    let (first, second) = (shop.tab(), shop.another_tab());
    shop.api()
        .next([Plan::problem(402, "declined").held("bank"), Plan::hang()]);
    first.start("paying", "return pay('order-1');");
    shop.api().wait_for(1);
    second.start("paying", "return pay('order-1');");
    shop.api().open("bank");
    assert_eq!(code(first.finish("paying")), "rejected");
    assert_eq!(code(second.finish("paying")), "rejected");
    assert_eq!(shop.api().requests().len(), 1);
    first.start("closing", "return pay('order-2');");
    shop.api().wait_for(2);
    second.start("taking over", "return pay('order-2');");
    first.close();
    let paid = second.finish("taking over").expect("it takes over");
    assert_eq!(paid["value"]["key"], shop.api().keys()[1].as_str());
    assert_eq!(shop.api().charges(), 1);
}

#[test]
fn a_frozen_tab_is_taken_over_with_the_same_key_and_sends_nothing_when_it_thaws() {
    let shop = Shop::open();
    let options = json!({"leaseMs": 1_000});
    let (first, second) = (shop.tab_with(&options), shop.another_tab_with(&options));
    // The answer of the first attempt is lost while its tab is frozen.
    shop.api().next([Plan::lose_answer().held("bank")]);
    first.start("paying", "return pay('order-1');");
    shop.api().wait_for(1);
    let state = json!({"state": "frozen"});
    first
        .cdp("Page.setWebLifecycleState", state)
        .expect("a tab can be frozen");
    second.start("paying", "return pay('order-1');");
    let paid = second.finish("paying").expect("it takes over");
    assert_eq!(paid["value"]["receipt"], 1);
    shop.api().open("bank");
    let state = json!({"state": "active"});
    first
        .cdp("Page.setWebLifecycleState", state)
        .expect("a tab can be thawed");
    let thawed = first.finish("paying").expect("it learns the outcome");
    assert_eq!(thawed["value"], paid["value"]);
    let requests = shop.api().requests();
    assert_eq!(requests.len(), 2, "the thawed tab sent nothing");
    assert_ne!(requests[0].page(), requests[1].page());
    assert_eq!((shop.api().keys().len(), shop.api().charges()), (1, 1));
}

#[test]
fn a_holder_that_is_only_slow_keeps_its_key_when_waiters_steal_its_lock() {
    let shop = Shop::open();
    let options = json!({"leaseMs": 700});
    let first = shop.tab_with(&options);
    let others = [
        shop.another_tab_with(&options),
        shop.another_tab_with(&options),
    ];
    shop.api().next([Plan::pay().held("bank")]);
    first.start("paying", "return pay('order-1');");
    shop.api().wait_for(1);
    // Both wait for the same lease, and both may steal.
    for tab in &others {
        tab.start("paying", "return pay('order-1');");
    }
    let of_others = others.map(|tab| tab.finish("paying").expect("it takes over or joins"));
    shop.api().open("bank");
    let of_first = first
        .finish("paying")
        .expect("what happened is a success for it too");
    for paid in &of_others {
        assert_eq!(paid["value"]["receipt"], of_first["value"]["receipt"]);
        assert_eq!(paid["key"], of_first["key"]);
    }
    assert_eq!((shop.api().keys().len(), shop.api().charges()), (1, 1));
    assert!(shop.api().requests().len() <= 3, "nobody storms");
}

#[test]
fn a_page_in_the_back_forward_cache_is_taken_over_with_the_same_key() {
    let shop = Shop::open();
    let (first, second) = (shop.tab(), shop.another_tab());
    paying(&shop, &first);
    let life = first.run("return life;");
    first.load(&shop.server.url("/pages/elsewhere.html"));
    second.start("paying", "return pay('order-1');");
    shop.api().open("bank");
    let paid = second.finish("paying").expect("it takes over");
    assert_eq!(paid["value"]["receipt"], 1);
    let before = shop.api().requests().len();
    first.back();
    first.run("await opened; await client.pending();");
    println!("restored: {}", first.run("return life;") == life);
    let resumed = first.run("return await resume('order-1');");
    assert_eq!(resumed["value"], paid["value"]);
    assert_eq!(
        shop.api().requests().len(),
        before,
        "the page that came back sent nothing"
    );
    assert_eq!((shop.api().keys().len(), shop.api().charges()), (1, 1));
}

#[test]
fn losing_tabs_send_nothing_while_the_winner_is_told_to_come_again() {
    let shop = Shop::open();
    let tabs = [shop.tab(), shop.another_tab(), shop.another_tab()];
    let busy = Plan::problem(409, "in-progress").header("Retry-After", "1");
    shop.api().next([busy.clone(), busy]);
    for tab in &tabs {
        tab.start("paying", "return pay('order-1');");
    }
    for tab in &tabs {
        tab.finish("paying").expect("it is paid");
    }
    let requests = shop.api().requests();
    assert_eq!(
        requests.len(),
        3,
        "two refusals and the answer, from one tab"
    );
    assert!(
        requests
            .iter()
            .all(|seen| seen.page() == requests[0].page())
    );
}

#[test]
fn other_orders_of_the_same_page_and_of_other_tabs_do_not_wait() {
    let shop = Shop::open();
    let (first, second) = (shop.tab(), shop.another_tab());
    paying(&shop, &first);
    assert_eq!(first.run("return (await pay('order-2')).status;"), "done");
    assert_eq!(second.run("return (await pay('order-3')).status;"), "done");
    // Names that a lock would refuse, or that would run into each other.
    for order in [
        "-",
        "",
        ":",
        "1:2",
        "1/2",
        "\\u0000",
        "\\ud83d\\ude00",
        "a".repeat(500).as_str(),
    ] {
        let pay = format!("return (await pay(\"{order}\")).status;");
        assert_eq!(second.run(&pay), "done", "{order}");
    }
    let own = "return (await client.submit('-x', 1, sendForReceipt)).status;";
    assert_eq!(second.run(own), "done");
    shop.api().open("bank");
    first.finish("paying").expect("it is paid");
}

#[test]
fn a_send_that_throws_under_the_lock_is_not_run_twice() {
    let shop = Shop::open();
    let tab = shop.tab();
    let sent = tab.run(
        "let sent = 0;\n\
         await ended(client.submit('pay:order-1', 1, () => {\n\
           sent += 1; throw new TypeError('locks.request rejects with this too');\n\
         }, { retry: { maxAttempts: 1 } }));\n\
         return sent;",
    );
    assert_eq!(sent, 1);
}

#[test]
fn other_tabs_are_told_that_something_changed_but_no_values() {
    let shop = Shop::open();
    let spy = "window.heard = [];\n\
        const Native = BroadcastChannel;\n\
        window.BroadcastChannel = class extends Native {\n\
          postMessage(message) { heard.push(JSON.stringify(message ?? null));\n\
            return super.postMessage(message); }\n\
        };";
    let tab = shop.blank_tab();
    tab.before_load(spy);
    shop.visit(&tab, &json!({}));
    tab.run("await pay('order-1', { card: 'secret-4242' });");
    let heard = tab.run("return heard;");
    assert!(!heard.to_string().contains("4242"), "{heard}");
    assert!(!heard.to_string().contains("receipt"), "{heard}");
}

/// A tab whose lock was stolen while the bank holds its request, and the tab that stole it, whose
/// own attempt came to nothing.
fn stolen(shop: &Shop) -> (Tab<'_>, Tab<'_>) {
    let options = json!({"leaseMs": 300});
    let (first, second) = (shop.tab_with(&options), shop.another_tab_with(&options));
    let busy = Plan::problem(503, "busy");
    shop.api().next([Plan::pay().held("bank"), busy]);
    first.start("paying", "return pay('order-1', 1);");
    shop.api().wait_for(1);
    let once = "return await pay('order-1', 1, { retry: { maxAttempts: 1 } });";
    assert_eq!(code(second.try_run(once, json!(null))), "unknown");
    (first, second)
}

#[test]
fn while_an_attempt_that_was_taken_over_may_run_nobody_gives_its_intent_up() {
    let shop = Shop::open();
    let (first, second) = stolen(&shop);
    let key = shop.api().keys()[0].clone();
    for by_hand in [
        "return await client.abandon('pay:order-1', args);",
        "return await client.resolve('pay:order-1', args, { happened: false });",
    ] {
        assert_eq!(second.run_with(by_hand, json!(key)), false);
    }
    let other = "return await pay('order-1', 2, { onChanged: 'new-intent' });";
    assert_eq!(code(second.try_run(other, json!(null))), "unresolved");
    shop.api().open("bank");
    assert_eq!(
        first.finish("paying").expect("it is paid")["status"],
        "done"
    );
    assert_eq!((shop.api().keys().len(), shop.api().charges()), (1, 1));
}

#[test]
fn what_happened_stays_a_success_whatever_others_made_of_its_record() {
    let shop = Shop::open();
    let (first, second) = stolen(&shop);
    second.run(
        "await rewrite((record) => ({ ...record, state: 'abandoned', settledAt: Date.now(),\n\
           expiresAt: Date.now() + 3_600_000, dueAt: Date.now() + 3_600_000 }));",
    );
    shop.api().open("bank");
    let paid = first.finish("paying").expect("it is paid");
    assert_eq!(
        (&paid["status"], &paid["value"]["receipt"]),
        (&json!("done"), &json!(1))
    );
}

#[test]
fn a_lock_that_is_stolen_while_the_claim_is_written_sends_nothing() {
    let shop = Shop::open();
    let tab = shop.tab();
    let paid = tab.run(
        "const { put } = IDBObjectStore.prototype;\n\
         const { request } = LockManager.prototype;\n\
         let isSeen = false;\n\
         LockManager.prototype.request = function (...all) {\n\
           const held = request.apply(this, all);\n\
           held.catch(() => { isSeen = true; });\n\
           return held;\n\
         };\n\
         let lost;\n\
         const stolen = new Promise((resolve) => { lost = resolve; });\n\
         IDBObjectStore.prototype.put = function (...all) {\n\
           IDBObjectStore.prototype.put = put;\n\
           const made = put.apply(this, all);\n\
           // The claim is not on the disk before the page sees the theft, which is told to the\n\
           // thief and to the holder in either order: its transaction is kept at work.\n\
           const keep = () => { if (!isSeen) this.count().onsuccess = keep; };\n\
           keep();\n\
           navigator.locks.request(heldName, { steal: true }, async () => {\n\
             lost(); await new Promise((resolve) => { window.giveBack = resolve; });\n\
           });\n\
           return made;\n\
         };\n\
         const heldName = 'idempotency:11:idempotency-11:pay:order-1';\n\
         let sent = 0;\n\
         const paying = client.submit('pay:order-1', 1, async () => {\n\
           sent += 1; return 'paid';\n\
         });\n\
         await stolen;\n\
         // Whatever the page does next it has to see the theft first.\n\
         await new Promise((resolve) => setTimeout(resolve, 100));\n\
         const before = sent;\n\
         giveBack();\n\
         return { before, value: (await paying).value, sent };",
    );
    assert_eq!(paid, json!({"before": 0, "value": "paid", "sent": 1}));
}
