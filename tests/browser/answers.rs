//! What an answer means: retry with the same key, stop and keep it, or clear it.

use serde_json::{Value, json};

use crate::harness::browser::Tab;
use crate::harness::plan::Plan;
use crate::shop::{Shop, code, refusal};

/// What is left in the slot after a submit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    Kept,
    Cleared,
}

/// Answers in a row, and what a submit makes of them.
struct Case {
    name: &'static str,
    plans: Vec<Plan>,
    /// `done` or the code of the error.
    ends: &'static str,
    requests: usize,
    key: Key,
}

const fn case(
    name: &'static str,
    plans: Vec<Plan>,
    ends: &'static str,
    requests: usize,
    key: Key,
) -> Case {
    Case {
        name,
        plans,
        ends,
        requests,
        key,
    }
}

/// How a described end of a submit is called in the cases.
fn word(result: &Value) -> String {
    match result.get("thrown") {
        Some(thrown) => refusal(thrown),
        None => result["ok"]["status"]
            .as_str()
            .expect("an outcome has a status")
            .to_owned(),
    }
}

fn check(shop: &Shop, tab: &Tab<'_>, cases: Vec<Case>) {
    for (number, case) in cases.into_iter().enumerate() {
        let before = shop.api().requests().len();
        shop.api().next(case.plans);
        let ended = tab.run_with(
            "const result = await ended(pay(args));\n\
             const pending = await client.pending();\n\
             return { result, kept: pending.filter((one) => one.operation === `pay:${args}`) };",
            json!(format!("order-{number}")),
        );
        let requests = shop.api().requests().split_off(before);
        assert_eq!(word(&ended["result"]), case.ends, "{}: {ended}", case.name);
        assert_eq!(requests.len(), case.requests, "{}", case.name);
        let is_one_key = requests.iter().all(|seen| seen.key == requests[0].key);
        assert!(is_one_key, "{}: {requests:?}", case.name);
        let kept = ended["kept"].as_array().expect("a list");
        let expected = usize::from(case.key == Key::Kept);
        assert_eq!(kept.len(), expected, "{}: {kept:?}", case.name);
        if let Some(intent) = kept.first() {
            assert_eq!(intent["key"], requests[0].key.as_str(), "{}", case.name);
        }
        if case.key == Key::Kept {
            let thrown = &ended["result"]["thrown"];
            assert_eq!(
                thrown["intent"]["key"],
                requests[0].key.as_str(),
                "{thrown}"
            );
        }
        // A plan that nobody came for would answer the next case.
        shop.api().forget_script();
    }
}

#[test]
fn a_success_or_a_definite_rejection_clears_the_key() {
    let shop = Shop::open();
    let tab = shop.tab();
    check(
        &shop,
        &tab,
        vec![
            case("200", vec![Plan::pay()], "done", 1, Key::Cleared),
            case(
                "400",
                vec![Plan::problem(400, "bad")],
                "rejected",
                1,
                Key::Cleared,
            ),
            case(
                "402",
                vec![Plan::problem(402, "declined")],
                "rejected",
                1,
                Key::Cleared,
            ),
            case(
                "403",
                vec![Plan::problem(403, "no")],
                "rejected",
                1,
                Key::Cleared,
            ),
            case(
                "404",
                vec![Plan::problem(404, "no")],
                "rejected",
                1,
                Key::Cleared,
            ),
            case(
                "422",
                vec![Plan::problem(422, "invalid")],
                "rejected",
                1,
                Key::Cleared,
            ),
            case(
                "409 of another kind",
                vec![Plan::problem(409, "sold-out")],
                "rejected",
                1,
                Key::Cleared,
            ),
            case(
                "not JSON",
                vec![Plan::refuse(400, "<html>")],
                "rejected",
                1,
                Key::Cleared,
            ),
        ],
    );
}

#[test]
fn what_may_pass_is_retried_with_the_same_key() {
    let shop = Shop::open();
    let tab = shop.tab();
    let mut cases: Vec<Case> = [425, 429, 500, 502, 503, 504]
        .into_iter()
        .map(|status| {
            let plans = vec![Plan::problem(status, "later"), Plan::pay()];
            case("a status that passes", plans, "done", 2, Key::Cleared)
        })
        .collect();
    let in_progress = Plan::problem(409, "in-progress");
    let told_when = Plan::problem(409, "whatever").header("Retry-After", "0");
    cases.extend([
        case(
            "in progress",
            vec![in_progress.clone(), Plan::pay()],
            "done",
            2,
            Key::Cleared,
        ),
        case(
            "409 with Retry-After",
            vec![told_when, Plan::pay()],
            "done",
            2,
            Key::Cleared,
        ),
        case(
            "a lost answer",
            vec![Plan::lose_answer()],
            "done",
            2,
            Key::Cleared,
        ),
        case(
            "a lost request",
            vec![Plan::lose_request()],
            "done",
            2,
            Key::Cleared,
        ),
        case(
            "in progress four times",
            vec![in_progress; 4],
            "done",
            5,
            Key::Cleared,
        ),
    ]);
    check(&shop, &tab, cases);
    assert_eq!(shop.api().charges(), shop.api().keys().len());
}

#[test]
fn when_the_attempts_run_out_the_outcome_is_unknown_and_the_key_is_kept() {
    let shop = Shop::open();
    let tab = shop.tab();
    check(
        &shop,
        &tab,
        vec![
            case(
                "503",
                vec![Plan::problem(503, "busy"); 5],
                "unknown",
                5,
                Key::Kept,
            ),
            case(
                "lost answers",
                vec![Plan::lose_answer(); 5],
                "unknown",
                5,
                Key::Kept,
            ),
            case(
                "lost requests",
                vec![Plan::lose_request(); 5],
                "unknown",
                5,
                Key::Kept,
            ),
        ],
    );
    shop.api().otherwise(Plan::close());
    let closed = tab.try_run("return await pay('closed');", json!(null));
    assert_eq!(code(closed), "unknown");
    shop.api().otherwise(Plan::pay());
    let again = tab.run("return await pay('order-1');");
    assert_eq!(again["value"]["receipt"], 1, "the money of the lost answer");
}

#[test]
fn what_only_the_server_knows_needs_to_be_reconciled_without_a_loop() {
    let shop = Shop::open();
    let tab = shop.tab();
    let replayed = Plan::problem(500, "crashed").header("Idempotency-Replayed", "true");
    let stale = Plan::problem(409, "stale-key");
    check(
        &shop,
        &tab,
        vec![
            case(
                "409",
                vec![Plan::problem(409, "interrupted")],
                "needs-reconcile",
                1,
                Key::Kept,
            ),
            case("409", vec![stale], "needs-reconcile", 1, Key::Kept),
            case(
                "422",
                vec![Plan::problem(422, "mismatch")],
                "needs-reconcile",
                1,
                Key::Kept,
            ),
            case(
                "a replayed 500",
                vec![replayed],
                "needs-reconcile",
                1,
                Key::Kept,
            ),
        ],
    );
}

#[test]
fn a_refusal_proves_nothing_while_an_earlier_attempt_is_in_doubt() {
    let shop = Shop::open();
    let tab = shop.tab();
    let replayed = Plan::problem(402, "declined").header("Idempotency-Replayed", "true");
    check(
        &shop,
        &tab,
        vec![
            case(
                "401",
                vec![Plan::problem(401, "who")],
                "unknown",
                1,
                Key::Kept,
            ),
            case(
                "403 after a lost answer",
                vec![Plan::lose_answer(), Plan::problem(403, "no")],
                "unknown",
                2,
                Key::Kept,
            ),
            case(
                "400 after a 500",
                vec![Plan::problem(500, "x"), Plan::problem(400, "no")],
                "unknown",
                2,
                Key::Kept,
            ),
            case(
                "a replayed refusal",
                vec![Plan::lose_request(), replayed],
                "rejected",
                2,
                Key::Cleared,
            ),
        ],
    );
}

#[test]
fn a_refusal_after_a_reload_proves_nothing_about_the_attempt_before_it() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::hang(), Plan::problem(403, "no")]);
    tab.start("paying", "return pay('order-1');");
    shop.api().wait_for(1);
    tab.reload();
    let refused = tab.try_run("await opened; return await pay('order-1');", json!(null));
    assert_eq!(code(refused), "unknown");
    assert_eq!(tab.run("return (await client.pending()).length;"), 1);
    let again = tab.run("return await pay('order-1');");
    assert_eq!(again["value"]["receipt"], 1);
    assert_eq!(shop.api().charges(), 1);
}

#[test]
fn a_redirect_to_a_login_page_is_no_success() {
    let shop = Shop::open();
    let tab = shop.tab();
    let to_login = Plan::redirect("/pages/shop.html");
    check(
        &shop,
        &tab,
        vec![case("302", vec![to_login; 5], "unknown", 5, Key::Kept)],
    );
}

#[test]
fn an_attempt_that_takes_too_long_is_unknown_and_retried() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::hang(), Plan::hang()]);
    let paid = tab.run("return await pay('order-1', 1, { retry: { attemptTimeoutMs: 150 } });");
    assert_eq!(
        (&paid["attempts"], &paid["value"]["receipt"]),
        (&json!(3), &json!(1))
    );
    shop.api().next(vec![Plan::hang(); 9]);
    let late = "return await pay('order-2', 1,\n\
                { retry: { attemptTimeoutMs: 150, deadlineMs: 400, maxAttempts: 9 } });";
    assert_eq!(code(tab.try_run(late, json!(null))), "unknown");
    assert!(shop.api().requests().len() < 3 + 9, "the deadline ended it");
}

#[test]
fn retry_after_is_obeyed_and_delays_grow() {
    let shop = Shop::open();
    let tab = shop.tab();
    let times = "const times = [];\n\
        await client.submit(args, 1, (attempt) => {\n\
          times.push(performance.now()); return send(attempt);\n\
        }, { retry: { baseMs: 200, maxMs: 400 } });\n\
        return times.slice(1).map((time, before) => time - times[before]);";
    let told = Plan::problem(503, "busy").header("Retry-After", "1");
    shop.api().next([told]);
    let waited = tab.run_with(times, json!("pay:told"));
    assert!(waited[0].as_f64().is_some_and(|ms| ms >= 990.0), "{waited}");
    shop.api().next(vec![Plan::problem(503, "busy"); 3]);
    let waited = tab.run_with(times, json!("pay:growing"));
    for (ms, least) in waited
        .as_array()
        .expect("a list")
        .iter()
        .zip([99.0, 199.0, 199.0])
    {
        assert!(ms.as_f64().is_some_and(|ms| ms >= least), "{waited}");
    }
}

#[test]
fn what_send_throws_is_classed_like_an_answer() {
    let shop = Shop::open();
    let tab = shop.tab();
    let cases = [
        (
            "Object.assign(new Error('x'), { status: 402 })",
            "rejected",
            1,
        ),
        (
            "Object.assign(new Error('x'), { statusCode: 402 })",
            "rejected",
            1,
        ),
        (
            "Object.assign(new Error('x'), { response: { status: 402 } })",
            "rejected",
            1,
        ),
        (
            "Object.assign(new Error('x'), { status: 503 })",
            "unknown",
            3,
        ),
        (
            "Object.assign(new Error('x'), { status: 409, code: 'interrupted' })",
            "needs-reconcile",
            1,
        ),
        (
            "Object.assign(new Error('x'), { status: 409, body: { code: 'stale-key' } })",
            "needs-reconcile",
            1,
        ),
        (
            "Object.assign(new Error('x'), { status: 422, code: 'mismatch' })",
            "needs-reconcile",
            1,
        ),
        ("new Error('socket hang up')", "unknown", 3),
        ("new TypeError('Failed to fetch')", "unknown", 3),
        ("new lib.Rejected('declined')", "rejected", 1),
        ("'a string'", "unknown", 3),
        ("undefined", "unknown", 3),
    ];
    for (number, (thrown, ends, attempts)) in cases.into_iter().enumerate() {
        let script = format!(
            "let sent = 0;\n\
             const result = await ended(client.submit('throw:{number}', 1, async () => {{\n\
               sent += 1; throw {thrown};\n\
             }}, {{ retry: {{ ...quick, maxAttempts: 3 }} }}));\n\
             return {{ result, sent }};"
        );
        let ended = tab.run(&script);
        assert_eq!(word(&ended["result"]), ends, "{thrown}: {ended}");
        assert_eq!(ended["sent"], attempts, "{thrown}");
    }
}

#[test]
fn what_was_certainly_not_sent_leaves_no_doubt_behind() {
    let shop = Shop::open();
    let tab = shop.tab();
    let ended = tab.run(
        "let sent = 0;\n\
         const result = await ended(client.submit('pay:order-1', 1, async (attempt) => {\n\
           sent += 1;\n\
           if (sent === 1) throw new lib.NotSent('no network');\n\
           throw Object.assign(new Error('no'), { status: 403 });\n\
         }, { retry: quick }));\n\
         return { result, sent, pending: await client.pending() };",
    );
    assert_eq!(ended["sent"], 2, "{ended}");
    assert_eq!(word(&ended["result"]), "rejected", "{ended}");
    assert_eq!(ended["pending"], json!([]));
}

#[test]
fn a_rejection_reaches_every_caller_and_trying_again_is_a_new_intent() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api()
        .next([Plan::problem(402, "declined").held("bank")]);
    tab.start(
        "all",
        "return Promise.all([1, 2, 3].map(() => ended(pay('order-1'))));",
    );
    shop.api().wait_for(1);
    shop.api().open("bank");
    let all = tab.finish("all").expect("they end");
    for result in all.as_array().expect("three") {
        assert_eq!(refusal(&result["thrown"]), "rejected", "{all}");
    }
    assert_eq!(tab.run("return (await pay('order-1')).status;"), "done");
    assert_eq!((shop.api().keys().len(), shop.api().charges()), (2, 1));
}

#[test]
fn an_application_may_class_answers_itself() {
    let shop = Shop::open();
    let tab = shop.tab();
    let words = ["success", "rejected", "unknown", "needs-reconcile"];
    for (word, ends) in words
        .into_iter()
        .zip(["done", "rejected", "unknown", "needs-reconcile"])
    {
        let ended = tab.run_with(
            "const own = await openClient({ classify: (answer) => answer.word });\n\
             return ended(own.submit(`classed:${args}`, 1, async () => ({ word: args }),\n\
               { retry: { ...quick, maxAttempts: 2 } }));",
            json!(word),
        );
        assert_eq!(self::word(&ended), ends, "{word}: {ended}");
    }
    let retried = tab.run(
        "let sent = 0;\n\
         const own = await openClient({ classify: (answer) => answer });\n\
         const outcome = await own.submit('classed:retry', 1,\n\
           async () => ++sent === 1 ? 'retry' : 'success', { retry: quick });\n\
         return { sent, outcome };",
    );
    assert_eq!(retried["sent"], 2);
    assert_eq!(retried["outcome"]["value"], "success");
}
