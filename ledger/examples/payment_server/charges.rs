//! `POST /api/charges`: the effect is elsewhere, so it runs under a claim of the middleware.

use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use idempotency_ledger::http::IdempotencyKey;
use serde::{Deserialize, Serialize};

use crate::faults::Fault;
use crate::network::Charge;
use crate::principal::Principal;
use crate::problems::{problem, unreadable};
use crate::server::App;

#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    customer: String,
    /// In cents.
    amount: u64,
    currency: String,
}

#[derive(Debug, Serialize)]
struct Charged {
    id: String,
    customer: String,
    amount: u64,
    currency: String,
}

pub(crate) async fn create(
    State(app): State<App>,
    Principal(principal): Principal,
    fault: Fault,
    Extension(key): Extension<IdempotencyKey>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Response {
    let asked = match asked {
        Ok(Json(asked)) => asked,
        Err(rejection) => return unreadable(&rejection),
    };
    if asked.amount == 0 {
        return problem(400, "invalid-request", "the amount is zero");
    }
    fault.pause().await;
    if fault.fails_before_the_effect() {
        key.nothing_happened();
        return problem(500, "demo-fault", "it failed before anything was charged");
    }
    let charge = Charge {
        principal,
        key: key.key().as_str().to_owned(),
        amount: asked.amount,
    };
    let network = app.network.clone();
    let charged = tokio::task::spawn_blocking(move || network.charge(&charge)).await;
    match charged {
        Ok(Ok(())) => {}
        // Nobody knows whether the line is on disk: the key is interrupted.
        Ok(Err(error)) => return problem(500, "network", &error.to_string()),
        Err(error) => return problem(500, "network", &error.to_string()),
    }
    fault.crash_if_asked();
    let id = format!("ch_{}", key.child_key("network"));
    let location = format!("/api/charges/{id}");
    let charged = Charged {
        id,
        customer: asked.customer,
        amount: asked.amount,
        currency: asked.currency,
    };
    (StatusCode::CREATED, [("location", location)], Json(charged)).into_response()
}

/// The charges of the caller, as the network has them.
pub(crate) async fn list(
    State(app): State<App>,
    Principal(principal): Principal,
) -> Result<Response, Response> {
    let charges = app.network.charges().map_err(failed)?;
    let own: Vec<_> = charges
        .into_iter()
        .filter(|charge| charge.principal == principal)
        .collect();
    Ok(Json(own).into_response())
}

/// What the network was really asked to do, for everybody.
pub(crate) async fn effects(State(app): State<App>) -> Result<Response, Response> {
    Ok(Json(app.network.effects().map_err(failed)?).into_response())
}

#[expect(clippy::needless_pass_by_value, reason = "as map_err hands it over")]
fn failed(error: std::io::Error) -> Response {
    problem(503, "network", &error.to_string())
}
