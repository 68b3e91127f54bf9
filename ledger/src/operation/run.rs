//! `run`: the operation as a closure.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::decision::{Checkpoint, Fence, Key, Response, Timestamp};
use crate::error::{Error, source_of_own};
use crate::operation::claim::Claim;
use crate::operation::refusal::{CompleteError, EndingError, Refusal};
use crate::operation::replay::Replay;
use crate::operation::request::{Begin, Request};
use crate::operation::ticket::Ticket;
use crate::operation::typed::{StoredValue, from_response, to_response};

/// What the closure of [`Request::run`] may do with its claim. It cannot end it: the builder
/// does that by what the closure returns.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let failed = ledger.operation(PAYMENTS, &key, asked).run_bytes(|operation| {
///     operation.nothing_happened(); // refused before anything was sent
///     Err::<Response, _>(std::io::Error::other("no route to the bank"))
/// });
/// assert!(failed.is_err());
/// assert!(matches!(ledger.operation(PAYMENTS, &key, asked).begin()?, Begin::Fresh(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Operation {
    claim: Claim,
    nothing_happened: AtomicBool,
}

impl Operation {
    pub(crate) fn new(claim: Claim) -> Self {
        Self {
            claim,
            nothing_happened: AtomicBool::new(false),
        }
    }

    /// The key of the operation.
    pub fn key(&self) -> &Key {
        self.claim.key()
    }

    /// The fencing token.
    pub const fn fence(&self) -> Fence {
        self.claim.fence()
    }

    /// Which attempt this is, counted from 1.
    pub const fn attempt(&self) -> u32 {
        self.claim.attempt()
    }

    /// When the lease ends, in the ledger's time.
    pub fn deadline(&self) -> Timestamp {
        self.claim.lease_until()
    }

    /// The key for a downstream call; see [`Claim::child_key`].
    pub fn child_key(&self, label: &str) -> Key {
        self.claim.child_key(label)
    }

    /// The last checkpoint, of this attempt or of one before it.
    pub fn last_checkpoint(&self) -> Option<Checkpoint> {
        self.claim.last_checkpoint()
    }

    /// Stores a recovery point; see [`Claim::checkpoint`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn checkpoint(&self, name: &str, bytes: &[u8]) -> Result<(), EndingError> {
        self.claim.checkpoint(name, bytes)
    }

    /// Gives the operation its whole lease again; see [`Claim::renew`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn renew(&self) -> Result<Timestamp, EndingError> {
        self.claim.renew()
    }

    /// Says that nothing has happened, for sure: an error that the closure then returns releases
    /// the key instead of leaving it interrupted. Has no effect once a checkpoint is stored.
    pub fn nothing_happened(&self) {
        self.nothing_happened.store(true, Ordering::Relaxed);
    }
}

/// The value of an operation, and whether it ran now or before.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let pay = || ledger.operation(PAYMENTS, &key, asked).run_bytes(|_| Ok::<_, Error>("charged"));
/// assert!(!pay()?.is_replay());
/// assert!(pay()?.is_replay());
/// assert_eq!(pay()?.into_inner().bytes(), b"charged");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome<T> {
    value: T,
    completed_at: Timestamp,
    expires_at: Timestamp,
    origin: Origin,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    RanNow,
    Replayed,
}

impl<T> Outcome<T> {
    /// A value, with the times of the answer that holds it.
    pub(crate) const fn new(value: T, stored: &Replay, origin: Origin) -> Self {
        Self {
            value,
            completed_at: stored.completed_at(),
            expires_at: stored.expires_at(),
            origin,
        }
    }

    /// Whether the operation ran before and this is its stored answer.
    pub const fn is_replay(&self) -> bool {
        matches!(self.origin, Origin::Replayed)
    }

    /// When the answer was stored.
    pub const fn completed_at(&self) -> Timestamp {
        self.completed_at
    }

    /// When it no longer counts: a cache in front must not keep it longer.
    pub const fn expires_at(&self) -> Timestamp {
        self.expires_at
    }

    /// The value.
    pub const fn get(&self) -> &T {
        &self.value
    }

    /// The value, without a copy.
    pub fn into_inner(self) -> T {
        self.value
    }
}

impl Outcome<Response> {
    pub(crate) fn of_response(stored: Replay, origin: Origin) -> Self {
        Outcome::new((), &stored, origin).with(stored.into_response())
    }
}

impl Outcome<()> {
    fn with<T>(self, value: T) -> Outcome<T> {
        let Self {
            value: (),
            completed_at,
            expires_at,
            origin,
        } = self;
        Outcome {
            value,
            completed_at,
            expires_at,
            origin,
        }
    }
}

/// Why [`Request::run`] or [`Request::transact`] gave no outcome.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let failing = || {
///     let timeout = std::io::Error::from(std::io::ErrorKind::TimedOut);
///     ledger.operation(PAYMENTS, &key, asked).run_bytes(|_| Err::<Response, _>(timeout))
/// };
/// assert!(matches!(failing(), Err(RunError::Operation(_))));
/// // A timeout says nothing, so the key is not free again.
/// assert!(matches!(failing(), Err(RunError::Interrupted(_))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub enum RunError<E, T = Response> {
    /// The closure did not run, and must not.
    Refused(Refusal),
    /// The closure did not run; nobody knows whether it ran before.
    Interrupted(Ticket),
    /// The closure returned an error. The key is interrupted, or released where the caller said
    /// that nothing happened; in [`Request::transact`] everything is rolled back.
    Operation(E),
    /// The closure succeeded, but its value was not stored. The value and the claim come back.
    Complete(Unstored<T>),
    /// A stored answer is no value of the type. It comes back whole; the closure did not run.
    Undecodable(Box<Undecodable>),
    /// The ledger failed.
    Ledger(Error),
}

/// A value that was not stored although the operation succeeded.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let small = PAYMENTS.policy(Policy::DEFAULT.response_bytes_max(3));
/// let result = ledger.operation(small, &key, asked).run_bytes(|_| Ok::<_, Error>("four"));
/// let Err(RunError::Complete(unstored)) = result else { panic!("it is too large") };
/// assert_eq!(unstored.value.bytes(), b"four");
/// assert!(unstored.claim.complete("ref").is_ok());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Unstored<T> {
    /// The value that the closure returned.
    pub value: T,
    /// The claim, still held.
    pub claim: Claim,
    /// Why it was not stored.
    pub error: EndingError,
}

/// A stored answer that is no value of the asked type.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// #[derive(serde::Serialize, serde::Deserialize, Debug)]
/// struct Receipt(u64);
/// impl StoredValue for Receipt {
///     const SCHEMA: &str = "receipt/2";
/// }
/// ledger.operation(PAYMENTS, &key, asked).run_bytes(|_| Ok::<_, Error>("raw bytes"))?;
/// let result = ledger.operation(PAYMENTS, &key, asked).run(|_| Ok::<_, Error>(Receipt(1)));
/// let Err(RunError::Undecodable(undecodable)) = result else { panic!("it is no receipt") };
/// assert_eq!(undecodable.stored.response().bytes(), b"raw bytes");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Undecodable {
    /// The answer as it is stored.
    pub stored: Replay,
    /// The schema of the asked type.
    pub expected: &'static str,
    /// What is wrong.
    pub reason: String,
}

impl<E: fmt::Display, T> fmt::Display for RunError<E, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(refusal) => fmt::Display::fmt(refusal, f),
            Self::Interrupted(ticket) => write!(
                f,
                "an earlier attempt (fence {}) was interrupted, and nobody knows whether it \
                 happened; find out, then end the ticket",
                ticket.fence()
            ),
            // In full: of anyhow's errors that is the whole chain.
            Self::Operation(error) => write!(f, "{error:#}"),
            Self::Complete(unstored) => fmt::Display::fmt(unstored, f),
            Self::Undecodable(undecodable) => fmt::Display::fmt(undecodable, f),
            Self::Ledger(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl<T> fmt::Display for Unstored<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the operation succeeded, but its value was not stored: {}",
            self.error
        )
    }
}

impl<T: fmt::Debug> std::error::Error for Unstored<T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

impl fmt::Display for Undecodable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the stored answer is no {:?}: {}; it is unchanged, read it in `migrate`",
            self.expected, self.reason
        )
    }
}

impl std::error::Error for Undecodable {}

/// Whatever the closure fails with, also a `Box<dyn Error>`, an `anyhow::Error` or a text: those
/// are no errors for the compiler, so nothing more than `Display` is asked for. The sources of an
/// error type of your own are those of [`RunError::Operation`]'s value, and
/// [`RunError::into_boxed`] keeps them in the chain.
impl<E: fmt::Debug + fmt::Display + 'static, T: fmt::Debug> std::error::Error for RunError<E, T> {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Operation(error) => source_of_own(error),
            Self::Complete(unstored) => unstored.source(),
            Self::Ledger(error) => error.source(),
            Self::Refused(_) | Self::Interrupted(_) | Self::Undecodable(_) => None,
        }
    }
}

impl<E, T> RunError<E, T>
where
    E: Into<Box<dyn std::error::Error + Send + Sync>> + fmt::Debug + fmt::Display + Send + Sync,
    E: 'static,
    T: fmt::Debug + Send + Sync + 'static,
{
    /// The closure's own error as it is, with its sources; any other boxed.
    ///
    /// ```
    /// # use idempotency_ledger::*;
    /// # const PAYMENTS: Namespace = Namespace::new("payments");
    /// # let ledger = Ledger::in_memory()?;
    /// # let key = Key::new("order-17")?;
    /// # let asked = Fingerprint::of(["pay", "25"]);
    /// let timeout = std::io::Error::from(std::io::ErrorKind::TimedOut);
    /// let failed = ledger.operation(PAYMENTS, &key, asked).run(|_| Err::<u64, _>(timeout));
    /// let boxed = failed.expect_err("it timed out").into_boxed();
    /// assert!(boxed.is::<std::io::Error>());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_boxed(self) -> Box<dyn std::error::Error + Send + Sync> {
        match self {
            Self::Operation(error) => error.into(),
            other => Box::new(other),
        }
    }
}

impl<E, T> From<Error> for RunError<E, T> {
    fn from(error: Error) -> Self {
        Self::Ledger(error)
    }
}

/// A request that knows which errors of its operation mean that nothing happened.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// use std::io::{Error, ErrorKind};
///
/// let refused = ledger
///     .operation(PAYMENTS, &key, asked)
///     .release_if(|error: &Error| error.kind() == ErrorKind::ConnectionRefused)
///     .run_bytes(|_| Err::<Response, _>(Error::from(ErrorKind::ConnectionRefused)));
/// assert!(refused.is_err());
/// assert!(ledger.record(PAYMENTS, &key).peek()?.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "a request does nothing until it is run"]
pub struct ReleaseIf<E> {
    pub(crate) request: Request,
    pub(crate) certain: Box<dyn FnOnce(&E) -> bool + Send>,
}

impl<E> fmt::Debug for ReleaseIf<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReleaseIf")
            .field("request", &self.request)
            .finish_non_exhaustive()
    }
}

impl Request {
    /// Names the errors that mean that nothing happened, for sure: they release the key. All
    /// others leave it interrupted, since a timeout is an error too and the card may be charged.
    pub fn release_if<E>(self, certain: impl FnOnce(&E) -> bool + Send + 'static) -> ReleaseIf<E> {
        ReleaseIf {
            request: self,
            certain: Box::new(certain),
        }
    }

    /// Runs the closure once, stores its value and returns it; a retry gets the stored value.
    ///
    /// `Ok` completes. `Err` and a panic leave the key interrupted, unless the closure called
    /// [`Operation::nothing_happened`].
    ///
    /// # Errors
    ///
    /// [`RunError`].
    ///
    /// # Blocking
    ///
    /// For two commits and as long as the closure runs.
    pub fn run<T: StoredValue, E>(
        self,
        operation: impl FnOnce(&Operation) -> Result<T, E>,
    ) -> Result<Outcome<T>, RunError<E, T>> {
        self.release_if(|_: &E| false).run(operation)
    }

    /// Like [`Request::run`], for bytes that the caller encodes.
    ///
    /// # Errors
    ///
    /// [`RunError`].
    ///
    /// # Blocking
    ///
    /// As for [`Request::run`].
    pub fn run_bytes<R: Into<Response>, E>(
        self,
        operation: impl FnOnce(&Operation) -> Result<R, E>,
    ) -> Result<Outcome<Response>, RunError<E>> {
        self.release_if(|_: &E| false).run_bytes(operation)
    }
}

impl<E> ReleaseIf<E> {
    /// See [`Request::run`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn run<T: StoredValue>(
        self,
        operation: impl FnOnce(&Operation) -> Result<T, E>,
    ) -> Result<Outcome<T>, RunError<E, T>> {
        let claim = match started(self.request.begin()?)? {
            Started::Claim(claim) => claim,
            Started::Replay(replay) => return replayed(replay),
        };
        let (claim, value) = perform(claim, self.certain, operation)?;
        complete_with(claim, value)
    }

    /// See [`Request::run_bytes`].
    ///
    /// # Errors
    ///
    /// As there.
    pub fn run_bytes<R: Into<Response>>(
        self,
        operation: impl FnOnce(&Operation) -> Result<R, E>,
    ) -> Result<Outcome<Response>, RunError<E>> {
        let claim = match started(self.request.begin()?)? {
            Started::Claim(claim) => claim,
            Started::Replay(replay) => {
                return Ok(Outcome::of_response(replay, Origin::Replayed));
            }
        };
        let (claim, response) = perform(claim, self.certain, operation)?;
        ran_bytes(claim.complete(response))
    }
}

/// What became of an operation that returned bytes.
pub(crate) fn ran_bytes<E>(
    completed: Result<Replay, CompleteError>,
) -> Result<Outcome<Response>, RunError<E>> {
    match completed {
        Ok(stored) => Ok(Outcome::of_response(stored, Origin::RanNow)),
        Err(CompleteError {
            claim,
            response,
            error,
        }) => Err(RunError::Complete(Unstored {
            value: response,
            claim,
            error,
        })),
    }
}

pub(crate) enum Started {
    Claim(Claim),
    Replay(Replay),
}

pub(crate) fn started<E, T>(begin: Begin) -> Result<Started, RunError<E, T>> {
    match begin {
        Begin::Fresh(claim) => Ok(Started::Claim(claim)),
        Begin::Replay(replay) => Ok(Started::Replay(replay)),
        Begin::Interrupted(ticket) => Err(RunError::Interrupted(ticket)),
        Begin::Refused(refusal) => Err(RunError::Refused(refusal)),
    }
}

/// Completes a claim with a typed value, which comes back where that fails.
pub(crate) fn complete_with<T: StoredValue, E>(
    claim: Claim,
    value: T,
) -> Result<Outcome<T>, RunError<E, T>> {
    let (claim, value, response) = encoded(claim, value)?;
    ran_value(value, claim.complete(response))
}

/// The value as it is stored, or value and claim with the reason why it cannot be.
pub(crate) fn encoded<T: StoredValue, E>(
    claim: Claim,
    value: T,
) -> Result<(Claim, T, Response), RunError<E, T>> {
    match to_response(&value) {
        Ok(response) => Ok((claim, value, response)),
        Err(error) => Err(RunError::Complete(Unstored {
            value,
            claim,
            error: error.into(),
        })),
    }
}

/// What became of an operation that returned a value.
pub(crate) fn ran_value<T: StoredValue, E>(
    value: T,
    completed: Result<Replay, CompleteError>,
) -> Result<Outcome<T>, RunError<E, T>> {
    match completed {
        Ok(stored) => Ok(Outcome::new(value, &stored, Origin::RanNow)),
        Err(CompleteError { claim, error, .. }) => Err(RunError::Complete(Unstored {
            value,
            claim,
            error,
        })),
    }
}

pub(crate) fn replayed<T: StoredValue, E>(replay: Replay) -> Result<Outcome<T>, RunError<E, T>> {
    match from_response(replay.response()) {
        Ok(value) => Ok(Outcome::new(value, &replay, Origin::Replayed)),
        Err(reason) => Err(RunError::Undecodable(Box::new(Undecodable {
            stored: replay,
            expected: T::SCHEMA,
            reason,
        }))),
    }
}

/// Runs the closure. A panic drops the claim on its way, which leaves the key interrupted.
fn perform<R, E, T>(
    claim: Claim,
    certain: impl FnOnce(&E) -> bool,
    operation: impl FnOnce(&Operation) -> Result<R, E>,
) -> Result<(Claim, R), RunError<E, T>> {
    let running = Operation::new(claim);
    let result = operation(&running);
    let (claim, ended) = ended(running, certain, result);
    match ended {
        Ok(value) => Ok((claim, value)),
        Err((error, is_certain)) => {
            if is_certain {
                // A release that fails leaves the key interrupted, which is always safe.
                let _ = claim.release();
            }
            Err(RunError::Operation(error))
        }
    }
}

/// What a closure that has returned left: its claim, and its value, or its error with whether it
/// is certain that nothing happened.
pub(crate) fn ended<R, E>(
    running: Operation,
    certain: impl FnOnce(&E) -> bool,
    result: Result<R, E>,
) -> (Claim, Result<R, (E, bool)>) {
    let Operation {
        claim,
        nothing_happened,
    } = running;
    let ended = result.map_err(|error| {
        let is_certain = nothing_happened.into_inner() || certain(&error);
        (error, is_certain)
    });
    (claim, ended)
}
