//! `WebKit`, the engine of Safari, in a private window: what it does differently.
//!
//! These tests are a step of their own (`cargo xtask test --only webkit`), since few machines have
//! the browser.

use serde_json::json;

use crate::harness::browser::Tab;
use crate::harness::plan::Plan;
use crate::shop::{Shop, code};

/// A form with a file field that the person leaves empty, guarded.
const FORM: &str = "document.body.innerHTML = `<form id=checkout><input name=amount value=25>\n\
      <input type=file name=slip><button>Pay</button></form>`;\n\
    window.form = document.querySelector('form');\n\
    window.outcomes = []; window.errors = [];\n\
    window.release = client.guardForm(form, {\n\
      operation: 'checkout:17',\n\
      send: ({ fetch, payload }) => fetch('/api/pay', { method: 'POST', body: payload }),\n\
      onOutcome: (outcome) => outcomes.push(outcome),\n\
      onError: (error) => errors.push(describe(error)),\n\
    });";

/// Loads the page anew. A command to reload comes back before the page is another one, and a page
/// counts as loaded before its modules have run.
fn visit(shop: &Shop, tab: &Tab<'_>) {
    tab.load(&shop.page(&json!({})));
    tab.run("while (!window.opened) await new Promise((go) => setTimeout(go)); await opened;");
}

fn press(tab: &Tab<'_>) {
    tab.run("document.querySelector('button').click();");
}

#[test]
fn a_form_with_an_empty_file_field_pays_under_one_key_over_a_reload() {
    let shop = Shop::open_for_webkit();
    let tab = shop.blank_tab();
    visit(&shop, &tab);
    assert_eq!(tab.run("return client.mode;"), "indexeddb");
    tab.run(FORM);
    shop.api().next([Plan::hang()]);
    press(&tab);
    let key = shop.api().wait_for(1)[0].key.clone();
    let stored = tab.run("return (await records()).map(({ key, payload }) => [key, payload]);");
    assert_eq!(
        stored,
        json!([[key, null]]),
        "the key is stored before it is sent"
    );
    visit(&shop, &tab);
    tab.run(FORM);
    // Nothing to send again is stored, so the form waits for its person.
    tab.run("await until(() => errors.length === 1);");
    assert_eq!(tab.run("return errors[0].code;"), "unresolved");
    press(&tab);
    tab.run("await until(() => outcomes.length === 1);");
    assert_eq!((shop.api().keys().len(), shop.api().charges()), (1, 1));
}

#[test]
fn a_payload_without_files_is_stored_and_sent_again_after_a_reload() {
    let shop = Shop::open_for_webkit();
    let tab = shop.blank_tab();
    visit(&shop, &tab);
    shop.api().next([Plan::hang()]);
    tab.start("paying", "return pay('order-1', { amount: 25 });");
    shop.api().wait_for(1);
    visit(&shop, &tab);
    let resumed = tab.run("return await resume('order-1');");
    assert_eq!(resumed["value"]["receipt"], 1);
    let requests = shop.api().requests();
    assert_eq!(requests[0].key, requests[1].key);
    assert_eq!(requests[0].request.body, requests[1].request.body);
    let declined = "const retry = { ...quick, maxAttempts: 2 };\n\
        return await client.submit('pay:order-2', 1, async ({ fetch }) => {\n\
          const response = await fetch('/api/pay', { method: 'POST' });\n\
          if (!response.ok) throw new Error(await response.text());\n\
          return response.json();\n\
        }, { retry });";
    shop.api().next([Plan::refuse(402, "declined")]);
    assert_eq!(code(tab.try_run(declined, json!(null))), "rejected");
}
