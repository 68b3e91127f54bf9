//! `PATCH /api/accounts/{id}`: a delta that is applied once, to the version that was seen.

use axum::extract::rejection::{JsonRejection, PathRejection};
use axum::extract::{Path, State};
use axum::http::HeaderMap;
use axum::http::header::IF_MATCH;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use idempotency_ledger::Version;
use idempotency_ledger::http::{HttpAnswer, Keyed};
use serde::Deserialize;
use serde_json::json;

use crate::faults::Fault;
use crate::problems::{answer, problem, sent, unreadable};
use crate::server::App;
use crate::transfers::{RolledBack, failed, refusal, respond};

#[derive(Debug, Deserialize)]
pub(crate) struct Asked {
    /// In cents.
    delta: i64,
}

pub(crate) async fn patch(
    State(app): State<App>,
    id: Result<Path<String>, PathRejection>,
    fault: Fault,
    headers: HeaderMap,
    Extension(keyed): Extension<Keyed>,
    asked: Result<Json<Asked>, JsonRejection>,
) -> Response {
    let Ok(Path(id)) = id else {
        return problem(400, "invalid-request", "the id of the account is no text");
    };
    let Json(Asked { delta }) = match asked {
        Ok(asked) => asked,
        Err(rejection) => return unreadable(&rejection),
    };
    let seen = match seen_in(&headers) {
        Ok(Some(seen)) => seen,
        Ok(None) => return without_version(&app, &id),
        Err(detail) => return problem(400, "invalid-request", detail),
    };
    fault.pause().await;
    let bank = app.bank.clone();
    let fails = fault.fails_before_the_effect();
    let done = keyed.transact(move |txn| {
        if fails {
            return Err(RolledBack::DemoFault);
        }
        match bank.add(txn, &id, delta, Some(seen)) {
            Ok((balance, version)) => {
                let changed = json!({"id": id, "balance": balance, "version": version.get()});
                let changed = HttpAnswer::json(200, &changed)
                    .map_err(|error| RolledBack::Storage(error.to_string()))?;
                Ok(changed.header("etag", &format!("\"{version}\"")))
            }
            Err(error) => refusal(error),
        }
    });
    let response = respond(done.await);
    fault.crash_behind(&response);
    response
}

/// The version that the client has seen, or what is wrong with the header.
fn seen_in(headers: &HeaderMap) -> Result<Option<Version>, &'static str> {
    let mut values = headers.get_all(IF_MATCH).iter();
    let Some(value) = values.next() else {
        return Ok(None);
    };
    let version = version_in(value.to_str().unwrap_or_default());
    let version = version.filter(|_| values.next().is_none());
    let detail = "If-Match is no version; it is the ETag of the last answer, such as \"7\"";
    version.map(Some).ok_or(detail)
}

/// Says what the header would be now (RFC 6585, section 3).
fn without_version(app: &App, id: &str) -> Response {
    let accounts = match app.bank.accounts() {
        Ok(accounts) => accounts,
        Err(error) => return failed(&error),
    };
    let Some((_, balance, version)) = accounts.iter().find(|(known, ..)| *known == id) else {
        return problem(404, "no-account", &format!("there is no account {id:?}"));
    };
    let detail = format!(
        "say which version the delta is for: the account is at version {version} with {balance} \
         cents, so send If-Match: \"{version}\" if that is what the delta is for"
    );
    let problem = answer(428, "precondition-required", &detail);
    sent(&problem.header("etag", &format!("\"{version}\"")))
}

fn version_in(value: &str) -> Option<Version> {
    let number = value.trim().strip_prefix('"')?.strip_suffix('"')?;
    number.parse().ok().map(Version::from_stored)
}

pub(crate) async fn list(State(app): State<App>) -> Response {
    match app.bank.accounts() {
        Ok(accounts) => {
            let lines = accounts.into_iter().map(|(id, balance, version)| {
                json!({"id": id, "balance": balance, "version": version.get()})
            });
            Json(lines.collect::<Vec<_>>()).into_response()
        }
        Err(error) => failed(&error),
    }
}
