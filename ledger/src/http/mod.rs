//! Idempotency keys over HTTP: a tower layer on a ledger, after
//! draft-ietf-httpapi-idempotency-key-header-07. Needs the feature `tower`, and tokio to run in.
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
//! # From another origin
//!
//! CORS has to allow the request header `Idempotency-Key` and to expose the response headers of
//! [`CORS_EXPOSED_HEADERS`].

mod answer;
mod body;
mod fingerprint;
mod guard;
mod key_header;
mod keyed;
mod layer;
mod policy;
mod problem;
mod unambiguous_json;

pub use answer::HttpAnswer;
pub use body::AnswerBody;
pub use guard::IdempotencyKey;
pub use keyed::{Keyed, TransactError};
pub use layer::{Idempotency, IdempotencyLayer};
pub use policy::{BodyFingerprint, Disposition, HeaderForm, HttpPolicy, Presence};
pub use problem::{Problem, ProblemCode};

/// The request header of the draft.
pub const IDEMPOTENCY_KEY: &str = "idempotency-key";
/// Says that an answer is a stored one.
pub const IDEMPOTENCY_REPLAYED: &str = "idempotency-replayed";
/// The field of a classic form, where [`HttpPolicy::form_field`] allows it.
pub const FORM_FIELD: &str = "_idempotency_key";
/// What `Access-Control-Expose-Headers` has to name.
pub const CORS_EXPOSED_HEADERS: [&str; 3] = [IDEMPOTENCY_REPLAYED, "retry-after", "location"];
