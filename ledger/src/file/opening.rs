//! Opening a ledger: on a file, on storage of the caller's own, on a lent database.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Database, StorageBackend};

use crate::clock::SystemClock;
use crate::decision::{Timekeeper, Timestamp};
use crate::error::{Error, before_commit, no_panic};
use crate::events::Events;
use crate::events::drift::policy_drift;
use crate::file::creating::{create_file, initialise, random};
use crate::file::fresh_space::FreshSpace;
use crate::file::head::{Head, highest_stored, read_head};
use crate::file::held_backend::HeldBackend;
use crate::file::open_files::OpenHere;
use crate::file::platform;
use crate::file::rollback::settle_rollback;
use crate::file::settings::{Missing, Mode, Rights, Settings, Verify};
use crate::file::storage::{Base, OpenReport, Storage, StorageKind, Verification, in_opening};
use crate::holder::Holder;
use crate::holder::live_claims::{LiveClaims, Witness};
use crate::holder::side_file::{self, Note, SideFile};
use crate::metered;
use crate::store::codec::Floor;
use crate::store::engine::{Engine, Parts, Place};
use crate::traced;

pub(crate) fn open_file(settings: Settings, path: &Path) -> Result<Arc<Engine>, Error> {
    let side = match settings.mode {
        Mode::Shared => open_side_file(&settings, path)?,
        Mode::Exclusive | Mode::Attached => None,
    };
    let note = side.as_ref().map(SideFile::note).unwrap_or_default();
    match fs::metadata(path) {
        Ok(metadata) => refuse_non_files(&metadata)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => match settings.missing {
            Missing::Create => create_file(&settings, path, side.as_ref(), note)?,
            Missing::Refuse => return Err(Error::io(error)),
        },
        Err(error) => return Err(Error::io(error)),
    }
    match settings.rights {
        Rights::ReadOnly => open_to_read(settings, path, side),
        Rights::ReadWrite => open_to_write(settings, path, side),
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
fn open_side_file(settings: &Settings, path: &Path) -> Result<Option<SideFile>, Error> {
    let side_path = side_file::path_beside(path);
    let is_missing = !path.exists();
    if settings.rights == Rights::ReadOnly || (is_missing && settings.missing == Missing::Refuse) {
        return SideFile::open_to_query(side_path).map_err(Error::io);
    }
    SideFile::open(side_path, random()?)
        .map(Some)
        .map_err(Error::io)
}

fn open_to_read(
    settings: Settings,
    path: &Path,
    side: Option<SideFile>,
) -> Result<Arc<Engine>, Error> {
    let storage = Storage::of(&settings, StorageKind::ReadOnly(path.to_owned()));
    let database = storage.open_read_only(path)?;
    let head = read_head(&database)?;
    let witness = witness_of(&settings, side, &head);
    let reached = highest_stored(&database)?;
    let report = OpenReport::default();
    let opened = Opened {
        base: Base::ReadOnly(database),
        storage,
        witness,
        reached,
        report,
    };
    assemble(settings, opened, None, None)
}

fn open_to_write(
    settings: Settings,
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
    let verification = verification_of(&settings, &file)?;
    let file = FileBackend::new(file).map_err(in_opening)?;
    let backend = if settings.mode.has_other_writers() {
        HeldBackend::new(file, settings.busy_timeout)
    } else {
        HeldBackend::new(FreshSpace::new(file), settings.busy_timeout)
    };
    let place = Place {
        path: path.to_owned(),
        identity,
    };
    open_on(settings, &backend, verification, side, Some((place, here)))
}

/// How the file was left by whoever had it before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Left {
    Closed,
    /// Not closed cleanly: redb repairs it.
    Open,
}

/// A newer format is found out before anything can touch the file. A file that was not closed
/// cleanly cannot be read that way; it is looked at behind redb's repair.
fn refuse_newer_format(storage: &Storage, backend: &HeldBackend) -> Result<Left, Error> {
    match storage.open_untouched(backend) {
        Ok(database) => {
            read_head(&database)?;
            Ok(Left::Closed)
        }
        Err(Error::NeedsRepair) => Ok(Left::Open),
        Err(error) => Err(error),
    }
}

fn verification_of(settings: &Settings, file: &File) -> Result<Verification, Error> {
    Ok(match settings.verify {
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
    settings: Settings,
    storage: impl StorageBackend,
) -> Result<Arc<Engine>, Error> {
    if settings.mode != Mode::Exclusive || settings.rights == Rights::ReadOnly {
        return Err(Error::Unsupported {
            reason: "storage of the caller's own is opened exclusively and for writing",
        });
    }
    let bytes = storage.len().map_err(Error::io)?;
    let verification = match settings.verify {
        Verify::Always => Verification::Whole,
        Verify::UpTo(limit) if bytes <= limit => Verification::Whole,
        Verify::UpTo(_) | Verify::Never => Verification::Skip,
    };
    let backend = HeldBackend::new(storage, settings.busy_timeout);
    if bytes == 0 {
        let kind = Storage::of(&settings, StorageKind::Held(backend.clone()));
        let database = kind.open_database(&backend, Verification::Skip)?;
        initialise(&database, None, Note::default())?;
        backend.start_replacing();
        database.close().map_err(in_opening)?;
    }
    open_on(settings, &backend, verification, None, None)
}

fn open_on(
    settings: Settings,
    backend: &HeldBackend,
    verification: Verification,
    side: Option<SideFile>,
    place: Option<(Place, OpenHere)>,
) -> Result<Arc<Engine>, Error> {
    let storage = Storage::of(&settings, StorageKind::Held(backend.clone()));
    let _bounded = backend.bound_waits();
    // Storage and locks are kept between the look and the opening.
    backend.start_replacing();
    let left = refuse_newer_format(&storage, backend)?;
    let database = no_panic(|| storage.open_database(backend, verification))?;
    backend.end_replacing();
    // Noted behind each commit, so it is read before the file: read the other way round, a commit
    // of another process in between would look like a file that has fallen back.
    let note = side.as_ref().map(SideFile::note).unwrap_or_default();
    let mut head = read_head(&database)?;
    let mut reached = highest_stored(&database)?;
    if let Some(side) = &side {
        let floor = Floor {
            fence: note.fence,
            mark: note.mark.into(),
        };
        reached = settle_rollback(&settings, &database, side, &mut head, reached, floor)?;
    }
    // A file system without locks lets others in unseen; storage of the caller's own is its own.
    let is_alone = place.is_none() || backend.is_locked();
    let witness = match witness_of(&settings, side, &head) {
        Witness::Exclusive if !is_alone => Witness::Nothing,
        witness => witness,
    };
    let report = OpenReport {
        repaired: left == Left::Open,
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
    assemble(settings, opened, place, here)
}

pub(crate) fn attach(settings: Settings, database: Arc<Database>) -> Result<Arc<Engine>, Error> {
    if settings.mode == Mode::Shared || settings.rights == Rights::ReadOnly {
        return Err(Error::Unsupported {
            reason: "an attached database is shared as the application opened it; attach it \
                     without shared and read_only",
        });
    }
    let here = OpenHere::lent(&database)?;
    let settings = Settings {
        mode: Mode::Attached,
        ..settings
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
    let storage = Storage::of(&settings, StorageKind::Lent);
    let opened = Opened {
        base: Base::Lent(database),
        storage,
        witness: Witness::Nothing,
        reached,
        report: OpenReport::default(),
    };
    assemble(settings, opened, None, Some(here))
}

fn witness_of(settings: &Settings, side: Option<SideFile>, head: &Head) -> Witness {
    match (settings.mode, side) {
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
    settings: Settings,
    opened: Opened,
    place: Option<Place>,
    here: Option<OpenHere>,
) -> Result<Arc<Engine>, Error> {
    let clock = settings
        .clock
        .unwrap_or_else(|| Arc::new(SystemClock::new()));
    let mut time = Timekeeper::new(Timestamp::EPOCH, settings.clock_jump_max);
    time.absorb(opened.reached.mark, clock.elapsed());
    let holder = Holder::new(
        u64::from_le_bytes(random()?),
        settings.mode,
        clock,
        LiveClaims::new(opened.witness),
        time,
        opened.reached.fence,
        Events::new(settings.shows_keys),
    );
    let declared = settings.declared;
    let engine = Engine::new(Parts {
        base: opened.base,
        rights: settings.rights,
        holder,
        busy_timeout: settings.busy_timeout,
        storage: opened.storage,
        report: opened.report,
        place,
        here,
    });
    metered::describe();
    if engine.report.repaired {
        traced::repaired();
    }
    for namespace in &declared {
        if let Some(drift) = policy_drift(&engine, namespace)? {
            engine.holder.events.note_drift(drift);
        }
    }
    Ok(engine)
}
