//! Bodies at, below and above their limits.

use idempotency_ledger::http::HttpPolicy;
use idempotency_ledger::{Namespace, Policy};

use crate::client::{Call, Open};
use crate::shop::Shop;

const LIMIT: usize = 10_000;

#[test]
fn a_body_of_exactly_the_limit_is_taken_and_one_byte_more_is_not() {
    let shop = Shop::new(HttpPolicy::new().request_bytes_max(LIMIT));
    for (bytes, is_taken) in [(LIMIT - 1, true), (LIMIT, true), (LIMIT + 1, false)] {
        for is_chunked in [false, true] {
            let calls = shop.calls();
            let call = Call::post("/pay").key(&format!("{bytes}-{is_chunked}"));
            let body = vec![b'a'; bytes];
            let call = if is_chunked {
                call.chunked(body)
            } else {
                call.body("text/plain", body)
            };
            let answer = call.send(shop.addr());
            if is_taken {
                let text = format!("call {}, {bytes} bytes", calls + 1);
                assert_eq!(answer.text(), text, "chunked: {is_chunked}");
            } else {
                answer.assert_problem(413, "payload-too-large");
                assert_eq!(shop.calls(), calls);
            }
        }
    }
    assert_eq!(shop.records().len(), 4);
}

#[test]
fn what_is_declared_too_large_is_refused_before_it_is_sent() {
    let shop = Shop::new(HttpPolicy::new().request_bytes_max(LIMIT));
    let head = "POST /pay HTTP/1.1\r\nhost: here\r\nconnection: close\r\n\
                idempotency-key: \"a\"\r\ncontent-length: 10001\r\n\r\n";
    let answer = Open::with(shop.addr(), head.as_bytes()).unwrap().answer();
    answer.unwrap().assert_problem(413, "payload-too-large");
    assert_eq!((shop.calls(), shop.records().len()), (0, 0));
}

#[test]
fn the_limit_is_a_mebibyte_unless_said_otherwise() {
    let shop = Shop::new(HttpPolicy::new());
    let limit = 1024 * 1024;
    let call = |bytes: usize| Call::post("/pay").body("text/plain", vec![b'a'; bytes]);
    let taken = call(limit).key("a").send(shop.addr());
    assert_eq!(taken.status, 201);
    let refused = call(limit + 1).key("b").send(shop.addr());
    refused.assert_problem(413, "payload-too-large");
}

const SMALL: Namespace =
    Namespace::new("small").policy(Policy::DEFAULT.response_bytes_max(100_000));

#[test]
fn an_answer_over_the_limit_goes_to_its_caller_whole_and_is_not_replayed() {
    let shop = Shop::of(SMALL, HttpPolicy::new());
    for (key, bytes) in [("a", 100_001), ("b", 100_000), ("c", 3_000_000)] {
        let call = Call::post("/pay")
            .key(key)
            .header("x-bytes", bytes.to_string());
        let answer = call.send(shop.addr());
        assert_eq!((answer.status, answer.body.len()), (201, bytes));
        assert!(answer.body.iter().all(|byte| *byte == b'x'));
        assert!(answer.header("x-request-id").is_some());
        call.send(shop.addr()).assert_problem(409, "interrupted");
    }
    // Status and headers count, too, so the largest answer has a little less than the limit.
    let call = Call::post("/pay").key("d").header("x-bytes", "99000");
    let first = call.send(shop.addr());
    assert_eq!(first.body.len(), 99_000);
    assert_eq!(call.send(shop.addr()).body, first.body);
    assert_eq!(shop.calls(), 4);
}

#[test]
fn an_answer_that_is_too_large_frees_the_key_where_nothing_happened() {
    let shop = Shop::of(SMALL, HttpPolicy::new());
    let call = Call::post("/pay").key("a").header("x-bytes", "200000");
    for (name, value) in [("x-status", "429"), ("x-nothing", "")] {
        let call = call.clone().header(name, value);
        assert_eq!(call.send(shop.addr()).body.len(), 200_000);
        assert_eq!(shop.state(), "none", "{name}");
    }
}

#[test]
fn a_body_that_ends_too_early_runs_nothing() {
    let shop = Shop::new(HttpPolicy::new());
    let head = "POST /pay HTTP/1.1\r\nhost: here\r\nidempotency-key: \"a\"\r\n\
                transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n";
    let answer = Open::with(shop.addr(), head.as_bytes()).unwrap().answer();
    if let Ok(answer) = answer {
        assert_eq!(answer.status, 400);
    }
    let torn = "POST /pay HTTP/1.1\r\nhost: here\r\nidempotency-key: \"a\"\r\n\
                content-length: 10\r\n\r\nhello";
    Open::with(shop.addr(), torn.as_bytes())
        .unwrap()
        .disconnect();
    assert_eq!(Call::post("/pay").key("b").send(shop.addr()).status, 201);
    assert_eq!((shop.calls(), shop.records().len()), (1, 1));
}
