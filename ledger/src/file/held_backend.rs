//! A storage backend that outlives the database on it.
//!
//! redb latches after an I/O error and must be closed and opened again. Closing would give the
//! file's locks up, and another process could take the file between the two. This wrapper keeps
//! storage and locks while the database on it is replaced.
//!
//! A fork shares the open file with its parent, whose pages and locks are in use: in any other
//! process than the one that opened it, the storage refuses whatever changes either.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use redb::{BackendError, StorageBackend};

use crate::clock::{locked, retry_within};
use crate::file::platform::Process;

#[derive(Clone, Debug)]
pub(crate) struct HeldBackend(Arc<Held>);

#[derive(Debug)]
struct Held {
    process: Process,
    storage: Box<dyn StorageBackend>,
    replacing: AtomicBool,
    /// How long a database that is being opened waits for a lock of another process.
    lock_timeout: Duration,
    /// Whether one is: an open one only waits where the other holds the lock for a moment, or asks
    /// whether it is free.
    opening: AtomicBool,
    locks: Mutex<Locks>,
}

#[derive(Debug, Default)]
struct Locks {
    /// Taken by the database that is open now.
    taken: HashSet<Lock>,
    /// Taken by the one before, and still held for the next.
    kept: HashSet<Lock>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Lock {
    start: Bound<u64>,
    end: Bound<u64>,
    shared: bool,
}

impl HeldBackend {
    pub(crate) fn new(storage: impl StorageBackend, lock_timeout: Duration) -> Self {
        Self(Arc::new(Held {
            process: Process::current(),
            storage: Box::new(storage),
            replacing: AtomicBool::new(false),
            lock_timeout,
            opening: AtomicBool::new(false),
            locks: Mutex::default(),
        }))
    }

    /// Whether the storage gave the database on it any lock.
    pub(crate) fn is_locked(&self) -> bool {
        !locked(&self.0.locks).taken.is_empty()
    }

    /// From here on waits for locks of other processes are bounded, until the guard is dropped.
    /// redb takes the writer's lock while it opens a database and waits for it without a bound: a
    /// process that was stopped while it wrote would hold every opening up for ever.
    pub(crate) fn bound_waits(&self) -> BoundedWaits<'_> {
        self.0.opening.store(true, Ordering::SeqCst);
        BoundedWaits(self)
    }

    /// Waits for a lock as long as it may.
    fn wait_for(
        &self,
        mut try_lock: impl FnMut() -> Result<bool, BackendError>,
    ) -> Result<bool, BackendError> {
        let locked = retry_within(Some(self.0.lock_timeout), || {
            try_lock().map(|locked| locked.then_some(true))
        })?;
        locked.map_err(|waited| {
            BackendError::Io(io::Error::new(io::ErrorKind::TimedOut, LockBusy { waited }))
        })
    }

    /// From here on a close keeps storage and locks.
    pub(crate) fn start_replacing(&self) {
        self.0.replacing.store(true, Ordering::SeqCst);
    }

    /// Ends the replacement: locks that the new database did not ask for are given up.
    pub(crate) fn end_replacing(&self) {
        self.0.replacing.store(false, Ordering::SeqCst);
        let mut locks = locked(&self.0.locks);
        let kept = std::mem::take(&mut locks.kept);
        let taken_again = |lock: &Lock| {
            let is_same = |taken: &Lock| (taken.start, taken.end) == (lock.start, lock.end);
            locks.taken.iter().any(is_same)
        };
        // A range taken in another way is one lock of the system: it is not given up.
        for lock in kept.into_iter().filter(|lock| !taken_again(lock)) {
            // A lock that cannot be given up ends with the file handle.
            let _ = self.0.storage.unlock_range(lock.start, lock.end);
        }
    }

    fn check_process(&self) -> io::Result<()> {
        if self.0.process.is_current() {
            Ok(())
        } else {
            Err(io::Error::other(
                "the process has forked since the file was opened",
            ))
        }
    }

    fn take(
        &self,
        lock: Lock,
        from_storage: impl FnOnce() -> Result<bool, BackendError>,
    ) -> Result<bool, BackendError> {
        self.check_process()?;
        if locked(&self.0.locks).kept.remove(&lock) {
            locked(&self.0.locks).taken.insert(lock);
            return Ok(true);
        }
        let acquired = from_storage()?;
        if acquired {
            locked(&self.0.locks).taken.insert(lock);
        }
        Ok(acquired)
    }
}

/// While it lives, a wait for a lock ends.
#[must_use = "waits are unbounded again once it is dropped"]
pub(crate) struct BoundedWaits<'b>(&'b HeldBackend);

impl Drop for BoundedWaits<'_> {
    fn drop(&mut self) {
        self.0.0.opening.store(false, Ordering::SeqCst);
    }
}

/// Another process held a lock for as long as this one would wait. Passed through redb as the
/// source of an I/O error.
#[derive(Debug)]
pub(crate) struct LockBusy {
    pub(crate) waited: Duration,
}

impl fmt::Display for LockBusy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "another process held the file for {:?}", self.waited)
    }
}

impl std::error::Error for LockBusy {}

impl StorageBackend for HeldBackend {
    fn len(&self) -> Result<u64, io::Error> {
        no_panic(|| self.0.storage.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        no_panic(|| self.0.storage.read(offset, out))
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.check_process()?;
        no_panic(|| self.0.storage.set_len(len))
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.check_process()?;
        no_panic(|| self.0.storage.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.check_process()?;
        no_panic(|| self.0.storage.write(offset, data))
    }

    fn close(&self) -> Result<(), io::Error> {
        self.check_process()?;
        let mut locks = locked(&self.0.locks);
        if self.0.replacing.load(Ordering::SeqCst) {
            let taken = std::mem::take(&mut locks.taken);
            locks.kept.extend(taken);
            return Ok(());
        }
        locks.taken.clear();
        drop(locks);
        no_panic(|| self.0.storage.close())
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        let lock = Lock {
            start,
            end,
            shared: false,
        };
        self.take(lock, || self.0.storage.try_lock_range(start, end))
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        let lock = Lock {
            start,
            end,
            shared: true,
        };
        self.take(lock, || self.0.storage.try_lock_shared_range(start, end))
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        let lock = Lock {
            start,
            end,
            shared: false,
        };
        self.take(lock, || {
            if self.0.opening.load(Ordering::SeqCst) {
                return self.wait_for(|| self.0.storage.try_lock_range(start, end));
            }
            self.0.storage.lock_range(start, end).map(|()| true)
        })
        .map(|_| ())
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        let lock = Lock {
            start,
            end,
            shared: true,
        };
        self.take(lock, || {
            if self.0.opening.load(Ordering::SeqCst) {
                return self.wait_for(|| self.0.storage.try_lock_shared_range(start, end));
            }
            self.0.storage.lock_shared_range(start, end).map(|()| true)
        })
        .map(|_| ())
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.check_process()?;
        self.0.storage.unlock_range(start, end)?;
        let mut locks = locked(&self.0.locks);
        locks
            .taken
            .retain(|lock| (lock.start, lock.end) != (start, end));
        Ok(())
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.storage.query_lock_range(start, end)
    }
}

/// A storage that panics is one that failed: redb holds locks while it calls the storage, and a
/// panic would leave the database unusable, also for being closed and opened again.
fn no_panic<T>(call: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
    catch_unwind(AssertUnwindSafe(call))
        .unwrap_or_else(|_| Err(io::Error::other("the storage panicked")))
}
