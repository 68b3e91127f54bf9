//! One page: clicks that come twice, and callers that share an attempt.

use serde_json::{Value, json};

use crate::harness::plan::Plan;
use crate::shop::{Shop, code, each};

/// Clicks, waits for all results, and gives them.
fn results(tab: &crate::harness::browser::Tab<'_>, count: usize) -> Vec<Value> {
    let script = "await until(() => results.length >= args); return results;";
    let results = tab.run_with(script, json!(count));
    assert_eq!(results.as_array().map(Vec::len), Some(count));
    each(&results, "ok")
}

#[test]
fn a_triple_click_sends_once_and_every_caller_gets_the_receipt() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::pay().held("bank")]);
    tab.click("#pay", 3);
    shop.api().wait_for(1);
    shop.api().open("bank");
    let results = results(&tab, 3);
    assert!(
        results.iter().all(|result| result["value"]["receipt"] == 1),
        "{results:?}"
    );
    assert!(
        results
            .iter()
            .all(|result| result["key"] == results[0]["key"])
    );
    let done = results.iter().filter(|result| result["status"] == "done");
    assert_eq!(done.count(), 1, "one caller sent it: {results:?}");
    assert_eq!((shop.api().requests().len(), shop.api().charges()), (1, 1));
}

#[test]
fn a_double_click_sends_once_and_both_callers_get_the_same_result() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::pay().after_ms(30)]);
    tab.click("#pay", 2);
    let results = results(&tab, 2);
    assert_eq!(results[0]["value"], results[1]["value"]);
    assert_eq!(results[0]["key"], results[1]["key"]);
    assert_eq!(shop.api().requests().len(), 1);
}

#[test]
fn the_late_half_of_a_double_click_joins_a_success_that_came_in_between() {
    let shop = Shop::open();
    let tab = shop.tab();
    tab.click("#pay", 1);
    let first = results(&tab, 1);
    tab.click("#pay", 1);
    let both = results(&tab, 2);
    assert_eq!(first[0]["status"], "done");
    assert_eq!(both[1]["status"], "joined");
    assert_eq!(both[1]["value"], first[0]["value"]);
    assert_eq!(shop.api().requests().len(), 1);
}

#[test]
fn the_late_half_of_a_double_click_after_a_reload_joins_too() {
    let shop = Shop::open();
    let tab = shop.tab();
    let first = tab.run("return await pay('order-1');");
    tab.reload();
    let second = tab.run("await opened; return await pay('order-1');");
    assert_eq!(second["status"], "joined");
    assert_eq!(second["value"], first["value"]);
    assert_eq!(second["http"], 200);
    assert_eq!(shop.api().requests().len(), 1);
}

#[test]
fn paying_twice_on_purpose_a_second_after_an_acknowledge_is_two_keys() {
    let shop = Shop::open();
    let tab = shop.tab();
    let twice = tab.run(
        "const first = await pay('order-1');\n\
         const isKnown = await client.acknowledge('pay:order-1', first.key);\n\
         await sleepFor(1_000);\n\
         const second = await pay('order-1');\n\
         return { first, isKnown, second };",
    );
    assert_eq!(twice["isKnown"], true);
    assert_ne!(twice["first"]["key"], twice["second"]["key"]);
    assert_eq!(twice["second"]["status"], "done");
    assert_eq!((shop.api().keys().len(), shop.api().charges()), (2, 2));
}

/// What a page does at a click that leaves its button there.
const PAY_AND_ACKNOWLEDGE: &str = "window.clicked = [];\n\
    document.querySelector('#pay').replaceWith(document.createElement('button'));\n\
    window.button = document.querySelector('button');\n\
    button.onclick = () => clicked.push((async () => {\n\
      const outcome = await pay(order);\n\
      document.querySelector('#receipt').textContent = outcome.value.receipt;\n\
      await client.acknowledge(`pay:${order}`, outcome.key);\n\
      return outcome.status;\n\
    })());";

/// Twice, so many milliseconds apart.
const CLICK_TWICE: &str = "window.order = `order-${args}`; window.clicked.length = 0;\n\
    button.click();\n\
    await new Promise((resolve) => setTimeout(resolve, args));\n\
    button.click();\n\
    return await Promise.all(clicked);";

#[test]
fn a_double_click_at_human_gaps_pays_once_though_its_receipt_is_acknowledged_at_once() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().otherwise(Plan::pay().after_ms(10));
    tab.run(PAY_AND_ACKNOWLEDGE);
    for (number, gap) in [60, 120, 250, 450].into_iter().enumerate() {
        let statuses = tab.run_with(CLICK_TWICE, json!(gap));
        assert_eq!(statuses, json!(["done", "joined"]), "{gap} ms apart");
        assert_eq!(shop.api().requests().len(), number + 1, "{gap} ms apart");
    }
    // An impatient person never stops for a second.
    let impatient = "window.order = 'impatient'; window.clicked.length = 0;\n\
        for (let count = 0; count < 6; count += 1) {\n\
          button.click();\n\
          await new Promise((resolve) => setTimeout(resolve, 250));\n\
        }\n\
        return await Promise.all(clicked);";
    let statuses = tab.run(impatient);
    assert_eq!(statuses[5], "joined", "{statuses}");
    assert_eq!((shop.api().keys().len(), shop.api().charges()), (5, 5));
}

#[test]
fn an_acknowledgement_spares_presses_in_another_tab_and_after_a_reload() {
    let shop = Shop::open();
    let (tab, other) = (shop.tab(), shop.another_tab());
    shop.api().next([Plan::lose_answer()]);
    let once = "return await pay('order-1', 1, { retry: { maxAttempts: 1 } });";
    assert_eq!(code(tab.try_run(once, json!(null))), "unknown");
    tab.reload();
    // The outcome came a while ago, and its receipt appears only now.
    tab.run(
        "await opened; const { key } = await resume('order-1'); await sleepFor(5_000);\n\
         if (!await client.acknowledge('pay:order-1', key)) throw new Error('it is unknown');",
    );
    let times = tab.run("const [one] = await records(); return one.deliveredAt - one.settledAt;");
    assert!(times.as_f64() >= Some(5_000.0), "{times}");
    // However long this machine took, the receipt appears now.
    let press = "await rewrite((record) => ({ ...record, deliveredAt: Date.now() }));\n\
        return (await pay('order-1', 1)).status;";
    assert_eq!(other.run(press), "joined");
    tab.reload();
    tab.run("await opened;");
    assert_eq!(tab.run("return await resume('order-1');"), json!(null));
    assert_eq!(tab.run(press), "joined");
    assert_eq!(shop.api().charges(), 1);
}

#[test]
fn after_the_joining_time_an_equal_payment_is_a_new_intent() {
    let shop = Shop::open();
    let tab = shop.tab();
    tab.run("await pay('order-1');");
    tab.run("await sleepFor(9_000);");
    assert_eq!(tab.run("return (await pay('order-1')).status;"), "joined");
    tab.run("await sleepFor(1_500);");
    assert_eq!(tab.run("return (await pay('order-1')).status;"), "done");
    assert_eq!(shop.api().charges(), 2);
}

#[test]
fn the_key_is_in_the_database_before_the_first_byte_is_sent() {
    let shop = Shop::open();
    let tab = shop.tab();
    let seen = tab.run(
        "let seen;\n\
         await client.submit('pay:order-1', { amount: 25 }, async (attempt) => {\n\
           seen = { key: attempt.key, records: await records() };\n\
           return sendForReceipt(attempt);\n\
         });\n\
         return seen;",
    );
    let records = &seen["records"];
    assert_eq!(records.as_array().map(Vec::len), Some(1));
    assert_eq!(records[0]["key"], seen["key"]);
    assert_eq!(records[0]["state"], "claimed");
    assert_eq!(records[0]["payload"]["value"], json!({"amount": 25}));
    assert!(records[0]["firstSentAt"].is_number(), "{records}");
}

#[test]
fn the_claim_is_written_with_strict_durability() {
    let shop = Shop::open();
    let tab = shop.blank_tab();
    tab.before_load(
        "window.durabilities = [];\n\
         const begin = IDBDatabase.prototype.transaction;\n\
         IDBDatabase.prototype.transaction = function (...all) {\n\
           const transaction = begin.apply(this, all);\n\
           if (transaction.mode === 'readwrite') durabilities.push(transaction.durability);\n\
           return transaction;\n\
         };",
    );
    shop.visit(&tab, &json!({}));
    let at_send = tab.run(
        "let atSend;\n\
         await client.submit('pay:order-1', 1, (attempt) => {\n\
           atSend = [...durabilities]; return sendForReceipt(attempt);\n\
         });\n\
         return atSend;",
    );
    let at_send = at_send.as_array().expect("a list");
    assert!(at_send.contains(&json!("strict")), "{at_send:?}");
}

#[test]
fn the_same_page_refuses_another_payload_while_an_attempt_runs() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::pay().held("bank")]);
    tab.start("first", "return pay('order-1', { amount: 25 });");
    shop.api().wait_for(1);
    let other = tab.try_run("return await pay('order-1', { amount: 26 });", json!(null));
    assert_eq!(code(other), "unresolved");
    let busy = "return await pay('order-1', { amount: 25 }, { ifBusy: 'refuse' });";
    assert_eq!(code(tab.try_run(busy, json!(null))), "in-progress");
    shop.api().open("bank");
    assert_eq!(tab.finish("first").expect("it is paid")["status"], "done");
    assert_eq!(shop.api().requests().len(), 1);
}

#[test]
fn a_response_that_two_callers_get_can_be_read_by_both() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::pay().held("bank")]);
    tab.start(
        "both",
        "const outcomes = await Promise.all([1, 2].map(() =>\n\
           client.submit('pay:order-1', 1, send)));\n\
         const texts = await Promise.all(outcomes.map((outcome) => outcome.value.text()));\n\
         const types = outcomes.map((outcome) => outcome.value.headers.get('content-type'));\n\
         return { texts, types, same: outcomes[0].value === outcomes[1].value };",
    );
    shop.api().wait_for(1);
    shop.api().open("bank");
    let both = tab.finish("both").expect("both are answered");
    assert_eq!(both["texts"][0], both["texts"][1]);
    assert_eq!(
        both["types"],
        json!(["application/json", "application/json"])
    );
    assert_eq!(both["same"], false);
}

#[test]
fn a_caller_that_gives_up_does_not_take_the_attempt_from_the_others() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::pay().held("bank")]);
    tab.start(
        "both",
        "const controller = new AbortController();\n\
         window.giveUp = () => controller.abort();\n\
         const leaving = ended(pay('order-1', 1, { signal: controller.signal }));\n\
         const staying = ended(pay('order-1', 1));\n\
         return { leaving: await leaving, staying: await staying };",
    );
    shop.api().wait_for(1);
    tab.run("giveUp();");
    shop.api().open("bank");
    let both = tab.finish("both").expect("both end");
    assert_eq!(both["leaving"]["thrown"]["code"], "aborted");
    assert_eq!(both["staying"]["ok"]["value"]["receipt"], 1);
    assert_eq!(shop.api().requests().len(), 1);
}

#[test]
fn an_attempt_that_nobody_listens_to_is_aborted_and_unknown() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::hang()]);
    tab.start(
        "only",
        "const controller = new AbortController();\n\
         window.giveUp = () => controller.abort();\n\
         let aborted = false;\n\
         const result = await ended(client.submit('pay:order-1', 1, (attempt) => {\n\
           attempt.signal.addEventListener('abort', () => { aborted = true; });\n\
           return send(attempt);\n\
         }, { signal: controller.signal }));\n\
         await until(() => aborted);\n\
         return result;",
    );
    shop.api().wait_for(1);
    tab.run("giveUp();");
    let only = tab.finish("only").expect("it ends");
    assert_eq!(only["thrown"]["code"], "aborted");
    let again = tab.run("return await pay('order-1', 1);");
    assert_eq!(
        again["value"]["receipt"], 1,
        "the same key finds what happened"
    );
    assert_eq!((shop.api().keys().len(), shop.api().charges()), (1, 1));
}
