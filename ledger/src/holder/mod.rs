//! The holder: one opening of a ledger, and what it knows in memory.

pub(crate) mod alarm;
pub(crate) mod live_claims;
pub(crate) mod side_file;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use crate::clock::{Clock, locked, unpoisoned};
use crate::decision::{Evidence, Fence, Namespace, TimeReading, Timekeeper, Timestamp};
use crate::error::Error;
use crate::events::Events;
use crate::file::platform;
use crate::file::settings::Mode;
use crate::store::codec::NamespaceRow;
use crate::store::tables::NamespaceId;

use live_claims::LiveClaims;
use side_file::Note;

/// One opening of a ledger: its time, its fences, the claims that live in it, and the
/// namespaces it has met.
#[derive(Debug)]
pub(crate) struct Holder {
    /// A random number that tells this opening from others.
    pub(crate) id: u64,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) claims: Arc<LiveClaims>,
    pub(crate) events: Events,
    mode: Mode,
    process: u32,
    time: Mutex<Timekeeper>,
    fences: Fences,
    namespaces: RwLock<HashMap<String, NamespaceRow>>,
}

/// Fences known to this process.
#[derive(Debug, Default)]
struct Fences {
    /// The highest ever handed out or read; those of aborted transactions are burned.
    highest: AtomicU64,
    /// The highest known to be on disk.
    stored: AtomicU64,
    /// The newest mark known to be on disk, in Unix milliseconds.
    stored_mark_ms: AtomicU64,
}

/// What a transaction leaves behind in memory once it is committed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    pub(crate) has_new_namespace: bool,
    /// The highest fence that the transaction stored; 0 for none.
    pub(crate) fence: u64,
    /// The mark that the transaction stored.
    pub(crate) mark: Timestamp,
}

impl Written {
    /// What two steps of one transaction leave behind.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            has_new_namespace: self.has_new_namespace || other.has_new_namespace,
            fence: self.fence.max(other.fence),
            mark: self.mark.max(other.mark),
        }
    }
}

impl Holder {
    /// A holder of a file that has reached `fence` and `time`.
    pub(crate) fn new(
        id: u64,
        mode: Mode,
        clock: Arc<dyn Clock>,
        claims: Arc<LiveClaims>,
        time: Timekeeper,
        fence: u64,
        events: Events,
    ) -> Self {
        Self {
            id,
            clock,
            claims,
            events,
            mode,
            process: platform::process_id(),
            fences: Fences {
                highest: AtomicU64::new(fence),
                stored: AtomicU64::new(fence),
                stored_mark_ms: AtomicU64::new(time.mark().unix_ms()),
            },
            time: Mutex::new(time),
            namespaces: RwLock::default(),
        }
    }

    pub(crate) const fn mode(&self) -> Mode {
        self.mode
    }

    /// A fork copies what is here, but not the claims: both processes would believe to hold them.
    pub(crate) fn check_process(&self) -> Result<(), Error> {
        if self.process == platform::process_id() {
            Ok(())
        } else {
            Err(Error::UsedAfterFork)
        }
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
        let seen_mark_ms = self.fences.stored_mark_ms.load(Ordering::SeqCst);
        if fence < seen || mark.unix_ms() < seen_mark_ms {
            return Err(Error::RolledBack {
                stored: Fence::from_stored(fence),
                seen: Fence::from_stored(seen),
            });
        }
        self.fences.highest.fetch_max(fence, Ordering::SeqCst);
        self.fences.stored.fetch_max(fence, Ordering::SeqCst);
        self.fences
            .stored_mark_ms
            .fetch_max(mark.unix_ms(), Ordering::SeqCst);
        locked(&self.time).absorb(mark, self.clock.elapsed());
        Ok(())
    }

    /// Takes note of a commit.
    pub(crate) fn committed(&self, written: Written) {
        if written.has_new_namespace {
            unpoisoned(self.namespaces.write()).clear();
        }
        let mark_ms = written.mark.unix_ms();
        let fence = self
            .fences
            .stored
            .fetch_max(written.fence, Ordering::SeqCst);
        let earlier_ms = self
            .fences
            .stored_mark_ms
            .fetch_max(mark_ms, Ordering::SeqCst);
        if let Some(side) = self.claims.side_file() {
            side.set_note(Note {
                fence: fence.max(written.fence),
                mark: Timestamp::from_unix_ms(earlier_ms.max(mark_ms)),
            });
        }
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

    /// The number of a namespace; it never changes. `look` asks a committed state for it.
    pub(crate) fn namespace_id(
        &self,
        name: &str,
        look: impl FnOnce() -> Result<Option<NamespaceRow>, Error>,
    ) -> Result<Option<NamespaceId>, Error> {
        if let Some(row) = unpoisoned(self.namespaces.read()).get(name) {
            return Ok(Some(NamespaceId(row.id)));
        }
        let Some(row) = look()? else {
            return Ok(None);
        };
        let id = NamespaceId(row.id);
        unpoisoned(self.namespaces.write()).insert(name.to_owned(), row);
        Ok(Some(id))
    }

    /// The name of a namespace for messages.
    pub(crate) fn namespace_name(&self, id: NamespaceId) -> String {
        self.known_name(id)
            .unwrap_or_else(|| format!("number {}", id.0))
    }

    /// The name of a namespace that was met since the last new one.
    pub(crate) fn known_name(&self, id: NamespaceId) -> Option<String> {
        let known = unpoisoned(self.namespaces.read());
        let mut rows = known.iter();
        rows.find(|(_, row)| row.id == id.0)
            .map(|(name, _)| name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::live_claims::Witness;
    use super::*;
    use crate::clock::SystemClock;
    use std::time::Duration;

    /// Safe Rust cannot fork; a holder that remembers another process is what a fork leaves.
    #[test]
    fn another_process_is_refused() {
        let mut holder = Holder::new(
            1,
            Mode::Exclusive,
            Arc::new(SystemClock::new()),
            LiveClaims::new(Witness::Exclusive),
            Timekeeper::new(Timestamp::EPOCH, Duration::from_secs(1)),
            0,
            Events::default(),
        );
        assert!(holder.check_process().is_ok());
        holder.process = holder.process.wrapping_add(1);
        assert!(matches!(holder.check_process(), Err(Error::UsedAfterFork)));
    }
}
