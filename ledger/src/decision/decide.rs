//! `decide`: the one place that says what a request for a key gets.

use core::time::Duration;

use super::{Claimed, Fingerprint, KeyAge, OnInterrupted, Record, State, Timestamp};

/// Evidence about the holder of a claim. Never guessed: without evidence it is `Unknown`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Liveness {
    /// The holder is known to live.
    Alive,
    /// The holder is known to be gone.
    Gone,
    /// Nobody can say; the lease decides.
    Unknown,
}

/// Whether the namespace has room for one more record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// There is room, or there is no quota.
    Free,
    /// The quota is reached.
    Full,
}

/// Whether work that a claim started still runs although its holder is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Nothing is known to run.
    Ended,
    /// A process that the holder started still runs.
    Running,
}

/// What a request for a key gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// The key is so old that it may have run before: refused.
    Stale,
    /// The key's time lies in the future: refused.
    Ahead,
    /// The namespace is full: refused.
    Quota,
    /// Nothing is stored: a claim.
    Fresh,
    /// What was stored no longer counts: a claim.
    Expired,
    /// The key belongs to another request: refused.
    Mismatch,
    /// The stored answer.
    Replay,
    /// Somebody is at it: refused.
    InProgress {
        /// When asking again makes sense.
        retry_after: Duration,
    },
    /// Nobody knows whether it happened.
    Interrupted {
        /// The holder lives, but its lease is over: only an explicit ticket takes it over.
        overdue: bool,
    },
}

/// Decides what a request gets, in the order of the rows of the contract.
///
/// `asked` are the fingerprints of the request, one per algorithm that the caller still
/// understands; the stored record is compared under its own algorithm.
#[must_use]
pub fn decide(
    stored: Option<&Record>,
    asked: &[Fingerprint],
    age: KeyAge,
    room: Room,
    retry_hint: Duration,
    liveness: Liveness,
    now: Timestamp,
) -> Decision {
    let live = stored.filter(|record| !record.is_expired(now));
    let Some(record) = live else {
        return match (age, room, stored) {
            (KeyAge::Stale, _, _) => Decision::Stale,
            (KeyAge::Ahead, _, _) => Decision::Ahead,
            (KeyAge::Accepted, Room::Full, _) => Decision::Quota,
            (KeyAge::Accepted, Room::Free, None) => Decision::Fresh,
            (KeyAge::Accepted, Room::Free, Some(_)) => Decision::Expired,
        };
    };
    if !asked.contains(&record.fingerprint) {
        return Decision::Mismatch;
    }
    match &record.state {
        State::Completed(_) => Decision::Replay,
        State::Claimed(claimed) => decide_claimed(claimed, retry_hint, liveness, now),
    }
}

fn decide_claimed(
    claimed: &Claimed,
    retry_hint: Duration,
    liveness: Liveness,
    now: Timestamp,
) -> Decision {
    let lease_runs = now < claimed.lease_until;
    match (liveness, lease_runs) {
        (Liveness::Alive | Liveness::Unknown, true) => Decision::InProgress {
            retry_after: retry_after(claimed.lease_until, retry_hint, now),
        },
        (Liveness::Gone, _) | (Liveness::Unknown, false) => {
            Decision::Interrupted { overdue: false }
        }
        (Liveness::Alive, false) => Decision::Interrupted { overdue: true },
    }
}

/// When a duplicate should ask again: what is left of the lease, at most `retry_hint`, at least
/// one second.
#[must_use]
pub fn retry_after(lease_until: Timestamp, retry_hint: Duration, now: Timestamp) -> Duration {
    lease_until
        .saturating_since(now)
        .min(retry_hint)
        .max(Duration::from_secs(1))
}

/// Whether a request takes an interrupted key over without asking anybody: only where the
/// namespace says that the operation is safe to repeat, and nobody is still at it.
#[must_use]
pub fn may_take_over(rule: OnInterrupted, overdue: bool, work: Work) -> bool {
    match (rule, work) {
        (OnInterrupted::Rerun, Work::Ended) => !overdue,
        (OnInterrupted::Rerun, Work::Running) | (OnInterrupted::Refuse, _) => false,
    }
}
