//! The counters, for the `metrics` crate. A recorder that panics stops nobody.

use std::panic::{AssertUnwindSafe, catch_unwind};

use metrics::{Unit, counter, describe_counter, describe_gauge, gauge};

use crate::care::stats::Stats;
use crate::error::Error;
use crate::events::Event;
use crate::ledger::Ledger;

const EVENTS: &str = "idempotency_events_total";
const SWEPT: &str = "idempotency_swept_records_total";
const COMMITS: &str = "idempotency_commits_total";
const OPERATIONS: &str = "idempotency_operations_total";
const RECORDS: &str = "idempotency_records";
const BYTES: &str = "idempotency_bytes";
const FILE_BYTES: &str = "idempotency_file_bytes";
const LIVE_CLAIMS: &str = "idempotency_live_claims";

/// Says what the metrics are, for exporters that show it.
pub(crate) fn describe() {
    quietly(|| {
        describe_counter!(EVENTS, "What callers met, by namespace and event");
        describe_counter!(SWEPT, "Expired records that were removed, by namespace");
        describe_counter!(COMMITS, "Commits of the ledger");
        describe_counter!(OPERATIONS, "Operations in those commits");
        describe_gauge!(RECORDS, "Records that count, by namespace and state");
        describe_gauge!(
            BYTES,
            Unit::Bytes,
            "Bytes of keys and records, by namespace"
        );
        describe_gauge!(FILE_BYTES, Unit::Bytes, "The size of the file");
        describe_gauge!(LIVE_CLAIMS, "Claims that live in this process");
    });
}

/// Counts what a caller met.
pub(crate) fn event(namespace: &str, event: Event) {
    let namespace = namespace.to_owned();
    quietly(|| {
        counter!(EVENTS, "namespace" => namespace, "event" => event.name()).increment(1);
    });
}

/// Counts what a sweep removed.
pub(crate) fn swept(namespace: &str, records: u64) {
    let namespace = namespace.to_owned();
    quietly(|| counter!(SWEPT, "namespace" => namespace).increment(records));
}

/// Counts a commit.
pub(crate) fn commit(operations: usize) {
    quietly(|| {
        counter!(COMMITS).increment(1);
        counter!(OPERATIONS).increment(operations as u64);
    });
}

impl Ledger {
    /// Sets gauges of the crate `metrics` to what the file holds: records by state, bytes, the size
    /// of the file, live claims. Call it when they are read, or every minute; the counters count by
    /// themselves. Needs the feature `metrics`.
    ///
    /// # Errors
    ///
    /// [`Error`] when the file cannot be read. A recorder that fails does not.
    pub fn record_gauges(&self) -> Result<(), Error> {
        gauges(&self.stats()?);
        Ok(())
    }
}

#[expect(clippy::cast_precision_loss, reason = "gauges are floats")]
fn gauges(stats: &Stats) {
    quietly(|| {
        for namespace in &stats.namespaces {
            let name = || namespace.name.clone();
            let by_state = [
                ("claimed", namespace.claimed),
                ("completed", namespace.completed),
                ("expired", namespace.expired),
            ];
            for (state, count) in by_state {
                gauge!(RECORDS, "namespace" => name(), "state" => state).set(count as f64);
            }
            gauge!(BYTES, "namespace" => name()).set(namespace.bytes as f64);
        }
        if let Some(bytes) = stats.file_bytes {
            gauge!(FILE_BYTES).set(bytes as f64);
        }
        gauge!(LIVE_CLAIMS).set(stats.live_claims as f64);
    });
}

fn quietly(tell: impl FnOnce()) {
    let _ = catch_unwind(AssertUnwindSafe(tell));
}
