//! Verifying the whole file: pages, records, the expiry index, the counters.

use std::collections::BTreeMap;

use redb::DatabaseError;

use crate::care::progress::Progress;
use crate::decision::{Record, State};
use crate::error::no_panic;
use crate::error::{Error, before_commit};
use crate::file::storage::Base;
use crate::store::codec::{self, Tail};
use crate::store::engine::Engine;
use crate::store::snapshot::Snapshot;
use crate::store::tables::{
    NamespaceId, expiry_key, is_tail_key, parse_expiry_key, parse_record_key, tail_key,
};

/// What a check found; see [`Ledger::check`](crate::Ledger::check).
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let report = ledger.check()?;
/// assert!(report.is_clean() && report.pages_verified);
/// assert_eq!(report.problems, Vec::<String>::new());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CheckReport {
    /// Whether every page was verified. An attached or read-only database is not.
    pub pages_verified: bool,
    /// Whether redb had to repair its own bookkeeping of free pages.
    pub pages_repaired: bool,
    /// Records that were read and are whole.
    pub records: u64,
    /// What is wrong, a sentence each.
    pub problems: Vec<String>,
}

impl CheckReport {
    /// Whether nothing is wrong.
    pub fn is_clean(&self) -> bool {
        self.problems.is_empty() && !self.pages_repaired
    }
}

pub(crate) fn check(engine: &Engine, tell: &mut dyn FnMut(Progress)) -> Result<CheckReport, Error> {
    engine.check_usable()?;
    let mut report = CheckReport::default();
    let lead = engine.lead_alone()?;
    engine.reopen_as_leader()?;
    engine.with_base_alone(|base| match base {
        Base::Owned(database) => {
            engine.await_writer(database)?;
            let whole = match database.check_integrity() {
                Ok(whole) => whole,
                Err(DatabaseError::TransactionInProgress) => {
                    return Err(Error::Busy {
                        waited: std::time::Duration::ZERO,
                    });
                }
                Err(error) => {
                    engine.mark_failed();
                    return Err(before_commit(error));
                }
            };
            report.pages_verified = true;
            report.pages_repaired = !whole;
            Ok(())
        }
        Base::Lent(_) | Base::ReadOnly(_) => Ok(()),
    })?;
    drop(lead);
    let snapshot = engine.own_snapshot()?;
    no_panic(|| {
        let counted = check_records(&snapshot, &mut report, tell)?;
        check_expiry(&snapshot, &mut report)?;
        check_counters(&snapshot, counted, &mut report)
    })
    .map_err(|error| engine.error_of_old_snapshot(error))?;
    Ok(report)
}

/// Reads every record, and counts what the counters should say.
fn check_records(
    snapshot: &Snapshot,
    report: &mut CheckReport,
    tell: &mut dyn FnMut(Progress),
) -> Result<BTreeMap<NamespaceId, Tail>, Error> {
    let expiry = snapshot.expiry()?;
    let mut progress = Progress {
        done: 0,
        total: records_stored(snapshot),
    };
    let mut counted: BTreeMap<NamespaceId, Tail> = BTreeMap::new();
    for row in snapshot.records.range::<&[u8]>(..).map_err(before_commit)? {
        let (key, sealed) = row.map_err(before_commit)?;
        let (key, sealed) = (key.value(), sealed.value());
        if is_tail_key(key) {
            continue;
        }
        let Some((id, _, _)) = parse_record_key(key) else {
            report
                .problems
                .push("a record has a key that is none".to_owned());
            continue;
        };
        progress.done += 1;
        tell(progress);
        let tail = counted.entry(id).or_default();
        tail.records += 1;
        tail.bytes += (key.len() + sealed.len()) as u64;
        let record = match snapshot.record_from(key, sealed) {
            Ok(record) => record,
            Err(error) => {
                report.problems.push(error.to_string());
                continue;
            }
        };
        report.records += 1;
        count_record(tail, &record);
        if let Some(at) = record.removable_at() {
            let row = expiry_key(at, key);
            let has_row = match &expiry {
                None => false,
                Some(expiry) => expiry.get(row.as_slice()).map_err(before_commit)?.is_some(),
            };
            if !has_row {
                report
                    .problems
                    .push(format!("{} has no row in the expiry index", named(key)));
            }
        }
    }
    Ok(counted)
}

/// About how many records there are. Damaged counters are named later.
fn records_stored(snapshot: &Snapshot) -> u64 {
    let namespaces = snapshot.namespaces().unwrap_or_default();
    let tails = namespaces
        .iter()
        .filter_map(|(_, row)| snapshot.tail(NamespaceId(row.id)).ok());
    tails.map(|tail| tail.records).sum()
}

fn count_record(tail: &mut Tail, record: &Record) {
    tail.fence = tail.fence.max(record.fence.get());
    match record.state {
        State::Claimed(_) => tail.claimed += 1,
        State::Completed(_) => {}
    }
}

/// Every row of the index points to a record that says the same.
fn check_expiry(snapshot: &Snapshot, report: &mut CheckReport) -> Result<(), Error> {
    let Some(expiry) = snapshot.expiry()? else {
        return Ok(());
    };
    for row in expiry.range::<&[u8]>(..).map_err(before_commit)? {
        let (row, _) = row.map_err(before_commit)?;
        let Some((at, record_key)) = parse_expiry_key(row.value()) else {
            report
                .problems
                .push("the expiry index has a row of an unknown kind".to_owned());
            continue;
        };
        match snapshot.get(record_key) {
            Ok(Some(record)) if record.removable_at() == Some(at) => {}
            Ok(_) => report.problems.push(format!(
                "the expiry index has a row for {} that the record does not confirm",
                named(record_key)
            )),
            // Named with the records already.
            Err(Error::Damaged { .. }) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

fn check_counters(
    snapshot: &Snapshot,
    mut counted: BTreeMap<NamespaceId, Tail>,
    report: &mut CheckReport,
) -> Result<(), Error> {
    for (name, row) in snapshot.namespaces()? {
        let id = NamespaceId(row.id);
        let found = counted.remove(&id).unwrap_or_default();
        match snapshot.noted(id) {
            Err(Error::Damaged { .. }) => {
                let problem = format!("the counts of events of {name:?} are damaged");
                report.problems.push(problem);
            }
            Err(error) => return Err(error),
            Ok(_) => {}
        }
        let key = tail_key(id);
        let sealed = snapshot
            .records
            .get(key.as_slice())
            .map_err(before_commit)?;
        let stored = match sealed.map(|sealed| codec::decode_tail(&key, sealed.value())) {
            None => Tail::default(),
            Some(Ok(tail)) => tail,
            Some(Err(_)) => {
                report
                    .problems
                    .push(format!("the counters of {name:?} are damaged"));
                continue;
            }
        };
        let agrees = (stored.records, stored.claimed, stored.bytes)
            == (found.records, found.claimed, found.bytes);
        if !agrees {
            let tell = |tail: &Tail| {
                let Tail {
                    records,
                    claimed,
                    bytes,
                    ..
                } = tail;
                format!("{records} records, {claimed} claims, {bytes} bytes")
            };
            let (said, counted) = (tell(&stored), tell(&found));
            let problem = format!("the counters of {name:?} say {said}; there are {counted}");
            report.problems.push(problem);
        }
        if stored.fence < found.fence {
            report.problems.push(format!(
                "{name:?} has a record with a fence above its highest"
            ));
        }
    }
    for (id, found) in counted {
        report.problems.push(format!(
            "{} records belong to namespace number {}, which no row names; they are not found by \
             their keys and would run again",
            found.records, id.0
        ));
    }
    Ok(())
}

fn named(record_key: &[u8]) -> String {
    parse_record_key(record_key).map_or_else(
        || "an unreadable key".to_owned(),
        |(_, key, _)| format!("key {key:?}"),
    )
}
