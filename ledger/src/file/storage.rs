//! The storage behind a ledger, and how a database is opened on it, once and again.

use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use redb::backends::FileBackend;
use redb::{
    ConcurrencyMode, Database, DatabaseError, ReadOnlyDatabase, StorageBackend, StorageError,
};

use crate::error::{Cause, Error, before_commit, no_panic};
use crate::file::head::highest_stored;
use crate::file::held_backend::HeldBackend;
use crate::file::settings::{CommitProfile, Mode, Settings};
use crate::store::codec::Floor;

pub(crate) enum Base {
    Owned(Database),
    Lent(Arc<Database>),
    ReadOnly(ReadOnlyDatabase),
}

/// Lets go of a database that has failed, without its last writes.
///
/// redb writes when a database is dropped. On damaged pages that panics, and the panic drops what
/// writes and panics again, which ends the process. While a panic unwinds redb writes nothing and
/// leaves the file for the next opening to repair; so it is dropped by one that no hook reports.
/// What was acknowledged is on disk without these writes.
pub(crate) fn discard(base: Option<Base>) {
    if cfg!(panic = "unwind") {
        let _ = catch_unwind(AssertUnwindSafe(move || {
            let _base = base;
            resume_unwind(Box::new(()));
        }));
    }
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Base")
    }
}

/// What opening found.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// assert!(!ledger.open_report().repaired);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OpenReport {
    /// Whether the file had not been closed cleanly and was repaired. With one-phase commits the
    /// newest commit may be lost if the storage was damaged at the same time.
    pub repaired: bool,
    /// Whether the whole file was verified.
    pub verified: bool,
    /// Whether the file system has no locks. Nothing then keeps another process from opening the
    /// file at the same time, which destroys it; and nothing shows that the holder of a claim is
    /// gone, so its lease decides. Put the file on a local file system.
    pub without_locks: bool,
}

/// The storage behind a ledger, and how a database is opened on it again.
#[derive(Debug)]
pub(crate) struct Storage {
    kind: StorageKind,
    mode: Mode,
    commit: CommitProfile,
    cache_bytes: usize,
    lock_timeout: Duration,
}

#[derive(Debug)]
pub(crate) enum StorageKind {
    Held(HeldBackend),
    Lent,
    ReadOnly(PathBuf),
}

impl Storage {
    pub(crate) fn of(settings: &Settings, kind: StorageKind) -> Self {
        Self {
            kind,
            mode: settings.mode,
            commit: settings.commit,
            cache_bytes: settings.cache_bytes,
            lock_timeout: settings.busy_timeout,
        }
    }

    pub(crate) const fn commit_profile(&self) -> CommitProfile {
        self.commit
    }

    /// The bytes under the database, where the ledger has them.
    pub(crate) const fn backend(&self) -> Option<&HeldBackend> {
        match &self.kind {
            StorageKind::Held(backend) => Some(backend),
            StorageKind::Lent | StorageKind::ReadOnly(_) => None,
        }
    }

    /// How large the file is, where the ledger has it.
    pub(crate) fn file_bytes(&self) -> Result<Option<u64>, Error> {
        let bytes = match &self.kind {
            StorageKind::Held(backend) => backend.len().map(Some),
            StorageKind::ReadOnly(path) => fs::metadata(path).map(|file| Some(file.len())),
            StorageKind::Lent => Ok(None),
        };
        bytes.map_err(Error::io)
    }

    /// Replaces a database that has latched an error by a fresh one on the same storage.
    pub(crate) fn replace(&self, old: Option<Base>) -> Result<(Base, Floor), Error> {
        match &self.kind {
            StorageKind::Held(backend) => {
                let _bounded = backend.bound_waits();
                backend.start_replacing();
                discard(old);
                let opened = no_panic(|| self.open_database(backend, Verification::Skip));
                // Without a database the locks are kept for the next attempt.
                let database = opened?;
                backend.end_replacing();
                let reached = highest_stored(&database)?;
                Ok((Base::Owned(database), reached))
            }
            StorageKind::ReadOnly(path) => {
                discard(old);
                let database = self.open_read_only(path)?;
                let reached = highest_stored(&database)?;
                Ok((Base::ReadOnly(database), reached))
            }
            StorageKind::Lent => Err(Error::Storage(Cause::new(
                "the attached database has failed; close it and attach the reopened one",
            ))),
        }
    }

    pub(crate) fn open_database(
        &self,
        backend: &HeldBackend,
        verification: Verification,
    ) -> Result<Database, Error> {
        self.redb_builder()
            .set_check_integrity_on_open(verification == Verification::Whole)
            .create_with_backend(backend.clone())
            .map_err(in_opening)
    }

    pub(crate) fn open_read_only(&self, path: &Path) -> Result<ReadOnlyDatabase, Error> {
        let file = File::open(path).map_err(Error::io)?;
        let file = FileBackend::new(file).map_err(in_opening)?;
        let backend = HeldBackend::new(file, self.lock_timeout);
        let _bounded = backend.bound_waits();
        self.open_untouched(&backend)
    }

    /// Opens what is there for reading, without changing a byte of it.
    pub(crate) fn open_untouched(&self, backend: &HeldBackend) -> Result<ReadOnlyDatabase, Error> {
        no_panic(|| {
            self.redb_builder()
                .open_read_only_with_backend(backend.clone())
                .map_err(in_opening)
        })
    }

    pub(crate) fn redb_builder(&self) -> redb::Builder {
        let mut builder = Database::builder();
        builder.set_cache_size(self.cache_bytes);
        builder.set_concurrency_mode(match self.mode {
            Mode::Shared => ConcurrencyMode::MultiWriter,
            Mode::Exclusive | Mode::Attached => ConcurrencyMode::ExclusiveWriter,
        });
        builder
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verification {
    Whole,
    Skip,
}

pub(crate) fn in_opening(error: DatabaseError) -> Error {
    match error {
        // An exclusive holder has every lock byte, those that tell versions apart included.
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            Error::AlreadyOpen
        }
        DatabaseError::RepairAborted => Error::NeedsRepair,
        DatabaseError::Storage(StorageError::Unsupported) => Error::Unsupported {
            reason: "the file system has no locks, which a shared ledger needs; put the file on a \
                     local file system, or open it in one process alone, without shared; it is \
                     unchanged",
        },
        DatabaseError::Storage(StorageError::Io(error))
            if error.kind() == io::ErrorKind::InvalidData =>
        {
            Error::NotALedger {
                found: "it is not a redb database",
            }
        }
        DatabaseError::Storage(StorageError::Io(error))
            if error.kind() == io::ErrorKind::UnexpectedEof =>
        {
            Error::damaged_file("the file is cut short")
        }
        DatabaseError::Storage(error) => before_commit(error),
        error => Error::Storage(Cause::new(error.to_string())),
    }
}
