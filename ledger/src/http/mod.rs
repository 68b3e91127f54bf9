//! Idempotency keys over HTTP: a tower layer on a ledger, after
//! draft-ietf-httpapi-idempotency-key-header-07. Needs the feature `tower`, and tokio to run in;
//! with axum, take the feature `axum`, which adds extractors and what axum alone knows of a path.
//!
//! ```text
//! request -> method, header, principal, body (bounded) -> decision of the ledger
//!   a claim     -> the handler, on a task of its own -> its answer is stored, then sent
//!   an answer   -> the same bytes, with `Idempotency-Replayed: true`
//!   a refusal   -> a problem document with a stable code
//! ```
//!
//! # Which mode
//!
//! - Claims (the default): the layer claims before the handler and completes behind it, two
//!   commits that concurrent requests share. For effects elsewhere.
//! - [`IdempotencyLayer::transactional`]: the handler runs [`Keyed::transact`], and what it writes
//!   and its answer are one commit. For effects in the ledger's file.
//!
//! # Which answers are stored
//!
//! 2xx, 3xx and 4xx are answers: they are stored and replayed. 401, 409, 425 and 429 say that it
//! did not happen: the key is free again, unless a checkpoint is stored. 408 and 5xx say nothing:
//! the key is interrupted, unless the handler said
//! [`IdempotencyKey::nothing_happened`]. [`HttpPolicy::dispositions`] decides otherwise.
//!
//! In a transaction, what is not stored is rolled back: it certainly did not happen, and the key is
//! free.
//!
//! # Long handlers
//!
//! A handler may run for longer than its lease: the layer renews it, and duplicates are told
//! `in-progress`, or wait, for as long as it runs. One that never ends keeps its key in progress:
//! put a timeout (tower's `TimeoutLayer`) below the layer where that can be.
//!
//! # Disconnects
//!
//! A client that goes away does not stop its operation: the handler runs on, and a retry gets its
//! answer. [`IdempotencyLayer::drained`] waits for such handlers at shutdown.
//!
//! # Streams
//!
//! A request's body is read before the key is claimed, up to [`HttpPolicy::request_bytes_max`]. An
//! answer is read to its end before it is sent, so that it is stored first. One above the
//! namespace's response limit (a download) goes to its caller from there on as it comes, and
//! server-sent events do so at once; neither can be replayed: the key is interrupted.
//!
//! Trailers of a request and of its answer are passed on. They are not stored: a replay has none.
//!
//! # Compression
//!
//! Compress answers outside of this layer (`CompressionLayer` added after it): then the plain bytes
//! are stored, and each retry is compressed as its own `Accept-Encoding` allows. Below it, what one
//! client accepted would be replayed to all. Decompress requests outside of it, too, so that the
//! fingerprint is of what was meant.
//!
//! # By hand
//!
//! An interrupted request is completed with an answer of this form: `Response::from` an
//! [`HttpAnswer`], under the scope that [`scope_of`] makes, by a ticket, by
//! [`Ledger::record`](crate::Ledger::record), or by `idem resolve KEY --http STATUS --body FILE`.
//! Another kind of answer is refused, since no retry could be sent it.
//!
//! # From another origin
//!
//! CORS has to allow the request header `Idempotency-Key` and to expose the response headers of
//! [`CORS_EXPOSED_HEADERS`].

mod answer;
#[cfg(feature = "axum")]
mod axum_routes;
mod body;
mod fingerprint;
mod guard;
mod key_header;
mod keyed;
mod layer;
mod policy;
mod problem;
mod running;
mod scope;

pub use answer::HttpAnswer;
pub use body::ReadBody;
pub use guard::IdempotencyKey;
pub use key_header::key_in_headers;
pub use keyed::{Keyed, TransactError};
pub use layer::{Idempotency, IdempotencyLayer};
pub use policy::{BodyFingerprint, Disposition, HeaderForm, HttpPolicy, Presence};
pub use problem::{Problem, ProblemCode};
pub use scope::scope_of;

/// The request header of the draft.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Says that an answer is a stored one.
pub const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";
/// The field of a classic form, where [`HttpPolicy::form_field`] allows it.
pub const FORM_FIELD: &str = "_idempotency_key";
/// What `Access-Control-Expose-Headers` has to name.
pub const CORS_EXPOSED_HEADERS: [&str; 3] = [IDEMPOTENCY_REPLAYED, "retry-after", "location"];
