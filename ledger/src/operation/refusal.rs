//! Why a request is refused, and why an ending did not take place.

use std::fmt;
use std::time::Duration;

use crate::decision::{EndingRefusal, Response, Timestamp};
use crate::error::Error;
use crate::operation::claim::Claim;

/// An expected refusal: nothing was written, and the effect must not run.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let claim = ledger.operation(PAYMENTS, &key, asked).begin()?;
/// let second = ledger.operation(PAYMENTS, &key, asked).begin()?;
/// assert!(matches!(second, Begin::Refused(Refusal::InProgress { .. })));
/// let other = ledger.operation(PAYMENTS, &key, Fingerprint::of(["pay", "26"])).begin()?;
/// assert!(matches!(other, Begin::Refused(Refusal::Mismatch)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Somebody is at it. Ask again with the same key after `retry_after`.
    InProgress {
        /// What is left of the lease, at most the policy's retry hint, at least one second.
        retry_after: Duration,
    },
    /// The key belongs to a request that asked for something else.
    Mismatch,
    /// The key is so old that its record may have been removed, or it lies in the future.
    Stale {
        /// The time inside the key.
        key_time: Timestamp,
        /// The ledger's time.
        now: Timestamp,
        /// Whether the key lies too far ahead, rather than too far back.
        ahead: bool,
    },
    /// The namespace is full.
    Quota {
        /// Its record quota.
        records_max: Option<u64>,
        /// Its byte quota.
        bytes_max: Option<u64>,
    },
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InProgress { retry_after } => write!(
                f,
                "the operation is in progress; ask again with the same key in {retry_after:?}"
            ),
            Self::Mismatch => {
                f.write_str("the key was used for another request; use a new key for a new request")
            }
            Self::Stale {
                key_time,
                now,
                ahead: false,
            } => write!(
                f,
                "the key is from {key_time} and may have run and been forgotten (it is {now} by \
                 the ledger's time; if that is ahead, `stats` says how it is taken back); find \
                 out whether it happened before using a new key"
            ),
            Self::Stale {
                key_time,
                now,
                ahead: true,
            } => write!(
                f,
                "the key is from {key_time}, which lies ahead of the ledger's time {now}; check \
                 the clocks"
            ),
            Self::Quota {
                records_max,
                bytes_max,
            } => {
                f.write_str("the namespace is full (")?;
                match (records_max, bytes_max) {
                    (Some(records), Some(bytes)) => {
                        write!(f, "limits: {records} records, {bytes} bytes")?;
                    }
                    (Some(records), None) => write!(f, "limit: {records} records")?,
                    (None, Some(bytes)) => write!(f, "limit: {bytes} bytes")?,
                    (None, None) => f.write_str("no limit is set")?,
                }
                f.write_str("); answers expire with the retention, or raise the limit")
            }
        }
    }
}

/// For callers to whom a refusal is as good as an error.
impl std::error::Error for Refusal {}

/// Why an ending did not take place. Unless it is [`Error::CommitUnknown`], the record is
/// unchanged.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let Begin::Fresh(claim) = ledger.operation(PAYMENTS, &key, asked).begin()? else {
///     panic!("the key is new");
/// };
/// claim.checkpoint("authorized", b"auth-1")?;
/// let refused = claim.release().expect_err("part of it happened");
/// assert!(matches!(refused.error, EndingError::HasCheckpoint));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum EndingError {
    /// The record is no longer this claim's, or not as the ticket saw it: another caller took it
    /// over, renewed, resolved or forgot it.
    Superseded,
    /// The operation completed already, with another response.
    DifferentResponse,
    /// A checkpoint says that part of it happened, so it cannot be released.
    HasCheckpoint,
    /// A process that the earlier holder started still runs.
    StillRunning,
    /// The ledger itself failed.
    Ledger(Error),
}

impl fmt::Display for EndingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Superseded => fmt::Display::fmt(&EndingRefusal::Superseded, f),
            Self::DifferentResponse => fmt::Display::fmt(&EndingRefusal::DifferentResponse, f),
            Self::HasCheckpoint => fmt::Display::fmt(&EndingRefusal::HasCheckpoint, f),
            Self::StillRunning => f.write_str(
                "a process that the earlier holder started still runs; wait for its end",
            ),
            Self::Ledger(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl std::error::Error for EndingError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Ledger(error) => error.source(),
            _ => None,
        }
    }
}

impl From<EndingRefusal> for EndingError {
    fn from(refusal: EndingRefusal) -> Self {
        match refusal {
            EndingRefusal::Superseded => Self::Superseded,
            EndingRefusal::DifferentResponse => Self::DifferentResponse,
            EndingRefusal::HasCheckpoint => Self::HasCheckpoint,
        }
    }
}

impl From<Error> for EndingError {
    fn from(error: Error) -> Self {
        Self::Ledger(error)
    }
}

/// A completion that did not take place. The claim and the response come back, so that nothing
/// that happened is dropped with an error.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let small = PAYMENTS.policy(Policy::DEFAULT.response_bytes_max(3));
/// let Begin::Fresh(claim) = ledger.operation(small, &key, asked).begin()? else {
///     panic!("the key is new");
/// };
/// let CompleteError { claim, response, .. } = claim.complete("four").expect_err("too large");
/// assert_eq!(response.bytes(), b"four");
/// assert!(claim.complete("ref").is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct CompleteError {
    /// The claim, still held.
    pub claim: Claim,
    /// The response that was not stored.
    pub response: Response,
    /// Why not.
    pub error: EndingError,
}

impl fmt::Display for CompleteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the response was not stored: {}", self.error)
    }
}

impl std::error::Error for CompleteError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// A release that did not take place. The claim comes back.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let Begin::Fresh(claim) = ledger.operation(PAYMENTS, &key, asked).begin()? else {
///     panic!("the key is new");
/// };
/// claim.checkpoint("authorized", b"auth-1")?;
/// let ReleaseError { claim, .. } = claim.release().expect_err("part of it happened");
/// assert!(claim.complete("done after all").is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct ReleaseError {
    /// The claim, still held.
    pub claim: Claim,
    /// Why not.
    pub error: EndingError,
}

impl fmt::Display for ReleaseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the claim was not released: {}", self.error)
    }
}

impl std::error::Error for ReleaseError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}
