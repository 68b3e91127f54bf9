//! What is stored under a key.

use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::num::ParseIntError;
use core::str::FromStr;
use core::time::Duration;

use super::{Fingerprint, Policy, Response, Timestamp};

/// The fencing token of a claim: unique in its file, only ever increasing, never reset.
///
/// Hand it to the resource that an operation changes, so that the resource can refuse an older
/// one (Kleppmann, "How to do distributed locking"). It is compared per thing that a key guards:
/// of two keys, the one claimed later is not the newer one of the other.
///
/// ```
/// use idempotency_ledger::Fence;
///
/// assert!(Fence::from_stored(7) < Fence::from_stored(8));
/// assert_eq!(Fence::from_stored(7).to_string(), "7");
/// assert_eq!(Fence::try_from("7"), Ok(Fence::from_stored(7)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Fence(u64);

impl Fence {
    /// A fence read from a file or given by a person.
    #[must_use]
    pub const fn from_stored(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for Fence {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

impl TryFrom<&str> for Fence {
    type Error = ParseIntError;

    fn try_from(text: &str) -> Result<Self, ParseIntError> {
        text.parse()
    }
}

impl fmt::Display for Fence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// A named recovery point with bytes, stored in a claim by its holder and handed to whoever
/// takes over.
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
/// drop(claim);
/// let Begin::Interrupted(ticket) = ledger.operation(PAYMENTS, &key, asked).begin()? else {
///     panic!("nobody knows whether it happened");
/// };
/// assert_eq!(ticket.checkpoint().map(|reached| reached.name.as_str()), Some("authorized"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// The name of the step that is done.
    pub name: String,
    /// What the next step needs to know.
    pub bytes: Vec<u8>,
}

/// The policy a record was claimed under: its version in the file, and the spans that later
/// endings of this very record go by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PolicyStamp {
    /// The version of the namespace's policy, counted from 1.
    pub version: u32,
    /// How long the claim may run.
    pub lease: Duration,
    /// How long its answer is kept.
    pub retention: Duration,
    /// How long after its lease the record is kept if it is interrupted; `None` is for ever.
    pub forget_after: Option<Duration>,
}

impl PolicyStamp {
    /// The stamp of a policy that has this version in its file.
    #[must_use]
    pub fn of(policy: &Policy, version: u32) -> Self {
        Self {
            version,
            lease: policy.lease_span(),
            retention: policy.retention_span(),
            forget_after: policy.interrupted_retention(),
        }
    }
}

/// What is stored under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// What the request asked for.
    pub fingerprint: Fingerprint,
    /// The fence of the newest claim.
    pub fence: Fence,
    /// How many claims the operation has had, this one included.
    pub attempts: u32,
    /// When the operation was first claimed.
    pub first_claimed_at: Timestamp,
    /// When it was last claimed.
    pub claimed_at: Timestamp,
    /// The policy it was claimed under.
    pub policy: PolicyStamp,
    /// The opening of the ledger that claimed it, a random number.
    pub holder: u64,
    /// The name of the program that claimed it; may be empty.
    pub program: String,
    /// Where the operation stands.
    pub state: State,
}

/// Where an operation stands. Interrupted is not a stored state: it is a claim whose holder is
/// gone or whose lease is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Somebody holds the right to run it.
    Claimed(Claimed),
    /// It ran, and this was its answer.
    Completed(Completed),
}

/// The part of a record that a claim has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claimed {
    /// When the claim counts as interrupted.
    pub lease_until: Timestamp,
    /// The last recovery point.
    pub checkpoint: Option<Checkpoint>,
    /// The lock that its holder took.
    pub lock: ClaimLock,
}

/// The lock of the operating system that the holder of a claim took before the claim was stored.
/// Only that lock, seen free, shows that the holder is gone: a lock that was never taken is free
/// as well.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClaimLock {
    /// None, or none that is known: the lease decides.
    #[default]
    None,
    /// The ledger's whole file, which it had alone: every later opening sees it free.
    File,
    /// A byte of the side file with this number.
    SideFile(u64),
}

/// The part of a record that an answer has.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(
    clippy::struct_field_names,
    reason = "completed_at is the field's word everywhere"
)]
pub struct Completed {
    /// When the answer was stored.
    pub completed_at: Timestamp,
    /// When it no longer counts.
    pub expires_at: Timestamp,
    /// The answer.
    pub response: Response,
}

impl Record {
    /// The answer, if the operation completed.
    #[must_use]
    pub const fn completed(&self) -> Option<&Completed> {
        match &self.state {
            State::Claimed(_) => None,
            State::Completed(completed) => Some(completed),
        }
    }

    /// The lock that shows whether the holder of a claim lives; an answer has none.
    #[must_use]
    pub const fn lock(&self) -> ClaimLock {
        match &self.state {
            State::Claimed(claimed) => claimed.lock,
            State::Completed(_) => ClaimLock::None,
        }
    }

    /// Whether it is a claim, running or interrupted.
    #[must_use]
    pub const fn is_claimed(&self) -> bool {
        matches!(self.state, State::Claimed(_))
    }

    /// When sweeping may remove the record: an answer when it expires, a claim only where its
    /// policy says that interrupted ones are forgotten.
    #[must_use]
    pub fn removable_at(&self) -> Option<Timestamp> {
        match &self.state {
            State::Completed(completed) => Some(completed.expires_at),
            State::Claimed(claimed) => self
                .policy
                .forget_after
                .map(|span| claimed.lease_until.saturating_add(span)),
        }
    }

    /// Whether the record no longer counts at `now`.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.completed()
            .is_some_and(|completed| completed.expires_at <= now)
    }
}
