//! A disk that fails: what is refused, and what the client gets of a handler that has run.

use std::time::Duration;

use axum::Router;
use axum::routing::post;
use idempotency_ledger::http::{HttpAnswer, HttpPolicy, IdempotencyLayer, Keyed, TransactError};
use idempotency_ledger::{Ledger, ManualClock};

use crate::client::{Answer, Call};
use crate::disk::Disk;
use crate::shop::{CHARGES, START, Served, Shop, seconds, until};

fn on(disk: &Disk) -> Shop {
    let clock = ManualClock::starting_at(START);
    let builder = Ledger::builder().clock(clock.clone());
    let ledger = builder.open_backend(disk.clone()).unwrap();
    Shop::on(ledger, clock, CHARGES, HttpPolicy::new())
}

fn pay(key: &str) -> Call {
    Call::post("/pay").key(key).json("{}")
}

#[track_caller]
fn assert_storage(answer: &Answer, is_busy: bool) {
    assert_eq!((answer.status, answer.problem().as_str()), (503, "storage"));
    let retry_after = answer.header("retry-after");
    assert_eq!(retry_after, is_busy.then_some("1"), "{answer:?}");
}

#[test]
fn without_room_for_the_claim_the_handler_does_not_run() {
    let disk = Disk::default();
    let shop = on(&disk);
    disk.fill();
    for _ in 0..2 {
        assert_storage(&pay("a").send(shop.addr()), false);
    }
    assert_eq!(shop.calls(), 0);
    disk.make_room();
    let answer = pay("b").send(shop.addr());
    assert_eq!((answer.status, shop.calls()), (201, 1));
}

#[test]
fn a_handler_that_has_run_is_answered_even_if_that_cannot_be_stored() {
    let disk = Disk::default();
    let shop = on(&disk);
    let open = pay("a").header("x-wait", "").open(shop.addr());
    until("it runs", || shop.calls() == 1);
    disk.fill();
    shop.open_gate();
    let answer = open.answer().unwrap();
    assert_eq!((answer.status, answer.text()), (201, "call 1, 2 bytes"));
    assert_eq!(answer.header("x-request-id"), Some("1"));
    disk.make_room();
    // Nobody says that it did not happen.
    pay("a")
        .send(shop.addr())
        .assert_problem(409, "interrupted");
    assert_eq!((shop.calls(), shop.state().as_str()), (1, "interrupted"));
}

#[test]
fn a_release_that_cannot_be_stored_leaves_the_key_interrupted() {
    let disk = Disk::default();
    let shop = on(&disk);
    let open = pay("a").header("x-wait", "").header("x-status", "429");
    let open = open.open(shop.addr());
    until("it runs", || shop.calls() == 1);
    disk.fill();
    shop.open_gate();
    assert_eq!(open.answer().unwrap().status, 429);
    disk.make_room();
    pay("a")
        .send(shop.addr())
        .assert_problem(409, "interrupted");
}

#[test]
fn only_who_is_merely_too_early_is_told_to_come_again() {
    let clock = ManualClock::starting_at(START);
    let ledger = Ledger::builder()
        .clock(clock.clone())
        .busy_timeout(seconds(5))
        .in_memory()
        .unwrap();
    let shop = Shop::on(ledger.clone(), clock, CHARGES, HttpPolicy::new());
    std::thread::scope(|scope| {
        let txn = ledger.write().unwrap();
        let waiting = scope.spawn(|| pay("a").send(shop.addr()));
        until("somebody waits for the writer", || shop.clock.waiting() > 0);
        shop.clock.advance(seconds(6));
        assert_storage(&waiting.join().unwrap(), true);
        txn.abort();
    });
    assert_eq!((shop.calls(), shop.state().as_str()), (0, "none"));
    assert_eq!(pay("a").send(shop.addr()).status, 201);
}

#[test]
fn a_closed_ledger_refuses() {
    let shop = Shop::new(HttpPolicy::new());
    shop.ledger.clone().close().unwrap();
    assert_storage(&pay("a").send(shop.addr()), false);
    assert_eq!(shop.calls(), 0);
}

async fn transact(axum::Extension(keyed): axum::Extension<Keyed>) -> axum::response::Response {
    let done = keyed.transact(|_| Ok::<_, &str>(HttpAnswer::new(201, "text/plain", "moved")));
    match done.await {
        Ok(response) => response.map(axum::body::Body::from),
        Err(TransactError::Problem(problem)) => problem.into_response().map(axum::body::Body::from),
        Err(TransactError::Handler(why)) => panic!("{why}"),
    }
}

#[test]
fn a_transaction_that_finds_no_room_or_no_turn_is_refused_alike() {
    let disk = Disk::default();
    let clock = ManualClock::starting_at(START);
    let builder = Ledger::builder().clock(clock.clone());
    let ledger = builder.open_backend(disk.clone()).unwrap();
    let policy = HttpPolicy::new().key(idempotency_ledger::http::Presence::Optional);
    let layer = IdempotencyLayer::transactional(ledger.clone(), CHARGES, policy);
    let router = Router::new()
        .route("/pay", post(transact))
        .route_layer(layer);
    let served = Served::new(router);
    let plain = Call::post("/pay");
    disk.fill();
    assert_storage(&pay("a").send(served.addr), false);
    assert_storage(&plain.send(served.addr), false);
    disk.make_room();
    assert_eq!(plain.send(served.addr).text(), "moved");
    let moved = pay("b").send(served.addr);
    assert_eq!((moved.text(), moved.is_replay()), ("moved", false));

    for call in [pay("c"), plain] {
        std::thread::scope(|scope| {
            let txn = ledger.write().unwrap();
            let waiting = scope.spawn(|| call.send(served.addr));
            until("somebody waits for the writer", || clock.waiting() > 0);
            clock.advance(Duration::from_secs(6));
            assert_storage(&waiting.join().unwrap(), true);
            txn.abort();
        });
    }
    assert_eq!(pay("c").send(served.addr).text(), "moved");
}
