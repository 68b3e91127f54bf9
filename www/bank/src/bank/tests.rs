//! The whole bank, as the worker drives it: every fault, and an image for every crash.

use idempotency_ledger::{ManualClock, Timestamp};
use serde_json::{Value, json};

use super::*;

/// A worker without a browser: what it saved, and what the card network was told.
struct Worker {
    bank: Bank,
    saved: Vec<u8>,
    charged: Vec<String>,
    waited_ms: u32,
}

/// How a request ended for the page.
#[derive(Debug, PartialEq, Eq)]
enum End {
    Answered(u16, Value, bool),
    Lost,
}

fn clock() -> ManualClock {
    ManualClock::starting_at(Timestamp::from_unix_ms(1_700_000_000_000))
}

impl Worker {
    fn new() -> Self {
        let bank = Bank::open(None, clock()).expect("a new bank");
        Self {
            saved: bank.image(),
            bank,
            charged: Vec::new(),
            waited_ms: 0,
        }
    }

    /// The memory is gone; what was saved is not.
    fn restart(&mut self) {
        self.bank = Bank::open(Some(self.saved.clone()), clock()).expect("a saved image opens");
    }

    fn send(&mut self, request: Request) -> End {
        let mut turn = self.bank.start(request);
        loop {
            match turn.step {
                Step::Save => self.saved = self.bank.image(),
                Step::Charge { key, .. } => self.charged.push(key),
                Step::Pause { milliseconds } | Step::Hold { milliseconds } => {
                    self.waited_ms += milliseconds;
                }
                Step::Answer { answer, replayed } => {
                    let body = serde_json::from_str(&answer.body).expect("answers are JSON");
                    return End::Answered(answer.status, body, replayed);
                }
                Step::Silence => return End::Lost,
                Step::Die => {
                    self.restart();
                    return End::Lost;
                }
            }
            turn = self.bank.go_on(turn.number);
        }
    }

    fn pay(&mut self, key: Option<&str>, fault: &str) -> End {
        self.send(post(
            "api/transfers",
            key,
            fault,
            json!({"from": "guarded", "to": "shop", "amount": 2500}),
        ))
    }

    fn charge(&mut self, key: Option<&str>, fault: &str) -> End {
        let body = json!({"customer": "c", "amount": 2500, "currency": "EUR"});
        self.send(post("api/charges", key, fault, body))
    }

    fn list(&mut self, path: &str) -> Value {
        self.list_of(path, "visitor")
    }

    fn list_of(&mut self, path: &str, visitor: &str) -> Value {
        let request = Request {
            method: "GET".into(),
            path: path.into(),
            authorization: Some(format!("Bearer {visitor}")),
            ..Request::default()
        };
        match self.send(request) {
            End::Answered(200, list, false) => list,
            other => panic!("{path}: {other:?}"),
        }
    }

    fn payments(&mut self) -> usize {
        self.list("api/transfers").as_array().map_or(0, Vec::len)
    }
}

fn post(path: &str, key: Option<&str>, fault: &str, body: impl std::fmt::Display) -> Request {
    Request {
        method: "POST".into(),
        path: path.into(),
        authorization: Some("Bearer visitor".into()),
        idempotency_key: key.map(ToOwned::to_owned),
        fault: Some(fault.into()),
        body: body.to_string(),
    }
}

fn code(end: &End) -> (u16, &str) {
    match end {
        End::Answered(status, body, _) => (*status, body["code"].as_str().unwrap_or("")),
        End::Lost => (0, ""),
    }
}

#[test]
fn a_payment_without_a_key_runs_each_time_and_with_one_it_runs_once() {
    let mut worker = Worker::new();
    worker.pay(None, "");
    worker.pay(None, "");
    assert_eq!(worker.payments(), 2);
    let first = worker.pay(Some("\"k1\""), "");
    let again = worker.pay(Some("k1"), "");
    let (End::Answered(201, first, false), End::Answered(201, again, true)) = (first, again) else {
        panic!("both are answered");
    };
    assert_eq!(first, again);
    assert_eq!(first["balances"], json!({"guarded": 92_500, "shop": 7_500}));
    assert_eq!(worker.payments(), 3);
    let list = worker.list("api/transfers");
    assert_eq!(list[0]["key"], Value::Null);
    assert_eq!(list[2]["key"], "k1");
    assert_eq!(list[2]["id"], 3);
    assert_eq!(list[2]["at"], 1_700_000_000_000_u64);
}

#[test]
fn each_visitor_sees_only_their_own() {
    let mut worker = Worker::new();
    worker.pay(Some("k1"), "");
    let mut other = post(
        "api/transfers",
        Some("k1"),
        "",
        json!({"from": "guarded", "to": "shop", "amount": 2500}),
    );
    other.authorization = Some("Bearer other".into());
    assert!(matches!(worker.send(other), End::Answered(201, _, false)));
    assert_eq!(worker.payments(), 1);
    let theirs = worker.list_of("api/transfers", "other");
    assert_eq!(theirs.as_array().map(Vec::len), Some(1));
}

#[test]
fn every_fault_of_a_payment_ends_with_one_payment_under_its_key() {
    for (fault, first_counts) in [
        ("fail-before", 0),
        ("slow=4000", 1),
        ("error-500", 0),
        ("crash-after-effect", 1),
        ("lose-response", 1),
    ] {
        let mut worker = Worker::new();
        worker.pay(Some("k1"), fault);
        assert_eq!(worker.payments(), first_counts, "{fault}");
        let End::Answered(201, _, replayed) = worker.pay(Some("k1"), "") else {
            panic!("{fault}: the retry is answered");
        };
        assert_eq!(replayed, first_counts == 1, "{fault}");
        assert_eq!(worker.payments(), 1, "{fault}");
        worker.restart();
        assert_eq!(worker.payments(), 1, "{fault}");
    }
}

#[test]
fn a_worker_that_ends_before_the_write_has_done_nothing() {
    let mut worker = Worker::new();
    let request = post(
        "api/transfers",
        Some("k1"),
        "hold-before-write=9",
        json!({"from": "guarded", "to": "shop", "amount": 2500}),
    );
    let turn = worker.bank.start(request.clone());
    assert_eq!(turn.step, Step::Hold { milliseconds: 9 });
    worker.restart();
    assert_eq!(worker.bank.go_on(turn.number).step, Step::Silence);
    assert_eq!(worker.payments(), 0);
    let retry = worker.send(request);
    assert!(matches!(retry, End::Answered(201, _, false)), "{retry:?}");
    assert_eq!((worker.payments(), worker.waited_ms), (1, 9));
}

#[test]
fn an_empty_account_says_so_and_says_it_again() {
    let mut worker = Worker::new();
    for _ in 0..40 {
        worker.pay(None, "");
    }
    let refused = worker.pay(Some("k1"), "");
    assert_eq!(code(&refused), (402, "insufficient-funds"));
    let again = worker.pay(Some("k1"), "");
    assert!(matches!(again, End::Answered(402, _, true)), "{again:?}");
    assert_eq!(worker.payments(), 40);
}

#[test]
fn another_request_under_a_known_key_is_refused_and_bad_ones_store_nothing() {
    let mut worker = Worker::new();
    worker.pay(Some("k1"), "");
    let other = json!({"from": "guarded", "to": "shop", "amount": 1});
    let end = worker.send(post("api/transfers", Some("k1"), "", other));
    assert_eq!(code(&end), (422, "mismatch"));
    let unknown = json!({"from": "guarded", "to": "nobody", "amount": 1});
    let end = worker.send(post("api/transfers", Some("k2"), "", unknown));
    assert_eq!(code(&end), (404, "not-found"));
    assert!(matches!(
        worker.pay(Some("k2"), ""),
        End::Answered(201, _, false)
    ));
    assert_eq!(code(&worker.pay(Some("\"k"), "")), (400, "invalid-key"));
    assert_eq!(
        code(&worker.send(post("api/x", None, "", ""))),
        (404, "not-found")
    );
    assert_eq!(
        code(&worker.send(post("api/transfers", None, "", "{"))).0,
        400
    );
    assert_eq!(worker.payments(), 2);
}

#[test]
fn a_charge_is_claimed_charged_and_replayed() {
    let mut worker = Worker::new();
    assert_eq!(code(&worker.charge(None, "")), (400, "missing-key"));
    let first = worker.charge(Some("c1"), "");
    let expected = json!({"customer": "c", "amount": 2500, "currency": "EUR", "id": 1});
    assert_eq!(first, End::Answered(201, expected.clone(), false));
    assert_eq!(
        worker.charge(Some("c1"), ""),
        End::Answered(201, expected, true)
    );
    assert_eq!(worker.charged, ["c1"]);
    assert_eq!(worker.list("api/charges")[0]["id"], 1);
    assert_eq!(
        code(&worker.charge(Some("c2"), "error-500")),
        (500, "fault")
    );
    assert_eq!(code(&worker.charge(Some("c2"), "slow=5")), (201, ""));
    assert_eq!(worker.waited_ms, 5);
    assert_eq!(worker.charge(Some("c3"), "lose-response"), End::Lost);
    assert!(matches!(
        worker.charge(Some("c3"), ""),
        End::Answered(201, _, true)
    ));
    assert_eq!(worker.charged, ["c1", "c2", "c3"]);
}

#[test]
fn a_charge_that_a_crash_interrupts_stays_so_until_somebody_decides() {
    let mut worker = Worker::new();
    assert_eq!(worker.charge(Some("c1"), "crash-after-effect"), End::Lost);
    for _ in 0..2 {
        assert_eq!(code(&worker.charge(Some("c1"), "")), (409, "interrupted"));
    }
    assert_eq!(worker.charged, ["c1"]);
}

#[test]
fn a_charge_under_way_is_in_progress_for_others() {
    let mut worker = Worker::new();
    let body = json!({"customer": "c", "amount": 2500, "currency": "EUR"});
    let turn = worker
        .bank
        .start(post("api/charges", Some("c1"), "slow=9", &body));
    assert_eq!(turn.step, Step::Save);
    let turn = worker.bank.go_on(turn.number);
    assert_eq!(turn.step, Step::Pause { milliseconds: 9 });
    let busy = worker
        .bank
        .start(post("api/charges", Some("c1"), "", &body));
    let Step::Answer { answer, .. } = busy.step else {
        panic!("it is refused");
    };
    assert_eq!((answer.status, answer.retry_after_s), (409, Some(1)));
    assert!(answer.body.contains("in-progress"), "{}", answer.body);
    assert!(matches!(
        worker.bank.go_on(turn.number).step,
        Step::Charge { .. }
    ));
}

#[test]
fn the_bank_has_room_for_so_many_requests() {
    let mut worker = Worker::new();
    let body = json!({"from": "guarded", "to": "shop", "amount": 1});
    for _ in 0..OPEN_MAX {
        let turn = worker
            .bank
            .start(post("api/transfers", None, "slow=9", &body));
        assert_eq!(turn.step, Step::Pause { milliseconds: 9 });
    }
    assert_eq!(code(&worker.pay(None, "")), (429, "quota"));
}
