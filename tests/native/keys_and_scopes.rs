//! What makes two requests one operation: namespace, key, scope; and what they ask for.

use std::time::SystemTime;

use idempotency_ledger::{
    Begin, Fence, Fingerprint, Key, KeyError, Ledger, Namespace, Policy, Refusal, Timestamp,
    Version,
};
use idempotency_tests::{Expect, PAYMENTS, START, asked, begin, in_memory, key};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

const REFUNDS: Namespace = Namespace::new("refunds");

fn begin_as(ledger: &Ledger, namespace: Namespace, scope: &str, asked: Fingerprint) -> Begin {
    let request = ledger.operation(namespace, &key("k"), asked);
    request.scope(scope).begin().expect("works")
}

#[test]
fn the_same_key_in_two_namespaces_or_scopes_is_two_operations() {
    let (ledger, _) = in_memory();
    let places = [
        (PAYMENTS, ""),
        (PAYMENTS, "alice"),
        (PAYMENTS, "alic"),
        (PAYMENTS, "e"),
        (REFUNDS, ""),
        (REFUNDS, "alice"),
    ];
    for (namespace, scope) in places.clone() {
        let claim = begin_as(&ledger, namespace.clone(), scope, asked()).fresh();
        let answer = format!("{} of {scope}", namespace.name());
        claim.complete(answer).expect("stored");
    }
    for (namespace, scope) in places {
        let replay = begin_as(&ledger, namespace.clone(), scope, asked()).replay();
        let answer = format!("{} of {scope}", namespace.name());
        assert_eq!(replay.response().bytes(), answer.as_bytes());
    }
    assert_eq!(ledger.stats().expect("counts").records(), 6);
}

#[test]
fn a_byte_that_moves_from_key_to_scope_makes_another_operation() {
    let (ledger, _) = in_memory();
    let ask = |text: &str, scope: &str| {
        let request = ledger.operation(PAYMENTS, &key(text), asked());
        request.scope(scope).begin().expect("works")
    };
    ask("ab", "c").fresh().complete("1").expect("stored");
    ask("a", "bc").fresh().complete("2").expect("stored");
    ask("abc", "").fresh().complete("3").expect("stored");
    ask("a", "\0bc").fresh().complete("4").expect("stored");
    assert_eq!(ask("ab", "c").replay().response().bytes(), b"1");
}

#[test]
fn child_keys_are_the_same_in_each_attempt_and_differ_by_label() {
    let (ledger, _) = in_memory();
    let claim = begin(&ledger, "k").fresh();
    let (stripe, mail) = (claim.child_key("stripe"), claim.child_key("mail"));
    assert_ne!(stripe, mail);
    assert_eq!(stripe.as_str().len(), 36);
    drop(claim);
    let ticket = begin(&ledger, "k").interrupted();
    assert_eq!(ticket.child_key("stripe"), stripe);
    let claim = ticket.rerun().expect("taken over");
    assert_eq!(
        (claim.child_key("stripe"), claim.child_key("mail")),
        (stripe.clone(), mail)
    );
    // Released and begun anew it is still the same operation: the other side deduplicates.
    claim.release().expect("released");
    let claim = begin(&ledger, "k").fresh();
    assert_eq!(claim.child_key("stripe"), stripe);
    let other = begin_as(&ledger, PAYMENTS, "alice", asked()).fresh();
    assert_ne!(other.child_key("stripe"), stripe);
    let other = begin_as(&ledger, REFUNDS, "", asked()).fresh();
    assert_ne!(other.child_key("stripe"), stripe);
}

#[test]
fn none_is_a_fingerprint_that_matches_only_none() {
    let (ledger, _) = in_memory();
    let ask = |asked| begin_as(&ledger, PAYMENTS, "", asked);
    ask(Fingerprint::NONE)
        .fresh()
        .complete("done")
        .expect("stored");
    assert_eq!(ask(asked()).refused(), Refusal::Mismatch);
    assert_eq!(ask(Fingerprint::of([""])).refused(), Refusal::Mismatch);
    let nothing: [&str; 0] = [];
    assert_eq!(ask(Fingerprint::of(nothing)).refused(), Refusal::Mismatch);
    ask(Fingerprint::NONE).replay();
}

#[test]
fn an_older_fingerprint_is_accepted_where_the_caller_says_so() {
    let (ledger, _) = in_memory();
    let (older, newer) = (
        Fingerprint::of(["v1"]),
        Fingerprint::json(&["v2"]).expect("JSON"),
    );
    let ask = || {
        let request = ledger.operation(PAYMENTS, &key("k"), newer);
        request.also_accept(older).begin().expect("works")
    };
    drop(begin_as(&ledger, PAYMENTS, "", older).fresh());
    assert_eq!(
        begin_as(&ledger, PAYMENTS, "", newer).refused(),
        Refusal::Mismatch
    );
    let ticket = ask().interrupted();
    let child = ticket.child_key("stripe");
    // The record keeps the fingerprint it was made with, and so its child keys.
    let claim = ticket.rerun().expect("taken over");
    assert_eq!(claim.child_key("stripe"), child);
    claim.complete("done").expect("stored");
    assert_eq!(ask().replay().response().bytes(), b"done");
    begin_as(&ledger, PAYMENTS, "", older).replay();
    assert_eq!(
        begin_as(&ledger, PAYMENTS, "", newer).refused(),
        Refusal::Mismatch
    );
    // A new operation is stored under the newer one.
    let info = ledger
        .record(PAYMENTS, &key("k"))
        .peek()
        .expect("reads")
        .expect("there");
    assert_eq!(info.fingerprint(), &older);
    let request = ledger
        .operation(PAYMENTS, &key("k2"), newer)
        .also_accept(older);
    request
        .begin()
        .expect("works")
        .fresh()
        .complete("done")
        .expect("stored");
    let info = ledger
        .record(PAYMENTS, &key("k2"))
        .peek()
        .expect("reads")
        .expect("there");
    assert_eq!(info.fingerprint(), &newer);
}

/// Its first member is called `order` in JSON.
#[derive(Serialize)]
struct Purchase {
    #[serde(rename = "order")]
    number: u64,
    amount: u64,
    lines: [&'static str; 2],
}

#[derive(Serialize)]
struct Turned {
    lines: [&'static str; 2],
    amount: u64,
    order: u64,
}

#[test]
fn a_json_fingerprint_ignores_the_order_of_members_and_not_that_of_arrays() {
    let one = Purchase {
        number: 17,
        amount: 25,
        lines: ["a", "b"],
    };
    let other = Turned {
        lines: ["a", "b"],
        amount: 25,
        order: 17,
    };
    let turned = Turned {
        lines: ["b", "a"],
        amount: 25,
        order: 17,
    };
    let json = |value| Fingerprint::json(value).expect("JSON");
    assert_eq!(json(&one), Fingerprint::json(&other).expect("JSON"));
    assert_ne!(json(&one), Fingerprint::json(&turned).expect("JSON"));
    let (ledger, _) = in_memory();
    begin_as(&ledger, PAYMENTS, "", json(&one))
        .fresh()
        .complete("done")
        .expect("stored");
    let again = Fingerprint::json(&other).expect("JSON");
    begin_as(&ledger, PAYMENTS, "", again).replay();
    let wrong = Fingerprint::json(&turned).expect("JSON");
    assert_eq!(
        begin_as(&ledger, PAYMENTS, "", wrong).refused(),
        Refusal::Mismatch
    );
}

#[test]
fn numbers_that_differ_have_two_fingerprints_or_none() {
    let json = |number: u64| Fingerprint::json(&number).expect("JSON");
    assert!(
        Fingerprint::json(&10_u128.pow(22)).is_err(),
        "wei are given as text"
    );
    for (one, other) in [(1 << 53, (1 << 53) + 1), (u64::MAX - 1, u64::MAX)] {
        assert_ne!(json(one), json(other));
        let texts = [one, other].map(|number| number.to_string());
        let [one, other] = texts.map(|text| Fingerprint::json_text(text).expect("JSON"));
        assert_ne!(one, other);
    }
    let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
    for (one, other) in [
        ("123456789012.123456", "123456789012.123459"),
        ("10000000000000000000000", "10000000000000000000001"),
        ("9007199254740992.0", "9007199254740993.0"),
    ] {
        let [exact, exactly] = [one, other].map(|text| Fingerprint::json_text(text).expect("JSON"));
        assert_ne!(exact, exactly);
        // What has become a double is refused, wherever it is.
        for text in [one, other] {
            let member = value(&format!("{{\"a\":[{text}]}}"));
            let refused = Fingerprint::json(&member).expect_err("it may stand for others");
            assert!(refused.contains("json_text"), "{refused}");
        }
    }
    let usual = value(r#"{"price":19.99,"count":3,"rate":0.000123,"big":18446744073709551615}"#);
    let text = r#"{"big":18446744073709551615,"rate":1.23e-4,"count":3.0,"price":19.990}"#;
    let text = Fingerprint::json_text(text).expect("JSON");
    assert_eq!(Fingerprint::json(&usual).expect("JSON"), text);
}

#[test]
fn a_retry_is_compared_under_the_algorithm_of_its_record() {
    let (ledger, _) = in_memory();
    let earlier = Fingerprint::json_in_doubles(&[25, 17]).expect("JSON");
    begin_as(&ledger, PAYMENTS, "", earlier)
        .fresh()
        .complete("done")
        .expect("stored");
    let now = Fingerprint::json(&[25, 17]).expect("JSON");
    let alone = begin_as(&ledger, PAYMENTS, "", now).refused();
    assert_eq!(alone, Refusal::Mismatch);
    let request = ledger
        .operation(PAYMENTS, &key("k"), now)
        .also_accept(earlier);
    assert!(matches!(request.begin().expect("works"), Begin::Replay(_)));
}

#[test]
fn what_is_no_json_has_no_fingerprint() {
    assert!(Fingerprint::json(&f64::NAN).is_err());
    let map = std::collections::BTreeMap::from([((1, 2), 3)]);
    assert!(Fingerprint::json(&map).is_err());
}

#[test]
fn payload_b_on_the_key_of_a_expired_answer_is_a_claim() {
    let (ledger, clock) = in_memory();
    begin(&ledger, "k").fresh().complete("a").expect("stored");
    clock.advance(idempotency_tests::seconds(86_400));
    let other = Fingerprint::of(["pay", "26 EUR"]);
    let claim = begin_as(&ledger, PAYMENTS, "", other).fresh();
    assert_eq!(claim.attempt(), 1, "indistinguishable from a first claim");
    claim.complete("b").expect("stored");
    assert_eq!(begin(&ledger, "k").refused(), Refusal::Mismatch);
    assert_eq!(
        begin_as(&ledger, PAYMENTS, "", other)
            .replay()
            .response()
            .bytes(),
        b"b"
    );
}

#[test]
fn generated_keys_carry_a_time_and_differ() {
    let (one, other) = (Key::generate(), Key::generate());
    assert_ne!(one, other);
    assert!(one.time().is_some());
    assert_eq!(one.as_str().parse::<Key>(), Ok(one));
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Row {
    key: Key,
    fence: Fence,
    version: Version,
    at: Timestamp,
}

#[test]
fn keys_fences_versions_and_times_are_what_applications_have() {
    let uuid = Uuid::from_u128(0x017f_22e2_79b0_7cc3_98c4_dc0c_0c07_398f);
    let key = Key::from(uuid);
    assert_eq!(key.as_ref(), "017f22e2-79b0-7cc3-98c4-dc0c0c07398f");
    assert_eq!(Key::try_from(key.as_str()), Ok(key.clone()));
    assert_eq!(Key::try_from(""), Err(KeyError::Empty));

    let row = Row {
        key,
        fence: Fence::from_stored(7),
        version: Version::from_stored(8),
        at: START,
    };
    let json = serde_json::to_value(&row).expect("encodes");
    let written = serde_json::json!({
        "key": "017f22e2-79b0-7cc3-98c4-dc0c0c07398f", "fence": 7, "version": 8,
        "at": 1_767_225_600_000_u64,
    });
    assert_eq!(json, written);
    assert_eq!(serde_json::from_value::<Row>(json).expect("decodes"), row);
    let bad = serde_json::from_value::<Key>(serde_json::json!("\u{7}"));
    assert!(
        bad.expect_err("a control character")
            .to_string()
            .contains("control")
    );
    assert_eq!(Timestamp::from(SystemTime::from(START)), START);
}

#[test]
fn a_uuid_in_upper_case_is_the_same_key_only_where_the_policy_says_so() {
    let (ledger, _) = in_memory();
    let (upper, lower) = (
        key("017F22E2-79B0-7CC3-98C4-DC0C0C07398F"),
        key("017f22e2-79b0-7cc3-98c4-dc0c0c07398f"),
    );
    let folding = Namespace::new("folding").policy(Policy::DEFAULT.ignore_uuid_case());
    let begin = |namespace: &Namespace, key: &Key| {
        let request = ledger.operation(namespace.clone(), key, asked());
        request.begin().expect("works")
    };
    begin(&PAYMENTS, &upper)
        .fresh()
        .complete("upper")
        .expect("stored");
    begin(&PAYMENTS, &lower)
        .fresh()
        .complete("lower")
        .expect("stored");

    let claim = begin(&folding, &upper).fresh();
    assert_eq!(claim.key(), &lower);
    let child = claim.child_key("bank");
    drop(claim);
    let ticket = begin(&folding, &lower).interrupted();
    assert_eq!(ticket.child_key("bank"), child);
    ticket.complete("once").expect("stored");
    assert_eq!(begin(&folding, &upper).replay().response().bytes(), b"once");
    for key in [&upper, &lower] {
        let seen = ledger.record(folding.clone(), key).peek().expect("reads");
        assert_eq!(seen.expect("there").key(), &lower);
    }
    // What is no UUID is compared byte for byte.
    begin(&folding, &key("Order-17"))
        .fresh()
        .complete("A")
        .expect("stored");
    begin(&folding, &key("order-17"))
        .fresh()
        .complete("B")
        .expect("stored");
}
