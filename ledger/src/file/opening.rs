//! Opening a ledger: on a file, on storage of the caller's own, on a lent database.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::path::Path;
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{Database, StorageBackend};

use crate::clock::SystemClock;
use crate::decision::{Fence, Timekeeper, Timestamp};
use crate::error::{Error, before_commit, no_panic};
use crate::events::Events;
use crate::events::drift::policy_drift;
use crate::file::creating::{create_file, initialise, random};
use crate::file::fresh_space::FreshSpace;
use crate::file::head::{Head, highest_stored, read_head};
use crate::file::held_backend::HeldBackend;
use crate::file::names::Names;
use crate::file::open_files::OpenHere;
use crate::file::platform::{self, FileIdentity};
use crate::file::rollback::settle_rollback;
use crate::file::settings::{Missing, Mode, Rights, Rollback, Settings, Verify};
use crate::file::storage::{Base, OpenReport, Storage, StorageKind, Verification, in_opening};
use crate::holder::Holder;
use crate::holder::live_claims::{LiveClaims, Witness};
use crate::holder::side_file::{Note, SideFile};
use crate::metered;
use crate::store::codec::Floor;
use crate::store::engine::{Engine, Parts, Place};
use crate::traced;

pub(crate) fn open_file(settings: Settings, path: &Path) -> Result<Arc<Engine>, Error> {
    let names = Names::of(path).map_err(Error::io)?;
    match fs::metadata(&names.given) {
        Ok(metadata) => refuse_non_files(&metadata)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            create_missing(&settings, &names, error)?;
        }
        Err(error) => return Err(Error::io(error)),
    }
    match settings.rights {
        Rights::ReadOnly => open_to_read(settings, &names),
        Rights::ReadWrite => open_to_write(settings, names),
    }
}

/// Creates a ledger where none is, unless its side file shows that one was there: an empty one in
/// its place would run everything again.
fn create_missing(settings: &Settings, names: &Names, missing: io::Error) -> Result<(), Error> {
    let side = SideFile::open(names.side_file(), settings.rights).map_err(Error::io)?;
    let note = side.as_ref().map(SideFile::note).unwrap_or_default();
    // Looked for once more after the note: another process may have made it a moment ago.
    if note != Note::default() && names.given.exists() {
        return Ok(());
    }
    if note != Note::default() && settings.rollback == Rollback::Refuse {
        return Err(Error::LedgerMissing {
            path: names.given.clone(),
            seen: Fence::from_stored(note.fence),
        });
    }
    // A link that leads nowhere is no place for a new file.
    if settings.missing == Missing::Refuse || fs::symlink_metadata(&names.given).is_ok() {
        return Err(Error::io(missing));
    }
    // The side file is made before the ledger: a ledger that says which one is its own must find
    // it.
    let side = match side {
        Some(side) => side,
        None => SideFile::create(names.side_file(), &names.itself).map_err(Error::io)?,
    };
    create_file(settings, &names.itself, &side, note)
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

/// Finds the side file of an open ledger, or makes it. A ledger that was refused leaves none.
fn side_file_of(settings: &Settings, names: &Names, head: Head) -> Result<Option<SideFile>, Error> {
    let side = SideFile::open(names.side_file(), Rights::ReadWrite).map_err(Error::io)?;
    let is_own =
        head.side_file_id.is_some() && side.as_ref().map(SideFile::id) == head.side_file_id;
    if !is_own && settings.rollback == Rollback::Refuse {
        refuse_other_name(settings.mode, names, head)?;
    }
    if side.is_some() {
        return Ok(side);
    }
    match SideFile::create(names.side_file(), &names.itself) {
        Ok(side) => Ok(Some(side)),
        // Alone, a ledger needs no locks in it. It goes on without a note.
        Err(error) if settings.mode == Mode::Exclusive && has_no_room(&error) => Ok(None),
        Err(error) => Err(Error::io(error)),
    }
}

fn has_no_room(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::PermissionDenied
            | io::ErrorKind::ReadOnlyFilesystem
            | io::ErrorKind::StorageFull
            | io::ErrorKind::QuotaExceeded
    )
}

/// Refuses a name of the file beside which its side file does not lie, where the file has others:
/// in another side file nothing would be seen of the work that runs.
fn refuse_other_name(mode: Mode, names: &Names, head: Head) -> Result<(), Error> {
    let others = platform::other_names(&names.itself).map_err(Error::io)?;
    let is_refused = match mode {
        // Alone in its container, as long as it runs: the next one finds no side file, and no harm.
        Mode::Exclusive => others.is_linked && head.side_file_id.is_some(),
        Mode::Shared => others.is_mounted || (others.is_linked && head.side_file_id.is_some()),
        Mode::Attached => false,
    };
    if is_refused {
        return Err(Error::OtherName {
            path: names.given.clone(),
        });
    }
    Ok(())
}

fn open_to_read(settings: Settings, names: &Names) -> Result<Arc<Engine>, Error> {
    let storage = Storage::of(&settings, StorageKind::ReadOnly(names.given.clone()));
    let database = storage.open_read_only(&names.given)?;
    read_head(&database)?;
    let side = SideFile::open(names.side_file(), Rights::ReadOnly).map_err(Error::io)?;
    let reached = highest_stored(&database)?;
    let opened = Opened {
        base: Base::ReadOnly(database),
        storage,
        witness: match settings.mode {
            Mode::Exclusive => Witness::Exclusive { is_locked: false },
            Mode::Shared => Witness::Shared,
            Mode::Attached => Witness::Nothing,
        },
        side,
        reached,
        report: OpenReport::default(),
    };
    assemble(settings, opened, None, None)
}

fn open_to_write(settings: Settings, names: Names) -> Result<Arc<Engine>, Error> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(&names.given)
        .map_err(Error::io)?;
    let identity = platform::identity_of(&file, &names.given).map_err(Error::io)?;
    let here = OpenHere::file(identity.clone())?;
    let verification = verification_of(&settings, &file)?;
    let file = FileBackend::new(file).map_err(in_opening)?;
    let backend = if settings.mode.has_other_writers() {
        HeldBackend::new(file, settings.busy_timeout)
    } else {
        HeldBackend::new(FreshSpace::new(file), settings.busy_timeout)
    };
    let on_disk = OnDisk {
        names,
        identity,
        here,
    };
    open_on(settings, &backend, verification, Some(on_disk))
}

/// The file under a ledger that is opened by its name.
struct OnDisk {
    names: Names,
    identity: FileIdentity,
    here: OpenHere,
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
    open_on(settings, &backend, verification, None)
}

fn open_on(
    settings: Settings,
    backend: &HeldBackend,
    verification: Verification,
    on_disk: Option<OnDisk>,
) -> Result<Arc<Engine>, Error> {
    let storage = Storage::of(&settings, StorageKind::Held(backend.clone()));
    let _bounded = backend.bound_waits();
    // Storage and locks are kept between the look and the opening.
    backend.start_replacing();
    let left = refuse_newer_format(&storage, backend)?;
    let database = no_panic(|| storage.open_database(backend, verification))?;
    backend.end_replacing();
    let head = read_head(&database)?;
    let side = match &on_disk {
        Some(on_disk) => side_file_of(&settings, &on_disk.names, head)?,
        None => None,
    };
    // Noted behind each commit, so it is read before the file: read the other way round, a commit
    // of another process in between would look like a file that has fallen back.
    let note = side.as_ref().map(SideFile::note).unwrap_or_default();
    let mut reached = highest_stored(&database)?;
    if let Some(side) = &side {
        let seen = Floor {
            fence: note.fence,
            mark: note.mark.into(),
        };
        reached = settle_rollback(&settings, &database, side, head, reached, seen)?;
    }
    let is_locked = backend.is_locked();
    let witness = match settings.mode {
        // A file system without locks lets others in unseen; storage of the caller's own is its
        // own.
        Mode::Exclusive if is_locked || on_disk.is_none() => Witness::Exclusive { is_locked },
        Mode::Shared => Witness::Shared,
        Mode::Exclusive | Mode::Attached => Witness::Nothing,
    };
    let report = OpenReport {
        repaired: left == Left::Open,
        verified: verification == Verification::Whole,
        without_locks: on_disk.is_some() && !is_locked,
    };
    let (place, here) = on_disk
        .map(|on_disk| {
            let place = Place {
                path: on_disk.names.given,
                identity: on_disk.identity,
            };
            (place, on_disk.here)
        })
        .unzip();
    let opened = Opened {
        base: Base::Owned(database),
        storage,
        witness,
        side,
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
        side: None,
        reached,
        report: OpenReport::default(),
    };
    assemble(settings, opened, None, Some(here))
}

/// A database that is open, and what was learned of it.
struct Opened {
    base: Base,
    storage: Storage,
    witness: Witness,
    side: Option<SideFile>,
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
        LiveClaims::new(opened.witness, opened.side),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::decision::{Fingerprint, Key, Namespace};
    use crate::ledger::Ledger;
    use crate::operation::request::Begin;

    /// A file on a file system that has no locks.
    #[derive(Debug)]
    struct WithoutLocks(FileBackend);

    impl StorageBackend for WithoutLocks {
        fn len(&self) -> io::Result<u64> {
            self.0.len()
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
            self.0.read(offset, out)
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.0.set_len(len)
        }

        fn sync_data(&self) -> io::Result<()> {
            self.0.sync_data()
        }

        fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
            self.0.write(offset, data)
        }
    }

    fn open_without_locks(path: &Path, mode: Mode) -> Result<Ledger, Error> {
        let settings = Settings {
            mode,
            ..Settings::default()
        };
        let file = OpenOptions::new().read(true).write(true).open(path);
        let file = file.expect("it is there");
        let identity = platform::identity_of(&file, path).expect("it is open");
        let on_disk = OnDisk {
            names: Names::of(path).expect("it has a name"),
            identity: identity.clone(),
            here: OpenHere::file(identity)?,
        };
        let file = FileBackend::new(file).expect("it is a file");
        let backend = HeldBackend::new(WithoutLocks(file), std::time::Duration::ZERO);
        open_on(settings, &backend, Verification::Skip, Some(on_disk)).map(Ledger::from_engine)
    }

    #[test]
    fn a_file_system_without_locks_is_reported_and_cannot_be_shared() {
        const PAYMENTS: Namespace = Namespace::new("payments");
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.redb");
        let ledger = Ledger::open(&path).expect("opens");
        assert!(!ledger.open_report().without_locks);
        drop(ledger);
        let key = Key::new("k").expect("valid");
        for is_first in [true, false] {
            let ledger = open_without_locks(&path, Mode::Exclusive).expect("opens");
            assert!(ledger.open_report().without_locks);
            assert!(ledger.stats().expect("counts").without_locks);
            let begun = ledger.operation(PAYMENTS, &key, Fingerprint::NONE).begin();
            // Its holder may be another process that was let in unseen: the lease decides.
            assert_eq!(matches!(begun, Ok(Begin::Fresh(_))), is_first, "{begun:?}");
            assert!(
                is_first || matches!(begun, Ok(Begin::Refused(_))),
                "{begun:?}"
            );
        }
        let refused = open_without_locks(&path, Mode::Shared).expect_err("it needs locks");
        let text = refused.to_string();
        assert!(
            text.contains("has no locks") && text.contains("local"),
            "{text}"
        );
    }
}
