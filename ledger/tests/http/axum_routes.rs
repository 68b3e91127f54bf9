//! What axum's handlers take and return, with the feature `axum`.

use axum::Router;
use axum::routing::post;
use idempotency_ledger::Ledger;
use idempotency_ledger::http::{
    HttpAnswer, HttpPolicy, IdempotencyKey, IdempotencyLayer, Keyed, Presence, ProblemCode,
    TransactError,
};

use crate::client::Call;
use crate::shop::{CHARGES, Served, records};

async fn charge(key: IdempotencyKey) -> HttpAnswer {
    HttpAnswer::new(
        201,
        "text/plain",
        format!("charged as {}", key.child_key("bank")),
    )
}

async fn maybe(key: Option<IdempotencyKey>) -> String {
    format!("{}", key.is_some())
}

async fn order(keyed: Keyed) -> Result<HttpAnswer, TransactError<&'static str>> {
    let answer = HttpAnswer::new(201, "text/plain", "ordered");
    keyed.transact(|_| Ok(answer)).await.map(Into::into)
}

fn served(policy: HttpPolicy) -> (Served, Ledger) {
    let ledger = Ledger::in_memory().unwrap();
    let optional = HttpPolicy::new().key(Presence::Optional);
    let claims = IdempotencyLayer::new(ledger.clone(), CHARGES, policy.clone());
    let maybes = IdempotencyLayer::new(ledger.clone(), CHARGES, optional);
    let commits = IdempotencyLayer::transactional(ledger.clone(), CHARGES, policy);
    let router = Router::new()
        .merge(
            Router::new()
                .route("/charges", post(charge))
                .route_layer(claims),
        )
        .merge(
            Router::new()
                .route("/maybe", post(maybe))
                .route_layer(maybes),
        )
        .merge(
            Router::new()
                .route("/orders", post(order))
                .route_layer(commits),
        )
        .route("/bare", post(charge))
        .route("/bare-orders", post(order));
    (Served::new(router), ledger)
}

#[test]
fn handlers_take_their_key_and_return_answers() {
    let (served, ledger) = served(HttpPolicy::new());
    for path in ["/charges", "/orders"] {
        let call = Call::post(path).key("a");
        let [first, retry] = [(); 2].map(|()| call.send(served.addr));
        assert_eq!((first.status, first.is_replay()), (201, false), "{first:?}");
        assert_eq!((retry.status, &retry.body), (201, &first.body));
        assert!(retry.is_replay());
    }
    assert_eq!(Call::post("/maybe").send(served.addr).text(), "false");
    assert_eq!(
        Call::post("/maybe").key("a").send(served.addr).text(),
        "true"
    );
    assert_eq!(records(&ledger).len(), 3);
}

#[test]
fn a_handler_without_its_layer_says_so() {
    let (served, ledger) = served(HttpPolicy::new());
    for path in ["/bare", "/bare-orders"] {
        let answer = Call::post(path).key("a").send(served.addr);
        assert_eq!(answer.status, 500);
        assert!(answer.text().contains("IdempotencyLayer::"), "{answer:?}");
    }
    assert_eq!(records(&ledger).len(), 0);
}

#[test]
fn a_refusal_has_the_form_that_the_policy_says() {
    let policy = HttpPolicy::new().refusal(|problem| {
        let error = serde_json::json!({"error": {"code": problem.code().as_str()}});
        assert!(!problem.detail().is_empty());
        problem
            .clone()
            .into_response()
            .map(|_| error.to_string().into())
    });
    let (served, _ledger) = served(policy);
    for path in ["/charges", "/orders"] {
        let missing = Call::post(path).send(served.addr);
        let found = (missing.status, missing.json()["error"]["code"].clone());
        assert_eq!(found, (400, ProblemCode::MissingKey.as_str().into()));
        assert_eq!(Call::post(path).key("a").send(served.addr).status, 201);
        let other = Call::post(path).key("a").json("{}").send(served.addr);
        let found = (other.status, other.text());
        assert_eq!(found, (422, "{\"error\":{\"code\":\"mismatch\"}}"));
    }
}
