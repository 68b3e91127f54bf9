//! Taking back a time that a wrong clock has driven ahead: what that changes, and doing it.

use std::collections::HashMap;
use std::time::Duration;

use crate::decision::{ClockState, Key, Record, Scope, State, Timestamp};
use crate::error::{Error, before_commit};
use crate::store::engine::Engine;
use crate::store::group_commit::Patience;
use crate::store::snapshot::Snapshot;
use crate::store::tables::{NamespaceId, expiry_end, parse_expiry_key, parse_record_key};

/// How many keys are named; all are counted.
const NAMED_MAX: usize = 1_000;

/// What taking the ledger's time back to the wall clock changes; see
/// [`Ledger::plan_clock_back`](crate::Ledger::plan_clock_back).
///
/// ```
/// use idempotency_ledger::{Ledger, ManualClock, Timestamp};
/// use std::time::Duration;
///
/// let right = Timestamp::from_unix_ms(1_767_225_600_000);
/// let clock = ManualClock::starting_at(right.saturating_add(Duration::from_secs(300 * 86_400)));
/// let ledger = Ledger::builder().clock(clock.clone()).in_memory()?;
/// let _ = ledger.now();
/// clock.set_wall(right);
/// let back = ledger.plan_clock_back()?.expect("the clock is behind the ledger's time");
/// assert_eq!((back.to, back.keys_changed, back.changed.len()), (right, 0, 0));
/// assert_eq!(ledger.take_clock_back()?, right);
/// assert_eq!(ledger.plan_clock_back()?, None);
/// # Ok::<(), idempotency_ledger::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ClockBack {
    /// The ledger's time.
    pub now: Timestamp,
    /// The wall clock, to which it would be taken back.
    pub to: Timestamp,
    /// How far.
    pub by: Duration,
    /// How many stored keys it changes.
    pub keys_changed: u64,
    /// The first thousand of them.
    pub changed: Vec<ChangedKey>,
    /// Namespaces in which keys from after the wall clock's time were removed. What guards them
    /// would refuse new keys as well, so it is lowered: such a key can run again once its own time
    /// has come. They are gone, so their number is not known.
    pub unguarded: Vec<Unguarded>,
}

/// A key that is changed by taking the time back.
///
/// ```
/// use idempotency_ledger::time::KeyChange;
///
/// assert_ne!(KeyChange::AnswersAgain, KeyChange::LeaseRuns);
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ChangedKey {
    /// Its namespace.
    pub namespace: String,
    /// The key.
    pub key: Key,
    /// Its scope.
    pub scope: Scope,
    /// What changes.
    pub change: KeyChange,
}

/// What taking the time back changes for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyChange {
    /// Its answer has expired by the ledger's time, and counts again: it is replayed.
    AnswersAgain,
    /// Its lease is over by the ledger's time, and runs again.
    LeaseRuns,
}

/// A namespace in which keys that were removed can run again; see [`ClockBack::unguarded`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Unguarded {
    /// Its name.
    pub namespace: String,
    /// The newest time inside a key that was removed.
    pub newest_removed: Timestamp,
}

/// `None` where the wall clock is not behind the ledger's time.
pub(crate) fn plan_clock_back(engine: &Engine) -> Result<Option<ClockBack>, Error> {
    let time = engine.holder.read_time();
    let ClockState::Behind { by, .. } = time.clock else {
        return Ok(None);
    };
    let mut back = ClockBack {
        now: time.now,
        to: time.wall,
        by,
        keys_changed: 0,
        changed: Vec::new(),
        unguarded: Vec::new(),
    };
    engine.read(|snapshot| {
        let mut names = HashMap::new();
        for (name, row) in snapshot.namespaces()? {
            names.insert(NamespaceId(row.id), name);
        }
        find_answers(snapshot, &names, &mut back)?;
        for (id, name) in &names {
            let tail = snapshot.tail(*id)?;
            let newest_removed = Timestamp::from_unix_ms(tail.newest_removed_ms);
            if newest_removed > back.to {
                let namespace = name.clone();
                back.unguarded.push(Unguarded {
                    namespace,
                    newest_removed,
                });
            }
            if tail.claimed > 0 {
                find_leases(snapshot, *id, &names, &mut back)?;
            }
        }
        Ok(())
    })?;
    back.unguarded
        .sort_by(|one, other| one.namespace.cmp(&other.namespace));
    Ok(Some(back))
}

type Names = HashMap<NamespaceId, String>;

/// Answers whose end lies between the wall clock and the ledger's time, by the expiry index.
fn find_answers(snapshot: &Snapshot, names: &Names, back: &mut ClockBack) -> Result<(), Error> {
    let Some(expiry) = snapshot.expiry()? else {
        return Ok(());
    };
    let (start, end) = (expiry_end(back.to), expiry_end(back.now));
    let rows = expiry
        .range::<&[u8]>(start.as_slice()..end.as_slice())
        .map_err(before_commit)?;
    for row in rows {
        let (row, _) = row.map_err(before_commit)?;
        let Some((_, record_key)) = parse_expiry_key(row.value()) else {
            continue;
        };
        let record = match snapshot.get(record_key) {
            Ok(Some(record)) => record,
            // `check` names it, and taking the time back changes nothing about it.
            Ok(None) | Err(Error::Damaged { .. }) => continue,
            Err(error) => return Err(error),
        };
        if record.is_expired(back.now) && !record.is_expired(back.to) {
            back.note(names, record_key, KeyChange::AnswersAgain);
        }
    }
    Ok(())
}

fn find_leases(
    snapshot: &Snapshot,
    id: NamespaceId,
    names: &Names,
    back: &mut ClockBack,
) -> Result<(), Error> {
    snapshot.visit(id, None, |record_key, record| {
        if lease_runs_again(&record, back.to, back.now) {
            back.note(names, record_key, KeyChange::LeaseRuns);
        }
        Ok(true)
    })
}

fn lease_runs_again(record: &Record, to: Timestamp, now: Timestamp) -> bool {
    match &record.state {
        State::Claimed(claimed) => claimed.lease_until > to && claimed.lease_until <= now,
        State::Completed(_) => false,
    }
}

impl ClockBack {
    fn note(&mut self, names: &Names, record_key: &[u8], change: KeyChange) {
        self.keys_changed += 1;
        if self.changed.len() < NAMED_MAX
            && let Some((id, key, scope)) = parse_record_key(record_key)
        {
            self.changed.push(ChangedKey {
                namespace: names.get(&id).cloned().unwrap_or_default(),
                key,
                scope,
                change,
            });
        }
    }
}

#[expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method alone is not general enough over the lifetime of the store"
)]
pub(crate) fn take_clock_back(engine: &Engine) -> Result<Timestamp, Error> {
    engine.check_writable()?;
    engine.submit(Patience::Bounded, 0, |store| store.take_clock_back())
}
