//! Interrupted requests that are completed by hand: the retry gets the answer that was supplied.

use idempotency_ledger::http::{HttpAnswer, HttpPolicy};
use idempotency_ledger::{
    Begin, EndingError, Error, Fingerprint, Invalid, RecordHandle, Resolution, Resolved, Response,
};

use crate::client::{Answer, Call};
use crate::shop::{CHARGES, Shop};

/// A shop whose only request was interrupted.
fn interrupted() -> Shop {
    let shop = Shop::new(HttpPolicy::new());
    let lost = pay().header("x-panic", "").try_send(shop.addr());
    assert!(lost.is_err());
    pay().send(shop.addr()).assert_problem(409, "interrupted");
    shop
}

fn pay() -> Call {
    Call::post("/pay").key("order-17").json("{\"amount\":25}")
}

fn record(shop: &Shop) -> RecordHandle {
    let seen = shop.records().remove(0);
    shop.ledger
        .record(CHARGES, seen.key())
        .scope(seen.scope().as_bytes())
}

fn supplied() -> HttpAnswer {
    let response = http::Response::builder()
        .status(201)
        .header("content-type", "application/json")
        .header("location", "/charges/7")
        .header("set-cookie", "session=1");
    HttpAnswer::from(response.body("{\"id\":7}").unwrap())
}

#[track_caller]
fn assert_supplied(answer: &Answer) {
    assert!(answer.is_replay(), "{answer:?}");
    assert_eq!((answer.status, answer.text()), (201, "{\"id\":7}"));
    assert_eq!(answer.header("location"), Some("/charges/7"));
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("set-cookie"), None);
}

#[test]
fn a_retry_gets_the_answer_that_a_person_supplied() {
    let shop = interrupted();
    let resolution = Resolution::Completed(supplied().into());
    assert_eq!(record(&shop).resolve(resolution).unwrap(), Resolved::Done);
    for _ in 0..2 {
        assert_supplied(&pay().send(shop.addr()));
    }
    assert_eq!(shop.calls(), 1);
}

#[test]
fn a_retry_gets_the_answer_of_a_ticket() {
    let shop = interrupted();
    let seen = shop.records().remove(0);
    let request = shop
        .ledger
        .operation(CHARGES, seen.key(), *seen.fingerprint());
    let Begin::Interrupted(ticket) = request.scope(seen.scope().as_bytes()).begin().unwrap() else {
        panic!("it was interrupted")
    };
    // What no retry could be sent is refused, and the ticket comes back.
    let refused = ticket.complete("charged").unwrap_err();
    assert!(is_of_wrong_kind(&refused.error), "{:?}", refused.error);
    let done = shop
        .served
        .runtime()
        .block_on(refused.ticket.complete_async("charged"));
    let refused = done.unwrap_err();
    assert!(is_of_wrong_kind(&refused.error), "{:?}", refused.error);
    assert_eq!(shop.state(), "interrupted");
    refused.ticket.complete(supplied()).unwrap();
    assert_supplied(&pay().send(shop.addr()));
}

fn is_of_wrong_kind(error: &EndingError) -> bool {
    matches!(
        error,
        EndingError::Ledger(Error::Invalid(Invalid::Kind { .. }))
    )
}

#[test]
fn an_answer_of_another_kind_is_refused_before_anything_is_stored() {
    let shop = interrupted();
    for wrong in [
        Response::raw("charged"),
        Response::command("charged"),
        Response::typed("receipt/1", "charged"),
        Response::http("charged"),
        Response::http(Vec::new()),
    ] {
        let refused = record(&shop).resolve(Resolution::Completed(wrong.clone()));
        let Err(error @ Error::Invalid(Invalid::Kind { .. })) = refused else {
            panic!("{wrong:?}: {refused:?}")
        };
        let message = error.to_string();
        for word in ["nothing was written", "HttpAnswer", "idem resolve --http"] {
            assert!(message.contains(word), "{message}");
        }
        assert_eq!(shop.state(), "interrupted");
    }
    assert_eq!(
        record(&shop).resolve(Resolution::Released).unwrap(),
        Resolved::Done
    );
    assert_eq!(pay().send(shop.addr()).status, 201);
}

#[test]
fn what_did_not_come_over_http_takes_any_answer_but_no_broken_one() {
    let shop = Shop::new(HttpPolicy::new());
    let key = idempotency_ledger::Key::new("job-1").unwrap();
    let asked = Fingerprint::of(["job"]);
    drop(shop.ledger.operation(CHARGES, &key, asked).begin().unwrap());
    let record = shop.ledger.record(CHARGES, &key);
    let broken = record.resolve(Resolution::Completed(Response::http("charged")));
    assert!(
        matches!(broken, Err(Error::Invalid(Invalid::Kind { .. }))),
        "{broken:?}"
    );
    let done = record.resolve(Resolution::Completed(Response::raw("done")));
    assert_eq!(done.unwrap(), Resolved::Done);
}
