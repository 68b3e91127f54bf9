//! The transactional mode: what the handler writes and its answer are one commit, or none of it.

use axum::Router;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::{MethodRouter, post};
use idempotency_ledger::http::{
    Disposition, HttpAnswer, HttpPolicy, IdempotencyLayer, Keyed, Presence, TransactError,
};
use idempotency_ledger::redb::{ReadableTable, TableDefinition};
use idempotency_ledger::{
    Begin, BeginIn, EndingError, Error, Invalid, Key, Ledger, Resolution, Resolved, RunError,
    WriteTxn,
};

use crate::client::{Answer, Call};
use crate::shop::{CHARGES, Served, records};

const BALANCES: TableDefinition<'_, &str, u64> = TableDefinition::new("balances");

/// Adds 25 to the balance, and then does as the header `x-then` says.
fn deposit(txn: &WriteTxn<'_>, then: &str) -> Result<HttpAnswer, String> {
    let mut balances = txn.open_table(BALANCES).unwrap();
    let balance = balances.get("a").unwrap().map_or(0, |it| it.value()) + 25;
    balances.insert("a", balance).unwrap();
    let status = match then {
        "fail" => return Err("bad luck".to_owned()),
        "large" => {
            let body = "x".repeat(2 * 1024 * 1024);
            return Ok(HttpAnswer::new(201, "text/plain", body));
        }
        "panic" => panic!("the closure panics, as it was told"),
        status => status.parse().unwrap_or(201),
    };
    let answer = HttpAnswer::new(status, "text/plain", format!("balance {balance}"));
    let answer = answer.header("location", "/balances/a");
    Ok(answer
        .header("set-cookie", "a=b")
        .header("x-request-id", "1"))
}

async fn handle(mut request: Request) -> Response {
    let keyed = request.extensions_mut().remove::<Keyed>();
    let keyed = keyed.expect("the layer is there");
    let then = request.headers().get("x-then");
    let then = then.map_or(String::new(), |then| then.to_str().unwrap().to_owned());
    let done = keyed.transact(move |txn| deposit(txn, &then)).await;
    match done {
        Ok(response) => response.map(axum::body::Body::from),
        Err(TransactError::Problem(problem)) => problem.into_response().map(axum::body::Body::from),
        Err(TransactError::Handler(why)) => {
            let response = Response::builder().status(500);
            response.body(why.into()).unwrap()
        }
    }
}

struct Bank {
    served: Served,
    ledger: Ledger,
}

impl Bank {
    fn new() -> Self {
        Self::under(HttpPolicy::new().key(Presence::Optional), post(handle))
    }

    fn under(policy: HttpPolicy, handler: MethodRouter) -> Self {
        let ledger = Ledger::in_memory().unwrap();
        let layer = IdempotencyLayer::transactional(ledger.clone(), CHARGES, policy);
        let router = Router::new().route("/deposit", handler).route_layer(layer);
        Self {
            served: Served::new(router),
            ledger,
        }
    }

    fn send(&self, call: &Call) -> Answer {
        call.send(self.served.addr)
    }

    fn balance(&self) -> u64 {
        let txn = self.ledger.write().unwrap();
        let balances = txn.open_table(BALANCES).unwrap();
        balances.get("a").unwrap().map_or(0, |it| it.value())
    }
}

fn deposit_call(key: &str) -> Call {
    Call::post("/deposit").key(key).json("{\"amount\":25}")
}

#[test]
fn effect_and_answer_are_one_commit_and_a_retry_gets_the_same_bytes() {
    let bank = Bank::new();
    let before = bank.ledger.stats().unwrap().commits;
    let first = bank.send(&deposit_call("a"));
    assert_eq!(bank.ledger.stats().unwrap().commits, before + 1);
    assert_eq!((first.status, first.text()), (201, "balance 25"));
    assert!(!first.is_replay());
    for _ in 0..3 {
        let retry = bank.send(&deposit_call("a"));
        assert!(retry.is_replay());
        assert_eq!((retry.status, &retry.body), (201, &first.body));
        for name in ["content-type", "location"] {
            assert_eq!(retry.header(name), first.header(name));
        }
    }
    // What is not stored is not sent the first time either, so both are alike to the last header.
    for name in ["set-cookie", "x-request-id"] {
        assert_eq!(first.header(name), None);
    }
    assert_eq!((bank.balance(), records(&bank.ledger).len()), (25, 1));
}

#[test]
fn an_error_or_a_panic_takes_everything_back_and_frees_the_key() {
    let bank = Bank::new();
    for (number, key) in [Some("a"), None].into_iter().enumerate() {
        let call = || match key {
            Some(key) => deposit_call(key),
            None => Call::post("/deposit").json("{\"amount\":25}"),
        };
        let failed = bank.send(&call().header("x-then", "fail"));
        assert_eq!((failed.status, failed.text()), (500, "bad luck"));
        let panics = call().header("x-then", "panic");
        assert!(panics.try_send(bank.served.addr).is_err());
        assert_eq!(bank.balance(), 25 * number as u64);
        assert_eq!(records(&bank.ledger).len(), number);
        assert_eq!(bank.send(&call()).status, 201);
        assert_eq!(bank.balance(), 25 * (number as u64 + 1));
    }
}

#[test]
fn an_answer_that_cannot_be_stored_takes_the_effect_back() {
    let bank = Bank::new();
    let refused = bank.send(&deposit_call("a").header("x-then", "large"));
    let found = (refused.status, refused.problem());
    assert_eq!(found, (503, "storage".to_owned()));
    assert_eq!((bank.balance(), records(&bank.ledger).len()), (0, 0));
    assert_eq!(bank.send(&deposit_call("a")).text(), "balance 25");
}

#[test]
fn a_client_that_goes_away_leaves_all_of_it_or_nothing() {
    let bank = Bank::new();
    let txn = bank.ledger.write().unwrap();
    let open = deposit_call("a").open(bank.served.addr);
    // Behind it in the line, so that it has come that far.
    crate::shop::until("it waits for the writer", || {
        bank.ledger.stats().unwrap().queued > 0
    });
    open.disconnect();
    txn.abort();
    let retry = bank.send(&deposit_call("a"));
    assert_eq!((retry.status, retry.text()), (201, "balance 25"));
    assert_eq!(bank.balance(), 25);
}

#[test]
fn without_a_key_it_simply_runs() {
    let bank = Bank::new();
    let call = Call::post("/deposit").json("{\"amount\":25}");
    for count in 1..=3 {
        let answer = bank.send(&call);
        assert_eq!(answer.text(), format!("balance {}", 25 * count));
        assert!(!answer.is_replay());
        assert_eq!(answer.header("location"), Some("/balances/a"));
    }
    assert_eq!(records(&bank.ledger).len(), 0);
}

#[test]
fn an_answer_that_says_that_it_did_not_happen_takes_the_effect_back_and_is_not_stored() {
    let bank = Bank::new();
    // 503 says nothing by itself, but what was rolled back certainly did not happen.
    for status in ["409", "429", "500", "503"] {
        for key in [Some(status), None] {
            let call = match key {
                Some(key) => deposit_call(key),
                None => Call::post("/deposit").json("{\"amount\":25}"),
            };
            let refused = bank.send(&call.clone().header("x-then", status));
            let found = (refused.status.to_string(), refused.is_replay());
            assert_eq!(found, (status.to_owned(), false), "{refused:?}");
            assert_eq!(records(&bank.ledger).len(), 0, "{status}");
            assert_eq!(bank.balance(), 0, "{status}");
        }
    }
    let declined = deposit_call("declined").header("x-then", "402");
    let first = bank.send(&declined);
    let retry = bank.send(&declined);
    assert_eq!((first.status, first.is_replay()), (402, false));
    assert_eq!((retry.status, retry.is_replay()), (402, true));
    assert_eq!(
        bank.balance(),
        25,
        "what is stored has happened, whatever it says"
    );
    // The key is free: the retry runs.
    assert_eq!(bank.send(&deposit_call("500")).text(), "balance 50");
}

#[test]
fn dispositions_decide_in_a_transaction_too() {
    let policy = HttpPolicy::new().dispositions(|status| match status.as_u16() {
        400 | 402 => Disposition::Release,
        503 => Disposition::Store,
        status => Disposition::of_status(status),
    });
    let bank = Bank::under(policy, post(handle));
    for (status, stored) in [("402", false), ("503", true), ("201", true)] {
        let call = deposit_call(status).header("x-then", status);
        let before = bank.balance();
        assert_eq!(bank.send(&call).status.to_string(), status);
        let retry = bank.send(&call);
        assert_eq!(
            (retry.status.to_string().as_str(), retry.is_replay()),
            (status, stored)
        );
        assert_eq!(bank.balance(), before + 25 * u64::from(stored), "{status}");
    }
}

#[test]
fn a_success_without_transact_is_an_error_and_never_a_silent_run_each_time() {
    let bank = Bank::under(HttpPolicy::new().key(Presence::Optional), post(says));
    for status in ["200", "201", "204", "303"] {
        for _ in 0..2 {
            let refused = bank.send(&deposit_call(status).header("x-then", status));
            let found = (refused.status, refused.problem());
            assert_eq!(found, (500, "not-transacted".to_owned()), "{refused:?}");
            for word in ["Keyed::transact", status] {
                assert!(refused.text().contains(word), "{refused:?}");
            }
        }
    }
    // What the handler refused is its own answer: nothing is said to have happened.
    for status in ["400", "404", "503"] {
        let refused = bank.send(&deposit_call(status).header("x-then", status));
        assert_eq!(refused.status.to_string(), status);
    }
    // Without a key there is nothing to keep.
    let plain = Call::post("/deposit").header("x-then", "201");
    assert_eq!(bank.send(&plain).status, 201);
    assert_eq!(records(&bank.ledger).len(), 0);
}

/// Never asks for [`Keyed`].
async fn says(request: Request) -> Response {
    let status = request.headers().get("x-then").unwrap();
    let response = Response::builder().status(status.to_str().unwrap());
    response.body("as it was told".into()).unwrap()
}

#[test]
fn another_body_is_a_mismatch_and_bad_keys_are_refused() {
    let bank = Bank::new();
    assert_eq!(bank.send(&deposit_call("a")).status, 201);
    let other = Call::post("/deposit").key("a").json("{\"amount\":26}");
    bank.send(&other).assert_problem(422, "mismatch");
    let broken = Call::post("/deposit").header("idempotency-key", "\"a");
    bank.send(&broken).assert_problem(400, "invalid-key");
    assert_eq!(bank.balance(), 25);
}

#[test]
fn a_key_that_is_claimed_elsewhere_is_in_progress_and_then_interrupted() {
    let bank = Bank::new();
    assert_eq!(bank.send(&deposit_call("a")).status, 201);
    let record = records(&bank.ledger).remove(0);
    let (scope, key) = (record.scope().as_bytes().to_vec(), Key::new("b").unwrap());
    // The same request under another key, claimed by somebody who knows its fingerprint.
    let asked = *record.fingerprint();
    let claim = bank.ledger.operation(CHARGES, &key, asked).scope(scope);
    let Begin::Fresh(claim) = claim.begin().unwrap() else {
        panic!("the key is new")
    };
    let duplicate = bank.send(&deposit_call("b"));
    duplicate.assert_problem(409, "in-progress");
    assert_eq!(duplicate.header("retry-after"), Some("1"));
    drop(claim);
    bank.send(&deposit_call("b"))
        .assert_problem(409, "interrupted");
    assert_eq!(bank.balance(), 25);
}

#[test]
fn fifty_at_once_under_one_key_apply_once() {
    let bank = Bank::new();
    let open: Vec<_> = (0..50)
        .map(|_| deposit_call("a").open(bank.served.addr))
        .collect();
    let answers: Vec<_> = open
        .into_iter()
        .map(|open| open.answer().unwrap())
        .collect();
    assert!(answers.iter().all(|answer| answer.text() == "balance 25"));
    let ran = answers.iter().filter(|answer| !answer.is_replay());
    assert_eq!((ran.count(), bank.balance()), (1, 25));
}

#[test]
fn what_no_retry_could_be_sent_is_never_stored_under_a_key() {
    let bank = Bank::new();
    assert_eq!(bank.send(&deposit_call("a")).status, 201);
    let record = records(&bank.ledger).remove(0);
    let key = Key::new("b").unwrap();
    let asked = *record.fingerprint();
    let request = bank.ledger.operation(CHARGES, &key, asked);
    let request = request.scope(record.scope().as_bytes());
    let is_of_wrong_kind = |error: &EndingError| {
        matches!(
            error,
            EndingError::Ledger(Error::Invalid(Invalid::Kind { .. }))
        )
    };
    let stored = || Ok::<_, String>("bytes of another program");
    let refused = request.clone().run_bytes(|_| stored());
    let Err(RunError::Complete(unstored)) = refused else {
        panic!("{refused:?}")
    };
    assert!(is_of_wrong_kind(&unstored.error), "{:?}", unstored.error);
    drop(unstored);
    bank.send(&deposit_call("b"))
        .assert_problem(409, "interrupted");
    // Nor in a transaction of the program's own: neither by a claim nor by a ticket.
    let txn = bank.ledger.write().unwrap();
    let BeginIn::Interrupted(ticket) = request.clone().begin_in(&txn).unwrap() else {
        panic!("it was interrupted")
    };
    let refused = ticket.complete("bytes of another program").unwrap_err();
    assert!(is_of_wrong_kind(&refused), "{refused:?}");
    txn.abort();
    let mut record = bank.ledger.record(CHARGES, &key);
    record = record.scope(records(&bank.ledger)[0].scope().as_bytes());
    assert_eq!(
        record.resolve(Resolution::Released).unwrap(),
        Resolved::Done
    );
    let refused = request.transact_bytes(|_, _| stored());
    assert!(refused.is_err(), "{refused:?}");
    assert_eq!(bank.send(&deposit_call("b")).text(), "balance 50");
}
