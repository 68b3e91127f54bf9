//! What `send` makes of an answer itself: the usual idioms of those who write one.

use serde_json::{Value, json};

use crate::harness::browser::Tab;
use crate::harness::plan::Plan;
use crate::shop::{Shop, refusal};

const DECLINED: &str = "{\"error\":\"card declined\"}";

/// Submits with a `send` of these lines, which find `attempt` and how often it was called.
fn submit(tab: &Tab<'_>, order: &str, send: &str) -> Value {
    tab.run(&format!(
        "window.calls = 0;\n\
         window.warnings ??= [];\n\
         console.warn = (...words) => warnings.push(words.map(String).join(' '));\n\
         const body = {{ method: 'POST', body: '{{}}' }};\n\
         const usual = async (fetch) => {{\n\
           const response = await fetch('/api/pay', body);\n\
           if (!response.ok) throw new Error(await response.text());\n\
           return response.json();\n\
         }};\n\
         const result = await ended(client.submit('pay:{order}', args, async (attempt) => {{\n\
           calls += 1;\n\
           {send}\n\
         }}, {{ retry: quick }}));\n\
         const pending = (await client.pending()).length;\n\
         return {{ ...result, calls, pending, warnings }};"
    ))
}

#[test]
fn a_declined_card_in_the_usual_idiom_is_rejected_and_the_next_card_pays() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::refuse(402, DECLINED)]);
    let declined = submit(&tab, "order-1", "return usual(attempt.fetch);");
    assert_eq!(refusal(&declined["thrown"]), "rejected", "{declined}");
    assert_eq!(shop.api().requests().len(), 1);
    assert_eq!(
        (&declined["pending"], &declined["warnings"]),
        (&json!(0), &json!([]))
    );
    let paid = tab.run(
        "const paid = await client.submit('pay:order-1', 'another card', async ({ fetch }) =>\n\
           (await fetch('/api/pay', { method: 'POST', body: '{}' })).json());\n\
         return paid.value;",
    );
    assert_eq!(paid["receipt"], 1);
    assert_eq!(shop.api().keys().len(), 2, "{:?}", shop.api().keys());
}

#[test]
fn the_attempts_own_fetch_brings_the_key_and_the_signal() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::hang()]);
    let stopped = tab.run(
        "const retry = { ...quick, maxAttempts: 1, attemptTimeoutMs: 300 };\n\
         let stopped;\n\
         const result = await ended(client.submit('pay:order-1', 1, async ({ fetch, key }) => {\n\
           window.key = key;\n\
           const asked = fetch('/api/pay', { method: 'POST' });\n\
           await asked.catch((error) => { stopped = error.name; });\n\
           throw new Error('it was stopped');\n\
         }, { retry }));\n\
         await until(() => stopped);\n\
         return { stopped, key, code: result.thrown.code };",
    );
    assert_eq!(stopped["stopped"], "AbortError");
    assert_eq!(stopped["code"], "unknown");
    assert_eq!(stopped["key"], shop.api().keys()[0].as_str());
    // A key that the caller writes itself stays as it is written, and a question brings none.
    tab.run(
        "await client.resume('pay:order-1', async ({ fetch, key }) => {\n\
           await fetch('/pages/blank.html');\n\
           const headers = { 'Idempotency-Key': key };\n\
           return fetch(new Request('/api/pay', { method: 'POST', headers }));\n\
         });",
    );
    let requests = shop.api().requests();
    let header = requests[1].request.header("idempotency-key");
    assert_eq!(header, stopped["key"].as_str());
}

#[test]
fn of_two_requests_of_one_attempt_no_refusal_proves_anything() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api()
        .next([Plan::pay(), Plan::refuse(402, DECLINED), Plan::pay()]);
    let send = "if (calls === 1) await usual(attempt.fetch);\nreturn usual(attempt.fetch);";
    let paid = submit(&tab, "order-1", send);
    assert_eq!(paid["ok"]["value"]["receipt"], 1, "{paid}");
    assert_eq!((shop.api().keys().len(), shop.api().charges()), (1, 1));
}

#[test]
fn ok_or_throw_says_what_the_server_meant() {
    let shop = Shop::open();
    let tab = shop.tab();
    let send = "const response = lib.okOrThrow(await fetch('/api/pay', { method: 'POST',\n\
        headers: { 'Idempotency-Key': attempt.header } }));\n\
        return response.json();";
    let cases = [
        (Plan::refuse(402, DECLINED), "rejected"),
        (Plan::problem(409, "interrupted"), "needs-reconcile"),
        (Plan::problem(422, "mismatch"), "needs-reconcile"),
        (Plan::refuse(401, "{}"), "unknown"),
    ];
    for (number, (plan, code)) in cases.into_iter().enumerate() {
        shop.api().next([plan]);
        let refused = submit(&tab, &format!("order-{number}"), send);
        assert_eq!(refusal(&refused["thrown"]), code, "{refused}");
        assert_eq!(refused["calls"], 1, "{refused}");
        assert_eq!(refused["warnings"], json!([]));
    }
    shop.api()
        .next([Plan::problem(409, "in-progress"), Plan::pay()]);
    let paid = submit(&tab, "order-9", send);
    assert_eq!(paid["ok"]["value"]["receipt"], 1, "{paid}");
}

#[test]
fn an_error_without_a_status_is_warned_of_once_and_a_lost_connection_is_not() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::lose_answer()]);
    let lost = submit(&tab, "order-1", "return usual(fetch);");
    assert_eq!(lost["warnings"], json!([]), "{lost}");
    for order in ["order-2", "order-3"] {
        shop.api().next(vec![Plan::refuse(402, DECLINED); 5]);
        let declined = submit(&tab, order, "return usual(fetch);");
        assert_eq!(refusal(&declined["thrown"]), "unknown", "{declined}");
        assert_eq!(declined["calls"], 5);
        let warnings = declined["warnings"].as_array().expect("a list");
        assert_eq!(warnings.len(), 1, "{declined}");
        let warning = warnings[0].as_str().expect("a text");
        for word in ["okOrThrow", "fetch", "card declined"] {
            assert!(warning.contains(word), "{warning}");
        }
    }
}

#[test]
fn a_refusal_that_is_marked_as_stripe_marks_replays_is_rejected_after_a_lost_answer() {
    let shop = Shop::open();
    let tab = shop.tab();
    let replay = || Plan::refuse(402, DECLINED).header("Idempotent-Replayed", "true");
    shop.api().next([Plan::lose_request(), replay()]);
    let declined = submit(&tab, "order-1", "return usual(attempt.fetch);");
    assert_eq!(refusal(&declined["thrown"]), "rejected", "{declined}");
    shop.api().next([Plan::lose_request(), replay()]);
    let declined = submit(&tab, "order-2", "return attempt.fetch('/api/pay', body);");
    assert_eq!(refusal(&declined["thrown"]), "rejected", "{declined}");
    assert_eq!(shop.api().requests().len(), 4);
}

#[test]
fn what_a_server_action_throws_is_asked_once_and_stays_in_doubt() {
    let shop = Shop::open();
    let tab = shop.tab();
    for (number, digest) in ["NEXT_REDIRECT;replace;/receipt;307;", "2338106463"]
        .into_iter()
        .enumerate()
    {
        let order = format!("order-{number}");
        let send = format!("throw Object.assign(new Error('hidden'), {{ digest: '{digest}' }});");
        let thrown = submit(&tab, &order, &send);
        assert_eq!(refusal(&thrown["thrown"]), "unknown", "{thrown}");
        assert_eq!(
            (&thrown["calls"], &thrown["warnings"]),
            (&json!(1), &json!([]))
        );
        // It may have happened, so a refusal of a later attempt does not settle it.
        shop.api().next([Plan::refuse(403, "{}")]);
        let later = submit(&tab, &order, "return usual(attempt.fetch);");
        assert_eq!(refusal(&later["thrown"]), "unknown", "{later}");
    }
}
