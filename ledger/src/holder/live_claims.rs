//! Which claims live in this process, and who waits for them.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, ThreadId};

use crate::clock::{Signal, locked};
use crate::decision::{ClaimLock, Fence, Liveness, Work};
use crate::file::platform::Process;
use crate::holder::side_file::SideFile;

/// What may be said of a claim that is not in this process's registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Witness {
    /// The file is held exclusively, so no other opening can hold a claim: it is gone. Whether the
    /// operating system's lock says so to others, too: storage of the caller's own has none.
    Exclusive { is_locked: bool },
    /// Others hold claims. No exclusive opening is among them, and the locks of the others can be
    /// seen where the side file is the ledger's own.
    Shared,
    /// Others may hold claims, and nothing shows it.
    Nothing,
}

#[derive(Debug)]
pub(crate) struct LiveClaims {
    process: Process,
    witness: Witness,
    side: Option<SideFile>,
    living: Mutex<HashMap<Fence, Living>>,
    waiting: Mutex<HashMap<Vec<u8>, BTreeMap<u64, Signal>>>,
    /// Numbers for those who wait, in the order in which they came and are woken: one among many
    /// leaves without a search for it.
    waiters: AtomicU64,
}

#[derive(Debug)]
struct Living {
    identity: Vec<u8>,
    thread: ThreadId,
}

impl LiveClaims {
    pub(crate) fn new(witness: Witness, side: Option<SideFile>) -> Arc<Self> {
        Arc::new(Self {
            process: Process::current(),
            witness,
            side,
            living: Mutex::default(),
            waiting: Mutex::default(),
            waiters: AtomicU64::new(0),
        })
    }

    /// The lock that a new claim holds where the file system has locks.
    pub(crate) fn lock_of_new(&self) -> ClaimLock {
        match (self.witness, &self.side) {
            (Witness::Exclusive { is_locked: true }, _) => ClaimLock::File,
            (Witness::Shared, Some(side)) => ClaimLock::SideFile(side.number()),
            _ => ClaimLock::None,
        }
    }

    /// Registers a claim before it commits: whoever sees the record sees that it lives. The
    /// caller is named, since another's thread may be the one that leads its batch.
    pub(crate) fn register(
        self: &Arc<Self>,
        fence: Fence,
        identity: &[u8],
        caller: ThreadId,
    ) -> io::Result<LiveClaim> {
        let lock = match (self.lock_of_new(), &self.side) {
            (ClaimLock::SideFile(_), Some(side)) if !side.lock_claim(fence)? => ClaimLock::None,
            (lock, _) => lock,
        };
        let living = Living {
            identity: identity.to_vec(),
            thread: caller,
        };
        locked(&self.living).insert(fence, living);
        Ok(LiveClaim {
            claims: Arc::clone(self),
            fence,
            lock,
        })
    }

    /// Whether the holder of a claim lives, which took `lock` before the claim was stored. "Gone"
    /// is said only where a lock that was taken is seen free.
    pub(crate) fn liveness(&self, fence: Fence, lock: ClaimLock) -> Liveness {
        if locked(&self.living).contains_key(&fence) {
            return Liveness::Alive;
        }
        match (self.witness, lock, &self.side) {
            // An exclusive opening and any other exclude each other.
            (Witness::Exclusive { .. }, _, _) | (Witness::Shared, ClaimLock::File, _) => {
                Liveness::Gone
            }
            (Witness::Shared, ClaimLock::SideFile(number), Some(side))
                if side.number() == number =>
            {
                side.liveness(fence)
            }
            _ => Liveness::Unknown,
        }
    }

    /// Whether work that a claim started still runs, also beside an exclusive opening: a process
    /// that its holder started needs no lock of the ledger's file.
    pub(crate) fn work(&self, fence: Fence) -> Work {
        let side = self.side.as_ref();
        side.map_or(Work::Ended, |side| side.work(fence))
    }

    pub(crate) fn side_file(&self) -> Option<&SideFile> {
        self.side.as_ref()
    }

    /// Ends all claims, although their guards may live on.
    pub(crate) fn end_all(&self) {
        let ended = std::mem::take(&mut *locked(&self.living));
        for (fence, living) in ended {
            if let Some(side) = &self.side {
                side.unlock_claim(fence);
            }
            self.wake(&living.identity);
        }
    }

    pub(crate) fn count(&self) -> usize {
        locked(&self.living).len()
    }

    /// Whether this process holds a claim on the key; its end will wake those who wait.
    pub(crate) fn holds(&self, identity: &[u8]) -> bool {
        locked(&self.living)
            .values()
            .any(|living| living.identity == identity)
    }

    /// Whether the current thread was the last to use a living claim on the key: it would wait
    /// for itself.
    pub(crate) fn is_own(&self, identity: &[u8]) -> bool {
        let thread = thread::current().id();
        locked(&self.living)
            .values()
            .any(|living| living.thread == thread && living.identity == identity)
    }

    /// Starts waiting for a claim on the key to end. Enter before looking at the record, or an
    /// end in between is missed.
    pub(crate) fn enter(self: &Arc<Self>, identity: &[u8]) -> Waiting {
        let signal = Signal::default();
        let number = self.waiters.fetch_add(1, Ordering::Relaxed);
        locked(&self.waiting)
            .entry(identity.to_vec())
            .or_default()
            .insert(number, signal.clone());
        Waiting {
            claims: Arc::clone(self),
            identity: identity.to_vec(),
            number,
            signal,
        }
    }

    /// Lets everybody who waits for the key decide anew. All of them: the decision lets exactly
    /// one in, and a waiter that was cancelled meanwhile cannot swallow the wake of another.
    pub(crate) fn wake(&self, identity: &[u8]) {
        if let Some(signals) = locked(&self.waiting).get(identity) {
            signals.values().for_each(Signal::fire);
        }
    }
}

/// A living claim's entry. Dropping it says that the claim has ended; that does no disk write.
#[derive(Debug)]
pub(crate) struct LiveClaim {
    claims: Arc<LiveClaims>,
    fence: Fence,
    lock: ClaimLock,
}

impl LiveClaim {
    /// The lock that shows others that it lives.
    pub(crate) const fn lock(&self) -> ClaimLock {
        self.lock
    }

    /// Remembers which thread used the claim last.
    pub(crate) fn touch(&self) {
        if let Some(living) = locked(&self.claims.living).get_mut(&self.fence) {
            living.thread = thread::current().id();
        }
    }
}

impl LiveClaim {
    /// Says that the claim has ended, although somebody may still hold it in hand.
    pub(crate) fn end(&self) {
        // A fork's copy of a claim is none: the claim lives on in the parent, and so does its lock.
        if !self.claims.process.is_current() {
            return;
        }
        let living = locked(&self.claims.living).remove(&self.fence);
        if let (ClaimLock::SideFile(_), Some(side)) = (self.lock, &self.claims.side) {
            side.unlock_claim(self.fence);
        }
        if let Some(living) = living {
            self.claims.wake(&living.identity);
        }
    }
}

impl Drop for LiveClaim {
    fn drop(&mut self) {
        self.end();
    }
}

/// A place among those who wait for a key.
#[derive(Debug)]
pub(crate) struct Waiting {
    claims: Arc<LiveClaims>,
    identity: Vec<u8>,
    number: u64,
    pub(crate) signal: Signal,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if !self.claims.process.is_current() {
            return;
        }
        let mut waiting = locked(&self.claims.waiting);
        if let Some(signals) = waiting.get_mut(&self.identity) {
            signals.remove(&self.number);
            if signals.is_empty() {
                waiting.remove(&self.identity);
            }
        }
    }
}
