//! What the bank answers, and the problem documents among it.

use idempotency_ledger::StoredValue;
use serde::{Deserialize, Serialize};
use serde_json::json;

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// An answer without the headers that are not stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The HTTP status.
    pub status: u16,
    /// The value of `Content-Type`.
    pub content_type: String,
    /// Replayed byte for byte.
    pub body: String,
    /// The value of `Retry-After`, in seconds.
    pub retry_after_s: Option<u64>,
}

impl StoredValue for Answer {
    const SCHEMA: &str = "www-answer/1";
}

impl Answer {
    /// A JSON answer.
    pub fn json(status: u16, body: &impl Serialize) -> Self {
        let body = serde_json::to_string(body);
        Self {
            status,
            content_type: JSON.to_owned(),
            body: body.unwrap_or_else(|error| format!("\"{error}\"")),
            retry_after_s: None,
        }
    }

    /// Asks for a retry with the same key.
    #[must_use]
    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after_s = Some(seconds);
        self
    }
}

/// What can be wrong, each with a stable code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// This route needs a key.
    MissingKey,
    /// The key cannot be one.
    InvalidKey,
    /// The body cannot be read.
    InvalidRequest,
    /// The key was used for another request.
    Mismatch,
    /// The operation of the key still runs.
    InProgress,
    /// Nobody knows whether the operation of the key happened.
    Interrupted,
    /// The key is too old to be sure.
    StaleKey,
    /// The body is too large.
    PayloadTooLarge,
    /// The namespace is full.
    Quota,
    /// The ledger could not be written.
    Storage,
    /// The account has less than that.
    InsufficientFunds,
    /// There is no such account or route.
    NotFound,
    /// A fault that was asked for.
    Fault,
}

impl Problem {
    const fn words(self) -> (u16, &'static str, &'static str) {
        match self {
            Self::MissingKey => (400, "missing-key", "Idempotency-Key is missing"),
            Self::InvalidKey => (400, "invalid-key", "Idempotency-Key is invalid"),
            Self::InvalidRequest => (400, "invalid-request", "The request is invalid"),
            Self::Mismatch => (422, "mismatch", "The key was used for another request"),
            Self::InProgress => (409, "in-progress", "The operation is in progress"),
            Self::Interrupted => (409, "interrupted", "The operation was interrupted"),
            Self::StaleKey => (409, "stale-key", "The key is too old"),
            Self::PayloadTooLarge => (413, "payload-too-large", "The body is too large"),
            Self::Quota => (429, "quota", "The ledger is full"),
            Self::Storage => (503, "storage", "The ledger cannot be written"),
            Self::InsufficientFunds => (402, "insufficient-funds", "Insufficient funds"),
            Self::NotFound => (404, "not-found", "There is no such thing"),
            Self::Fault => (500, "fault", "A fault that was asked for"),
        }
    }

    /// Its document.
    #[must_use]
    pub fn answer(self, detail: &str) -> Answer {
        let (status, code, title) = self.words();
        let document = json!({
            "type": "about:blank",
            "title": title,
            "status": status,
            "detail": detail,
            "code": code,
        });
        Answer {
            content_type: PROBLEM.to_owned(),
            ..Answer::json(status, &document)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_problem_says_its_code_and_status_twice_over() {
        let answer = Problem::Mismatch.answer("Another request.");
        assert_eq!(
            (answer.status, &*answer.content_type),
            (422, "application/problem+json")
        );
        let document: serde_json::Value = serde_json::from_str(&answer.body).expect("JSON");
        assert_eq!(document["code"], "mismatch");
        assert_eq!(document["status"], 422);
        assert_eq!(document["detail"], "Another request.");
    }
}
