//! Whose key it is: the same key on two routes, methods or principals is never the other's.

use axum::Router;
use axum::extract::OriginalUri;
use axum::routing::post;
use idempotency_ledger::http::{HttpPolicy, IdempotencyLayer, scope_of};
use idempotency_ledger::{Ledger, ManualClock};

use crate::client::Call;
use crate::shop::{CHARGES, START, Served, Shop, records};

fn by_token() -> HttpPolicy {
    HttpPolicy::new().principal(|parts| match parts.headers.get("authorization") {
        Some(token) => token.as_bytes().to_vec(),
        None => Vec::new(),
    })
}

#[test]
fn the_same_key_elsewhere_is_another_key() {
    let shop = Shop::new(by_token());
    let long = "t".repeat(300);
    let calls = [
        Call::post("/pay").bearer("ann"),
        Call::post("/pay").bearer("bob"),
        Call::post("/pay"),
        Call::post("/pay").bearer(&long),
        Call::post("/pay").bearer(&format!("{long}2")),
        Call::of("PATCH", "/pay").bearer("ann"),
        Call::post("/refund").bearer("ann"),
        Call::post("/orders/1").bearer("ann"),
        Call::post("/orders/2").bearer("ann"),
        Call::post(&format!("/orders/{}", "3".repeat(300))).bearer("ann"),
        Call::post(&format!("/orders/{}", "3".repeat(301))).bearer("ann"),
    ];
    let calls = calls.map(|call| call.key("abc").json("{\"amount\":25}"));
    let first: Vec<_> = calls.iter().map(|call| call.send(shop.addr())).collect();
    assert_eq!(shop.calls(), 11);
    for (call, first) in calls.iter().zip(&first) {
        assert!(!first.is_replay());
        let retry = call.send(shop.addr());
        assert!(retry.is_replay());
        assert_eq!(retry.body, first.body);
    }
    assert_eq!((shop.calls(), shop.records().len()), (11, 11));
}

#[test]
fn another_query_is_another_request_under_the_same_key() {
    let shop = Shop::new(HttpPolicy::new());
    let first = Call::post("/pay?currency=EUR").key("a").send(shop.addr());
    assert_eq!(first.status, 201);
    let other = Call::post("/pay?currency=USD").key("a").send(shop.addr());
    other.assert_problem(422, "mismatch");
    assert_eq!(shop.calls(), 1);
}

#[test]
fn a_nested_router_does_not_mix_its_tenants() {
    // axum takes the prefix of a nested router away before the layer sees the path.
    let ledger = Ledger::in_memory().unwrap();
    let layer = IdempotencyLayer::new(ledger.clone(), CHARGES, HttpPolicy::new());
    let inner = Router::new().route("/pay", post(whose)).route_layer(layer);
    let router = Router::new().nest("/tenants/{tenant}", inner);
    let served = Served::new(router);
    for (tenant, replays) in [("1", false), ("2", false), ("1", true), ("2", true)] {
        let path = format!("/tenants/{tenant}/pay");
        let answer = Call::post(&path).key("abc").json("{}").send(served.addr);
        assert_eq!((answer.text(), answer.is_replay()), (&path[..], replays));
    }
    assert_eq!(records(&ledger).len(), 2);
}

async fn whose(OriginalUri(uri): OriginalUri) -> String {
    uri.path().to_owned()
}

#[test]
fn equal_paths_in_different_spelling_are_one() {
    let shop = Shop::new(HttpPolicy::new());
    let pay = |id: &str| {
        let call = Call::post(&format!("/orders/{id}")).key("abc").json("{}");
        call.send(shop.addr())
    };
    assert_eq!(pay("ab").status, 201);
    for same in ["a%62", "%61b", "%61%62"] {
        let retry = pay(same);
        assert!(retry.is_replay(), "{same}: {retry:?}");
    }
    // What a handler reads as something else is something else.
    for (number, other) in ["a%2Fb", "a%252Fb", "a+b", "a%20b", "Ab"]
        .iter()
        .enumerate()
    {
        assert!(!pay(other).is_replay(), "{other}");
        assert_eq!(shop.records().len(), number + 2, "{other}");
    }
    for (one, other) in [("%c3%a9", "%C3%A9"), ("a!", "a%21"), ("x%zz", "x%25zz")] {
        assert!(!pay(one).is_replay());
        assert!(pay(other).is_replay(), "{one} {other}");
    }
}

#[test]
fn a_principal_is_never_stored_in_clear_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shop.redb");
    let clock = ManualClock::starting_at(START);
    let ledger = Ledger::builder().clock(clock.clone()).open(&path).unwrap();
    let shop = Shop::on(ledger, clock, CHARGES, by_token());
    let call = Call::post("/pay")
        .bearer("sk-secret-17")
        .key("abc")
        .json("{}");
    assert_eq!(call.send(shop.addr()).status, 201);
    assert!(call.send(shop.addr()).is_replay());
    let scope = shop.records()[0].scope().as_bytes().to_vec();
    assert!(scope.starts_with(b"POST /pay "), "{:?}", shop.records());
    let made = scope_of(&http::Method::POST, b"/pay", b"Bearer sk-secret-17");
    assert_eq!(scope, made);
    let stored = std::fs::read(&path).unwrap();
    for bytes in [&scope, &stored] {
        assert!(!crate::client::contains(bytes, b"sk-secret-17"));
    }
}

#[test]
fn a_scope_is_never_that_of_another_route_or_principal() {
    let post = http::Method::POST;
    let long = [b'x'; 300];
    let hash = scope_of(&post, b"/pay", b"ann")[b"POST /pay ".len()..].to_vec();
    let pairs: [(&[u8], &[u8]); 10] = [
        (b"/pay", b""),
        (b"/pay", b"ann"),
        (b"/pay", b"bob"),
        (b"/pay ann", b""),
        (&[b"/pay ", &hash[..]].concat(), b""),
        (b"", b"ann"),
        (b"/caf\xc3\xa9", b"ann"),
        (&long, b""),
        (&long, b"ann"),
        (&[b"/pay\n", &hash[..]].concat(), b""),
    ];
    let scopes = pairs.map(|(route, principal)| scope_of(&post, route, principal));
    for (at, scope) in scopes.iter().enumerate() {
        assert!(!scopes[..at].contains(scope), "{scope:?}");
        assert!(scope.len() <= 255 && scope.is_ascii(), "{scope:?}");
        assert!(!scope.iter().any(u8::is_ascii_control), "{scope:?}");
    }
}

#[test]
fn what_the_router_does_not_know_stores_nothing() {
    let shop = Shop::new(HttpPolicy::new());
    for path in ["/", "/pays", "/orders", "/orders/1/2"] {
        let answer = Call::post(path).key("abc").json("{}").send(shop.addr());
        assert_eq!(answer.status, 404, "{path}");
    }
    assert_eq!((shop.calls(), shop.records().len()), (0, 0));
}
