//! What axum's handlers can take and return, with the feature `axum`.
//!
//! ```
//! use axum::{Router, routing::post};
//! use idempotency_ledger::http::{
//!     HttpAnswer, HttpPolicy, IdempotencyKey, IdempotencyLayer, Keyed, TransactError,
//! };
//! use idempotency_ledger::{Ledger, Namespace};
//!
//! const CHARGES: Namespace = Namespace::new("charges");
//! const ORDERS: Namespace = Namespace::new("orders");
//!
//! async fn charge(key: IdempotencyKey) -> HttpAnswer {
//!     let reference = key.child_key("bank"); // hand it to the bank
//!     HttpAnswer::new(201, "text/plain", format!("charged as {reference}"))
//! }
//!
//! async fn order(keyed: Keyed) -> Result<HttpAnswer, TransactError<HttpAnswer>> {
//!     let answer = HttpAnswer::new(201, "text/plain", "ordered");
//!     keyed.transact(|_txn| Ok(answer)).await.map(Into::into)
//! }
//!
//! let ledger = Ledger::in_memory()?;
//! let claims = IdempotencyLayer::new(ledger.clone(), CHARGES, HttpPolicy::new());
//! let commits = IdempotencyLayer::transactional(ledger, ORDERS, HttpPolicy::new());
//! let app: Router = Router::new()
//!     .merge(Router::new().route("/charges", post(charge)).route_layer(claims))
//!     .merge(Router::new().route("/orders", post(order)).route_layer(commits));
//! # let _ = app;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

use axum::body::Body;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;

use super::answer::HttpAnswer;
use super::guard::IdempotencyKey;
use super::keyed::{Keyed, TransactError};
use super::problem::Problem;

impl IntoResponse for HttpAnswer {
    fn into_response(self) -> Response {
        Self::into_response(self).map(Body::from)
    }
}

/// A problem document, or what the layer's policy makes of it.
impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        Self::into_response(self).map(Body::from)
    }
}

impl<E: IntoResponse> IntoResponse for TransactError<E> {
    fn into_response(self) -> Response {
        match self {
            Self::Handler(error) => error.into_response(),
            Self::Problem(problem) => IntoResponse::into_response(problem),
        }
    }
}

/// The key of the request. Without a layer that claims, or without a key where it is optional, the
/// answer is a 500: take `Option<IdempotencyKey>` there.
impl<S: Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let key = parts.extensions.get::<Self>().cloned();
        key.ok_or((
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request has no claim: an IdempotencyLayer::new belongs around the route, and the \
             handler takes Option<IdempotencyKey> where the key is optional",
        ))
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for IdempotencyKey {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Self::Rejection> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

/// The request with its key, of a transactional layer; without one the answer is a 500.
impl<S: Sync> FromRequestParts<S> for Keyed {
    type Rejection = (StatusCode, &'static str);

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let keyed = parts.extensions.get::<Self>().cloned();
        keyed.ok_or((
            StatusCode::INTERNAL_SERVER_ERROR,
            "the request has no key: an IdempotencyLayer::transactional belongs around the route",
        ))
    }
}
