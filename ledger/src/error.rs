//! What can go wrong, and what is then true on disk.

use std::any::Any;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::decision::{Fence, Key, KeyError, PolicyError};
use crate::file::held_backend::LockBusy;

/// Why a call of the ledger failed. Expected refusals are no errors but values
/// ([`Begin::Refused`](crate::Begin::Refused)).
///
/// Every message says what is now true on disk and what to do. "Nobody knows" is an error of its
/// own, [`Error::CommitUnknown`], and never reported as a failure.
///
/// ```
/// use idempotency_ledger::{Error, Ledger};
///
/// let missing = Ledger::builder().existing_only().open("/nowhere/at/all.redb");
/// assert!(matches!(missing, Err(Error::Storage(_))));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Error {
    /// Reading or writing failed before a commit: nothing of this call was written.
    Storage(Cause),
    /// The commit failed half-way: it may be on disk, or not. The next call reopens the file and
    /// finds out; ask with the same key again.
    CommitUnknown(Cause),
    /// The writer, or its queue, was occupied for the whole busy timeout. Nothing was written.
    Busy {
        /// How long the call waited.
        waited: Duration,
    },
    /// A stored record is damaged. It is unchanged and was not replayed.
    Damaged {
        /// The namespace, where it could be read.
        namespace: String,
        /// The key, where it could be read.
        key: String,
    },
    /// The file as a whole is damaged. It is unchanged.
    FileDamaged(Cause),
    /// The file is not a ledger. It is unchanged.
    NotALedger {
        /// What it is instead.
        found: &'static str,
    },
    /// A newer version wrote the file. It is unchanged.
    NewerFormat {
        /// The format of the file.
        found: u32,
        /// The newest format that this version reads.
        supported: u32,
    },
    /// Another process has the file open exclusively, or this one would and somebody has it open.
    AlreadyOpen,
    /// This process has the same file or database open as another ledger. Clone that one.
    AlreadyOpenHere,
    /// The file was removed or replaced while it was open. Nothing was written.
    FileReplaced {
        /// Where it was.
        path: PathBuf,
    },
    /// The file is older than one already seen: a backup was restored. Claims given out since
    /// then are missing in it. Nothing was written.
    RolledBack {
        /// The highest fence in the file.
        stored: Fence,
        /// The highest fence known to have been stored.
        seen: Fence,
    },
    /// There is no file under the name, but the side file beside it shows that a ledger was there
    /// and gave claims out: it was deleted, or its disk is not there. Nothing was written.
    LedgerMissing {
        /// Where it was.
        path: PathBuf,
        /// The highest fence known to have been stored.
        seen: Fence,
    },
    /// The file has other names, and the side file that shows what lives lies beside another one.
    /// Nothing was written.
    OtherName {
        /// The name that was used.
        path: PathBuf,
    },
    /// The process has forked since the ledger was opened. Open it anew in the child.
    UsedAfterFork,
    /// The ledger was closed.
    Closed,
    /// The ledger was opened for reading only.
    ReadOnly,
    /// The file was not closed cleanly, and a read-only opening cannot repair it.
    NeedsRepair,
    /// The call would wait for something that its own thread holds.
    WouldDeadlock {
        /// What the thread holds.
        held: &'static str,
    },
    /// Input that cannot be used. Nothing was written.
    Invalid(Invalid),
    /// The ledger was opened in a way that does not allow the call.
    Unsupported {
        /// What was asked for and why it cannot be had.
        reason: &'static str,
    },
    /// A claim begun in the transaction was dropped without an ending, so the transaction was
    /// rolled back.
    UnfinishedClaim,
}

/// Input that cannot be used.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// use std::time::Duration;
///
/// let never = Namespace::new("x").policy(Policy::DEFAULT.lease(Duration::ZERO));
/// let refused = ledger.operation(never, &key, asked).begin();
/// assert!(matches!(refused, Err(Error::Invalid(Invalid::Policy(_)))));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Invalid {
    /// A key.
    Key(KeyError),
    /// A scope.
    Scope(KeyError),
    /// The policy of a namespace.
    Policy(PolicyError),
    /// The file would get more namespaces than it may have.
    TooManyNamespaces {
        /// The limit.
        limit: u64,
    },
    /// A response above the limit of its namespace's policy.
    Response {
        /// How many bytes it has.
        bytes: usize,
        /// How many it may have.
        limit: u64,
    },
    /// A response of a kind that no retry of the request could be sent.
    Kind {
        /// What is wrong.
        reason: String,
    },
    /// A value that does not come back from its bytes in any form, or a stored one of another type.
    Value {
        /// The schema of its type.
        schema: &'static str,
        /// What is wrong.
        reason: String,
    },
    /// The name of a step.
    Step(KeyError),
    /// The topic of an outbox row.
    Topic(KeyError),
    /// The same key twice among several that begin together.
    DuplicateKey {
        /// The key.
        key: Key,
    },
    /// Too few or too many at once.
    Count {
        /// Of what.
        what: &'static str,
        /// How many there are.
        count: usize,
        /// How many there may be; at least one there has to be.
        limit: usize,
    },
    /// A name that is stored with a record is too long.
    TooLong {
        /// Which one.
        what: &'static str,
        /// How many bytes it has.
        bytes: usize,
        /// How many it may have.
        limit: usize,
    },
}

/// The error behind an error, whose type is not part of this crate's interface.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let missing = Ledger::builder().existing_only().open("/nowhere/at/all.redb");
/// let Err(Error::Storage(cause)) = missing else { panic!("there is no such folder") };
/// assert_eq!(cause.io_kind(), Some(std::io::ErrorKind::NotFound));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone)]
pub struct Cause(Arc<dyn std::error::Error + Send + Sync>);

impl Cause {
    pub(crate) fn new(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self(Arc::from(source.into()))
    }

    /// The kind of the I/O error behind it, if there is one.
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        let io_error: Option<&io::Error> = self.0.downcast_ref();
        io_error.map(io::Error::kind)
    }
}

impl fmt::Debug for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Error {
    pub(crate) fn io(error: io::Error) -> Self {
        let busy = error.get_ref().and_then(|source| source.downcast_ref());
        if let Some(LockBusy { waited }) = busy {
            return Self::Busy { waited: *waited };
        }
        Self::Storage(Cause::new(error))
    }

    pub(crate) fn damaged_file(what: impl Into<String>) -> Self {
        Self::FileDamaged(Cause::new(what.into()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Storage(cause) => {
                write!(
                    f,
                    "storage failed, nothing was written: {cause}{}",
                    remedy(cause)
                )
            }
            Self::CommitUnknown(cause) => write!(
                f,
                "the commit failed half-way, so it may be on disk or not: {cause}{}; ask again \
                 with the same key, the ledger reopens its file and finds out",
                remedy(cause)
            ),
            Self::Busy { waited } => write!(
                f,
                "the writer was occupied for {waited:?}, nothing was written; try again, or raise \
                 the busy timeout"
            ),
            Self::Damaged { namespace, key } => write!(
                f,
                "the record of key {key:?} in namespace {namespace:?} is damaged and was not \
                 used; restore a backup, or forget the key once it is known what happened"
            ),
            Self::FileDamaged(cause) => write!(
                f,
                "the ledger file is damaged: {cause}; restore a backup, the file is unchanged"
            ),
            Self::NotALedger { found } => write!(
                f,
                "not a ledger: {found}; the file is unchanged, check the path (a ledger is added \
                 to an existing redb database with attach)"
            ),
            Self::NewerFormat { found, supported } => write!(
                f,
                "the file has format {found}, this version reads up to {supported}; update the \
                 program, the file is unchanged"
            ),
            other => other.fmt_usage(f),
        }
    }
}

impl Error {
    /// The errors that say how the ledger was used, rather than what its storage did.
    fn fmt_usage(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyOpen => f.write_str(
                "another process has the file open; close it there, or open it shared in both",
            ),
            Self::AlreadyOpenHere => {
                f.write_str("this process has the file open already; clone that ledger instead")
            }
            Self::FileReplaced { path } => write!(
                f,
                "{} was removed or replaced while it was open, nothing was written; close the \
                 ledger and open it again",
                path.display()
            ),
            Self::RolledBack { stored, seen } => write!(
                f,
                "the file is older than one already seen (fence {stored}, seen {seen}), as after \
                 restoring a backup, so claims are missing in it; nothing was written; open it \
                 with accept_rollback (idem accept-rollback) once their effects are checked"
            ),
            Self::LedgerMissing { path, seen } => write!(
                f,
                "{} is gone, but the side file beside it has seen it give out fence {seen}, so an \
                 empty ledger would run everything again; nothing was written; restore the file, \
                 or begin anew with accept_rollback (idem accept-rollback) once the effects are \
                 checked",
                path.display()
            ),
            Self::OtherName { path } => write!(
                f,
                "{} is one of several names of the file (a hard link, or a file that is mounted \
                 by itself), and its side file does not lie beside this one; nothing was written; \
                 use the other name, mount the folder instead of the file, or open it with \
                 accept_rollback (idem accept-rollback) once nothing else uses the file",
                path.display()
            ),
            Self::UsedAfterFork => f.write_str(
                "the process has forked since the ledger was opened; open it in the child",
            ),
            Self::Closed => f.write_str("the ledger is closed; nothing was written"),
            Self::ReadOnly => f.write_str(
                "the ledger is open for reading only, nothing was written; open it for writing",
            ),
            Self::NeedsRepair => f.write_str(
                "the file was not closed cleanly; open it for writing once, which repairs it",
            ),
            Self::WouldDeadlock { held } => write!(
                f,
                "this thread holds {held}, so the call would wait for itself; nothing was written"
            ),
            Self::Invalid(invalid) => fmt::Display::fmt(invalid, f),
            Self::Unsupported { reason } => f.write_str(reason),
            Self::UnfinishedClaim => f.write_str(
                "a claim begun in the transaction was dropped without complete, release or keep; \
                 the transaction was rolled back",
            ),
            Self::Storage(_)
            | Self::CommitUnknown(_)
            | Self::Busy { .. }
            | Self::Damaged { .. }
            | Self::FileDamaged(_)
            | Self::NotALedger { .. }
            | Self::NewerFormat { .. } => unreachable!("told by `fmt`"),
        }
    }
}

fn remedy(cause: &Cause) -> &'static str {
    match cause.io_kind() {
        Some(io::ErrorKind::StorageFull) => "; make room, the next call works again",
        Some(io::ErrorKind::PermissionDenied) => "; check the permissions of file and folder",
        Some(io::ErrorKind::ReadOnlyFilesystem) => "; the file system is read-only",
        Some(io::ErrorKind::NotFound) => "; check the path",
        _ => "",
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(error) => write!(f, "the key cannot be used: {error}"),
            Self::Scope(error) => write!(f, "the scope cannot be used: {error}"),
            Self::Policy(error) => write!(f, "the policy cannot be kept: {error}"),
            Self::TooManyNamespaces { limit } => write!(
                f,
                "the file has {limit} namespaces, which is the limit; what differs from request \
                 to request belongs into the scope"
            ),
            Self::Response { bytes, limit } => write!(
                f,
                "the response has {bytes} bytes, the limit is {limit}; nothing was written; store \
                 a reference instead, or raise response_bytes_max"
            ),
            Self::Kind { reason } => write!(
                f,
                "the response cannot answer a request over HTTP: {reason}; nothing was written; \
                 make it of an HttpAnswer, or with `idem resolve --http STATUS --body FILE`"
            ),
            Self::Value { schema, reason } => write!(
                f,
                "the value of schema {schema:?} does not come back from its bytes: {reason}; \
                 nothing was written; try the type with check_stored_value in a test"
            ),
            Self::Topic(error) => write!(f, "the row's topic cannot be used: {error}"),
            Self::Step(error) => write!(f, "the step's name cannot be used: {error}"),
            Self::DuplicateKey { key } => write!(
                f,
                "the key {:?} is there twice; nothing was written; give each operation its own",
                key.as_str()
            ),
            Self::Count { what, count, limit } => write!(
                f,
                "{count} {what} at once, where 1 to {limit} are possible; nothing was written"
            ),
            Self::TooLong { what, bytes, limit } => {
                write!(f, "the {what} has {bytes} bytes, the limit is {limit}")
            }
        }
    }
}

/// An error says its cause itself, as most programs print one line; its source is what lies below
/// that, so a program that prints the whole chain says nothing twice. The same holds for every
/// error here that carries another one.
impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Storage(cause) | Self::CommitUnknown(cause) | Self::FileDamaged(cause) => {
                cause.source()
            }
            _ => None,
        }
    }
}

impl std::error::Error for Cause {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source()
    }
}

impl std::error::Error for Invalid {}

/// What lies below the error of a caller's closure, whose own text is said already. The type need
/// be no error (a `Box<dyn Error>` is none, nor is `anyhow::Error`), so it is known for these
/// alone.
pub(crate) fn source_of_own<E: 'static>(error: &E) -> Option<&(dyn std::error::Error + 'static)> {
    use std::error::Error as StdError;
    let error: &dyn Any = error;
    if let Some(error) = error.downcast_ref::<Box<dyn StdError + Send + Sync>>() {
        return error.source();
    }
    if let Some(error) = error.downcast_ref::<Box<dyn StdError>>() {
        return error.source();
    }
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return error.source();
    }
    error.downcast_ref::<Error>().and_then(StdError::source)
}

impl From<KeyError> for Error {
    fn from(error: KeyError) -> Self {
        Self::Invalid(Invalid::Key(error))
    }
}

impl From<PolicyError> for Error {
    fn from(error: PolicyError) -> Self {
        Self::Invalid(Invalid::Policy(error))
    }
}

/// What the application's own tables failed with, inside a transaction: so that a closure of
/// [`Request::transact`](crate::Request::transact) or a step can have one type of error. Nothing
/// is written by then.
impl From<redb::Error> for Error {
    fn from(error: redb::Error) -> Self {
        before_commit(error)
    }
}

impl From<redb::TableError> for Error {
    fn from(error: redb::TableError) -> Self {
        before_commit(error)
    }
}

impl From<redb::StorageError> for Error {
    fn from(error: redb::StorageError) -> Self {
        before_commit(error)
    }
}

/// What redb reported while reading, or before a commit: nothing was written.
pub(crate) fn before_commit(error: impl Into<redb::Error>) -> Error {
    match error.into() {
        redb::Error::Io(error) => Error::io(error),
        redb::Error::Corrupted(what) => Error::damaged_file(what),
        redb::Error::DatabaseClosed => Error::Closed,
        redb::Error::DatabaseAlreadyOpen => Error::AlreadyOpen,
        error => Error::Storage(Cause::new(error.to_string())),
    }
}

/// What redb reported from a commit: it may be on disk.
pub(crate) fn in_commit(error: redb::CommitError) -> Error {
    match redb::Error::from(error) {
        redb::Error::Io(error) => Error::CommitUnknown(Cause::new(error)),
        // A poisoned transaction is rolled back by redb: nothing was written.
        error @ redb::Error::TransactionPoisoned => Error::Storage(Cause::new(error.to_string())),
        error => Error::CommitUnknown(Cause::new(error.to_string())),
    }
}

/// redb trusts a file that was closed cleanly and may panic on a damaged one. Here that is an
/// error like every other damage.
pub(crate) fn no_panic<T>(work: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|panic| {
        let what = panic
            .downcast_ref::<String>()
            .map(String::as_str)
            .or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap_or("the storage engine panicked");
        Err(Error::damaged_file(what))
    })
}
