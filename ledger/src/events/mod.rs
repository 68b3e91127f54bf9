//! What callers met: counted and timed in memory, stored with the next commit.
//!
//! A replay must not write, and a refusal neither. So both are noted here and ride along with the
//! next commit, as [`Riding`]; a crash in between loses the last ones. The counts are advice, not
//! bookkeeping: nothing decides by them, and nothing fails because of them.

pub(crate) mod advice;
pub(crate) mod counts;
pub(crate) mod delays;
pub(crate) mod drift;

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use crate::clock::locked;
use crate::error::Error;
use crate::metered;
use crate::traced;

use counts::EventCounts;
use delays::Delays;
use drift::PolicyDrift;

/// Namespaces are few; names made from data are not counted beyond this.
const NAMESPACES_MAX: usize = 4_096;

/// How often somebody looks again who wants counts of one moment.
const READ_TRIES: u32 = 8;

/// What a caller met, or did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    /// A claim on a new key.
    Claimed,
    /// A claim on a key whose answer had expired but was not swept yet.
    ClaimedLate { delay: Duration },
    /// A claim that took an interrupted one over without asking.
    TakenOver { delay: Duration },
    /// The stored answer; for a dedup table, a repeat.
    Replayed { delay: Duration },
    /// A refusal, since somebody is at it.
    InProgress { delay: Duration },
    /// A ticket.
    Interrupted { delay: Duration },
    /// A refusal, since the key belongs to another request.
    Mismatch,
    /// A refusal of an old key.
    Stale,
    /// A refusal for lack of room.
    Quota,
    /// A claim or ticket completed.
    Completed,
    /// A claim or ticket was released.
    Released,
    /// An ending was refused, since somebody else had been there.
    Superseded,
}

impl Event {
    /// What the event adds to the counts.
    fn counted(self) -> EventCounts {
        let mut counts = EventCounts::default();
        match self {
            Self::Replayed { .. } => counts.replays = 1,
            Self::InProgress { .. } => counts.in_progress = 1,
            Self::Mismatch => counts.mismatches = 1,
            Self::Stale => counts.stale = 1,
            Self::Quota => counts.quota = 1,
            Self::Interrupted { .. } | Self::TakenOver { .. } => counts.interruptions = 1,
            Self::ClaimedLate { .. } => counts.late = 1,
            Self::Claimed | Self::Completed | Self::Released | Self::Superseded => {}
        }
        counts
    }

    /// How long after the first claim of its key a duplicate came.
    pub(crate) const fn delay(self) -> Option<Duration> {
        match self {
            Self::Replayed { delay }
            | Self::InProgress { delay }
            | Self::Interrupted { delay }
            | Self::TakenOver { delay }
            | Self::ClaimedLate { delay } => Some(delay),
            Self::Claimed
            | Self::Mismatch
            | Self::Stale
            | Self::Quota
            | Self::Completed
            | Self::Released
            | Self::Superseded => None,
        }
    }
}

/// What is noted of a namespace.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noted {
    pub(crate) counts: EventCounts,
    pub(crate) delays: Delays,
}

impl Noted {
    pub(crate) fn add(&mut self, other: &Self) {
        self.counts.add(other.counts);
        self.delays.add(&other.delays);
    }
}

/// By the name of the namespace.
type ByName = BTreeMap<String, Noted>;

/// What was noted since the last commit.
#[derive(Debug, Default)]
pub(crate) struct Events {
    noted: Mutex<Since>,
    drifts: Mutex<BTreeMap<String, PolicyDrift>>,
    shows_keys: bool,
}

/// How the transaction ended that events rode along with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ride {
    /// It is on disk.
    Arrived,
    /// It may be on disk.
    Unknown,
    /// Nothing of it is on disk.
    RolledBack,
}

#[derive(Debug, Default)]
struct Since {
    waiting: ByName,
    /// What the transaction that runs now has in it.
    riding: ByName,
    /// How often something arrived: who adds up what is stored and what is not looks at it twice.
    arrivals: u64,
    /// What it removes, for traces and metrics.
    swept: Vec<(String, u64)>,
}

impl Events {
    pub(crate) fn new(shows_keys: bool) -> Self {
        Self {
            shows_keys,
            ..Self::default()
        }
    }

    /// Takes note, for the counts, traces and metrics.
    pub(crate) fn note(&self, namespace: &str, key: &str, event: Event) {
        let counted = event.counted();
        if counted != EventCounts::default() {
            let mut since = locked(&self.noted);
            if let Some(noted) = entry(&mut since.waiting, namespace) {
                noted.counts.add(counted);
                if let Some(delay) = event.delay() {
                    noted.delays.record(delay);
                }
            }
        }
        traced::event(namespace, traced::Shown::of(key, self.shows_keys), event);
        metered::event(namespace, event);
    }

    /// Whether anything waits for a commit.
    pub(crate) fn is_waiting(&self) -> bool {
        !locked(&self.noted).waiting.is_empty()
    }

    /// What the transaction that is about to commit takes along.
    pub(crate) fn board(&self) -> ByName {
        let mut since = locked(&self.noted);
        since.riding = std::mem::take(&mut since.waiting);
        since.riding.clone()
    }

    /// The transaction has ended. What it had in it waits again where nothing is on disk, and is
    /// forgotten where it is there, or may be.
    pub(crate) fn arrive(&self, ride: Ride) {
        let mut since = locked(&self.noted);
        let riding = std::mem::take(&mut since.riding);
        let swept = std::mem::take(&mut since.swept);
        match ride {
            Ride::Unknown => {}
            Ride::Arrived => {
                since.arrivals += 1;
                drop(since);
                for (namespace, records) in swept {
                    traced::swept(&namespace, records);
                    metered::swept(&namespace, records);
                }
            }
            Ride::RolledBack => {
                for (name, noted) in riding {
                    if let Some(waiting) = entry(&mut since.waiting, &name) {
                        waiting.add(&noted);
                    }
                }
            }
        }
    }

    /// Takes note of what a sweep removes with the transaction that runs now.
    pub(crate) fn will_have_swept(&self, namespace: String, records: u64) {
        locked(&self.noted).swept.push((namespace, records));
    }

    /// Takes note of a policy that is not the stored one.
    pub(crate) fn note_drift(&self, drift: PolicyDrift) {
        traced::drift(&drift);
        let mut drifts = locked(&self.drifts);
        if drifts.len() < NAMESPACES_MAX || drifts.contains_key(&drift.namespace) {
            drifts.insert(drift.namespace.clone(), drift);
        }
    }

    /// The newest drift of each namespace that had one.
    pub(crate) fn drifts(&self) -> Vec<PolicyDrift> {
        locked(&self.drifts).values().cloned().collect()
    }

    /// Reads what is stored, and what is not, as of one moment: a commit in between counts once.
    pub(crate) fn consistently<T>(
        &self,
        mut read: impl FnMut() -> Result<T, Error>,
    ) -> Result<T, Error> {
        for _ in 0..READ_TRIES {
            let before = locked(&self.noted).arrivals;
            let found = read()?;
            if locked(&self.noted).arrivals == before {
                return Ok(found);
            }
        }
        read()
    }

    /// What is noted of a namespace and not on disk yet.
    pub(crate) fn not_stored(&self, namespace: &str) -> Noted {
        let since = locked(&self.noted);
        let mut noted = Noted::default();
        for part in [&since.waiting, &since.riding] {
            if let Some(found) = part.get(namespace) {
                noted.add(found);
            }
        }
        noted
    }
}

fn entry<'n>(by_name: &'n mut ByName, namespace: &str) -> Option<&'n mut Noted> {
    if !by_name.contains_key(namespace) {
        if by_name.len() >= NAMESPACES_MAX {
            return None;
        }
        by_name.insert(namespace.to_owned(), Noted::default());
    }
    by_name.get_mut(namespace)
}
