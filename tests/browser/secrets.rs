//! What is sent and not stored: known by its name, by its digits, or by its form.

use crate::harness::browser::Tab;
use crate::harness::plan::Plan;
use crate::shop::{Shop, refusal};

/// Whether a later page life would find this payload, by the open intent that it left.
fn is_kept(tab: &Tab<'_>, number: usize, payload: &str) -> bool {
    let script = format!(
        "const never = () => {{ throw new Error('lost'); }};\n\
         const once = {{ retry: {{ maxAttempts: 1 }} }};\n\
         const operation = 'pay:{number}';\n\
         await ended(client.submit(operation, {payload}, never, once));\n\
         const open = await client.pending();\n\
         return open.find((one) => one.operation === operation).hasPayload;"
    );
    tab.run(&script).as_bool().expect("it is said")
}

#[test]
fn payloads_with_secrets_in_them_are_not_stored() {
    let shop = Shop::open();
    let tab = shop.tab();
    let secret = [
        "{ card: { number: '4242424242424242', cvc: '123' } }",
        "{ cardNumber: '4242' }",
        "{ card_number: '1' }",
        "{ payment: [{ 'card-number': 1 }] }",
        "{ card: { number: ['4242', '4242', '4242', '4242'] } }",
        "{ iban: 'DE89370400440532013000' }",
        "{ payer: { bankAccountIBAN: 'DE89' } }",
        "{ pin: '1234' }",
        "{ userPIN: 1234 }",
        "{ newPassword: 'hunter2' }",
        "{ cc_exp: '12/27' }",
        "{ note: 'take 4242-4242-4242-4242 please' }",
        "{ source: 4242424242424242 }",
        "['4000 0566 5566 5556']",
        "{ toJSON: () => ({ cvv: '123' }) }",
        "new URLSearchParams('cvc=123')",
        "(() => { const form = new FormData(); form.append('order[card_number]', '1');\n\
           return form; })()",
    ];
    for (number, payload) in secret.iter().enumerate() {
        assert!(!is_kept(&tab, number, payload), "{payload} is stored");
    }
    let plain = [
        "{ amount: 25, card: 'visa', cardId: 'card_1Nv0' }",
        "{ shipping: 'express', company: 'Pan & Co', spin: 1, orderNumber: 7 }",
        "{ at: 1764030860007, day: '2026-11-25T00:34:20.000Z' }",
        "{ pin: false, password: null }",
        "{ cc: 'a@example.org' }",
    ];
    for (number, payload) in plain.iter().enumerate() {
        assert!(is_kept(&tab, 100 + number, payload), "{payload} is lost");
    }
}

#[test]
fn an_order_that_looks_like_a_card_number_pays_and_goes_on_with_its_key() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::hang()]);
    let order = "{ order: '6304000000000000', amount: 25 }";
    tab.start("paying", &format!("return pay('order-1', {order});"));
    shop.api().wait_for(1);
    tab.reload();
    tab.run("await opened;");
    let resumed = tab.run("return await ended(resume('order-1'));");
    assert_eq!(refusal(&resumed["thrown"]), "payload-needed");
    let paid = tab.run(&format!("return await pay('order-1', {order});"));
    assert_eq!(paid["value"]["receipt"], 1);
    let another = tab.run("return await ended(pay('order-1', { order: '1', amount: 25 }));");
    assert_eq!(
        another["ok"]["value"]["receipt"], 2,
        "another order is another payment"
    );
    assert_eq!(shop.api().keys().len(), 2);
}

#[test]
fn bodies_of_requests_with_secrets_in_them_are_not_stored() {
    let shop = Shop::open();
    let tab = shop.tab();
    let bodies = [
        (
            "application/json",
            "JSON.stringify({ card: { cvc: 1 } })",
            false,
        ),
        ("application/json", "'{ broken 4242424242424242'", false),
        ("text/plain", "'4242 4242 4242 4242'", false),
        ("application/xml", "'<card>4242424242424242</card>'", false),
        ("application/json", "JSON.stringify({ amount: 25 })", true),
        ("text/plain", "'25'", true),
    ];
    for (number, (kind, body, is_kept)) in bodies.into_iter().enumerate() {
        shop.api().next([Plan::problem(409, "interrupted")]);
        let stored = tab.run(&format!(
            "const operation = 'fetch:{number}';\n\
             await ended(client.fetch('/api/pay', {{ method: 'POST', operation,\n\
               headers: {{ 'Content-Type': '{kind}' }}, body: {body} }}));\n\
             const record = (await records()).find((one) => one.operation === operation);\n\
             return record.payload !== undefined;"
        ));
        assert_eq!(stored, is_kept, "{kind} {body}");
    }
}

#[test]
fn a_form_with_a_payment_field_stores_no_payload() {
    let shop = Shop::open();
    let fields = [
        ("<input name=cardNumber value=1>", "{}"),
        ("<input name='payment[pin]' value=1>", "{}"),
        ("<input name=anything value='4242 4242 4242 4242'>", "{}"),
        (
            "<input name=anything autocomplete='billing cc-csc' value=1>",
            "{}",
        ),
        // What is not compared would be stored with the rest.
        ("<input name=cvc value=123>", "{ exclude: ['cvc'] }"),
    ];
    let tab = shop.blank_tab();
    for (number, (field, options)) in fields.into_iter().enumerate() {
        tab.load(&shop.server.url("/pages/form.html"));
        shop.api().next([Plan::problem(409, "interrupted")]);
        let stored = tab.run(&format!(
            "await opened;\n\
             for (const name of ['card', 'secret']) form.elements[name].remove();\n\
             form.insertAdjacentHTML('beforeend', `{field}`);\n\
             await guard({{ operation: 'checkout:{number}', ...{options} }});\n\
             form.requestSubmit();\n\
             await until(() => errors.length > 0);\n\
             const open = await client.pending();\n\
             return open.find((one) => one.operation === 'checkout:{number}').hasPayload;"
        ));
        assert_eq!(stored, false, "{field}");
    }
}
