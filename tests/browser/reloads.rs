//! Page lives that end in the middle: the next one sends the same key and the same bytes.

use serde_json::{Value, json};

use crate::harness::api::Seen;
use crate::harness::browser::profile;
use crate::harness::plan::Plan;
use crate::shop::{Shop, code};

/// The same key and the same body, sent by different page lives.
fn assert_same_again(requests: &[Seen]) {
    let (first, later) = requests.split_first().expect("something was sent");
    assert!(!later.is_empty(), "it was sent again");
    assert!(!first.key.is_empty());
    for seen in later {
        assert_eq!(seen.key, first.key);
        assert_eq!(seen.request.body, first.request.body);
        assert_ne!(seen.page(), first.page());
    }
}

#[test]
fn a_reload_in_the_middle_sends_the_same_key_and_payload_again() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::hang()]);
    tab.start(
        "paying",
        "return pay('order-1', { amount: 25, note: 'gr\\u00fcn' });",
    );
    shop.api().wait_for(1);
    tab.reload();
    let pending = tab.run("await opened; return await client.pending();");
    assert_eq!(pending[0]["operation"], "pay:order-1");
    assert_eq!(pending[0]["hasPayload"], true);
    assert_eq!(pending[0]["attempts"], 1);
    let resumed = tab.run("return await resume('order-1');");
    assert_eq!(resumed["status"], "done");
    assert_eq!(resumed["value"]["receipt"], 1);
    assert_same_again(&shop.api().requests());
    assert_eq!(shop.api().charges(), 1);
    assert_eq!(tab.run("return await client.pending();"), json!([]));
}

#[test]
fn a_person_who_pays_again_after_a_reload_pays_once() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::lose_answer().held("bank")]);
    tab.start("paying", "return pay('order-1');");
    shop.api().wait_for(1);
    tab.reload();
    shop.api().open("bank");
    tab.run("await opened;");
    tab.run("return await pay('order-1');");
    assert_same_again(&shop.api().requests());
    assert_eq!(shop.api().charges(), 1);
}

#[test]
fn an_answer_that_came_before_the_reload_is_still_there_after_it() {
    let shop = Shop::open();
    let tab = shop.tab();
    tab.run("await pay('order-1', { amount: 25 });");
    tab.reload();
    let resumed = tab.run("await opened; return await resume('order-1');");
    assert_eq!(resumed["status"], "joined");
    assert_eq!(resumed["value"]["receipt"], 1);
    assert_eq!(shop.api().requests().len(), 1);
}

#[test]
fn resume_never_creates_a_key() {
    let shop = Shop::open();
    let tab = shop.tab();
    assert_eq!(tab.run("return await resume('order-1');"), Value::Null);
    assert_eq!(tab.run("return await records();"), json!([]));
    assert_eq!(shop.api().requests().len(), 0);
}

#[test]
fn a_crashed_tab_leaves_its_payment_to_another_one() {
    let shop = Shop::open();
    let tab = shop.tab();
    let other = shop.another_tab();
    shop.api().next([Plan::lose_answer().held("bank")]);
    tab.start("paying", "return pay('order-1');");
    shop.api().wait_for(1);
    other.start("paying", "return pay('order-1');");
    tab.crash();
    let paid = other.finish("paying").expect("it takes over");
    assert_eq!(paid["value"]["key"], shop.api().keys()[0].as_str());
    assert_same_again(&shop.api().requests());
    assert_eq!(shop.api().charges(), 1);
}

#[test]
fn a_killed_browser_finds_the_key_when_it_is_started_again() {
    let folder = profile();
    let shop = Shop::open_in(folder.path());
    let tab = shop.tab();
    shop.api().next([Plan::hang()]);
    tab.start("paying", "return pay('order-1', { amount: 25 });");
    shop.api().wait_for(1);
    let shop = shop.restart_browser(folder.path());
    let tab = shop.tab();
    let resumed = tab.run("return await resume('order-1');");
    assert_eq!(resumed["value"]["receipt"], 1);
    assert_same_again(&shop.api().requests());
    assert_eq!(shop.api().charges(), 1);
}

#[test]
fn without_a_stored_payload_a_resume_asks_for_it_and_a_submit_brings_it() {
    let shop = Shop::open();
    let options = json!({"persist": "fingerprint"});
    let tab = shop.tab_with(&options);
    shop.api().next([Plan::hang()]);
    tab.start("paying", "return pay('order-1', { card: 'secret-4242' });");
    shop.api().wait_for(1);
    tab.reload();
    tab.run("await opened;");
    assert_eq!(
        tab.run("return (await client.pending())[0].hasPayload;"),
        false
    );
    let stored = tab
        .run("return JSON.stringify(await records());")
        .to_string();
    assert!(!stored.contains("4242"), "{stored}");
    assert_eq!(
        code(tab.try_run("return await resume('order-1');", json!(null))),
        "payload-needed"
    );
    tab.run("await pay('order-1', { card: 'secret-4242' });");
    assert_same_again(&shop.api().requests());
}

#[test]
fn a_payload_is_stored_up_to_its_limit() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().otherwise(Plan::hang());
    for (order, length, is_stored) in [("small", 60_000, true), ("large", 70_000, false)] {
        let script = format!(
            "const controller = new AbortController();\n\
             const paying = ended(pay('{order}', {{ text: 'x'.repeat({length}) }},\n\
               {{ signal: controller.signal }}));\n\
             await until(async () => (await client.pending())\n\
               .some((one) => one.operation === 'pay:{order}' && one.attempts === 1));\n\
             controller.abort();\n\
             await paying;\n\
             return (await client.pending()).find((one) => one.operation === 'pay:{order}');"
        );
        assert_eq!(tab.run(&script)["hasPayload"], is_stored, "{order}");
    }
}

#[test]
fn a_payload_of_dates_bytes_and_big_numbers_is_the_same_after_a_reload() {
    let shop = Shop::open();
    let tab = shop.tab();
    let payload = "({ at: new Date(5), big: 2n ** 70n, bytes: new Uint8Array([1, 2, 3]),\n\
                      file: new File(['abc'], 'a.txt', { type: 'text/plain' }) })";
    let send = "async (attempt) => {\n\
          const { at, big, bytes, file } = attempt.payload;\n\
          const text = [at.getTime(), big, bytes, file.name, await file.text()].join();\n\
          return send({ ...attempt, payload: text });\n\
        }";
    shop.api().next([Plan::hang()]);
    let paying = format!("return client.submit('pay:order-1', {payload}, {send});");
    tab.start("paying", &paying);
    shop.api().wait_for(1);
    tab.reload();
    tab.run(&format!(
        "await opened; await client.resume('pay:order-1', {send});"
    ));
    let requests = shop.api().requests();
    assert_same_again(&requests);
    assert_eq!(
        requests[0].request.text(),
        "\"5,1180591620717411303424,1,2,3,a.txt,abc\""
    );
    tab.run("await client.acknowledge('pay:order-1', attempts[0].key);");
}

#[test]
fn a_payment_edited_while_the_first_is_unresolved_is_refused_until_that_is_given_up() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::lose_answer()]);
    let once = "return await pay('order-1', { amount: 25 }, { retry: { maxAttempts: 1 } });";
    assert_eq!(code(tab.try_run(once, json!(null))), "unknown");
    let edited = "return await pay('order-1', { amount: 26 });";
    assert_eq!(code(tab.try_run(edited, json!(null))), "unresolved");
    tab.reload();
    tab.run("await opened;");
    assert_eq!(code(tab.try_run(edited, json!(null))), "unresolved");
    let key = &shop.api().keys()[0];
    let abandon = "return await client.abandon('pay:order-1', args);";
    assert_eq!(tab.run_with(abandon, json!("another-key")), false);
    assert_eq!(tab.run_with(abandon, json!(key)), true);
    assert_eq!(tab.run(edited)["status"], "done");
    assert_eq!(shop.api().keys().len(), 2);
}

#[test]
fn on_request_an_unresolved_payment_is_replaced_by_an_edited_one() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api()
        .next([Plan::lose_answer(), Plan::pay().held("bank")]);
    let once = "return await pay('order-1', { amount: 25 }, { retry: { maxAttempts: 1 } });";
    assert_eq!(code(tab.try_run(once, json!(null))), "unknown");
    let edited = "pay('order-1', { amount: args }, { onChanged: 'new-intent' })";
    tab.start(
        "edited",
        &edited.replace("args", "26").replace("pay(", "return pay("),
    );
    shop.api().wait_for(2);
    // While an attempt runs, nothing is given up.
    let third = tab.try_run(&format!("return await {edited};"), json!(27));
    assert_eq!(code(third), "unresolved");
    shop.api().open("bank");
    assert_eq!(tab.finish("edited").expect("it is paid")["status"], "done");
    assert_eq!(shop.api().keys().len(), 2);
}
