//! A stored answer.

use crate::decision::{Completed, Fence, Response, Timestamp};

/// The stored answer of a completed operation: the same bytes for every retry.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// ledger.operation(PAYMENTS, &key, asked).run_bytes(|_| Ok::<_, Error>("charged"))?;
/// let Begin::Replay(replay) = ledger.operation(PAYMENTS, &key, asked).begin()? else {
///     panic!("it has run");
/// };
/// assert_eq!(replay.response().bytes(), b"charged");
/// assert!(replay.expires_at() > replay.completed_at());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replay {
    response: Response,
    completed_at: Timestamp,
    expires_at: Timestamp,
    fence: Fence,
    attempts: u32,
    first_claimed_at: Timestamp,
}

impl Replay {
    /// The answer of a record.
    pub(crate) fn new(
        fence: Fence,
        attempts: u32,
        first_claimed_at: Timestamp,
        completed: Completed,
    ) -> Self {
        Self {
            first_claimed_at,
            response: completed.response,
            completed_at: completed.completed_at,
            expires_at: completed.expires_at,
            fence,
            attempts,
        }
    }

    /// The answer.
    pub const fn response(&self) -> &Response {
        &self.response
    }

    /// The answer, without a copy.
    pub fn into_response(self) -> Response {
        self.response
    }

    /// When the operation was first claimed.
    pub const fn first_claimed_at(&self) -> Timestamp {
        self.first_claimed_at
    }

    /// When it was stored.
    pub const fn completed_at(&self) -> Timestamp {
        self.completed_at
    }

    /// When it no longer counts.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The fence of the claim that completed.
    pub const fn fence(&self) -> Fence {
        self.fence
    }

    /// How many claims the operation had.
    pub const fn attempts(&self) -> u32 {
        self.attempts
    }
}
