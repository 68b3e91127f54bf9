//! `fetch` and `fetchFor`: the client in the place of the browser's own fetch.

use serde_json::json;

use crate::harness::plan::Plan;
use crate::shop::{Shop, code};

#[test]
fn fetch_sends_a_key_and_gives_the_response() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::lose_answer()]);
    let answer = tab.run(
        "const response = await client.fetch('/api/pay', { method: 'POST', operation: 'pay:1',\n\
           body: JSON.stringify({ amount: 25 }),\n\
           headers: { 'Content-Type': 'application/json' } });\n\
         return { isResponse: response instanceof Response, status: response.status,\n\
           body: await response.json() };",
    );
    assert_eq!(
        (&answer["isResponse"], &answer["status"]),
        (&json!(true), &json!(200))
    );
    assert_eq!(answer["body"]["receipt"], 1);
    let requests = shop.api().requests();
    assert_eq!(requests.len(), 2);
    assert_eq!(requests[0].key, requests[1].key);
    assert_eq!(requests[0].request.body, requests[1].request.body);
    assert_eq!(
        requests[1].request.header("content-type"),
        Some("application/json")
    );
    assert_eq!((shop.api().keys().len(), shop.api().charges()), (1, 1));
}

#[test]
fn fetch_gives_the_response_of_a_rejection_and_throws_what_is_unknown() {
    let shop = Shop::open();
    let tab = shop.tab();
    let fetch = "const response = await client.fetch('/api/pay', { method: 'POST',\n\
                   operation: args, body: 'x',\n\
                   submit: { retry: { ...quick, maxAttempts: 2 } } });\n\
                 return { status: response.status, body: await response.json() };";
    shop.api().next([Plan::problem(402, "declined")]);
    let declined = tab.run_with(fetch, json!("pay:1"));
    assert_eq!(
        declined,
        json!({"status": 402, "body": {"code": "declined"}})
    );
    shop.api().next([Plan::problem(409, "interrupted")]);
    assert_eq!(code(tab.try_run(fetch, json!("pay:2"))), "needs-reconcile");
    shop.api().next([Plan::problem(401, "who")]);
    assert_eq!(code(tab.try_run(fetch, json!("pay:3"))), "unknown");
}

#[test]
fn fetch_does_not_follow_a_redirect_to_a_login_page() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api()
        .otherwise_by(|request, _| match request.path.as_str() {
            "/api/login" => Plan::refuse(200, "{}"),
            _ => Plan::redirect("/api/login"),
        });
    let fetch = "return (await client.fetch('/api/pay', { method: 'POST', operation: 'pay:1',\n\
                 body: 'x', submit: { retry: { ...quick, maxAttempts: 2 } } })).status;";
    assert_eq!(code(tab.try_run(fetch, json!(null))), "unknown");
    assert_eq!(tab.run("return (await client.pending()).length;"), 1);
    let requests = shop.api().requests();
    assert!(
        requests.iter().all(|seen| seen.request.path == "/api/pay"),
        "nobody goes there"
    );
    assert_eq!(shop.api().keys().len(), 1);
}

#[test]
fn a_form_body_has_the_same_boundary_on_every_send_also_after_a_reload() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::lose_request(), Plan::hang()]);
    let fetch = "const form = new FormData();\n\
        form.append('amount', '25');\n\
        form.append('file', new File(['abc'], 'a.txt', { type: 'text/plain' }));\n\
        return (await client.fetch('/api/pay', { method: 'POST', operation: 'pay:1',\n\
          body: form })).status;";
    tab.start("fetching", fetch);
    shop.api().wait_for(2);
    tab.reload();
    assert_eq!(tab.run(&format!("await opened;\n{fetch}")), 200);
    let requests = shop.api().requests();
    assert_eq!(requests.len(), 3);
    for seen in &requests {
        assert_eq!(seen.key, requests[0].key);
        assert_eq!(seen.request.body, requests[0].request.body);
        let kind = seen.request.header("content-type");
        assert_eq!(kind, requests[0].request.header("content-type"));
        assert!(kind.is_some_and(|kind| kind.starts_with("multipart/form-data; boundary=")));
    }
    assert!(requests[0].request.text().contains("abc"));
}

#[test]
fn bodies_of_every_kind_are_sent_as_the_browser_would() {
    let shop = Shop::open();
    let tab = shop.tab();
    let cases = [
        ("'text'", "text", Some("text/plain;charset=UTF-8")),
        (
            "new URLSearchParams('a=1&b=2')",
            "a=1&b=2",
            Some("application/x-www-form-urlencoded;charset=UTF-8"),
        ),
        (
            "new Blob(['blob'], { type: 'image/png' })",
            "blob",
            Some("image/png"),
        ),
        ("new TextEncoder().encode('bytes')", "bytes", None),
        ("new TextEncoder().encode('buffer').buffer", "buffer", None),
        ("undefined", "", None),
    ];
    for (number, (body, text, kind)) in cases.into_iter().enumerate() {
        let fetch = format!(
            "return (await client.fetch('/api/pay', {{ method: 'POST', body: {body},\n\
             operation: 'pay:{number}' }})).status;"
        );
        assert_eq!(tab.run(&fetch), 200, "{body}");
        let seen = shop.api().requests().pop().expect("it came");
        assert_eq!(seen.request.text(), text, "{body}");
        assert_eq!(seen.request.header("content-type"), kind, "{body}");
    }
}

#[test]
fn a_stream_as_body_is_refused() {
    let shop = Shop::open();
    let tab = shop.tab();
    let stream = "return await client.fetch('/api/pay', { method: 'POST', operation: 'pay:1',\n\
                  duplex: 'half', body: new Blob(['x']).stream() });";
    assert_eq!(code(tab.try_run(stream, json!(null))), "payload");
    assert_eq!(shop.api().requests().len(), 0);
}

#[test]
fn a_request_to_another_address_or_by_another_method_is_another_intent() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::lose_answer()]);
    let fetch = "return (await client.fetch(args[0], { method: args[1], operation: 'pay:1',\n\
                 body: 'x', submit: { retry: { maxAttempts: 1 } } })).status;";
    assert_eq!(
        code(tab.try_run(fetch, json!(["/api/pay", "POST"]))),
        "unknown"
    );
    for other in [json!(["/api/refund", "POST"]), json!(["/api/pay", "PATCH"])] {
        assert_eq!(code(tab.try_run(fetch, other)), "unresolved");
    }
    assert_eq!(tab.run_with(fetch, json!(["/api/pay", "POST"])), 200);
}

#[test]
fn fetch_for_guards_what_changes_something_and_passes_the_rest_through() {
    let shop = Shop::open();
    let tab = shop.tab();
    let answers = tab.run(
        "const guarded = client.fetchFor((request) =>\n\
           `${request.method}:${new URL(request.url).pathname}`);\n\
         const read = await guarded('/api/list');\n\
         const post = await guarded(new Request('/api/pay', { method: 'POST', body: 'x' }));\n\
         const again = await guarded('/api/pay', { method: 'POST', body: 'x' });\n\
         return [await read.json(), await post.json(), await again.json()];",
    );
    assert_eq!(answers[0]["key"], "", "a GET carries no key");
    assert_eq!(answers[1], answers[2], "the late half of a double click");
    let requests = shop.api().requests();
    let methods: Vec<_> = requests
        .iter()
        .map(|seen| seen.request.method.as_str())
        .collect();
    assert_eq!(methods, ["GET", "POST"]);
    let named = tab.run(
        "const guarded = client.fetchFor('pay:7');\n\
         await guarded('/api/pay', { method: 'POST', body: 'x' });\n\
         return (await records()).map((one) => one.operation).sort();",
    );
    assert_eq!(named, json!(["POST:/api/pay", "pay:7"]));
}

#[test]
fn a_fetch_can_be_given_up_by_its_signal() {
    let shop = Shop::open();
    let tab = shop.tab();
    shop.api().next([Plan::hang()]);
    tab.start(
        "fetching",
        "const controller = new AbortController();\n\
         window.giveUp = () => controller.abort();\n\
         return (await client.fetch('/api/pay', { method: 'POST', operation: 'pay:1',\n\
           body: 'x', signal: controller.signal })).status;",
    );
    shop.api().wait_for(1);
    tab.run("giveUp();");
    assert_eq!(code(tab.finish("fetching")), "aborted");
    assert_eq!(
        tab.run("return (await client.pending()).length;"),
        1,
        "the key is kept"
    );
}
