//! The holder: one opening of a ledger, and what it knows in memory.

pub(crate) mod alarm;
pub(crate) mod live_claims;
pub(crate) mod side_file;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, RwLock};

use crate::clock::{self, Clock, locked, unpoisoned};
use crate::decision::{
    ClockMark, ClockReading, Evidence, Fence, Namespace, Record, TimeReading, Timekeeper, Timestamp,
};
use crate::error::Error;
use crate::events::Events;
use crate::file::platform::Process;
use crate::file::settings::Mode;
use crate::store::codec::{Floor, NamespaceRow};
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
    process: Process,
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
    /// The newest mark known to be on disk.
    stored_mark: Mutex<ClockMark>,
}

/// What a transaction leaves behind in memory once it is committed.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    pub(crate) has_new_namespace: bool,
    /// The highest fence that the transaction stored; 0 for none.
    pub(crate) fence: u64,
    /// The mark that the transaction stored.
    pub(crate) mark: ClockMark,
}

impl Written {
    /// What two steps of one transaction leave behind.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            has_new_namespace: self.has_new_namespace || other.has_new_namespace,
            fence: self.fence.max(other.fence),
            mark: self.mark.newer(other.mark),
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
            process: Process::current(),
            fences: Fences {
                highest: AtomicU64::new(fence),
                stored: AtomicU64::new(fence),
                stored_mark: Mutex::new(time.mark()),
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
        if self.process.is_current() {
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
        self.read_time_to_store().0
    }

    /// The ledger's time, and the mark that is to be stored with what is written at this time.
    pub(crate) fn read_time_to_store(&self) -> (TimeReading, ClockMark) {
        self.with_time(|_, _| {})
    }

    /// Believes the wall clock.
    pub(crate) fn believe_wall_clock(&self) -> (TimeReading, ClockMark) {
        self.with_time(Timekeeper::confirm)
    }

    /// Takes the time back to the wall clock, if that is earlier.
    pub(crate) fn take_clock_back(&self) -> (TimeReading, ClockMark) {
        self.with_time(Timekeeper::take_back)
    }

    fn with_time(
        &self,
        change: impl FnOnce(&mut Timekeeper, ClockReading),
    ) -> (TimeReading, ClockMark) {
        // All clocks are read under the lock, so that readings arrive in their order.
        let mut time = locked(&self.time);
        let at = clock::reading(&*self.clock);
        change(&mut time, at);
        let reading = time.read(at);
        (reading, time.mark())
    }

    /// The ledger's time, if it is not earlier than a mark in the file that another process may
    /// have stored.
    pub(crate) fn now_at(&self, seen: ClockMark) -> Timestamp {
        locked(&self.time).absorb(seen, self.clock.elapsed());
        self.now()
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
    ///
    /// Each process of a shared file does so in each of its transactions, before it reads the time
    /// for it. So the marks in the file are in the order of the commits, and what one process knows
    /// of its wall clock reaches the others. Say A sees a clock two days ahead (`faketime` changes
    /// the clock of one process) and B the right one:
    ///
    /// - A's commits store the elapsed time, and since when its clock is ahead; B goes on from that
    ///   time, which is right by its own clock. B's reading contradicts the leap, so the mark that
    ///   B stores has none, and A starts again with its hour, although A may have read its clocks
    ///   between B's commit and its own transaction: of the file the contradiction is taken over,
    ///   even where A knows a later time. So A is not believed while B commits more often than
    ///   once an hour; replays commit nothing and contradict nothing.
    /// - After an hour without a commit of B's, A is believed, as one process alone would be. B
    ///   finds the file two days ahead of its clock then, goes on from there, and reports it; a
    ///   person takes it back.
    /// - A person who takes it back raises the count of rewinds in the file: the mark is lower and
    ///   yet newer, for A and for B, and not taken for that of a restored backup.
    pub(crate) fn absorb(&self, reached: Floor) -> Result<(), Error> {
        let seen = self.fences.stored.load(Ordering::SeqCst);
        {
            let mut stored = locked(&self.fences.stored_mark);
            if reached.fence < seen || reached.mark.is_before(&stored) {
                return Err(Error::RolledBack {
                    stored: Fence::from_stored(reached.fence),
                    seen: Fence::from_stored(seen),
                });
            }
            *stored = reached.mark;
        }
        self.fences
            .highest
            .fetch_max(reached.fence, Ordering::SeqCst);
        self.fences
            .stored
            .fetch_max(reached.fence, Ordering::SeqCst);
        locked(&self.time).absorb(reached.mark, self.clock.elapsed());
        Ok(())
    }

    /// Takes note of a commit.
    pub(crate) fn committed(&self, written: Written) {
        if written.has_new_namespace {
            unpoisoned(self.namespaces.write()).clear();
        }
        let fence = self
            .fences
            .stored
            .fetch_max(written.fence, Ordering::SeqCst);
        let mark = {
            let mut stored = locked(&self.fences.stored_mark);
            *stored = stored.newer(written.mark);
            stored.now
        };
        if let Some(side) = self.claims.side_file() {
            side.set_note(Note {
                fence: fence.max(written.fence),
                mark,
            });
        }
    }

    /// Lowers the mark that the side file remembers, since the time is taken back.
    ///
    /// Another process may have committed just before and raise it once more: then the next
    /// opening reports a restored backup, which a person accepts. Nothing is lost by it.
    pub(crate) fn lower_note(&self, mark: Timestamp) {
        if let Some(side) = self.claims.side_file() {
            let fence = side.note().fence;
            side.set_note(Note { fence, mark });
        }
    }

    /// What is known about the holder of a claim.
    pub(crate) fn evidence(&self, stored: Option<&Record>, now: Timestamp) -> Evidence {
        let (fence, lock) = stored
            .map(|record| (record.fence, record.lock()))
            .unwrap_or_default();
        Evidence {
            liveness: self.claims.liveness(fence, lock),
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

    /// A holder that remembers another process is what a fork leaves.
    #[test]
    fn another_process_is_refused() {
        let mut holder = Holder::new(
            1,
            Mode::Exclusive,
            Arc::new(SystemClock::new()),
            LiveClaims::new(Witness::Nothing, None),
            Timekeeper::new(Timestamp::EPOCH, Duration::from_secs(1)),
            0,
            Events::default(),
        );
        assert!(holder.check_process().is_ok());
        holder.process = holder.process.another();
        assert!(matches!(holder.check_process(), Err(Error::UsedAfterFork)));
    }
}
