//! What bad input gets: a problem document, as from the ledger's own middleware.

use axum::body::Body;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::Response;
use idempotency_ledger::http::HttpAnswer;
use serde_json::json;

/// A problem document of this server's own.
pub(crate) fn answer(status: u16, code: &str, detail: &str) -> HttpAnswer {
    let title = StatusCode::from_u16(status)
        .ok()
        .and_then(|status| status.canonical_reason())
        .unwrap_or("Problem");
    let document = json!({
        "type": "about:blank",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
    });
    HttpAnswer::new(status, "application/problem+json", document.to_string())
}

pub(crate) fn problem(status: u16, code: &str, detail: &str) -> Response {
    sent(&answer(status, code, detail))
}

/// An answer that is not stored.
pub(crate) fn sent(answer: &HttpAnswer) -> Response {
    let response = Response::builder().status(answer.status());
    let headers = answer.headers().iter();
    let response = headers.fold(response, |response, (name, value)| {
        response.header(name, value)
    });
    let body = Body::from(answer.body().to_vec());
    response.body(body).expect("its parts are valid")
}

pub(crate) fn unreadable(rejection: &JsonRejection) -> Response {
    problem(400, "invalid-request", &rejection.body_text())
}
