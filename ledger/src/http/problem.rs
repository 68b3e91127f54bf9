//! Problem documents (RFC 9457) with a code that programs can rely on.

use std::fmt;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use crate::decision::KeyError;
use crate::error::{Error, Invalid};
use crate::operation::refusal::Refusal;

/// What went wrong, for programs. The text of each is stable.
///
/// ```
/// use idempotency_ledger::http::ProblemCode;
///
/// assert_eq!(ProblemCode::InProgress.as_str(), "in-progress");
/// assert_eq!(ProblemCode::InProgress.status(), 409);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemCode {
    /// `missing-key`, 400: the route demands a key.
    MissingKey,
    /// `invalid-key`, 400: the key cannot be read.
    InvalidKey,
    /// `mismatch`, 422: the key belongs to another request.
    Mismatch,
    /// `in-progress`, 409 with `Retry-After`: somebody is at it. Ask again with the same key.
    InProgress,
    /// `interrupted`, 409: nobody knows whether it happened. Asking again does not help.
    Interrupted,
    /// `stale-key`, 409: the key is so old that it may have run and been forgotten.
    StaleKey,
    /// `payload-too-large`, 413: the body is above the limit.
    PayloadTooLarge,
    /// `quota`, 429: the namespace is full.
    Quota,
    /// `storage`, 503: the ledger failed. With `Retry-After` only where it was merely busy.
    Storage,
}

impl ProblemCode {
    /// The code as it is sent.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MissingKey => "missing-key",
            Self::InvalidKey => "invalid-key",
            Self::Mismatch => "mismatch",
            Self::InProgress => "in-progress",
            Self::Interrupted => "interrupted",
            Self::StaleKey => "stale-key",
            Self::PayloadTooLarge => "payload-too-large",
            Self::Quota => "quota",
            Self::Storage => "storage",
        }
    }

    /// The HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::MissingKey | Self::InvalidKey => 400,
            Self::InProgress | Self::Interrupted | Self::StaleKey => 409,
            Self::PayloadTooLarge => 413,
            Self::Mismatch => 422,
            Self::Quota => 429,
            Self::Storage => 503,
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::MissingKey => "Idempotency-Key is missing",
            Self::InvalidKey => "Idempotency-Key cannot be used",
            Self::Mismatch => "The key was used for another request",
            Self::InProgress => "The request is in progress",
            Self::Interrupted => "The request was interrupted",
            Self::StaleKey => "The key is too old",
            Self::PayloadTooLarge => "The body is too large",
            Self::Quota => "There is no room for more keys",
            Self::Storage => "The ledger failed",
        }
    }
}

/// A refusal as it is sent. Keys are never in it.
///
/// ```
/// use idempotency_ledger::http::{Problem, ProblemCode};
///
/// let problem = Problem::new(ProblemCode::MissingKey, "send one with each POST");
/// let response = problem.into_response();
/// assert_eq!(response.status(), 400);
/// assert!(response.body().starts_with(br#"{"type":"about:blank","title":"Idempotency-Key"#));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    code: ProblemCode,
    detail: String,
    retry_after_s: Option<u64>,
}

impl Problem {
    /// A problem with its explanation.
    #[must_use]
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after_s: None,
        }
    }

    /// What it is.
    #[must_use]
    pub const fn code(&self) -> ProblemCode {
        self.code
    }

    pub(super) fn of_key(error: KeyError) -> Self {
        Self::new(ProblemCode::InvalidKey, error.to_string())
    }

    /// What a refusal of the ledger becomes.
    #[must_use]
    pub fn of_refusal(refusal: &Refusal) -> Self {
        let code = match refusal {
            Refusal::InProgress { .. } => ProblemCode::InProgress,
            Refusal::Mismatch => ProblemCode::Mismatch,
            Refusal::Stale { .. } => ProblemCode::StaleKey,
            Refusal::Quota { .. } => ProblemCode::Quota,
        };
        let mut problem = Self::new(code, refusal.to_string());
        if let Refusal::InProgress { retry_after } = refusal {
            // Rounded up, and at least one: an early retry is refused again.
            let seconds = retry_after.as_millis().div_ceil(1_000);
            problem.retry_after_s = Some(u64::try_from(seconds).unwrap_or(u64::MAX));
        }
        problem
    }

    /// What an interrupted key becomes.
    #[must_use]
    pub fn interrupted() -> Self {
        let detail = "an earlier attempt may or may not have taken effect; asking again does not \
                      help, somebody has to find out";
        Self::new(ProblemCode::Interrupted, detail)
    }

    /// What a failure of the ledger becomes.
    #[must_use]
    pub fn of_error(error: &Error) -> Self {
        match error {
            Error::Invalid(Invalid::Key(_) | Invalid::Scope(_)) => {
                Self::new(ProblemCode::InvalidKey, error.to_string())
            }
            Error::Busy { .. } => {
                let mut problem = Self::new(ProblemCode::Storage, error.to_string());
                problem.retry_after_s = Some(1);
                problem
            }
            // Neither keys nor the server's folders are anybody's business.
            Error::Damaged { .. } => {
                let detail = "a stored record is damaged and was not used";
                Self::new(ProblemCode::Storage, detail)
            }
            Error::FileReplaced { .. } => {
                let detail = "the ledger's file was removed or replaced; nothing was written";
                Self::new(ProblemCode::Storage, detail)
            }
            _ => Self::new(ProblemCode::Storage, error.to_string()),
        }
    }

    /// The response to send.
    ///
    /// # Panics
    ///
    /// Never: what it is made of is valid.
    #[must_use]
    pub fn into_response(self) -> Response<Bytes> {
        let status = self.code.status();
        let document = serde_json::json!({
            "type": "about:blank",
            "title": self.code.title(),
            "status": status,
            "detail": self.detail,
            "code": self.code.as_str(),
        });
        let mut response = Response::new(Bytes::from(in_order(&document)));
        *response.status_mut() = StatusCode::from_u16(status).expect("a status of the table");
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        if let Some(seconds) = self.retry_after_s {
            let value = HeaderValue::from(seconds);
            response.headers_mut().insert(RETRY_AFTER, value);
        }
        response
    }
}

/// The members in the order in which people read them.
fn in_order(document: &serde_json::Value) -> String {
    let members = ["type", "title", "status", "detail", "code"].map(|name| {
        let value = &document[name];
        format!("\"{name}\":{value}")
    });
    format!("{{{}}}", members.join(","))
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl std::error::Error for Problem {}
