//! Whose key it is: the same key on two routes, methods or principals is never the other's.

use axum::Router;
use axum::extract::Request;
use axum::routing::post;
use idempotency_ledger::Ledger;
use idempotency_ledger::http::{HttpPolicy, IdempotencyLayer};

use crate::client::Call;
use crate::shop::{CHARGES, Served, Shop, records};

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
    // axum takes the prefix of a nested router away before the layer sees the path, so the
    // application says what the route is.
    let ledger = Ledger::in_memory().unwrap();
    let policy = HttpPolicy::new().route(|parts| {
        let original = parts.extensions.get::<Original>();
        original.map_or_else(Vec::new, |Original(path)| path.clone().into_bytes())
    });
    let layer = IdempotencyLayer::new(ledger.clone(), CHARGES, policy);
    let inner = Router::new().route("/pay", post(whose)).route_layer(layer);
    let router = Router::new()
        .nest("/tenants/{tenant}", inner)
        .layer(axum::middleware::map_request(remember));
    let served = Served::new(router);
    for (tenant, replays) in [("1", false), ("2", false), ("1", true), ("2", true)] {
        let path = format!("/tenants/{tenant}/pay");
        let answer = Call::post(&path).key("abc").json("{}").send(served.addr);
        assert_eq!((answer.text(), answer.is_replay()), (&path[..], replays));
    }
    assert_eq!(records(&ledger).len(), 2);
}

#[derive(Clone)]
struct Original(String);

async fn remember(mut request: Request) -> Request {
    let path = request.uri().path().to_owned();
    request.extensions_mut().insert(Original(path));
    request
}

async fn whose(request: Request) -> String {
    let Original(path) = request.extensions().get().unwrap();
    path.clone()
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
