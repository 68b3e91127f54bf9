//! `guardForm`: a form that cannot be sent twice.

use serde_json::json;

use crate::harness::browser::Tab;
use crate::harness::plan::Plan;
use crate::shop::{Shop, code, refusal};

/// The form page, guarded.
fn guarded<'b>(shop: &'b Shop, options: &str) -> Tab<'b> {
    let tab = shop.blank_tab();
    tab.load(&shop.server.url("/pages/form.html"));
    tab.run(&format!(
        "await opened; window.release = await guard({options});"
    ));
    tab
}

fn bodies(shop: &Shop) -> Vec<String> {
    shop.api()
        .requests()
        .iter()
        .map(|seen| seen.request.text())
        .collect()
}

#[test]
fn a_double_click_on_a_guarded_form_sends_it_once_with_the_value_of_its_button() {
    let shop = Shop::open();
    let tab = guarded(&shop, "");
    shop.api().next([Plan::pay().held("bank")]);
    tab.click("#express", 2);
    shop.api().wait_for(1);
    let busy = tab.run("return look();");
    assert_eq!(busy["busy"], "true");
    for button in busy["disabled"].as_array().expect("two buttons") {
        assert_eq!(button, &json!({"aria": "true", "real": false}), "{busy}");
    }
    assert_eq!(
        tab.run("return document.activeElement.id;"),
        "express",
        "the focus stays"
    );
    shop.api().open("bank");
    tab.run("await until(() => outcomes.length > 0 && form.ariaBusy !== 'true');");
    let after = tab.run("return look();");
    assert_ne!(after["busy"], "true");
    for button in after["disabled"].as_array().expect("two buttons") {
        assert_ne!(button["aria"], "true", "{after}");
    }
    let body = bodies(&shop).remove(0);
    assert!(
        body.contains("how=express") && body.contains("amount=25"),
        "{body}"
    );
    assert_eq!(shop.api().requests().len(), 1);
    assert_eq!(tab.run("return outcomes[0].value.receipt;"), 1);
}

#[test]
fn an_outcome_comes_once_however_often_the_form_is_pressed() {
    let shop = Shop::open();
    let tab = guarded(&shop, "");
    shop.api().next([Plan::pay().held("bank")]);
    tab.click("#plain", 2);
    shop.api().wait_for(1);
    shop.api().open("bank");
    tab.run("await until(() => outcomes.length > 0 && form.ariaBusy !== 'true');");
    tab.click("#plain", 1);
    tab.run("await client.pending(); await until(() => form.ariaBusy !== 'true');");
    assert_eq!(tab.run("return [outcomes.length, errors];"), json!([1, []]));
    assert_eq!(shop.api().requests().len(), 1);
}

#[test]
fn a_double_click_on_a_form_that_acknowledges_its_outcome_sends_it_once() {
    let shop = Shop::open();
    shop.api().otherwise(Plan::pay().after_ms(10));
    for (number, gap) in [60, 120, 250, 450].into_iter().enumerate() {
        let options = format!(
            "{{ operation: 'checkout:{gap}', onOutcome: async (outcome) => {{\n\
               await client.acknowledge('checkout:{gap}', outcome.key);\n\
               outcomes.push(outcome);\n\
             }} }}"
        );
        let tab = guarded(&shop, &options);
        let twice = "document.querySelector('#plain').click();\n\
            await new Promise((resolve) => setTimeout(resolve, args));\n\
            document.querySelector('#plain').click();\n\
            await until(() => outcomes.length > 0 && form.ariaBusy !== 'true');";
        tab.run_with(twice, json!(gap));
        assert_eq!(shop.api().requests().len(), number + 1, "{gap} ms apart");
    }
}

#[test]
fn the_form_is_read_once_before_anything_changes() {
    let shop = Shop::open();
    let tab = guarded(&shop, "");
    shop.api().next([Plan::lose_request().held("bank")]);
    tab.click("#plain", 1);
    shop.api().wait_for(1);
    tab.run("form.elements.amount.value = '99';");
    shop.api().open("bank");
    shop.api().wait_for(2);
    let bodies = bodies(&shop);
    assert_eq!(bodies[0], bodies[1]);
    assert!(bodies[1].contains("amount=25"), "{}", bodies[1]);
    assert_eq!(shop.api().keys().len(), 1);
}

#[test]
fn a_rejection_and_an_unknown_outcome_reach_on_error() {
    let shop = Shop::open();
    let tab = guarded(&shop, "");
    shop.api().next([Plan::problem(422, "invalid")]);
    tab.click("#plain", 1);
    tab.run("await until(() => errors.length === 1);");
    assert_eq!(refusal(&tab.run("return errors[0];")), "rejected");
    assert_ne!(tab.run("return look();")["busy"], "true");
    shop.api().next([Plan::problem(409, "interrupted")]);
    tab.click("#plain", 1);
    tab.run("await until(() => errors.length === 2);");
    assert_eq!(refusal(&tab.run("return errors[1];")), "needs-reconcile");
    assert_ne!(tab.run("return look();")["busy"], "true");
}

#[test]
fn an_event_that_is_default_prevented_already_is_left_alone() {
    let shop = Shop::open();
    let tab = shop.blank_tab();
    tab.load(&shop.server.url("/pages/form.html"));
    tab.run(
        "await opened;\n\
         form.addEventListener('submit', (event) => event.preventDefault());\n\
         await guard();",
    );
    tab.click("#plain", 1);
    tab.run("await client.pending();");
    assert_eq!(tab.run("return await records();"), json!([]));
    assert_eq!(shop.api().requests().len(), 0);
}

#[test]
fn forms_that_cannot_be_guarded_are_refused_at_attach() {
    let shop = Shop::open();
    let tab = shop.blank_tab();
    tab.load(&shop.server.url("/pages/form.html"));
    tab.run("await opened;");
    for change in [
        "form.querySelector('#plain').setAttribute('formaction', '/elsewhere')",
        "form.querySelector('#plain').setAttribute('formmethod', 'get')",
        "form.setAttribute('method', 'dialog')",
    ] {
        let script = format!(
            "const whole = form.outerHTML;\n\
             {change};\n\
             try {{ await guard(); }} finally {{\n\
               form.outerHTML = whole; window.form = document.querySelector('#checkout');\n\
             }}"
        );
        assert_eq!(
            code(tab.try_run(&script, json!(null))),
            "options",
            "{change}"
        );
    }
    for call in ["{ operation: '' }", "{ send: 7 }", "{ mode: 'magic' }"] {
        let refused = tab.try_run(&format!("await guard({call});"), json!(null));
        let code = code(refused);
        assert!(
            ["options", "operation"].contains(&code.as_str()),
            "{call}: {code}"
        );
    }
    let not_a_form = "client.guardForm(document.body, { operation: 'x', send: sendForm });";
    assert_eq!(code(tab.try_run(not_a_form, json!(null))), "options");
}

#[test]
fn card_numbers_and_passwords_are_sent_but_never_stored() {
    let shop = Shop::open();
    let tab = guarded(&shop, "");
    shop.api().next([Plan::hang()]);
    tab.click("#plain", 1);
    shop.api().wait_for(1);
    let body = bodies(&shop).remove(0);
    assert!(
        body.contains("4242424242424242") && body.contains("hunter2"),
        "{body}"
    );
    let stored = tab.run(
        "const parts = (await records()).map((one) => JSON.stringify(one, (_, value) =>\n\
           value instanceof FormData ? [...value] : value));\n\
         return parts.join();",
    );
    let stored = stored.as_str().expect("text");
    assert!(stored.contains("checkout:17"), "{stored}");
    assert!(
        !stored.contains("4242") && !stored.contains("hunter2"),
        "{stored}"
    );
}

#[test]
fn passwords_that_belong_to_the_form_from_outside_of_it_are_never_stored() {
    let shop = Shop::open();
    let tab = shop.blank_tab();
    storable_page(
        &shop,
        &tab,
        "(document.body.insertAdjacentHTML('beforeend',\n\
           `<input form=checkout type=password name=pin value=hunter3>`), {})",
    );
    shop.api().next([Plan::hang()]);
    tab.click("#plain", 1);
    shop.api().wait_for(1);
    assert!(bodies(&shop)[0].contains("hunter3"));
    assert_eq!(
        tab.run("return (await client.pending())[0].hasPayload;"),
        false
    );
}

#[test]
fn a_form_that_is_reloaded_before_its_receipt_was_shown_still_gets_it() {
    let shop = Shop::open();
    let tab = shop.blank_tab();
    storable_page(&shop, &tab, "{ onOutcome: () => {} }");
    tab.click("#plain", 1);
    shop.api().wait_for(1);
    tab.run("await until(async () => (await records())[0].state === 'succeeded');");
    storable_page(&shop, &tab, "");
    tab.run("await until(() => outcomes.length === 1 || errors.length);");
    assert_eq!(tab.run("return outcomes[0].value.receipt;"), 1);
    assert_eq!(shop.api().requests().len(), 1);
}

#[test]
fn excluded_fields_are_no_part_of_what_is_compared() {
    let shop = Shop::open();
    let tab = guarded(&shop, "{ exclude: ['note'] }");
    shop.api().next([Plan::problem(409, "interrupted")]);
    tab.click("#plain", 1);
    tab.run("await until(() => errors.length === 1);");
    // A token that changes with each page is the same payment; another amount is another.
    tab.run("form.elements.note.value = 'another token';");
    tab.click("#plain", 1);
    tab.run("await until(() => outcomes.length === 1);");
    assert_eq!(shop.api().keys().len(), 1);
    let shop = Shop::open();
    let tab = guarded(&shop, "{ exclude: ['note'] }");
    shop.api().next([Plan::problem(409, "interrupted")]);
    tab.click("#plain", 1);
    tab.run("await until(() => errors.length === 1); form.elements.amount.value = '26';");
    tab.click("#plain", 1);
    tab.run("await until(() => errors.length === 2);");
    assert_eq!(refusal(&tab.run("return errors[1];")), "unresolved");
}

#[test]
fn a_released_form_is_an_ordinary_form_again() {
    let shop = Shop::open();
    let tab = guarded(&shop, "");
    tab.run(
        "release(); form.addEventListener('submit', (event) => {\n\
             window.wasFree = !event.defaultPrevented; event.preventDefault(); });",
    );
    tab.click("#plain", 1);
    assert_eq!(tab.run("return wasFree;"), true);
    assert_eq!(shop.api().requests().len(), 0);
}

/// The form page without card and password, which could not be sent again from the store.
fn storable_page(shop: &Shop, tab: &Tab<'_>, options: &str) {
    tab.load(&shop.server.url("/pages/form.html"));
    tab.run(&format!(
        "await opened;\n\
         for (const name of ['card', 'secret']) form.elements[name].remove();\n\
         window.release = await guard({options});"
    ));
}

#[test]
fn a_reloaded_form_resumes_within_five_minutes_and_waits_for_the_user_later() {
    let shop = Shop::open();
    let tab = shop.blank_tab();
    storable_page(&shop, &tab, "");
    shop.api().next([Plan::hang()]);
    tab.click("#express", 1);
    shop.api().wait_for(1);
    storable_page(&shop, &tab, "");
    tab.run("await until(() => outcomes.length === 1);");
    let requests = shop.api().requests();
    assert_eq!(requests.len(), 2, "it resumed by itself");
    assert_eq!(requests[0].key, requests[1].key);
    assert_eq!(requests[0].request.body, requests[1].request.body);
    tab.run("await client.acknowledge('checkout:17', outcomes[0].key); await sleepFor(1_000);");
    shop.api().next([Plan::hang()]);
    tab.click("#express", 1);
    shop.api().wait_for(3);
    tab.load(&shop.server.url("/pages/blank.html"));
    tab.load(&shop.page(&json!({})));
    tab.run("await opened; await sleepFor(5 * 60_000 + 1_000);");
    storable_page(&shop, &tab, "");
    tab.run("await client.pending(); await meet(1, 'a-moment', 300);");
    assert_eq!(shop.api().requests().len(), 3, "it waits for the user");
    tab.click("#express", 1);
    tab.run("await until(() => outcomes.length === 1);");
    assert_eq!(shop.api().keys().len(), 2);
}

#[test]
fn a_classic_form_carries_its_key_in_a_hidden_field() {
    let shop = Shop::open();
    let tab = guarded(&shop, "{ mode: 'native', send: undefined }");
    shop.api().next([Plan::refuse(200, "{}").after_charging()]);
    tab.click("#express", 1);
    shop.api().wait_for(1);
    let body = bodies(&shop).remove(0);
    let field = body
        .split('&')
        .find_map(|pair| pair.strip_prefix("_idempotency_key="));
    let key = field.expect("the hidden field").to_owned();
    assert_eq!(key.len(), 36, "{body}");
    assert!(body.contains("how=express"), "{body}");
    // Back on the form, the same payment carries the same key: nobody said that it succeeded.
    tab.load(&shop.server.url("/pages/form.html"));
    tab.run("await opened; await guard({ mode: 'native', send: undefined });");
    tab.click("#express", 1);
    let requests = shop.api().wait_for(2);
    assert!(
        requests[1].request.text().contains(&key),
        "{}",
        requests[1].request.text()
    );
}

#[test]
fn where_an_image_button_was_hit_is_no_part_of_what_is_bought() {
    let shop = Shop::open();
    let tab = guarded(&shop, "");
    tab.run(
        "const button = document.createElement('input');\n\
         Object.assign(button, { type: 'image', name: 'how', id: 'picture', alt: 'Pay' });\n\
         form.append(button);",
    );
    for (x, y) in [(1, 1), (2, 0)] {
        let hit = format!(
            "const box = document.querySelector('#picture').getBoundingClientRect();\n\
             const at = {{ clientX: box.x + {x}, clientY: box.y + {y} }};\n\
             document.querySelector('#picture').dispatchEvent(new MouseEvent('click',\n\
               {{ bubbles: true, cancelable: true, ...at }}));\n\
             await until(() => outcomes.length + errors.length && form.ariaBusy !== 'true');"
        );
        tab.run(&hit);
    }
    assert_eq!(tab.run("return [outcomes.length, errors];"), json!([1, []]));
    assert_eq!(shop.api().keys().len(), 1);
}

#[test]
fn card_fields_are_known_however_their_purpose_is_written() {
    let shop = Shop::open();
    let tab = guarded(&shop, "");
    tab.run(
        "form.elements.secret.remove();\n\
         form.elements.card.setAttribute('autocomplete', 'CC-Number');",
    );
    shop.api().next([Plan::lose_answer()]);
    tab.click("#express", 1);
    shop.api().wait_for(1);
    let records = tab.run("return await records();");
    assert_eq!(records[0].get("payload"), None, "{records}");
}

#[test]
fn a_mistake_of_the_page_behind_a_success_is_no_error_of_the_payment() {
    let shop = Shop::open();
    let options = "{ onOutcome: (outcome) => { outcomes.push(outcome.status);\n\
                     throw new TypeError('a mistake of the page'); } }";
    let tab = guarded(&shop, options);
    tab.click("#express", 1);
    tab.run("await until(() => outcomes.length > 0 && form.ariaBusy !== 'true');");
    tab.run("await client.pending();");
    assert_eq!(tab.run("return [outcomes, errors];"), json!([["done"], []]));
}

#[test]
fn a_form_that_was_released_at_once_resumes_nothing() {
    let shop = Shop::open();
    let tab = guarded(&shop, "");
    shop.api().next([Plan::hang()]);
    tab.click("#express", 1);
    shop.api().wait_for(1);
    tab.reload();
    tab.run("await opened; (await guard())();");
    tab.run("for (let turns = 0; turns < 5; turns += 1) await client.pending();");
    assert_eq!(shop.api().requests().len(), 1);
    assert_eq!(tab.run("return [outcomes, errors];"), json!([[], []]));
}
