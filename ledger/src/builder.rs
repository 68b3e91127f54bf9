//! How a ledger is opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redb::{Database, StorageBackend};

use crate::clock::{Clock, SystemClock};
use crate::engine::{Mode, Rights};
use crate::error::Error;
use crate::ledger::Ledger;
use crate::opening;
use crate::platform::Access;

/// When the whole file is verified on opening.
///
/// redb's reads verify nothing, and damage can hide a record, which would then run again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verify {
    /// Each time; the right choice for money.
    Always,
    /// Never; records are still verified one by one when they are read.
    Never,
    /// Where the file has at most this many bytes.
    UpTo(u64),
}

/// How a commit reaches the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitProfile {
    /// One sync. After an unclean stop, damage can look like a torn write and cost the newest
    /// commit; opening reports a repair. The default.
    OnePhase,
    /// Two syncs: damage never passes for a torn write, and opening after a crash reads nothing.
    TwoPhase,
}

/// Settings for opening a [`Ledger`]; every setter has a default, so none is needed.
///
/// ```
/// use idempotency_ledger::{Ledger, Verify};
/// use std::time::Duration;
///
/// let folder = tempfile::tempdir()?;
/// let ledger = Ledger::builder()
///     .verify(Verify::Always)
///     .busy_timeout(Duration::from_secs(1))
///     .open(folder.path().join("app.redb"))?;
/// assert_eq!(ledger.stats()?.records(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "a builder does nothing until it opens a ledger"]
pub struct Builder {
    pub(crate) mode: Mode,
    pub(crate) rights: Rights,
    pub(crate) access: Access,
    pub(crate) missing: Missing,
    pub(crate) verify: Verify,
    pub(crate) commit: CommitProfile,
    pub(crate) cache_bytes: usize,
    pub(crate) busy_timeout: Duration,
    pub(crate) clock_jump_max: Duration,
    pub(crate) rollback: Rollback,
    pub(crate) clock: Arc<dyn Clock>,
}

/// What opening does where there is no file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Missing {
    Create,
    Refuse,
}

/// What opening does with a file that is older than one already seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rollback {
    Refuse,
    Accept,
}

impl Builder {
    pub(crate) fn new() -> Self {
        Self {
            mode: Mode::Exclusive,
            rights: Rights::ReadWrite,
            access: Access::Usual,
            missing: Missing::Create,
            verify: Verify::UpTo(64 * 1024 * 1024),
            commit: CommitProfile::OnePhase,
            cache_bytes: 64 * 1024 * 1024,
            busy_timeout: Duration::from_secs(5),
            clock_jump_max: Duration::from_secs(365 * 86_400),
            rollback: Rollback::Refuse,
            clock: Arc::new(SystemClock::new()),
        }
    }

    /// Lets several processes have the file open, each through a shared ledger. Default: this
    /// process alone, which is faster.
    ///
    /// Claims show that they live by locks on a side file, `PATH.locks`, which must stay beside
    /// the ledger. Commits take two syncs.
    pub fn shared(mut self) -> Self {
        self.mode = Mode::Shared;
        self
    }

    /// Makes new files readable by their owner alone (mode 0600). Elsewhere than on Unix the
    /// folder's rights decide. Default: the process's usual rights.
    pub fn private_files(mut self) -> Self {
        self.access = Access::Private;
        self
    }

    /// Opens for reading alone: nothing is created, repaired or written.
    pub fn read_only(mut self) -> Self {
        self.rights = Rights::ReadOnly;
        self.missing = Missing::Refuse;
        self
    }

    /// Refuses to create a missing file. Default: it is created.
    pub fn existing_only(mut self) -> Self {
        self.missing = Missing::Refuse;
        self
    }

    /// When the whole file is verified. Default: where it has at most 64 MiB.
    pub fn verify(mut self, when: Verify) -> Self {
        self.verify = when;
        self
    }

    /// How a commit reaches the disk. Default: one sync.
    pub fn commit_profile(mut self, profile: CommitProfile) -> Self {
        self.commit = profile;
        self
    }

    /// The size of the page cache, in bytes. Default: 64 MiB.
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// How long a new claim waits for the writer. Default: 5 s.
    pub fn busy_timeout(mut self, span: Duration) -> Self {
        self.busy_timeout = span;
        self
    }

    /// How far the wall clock may leap before somebody has to confirm it. Default: 365 days.
    pub fn clock_jump_max(mut self, span: Duration) -> Self {
        self.clock_jump_max = span;
        self
    }

    /// Where the time comes from. Default: the operating system.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Accepts a file that is older than one already seen (a restored backup), and goes on from
    /// the fences and the time seen. Call it only after the effects of the missing claims were
    /// checked. Default: refused as [`Error::RolledBack`].
    pub fn accept_rollback(mut self) -> Self {
        self.rollback = Rollback::Accept;
        self
    }

    /// Opens the file, or creates it.
    ///
    /// # Errors
    ///
    /// [`Error`] when the file cannot be used as a ledger; it is then unchanged, except that
    /// redb repairs a file that was not closed cleanly before anything of it can be read.
    ///
    /// # Blocking
    ///
    /// Reads the whole file where it is verified.
    pub fn open(self, path: impl AsRef<Path>) -> Result<Ledger, Error> {
        opening::open_file(self, path.as_ref()).map(Ledger::from_engine)
    }

    /// Opens a ledger on storage of the caller's own, exclusively: in the browser, in memory, or
    /// for tests that count syncs. Empty storage becomes a new ledger.
    ///
    /// # Errors
    ///
    /// As for [`Builder::open`].
    pub fn open_backend(self, storage: impl StorageBackend) -> Result<Ledger, Error> {
        opening::open_backend(self, storage).map(Ledger::from_engine)
    }

    /// Adds a ledger to a database that the application has open, so that both share
    /// transactions. Reading a claim that nobody in this process holds, its lease decides: others
    /// may have the database too.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyOpenHere`] for a second ledger on the same database.
    pub fn attach(self, database: Arc<Database>) -> Result<Ledger, Error> {
        opening::attach(self, database).map(Ledger::from_engine)
    }
}
