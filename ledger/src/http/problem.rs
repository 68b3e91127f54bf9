//! Problem documents (RFC 9457) with a code that programs can rely on.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};

use crate::decision::{KeyError, Timestamp};
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
    /// `stale-key`, 409: the key is so old that it may have run and been forgotten, or it lies in
    /// the future. The member `now_ms` is the ledger's time in Unix milliseconds: a client mints a
    /// new key by it where nothing was ever sent under the old one.
    StaleKey,
    /// `not-transacted`, 500: the handler of a transactional layer answered with a success that is
    /// no part of a transaction. It is a fault of the program, and each retry would run again.
    NotTransacted,
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
            Self::NotTransacted => "not-transacted",
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
            Self::NotTransacted => 500,
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
            Self::NotTransacted => "The answer was not stored",
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
    now: Option<Timestamp>,
    form: Form,
}

/// What a problem is sent as; `None` is a problem document. Two problems are the same whatever
/// they are sent as.
#[derive(Clone, Default)]
struct Form(Option<RefusalForm>);

pub(super) type RefusalForm = Arc<dyn Fn(&Problem) -> Response<Bytes> + Send + Sync>;

impl PartialEq for Form {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Form {}

impl fmt::Debug for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() {
            "custom"
        } else {
            "document"
        })
    }
}

impl Problem {
    /// A problem with its explanation.
    #[must_use]
    pub fn new(code: ProblemCode, detail: impl Into<String>) -> Self {
        Self {
            code,
            detail: detail.into(),
            retry_after_s: None,
            now: None,
            form: Form::default(),
        }
    }

    /// The same, sent as a policy wants its refusals.
    pub(super) fn in_form(mut self, form: Option<&RefusalForm>) -> Self {
        self.form = Form(form.cloned());
        self
    }

    /// What it is.
    #[must_use]
    pub const fn code(&self) -> ProblemCode {
        self.code
    }

    /// What happened, for people.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// When asking again makes sense, where it does.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.retry_after_s.map(Duration::from_secs)
    }

    /// The ledger's time, of a stale key: what a client mints a new key by, where nothing was ever
    /// sent under the old one.
    #[must_use]
    pub const fn now(&self) -> Option<Timestamp> {
        self.now
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
        match refusal {
            Refusal::InProgress { retry_after } => {
                // Rounded up, and at least one: an early retry is refused again.
                let seconds = retry_after.as_millis().div_ceil(1_000);
                problem.retry_after_s = Some(u64::try_from(seconds).unwrap_or(u64::MAX));
            }
            Refusal::Stale { now, .. } => problem.now = Some(*now),
            Refusal::Mismatch | Refusal::Quota { .. } => {}
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

    /// The response to send: a problem document, or what
    /// [`HttpPolicy::refusal`](super::HttpPolicy::refusal) makes of it.
    ///
    /// # Panics
    ///
    /// Never: what it is made of is valid.
    #[must_use]
    pub fn into_response(mut self) -> Response<Bytes> {
        // Taken: the hook may ask for the document.
        if let Some(form) = std::mem::take(&mut self.form).0 {
            return form(&self);
        }
        let status = self.code.status();
        let mut response = Response::new(Bytes::from(self.document()));
        *response.status_mut() = StatusCode::from_u16(status).expect("a status of the table");
        let json = HeaderValue::from_static("application/problem+json");
        response.headers_mut().insert(CONTENT_TYPE, json);
        if let Some(seconds) = self.retry_after_s {
            let value = HeaderValue::from(seconds);
            response.headers_mut().insert(RETRY_AFTER, value);
        }
        response
    }

    /// The members in the order in which people read them.
    fn document(&self) -> String {
        let quoted = |text: &str| serde_json::Value::from(text).to_string();
        let mut members = vec![
            format!(
                "\"type\":\"about:blank\",\"title\":{}",
                quoted(self.code.title())
            ),
            format!("\"status\":{}", self.code.status()),
            format!("\"detail\":{}", quoted(&self.detail)),
            format!("\"code\":{}", quoted(self.code.as_str())),
        ];
        if let Some(now) = self.now {
            members.push(format!("\"now_ms\":{}", now.unix_ms()));
        }
        format!("{{{}}}", members.join(","))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code.as_str(), self.detail)
    }
}

impl std::error::Error for Problem {}
