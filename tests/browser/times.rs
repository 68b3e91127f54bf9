//! Time: retentions that pass, laptops that sleep, values that are gone.

use serde_json::json;

use crate::harness::plan::Plan;
use crate::shop::{Shop, code};

const HOUR_MS: u64 = 3_600_000;

/// One attempt whose answer is lost.
const ONCE: &str = "return await pay('order-1', { amount: 25 }, { retry: { maxAttempts: 1 } });";

#[test]
fn past_the_retention_an_unknown_payment_needs_to_be_reconciled() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::lose_answer()]);
    assert_eq!(code(tab.try_run(ONCE, json!(null))), "unknown");
    tab.run_with("await sleepFor(args);", json!(23 * HOUR_MS - 60_000));
    shop.api().next([Plan::lose_answer()]);
    assert_eq!(
        code(tab.try_run(ONCE, json!(null))),
        "unknown",
        "one minute before"
    );
    tab.run("await sleepFor(61_000);");
    for _ in 0..2 {
        assert_eq!(code(tab.try_run(ONCE, json!(null))), "needs-reconcile");
        let resume = "return await resume('order-1');";
        assert_eq!(code(tab.try_run(resume, json!(null))), "needs-reconcile");
    }
    let edited = "return await pay('order-1', 'other', { onChanged: 'new-intent' });";
    assert_eq!(code(tab.try_run(edited, json!(null))), "needs-reconcile");
    assert_eq!(
        shop.api().requests().len(),
        2,
        "nothing was sent, and no new key was made"
    );
    assert_eq!(
        tab.run("return (await client.pending())[0].key;"),
        shop.api().keys()[0].as_str()
    );
}

#[test]
fn a_payment_that_was_never_sent_is_not_too_old() {
    let shop = Shop::open();
    let tab = shop.tab();
    let unsent = tab.try_run(
        "return await client.submit('pay:order-1', { amount: 25 }, async () => {\n\
           throw new lib.NotSent('no network');\n\
         }, { retry: { maxAttempts: 1 } });",
        json!(null),
    );
    assert!(unsent.is_err());
    let key = tab.run("return (await client.pending())[0].key;");
    tab.run_with("await sleepFor(args);", json!(30 * HOUR_MS));
    let paid = tab.run(ONCE);
    assert_eq!((&paid["status"], &paid["key"]), (&json!("done"), &key));
}

#[test]
fn a_laptop_that_slept_between_two_attempts_sends_nothing_more() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api()
        .next([Plan::problem(503, "busy").header("Retry-After", "1")]);
    tab.start("paying", "return pay('order-1');");
    shop.api().wait_for(1);
    // While the client waits for its second attempt, 30 hours pass.
    tab.run_with(
        "await until(() => events.some((event) => event.name === 'retry'));\n\
         await sleepFor(args);",
        json!(30 * HOUR_MS),
    );
    assert_eq!(code(tab.finish("paying")), "needs-reconcile");
    assert_eq!(shop.api().requests().len(), 1);
}

#[test]
fn a_shorter_retention_counts_from_the_first_send() {
    let shop = Shop::open();
    let tab = shop.tab_with(&json!({"retentionMs": HOUR_MS}));
    shop.api().next([Plan::lose_answer(), Plan::lose_answer()]);
    assert_eq!(code(tab.try_run(ONCE, json!(null))), "unknown");
    tab.run_with("await sleepFor(args);", json!(HOUR_MS - 60_000));
    assert_eq!(code(tab.try_run(ONCE, json!(null))), "unknown");
    tab.run("await sleepFor(61_000);");
    assert_eq!(code(tab.try_run(ONCE, json!(null))), "needs-reconcile");
}

#[test]
fn a_waiter_whose_value_is_gone_is_told_and_a_later_caller_pays_again() {
    let shop = Shop::open();
    let tab = shop.tab();
    let too_large = "x".repeat(70_000);
    shop.api()
        .next([Plan::refuse(200, &format!("{{\"text\":\"{too_large}\"}}"))]);
    let paid = tab.run("return (await pay('order-1')).value.text.length;");
    assert_eq!(
        paid, 70_000,
        "an outcome that cannot be stored is still a success"
    );
    let other = shop.another_tab();
    let late = other.try_run("return await pay('order-1');", json!(null));
    assert_eq!(code(late), "outcome-lost");
    other.run("await sleepFor(11_000);");
    assert_eq!(other.run("return (await pay('order-1')).status;"), "done");
    assert_eq!(shop.api().keys().len(), 2);
}

#[test]
fn values_are_kept_for_ten_minutes_and_then_leave_a_tombstone_which_is_swept_too() {
    let shop = Shop::open();
    let tab = shop.tab();
    tab.run("await pay('order-1', { amount: 25 });");
    let visit_when = |swept: &str| {
        // A sweep comes with each opening and now and then with other work.
        tab.reload();
        tab.run(&format!("await opened; await until(async () => {swept});"));
    };
    tab.run("await sleepFor(9 * 60_000);");
    visit_when("(await records())[0].value");
    tab.run("await sleepFor(60_000 + 1);");
    visit_when("!('value' in (await records())[0])");
    let left = tab.run("return await records();");
    assert_eq!(
        (&left[0]["state"], &left[0]["key"]),
        (&json!("succeeded"), &json!(key(&shop)))
    );
    tab.run_with("await sleepFor(args);", json!(23 * HOUR_MS));
    visit_when("(await records()).length === 0");
}

#[test]
fn a_sweep_takes_a_few_at_a_time_and_comes_again() {
    let shop = Shop::open();
    let tab = shop.tab();
    tab.run(
        "await pay('order-1');\n\
         const open = await database();\n\
         const [record] = await records();\n\
         const past = { expiresAt: 1_600_000_000_000, dueAt: 1_600_000_000_000 };\n\
         const write = open.transaction('intents', 'readwrite');\n\
         for (let number = 1; number <= 1_000; number += 1) {\n\
           write.objectStore('intents').put({ ...record, ...past, operation: `old-${number}` },\n\
             [0, `old-${number}`, -1]);\n\
         }\n\
         await new Promise((resolve) => { write.oncomplete = resolve; });\n\
         open.close();",
    );
    let mut left = 1_001;
    while left > 1 {
        tab.reload();
        let now_left = tab.run_with(
            "await opened;\n\
             return await until(async () => {\n\
               const { length } = await records();\n\
               return length < args && length;\n\
             });",
            json!(left),
        );
        let now_left = now_left.as_u64().expect("a count");
        assert!(now_left < left);
        left = now_left;
    }
}

fn key(shop: &Shop) -> String {
    shop.api().keys().remove(0)
}

#[test]
fn the_sweep_never_takes_what_is_unresolved() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::lose_answer()]);
    assert_eq!(code(tab.try_run(ONCE, json!(null))), "unknown");
    tab.run_with("await sleepFor(args);", json!(1_000 * HOUR_MS));
    tab.run("for (let order = 0; order < 10; order += 1) await pay(`other-${order}`);");
    tab.reload();
    let pending = tab.run("await opened; return await client.pending();");
    assert_eq!(pending[0]["operation"], "pay:order-1");
    assert_eq!(code(tab.try_run(ONCE, json!(null))), "needs-reconcile");
}
