//! Counts, sizes and the state of the clock.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::decision::{ClockState, Fence, Policy, Record, State, Timestamp};
use crate::error::{Error, before_commit};
use crate::events::counts::EventCounts;
use crate::store::engine::Engine;
use crate::store::snapshot::Snapshot;
use crate::store::tables::{NamespaceId, expiry_end, parse_expiry_key, parse_record_key};

/// What a ledger holds, as of one commit; see [`Ledger::stats`](crate::Ledger::stats).
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// ledger.operation(PAYMENTS, &key, asked).run_bytes(|_| Ok::<_, Error>("ok"))?;
/// let stats = ledger.stats()?;
/// assert_eq!(stats.records(), 1);
/// assert_eq!(stats.namespaces[0].completed, 1);
/// assert!(stats.unconfirmed_jump.is_none());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// One entry per namespace, by name.
    pub namespaces: Vec<NamespaceStats>,
    /// The size of the file in bytes, where the ledger has it.
    pub file_bytes: Option<u64>,
    /// The highest fence given out.
    pub fence: Fence,
    /// The ledger's time.
    pub now: Timestamp,
    /// How far the wall clock leapt ahead of the ledger's time, while it is held back.
    pub unconfirmed_jump: Option<Duration>,
    /// How the wall clock stands to the ledger's time, and since when. One that is held back is
    /// believed after an hour, or at once with [`Ledger::confirm_clock`]; a time that is ahead of
    /// the right clock is taken back with [`Ledger::take_clock_back`].
    ///
    /// [`Ledger::confirm_clock`]: crate::Ledger::confirm_clock
    /// [`Ledger::take_clock_back`]: crate::Ledger::take_clock_back
    pub clock: ClockState,
    /// Whether the file was verified as a whole when it was opened.
    pub verified: bool,
    /// Whether the file had to be repaired when it was opened.
    pub repaired: bool,
    /// Whether the file system has no locks; see [`OpenReport`](crate::OpenReport).
    pub without_locks: bool,
    /// Claims that live in this process.
    pub live_claims: usize,
    /// Callers that wait for the writer.
    pub queued: usize,
    /// Commits since the ledger was opened.
    pub commits: u64,
    /// Operations in those commits.
    pub operations: u64,
}

/// What a namespace holds. Expired records that were not swept yet are counted only as such.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// drop(ledger.operation(PAYMENTS, &key, asked).begin()?);
/// let stats = &ledger.stats()?.namespaces[0];
/// assert_eq!((stats.name.as_str(), stats.claimed, stats.completed), ("payments", 1, 0));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamespaceStats {
    /// Its name.
    pub name: String,
    /// The version of its policy, raised with each change.
    pub policy_version: u32,
    /// Records that count.
    pub records: u64,
    /// Of these, claims: running or interrupted.
    pub claimed: u64,
    /// Of these, stored answers.
    pub completed: u64,
    /// Bytes of their keys and records.
    pub bytes: u64,
    /// Records that have expired and wait for a sweep.
    pub expired: u64,
    /// The policy that its newest claim was made under.
    pub policy: Policy,
    /// What its callers met.
    pub events: EventCounts,
}

impl Stats {
    /// Records that count, over all namespaces.
    pub fn records(&self) -> u64 {
        self.namespaces
            .iter()
            .map(|namespace| namespace.records)
            .sum()
    }
}

pub(crate) fn stats(engine: &Engine) -> Result<Stats, Error> {
    let time = engine.holder.read_time();
    let events = &engine.holder.events;
    let (namespaces, stored_fence) = events.consistently(|| {
        let (mut namespaces, fence) = engine.read(|snapshot| count(snapshot, time.now))?;
        for namespace in &mut namespaces {
            namespace
                .events
                .add(events.not_stored(&namespace.name).counts);
        }
        Ok((namespaces, fence))
    })?;
    Ok(Stats {
        // Other processes give out fences that only their commits tell of.
        fence: engine.holder.highest_fence().max(stored_fence),
        namespaces,
        file_bytes: engine.storage.file_bytes()?,
        now: time.now,
        unconfirmed_jump: time.unconfirmed_jump,
        clock: time.clock,
        verified: engine.report.verified,
        repaired: engine.report.repaired,
        without_locks: engine.report.without_locks,
        live_claims: engine.holder.claims.count(),
        queued: engine.commits.queued(),
        commits: engine.counts.commits.load(Ordering::Relaxed),
        operations: engine.counts.operations.load(Ordering::Relaxed),
    })
}

/// What has expired in a namespace but is still stored.
#[derive(Clone, Copy, Default)]
struct Unswept {
    records: u64,
    bytes: u64,
}

/// Counts each namespace, and finds the highest fence that is stored.
fn count(snapshot: &Snapshot, now: Timestamp) -> Result<(Vec<NamespaceStats>, Fence), Error> {
    let unswept = count_unswept(snapshot, now)?;
    let (mut counted, mut fence) = (Vec::new(), Fence::default());
    for (name, row) in snapshot.namespaces()? {
        let id = NamespaceId(row.id);
        let tail = snapshot.tail(id)?;
        fence = fence.max(Fence::from_stored(tail.fence));
        let gone = unswept.get(&id).copied().unwrap_or_default();
        let records = tail.records.saturating_sub(gone.records);
        counted.push(NamespaceStats {
            name,
            policy_version: row.policy_version,
            records,
            claimed: tail.claimed,
            completed: records.saturating_sub(tail.claimed),
            bytes: tail.bytes.saturating_sub(gone.bytes),
            expired: gone.records,
            policy: row.stored_policy(),
            events: snapshot.noted_or_none(id)?.counts,
        });
    }
    counted.sort_by(|one, other| one.name.cmp(&other.name));
    Ok((counted, fence))
}

fn count_unswept(
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<HashMap<NamespaceId, Unswept>, Error> {
    let mut unswept: HashMap<NamespaceId, Unswept> = HashMap::new();
    let Some(expiry) = snapshot.expiry()? else {
        return Ok(unswept);
    };
    let end = expiry_end(now);
    for row in expiry
        .range::<&[u8]>(..end.as_slice())
        .map_err(before_commit)?
    {
        let (row, _) = row.map_err(before_commit)?;
        let Some((_, record_key)) = parse_expiry_key(row.value()) else {
            continue;
        };
        let Some((id, _, _)) = parse_record_key(record_key) else {
            continue;
        };
        let (record, bytes) = match snapshot.get_sized(record_key) {
            Ok(Some(found)) => found,
            // Reading it, `check` and the listing name it; the others are counted all the same.
            Ok(None) | Err(Error::Damaged { .. }) => continue,
            Err(error) => return Err(error),
        };
        if is_expired_answer(&record, now) {
            let gone = unswept.entry(id).or_default();
            gone.records += 1;
            gone.bytes += (record_key.len() + bytes) as u64;
        }
    }
    Ok(unswept)
}

fn is_expired_answer(record: &Record, now: Timestamp) -> bool {
    match &record.state {
        State::Completed(completed) => completed.expires_at <= now,
        State::Claimed(_) => false,
    }
}
