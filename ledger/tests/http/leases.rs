//! Handlers that run for longer than a lease: the layer knows that they run.

use idempotency_ledger::http::HttpPolicy;
use idempotency_ledger::{Namespace, OnInterrupted, Policy};

use crate::client::Call;
use crate::shop::{CHARGES, Shop, seconds, until};

fn pay() -> Call {
    Call::post("/pay").key("abc").json("{\"amount\":25}")
}

#[test]
fn a_handler_that_outlives_its_lease_is_in_progress_while_it_runs() {
    const SAFE: Namespace =
        Namespace::new("safe").policy(Policy::DEFAULT.on_interrupted(OnInterrupted::Rerun));
    for namespace in [CHARGES, SAFE] {
        let shop = Shop::of(namespace, HttpPolicy::new());
        let first = pay().header("x-wait", "").open(shop.addr());
        until("it runs", || shop.calls() == 1);
        // A leap over the whole lease, as of a machine that slept, over and over.
        for _ in 0..20 {
            shop.clock.advance(seconds(61));
            let duplicate = pay().send(shop.addr());
            duplicate.assert_problem(409, "in-progress");
            assert_eq!(duplicate.header("retry-after"), Some("1"));
        }
        let other = Call::post("/pay").key("abc").json("{\"amount\":26}");
        other.send(shop.addr()).assert_problem(422, "mismatch");
        shop.open_gate();
        let first = first.answer().unwrap();
        assert_eq!((first.status, shop.calls()), (201, 1));
        let retry = pay().send(shop.addr());
        assert_eq!((retry.is_replay(), &retry.body), (true, &first.body));
    }
}

#[test]
fn the_lease_of_a_handler_that_runs_is_renewed_without_being_asked() {
    let shop = Shop::new(HttpPolicy::new());
    let first = pay().header("x-wait", "").open(shop.addr());
    until("it runs", || shop.calls() == 1);
    let lease_until = || shop.records()[0].lease_until().unwrap();
    for _ in 0..20 {
        let before = lease_until();
        // Less than a lease each, but ten leases in all.
        shop.clock.advance(seconds(30));
        until("it is renewed", || lease_until() > before);
        assert_eq!(shop.state(), "claimed");
    }
    shop.open_gate();
    assert_eq!(first.answer().unwrap().status, 201);
    assert_eq!(shop.state(), "completed");
}

#[test]
fn a_duplicate_may_wait_for_a_handler_that_outlives_its_lease() {
    let shop = Shop::new(HttpPolicy::new().wait(seconds(3_600)));
    let first = pay().header("x-wait", "").open(shop.addr());
    until("it runs", || shop.calls() == 1);
    shop.clock.advance(seconds(61));
    let late = pay().open(shop.addr());
    until("it has come", || shop.open() == 2);
    for _ in 0..10 {
        shop.clock.advance(seconds(61));
    }
    let later = pay().open(shop.addr());
    until("the other has come", || shop.open() == 3);
    shop.open_gate();
    let first = first.answer().unwrap();
    for duplicate in [late, later] {
        let duplicate = duplicate.answer().unwrap();
        assert!(duplicate.is_replay(), "{duplicate:?}");
        assert_eq!(duplicate.body, first.body);
    }
    assert_eq!(shop.calls(), 1);
}

#[test]
fn a_duplicate_waits_no_longer_than_it_may_also_over_leases() {
    let shop = Shop::new(HttpPolicy::new().wait(seconds(100)));
    let first = pay().header("x-wait", "").open(shop.addr());
    until("it runs", || shop.calls() == 1);
    let duplicate = pay().open(shop.addr());
    until("it has come", || shop.open() == 2);
    let duplicate = std::thread::spawn(move || duplicate.answer().unwrap());
    until("it is refused", || {
        shop.clock.advance(seconds(61));
        duplicate.is_finished()
    });
    let refused = duplicate.join().unwrap();
    refused.assert_problem(409, "in-progress");
    shop.open_gate();
    assert_eq!(first.answer().unwrap().status, 201);
}

#[test]
fn a_handler_that_has_ended_is_renewed_no_more() {
    let shop = Shop::new(HttpPolicy::new());
    for (key, header, end) in [
        ("a", "x-panic", "interrupted"),
        ("b", "x-keep", "interrupted"),
    ] {
        let call = Call::post("/pay").key(key).header(header, "");
        let _ = call.header("x-status", "500").try_send(shop.addr());
        let record = |ledger: &idempotency_ledger::Ledger| {
            let records = crate::shop::records(ledger);
            records
                .into_iter()
                .find(|record| record.key().as_str() == key)
        };
        until("it has ended", || {
            record(&shop.ledger).is_some_and(|record| record.state().as_str() == end)
        });
        let before = record(&shop.ledger).unwrap().lease_until();
        let commits = shop.ledger.stats().unwrap().commits;
        for _ in 0..10 {
            shop.clock.advance(seconds(30));
            let answer = Call::post("/pay").key(key).send(shop.addr());
            answer.assert_problem(409, "interrupted");
        }
        assert_eq!(record(&shop.ledger).unwrap().lease_until(), before);
        assert_eq!(shop.ledger.stats().unwrap().commits, commits);
    }
    shop.let_go();
}
