//! Clients that go away, and a shutdown that waits for what they left.

use std::collections::hash_map::RandomState;
use std::future::Future;
use std::hash::BuildHasher;
use std::pin::pin;
use std::task::{Context, Waker};

use idempotency_ledger::http::HttpPolicy;
use idempotency_ledger::{Ledger, ManualClock, RecordState};

use crate::client::Call;
use crate::disk::Disk;
use crate::draw::Draw;
use crate::shop::{CHARGES, START, Shop, seconds, until};

fn pay() -> Call {
    Call::post("/pay").key("abc").json("{}")
}

#[test]
fn a_client_that_goes_away_does_not_stop_its_handler() {
    let shop = Shop::new(HttpPolicy::new());
    let first = pay().header("x-wait", "").open(shop.addr());
    until("it runs", || shop.calls() == 1);
    first.disconnect();
    // The server has seen the end of a connection that came later, so also of this one.
    pay().send(shop.addr()).assert_problem(409, "in-progress");
    shop.open_gate();
    until("its answer is stored", || shop.state() == "completed");
    let retry = pay().send(shop.addr());
    assert!(retry.is_replay());
    assert_eq!(retry.text(), "call 1, 2 bytes");
    assert_eq!((shop.calls(), shop.finished()), (1, 1));
}

#[test]
fn a_hundred_clients_that_go_away_leave_a_hundred_answers() {
    let shop = Shop::new(HttpPolicy::new());
    let call = |number: u32| Call::post("/pay").key(&format!("k-{number}")).json("{}");
    let open: Vec<_> = (0..100)
        .map(|number| call(number).header("x-wait", "").open(shop.addr()))
        .collect();
    until("all run", || shop.calls() == 100);
    for client in open {
        client.disconnect();
    }
    (0..100).for_each(|_| shop.open_gate());
    shop.served.runtime().block_on(shop.layer.drained());
    for number in 0..100 {
        assert!(call(number).send(shop.addr()).is_replay());
    }
    assert_eq!((shop.calls(), shop.finished()), (100, 100));
}

#[test]
fn drained_waits_for_handlers_whose_clients_are_gone() {
    let shop = Shop::new(HttpPolicy::new());
    shop.served.runtime().block_on(shop.layer.drained());
    let first = pay().header("x-wait", "").open(shop.addr());
    until("it runs", || shop.calls() == 1);
    first.disconnect();
    let mut drained = pin!(shop.layer.drained());
    let mut context = Context::from_waker(Waker::noop());
    assert!(drained.as_mut().poll(&mut context).is_pending());
    shop.open_gate();
    shop.served.runtime().block_on(drained);
    assert_eq!(shop.state(), "completed");

    // A panic is an end, too.
    let panics = Call::post("/refund").key("b").header("x-panic", "");
    assert!(panics.try_send(shop.addr()).is_err());
    shop.served.runtime().block_on(shop.layer.drained());
}

#[test]
fn a_client_that_goes_away_while_it_waits_takes_nothing_along() {
    let shop = Shop::new(HttpPolicy::new().wait(seconds(30)));
    let first = pay().header("x-wait", "").header("x-status", "429");
    let first = first.open(shop.addr());
    until("it runs", || shop.calls() == 1);
    let waiting = pay().open(shop.addr());
    until("the second has come", || shop.open() == 2);
    waiting.disconnect();
    let patient = pay().open(shop.addr());
    shop.open_gate();
    assert_eq!(first.answer().unwrap().status, 429);
    // The wake comes to the one who is still there; or the other ran first, to nobody.
    assert_eq!(patient.answer().unwrap().status, 201);
    assert_eq!((shop.calls(), shop.state().as_str()), (2, "completed"));
}

fn on(disk: &Disk) -> Shop {
    let clock = ManualClock::starting_at(START);
    let builder = Ledger::builder().clock(clock.clone());
    let ledger = builder.open_backend(disk.clone()).unwrap();
    Shop::on(ledger, clock, CHARGES, HttpPolicy::new())
}

#[test]
fn a_client_that_goes_away_in_the_queue_leaves_its_key_free() {
    let disk = Disk::default();
    let shop = on(&disk);
    disk.hold();
    let first = pay().open(shop.addr());
    disk.wait_until_held();
    first.disconnect();
    until("the server has noticed", || shop.open() == 0);
    let commits = shop.ledger.stats().unwrap().commits;
    disk.go_on();
    until("it is claimed and given back", || {
        shop.ledger.stats().unwrap().commits == commits + 2
    });
    let retry = pay().send(shop.addr());
    assert_eq!((retry.status, retry.text()), (201, "call 1, 2 bytes"));
    assert_eq!(shop.calls(), 1);
}

#[test]
fn a_claim_that_was_made_for_nobody_is_never_seen_interrupted() {
    let disk = Disk::default();
    let shop = on(&disk);
    // How many syncs a claim is.
    let waits = Call::post("/refund").key("x").header("x-wait", "");
    let before = disk.syncs();
    let _running = waits.open(shop.addr());
    until("it runs", || shop.calls() == 1);
    let claim = disk.syncs() - before;

    disk.hold();
    let first = pay().open(shop.addr());
    disk.wait_until_held();
    first.disconnect();
    until("the server has noticed", || shop.open() == 1);
    disk.pass(claim);
    // Now it is claimed, and what gives it back is on its way to the disk.
    disk.wait_until_held();
    let retry = pay().send(shop.addr());
    retry.assert_problem(409, "in-progress");
    disk.go_on();
    until("the claim is given back", || shop.records().len() == 1);
    assert_eq!(pay().send(shop.addr()).status, 201);
}

/// Each client goes away from an attempt a few times, at any moment, and then stays.
fn go_away_at_any_moment(policy: HttpPolicy) {
    let seed = RandomState::new().hash_one(0);
    println!("seed {seed}");
    let shop = Shop::new(policy);
    std::thread::scope(|scope| {
        for client in 0..8 {
            let shop = &shop;
            scope.spawn(move || {
                let mut draw = Draw::new(seed ^ client);
                for number in 0..50 {
                    let call = Call::post("/pay").key(&format!("{client}-{number}"));
                    for _ in 0..draw.below(4) {
                        let leaves = call.open(shop.addr());
                        (0..draw.below(200)).for_each(|_| std::thread::yield_now());
                        leaves.disconnect();
                    }
                    let mut answer = call.send(shop.addr());
                    while answer.status == 409 {
                        // Never interrupted: whoever left had either begun nothing, or it ran on.
                        answer.assert_problem(409, "in-progress");
                        answer = call.send(shop.addr());
                    }
                    assert_eq!(answer.status, 201);
                }
            });
        }
    });
    shop.served.runtime().block_on(shop.layer.drained());
    let records = shop.records();
    let completed = records
        .iter()
        .filter(|record| record.state() == RecordState::Completed);
    assert_eq!((shop.calls(), completed.count()), (400, 400));
}

#[test]
fn whenever_clients_go_away_each_key_runs_once() {
    go_away_at_any_moment(HttpPolicy::new());
    go_away_at_any_moment(HttpPolicy::new().wait(seconds(30)));
}
