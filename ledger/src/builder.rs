//! How a ledger is opened.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use redb::{Database, StorageBackend};

use crate::clock::Clock;
use crate::decision::Namespace;
use crate::error::Error;
use crate::file::opening;
use crate::file::settings::{CommitProfile, Missing, Mode, Rights, Rollback, Settings, Verify};
use crate::ledger::Ledger;

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
pub struct Builder(Settings);

impl Builder {
    pub(crate) fn new() -> Self {
        Self(Settings::default())
    }

    /// Lets several processes have the file open, each through a shared ledger. Default: this
    /// process alone, which is faster.
    ///
    /// Claims show that they live by locks on a side file, `PATH.locks`, which must stay beside
    /// the ledger: where a file is mounted into a container, its folder has to be. Commits take two
    /// syncs.
    pub fn shared(mut self) -> Self {
        self.0.mode = Mode::Shared;
        self
    }

    /// Opens for reading alone: nothing is created, repaired or written.
    pub fn read_only(mut self) -> Self {
        self.0.rights = Rights::ReadOnly;
        self.0.missing = Missing::Refuse;
        self
    }

    /// Refuses to create a missing file. Default: it is created.
    pub fn existing_only(mut self) -> Self {
        self.0.missing = Missing::Refuse;
        self
    }

    /// When the whole file is verified. Default: where it has at most 64 MiB.
    pub fn verify(mut self, when: Verify) -> Self {
        self.0.verify = when;
        self
    }

    /// How a commit reaches the disk. Default: one sync.
    pub fn commit_profile(mut self, profile: CommitProfile) -> Self {
        self.0.commit = profile;
        self
    }

    /// The size of the page cache, in bytes. Default: 64 MiB.
    pub fn cache_bytes(mut self, bytes: usize) -> Self {
        self.0.cache_bytes = bytes;
        self
    }

    /// How long a new claim waits for the writer. Default: 5 s.
    pub fn busy_timeout(mut self, span: Duration) -> Self {
        self.0.busy_timeout = span;
        self
    }

    /// How far the wall clock may be ahead of the ledger's time where nothing measures a leap: over
    /// a reboot, and with a clock without [`Clock::boot`](crate::Clock::boot). One that is further
    /// ahead is held back until a person confirms it. Default: 365 days.
    ///
    /// Within a boot a leap of more than 5 minutes is measured, and held back for an hour; a
    /// shorter span than 5 minutes binds there as well.
    pub fn clock_jump_max(mut self, span: Duration) -> Self {
        self.0.clock_jump_max = span;
        self
    }

    /// Where the time comes from. Default: the operating system.
    pub fn clock(mut self, clock: impl Clock + 'static) -> Self {
        self.0.clock = Some(Arc::new(clock));
        self
    }

    /// Accepts a file that is older than one already seen (a restored backup) or that is gone, and
    /// goes on from the fences and the time seen, with the side file that lies beside this name.
    /// Call it only after the effects of the missing claims were checked. Default: refused as
    /// [`Error::RolledBack`], [`Error::LedgerMissing`] or [`Error::OtherName`].
    pub fn accept_rollback(mut self) -> Self {
        self.0.rollback = Rollback::Accept;
        self
    }

    /// Namespaces that the application uses, so that opening compares their policies with the
    /// stored ones; see [`Ledger::policy_drifts`]. Default: none, they are compared when they are
    /// used.
    pub fn namespaces(mut self, declared: impl IntoIterator<Item = Namespace>) -> Self {
        self.0.declared.extend(declared);
        self
    }

    /// Shows keys in traces (feature `tracing`). Default: their length alone, since keys may be
    /// order numbers or worse.
    pub fn show_keys_in_traces(mut self) -> Self {
        self.0.shows_keys = true;
        self
    }

    /// Opens the file, or creates it, for its owner alone (mode 0600 on Unix). Beside it lies
    /// `PATH.locks`, which notes what the ledger has reached: so a restored backup and a deleted
    /// ledger are noticed.
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
        opening::open_file(self.0, path.as_ref()).map(Ledger::from_engine)
    }

    /// Opens a ledger on storage of the caller's own, exclusively: in the browser, in memory, or
    /// for tests that count syncs. Empty storage becomes a new ledger.
    ///
    /// # Errors
    ///
    /// As for [`Builder::open`].
    pub fn open_backend(self, storage: impl StorageBackend) -> Result<Ledger, Error> {
        opening::open_backend(self.0, storage).map(Ledger::from_engine)
    }

    /// Opens a ledger in memory, which ends with the process: for tests that bring a clock.
    ///
    /// # Errors
    ///
    /// As for [`Builder::open`].
    pub fn in_memory(self) -> Result<Ledger, Error> {
        self.open_backend(redb::backends::InMemoryBackend::new())
    }

    /// Adds a ledger to a database that the application has open, so that both share
    /// transactions. Reading a claim that nobody in this process holds, its lease decides: others
    /// may have the database too.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyOpenHere`] for a second ledger on the same database.
    pub fn attach(self, database: Arc<Database>) -> Result<Ledger, Error> {
        opening::attach(self.0, database).map(Ledger::from_engine)
    }
}
