//! What a handler can do with its claim, and what it cannot keep by it.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::Request;
use axum::routing::post;
use idempotency_ledger::http::{HttpPolicy, IdempotencyKey, IdempotencyLayer};
use idempotency_ledger::{Ledger, ManualClock, Namespace, OnInterrupted, Policy};

use crate::client::Call;
use crate::shop::{START, Served, Shop, records, seconds, until};

const SAFE: Namespace =
    Namespace::new("safe").policy(Policy::DEFAULT.on_interrupted(OnInterrupted::Rerun));

/// A server whose handler does this with its key, and answers 500 the first time.
fn with_key<F>(
    work: impl Fn(IdempotencyKey) -> F + Clone + Send + Sync + 'static,
) -> (Served, Ledger)
where
    F: Future<Output = String> + Send + 'static,
{
    let clock = ManualClock::starting_at(START);
    let ledger = Ledger::builder().clock(clock).in_memory().unwrap();
    let handler = move |request: Request| {
        let key = request.extensions().get::<IdempotencyKey>().cloned();
        let key = key.expect("the layer is there");
        let attempt = key.attempt();
        let said = work(key);
        async move {
            let status = if attempt == 1 { 500 } else { 201 };
            (http::StatusCode::from_u16(status).unwrap(), said.await)
        }
    };
    let router = Router::new()
        .route("/pay", post(handler.clone()))
        .route("/refund", post(handler))
        .route_layer(IdempotencyLayer::new(
            ledger.clone(),
            SAFE,
            HttpPolicy::new(),
        ));
    (Served::new(router), ledger)
}

#[test]
fn child_keys_are_the_same_in_each_attempt_and_differ_by_everything_else() {
    let (served, _ledger) = with_key(async |key: IdempotencyKey| {
        assert_eq!(key.key().as_str().len(), 1);
        format!("{} {}", key.child_key("bank"), key.child_key("mail"))
    });
    let call = |path: &str, key: &str, body: &str| Call::post(path).key(key).json(body);
    let first = call("/pay", "a", "{}").send(served.addr);
    let again = call("/pay", "a", "{}").send(served.addr);
    assert_eq!((first.status, again.status), (500, 201));
    assert_eq!(first.body, again.body);
    let mut all: Vec<String> = first.text().split(' ').map(str::to_owned).collect();
    for other in [
        call("/pay", "b", "{}"),
        call("/refund", "a", "{}"),
        call("/pay", "c", "[]"),
    ] {
        let other = other.send(served.addr);
        all.extend(other.text().split(' ').map(str::to_owned));
    }
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!((count, all.len()), (8, 8));
}

#[test]
fn a_checkpoint_is_handed_to_the_next_attempt() {
    let (served, ledger) = with_key(async |key: IdempotencyKey| {
        let seen = key
            .last_checkpoint()
            .map(|reached| (reached.name, reached.bytes));
        let name = format!("step-{}", key.attempt());
        key.checkpoint(&name, b"auth-1").await.unwrap();
        assert_eq!(key.last_checkpoint().unwrap().name, name);
        format!("{seen:?}")
    });
    let call = Call::post("/pay").key("a");
    assert_eq!(call.send(served.addr).text(), "None");
    let stored = records(&ledger)[0].checkpoint().unwrap().clone();
    assert_eq!(
        (stored.name.as_str(), &stored.bytes[..]),
        ("step-1", &b"auth-1"[..])
    );
    let again = call.send(served.addr);
    assert!(again.text().contains("step-1"), "{}", again.text());
}

#[test]
fn deadline_fence_and_renewal_are_the_claims() {
    let (served, _ledger) = with_key(async |key: IdempotencyKey| {
        let deadline = key.deadline();
        assert_eq!(deadline, START.saturating_add(seconds(60)));
        assert_eq!(key.renew().await.unwrap(), deadline);
        format!("{}", key.fence())
    });
    let call = Call::post("/pay").key("a");
    let fences = [(); 2].map(|()| call.send(served.addr).text().parse::<u64>().unwrap());
    assert!(fences[0] < fences[1]);
}

#[test]
fn a_handler_that_keeps_its_key_keeps_nobody_waiting() {
    let shop = Shop::new(HttpPolicy::new().wait(seconds(30)));
    for (number, (status, end)) in [
        ("201", "completed"),
        ("500", "interrupted"),
        ("429", "none"),
    ]
    .into_iter()
    .enumerate()
    {
        let path = format!("/orders/{number}");
        let call = Call::post(&path).key("a");
        let keeps = call.clone().header("x-keep", "").header("x-status", status);
        let _ = keeps.send(shop.addr());
        let state = shop.records().iter().find_map(|record| {
            let scope = String::from_utf8_lossy(record.scope().as_bytes()).into_owned();
            scope.contains(&path).then(|| record.state().to_string())
        });
        assert_eq!(state.as_deref().unwrap_or("none"), end);
        let retry = call.send(shop.addr());
        match end {
            "completed" => assert!(retry.is_replay()),
            "interrupted" => retry.assert_problem(409, "interrupted"),
            _ => assert_eq!((retry.status, retry.is_replay()), (201, false)),
        }
    }
    shop.let_go();
}

#[test]
fn a_handler_that_keeps_its_key_and_panics_keeps_nobody_waiting() {
    let shop = Shop::new(HttpPolicy::new());
    let call = Call::post("/pay").key("a");
    let keeps = call.clone().header("x-keep", "").header("x-panic", "");
    assert!(keeps.try_send(shop.addr()).is_err());
    call.send(shop.addr()).assert_problem(409, "interrupted");
    assert_eq!(shop.state(), "interrupted");
}

#[test]
fn what_was_kept_cannot_change_what_was_answered() {
    let kept: Arc<Mutex<Vec<IdempotencyKey>>> = Arc::default();
    let keeps = Arc::clone(&kept);
    let (served, ledger) = with_key(move |key: IdempotencyKey| {
        keeps.lock().unwrap().push(key);
        std::future::ready("kept".to_owned())
    });
    let call = Call::post("/pay").key("a");
    assert_eq!([(); 2].map(|()| call.send(served.addr).status), [500, 201]);
    until("both are kept", || kept.lock().unwrap().len() == 2);
    for key in kept.lock().unwrap().iter() {
        key.nothing_happened();
        let late = served.runtime().block_on(key.checkpoint("late", b"x"));
        assert!(late.is_err());
        assert!(served.runtime().block_on(key.renew()).is_err());
    }
    assert_eq!(records(&ledger)[0].state().as_str(), "completed");
    assert!(call.send(served.addr).is_replay());
}
