//! The rules that a namespace's operations run under, as a value.

use core::fmt;
use core::time::Duration;

use super::Key;
use super::timestamp::duration_ms_up;

const LEASE_DEFAULT: Duration = Duration::from_secs(60);
const RETENTION_DEFAULT: Duration = Duration::from_secs(24 * 60 * 60);
/// The least by which one stored span differs from another.
const TICK: Duration = Duration::from_millis(1);
const RETRY_HINT_DEFAULT: Duration = Duration::from_secs(1);
const RESPONSE_BYTES_DEFAULT: u64 = 1024 * 1024;

/// What a new request for an interrupted key gets.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let safe = PAYMENTS.policy(Policy::DEFAULT.on_interrupted(OnInterrupted::Rerun));
/// drop(ledger.operation(safe.clone(), &key, asked).begin()?);
/// let Begin::Fresh(claim) = ledger.operation(safe, &key, asked).begin()? else {
///     panic!("the namespace says that it may run again");
/// };
/// assert_eq!(claim.attempt(), 2);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OnInterrupted {
    /// A ticket: a person or the application decides. The default, because running again may
    /// charge twice.
    #[default]
    Refuse,
    /// A claim under a new fence. For operations that are safe to repeat by themselves.
    Rerun,
}

/// The rules of a namespace: how long a claim may run, how long an answer is kept, how much.
///
/// Setters take and return the value, so that a policy can be a constant. What is not given has
/// the default: lease 60 s, retention 24 h, retry hint 1 s, response limit 1 MiB, no quota. A
/// lease that was not given is always shorter than the given retention.
///
/// ```
/// use idempotency_ledger::Policy;
/// use std::time::Duration;
///
/// let policy = Policy::DEFAULT.retention(Duration::from_secs(30));
/// assert!(policy.lease_span() < Duration::from_secs(30));
/// assert!(policy.lease(Duration::from_secs(30)).check().is_err());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a policy does nothing until a namespace has it"]
pub struct Policy {
    lease: Option<Duration>,
    retention: Option<Duration>,
    retry_hint: Duration,
    response_bytes_max: u64,
    on_interrupted: OnInterrupted,
    records_max: Option<u64>,
    bytes_max: Option<u64>,
    stale_keys_refused: bool,
    forget_interrupted_after: Option<Duration>,
    uuid_case_ignored: bool,
}

impl Policy {
    /// Everything at its default.
    pub const DEFAULT: Self = Self {
        lease: None,
        retention: None,
        retry_hint: RETRY_HINT_DEFAULT,
        response_bytes_max: RESPONSE_BYTES_DEFAULT,
        on_interrupted: OnInterrupted::Refuse,
        records_max: None,
        bytes_max: None,
        stale_keys_refused: false,
        forget_interrupted_after: None,
        uuid_case_ignored: false,
    };

    /// How long a claim may run before it counts as interrupted. Default 60 s.
    pub const fn lease(mut self, span: Duration) -> Self {
        self.lease = Some(span);
        self
    }

    /// How long a completed record answers replays. Default 24 h.
    pub const fn retention(mut self, span: Duration) -> Self {
        self.retention = Some(span);
        self
    }

    /// The longest wait proposed to a duplicate of a running operation. Default and least 1 s.
    pub const fn retry_hint(mut self, span: Duration) -> Self {
        self.retry_hint = span;
        self
    }

    /// The largest response, in bytes. Default 1 MiB.
    pub const fn response_bytes_max(mut self, bytes: u64) -> Self {
        self.response_bytes_max = bytes;
        self
    }

    /// What a request for an interrupted key gets. Default: refused.
    pub const fn on_interrupted(mut self, what: OnInterrupted) -> Self {
        self.on_interrupted = what;
        self
    }

    /// The most records of the namespace, expired ones not counted. Default: no limit.
    pub const fn records_max(mut self, records: u64) -> Self {
        self.records_max = Some(records);
        self
    }

    /// The most bytes of the namespace's keys and records, expired ones not counted, above
    /// which new claims are refused. Default: no limit.
    pub const fn bytes_max(mut self, bytes: u64) -> Self {
        self.bytes_max = Some(bytes);
        self
    }

    /// Refuses `UUIDv7` keys older than the retention, so that a key completed and swept long ago
    /// never runs again. Other keys are unaffected.
    pub const fn refuse_stale_keys(mut self) -> Self {
        self.stale_keys_refused = true;
        self
    }

    /// Lets sweeping remove interrupted records this long after their lease ended. Default:
    /// never, somebody decides.
    pub const fn forget_interrupted_after(mut self, span: Duration) -> Self {
        self.forget_interrupted_after = Some(span);
        self
    }

    /// Takes a UUID in upper case and the same one in lower case for one key, stored in lower case.
    /// For clients that write them in either way. Choose it before the first key: one that is
    /// stored in upper case is not found any more. Default: keys are compared byte for byte.
    ///
    /// ```
    /// # use idempotency_ledger::*;
    /// # let ledger = Ledger::in_memory()?;
    /// # let asked = Fingerprint::of(["pay", "25"]);
    /// const PAYMENTS: Namespace =
    ///     Namespace::new("payments").policy(Policy::DEFAULT.ignore_uuid_case());
    ///
    /// let upper = Key::new("017F22E2-79B0-7CC3-98C4-DC0C0C07398F")?;
    /// let lower = Key::new("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")?;
    /// ledger.operation(PAYMENTS, &upper, asked).run(|_| Ok::<_, Error>(25_u64))?;
    /// let retry = ledger.operation(PAYMENTS, &lower, asked).run(|_| Ok::<_, Error>(0_u64))?;
    /// assert_eq!(retry.into_inner(), 25);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub const fn ignore_uuid_case(mut self) -> Self {
        self.uuid_case_ignored = true;
        self
    }

    /// The lease in force: the given one, or 60 s but shorter than a given retention.
    #[must_use]
    pub fn lease_span(&self) -> Duration {
        match (self.lease, self.retention) {
            (Some(lease), _) => lease,
            (None, Some(retention)) => LEASE_DEFAULT.min(retention.saturating_sub(TICK).max(TICK)),
            (None, None) => LEASE_DEFAULT,
        }
    }

    /// The retention in force: the given one, or 24 h but longer than a given lease.
    #[must_use]
    pub fn retention_span(&self) -> Duration {
        match (self.retention, self.lease) {
            (Some(retention), _) => retention,
            (None, Some(lease)) => RETENTION_DEFAULT.max(lease.saturating_add(TICK)),
            (None, None) => RETENTION_DEFAULT,
        }
    }

    /// The retry hint in force.
    #[must_use]
    pub const fn retry_hint_span(&self) -> Duration {
        self.retry_hint
    }

    /// The response limit in force, in bytes.
    #[must_use]
    pub const fn response_limit(&self) -> u64 {
        self.response_bytes_max
    }

    /// What an interrupted key's request gets.
    #[must_use]
    pub const fn interrupted_rule(&self) -> OnInterrupted {
        self.on_interrupted
    }

    /// The record quota, if there is one.
    #[must_use]
    pub const fn record_quota(&self) -> Option<u64> {
        self.records_max
    }

    /// The byte quota, if there is one.
    #[must_use]
    pub const fn byte_quota(&self) -> Option<u64> {
        self.bytes_max
    }

    /// Whether stale keys are refused.
    #[must_use]
    pub const fn refuses_stale_keys(&self) -> bool {
        self.stale_keys_refused
    }

    /// After which span interrupted records are forgotten, if ever.
    #[must_use]
    pub const fn interrupted_retention(&self) -> Option<Duration> {
        self.forget_interrupted_after
    }

    /// Whether a UUID is the same key in upper and in lower case.
    #[must_use]
    pub const fn ignores_uuid_case(&self) -> bool {
        self.uuid_case_ignored
    }

    /// The key that a client's key is stored as.
    #[must_use]
    pub fn stored_key(&self, key: Key) -> Key {
        if self.uuid_case_ignored {
            key.with_uuid_in_lower_case()
        } else {
            key
        }
    }

    /// Checks that the policy can be kept.
    ///
    /// # Errors
    ///
    /// [`PolicyError`] for a zero span or limit, and for a retention that is not longer than the
    /// lease, in the milliseconds that are stored.
    pub fn check(&self) -> Result<(), PolicyError> {
        let spans = [
            ("lease", self.lease),
            ("retention", self.retention),
            ("retry hint", Some(self.retry_hint)),
            (
                "span after which interrupted records are forgotten",
                self.forget_interrupted_after,
            ),
        ];
        for (what, span) in spans {
            if span.is_some_and(|span| span.is_zero()) {
                return Err(PolicyError::Zero { what });
            }
        }
        for (what, limit) in [
            ("record quota", self.records_max),
            ("byte quota", self.bytes_max),
            ("response limit", Some(self.response_bytes_max)),
        ] {
            if limit == Some(0) {
                return Err(PolicyError::Zero { what });
            }
        }
        let (lease, retention) = (self.lease_span(), self.retention_span());
        if duration_ms_up(retention) <= duration_ms_up(lease) {
            return Err(PolicyError::RetentionWithinLease { lease, retention });
        }
        Ok(())
    }
}

impl Default for Policy {
    fn default() -> Self {
        Self::DEFAULT
    }
}

/// Why a policy was refused. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PolicyError {
    /// A span or limit of zero.
    Zero {
        /// Which one.
        what: &'static str,
    },
    /// A duplicate that waits for a claim could find its answer gone.
    RetentionWithinLease {
        /// The lease in force.
        lease: Duration,
        /// The retention in force.
        retention: Duration,
    },
}

impl fmt::Display for PolicyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero { what } => write!(f, "the {what} is zero; give a value above zero"),
            Self::RetentionWithinLease { lease, retention } => write!(
                f,
                "the retention ({retention:?}) is not longer than the lease ({lease:?}); keep \
                 answers longer or shorten the lease"
            ),
        }
    }
}

impl core::error::Error for PolicyError {}
