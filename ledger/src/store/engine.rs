//! The database of a ledger: read, written by one at a time, reopened after failures, closed.

use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, RwLock, RwLockReadGuard};
use std::time::Duration;

use redb::{ReadTransaction, ReadableDatabase};

use crate::clock::{SystemClock, locked, unpoisoned};
use crate::error::{Cause, Error, before_commit, no_panic};
use crate::events::Ride;
use crate::file::open_files::OpenHere;
use crate::file::platform::{self, FileIdentity};
use crate::file::settings::{Mode, Rights};
use crate::file::storage::{Base, OpenReport, Storage, discard};
use crate::holder::alarm::Alarms;
use crate::holder::{Holder, Written};
use crate::metered;
use crate::store::committer::Committer;
use crate::store::group_commit::{GroupCommit, Lead, Patience};
use crate::store::snapshot::{Snapshot, SnapshotCache};
use crate::store::tables::NamespaceId;
use crate::store::write_store::{Job, WriteStore};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Status {
    Ready = 0,
    /// redb has latched an error; the next call reopens.
    Failed = 1,
    Closed = 2,
}

/// The database of a ledger, kept open over failures, and the right to write to it.
#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) holder: Holder,
    pub(crate) commits: GroupCommit<Box<dyn Job>>,
    pub(crate) storage: Storage,
    pub(crate) report: OpenReport,
    pub(crate) counts: Counts,
    pub(crate) committer: Committer,
    /// Alarms by the ledger's clock.
    pub(crate) alarms: Alarms,
    polls: OnceLock<Alarms>,
    rights: Rights,
    status: AtomicU8,
    base: RwLock<Option<Base>>,
    snapshots: SnapshotCache,
    place: Option<Place>,
    here: Mutex<Option<OpenHere>>,
}

/// Where the file lies, and what must lie there.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) identity: FileIdentity,
}

/// Counted in memory, for tests and statistics.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    pub(crate) commits: AtomicU64,
    pub(crate) operations: AtomicU64,
}

/// What an engine is made of.
pub(crate) struct Parts {
    pub(crate) base: Base,
    pub(crate) rights: Rights,
    pub(crate) holder: Holder,
    pub(crate) busy_timeout: Duration,
    pub(crate) storage: Storage,
    pub(crate) report: OpenReport,
    pub(crate) place: Option<Place>,
    pub(crate) here: Option<OpenHere>,
}

impl Engine {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            committer: Committer::default(),
            alarms: Alarms::new(Arc::clone(&parts.holder.clock)),
            polls: OnceLock::new(),
            holder: parts.holder,
            commits: GroupCommit::new(parts.busy_timeout),
            storage: parts.storage,
            report: parts.report,
            counts: Counts::default(),
            rights: parts.rights,
            status: AtomicU8::new(Status::Ready as u8),
            base: RwLock::new(Some(parts.base)),
            snapshots: SnapshotCache::default(),
            place: parts.place,
            here: Mutex::new(parts.here),
        })
    }

    /// Alarms by real time, for looking at what other processes do.
    pub(crate) fn polls(&self) -> &Alarms {
        self.polls
            .get_or_init(|| Alarms::new(Arc::new(SystemClock::new())))
    }

    pub(crate) const fn rights(&self) -> Rights {
        self.rights
    }

    pub(crate) fn path(&self) -> Option<&PathBuf> {
        self.place.as_ref().map(|place| &place.path)
    }

    /// Refuses what cannot work, before anything is touched.
    pub(crate) fn check_usable(&self) -> Result<(), Error> {
        self.holder.check_process()?;
        if self.status() == Status::Closed {
            return Err(Error::Closed);
        }
        Ok(())
    }

    pub(crate) fn check_writable(&self) -> Result<(), Error> {
        self.check_usable()?;
        match self.rights {
            Rights::ReadWrite => Ok(()),
            Rights::ReadOnly => Err(Error::ReadOnly),
        }
    }

    /// Refuses to write to a file that is no longer the one under its name.
    pub(crate) fn check_place(&self) -> Result<(), Error> {
        let Some(place) = &self.place else {
            return Ok(());
        };
        match platform::identity_at(&place.path) {
            Ok(Some(identity)) if identity == place.identity => Ok(()),
            Ok(_) => Err(Error::FileReplaced {
                path: place.path.clone(),
            }),
            Err(error) => Err(Error::io(error)),
        }
    }

    fn status(&self) -> Status {
        match self.status.load(Ordering::SeqCst) {
            0 => Status::Ready,
            1 => Status::Failed,
            _ => Status::Closed,
        }
    }

    pub(crate) fn is_failed(&self) -> bool {
        self.status() == Status::Failed
    }

    pub(crate) fn mark_failed(&self) {
        let (ready, failed) = (Status::Ready as u8, Status::Failed as u8);
        // A closed ledger stays closed.
        let _ = self
            .status
            .compare_exchange(ready, failed, Ordering::SeqCst, Ordering::SeqCst);
    }

    /// Reads from the state of the last commit. The database cannot be replaced meanwhile: a
    /// transaction on one that was closed would fail, although the ledger is open. `look` must not
    /// read again: a thread that holds this lock and asks for it once more waits for the one that
    /// wants to replace the database, which waits for this thread.
    pub(crate) fn read<T>(
        &self,
        look: impl FnOnce(&Snapshot) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.check_usable()?;
        self.reopen_if_failed()?;
        let result = no_panic(|| {
            let base = self.base()?;
            let snapshot = self.snapshot_of(&base)?;
            look(&snapshot)
        });
        if let Err(Error::Storage(_)) = &result {
            self.mark_failed();
        }
        result
    }

    /// The number of a namespace as of a snapshot.
    pub(crate) fn namespace_id(
        &self,
        snapshot: &Snapshot,
        name: &str,
    ) -> Result<Option<NamespaceId>, Error> {
        self.holder.namespace_id(name, || snapshot.namespace(name))
    }

    /// The database, kept from being replaced or closed while the guard lives.
    pub(crate) fn base(&self) -> Result<BaseGuard<'_>, Error> {
        let guard = unpoisoned(self.base.read());
        if guard.is_none() {
            return Err(if self.status() == Status::Closed {
                Error::Closed
            } else {
                Error::Storage(Cause::new("the file could not be reopened"))
            });
        }
        Ok(BaseGuard(guard))
    }

    /// A read transaction for the application's own tables.
    pub(crate) fn begin_read(&self) -> Result<ReadTransaction, Error> {
        self.check_usable()?;
        self.reopen_if_failed()?;
        no_panic(|| begin_read(&*self.base()?))
    }

    fn snapshot_of(&self, base: &Base) -> Result<Arc<Snapshot>, Error> {
        let open = || Snapshot::open(begin_read(base)?);
        match (self.holder.mode(), self.rights) {
            (Mode::Exclusive, Rights::ReadWrite) => self.snapshots.current(open),
            // Others commit without telling: each call looks anew.
            _ => open().map(Arc::new),
        }
    }

    /// Says what became of a read transaction that outlived the call that began it: redb reports
    /// the database under it as closed, although only that one was, and the ledger has another.
    pub(crate) fn error_of_old_snapshot(&self, error: Error) -> Error {
        match (error, self.status()) {
            (Error::Closed, Status::Ready | Status::Failed) => Error::Storage(Cause::new(
                "the file was reopened after a failure while its records were read; read again",
            )),
            (error, _) => error,
        }
    }

    /// A snapshot of its own, for an iterator that outlives the call.
    pub(crate) fn own_snapshot(&self) -> Result<Arc<Snapshot>, Error> {
        self.check_usable()?;
        self.reopen_if_failed()?;
        no_panic(|| {
            let base = self.base()?;
            self.snapshot_of(&base)
        })
    }

    /// Takes note of a commit, before anybody is told of it.
    pub(crate) fn committed(&self, written: Written, operations: usize) {
        self.snapshots.renew();
        self.holder.events.arrive(Ride::Arrived);
        self.holder.committed(written);
        metered::commit(operations);
        self.counts.commits.fetch_add(1, Ordering::Relaxed);
        self.counts
            .operations
            .fetch_add(operations as u64, Ordering::Relaxed);
    }

    /// Stores what callers met since the last commit, for a caller that leads. Where that is not
    /// possible at once, it is left: it is advice.
    pub(crate) fn store_last_events(&self) {
        let is_ready = self.status() == Status::Ready && self.check_writable().is_ok();
        if is_ready && self.holder.events.is_waiting() {
            let _ = self.commit_events();
        }
    }

    fn commit_events(&self) -> Result<(), Error> {
        self.check_place()?;
        let base = self.base()?;
        let transaction = self.begin_write(&base, Patience::Instant)?;
        let applied = WriteStore::within(&self.holder, &transaction, |store| {
            store.carry_events();
            store.finish().map(Some)
        });
        self.conclude(transaction, applied, 0).map(|_| ())
    }

    /// Waits for the right to write alone.
    pub(crate) fn lead_alone(&self) -> Result<Lead<'_>, Error> {
        self.commits
            .lead_alone(&*self.holder.clock, Patience::Bounded)
    }

    /// Reopens the database after an error that redb has latched. Waits for the writer first.
    pub(crate) fn reopen_if_failed(&self) -> Result<(), Error> {
        if !self.is_failed() {
            return Ok(());
        }
        let _lead = self.lead_alone()?;
        self.reopen_as_leader()
    }

    /// Reopens the database, if it is still marked as failed. The caller leads.
    pub(crate) fn reopen_as_leader(&self) -> Result<(), Error> {
        if !self.is_failed() {
            return Ok(());
        }
        let mut base = unpoisoned(self.base.write());
        self.snapshots.renew();
        let (fresh, reached) = no_panic(|| self.storage.replace(base.take()))?;
        *base = Some(fresh);
        drop(base);
        self.holder.absorb(reached)?;
        let (ready, failed) = (Status::Ready as u8, Status::Failed as u8);
        let _ = self
            .status
            .compare_exchange(failed, ready, Ordering::SeqCst, Ordering::SeqCst);
        Ok(())
    }

    /// Runs something that needs the database alone, with nobody reading or writing.
    pub(crate) fn with_base_alone<T>(
        &self,
        work: impl FnOnce(&mut Base) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let mut guard = unpoisoned(self.base.write());
        self.snapshots.renew();
        let base = guard.as_mut().ok_or(Error::Closed)?;
        let done = no_panic(|| work(base));
        if let Err(Error::FileDamaged(_)) = &done {
            // redb may have panicked inside a transaction of its own.
            self.mark_failed();
        }
        done
    }

    /// Closes the database; every handle is closed from here on.
    pub(crate) fn close(&self) -> Result<(), Error> {
        let before = self.status.swap(Status::Closed as u8, Ordering::SeqCst);
        let base = unpoisoned(self.base.write()).take();
        self.snapshots.renew();
        let closed = if before == Status::Failed as u8 {
            discard(base);
            Err(Error::Storage(Cause::new(
                "the file had failed before, so its last pages were not written; what was \
                 acknowledged is on disk, and the next opening repairs the rest",
            )))
        } else {
            no_panic(|| match base {
                Some(Base::Owned(database)) => database.close().map_err(before_commit),
                Some(Base::ReadOnly(database)) => database.close().map_err(before_commit),
                Some(Base::Lent(_)) | None => Ok(()),
            })
        };
        // Handles and claims may live on, but of nothing: the next opening has the file.
        self.holder.claims.end_all();
        drop(locked(&self.here).take());
        closed
    }
}

/// redb writes when it is dropped, and panics where the file is damaged and was not verified. A
/// drop says nothing and stops nobody: `close` is there for those who want to know.
///
/// In a fork nothing is written and nothing unlocked: the file, its locks and its pages are the
/// parent's, whose database would be destroyed by the last page that a copy of it writes. So the
/// copy is leaked, with the read transaction of the snapshot.
impl Drop for Engine {
    fn drop(&mut self) {
        if self.holder.check_process().is_err() {
            std::mem::forget(unpoisoned(self.base.get_mut()).take());
            std::mem::forget(std::mem::take(&mut self.snapshots));
            return;
        }
        if !std::thread::panicking() {
            self.store_last_events();
        }
        let has_failed = self.is_failed();
        let base = unpoisoned(self.base.get_mut()).take();
        if has_failed {
            return discard(base);
        }
        let _ = no_panic(|| {
            drop(base);
            Ok(())
        });
    }
}

fn begin_read(base: &Base) -> Result<ReadTransaction, Error> {
    let transaction = match base {
        Base::Owned(database) => database.begin_read(),
        Base::Lent(database) => database.begin_read(),
        Base::ReadOnly(database) => database.begin_read(),
    };
    transaction.map_err(before_commit)
}

/// The database while it is in use.
pub(crate) struct BaseGuard<'e>(RwLockReadGuard<'e, Option<Base>>);

impl std::ops::Deref for BaseGuard<'_> {
    type Target = Base;

    fn deref(&self) -> &Base {
        self.0.as_ref().expect("checked when the guard was made")
    }
}
