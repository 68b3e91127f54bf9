//! The payment server: its routes, what bad input gets, and pages of another origin.

use crate::client::Call;
use crate::process::{Place, Server, charge, transfer, unkeyed_transfer};

#[test]
fn a_charge_happens_once_and_its_answer_is_replayed() {
    let place = Place::new();
    let server = place.start(&[]);
    let first = server.send(&charge("order-17", 2_500));
    assert_eq!((first.status, first.is_replay()), (201, false));
    let charged = first.json();
    assert_eq!(charged["customer"], "ann");
    assert_eq!(
        (&charged["amount"], &charged["currency"]),
        (&2_500.into(), &"EUR".into())
    );
    let location = format!("/api/charges/{}", charged["id"].as_str().unwrap());
    assert_eq!(first.header("location"), Some(location.as_str()));
    let retry = server.send(&charge("order-17", 2_500));
    assert!(retry.is_replay());
    assert_eq!((retry.status, &retry.body), (201, &first.body));
    assert_eq!(retry.header("location"), Some(location.as_str()));
    server
        .send(&charge("order-17", 2_501))
        .assert_problem(422, "mismatch");
    // The bare form is the same key, and another principal's is another.
    let bare = Call::post("/api/charges").header("idempotency-key", "order-17");
    let bare = bare.json("{\"currency\":\"EUR\",\"amount\":2500,\"customer\":\"ann\"}");
    assert!(server.send(&bare).is_replay());
    let other = server.send(&charge("order-17", 2_500).bearer("bob"));
    assert_eq!((other.status, other.is_replay()), (201, false));
    assert_ne!(other.body, first.body);
    let done = place.charges();
    let line = |principal: &str| (principal.to_owned(), "order-17".to_owned(), 2_500);
    assert_eq!(done, [line(""), line("bob")]);
    let own = Call::get("/api/charges")
        .bearer("bob")
        .send(server.addr)
        .json();
    assert_eq!(own.as_array().unwrap().len(), 1);
    let effects = server.get("/api/effects");
    assert_eq!(
        effects,
        serde_json::json!([
            {"principal": "", "key": "order-17", "count": 1},
            {"principal": "bob", "key": "order-17", "count": 1},
        ])
    );
}

#[test]
fn a_refreshed_token_is_the_same_principal() {
    let place = Place::new();
    let server = place.start(&[]);
    let first = server.send(&charge("order-17", 2_500).bearer("ann.secret-1"));
    let retry = server.send(&charge("order-17", 2_500).bearer("ann.secret-2"));
    assert_eq!((first.status, retry.is_replay()), (201, true), "{retry:?}");
    assert!(
        server
            .send(&charge("order-17", 2_500).bearer("ann"))
            .is_replay()
    );
    let other = server.send(&charge("order-17", 2_500).bearer("anne.secret-1"));
    assert_eq!((other.status, other.is_replay()), (201, false));
    for token in [".secret", "."] {
        let refused = server.send(&charge("order-17", 2_500).bearer(token));
        refused.assert_problem(401, "unauthorized");
    }
    let file = std::fs::read(place.path("shop.redb")).unwrap();
    assert!(!crate::client::contains(&file, b"secret-1"));
    assert_eq!(place.charges().len(), 2);
}

#[test]
fn a_transfer_is_one_commit_and_runs_plainly_without_a_key() {
    let server_place = Place::new();
    let server = server_place.start(&[]);
    let before = server.account("alice").0;
    let first = server.send(&transfer("t-1", 500));
    assert_eq!((first.status, first.json()["id"].as_u64()), (201, Some(1)));
    assert_eq!(first.json()["balances"]["alice"], before - 500);
    let retry = server.send(&transfer("t-1", 500));
    assert!(retry.is_replay());
    assert_eq!(retry.body, first.body);
    for count in 1..=2 {
        assert_eq!(server.send(&unkeyed_transfer(500)).status, 201);
        assert_eq!(server.account("alice").0, before - 500 - 500 * count);
    }
    assert_eq!(server.account("shop").0, 1_500);
    let listed = server.get("/api/transfers");
    let keys: Vec<_> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|line| &line["key"])
        .collect();
    assert_eq!(keys, [&serde_json::json!("t-1"), &().into(), &().into()]);
    let times = listed.as_array().unwrap().iter().map(|line| &line["at"]);
    let times: Vec<_> = times.map(|at| at.as_u64().unwrap()).collect();
    assert!(times.is_sorted() && times[0] > 1_700_000_000_000);
    let others = Call::get("/api/transfers").bearer("bob").send(server.addr);
    assert_eq!(others.text(), "[]");
}

#[test]
fn a_transfer_that_is_refused_moves_nothing_and_is_an_answer_too() {
    let place = Place::new();
    let server = place.start(&[]);
    let to = |key: &str, from: &str, to: &str, amount: i64| {
        let body = format!("{{\"from\":{from:?},\"to\":{to:?},\"amount\":{amount}}}");
        Call::post("/api/transfers").key(key).json(&body)
    };
    let refused = [
        (to("a", "alice", "nobody", 500), 404, "no-account"),
        (to("b", "nobody", "alice", 500), 404, "no-account"),
        (to("c", "alice", "bob", 100_001), 402, "insufficient-funds"),
        (to("d", "alice", "bob", i64::MAX), 402, "insufficient-funds"),
    ];
    for (call, status, code) in &refused {
        for replays in [false, true] {
            let answer = server.send(call);
            assert_eq!((answer.status, answer.problem().as_str()), (*status, *code));
            assert_eq!(answer.is_replay(), replays);
            assert_eq!(server.account("alice").0, 100_000, "{code}");
            assert_eq!(server.account("bob").0, 100_000, "{code}");
        }
    }
    assert_eq!(server.get("/api/transfers"), serde_json::json!([]));
}

const GOOD: &str = "{\"customer\":\"a\",\"amount\":1,\"currency\":\"EUR\"}";

/// Each is refused so, and no key is used up by it.
#[track_caller]
fn assert_refused(server: &Server, calls: &[Call], status: u16, code: &str) {
    for call in calls {
        server.send(call).assert_problem(status, code);
    }
    let metrics = server.metrics();
    let mut records = metrics
        .lines()
        .filter(|line| line.starts_with("idempotency_records{"));
    let is_stored = |line: &str| !line.contains("accounts") && !line.ends_with(" 0");
    assert!(!records.any(is_stored), "{metrics}");
}

#[test]
fn a_body_of_the_wrong_type_gets_a_problem_and_nothing_is_stored() {
    let place = Place::new();
    let server = place.start(&[]);
    let charge = |body: &str| Call::post("/api/charges").key("k").json(body);
    let transfer = |body: &str| Call::post("/api/transfers").key("k").json(body);
    let patch = |path: &str, body: &str| Call::of("PATCH", path).key("k").json(body);
    let wrong = [
        charge("{"),
        charge("{}"),
        charge(&GOOD.replace('1', "\"1\"")),
        charge(&GOOD.replace('1', "-1")),
        charge(&GOOD.replace('1', "0")),
        charge(&GOOD.replace('1', "1.5")),
        charge(&GOOD.replace('1', "1,\"amount\":1")),
        Call::post("/api/charges").key("k"),
        Call::post("/api/charges").key("k").body("text/plain", GOOD),
        transfer("[]"),
        transfer("{\"from\":\"alice\",\"to\":\"bob\",\"amount\":0}"),
        transfer("{\"from\":\"alice\",\"to\":\"bob\",\"amount\":-5}"),
        transfer("{\"from\":\"bob\",\"to\":\"bob\",\"amount\":5}"),
        patch("/api/accounts/%ff", "{\"delta\":1}"),
        patch("/api/accounts/alice", "{\"delta\":0.5}"),
    ];
    assert_refused(&server, &wrong, 400, "invalid-request");
    assert_eq!(place.charges(), []);
    // It may be sent again under its key, mended.
    assert_eq!(server.send(&charge(GOOD)).status, 201);
}

#[test]
fn bad_keys_bad_tokens_and_large_bodies_never_come_to_the_ledger() {
    let place = Place::new();
    let server = place.start(&[]);
    let before = server.metrics();
    let charge = || Call::post("/api/charges");
    let patch = Call::of("PATCH", "/api/accounts/alice").json("{\"delta\":1}");
    let missing = [charge().json(GOOD), patch];
    assert_refused(&server, &missing, 400, "missing-key");
    let wrong = [
        charge().key(&"k".repeat(256)).json(GOOD),
        charge().key("a").key("a").json(GOOD),
        charge().key("").json(GOOD),
        Call::post("/api/transfers").key("a\\b").json(GOOD),
    ];
    assert_refused(&server, &wrong, 400, "invalid-key");
    let large = charge().key("k").json(&"x".repeat(1024 * 1024 + 1));
    assert_refused(&server, &[large], 413, "payload-too-large");
    let tokens = ["Basic YTpi", "Bearer", "Bearer ", "Bearer a b"].map(str::to_owned);
    let long = format!("Bearer {}", "t".repeat(129));
    for token in tokens.into_iter().chain([long]) {
        let call = charge().key("k").json(GOOD).header("authorization", token);
        assert_refused(&server, &[call], 401, "unauthorized");
    }
    assert_eq!(server.metrics(), before, "not even a commit");
}

#[test]
fn unknown_routes_and_methods_get_a_problem_and_nothing_is_stored() {
    let place = Place::new();
    let server = place.start(&[]);
    let before = server.metrics();
    for method in ["GET", "POST", "PATCH", "DELETE"] {
        for path in ["/", "/api", "/api/charge", "/api/charges/1", "/webhooks/"] {
            let call = Call::of(method, path).key("k").json("{}");
            server.send(&call).assert_problem(404, "not-found");
        }
    }
    for (method, path, allowed) in [
        ("PUT", "/api/charges", ["GET", "POST"]),
        ("DELETE", "/api/transfers", ["GET", "POST"]),
        ("PATCH", "/api/charges", ["GET", "POST"]),
        ("POST", "/api/accounts/alice", ["PATCH", "PATCH"]),
        ("GET", "/webhooks/shop", ["POST", "POST"]),
        ("POST", "/api/health", ["GET", "GET"]),
    ] {
        let answer = server.send(&Call::of(method, path).key("k").json("{}"));
        answer.assert_problem(405, "method-not-allowed");
        let allow = answer.header("allow").unwrap_or_default();
        assert!(
            allowed.iter().all(|name| allow.contains(name)),
            "{path}: {allow}"
        );
    }
    assert_eq!(server.metrics(), before);
}

#[test]
fn health_and_metrics_say_what_a_monitor_asks() {
    let place = Place::new();
    let server = place.start(&[]);
    assert_eq!(
        server.get("/api/health"),
        serde_json::json!({"status": "ok"})
    );
    for _ in 0..3 {
        assert_eq!(server.send(&charge("a", 1)).status, 201);
    }
    let metrics = server.metrics();
    let value = |name: &str| {
        let mut lines = metrics.lines();
        let line = lines.find_map(|line| line.strip_prefix(name));
        line.map(|value| value.trim().to_owned())
            .unwrap_or_default()
    };
    assert_eq!(value("idempotency_records{namespace=\"charges\"}"), "1");
    assert_eq!(value("idempotency_claimed{namespace=\"charges\"}"), "0");
    assert_eq!(
        value("idempotency_replays_total{namespace=\"charges\"}"),
        "2"
    );
    for line in metrics.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
}

#[test]
fn a_page_of_an_allowed_origin_may_send_keys_and_read_what_it_needs() {
    let place = Place::new();
    let server = place.start(&["--faults", "--allow-origin", "https://shop.example"]);
    for (path, method) in [
        ("/api/charges", "POST"),
        ("/api/transfers", "POST"),
        ("/api/accounts/alice", "PATCH"),
    ] {
        let preflight = Call::of("OPTIONS", path)
            .header("origin", "https://shop.example")
            .header("access-control-request-method", method)
            .header(
                "access-control-request-headers",
                "authorization,content-type,demo-fault,idempotency-key,if-match",
            );
        let answer = server.send(&preflight);
        assert_eq!((answer.status, answer.body.len()), (200, 0));
        let says = |name: &str, wanted: &str| {
            let said = answer.header(name).unwrap_or_default().to_lowercase();
            let said: Vec<_> = said.split(',').map(str::trim).collect();
            assert!(said.contains(&wanted), "{name}: {said:?}");
        };
        says("access-control-allow-origin", "https://shop.example");
        says("access-control-allow-methods", &method.to_lowercase());
        for name in [
            "idempotency-key",
            "content-type",
            "authorization",
            "if-match",
            "demo-fault",
        ] {
            says("access-control-allow-headers", name);
        }
    }
    let from = |call: Call| call.header("origin", "https://shop.example");
    let answers = [
        server.send(&from(charge("a", 1))),
        server.send(&from(charge("a", 1))),
        server.send(&from(charge("a", 2))),
        server.send(&from(Call::post("/api/charges"))),
        server.send(&from(Call::post("/nowhere"))),
        server.send(&from(charge("a", 1).header("authorization", "Basic x"))),
        server.send(&from(charge("a", 1).header("demo-fault", "no-such"))),
    ];
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    assert_eq!(statuses, [201, 201, 422, 400, 404, 401, 400]);
    for answer in &answers {
        assert_eq!(
            answer.header("access-control-allow-origin"),
            Some("https://shop.example"),
            "{answer:?}"
        );
        let exposed = answer
            .header("access-control-expose-headers")
            .unwrap()
            .to_lowercase();
        for name in ["idempotency-replayed", "retry-after", "location"] {
            assert!(exposed.contains(name), "{exposed}");
        }
    }
}

#[test]
fn pages_are_served_beside_the_routes() {
    let place = Place::new();
    let www = place.path("www");
    std::fs::create_dir(&www).unwrap();
    std::fs::write(www.join("index.html"), "<p>Pay").unwrap();
    let server = place.start(&["--www", www.to_str().unwrap()]);
    let page = Call::get("/").send(server.addr);
    assert_eq!((page.status, page.text()), (200, "<p>Pay"));
    assert_eq!(Call::get("/../shop.redb").send(server.addr).status, 404);
    assert_eq!(Call::get("/%2e%2e/shop.redb").send(server.addr).status, 404);
    assert_eq!(server.send(&charge("a", 1)).status, 201);
    let before = server.metrics();
    let posted = Call::post("/index.html")
        .key("a")
        .json("{}")
        .send(server.addr);
    posted.assert_problem(404, "not-found");
    for unknown in [
        Call::get("/api/nothing"),
        Call::post("/api/nothing").json("{}"),
    ] {
        let answer = unknown.send(server.addr);
        answer.assert_problem(404, "not-found");
    }
    server
        .send(&Call::of("PUT", "/api/charges"))
        .assert_problem(405, "method-not-allowed");
    assert_eq!(server.metrics(), before);
}

#[test]
fn a_server_that_is_asked_to_end_finishes_what_runs() {
    let place = Place::new();
    let server = place.start(&["--faults"]);
    let slow = charge("a", 1)
        .header("demo-fault", "slow=300")
        .open(server.addr);
    crate::shop::until("it is claimed", || {
        server
            .metrics()
            .contains("idempotency_claimed{namespace=\"charges\"} 1")
    });
    slow.disconnect();
    assert!(server.stop().success());
    assert_eq!(place.charges().len(), 1);
    let server = place.start(&[]);
    let retry = server.send(&charge("a", 1));
    assert_eq!((retry.status, retry.is_replay()), (201, true));
}
