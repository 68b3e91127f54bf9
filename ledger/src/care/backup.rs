//! A copy of the ledger while it is in use.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use redb::backends::FileBackend;
use redb::{Database, ReadTransaction, ReadableDatabase, StorageBackend, TableDefinition, Value};

use crate::care::progress::Progress;
use crate::error::no_panic;
use crate::error::{Error, before_commit, in_commit};
use crate::file::held_backend::HeldBackend;
use crate::file::publish::{Published, publish_slowly};
use crate::file::settings::Rights;
use crate::file::storage::Base;
use crate::store::engine::Engine;
use crate::store::group_commit::Patience;
use crate::store::tables::{EVENTS, EXPIRY, META, NAMESPACES, RECORDS};

/// What a backup is.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let folder = tempfile::tempdir()?;
/// let copy = folder.path().join("backup.redb");
/// let report = ledger.backup(&copy)?;
/// assert_eq!(report.bytes, std::fs::metadata(&copy)?.len());
/// assert!(Ledger::open(&copy)?.check()?.is_clean());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// The size of the copy in bytes.
    pub bytes: u64,
}

const CHUNK_BYTES: usize = 1024 * 1024;

/// Copies under a name of its own and gives it the wanted one only when it is whole.
pub(crate) fn backup(
    engine: &Engine,
    path: &Path,
    tell: &mut dyn FnMut(Progress),
) -> Result<BackupReport, Error> {
    engine.check_usable()?;
    let exists = || {
        Error::io(io::Error::new(
            io::ErrorKind::AlreadyExists,
            format!("{} exists; a backup replaces nothing", path.display()),
        ))
    };
    if path.exists() {
        return Err(exists());
    }
    // Half a backup is worse than none, so it appears when it is whole.
    let published = publish_slowly(path, Error::io, |file| {
        let target = file.try_clone().map_err(Error::io)?;
        match engine.rights() {
            Rights::ReadWrite => {
                copy_file(engine, file, tell)?;
                settle(target)
            }
            Rights::ReadOnly => copy_tables(engine, target, tell),
        }
    })?;
    match published {
        Published::New => {}
        Published::WasThere => return Err(exists()),
    }
    let bytes = fs::metadata(path).map_err(Error::io)?.len();
    Ok(BackupReport { bytes })
}

/// Copies the bytes while nobody commits: the writer is held, here and in other processes.
fn copy_file(engine: &Engine, target: &File, tell: &mut dyn FnMut(Progress)) -> Result<(), Error> {
    let source = engine.storage.backend().ok_or(Error::Unsupported {
        reason: "an attached database is copied by the application that has its file",
    })?;
    let _lead = engine.lead_alone()?;
    engine.reopen_as_leader()?;
    let base = engine.base()?;
    let transaction = engine.begin_write(&base, Patience::Bounded)?;
    let copied = copy_bytes(source, target, tell);
    engine.roll_back(transaction);
    copied.map_err(Error::io)
}

fn copy_bytes(
    source: &impl StorageBackend,
    mut target: &File,
    tell: &mut dyn FnMut(Progress),
) -> io::Result<()> {
    let bytes = source.len()?;
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < bytes {
        let left = usize::try_from(bytes - at).unwrap_or(CHUNK_BYTES);
        let part = &mut chunk[..left.min(CHUNK_BYTES)];
        source.read(at, part)?;
        target.write_all(part)?;
        at += part.len() as u64;
        tell(Progress {
            done: at,
            total: bytes,
        });
    }
    target.sync_all()
}

/// The copy looks like a file after a crash. Opened once it is verified, repaired and closed, so
/// that whoever needs it in a hurry finds it ready.
fn settle(copy: File) -> Result<(), Error> {
    no_panic(|| {
        let backend = on_draft(copy)?;
        let mut builder = Database::builder();
        builder.set_check_integrity_on_open(true);
        let database = builder
            .create_with_backend(backend)
            .map_err(before_commit)?;
        database.close().map_err(before_commit)
    })
}

/// A draft stays locked until it has its name, also while databases on it come and go.
fn on_draft(file: File) -> Result<HeldBackend, Error> {
    let file = FileBackend::new(file).map_err(before_commit)?;
    // Nothing else has the draft, so there is no lock to wait for.
    let backend = HeldBackend::new(file, Duration::ZERO);
    backend.start_replacing();
    Ok(backend)
}

/// Copies the ledger's tables from a snapshot, for a handle that may not hold the writer.
fn copy_tables(engine: &Engine, target: File, tell: &mut dyn FnMut(Progress)) -> Result<(), Error> {
    let mut progress = Progress {
        done: 0,
        total: engine.storage.file_bytes()?.unwrap_or_default(),
    };
    let mut tell = |bytes: usize| {
        progress.done += bytes as u64;
        progress.total = progress.total.max(progress.done);
        tell(progress);
    };
    let base = engine.base()?;
    let source = match &*base {
        Base::Owned(database) => database.begin_read(),
        Base::Lent(database) => database.begin_read(),
        Base::ReadOnly(database) => database.begin_read(),
    };
    let source = source.map_err(before_commit)?;
    no_panic(|| {
        let backend = on_draft(target)?;
        let copy = Database::builder()
            .create_with_backend(backend)
            .map_err(before_commit)?;
        let transaction = copy.begin_write().map_err(before_commit)?;
        copy_table(&source, &transaction, META, &mut tell)?;
        copy_table(&source, &transaction, NAMESPACES, &mut tell)?;
        copy_table(&source, &transaction, RECORDS, &mut tell)?;
        copy_table(&source, &transaction, EXPIRY, &mut tell)?;
        copy_table(&source, &transaction, EVENTS, &mut tell)?;
        transaction.commit().map_err(in_commit)?;
        copy.close().map_err(before_commit)
    })
}

fn copy_table<V: Value + 'static>(
    source: &ReadTransaction,
    target: &redb::WriteTransaction,
    definition: TableDefinition<'_, &'static [u8], V>,
    tell: &mut dyn FnMut(usize),
) -> Result<(), Error> {
    let table = match source.open_table(definition) {
        Err(redb::TableError::TableDoesNotExist(_)) => return Ok(()),
        table => table.map_err(before_commit)?,
    };
    let mut copy = target.open_table(definition).map_err(before_commit)?;
    for row in table.range::<&[u8]>(..).map_err(before_commit)? {
        let (key, value) = row.map_err(before_commit)?;
        copy.insert(key.value(), value.value())
            .map_err(before_commit)?;
        tell(key.value().len() + V::as_bytes(&value.value()).as_ref().len());
    }
    Ok(())
}
