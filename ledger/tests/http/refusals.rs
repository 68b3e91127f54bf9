//! Duplicates of what runs, of what was interrupted, of what is too old, and one too many.

use idempotency_ledger::http::HttpPolicy;
use idempotency_ledger::{Key, Namespace, OnInterrupted, Policy, Resolution, Resolved};

use crate::client::Call;
use crate::shop::{CHARGES, START, Shop, seconds, until};

const SECRET: &str = "secret-key-17";

fn pay() -> Call {
    Call::post("/pay").key(SECRET).json("{\"amount\":25}")
}

#[test]
fn a_duplicate_of_a_running_request_is_told_when_to_come_again() {
    let shop = Shop::new(HttpPolicy::new());
    let first = pay().header("x-wait", "").open(shop.addr());
    until("it runs", || shop.calls() == 1);
    for left in [60, 1] {
        let duplicate = pay().send(shop.addr());
        duplicate.assert_problem(409, "in-progress");
        assert_eq!(duplicate.header("retry-after"), Some("1"), "{left} s left");
        shop.clock.advance(seconds(59));
    }
    let other = Call::post("/pay").key(SECRET).json("{\"amount\":26}");
    other.send(shop.addr()).assert_problem(422, "mismatch");
    shop.open_gate();
    let first = first.answer().unwrap();
    assert_eq!((first.status, shop.calls()), (201, 1));
    let retry = pay().send(shop.addr());
    assert!(retry.is_replay());
    assert_eq!(retry.body, first.body);
    other.send(shop.addr()).assert_problem(422, "mismatch");
    assert!(pay().send(shop.addr()).is_replay());
}

#[test]
fn the_hint_when_to_come_again_is_rounded_up_and_capped() {
    const SLOW: Namespace =
        Namespace::new("slow").policy(Policy::DEFAULT.lease(seconds(10)).retry_hint(seconds(7)));
    let shop = Shop::of(SLOW, HttpPolicy::new());
    assert_eq!(pay().send(shop.addr()).status, 201);
    let made = shop.records().remove(0);
    // The same request under another key, claimed by a program that does not renew.
    let key = Key::new("another").unwrap();
    let claim = shop.ledger.operation(SLOW, &key, *made.fingerprint());
    let claim = claim.scope(made.scope().as_bytes()).begin().unwrap();
    let duplicate = || {
        let call = Call::post("/pay").key("another").json("{\"amount\":25}");
        call.send(shop.addr())
    };
    for (passed_ms, hint) in [(0, "7"), (4_500, "6"), (4_499, "2"), (950, "1")] {
        shop.clock
            .advance(std::time::Duration::from_millis(passed_ms));
        let duplicate = duplicate();
        duplicate.assert_problem(409, "in-progress");
        assert_eq!(duplicate.header("retry-after"), Some(hint), "{passed_ms}");
    }
    drop(claim);
    duplicate().assert_problem(409, "interrupted");
    assert_eq!(shop.calls(), 1);
}

#[test]
fn duplicates_that_may_wait_get_the_winners_bytes() {
    let shop = Shop::new(HttpPolicy::new().wait(seconds(30)));
    let first = pay().header("x-wait", "").open(shop.addr());
    until("it runs", || shop.calls() == 1);
    let waiting: Vec<_> = (0..20).map(|_| pay().open(shop.addr())).collect();
    let impatient = Call::post("/pay").key("another").json("{}");
    assert_eq!(impatient.send(shop.addr()).status, 201);
    shop.open_gate();
    let first = first.answer().unwrap();
    for open in waiting {
        let answer = open.answer().unwrap();
        assert!(answer.is_replay());
        assert_eq!((answer.status, &answer.body), (201, &first.body));
    }
    assert_eq!(shop.calls(), 2);
}

#[test]
fn whoever_waits_is_refused_when_the_patience_ends() {
    let shop = Shop::new(HttpPolicy::new().wait(seconds(5)));
    let first = pay().header("x-wait", "").open(shop.addr());
    until("it runs", || shop.calls() == 1);
    let waiting = pay().open(shop.addr());
    let waiting = std::thread::spawn(move || waiting.answer().unwrap());
    until("it is refused", || {
        shop.clock.advance(seconds(1));
        waiting.is_finished()
    });
    let refused = waiting.join().unwrap();
    refused.assert_problem(409, "in-progress");
    shop.open_gate();
    assert_eq!(first.answer().unwrap().status, 201);
}

#[test]
fn when_the_winner_frees_the_key_exactly_one_of_those_who_wait_runs() {
    let shop = Shop::new(HttpPolicy::new().wait(seconds(30)));
    let first = pay().header("x-wait", "").header("x-status", "429");
    let first = first.open(shop.addr());
    until("it runs", || shop.calls() == 1);
    let waiting: Vec<_> = (0..10).map(|_| pay().open(shop.addr())).collect();
    shop.open_gate();
    assert_eq!(first.answer().unwrap().status, 429);
    let answers: Vec<_> = waiting
        .into_iter()
        .map(|open| open.answer().unwrap())
        .collect();
    assert_eq!(shop.calls(), 2);
    assert!(answers.iter().all(|answer| answer.body == answers[0].body));
    assert_eq!(
        answers.iter().filter(|answer| !answer.is_replay()).count(),
        1
    );
}

#[test]
fn a_panic_leaves_the_key_interrupted_and_nobody_is_told_to_retry() {
    let shop = Shop::new(HttpPolicy::new());
    let lost = pay().header("x-panic", "").try_send(shop.addr());
    assert!(lost.is_err(), "the connection is closed: {lost:?}");
    assert_eq!(shop.state(), "interrupted");
    for _ in 0..2 {
        pay().send(shop.addr()).assert_problem(409, "interrupted");
    }
    let other = Call::post("/pay").key(SECRET).json("{\"amount\":26}");
    other.send(shop.addr()).assert_problem(422, "mismatch");
    assert_eq!(shop.calls(), 1);
    // A person finds out that it did not happen.
    let record = shop.ledger.record(CHARGES, shop.records()[0].key());
    let record = record.scope(shop.records()[0].scope().as_bytes());
    let resolved = record.resolve(Resolution::Released).unwrap();
    assert_eq!(resolved, Resolved::Done);
    assert_eq!(pay().send(shop.addr()).status, 201);
}

#[test]
fn a_panic_wakes_those_who_wait() {
    let shop = Shop::new(HttpPolicy::new().wait(seconds(30)));
    let first = pay().header("x-wait", "").header("x-panic", "");
    let first = first.open(shop.addr());
    until("it runs", || shop.calls() == 1);
    let waiting = pay().open(shop.addr());
    until("the second has come", || shop.open() == 2);
    shop.open_gate();
    assert!(first.answer().is_err());
    waiting.answer().unwrap().assert_problem(409, "interrupted");
}

#[test]
fn an_operation_that_is_safe_to_repeat_runs_again() {
    const SAFE: Namespace =
        Namespace::new("safe").policy(Policy::DEFAULT.on_interrupted(OnInterrupted::Rerun));
    let shop = Shop::of(SAFE, HttpPolicy::new());
    let failed = pay().header("x-status", "500").send(shop.addr());
    assert_eq!(failed.status, 500);
    let again = pay().send(shop.addr());
    assert_eq!((again.status, again.text()), (201, "call 2, 13 bytes"));
    assert!(pay().send(shop.addr()).is_replay());
}

/// A UUIDv7 of so many milliseconds after the start.
fn uuid_at(after_ms: i64) -> String {
    let ms = START.unix_ms();
    let ms = format!("{:012x}", ms.checked_add_signed(after_ms).unwrap());
    format!("{}-{}-7000-8000-000000000000", &ms[..8], &ms[8..])
}

#[test]
fn a_key_that_is_too_old_or_from_the_future_is_stale() {
    const STRICT: Namespace = Namespace::new("strict").policy(Policy::DEFAULT.refuse_stale_keys());
    let shop = Shop::of(STRICT, HttpPolicy::new());
    let hour_ms = 3_600_000;
    for after_ms in [-25 * hour_ms, hour_ms] {
        let key = uuid_at(after_ms);
        let answer = Call::post("/pay").key(&key).send(shop.addr());
        answer.assert_problem(409, "stale-key");
        assert!(!answer.text().contains(&key));
        let time = "2026-01-01T00:00:00";
        assert!(answer.text().contains(time), "{answer:?}");
        // So that a client can mint a key by the server's time.
        assert_eq!(answer.json()["now_ms"], START.unix_ms(), "{answer:?}");
    }
    assert_eq!((shop.calls(), shop.records().len()), (0, 0));
    let fresh = Call::post("/pay").key(&uuid_at(-hour_ms));
    assert_eq!(fresh.send(shop.addr()).status, 201);
    // Others know no time of their own.
    assert_eq!(pay().send(shop.addr()).status, 201);
    let other = Call::post("/pay").key(SECRET).json("{\"amount\":26}");
    assert_eq!(other.send(shop.addr()).json().get("now_ms"), None);
}

#[test]
fn a_full_namespace_refuses_new_keys_and_still_replays() {
    const SMALL: Namespace = Namespace::new("small").policy(Policy::DEFAULT.records_max(2));
    let shop = Shop::of(SMALL, HttpPolicy::new());
    let pay = |key: &str| Call::post("/pay").key(key).send(shop.addr());
    assert_eq!((pay("a").status, pay("b").status), (201, 201));
    let refused = pay("c");
    refused.assert_problem(429, "quota");
    assert!(pay("a").is_replay());
    assert_eq!(shop.calls(), 2);
    shop.clock.advance(seconds(25 * 3600));
    assert_eq!(pay("c").status, 201);
}

#[test]
fn an_answer_expires_with_the_retention() {
    let shop = Shop::new(HttpPolicy::new());
    assert_eq!(pay().send(shop.addr()).status, 201);
    shop.clock.advance(seconds(24 * 3600 - 1));
    assert!(pay().send(shop.addr()).is_replay());
    shop.clock.advance(seconds(1));
    let other = Call::post("/pay").key(SECRET).json("{\"amount\":26}");
    assert_eq!(other.send(shop.addr()).text(), "call 2, 13 bytes");
}

#[test]
fn no_problem_tells_the_key() {
    let shop = Shop::new(HttpPolicy::new());
    let _running = pay().header("x-wait", "").open(shop.addr());
    until("it runs", || shop.calls() == 1);
    let interrupted = Call::post("/pay").key("secret-key-18");
    let _ = interrupted
        .clone()
        .header("x-status", "500")
        .send(shop.addr());
    let answers = [
        pay().send(shop.addr()),
        Call::post("/pay").key(SECRET).send(shop.addr()),
        interrupted.send(shop.addr()),
        Call::post("/pay")
            .header("idempotency-key", format!("\"{SECRET}"))
            .send(shop.addr()),
        Call::post("/pay").key(&SECRET.repeat(30)).send(shop.addr()),
    ];
    let codes = [
        "in-progress",
        "mismatch",
        "interrupted",
        "invalid-key",
        "invalid-key",
    ];
    for (answer, code) in answers.iter().zip(codes) {
        assert_eq!(answer.problem(), code);
        let headers = format!("{:?}", answer.headers);
        assert!(!answer.text().contains("secret-key") && !headers.contains("secret-key"));
    }
}
