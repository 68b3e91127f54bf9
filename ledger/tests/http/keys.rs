//! The key: missing, malformed, repeated, over-long, quoted and bare, in a form.

use idempotency_ledger::http::{HeaderForm, HttpPolicy, Presence};

use crate::client::Call;
use crate::shop::Shop;

fn strict() -> HttpPolicy {
    HttpPolicy::new().header_form(HeaderForm::Strict)
}

/// Nothing ran and nothing was stored.
#[track_caller]
fn assert_untouched(shop: &Shop) {
    assert_eq!((shop.calls(), shop.records().len()), (0, 0));
}

#[test]
fn without_a_key_the_effect_does_not_run() {
    let shop = Shop::new(HttpPolicy::new());
    for method in ["POST", "PATCH"] {
        let answer = Call::of(method, "/pay").json("{}").send(shop.addr());
        answer.assert_problem(400, "missing-key");
    }
    assert_untouched(&shop);
}

#[test]
fn a_malformed_key_is_refused_in_both_forms() {
    for policy in [HttpPolicy::new(), strict()] {
        let shop = Shop::new(policy);
        let longer = format!("\"{}\"", "k".repeat(256));
        let bare_longer = "k".repeat(256);
        let wrong: [&[u8]; 20] = [
            b"",
            b"\"\"",
            b"\"abc",
            b"abc\"",
            b"\"a\"b\"",
            b"\"a\\nb\"",
            b"\"abc\\\"",
            b"\"abc\";",
            b"\"abc\";Q=1",
            b"\"abc\";q=",
            b"\"abc\" ;q",
            b"\"abc\" x",
            b"\"abc\", \"abc\"",
            b"abc, def",
            b"a b",
            b"a\\b",
            b"\"caf\xc3\xa9\"",
            b"caf\xe9",
            longer.as_bytes(),
            bare_longer.as_bytes(),
        ];
        for value in wrong {
            let call = Call::post("/pay").header("Idempotency-Key", value);
            call.json("{}")
                .send(shop.addr())
                .assert_problem(400, "invalid-key");
        }
        assert_untouched(&shop);
    }
}

#[test]
fn a_key_that_comes_twice_is_refused_even_where_both_are_equal() {
    let shop = Shop::new(strict());
    for [one, other] in [["\"abc\"", "\"abc\""], ["abc", "abc"], ["\"abc\"", "def"]] {
        let call = Call::post("/pay").header("Idempotency-Key", one);
        let call = call.header("idempotency-key", other);
        call.send(shop.addr()).assert_problem(400, "invalid-key");
    }
    assert_untouched(&shop);
}

#[test]
fn the_longest_key_is_taken() {
    let shop = Shop::new(HttpPolicy::new());
    let answer = Call::post("/pay").key(&"k".repeat(255)).send(shop.addr());
    assert_eq!((answer.status, shop.calls()), (201, 1));
}

#[test]
fn quoted_and_bare_are_one_key_unless_the_draft_is_taken_strictly() {
    let shop = Shop::new(HttpPolicy::new());
    let first = Call::post("/pay").header("Idempotency-Key", "abc");
    let first = first.send(shop.addr());
    let retry = Call::post("/pay").key("abc").send(shop.addr());
    assert!(!first.is_replay() && retry.is_replay());
    assert_eq!((&first.body, shop.calls()), (&retry.body, 1));
    assert_eq!(shop.records()[0].key().as_str(), "abc");

    let shop = Shop::new(strict());
    let bare = Call::post("/pay").header("Idempotency-Key", "abc");
    bare.send(shop.addr()).assert_problem(400, "invalid-key");
    assert_untouched(&shop);
}

#[test]
fn parameters_of_the_header_are_no_part_of_the_key() {
    for policy in [HttpPolicy::new(), strict()] {
        let shop = Shop::new(policy);
        let written = [
            "\"abc\"",
            "\"abc\";q=1",
            "\"abc\"; a;b=?0; c=\"d\"",
            "\"abc\";*=:aGk=:",
        ];
        for (at, value) in written.iter().enumerate() {
            let call = Call::post("/pay").header("Idempotency-Key", value);
            let answer = call.send(shop.addr());
            assert_eq!(
                (answer.status, answer.is_replay()),
                (201, at > 0),
                "{value}"
            );
        }
        assert_eq!(shop.records()[0].key().as_str(), "abc");
    }
}

#[test]
fn escapes_are_no_part_of_the_key() {
    let shop = Shop::new(HttpPolicy::new());
    let call = Call::post("/pay").header("Idempotency-Key", r#""a\"b\\c d""#);
    assert_eq!(call.send(shop.addr()).status, 201);
    assert_eq!(shop.records()[0].key().as_str(), r#"a"b\c d"#);
}

#[test]
fn other_methods_pass_with_a_key_and_store_nothing() {
    let shop = Shop::new(HttpPolicy::new());
    let mut calls = 0;
    for method in ["GET", "HEAD", "PUT", "DELETE"] {
        // What would be refused elsewhere is none of the layer's business here.
        for key in ["\"abc\"", "\"abc\"", "\"broken", ""] {
            let call = Call::of(method, "/pay").header("Idempotency-Key", key);
            let answer = call.send(shop.addr());
            calls += 1;
            assert_eq!((answer.status, shop.calls()), (201, calls), "{method}");
            assert!(!answer.is_replay());
            assert!(answer.header("set-cookie").is_some());
        }
    }
    assert_eq!(shop.records().len(), 0);
}

#[test]
fn an_optional_key_is_obeyed_where_it_is_and_not_missed_where_it_is_not() {
    let shop = Shop::new(HttpPolicy::new().key(Presence::Optional));
    for calls in 1..=2 {
        let answer = Call::post("/pay").json("{}").send(shop.addr());
        assert_eq!((answer.status, shop.calls()), (201, calls));
        assert!(!answer.is_replay());
    }
    assert_eq!(shop.records().len(), 0);
    for replays in [false, true] {
        let answer = Call::post("/pay").key("a").json("{}").send(shop.addr());
        assert_eq!((answer.is_replay(), shop.calls()), (replays, 3));
    }
    let broken = Call::post("/pay").header("Idempotency-Key", "\"a");
    broken.send(shop.addr()).assert_problem(400, "invalid-key");
}

const FORM: &str = "application/x-www-form-urlencoded";

#[test]
fn a_classic_form_has_its_key_in_a_field_where_that_is_allowed() {
    let shop = Shop::new(HttpPolicy::new().form_field());
    let form = "amount=25&_idempotency_key=k+1%21";
    for replays in [false, true] {
        let answer = Call::post("/pay").body(FORM, form).send(shop.addr());
        assert_eq!(answer.is_replay(), replays);
        // The handler still sees the whole form.
        assert_eq!(answer.text(), format!("call 1, {} bytes", form.len()));
    }
    assert_eq!(shop.records()[0].key().as_str(), "k 1!");
    let missing = Call::post("/pay").body(FORM, "amount=25");
    missing.send(shop.addr()).assert_problem(400, "missing-key");
    let no_form = Call::post("/pay").body("text/plain", "_idempotency_key=k");
    no_form.send(shop.addr()).assert_problem(400, "missing-key");
    for wrong in [
        "_idempotency_key=",
        "_idempotency_key=a&_idempotency_key=a",
        "_idempotency_key=a%00b",
    ] {
        let answer = Call::post("/pay").body(FORM, wrong).send(shop.addr());
        answer.assert_problem(400, "invalid-key");
    }
    // The header counts where both are there.
    let both = Call::post("/pay").key("from-the-header").body(FORM, form);
    assert!(!both.send(shop.addr()).is_replay());
    assert_eq!((shop.calls(), shop.records().len()), (2, 2));

    let strict = Shop::new(HttpPolicy::new());
    let refused = Call::post("/pay").body(FORM, form).send(strict.addr());
    refused.assert_problem(400, "missing-key");
}

#[test]
fn a_multipart_form_has_its_key_in_a_field_too() {
    let shop = Shop::new(HttpPolicy::new().form_field());
    let form = |boundary: &str, name: &str| {
        let body = format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"amount\"\r\n\r\n25\r\n\
             --{boundary}\r\nContent-Disposition: form-data; {name}\r\n\r\nk-1\r\n\
             --{boundary}--\r\n"
        );
        Call::post("/pay").body(&format!("multipart/form-data; boundary={boundary}"), body)
    };
    for (boundary, replays) in [("----a", false), ("----b", true)] {
        let named = form(boundary, "name=\"_idempotency_key\"");
        assert_eq!(named.send(shop.addr()).is_replay(), replays);
    }
    assert_eq!(shop.records()[0].key().as_str(), "k-1");
    for other in [
        "name=\"x\"; filename=\"_idempotency_key\"",
        "name=\"_idempotency_key2\"",
        "name=\"x\"; filename=\"name=_idempotency_key\"",
    ] {
        let answer = form("c", other).send(shop.addr());
        answer.assert_problem(400, "missing-key");
    }
}
