//! Opening, creating and reopening the file of a ledger.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::backends::FileBackend;
use redb::{
    ConcurrencyMode, Database, DatabaseError, ReadOnlyDatabase, ReadableDatabase, StorageBackend,
    StorageError, TableError,
};

use crate::builder::{Builder, CommitProfile, Missing, Rollback, Verify};
use crate::codec::{self, Floor};
use crate::decision::{Fence, Timekeeper, Timestamp};
use crate::engine::{Base, Engine, Mode, Parts, Place, Rights, no_panic};
use crate::error::{Cause, Error, before_commit, in_commit};
use crate::group_commit::GroupCommit;
use crate::held_backend::HeldBackend;
use crate::live_claims::{LiveClaims, Witness};
use crate::open_files::OpenHere;
use crate::platform;
use crate::publish::publish_new;
use crate::side_file::{self, Note, SideFile};
use crate::snapshot::{Snapshot, unreadable};
use crate::tables::{
    FORMAT, META, META_FLOOR, META_FORMAT, META_LEDGER_ID, META_SIDE_FILE_ID, NAMESPACES,
    NamespaceId, RECORDS,
};

/// What opening found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct OpenReport {
    /// Whether the file had not been closed cleanly and was repaired. With one-phase commits the
    /// newest commit may be lost if the storage was damaged at the same time.
    pub repaired: bool,
    /// Whether the whole file was verified.
    pub verified: bool,
}

/// The storage behind a ledger, and how a database is opened on it again.
#[derive(Debug)]
pub(crate) struct Storage {
    kind: StorageKind,
    mode: Mode,
    commit: CommitProfile,
    cache_bytes: usize,
}

#[derive(Debug)]
enum StorageKind {
    Held(HeldBackend),
    Lent,
    ReadOnly(PathBuf),
}

impl Storage {
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
                backend.start_replacing();
                drop(old);
                let repaired = Arc::default();
                let opened =
                    no_panic(|| self.open_database(backend, Verification::Skip, &repaired));
                // Without a database the locks are kept for the next attempt.
                let database = opened?;
                backend.end_replacing();
                let reached = highest_stored(&database)?;
                Ok((Base::Owned(database), reached))
            }
            StorageKind::ReadOnly(path) => {
                drop(old);
                let database = self.open_read_only(path)?;
                let reached = highest_stored(&database)?;
                Ok((Base::ReadOnly(database), reached))
            }
            StorageKind::Lent => Err(Error::Storage(Cause::new(
                "the attached database has failed; close it and attach the reopened one",
            ))),
        }
    }

    fn open_database(
        &self,
        backend: &HeldBackend,
        verification: Verification,
        repaired: &Arc<AtomicBool>,
    ) -> Result<Database, Error> {
        let mut builder = self.redb_builder();
        builder.set_check_integrity_on_open(verification == Verification::Whole);
        let seen = Arc::clone(repaired);
        builder.set_repair_callback(move |_| seen.store(true, Ordering::SeqCst));
        builder
            .create_with_backend(backend.clone())
            .map_err(in_opening)
    }

    fn open_read_only(&self, path: &Path) -> Result<ReadOnlyDatabase, Error> {
        no_panic(|| self.redb_builder().open_read_only(path).map_err(in_opening))
    }

    fn redb_builder(&self) -> redb::Builder {
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
enum Verification {
    Whole,
    Skip,
}

pub(crate) fn open_file(builder: Builder, path: &Path) -> Result<Arc<Engine>, Error> {
    let side = match builder.mode {
        Mode::Shared => open_side_file(&builder, path)?,
        Mode::Exclusive | Mode::Attached => None,
    };
    let note = side.as_ref().map(SideFile::note).unwrap_or_default();
    match fs::metadata(path) {
        Ok(metadata) => refuse_non_files(&metadata)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => match builder.missing {
            Missing::Create => create_file(&builder, path, side.as_ref(), note)?,
            Missing::Refuse => return Err(Error::io(error)),
        },
        Err(error) => return Err(Error::io(error)),
    }
    match builder.rights {
        Rights::ReadOnly => open_to_read(builder, path, side),
        Rights::ReadWrite => open_to_write(builder, path, side),
    }
}

fn refuse_non_files(metadata: &fs::Metadata) -> Result<(), Error> {
    if metadata.is_dir() {
        return Err(Error::NotALedger {
            found: "it is a folder",
        });
    }
    // redb would make a new database of it: a ledger that was cut to nothing would come up empty
    // and run everything again.
    if metadata.is_file() && metadata.len() == 0 {
        return Err(Error::NotALedger {
            found: "the file is empty",
        });
    }
    Ok(())
}

/// The side file is made before the ledger: a ledger that says which side file is its own must
/// find it.
fn open_side_file(builder: &Builder, path: &Path) -> Result<Option<SideFile>, Error> {
    let side_path = side_file::path_beside(path);
    let is_missing = !path.exists();
    if builder.rights == Rights::ReadOnly || (is_missing && builder.missing == Missing::Refuse) {
        return SideFile::open_to_query(side_path).map_err(Error::io);
    }
    SideFile::open(side_path, builder.access, random()?)
        .map(Some)
        .map_err(Error::io)
}

fn storage(builder: &Builder, kind: StorageKind) -> Storage {
    Storage {
        kind,
        mode: builder.mode,
        commit: builder.commit,
        cache_bytes: builder.cache_bytes,
    }
}

/// A new ledger appears under its name only when it is whole.
fn create_file(
    builder: &Builder,
    path: &Path,
    side: Option<&SideFile>,
    note: Note,
) -> Result<(), Error> {
    let mut failure = None;
    let published = publish_new(path, builder.access, |file| {
        let made = file.try_clone().map_err(Error::io).and_then(|file| {
            let backend = FileBackend::new(file).map_err(in_opening)?;
            let storage = storage(builder, StorageKind::Lent);
            let database = storage
                .redb_builder()
                .create_with_backend(backend)
                .map_err(in_opening)?;
            initialise(&database, side.map(SideFile::id), note)?;
            database.close().map_err(in_opening)
        });
        made.map_err(|error| {
            let text = error.to_string();
            failure = Some(error);
            io::Error::other(text)
        })
    });
    match (published, failure) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(error)) => Err(error),
        (Err(error), None) => Err(Error::io(error)),
    }
}

/// Makes a ledger of an empty database.
fn initialise(database: &Database, side: Option<&[u8; 16]>, note: Note) -> Result<(), Error> {
    let transaction = database.begin_write().map_err(before_commit)?;
    {
        let mut meta = transaction.open_table(META).map_err(before_commit)?;
        meta.insert(META_FORMAT, FORMAT.to_le_bytes().as_slice())
            .map_err(before_commit)?;
        let id: [u8; 16] = random()?;
        meta.insert(META_LEDGER_ID, id.as_slice())
            .map_err(before_commit)?;
        if let Some(side) = side {
            meta.insert(META_SIDE_FILE_ID, side.as_slice())
                .map_err(before_commit)?;
        }
        // A ledger made beside the side file of a lost one goes on from its fences.
        let floor = Floor {
            fence: note.fence,
            mark_ms: note.mark.unix_ms(),
        };
        meta.insert(
            META_FLOOR,
            codec::encode_floor(META_FLOOR, &floor).as_slice(),
        )
        .map_err(before_commit)?;
        transaction.open_table(RECORDS).map_err(before_commit)?;
        transaction.open_table(NAMESPACES).map_err(before_commit)?;
    }
    transaction.commit().map_err(in_commit)
}

fn open_to_read(
    builder: Builder,
    path: &Path,
    side: Option<SideFile>,
) -> Result<Arc<Engine>, Error> {
    let storage = storage(&builder, StorageKind::ReadOnly(path.to_owned()));
    let database = storage.open_read_only(path)?;
    let head = read_head(&database)?;
    let witness = witness_of(&builder, side, &head);
    let reached = highest_stored(&database)?;
    let report = OpenReport::default();
    let opened = Opened {
        base: Base::ReadOnly(database),
        storage,
        witness,
        reached,
        report,
    };
    assemble(builder, opened, None, None)
}

fn open_to_write(
    builder: Builder,
    path: &Path,
    side: Option<SideFile>,
) -> Result<Arc<Engine>, Error> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(Error::io)?;
    let identity = platform::identity_of(&file, path).map_err(Error::io)?;
    let here = OpenHere::file(identity.clone())?;
    refuse_newer_format(&builder, path)?;
    let verification = verification_of(&builder, &file)?;
    let backend = HeldBackend::new(FileBackend::new(file).map_err(in_opening)?);
    let place = Place {
        path: path.to_owned(),
        identity,
    };
    open_on(builder, &backend, verification, side, Some((place, here)))
}

/// A newer format is found out before anything can touch the file. A file that was not closed
/// cleanly cannot be read that way; it is looked at after redb's repair.
fn refuse_newer_format(builder: &Builder, path: &Path) -> Result<(), Error> {
    let storage = storage(builder, StorageKind::ReadOnly(path.to_owned()));
    match storage.open_read_only(path) {
        Ok(database) => {
            let head = read_head(&database);
            let _ = database.close();
            head.map(|_| ())
        }
        Err(Error::NeedsRepair) => Ok(()),
        Err(error) => Err(error),
    }
}

fn verification_of(builder: &Builder, file: &File) -> Result<Verification, Error> {
    Ok(match builder.verify {
        Verify::Always => Verification::Whole,
        Verify::Never => Verification::Skip,
        Verify::UpTo(bytes) => {
            if file.metadata().map_err(Error::io)?.len() <= bytes {
                Verification::Whole
            } else {
                Verification::Skip
            }
        }
    })
}

pub(crate) fn open_backend(
    builder: Builder,
    storage: impl StorageBackend,
) -> Result<Arc<Engine>, Error> {
    if builder.mode != Mode::Exclusive || builder.rights == Rights::ReadOnly {
        return Err(Error::Unsupported {
            reason: "storage of the caller's own is opened exclusively and for writing",
        });
    }
    let bytes = storage.len().map_err(Error::io)?;
    let verification = match builder.verify {
        Verify::Always => Verification::Whole,
        Verify::UpTo(limit) if bytes <= limit => Verification::Whole,
        Verify::UpTo(_) | Verify::Never => Verification::Skip,
    };
    let backend = HeldBackend::new(storage);
    if bytes == 0 {
        let kind = self::storage(&builder, StorageKind::Held(backend.clone()));
        let database = kind.open_database(&backend, Verification::Skip, &Arc::default())?;
        initialise(&database, None, Note::default())?;
        backend.start_replacing();
        let closed = database.close().map_err(in_opening);
        backend.end_replacing();
        closed?;
    }
    open_on(builder, &backend, verification, None, None)
}

fn open_on(
    builder: Builder,
    backend: &HeldBackend,
    verification: Verification,
    side: Option<SideFile>,
    place: Option<(Place, OpenHere)>,
) -> Result<Arc<Engine>, Error> {
    let storage = storage(&builder, StorageKind::Held(backend.clone()));
    let repaired = Arc::default();
    let database = no_panic(|| storage.open_database(backend, verification, &repaired))?;
    let mut head = read_head(&database)?;
    let mut reached = highest_stored(&database)?;
    if let Some(side) = &side {
        let note = side.note();
        let floor = Floor {
            fence: note.fence,
            mark_ms: note.mark.unix_ms(),
        };
        reached = settle_rollback(&builder, &database, side, &mut head, reached, floor)?;
    }
    let witness = witness_of(&builder, side, &head);
    let report = OpenReport {
        repaired: repaired.load(Ordering::SeqCst),
        verified: verification == Verification::Whole,
    };
    let (place, here) = place.unzip();
    let opened = Opened {
        base: Base::Owned(database),
        storage,
        witness,
        reached,
        report,
    };
    assemble(builder, opened, place, here)
}

/// Compares the file with what the side file has seen of it.
fn settle_rollback(
    builder: &Builder,
    database: &Database,
    side: &SideFile,
    head: &mut Head,
    stored: Floor,
    seen: Floor,
) -> Result<Floor, Error> {
    let has_fallen_back = stored.fence < seen.fence || stored.mark_ms < seen.mark_ms;
    let is_stranger = head.side_file_id.is_some_and(|id| id != *side.id());
    match builder.rollback {
        Rollback::Refuse if has_fallen_back && !is_stranger => Err(Error::RolledBack {
            stored: Fence::from_stored(stored.fence),
            seen: Fence::from_stored(seen.fence),
        }),
        Rollback::Refuse if head.side_file_id.is_some() => Ok(stored),
        // A ledger opened shared for the first time gets its side file here.
        Rollback::Refuse => {
            write_floor(database, side, stored)?;
            head.side_file_id = Some(*side.id());
            Ok(stored)
        }
        Rollback::Accept => {
            let floor = Floor {
                fence: stored.fence.max(seen.fence),
                mark_ms: stored.mark_ms.max(seen.mark_ms),
            };
            write_floor(database, side, floor)?;
            head.side_file_id = Some(*side.id());
            Ok(floor)
        }
    }
}

fn write_floor(database: &Database, side: &SideFile, floor: Floor) -> Result<(), Error> {
    let transaction = database.begin_write().map_err(before_commit)?;
    {
        let mut meta = transaction.open_table(META).map_err(before_commit)?;
        meta.insert(META_SIDE_FILE_ID, side.id().as_slice())
            .map_err(before_commit)?;
        meta.insert(
            META_FLOOR,
            codec::encode_floor(META_FLOOR, &floor).as_slice(),
        )
        .map_err(before_commit)?;
    }
    transaction.commit().map_err(in_commit)
}

pub(crate) fn attach(builder: Builder, database: Arc<Database>) -> Result<Arc<Engine>, Error> {
    if builder.mode == Mode::Shared || builder.rights == Rights::ReadOnly {
        return Err(Error::Unsupported {
            reason: "an attached database is shared as the application opened it; attach it \
                     without shared and read_only",
        });
    }
    let here = OpenHere::lent(&database)?;
    let builder = Builder {
        mode: Mode::Attached,
        ..builder
    };
    match read_head(&*database) {
        Err(Error::NotALedger { .. }) => {
            let transaction = database.try_begin_write().map_err(|error| match error {
                redb::TransactionError::WouldBlock => Error::WouldDeadlock {
                    held: "or another has, a write transaction",
                },
                error => before_commit(error),
            })?;
            drop(transaction);
            initialise(&database, None, Note::default())?;
        }
        Err(error) => return Err(error),
        Ok(_) => {}
    }
    let reached = highest_stored(&*database)?;
    let storage = storage(&builder, StorageKind::Lent);
    let opened = Opened {
        base: Base::Lent(database),
        storage,
        witness: Witness::Nothing,
        reached,
        report: OpenReport::default(),
    };
    assemble(builder, opened, None, Some(here))
}

fn witness_of(builder: &Builder, side: Option<SideFile>, head: &Head) -> Witness {
    match (builder.mode, side) {
        (Mode::Exclusive, _) => Witness::Exclusive,
        (Mode::Shared, Some(side)) if head.side_file_id == Some(*side.id()) => Witness::Locks(side),
        // Somebody else's locks prove nothing; the lease decides.
        (Mode::Shared | Mode::Attached, _) => Witness::Nothing,
    }
}

/// A database that is open, and what was learned of it.
struct Opened {
    base: Base,
    storage: Storage,
    witness: Witness,
    reached: Floor,
    report: OpenReport,
}

fn assemble(
    builder: Builder,
    opened: Opened,
    place: Option<Place>,
    here: Option<OpenHere>,
) -> Result<Arc<Engine>, Error> {
    let mark = Timestamp::from_unix_ms(opened.reached.mark_ms);
    let mut time = Timekeeper::new(Timestamp::EPOCH, builder.clock_jump_max);
    time.absorb(mark, builder.clock.elapsed());
    Ok(Engine::new(Parts {
        base: opened.base,
        mode: builder.mode,
        rights: builder.rights,
        claims: LiveClaims::new(opened.witness),
        commits: GroupCommit::new(builder.busy_timeout),
        clock: builder.clock,
        storage: opened.storage,
        report: opened.report,
        holder: u64::from_le_bytes(random()?),
        time,
        fence: opened.reached.fence,
        place,
        here,
    }))
}

/// What the file says about itself.
#[derive(Clone, Copy, Debug)]
struct Head {
    side_file_id: Option<[u8; 16]>,
}

fn read_head(database: &impl ReadableDatabase) -> Result<Head, Error> {
    no_panic(|| {
        let transaction = database.begin_read().map_err(before_commit)?;
        let meta = match transaction.open_table(META) {
            Ok(meta) => meta,
            Err(TableError::Storage(error)) => return Err(before_commit(error)),
            Err(_) => {
                return Err(Error::NotALedger {
                    found: "a redb database without a ledger in it",
                });
            }
        };
        let format = meta.get(META_FORMAT).map_err(before_commit)?;
        let format = format
            .as_ref()
            .and_then(|value| value.value().first_chunk::<4>().copied());
        match format.map(u32::from_le_bytes) {
            Some(FORMAT) => {}
            Some(found) if found > FORMAT => {
                return Err(Error::NewerFormat {
                    found,
                    supported: FORMAT,
                });
            }
            Some(_) | None => return Err(Error::damaged_file("the format number is damaged")),
        }
        let side = meta.get(META_SIDE_FILE_ID).map_err(before_commit)?;
        let side_file_id = side.and_then(|value| value.value().first_chunk::<16>().copied());
        Ok(Head { side_file_id })
    })
}

/// The highest fence and mark of the file, over its floor and all tails.
fn highest_stored(database: &impl ReadableDatabase) -> Result<Floor, Error> {
    no_panic(|| {
        let transaction = database.begin_read().map_err(before_commit)?;
        let meta = transaction.open_table(META).map_err(before_commit)?;
        let floor = match meta.get(META_FLOOR).map_err(before_commit)? {
            Some(sealed) => codec::decode_floor(META_FLOOR, sealed.value())
                .map_err(|why| unreadable(why, "", "the floor of fence and time"))?,
            None => Floor::default(),
        };
        let snapshot = Snapshot::open(transaction)?;
        snapshot
            .namespaces()?
            .iter()
            .try_fold(floor, |reached, (_, row)| {
                let tail = snapshot.tail(NamespaceId(row.id))?;
                Ok(Floor {
                    fence: reached.fence.max(tail.fence),
                    mark_ms: reached.mark_ms.max(tail.mark_ms),
                })
            })
    })
}

fn in_opening(error: DatabaseError) -> Error {
    match error {
        DatabaseError::DatabaseAlreadyOpen => Error::AlreadyOpen,
        DatabaseError::RepairAborted => Error::NeedsRepair,
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

fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::Storage(Cause::new(format!("no random numbers: {error}"))))?;
    Ok(bytes)
}
