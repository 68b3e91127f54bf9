//! What makes two bodies the same request.

use idempotency_ledger::http::{BodyFingerprint, HttpPolicy};

use crate::client::{Answer, Call};
use crate::shop::{CHARGES, Shop};

/// Whether the second body under the key of the first is a retry of it.
#[track_caller]
fn is_retry(shop: &Shop, first: &Call, second: &Call) -> bool {
    let key = format!("k-{}", shop.records().len());
    let calls = shop.calls();
    let answer = first.clone().key(&key).send(shop.addr());
    assert_eq!((answer.status, answer.is_replay()), (201, false));
    let answer = second.clone().key(&key).send(shop.addr());
    let again = first.clone().key(&key).send(shop.addr());
    assert!(again.is_replay(), "the record is not poisoned");
    assert_eq!(shop.calls(), calls + 1);
    verdict(&answer)
}

#[track_caller]
fn verdict(answer: &Answer) -> bool {
    if answer.is_replay() {
        return true;
    }
    answer.assert_problem(422, "mismatch");
    false
}

fn json(body: &str) -> Call {
    Call::post("/pay").json(body)
}

#[test]
fn json_is_the_same_in_another_order_and_other_spaces() {
    let shop = Shop::new(HttpPolicy::new());
    let one = json(r#"{"amount":2500,"to":{"name":"bob","iban":"x"},"tags":[1,2]}"#);
    let reordered = json(
        "{ \"tags\" : [1, 2],\n \"to\": {\"iban\":\"x\", \"name\":\"\\u0062ob\"}, \
         \"amount\": 25e2 }",
    );
    assert!(is_retry(&shop, &one, &reordered));
    let vendor = |body: &str| Call::post("/pay").body("application/vnd.shop+json;v=1", body);
    let (ab, ba) = (r#"{"a":1,"b":2}"#, r#"{"b":2,"a":1}"#);
    assert!(is_retry(&shop, &vendor(ab), &vendor(ba)));
    assert!(is_retry(
        &shop,
        &json(ab),
        &json(ba).header("content-encoding", "identity")
    ));
    let chunked = Call::post("/pay").header("content-type", "application/json");
    assert!(is_retry(&shop, &json(ab), &chunked.chunked(ba)));
}

#[test]
fn json_that_says_something_else_is_another_request() {
    let shop = Shop::new(HttpPolicy::new());
    let different = [
        [r#"{"a":[1,2]}"#, r#"{"a":[2,1]}"#],
        [r#"{"a":1}"#, r#"{"a":2}"#],
        [r#"{"a":1}"#, r#"{"a":"1"}"#],
        [r#"{"a":1}"#, r#"{"A":1}"#],
        [r#"{"a":null}"#, "{}"],
        [r#"{"a":1}"#, r#"{"a":1"#],
        // Beyond what a double holds exactly.
        [r#"{"a":9007199254740992}"#, r#"{"a":9007199254740993}"#],
        [r#"{"a":-9007199254740992}"#, r#"{"a":-9007199254740993}"#],
        [r#"{"a":9007199254740992}"#, r#"{"a":9007199254740993.0}"#],
        [
            r#"{"a":18446744073709551615}"#,
            r#"{"a":18446744073709551614}"#,
        ],
        [
            r#"{"a":18446744073709551616}"#,
            r#"{"a":18446744073709551617}"#,
        ],
        [
            r#"{"a":-9223372036854775809}"#,
            r#"{"a":-9223372036854775810}"#,
        ],
        [r#"{"a":1e400}"#, r#"{"a":1e401}"#],
        // Fractions that are one double.
        [
            r#"{"a":123456789012.123456}"#,
            r#"{"a":123456789012.123459}"#,
        ],
        [r#"{"a":0.1}"#, r#"{"a":0.10000000000000000001}"#],
        // An exponent that no program counts to.
        [
            r#"{"a":1e99999999999999999999}"#,
            r#"{"a":1e99999999999999999998}"#,
        ],
        // A parser may take either.
        [r#"{"a":2}"#, r#"{"a":1,"a":2}"#],
        [r#"{"a":1}"#, r#"{"a":1,"a":2}"#],
    ];
    for [one, other] in different {
        assert!(!is_retry(&shop, &json(one), &json(other)), "{one} {other}");
        assert!(!is_retry(&shop, &json(other), &json(one)), "{other} {one}");
    }
}

#[test]
fn large_and_long_numbers_are_compared_by_value() {
    let shop = Shop::new(HttpPolicy::new());
    for (one, other) in [
        // Ten thousand ether, in wei.
        ("10000000000000000000000", "1e22"),
        ("123456789012.1234560", "12345678901212345.6e-5"),
        ("1e400", "10.0E+399"),
        ("0", "-0.00e7"),
    ] {
        let member = |number: &str| json(&format!("{{\"b\":1,\"a\":{number}}}"));
        let other = json(&format!("{{\"a\":{other},\"b\":1.0}}"));
        assert!(is_retry(&shop, &member(one), &other), "{one}");
    }
}

#[test]
fn content_type_and_encoding_belong_to_the_request() {
    for form in [BodyFingerprint::Canonical, BodyFingerprint::Raw] {
        let shop = Shop::new(HttpPolicy::new().body_fingerprint(form));
        let of = |content_type: &str| Call::post("/pay").body(content_type, "{\"a\":1}");
        let packed = |encoding: &str| of("text/plain").header("content-encoding", encoding);
        for (one, other) in [
            (of("application/json"), of("text/plain")),
            (of("application/json"), of("application/merge-patch+json")),
            (
                of("text/plain; charset=utf-8"),
                of("text/plain; charset=utf-16"),
            ),
            (of("text/plain"), packed("gzip")),
            (packed("gzip"), packed("br")),
            (packed("gzip"), packed("gzip, br")),
        ] {
            assert!(!is_retry(&shop, &one, &other), "{one:?} {other:?}");
            assert!(!is_retry(&shop, &other, &one), "{other:?} {one:?}");
        }
        for (one, other) in [
            (of("application/json"), of("Application/JSON")),
            (
                of("text/plain;charset=utf-8"),
                of("text/plain; Charset=\"utf-8\""),
            ),
            (of("text/plain"), packed("identity")),
            (packed("gzip"), packed("GZIP")),
        ] {
            assert!(is_retry(&shop, &one, &other), "{one:?} {other:?}");
        }
    }
}

#[test]
fn what_is_no_json_counts_byte_by_byte() {
    let shop = Shop::new(HttpPolicy::new());
    let plain = |body: &str| Call::post("/pay").body("text/plain", body);
    assert!(is_retry(&shop, &plain("a b"), &plain("a b")));
    assert!(!is_retry(
        &shop,
        &plain(r#"{"a":1}"#),
        &plain(r#"{ "a":1}"#)
    ));
    assert!(!is_retry(&shop, &Call::post("/pay"), &plain("a")));
    assert!(is_retry(
        &shop,
        &Call::post("/pay"),
        &Call::post("/pay").chunked("")
    ));

    let raw = Shop::new(HttpPolicy::new().body_fingerprint(BodyFingerprint::Raw));
    assert!(!is_retry(&raw, &json(r#"{"a":1}"#), &json(r#"{ "a":1}"#)));
    assert!(is_retry(&raw, &json(r#"{"a":1}"#), &json(r#"{"a":1}"#)));
}

fn multipart(content_type: &str, boundary: &str, fields: &[(&str, &str)]) -> Call {
    let sections = fields.iter().map(|(name, value)| {
        format!(
            "--{boundary}\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"
        )
    });
    let body = sections.collect::<String>() + &format!("--{boundary}--\r\n");
    Call::post("/pay").body(&content_type.replace("BOUNDARY", boundary), body)
}

#[test]
fn a_multipart_form_is_the_same_under_another_boundary() {
    let form = |boundary: &str, value: &str| {
        let fields = [("amount", value), ("file", "a\r\nb--\r\n--c")];
        multipart("multipart/form-data; boundary=BOUNDARY", boundary, &fields)
    };
    let shop = Shop::new(HttpPolicy::new());
    assert!(is_retry(
        &shop,
        &form("----geckoform1", "1"),
        &form("----geckoform22", "1")
    ));
    assert!(!is_retry(
        &shop,
        &form("----geckoform1", "1"),
        &form("----geckoform2", "2")
    ));
    let quoted = "Multipart/Form-Data; charset=utf-8; Boundary=\"BOUNDARY\"";
    let one = multipart(quoted, "x 1", &[("a", "1")]);
    assert!(is_retry(
        &shop,
        &one,
        &multipart(quoted, "y:2", &[("a", "1")])
    ));
    // Not the boundary that the header tells: byte by byte.
    let torn = |text: &str| Call::post("/pay").body("multipart/form-data; boundary=q", text);
    assert!(!is_retry(&shop, &torn("--r\r\n"), &torn("--s\r\n")));
    // One field that looks like two is not two.
    let one_field = multipart("multipart/form-data; boundary=BOUNDARY", "b", &[("a", "1")]);
    let two_fields = [("a", "1"), ("a", "1")];
    let two_fields = multipart("multipart/form-data; boundary=BOUNDARY", "c", &two_fields);
    assert!(!is_retry(&shop, &one_field, &two_fields));

    let raw = Shop::new(HttpPolicy::new().body_fingerprint(BodyFingerprint::Raw));
    assert!(!is_retry(&raw, &form("b1", "1"), &form("b2", "1")));
}

#[test]
fn a_changed_rule_of_the_layer_accepts_what_the_earlier_one_stored() {
    use BodyFingerprint::{Canonical, Raw};
    for (earlier, later) in [(Canonical, Raw), (Raw, Canonical)] {
        let before = Shop::new(HttpPolicy::new().body_fingerprint(earlier));
        let after = |policy: HttpPolicy| {
            let policy = policy.body_fingerprint(later);
            Shop::on(before.ledger.clone(), before.clock.clone(), CHARGES, policy)
        };
        let call = json(r#"{"a":1}"#).key("in-flight");
        assert_eq!(call.send(before.addr()).status, 201);
        let strict = after(HttpPolicy::new());
        call.send(strict.addr()).assert_problem(422, "mismatch");
        let kind = after(HttpPolicy::new().also_accept(earlier));
        assert!(call.send(kind.addr()).is_replay());
        // Each record is compared under the rule that it was made with.
        let respaced = |key: &str| json(r#"{ "a":1}"#).key(key).send(kind.addr());
        assert_eq!(respaced("in-flight").is_replay(), earlier == Canonical);
        assert_eq!(json(r#"{"a":1}"#).key("new").send(kind.addr()).status, 201);
        assert_eq!(respaced("new").is_replay(), later == Canonical);
        let other = json(r#"{"a":2}"#).key("in-flight").send(kind.addr());
        other.assert_problem(422, "mismatch");
    }
}
