//! What all handles of one ledger share: the database, the time, the fences and who lives.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock, RwLockReadGuard};

use redb::{Database, ReadOnlyDatabase, ReadableDatabase};

use crate::clock::{Clock, locked, unpoisoned};
use crate::codec::NamespaceRow;
use crate::decision::{Evidence, Fence, Namespace, TimeReading, Timekeeper, Timestamp};
use crate::error::{Cause, Error, before_commit};
use crate::group_commit::GroupCommit;
use crate::live_claims::LiveClaims;
use crate::open_files::OpenHere;
use crate::opening::{OpenReport, Storage};
use crate::platform::{self, FileIdentity};
use crate::side_file::Note;
use crate::snapshot::{Snapshot, SnapshotCache};
use crate::tables::NamespaceId;
use crate::write_store::Written;

/// How the file is shared with others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// This process alone has the file.
    Exclusive,
    /// Several processes have it, each through a ledger.
    Shared,
    /// The application has the database and lends it.
    Attached,
}

impl Mode {
    pub(crate) const fn has_other_writers(self) -> bool {
        matches!(self, Self::Shared)
    }
}

/// Whether the handle may write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rights {
    ReadWrite,
    ReadOnly,
}

pub(crate) enum Base {
    Owned(Database),
    Lent(Arc<Database>),
    ReadOnly(ReadOnlyDatabase),
}

impl std::fmt::Debug for Base {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Base")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Status {
    Ready = 0,
    /// redb has latched an error; the next call reopens.
    Failed = 1,
    Closed = 2,
}

#[derive(Debug)]
pub(crate) struct Engine {
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) claims: Arc<LiveClaims>,
    pub(crate) commits: GroupCommit,
    pub(crate) storage: Storage,
    pub(crate) report: OpenReport,
    pub(crate) holder: u64,
    pub(crate) counts: Counts,
    mode: Mode,
    rights: Rights,
    process: u32,
    status: AtomicU8,
    base: RwLock<Option<Base>>,
    snapshots: SnapshotCache,
    time: Mutex<Timekeeper>,
    fences: Fences,
    namespaces: RwLock<HashMap<String, NamespaceRow>>,
    place: Option<Place>,
    _here: Option<OpenHere>,
}

/// Where the file lies, and what must lie there.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) path: PathBuf,
    pub(crate) identity: FileIdentity,
}

/// Fences known to this process.
#[derive(Debug, Default)]
struct Fences {
    /// The highest ever handed out or read; those of aborted transactions are burned.
    highest: AtomicU64,
    /// The highest known to be on disk.
    stored: AtomicU64,
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
    pub(crate) mode: Mode,
    pub(crate) rights: Rights,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) claims: Arc<LiveClaims>,
    pub(crate) commits: GroupCommit,
    pub(crate) storage: Storage,
    pub(crate) report: OpenReport,
    pub(crate) holder: u64,
    pub(crate) time: Timekeeper,
    pub(crate) fence: u64,
    pub(crate) place: Option<Place>,
    pub(crate) here: Option<OpenHere>,
}

impl Engine {
    pub(crate) fn new(parts: Parts) -> Arc<Self> {
        Arc::new(Self {
            clock: parts.clock,
            claims: parts.claims,
            commits: parts.commits,
            storage: parts.storage,
            report: parts.report,
            holder: parts.holder,
            counts: Counts::default(),
            mode: parts.mode,
            rights: parts.rights,
            process: platform::process_id(),
            status: AtomicU8::new(Status::Ready as u8),
            base: RwLock::new(Some(parts.base)),
            snapshots: SnapshotCache::default(),
            time: Mutex::new(parts.time),
            fences: Fences {
                highest: AtomicU64::new(parts.fence),
                stored: AtomicU64::new(parts.fence),
            },
            namespaces: RwLock::default(),
            place: parts.place,
            _here: parts.here,
        })
    }

    pub(crate) const fn mode(&self) -> Mode {
        self.mode
    }

    pub(crate) const fn rights(&self) -> Rights {
        self.rights
    }

    pub(crate) fn path(&self) -> Option<&PathBuf> {
        self.place.as_ref().map(|place| &place.path)
    }

    /// The ledger's time, read anew.
    pub(crate) fn now(&self) -> Timestamp {
        self.read_time().now
    }

    pub(crate) fn read_time(&self) -> TimeReading {
        // Both clocks are read under the lock, so that readings arrive in their order.
        let mut time = locked(&self.time);
        time.read(self.clock.wall(), self.clock.elapsed())
    }

    /// Believes the wall clock, and returns the time it gives.
    pub(crate) fn believe_wall_clock(&self) -> Timestamp {
        let mut time = locked(&self.time);
        time.confirm(self.clock.wall(), self.clock.elapsed());
        time.mark()
    }

    /// The next fence; it is never given out again, whatever becomes of the transaction.
    pub(crate) fn next_fence(&self) -> Fence {
        Fence::from_stored(self.fences.highest.fetch_add(1, Ordering::SeqCst) + 1)
    }

    /// The highest fence handed out or read so far.
    pub(crate) fn highest_fence(&self) -> Fence {
        Fence::from_stored(self.fences.highest.load(Ordering::SeqCst))
    }

    /// Learns what the file has reached, and notices when it has fallen back.
    pub(crate) fn absorb(&self, fence: u64, mark: Timestamp) -> Result<(), Error> {
        let seen = self.fences.stored.load(Ordering::SeqCst);
        if fence < seen {
            return Err(Error::RolledBack {
                stored: Fence::from_stored(fence),
                seen: Fence::from_stored(seen),
            });
        }
        self.fences.highest.fetch_max(fence, Ordering::SeqCst);
        self.fences.stored.fetch_max(fence, Ordering::SeqCst);
        locked(&self.time).absorb(mark, self.clock.elapsed());
        Ok(())
    }

    /// What is known about the holder of a claim.
    pub(crate) fn evidence(&self, fence: Fence, now: Timestamp) -> Evidence {
        Evidence {
            liveness: self.claims.liveness(fence),
            work: self.claims.work(fence),
            now,
        }
    }

    /// The namespace's row as last committed, if it has the caller's policy. Other processes may
    /// change it at any time, so a shared file is always asked.
    pub(crate) fn known_namespace(&self, namespace: &Namespace) -> Option<NamespaceRow> {
        if self.mode.has_other_writers() {
            return None;
        }
        let known = unpoisoned(self.namespaces.read());
        known
            .get(namespace.name())
            .filter(|row| row.has_policy(namespace.current_policy()))
            .cloned()
    }

    /// The number of a namespace as of a snapshot; a number never changes.
    pub(crate) fn namespace_id(
        &self,
        snapshot: &Snapshot,
        name: &str,
    ) -> Result<Option<NamespaceId>, Error> {
        if let Some(row) = unpoisoned(self.namespaces.read()).get(name) {
            return Ok(Some(NamespaceId(row.id)));
        }
        let Some(row) = snapshot.namespace(name)? else {
            return Ok(None);
        };
        let id = NamespaceId(row.id);
        unpoisoned(self.namespaces.write()).insert(name.to_owned(), row);
        Ok(Some(id))
    }

    /// The name of a namespace for messages.
    pub(crate) fn namespace_name(&self, id: NamespaceId) -> String {
        let known = unpoisoned(self.namespaces.read());
        known
            .iter()
            .find(|(_, row)| row.id == id.0)
            .map_or_else(|| format!("number {}", id.0), |(name, _)| name.clone())
    }

    /// Refuses what cannot work, before anything is touched.
    pub(crate) fn check_usable(&self) -> Result<(), Error> {
        if self.process != platform::process_id() {
            return Err(Error::UsedAfterFork);
        }
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

    /// Reads from the state of the last commit.
    pub(crate) fn read<T>(
        &self,
        look: impl FnOnce(&Snapshot) -> Result<T, Error>,
    ) -> Result<T, Error> {
        self.check_usable()?;
        self.reopen_if_failed()?;
        let result = no_panic(|| {
            let base = self.base()?;
            let snapshot = self.snapshot_of(&base)?;
            drop(base);
            look(&snapshot)
        });
        if let Err(Error::Storage(_)) = &result {
            self.mark_failed();
        }
        result
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

    fn snapshot_of(&self, base: &Base) -> Result<Arc<Snapshot>, Error> {
        let open = || {
            let transaction = match base {
                Base::Owned(database) => database.begin_read(),
                Base::Lent(database) => database.begin_read(),
                Base::ReadOnly(database) => database.begin_read(),
            };
            Snapshot::open(transaction.map_err(before_commit)?)
        };
        match (self.mode, self.rights) {
            (Mode::Exclusive, Rights::ReadWrite) => self.snapshots.current(open),
            // Others commit without telling: each call looks anew.
            _ => open().map(Arc::new),
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
        if written.has_new_namespace {
            unpoisoned(self.namespaces.write()).clear();
        }
        let before = self
            .fences
            .stored
            .fetch_max(written.fence, Ordering::SeqCst);
        let stored = before.max(written.fence);
        self.counts.commits.fetch_add(1, Ordering::Relaxed);
        self.counts
            .operations
            .fetch_add(operations as u64, Ordering::Relaxed);
        if let Some(side) = self.claims.side_file() {
            side.set_note(Note {
                fence: stored,
                mark: written.mark,
            });
        }
    }

    /// Reopens the database after an error that redb has latched. Waits for the writer first.
    pub(crate) fn reopen_if_failed(&self) -> Result<(), Error> {
        if !self.is_failed() {
            return Ok(());
        }
        let _lead = self
            .commits
            .lead_alone(&*self.clock, crate::group_commit::Patience::Bounded)?;
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
        self.absorb(reached.fence, Timestamp::from_unix_ms(reached.mark_ms))?;
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
        no_panic(|| work(base))
    }

    /// Closes the database; every handle is closed from here on.
    pub(crate) fn close(&self) -> Result<(), Error> {
        self.status.store(Status::Closed as u8, Ordering::SeqCst);
        let base = unpoisoned(self.base.write()).take();
        self.snapshots.renew();
        match base {
            Some(Base::Owned(database)) => database.close().map_err(before_commit),
            Some(Base::ReadOnly(database)) => database.close().map_err(before_commit),
            Some(Base::Lent(_)) | None => Ok(()),
        }
    }
}

/// The database while it is in use.
pub(crate) struct BaseGuard<'e>(RwLockReadGuard<'e, Option<Base>>);

impl std::ops::Deref for BaseGuard<'_> {
    type Target = Base;

    fn deref(&self) -> &Base {
        self.0.as_ref().expect("checked when the guard was made")
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
