//! Replays: the same status and bytes, the headers that are allowed, and the mark.

use axum::Router;
use axum::http::HeaderName;
use axum::response::Response;
use axum::routing::post;
use idempotency_ledger::Ledger;
use idempotency_ledger::http::{HttpPolicy, IdempotencyLayer};

use crate::client::{Answer, Call};
use crate::shop::{CHARGES, Served, Shop};

fn values(answer: &Answer, name: &str) -> Vec<String> {
    let headers = answer.headers.iter();
    let found = headers.filter(|(known, _)| known == name);
    found.map(|(_, value)| value.clone()).collect()
}

#[test]
fn a_replay_has_the_same_bytes_and_the_headers_that_count() {
    let shop = Shop::new(HttpPolicy::new());
    let call = Call::post("/pay").key("abc").json("{\"amount\":25}");
    let first = call.send(shop.addr());
    assert_eq!((first.status, first.text()), (201, "call 1, 13 bytes"));
    assert!(!first.is_replay());
    assert_eq!(first.header("set-cookie"), Some("session=1"));
    assert_eq!(first.header("x-request-id"), Some("1"));
    for _ in 0..3 {
        let retry = call.send(shop.addr());
        assert!(retry.is_replay());
        assert_eq!((retry.status, &retry.body), (first.status, &first.body));
        for name in [
            "content-type",
            "content-language",
            "content-length",
            "location",
            "etag",
            "link",
        ] {
            assert_eq!(values(&retry, name), values(&first, name), "{name}");
            assert!(!values(&retry, name).is_empty(), "{name}");
        }
        assert_eq!(retry.header("set-cookie"), None);
        assert_eq!(retry.header("x-request-id"), None);
    }
    assert_eq!(shop.calls(), 1);
}

#[test]
fn a_claim_costs_two_commits_and_a_replay_none() {
    let shop = Shop::new(HttpPolicy::new());
    let call = Call::post("/pay").key("abc").json("25");
    let commits = || shop.ledger.stats().unwrap().commits;
    let before = commits();
    assert_eq!(call.send(shop.addr()).status, 201);
    assert_eq!(
        commits(),
        before + 2,
        "one for the claim, one for the answer"
    );
    assert!(call.send(shop.addr()).is_replay());
    assert_eq!(commits(), before + 2);
}

#[test]
fn the_allowlist_is_a_policy_but_a_cookie_is_never_stored() {
    let names = ["x-request-id", "Set-Cookie", "location"];
    let names = names.map(|name| HeaderName::try_from(name).unwrap());
    let shop = Shop::new(HttpPolicy::new().stored_headers(names));
    let call = Call::post("/pay").key("abc");
    let _ = call.send(shop.addr());
    let retry = call.send(shop.addr());
    assert!(retry.is_replay());
    assert_eq!(retry.header("x-request-id"), Some("1"));
    assert_eq!(retry.header("location"), Some("/charges/1"));
    assert_eq!(retry.header("content-type"), None);
    assert_eq!(retry.header("set-cookie"), None);
    let stored = shop.records()[0].response().unwrap().bytes().to_vec();
    assert!(!crate::client::contains(&stored, b"session="));
}

async fn binary() -> Response {
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    Response::new(bytes.into())
}

async fn nothing() -> Response {
    let response = Response::builder().status(204);
    response.body(axum::body::Body::empty()).unwrap()
}

async fn elsewhere() -> Response {
    let response = Response::builder()
        .status(303)
        .header("location", "/thanks");
    // A header value of any bytes that HTTP allows.
    let odd = response.header("etag", http::HeaderValue::from_bytes(b"\"\xff\"").unwrap());
    odd.body("see there".into()).unwrap()
}

async fn packed() -> Response {
    let response = Response::builder().header("content-encoding", "gzip");
    response.body("not really packed".into()).unwrap()
}

fn several() -> (Served, Ledger) {
    let ledger = Ledger::in_memory().unwrap();
    let router = Router::new()
        .route("/binary", post(binary))
        .route("/nothing", post(nothing))
        .route("/elsewhere", post(elsewhere))
        .route("/packed", post(packed))
        .route_layer(IdempotencyLayer::new(
            ledger.clone(),
            CHARGES,
            HttpPolicy::new(),
        ));
    (Served::new(router), ledger)
}

#[test]
fn any_bytes_no_bytes_and_redirects_are_replayed() {
    let (served, _ledger) = several();
    for (path, status, bytes) in [("/binary", 200, 70_000), ("/nothing", 204, 0)] {
        let call = Call::post(path).key("a");
        let [first, retry] = [call.send(served.addr), call.send(served.addr)];
        assert_eq!((first.status, first.body.len()), (status, bytes));
        assert_eq!((retry.status, &retry.body), (status, &first.body));
        assert!(retry.is_replay());
    }
    let call = Call::post("/elsewhere").key("a");
    let raw = |()| {
        let open = crate::client::Open::with(served.addr, &call.bytes()).unwrap();
        open.raw()
    };
    for (replays, bytes) in [false, true].into_iter().zip([(); 2].map(raw)) {
        assert!(bytes.starts_with(b"HTTP/1.1 303 See Other\r\n"));
        for part in [
            &b"location: /thanks\r\n"[..],
            b"etag: \"\xff\"\r\n",
            b"\r\n\r\nsee there",
        ] {
            assert!(crate::client::contains(&bytes, part));
        }
        let marked = crate::client::contains(&bytes, b"idempotency-replayed: true\r\n");
        assert_eq!(marked, replays);
    }
}

#[test]
fn what_says_how_to_read_the_bytes_is_replayed_with_them() {
    let (served, _ledger) = several();
    let call = Call::post("/packed").key("a");
    for replays in [false, true] {
        let answer = call.send(served.addr);
        assert_eq!(answer.is_replay(), replays);
        assert_eq!(answer.header("content-encoding"), Some("gzip"));
    }
}
