//! The Rust examples of the README and of the cookbook, as they stand there: `build.rs` takes
//! them out. Those in shell are run by `ledger/tests/idem/documents.rs`.

#![allow(
    clippy::unnecessary_wraps,
    clippy::let_and_return,
    reason = "examples show a call that can fail, and end with what a test asks of them"
)]

use std::env;
use std::error::Error;
use std::process::Command;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::request::Parts;
use axum::http::{Method, Request, Response, StatusCode};
use axum::routing::post;
use idempotency_ledger::http::{
    HttpAnswer, HttpPolicy, IdempotencyKey, IdempotencyLayer, scope_of,
};
use idempotency_ledger::{Key, Ledger, Namespace, Resolution, Resolved};
use tower_service::Service;

/// What runs here, and nothing else stands in the documents.
const RUN: [&str; 4] = [
    "readme: In a program",
    "readme: Over HTTP",
    "cookbook: HTTP routes",
    "cookbook: Interrupted HTTP requests",
];

/// Set where this process is to be the program.
const IS_PROGRAM: &str = "IDEMPOTENCY_README_PROGRAM";

const CHARGES: Namespace = Namespace::new("charges");

mod program {
    include!(concat!(env!("OUT_DIR"), "/readme__in_a_program.rs"));
}

#[test]
fn every_rust_example_is_run() {
    let examples = include!(concat!(env!("OUT_DIR"), "/examples.rs"));
    assert_eq!(examples, RUN);
}

/// It opens a file in its folder: so it runs in a process of its own.
#[test]
fn the_program_of_the_readme_charges_once_however_often_it_is_started() {
    if env::var_os(IS_PROGRAM).is_some() {
        let _ = program::run();
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let name = "the_program_of_the_readme_charges_once_however_often_it_is_started";
    let start = || {
        let mut command = Command::new(env::current_exe().expect("this test"));
        let command = command.args(["--exact", name, "--nocapture"]);
        let command = command.env(IS_PROGRAM, "yes").current_dir(folder.path());
        let output = command.output().expect("it starts");
        assert!(output.status.success(), "{output:?}");
        let out = String::from_utf8(output.stdout).expect("text");
        let said = out.lines().filter(|line| line.contains("charged"));
        said.map(str::to_owned).collect::<Vec<_>>()
    };
    let first = start();
    assert_eq!(first.len(), 2, "{first:?}");
    assert!(first[0].ends_with(|c: char| c.is_ascii_hexdigit()) && first[0] == first[1]);
    assert_eq!(start(), first);
    assert!(folder.path().join("app.redb").is_file());
}

fn who_asks(parts: &Parts) -> Vec<u8> {
    let name = parts.headers.get("x-user");
    name.map_or_else(Vec::new, |name| name.as_bytes().to_vec())
}

/// Another answer each time that it runs.
async fn charge(key: axum::Extension<IdempotencyKey>) -> String {
    format!("charged for {}, fence {}", key.key(), key.fence())
}

async fn ask(app: &mut Router, user: &str, body: &str) -> (u16, bool, String) {
    let request = Request::post("/charges")
        .header("Idempotency-Key", "\"order-17\"")
        .header("X-User", user)
        .body(Body::from(body.to_owned()))
        .expect("a request");
    let response: Response<Body> = app.call(request).await.expect("it always answers");
    let is_replay = response.headers().contains_key("idempotency-replayed");
    let status = response.status().as_u16();
    let bytes = to_bytes(response.into_body(), 10_000)
        .await
        .expect("memory");
    let text = String::from_utf8(bytes.to_vec()).expect("text");
    (status, is_replay, text)
}

async fn assert_charges_once(mut app: Router) {
    let (status, is_replay, first) = ask(&mut app, "ann", "25").await;
    assert_eq!((status, is_replay), (200, false), "{first}");
    assert_eq!(ask(&mut app, "ann", "25").await, (200, true, first.clone()));
    assert_eq!(ask(&mut app, "ann", "26").await.0, 422);
    let (status, is_replay, other) = ask(&mut app, "bob", "25").await;
    assert_eq!(
        (status, is_replay),
        (200, false),
        "another's key is another key"
    );
    assert_ne!(other, first);
}

#[tokio::test]
async fn the_layer_of_the_readme_and_of_the_cookbook_charges_once() {
    let ledger = Ledger::in_memory().expect("a ledger");
    assert_charges_once(include!(concat!(env!("OUT_DIR"), "/readme__over_http.rs"))).await;
    let ledger = Ledger::in_memory().expect("a ledger");
    assert_charges_once(include!(concat!(
        env!("OUT_DIR"),
        "/cookbook__http_routes.rs"
    )))
    .await;
}

/// A bank that timed out: it is not known whether it charged.
async fn time_out() -> StatusCode {
    StatusCode::GATEWAY_TIMEOUT
}

fn supply_the_answer(ledger: &Ledger, key: &Key, user: &str) -> Result<(), Box<dyn Error>> {
    let (charge, location) = (serde_json::json!({ "id": 17 }), "/charges/17".to_owned());
    let resolved = include!(concat!(
        env!("OUT_DIR"),
        "/cookbook__interrupted_http_requests.rs"
    ));
    assert_eq!(resolved, Resolved::Done);
    Ok(())
}

#[tokio::test]
async fn an_interrupted_request_is_answered_as_the_cookbook_says() {
    let ledger = Ledger::in_memory().expect("a ledger");
    let layer = || {
        IdempotencyLayer::new(
            ledger.clone(),
            CHARGES,
            HttpPolicy::new().principal(who_asks),
        )
    };
    let mut app = Router::new()
        .route("/charges", post(time_out))
        .route_layer(layer());
    assert_eq!(ask(&mut app, "ann", "25").await.0, 504);
    assert_eq!(ask(&mut app, "ann", "25").await.0, 409);
    let key = Key::new("order-17").expect("a key");
    supply_the_answer(&ledger, &key, "ann").expect("it is stored");
    let answered = ask(&mut app, "ann", "25").await;
    assert_eq!(answered, (201, true, "{\"id\":17}".to_owned()));
}
