//! A form and a client that is not there yet, or never comes.

use serde_json::json;

use crate::harness::browser::Tab;
use crate::harness::plan::Plan;
use crate::shop::{Shop, code, refusal};

/// The form page, guarded for a client that opens when the test says so.
fn held<'b>(shop: &'b Shop, options: &str) -> Tab<'b> {
    let tab = shop.blank_tab();
    tab.load(&shop.server.url("/pages/form.html"));
    tab.run(&format!(
        "await opened;\n\
         const late = new Promise((resolve) => {{ window.openNow = resolve; }});\n\
         const opening = late.then(() => lib.IdempotencyClient.open());\n\
         window.release = lib.guardForm(opening, form, guardOptions({options}));"
    ));
    tab
}

/// The form page under a policy that forbids WebAssembly.
fn forbidden<'b>(shop: &'b Shop, options: &str) -> Tab<'b> {
    let policy = "default-src 'self'; script-src 'self'; style-src 'unsafe-inline'";
    let page = "/pages/form.html";
    shop.server
        .add_header(page, "Content-Security-Policy", policy);
    let tab = shop.blank_tab();
    tab.load(&shop.server.url(page));
    tab.run(&format!(
        "window.lib = await import('/pkg/index.js');\n\
         const opening = lib.IdempotencyClient.open();\n\
         window.release = lib.guardForm(opening, form, guardOptions({options}));"
    ));
    tab
}

#[test]
fn a_press_before_the_client_is_there_is_held_and_then_sent_once_as_it_was() {
    let shop = Shop::open();
    let tab = held(&shop, "");
    tab.click("#express", 2);
    let busy = tab.run("return look();");
    assert_eq!(busy["busy"], "true", "the press is seen");
    tab.run("form.elements.amount.value = '99'; openNow();");
    tab.run("await until(() => outcomes.length > 0 && form.ariaBusy !== 'true');");
    let requests = shop.api().requests();
    assert_eq!(requests.len(), 1, "not as a form without a key either");
    let body = requests[0].request.text();
    assert!(
        body.contains("amount=25") && body.contains("how=express"),
        "{body}"
    );
    assert_eq!(requests[0].key.len(), 36);
    assert_eq!(tab.run("return [outcomes.length, errors];"), json!([1, []]));
}

#[test]
fn a_classic_form_that_is_pressed_early_leaves_with_its_key() {
    let shop = Shop::open();
    let tab = held(&shop, "{ mode: 'native', send: undefined }");
    tab.click("#express", 1);
    assert_eq!(tab.run("return location.pathname;"), "/pages/form.html");
    assert_eq!(shop.api().requests().len(), 0);
    tab.survives(
        "openNow(); await new Promise((resolve) => addEventListener('pagehide', resolve));",
    );
    let body = shop.api().wait_for(1)[0].request.text();
    assert!(
        body.contains("_idempotency_key=") && body.contains("how=express"),
        "{body}"
    );
}

#[test]
fn a_held_press_counts_from_when_it_was_made() {
    let shop = Shop::open();
    let tab = held(&shop, "");
    // Another payment of the same comes and is acknowledged while the press waits.
    tab.click("#plain", 1);
    tab.run(
        "const asked = new FormData(form, document.querySelector('#plain'));\n\
         const outcome = await client.submit('checkout:17', asked, sendForm);\n\
         await client.acknowledge('checkout:17', outcome.key);\n\
         openNow(); await until(() => outcomes.length > 0);",
    );
    assert_eq!(tab.run("return outcomes[0].status;"), "joined");
    assert_eq!(shop.api().charges(), 1);
}

#[test]
fn where_the_client_cannot_start_the_form_stays_and_says_why() {
    let shop = Shop::open();
    let tab = forbidden(&shop, "");
    tab.click("#plain", 2);
    let said = tab.run(
        "await until(() => errors.length === 3 && form.ariaBusy !== 'true');\n\
         return [...form.querySelectorAll('[role=alert]')].map((alert) => alert.textContent);",
    );
    let said = said.as_array().expect("a list");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(said[0].to_string().contains("wasm-unsafe-eval"), "{said:?}");
    // Once on mount, and once for each press.
    let errors = tab.run("return errors;");
    for error in errors.as_array().expect("a list") {
        assert_eq!(refusal(error), "wasm-blocked");
    }
    assert_eq!(tab.run("return location.pathname;"), "/pages/form.html");
    assert_eq!(shop.api().requests().len(), 0);
    tab.run("release();");
    assert_eq!(
        tab.run("return form.querySelector('[role=alert]');"),
        json!(null)
    );
}

#[test]
fn a_page_may_say_itself_why_its_form_is_blocked() {
    let shop = Shop::open();
    let tab = forbidden(&shop, "{ ifUnavailable: 'block' }");
    tab.click("#plain", 1);
    tab.run("await until(() => errors.length === 2 && form.ariaBusy !== 'true');");
    assert_eq!(
        tab.run("return form.querySelector('[role=alert]');"),
        json!(null)
    );
    assert_eq!(shop.api().requests().len(), 0);
}

#[test]
fn a_page_may_choose_to_send_without_a_key_where_the_client_cannot_start() {
    let shop = Shop::open();
    let tab = forbidden(&shop, "{ ifUnavailable: 'send' }");
    shop.api().next([Plan::refuse(200, "{}").after_charging()]);
    tab.click("#express", 1);
    let seen = shop.api().wait_for(1).remove(0);
    let body = seen.request.text();
    assert_eq!(seen.key, "");
    assert!(
        body.contains("how=express") && !body.contains("_idempotency_key"),
        "{body}"
    );
}

#[test]
fn a_form_is_guarded_for_a_client_or_a_promise_of_one_and_nothing_else() {
    let shop = Shop::open();
    let tab = held(&shop, "");
    for wrong in ["form", "undefined", "{}"] {
        let call = format!("lib.guardForm({wrong}, form, guardOptions());");
        assert_eq!(code(tab.try_run(&call, json!(null))), "options", "{wrong}");
    }
    let unknown = "lib.guardForm(client, form, guardOptions({ ifUnavailable: 'perhaps' }));";
    assert_eq!(code(tab.try_run(unknown, json!(null))), "options");
}

#[test]
fn a_lazy_client_opens_at_its_first_use_and_once_more_after_it_failed() {
    let shop = Shop::open();
    let tab = shop.blank_tab();
    tab.load(&shop.server.url("/pages/form.html"));
    let opens = tab.run(
        "await opened;\n\
         let opens = 0;\n\
         const open = IDBFactory.prototype.open;\n\
         IDBFactory.prototype.open = function (...given) {\n\
           opens += 1;\n\
           if (opens === 1) throw new DOMException('full', 'QuotaExceededError');\n\
           return open.apply(this, given);\n\
         };\n\
         const lazy = lib.IdempotencyClient.lazy();\n\
         window.release = lib.guardForm(lazy, form, guardOptions());\n\
         const early = opens;\n\
         await until(() => errors.length === 1);\n\
         const alerts = () => form.querySelectorAll('[role=alert]').length;\n\
         const seen = [early, opens, errors[0].code, alerts()];\n\
         form.requestSubmit(); form.requestSubmit();\n\
         await until(() => outcomes.length === 1);\n\
         const [one, other] = [await lazy, await lazy];\n\
         return [...seen, opens, alerts(), one === other];",
    );
    assert_eq!(opens, json!([0, 1, "storage", 1, 2, 0, true]));
    assert_eq!(shop.api().requests().len(), 1);
}
