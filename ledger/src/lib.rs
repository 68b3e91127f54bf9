#![cfg_attr(not(feature = "redb"), no_std)]
//! Idempotency keys in an embedded database: any operation made safe to retry.
//!
//! A user clicks "Pay", the answer gets lost, they click again. A [`Ledger`] claims the
//! request's key on disk before the effect, stores the answer, and gives every retry the same
//! bytes. After a crash it knows for certain which operations were interrupted. Its claims can
//! share one transaction with the application's own data in the same [redb] file.
//!
//! # The rule behind every rule
//!
//! Not knowing is never treated as failure. An operation that was interrupted may have happened,
//! so it is not run again by itself: the caller gets a [`Ticket`] and decides.
//!
//! # Which ending to use
//!
//! - The effect is in the ledger's own file: [`Request::transact`]. On `Err` or a panic everything
//!   is rolled back.
//! - The effect is elsewhere (a bank, a mail server): [`Request::run`]. On `Err` or a panic the key
//!   is interrupted, unless the caller says that nothing happened.
//! - It is several steps, here and elsewhere: [`Request::run_steps`]. The next call goes on behind
//!   the last step that is done.
//! - It is spread over threads or callbacks: [`Request::begin`] and its [`Claim`]. A claim that is
//!   dropped leaves its key interrupted.
//! - Several belong together: [`Ledger::begin_many`] and [`Ledger::complete_all`].
//!
//! Beside operations: [`DedupTable`] for events that count once, [`VersionedTable`] for values that
//! several writers change, [`OutboxTable`] for messages that go out with a commit. Each blocking
//! call of an operation has an asynchronous twin (`begin_async`, `run_async`, `transact_async`,
//! `complete_async` and so on), which holds no thread.
//!
//! # Example
//!
//! ```
//! use idempotency_ledger::{Fingerprint, Key, Ledger, Namespace, StoredValue};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Serialize, Deserialize, Debug, PartialEq)]
//! struct Receipt {
//!     id: u64,
//! }
//! impl StoredValue for Receipt {
//!     const SCHEMA: &str = "receipt/1";
//! }
//!
//! const PAYMENTS: Namespace = Namespace::new("payments");
//! let ledger = Ledger::in_memory()?; // or Ledger::open("app.redb")?
//! let key = Key::new("order-17")?; // from the client; the same in each retry
//! let asked = Fingerprint::of(["order-17", "25 EUR"]);
//!
//! let charge = || -> Result<Receipt, std::io::Error> { Ok(Receipt { id: 1 }) };
//! let first = ledger.operation(PAYMENTS, &key, asked).run(|_| charge())?;
//! let retry = ledger.operation(PAYMENTS, &key, asked).run(|_| charge())?;
//! assert!(!first.is_replay() && retry.is_replay());
//! assert_eq!(first.into_inner(), retry.into_inner());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Features
//!
//! - `redb` (default): the store and everything around it. Without it the crate is `no_std` and
//!   holds the pure [`decision`] core alone.
//! - `tower`: the HTTP middleware in the module `http`, for any tower service.
//! - `axum`: the same for axum, with extractors, and with the whole path on nested routers.
//! - `tracing`: spans and events of the crate `tracing`; keys are redacted unless
//!   [`Builder::show_keys_in_traces`] asks for them.
//! - `metrics`: counters of the crate `metrics` and, by `Ledger::record_gauges`, gauges:
//!   `idempotency_events_total` (by namespace and event: `claimed`, `claimed_late`,
//!   `taken_over`, `replayed`, `in_progress`, `interrupted`, `mismatch`, `stale_key`, `quota`,
//!   `completed`, `released`, `superseded`), `idempotency_swept_records_total`,
//!   `idempotency_commits_total`, `idempotency_operations_total`; `idempotency_records` (by
//!   namespace and state), `idempotency_bytes`, `idempotency_file_bytes`,
//!   `idempotency_live_claims`.
//! - `cli`: the command `idem`, which makes any shell command safe to retry. Linux and macOS.

extern crate alloc;

pub mod decision;

#[cfg(feature = "redb")]
mod builder;
#[cfg(feature = "redb")]
mod care;
#[cfg(feature = "redb")]
mod clock;
#[cfg(feature = "redb")]
mod conversions;
#[cfg(feature = "redb")]
mod dedup;
#[cfg(feature = "redb")]
mod error;
#[cfg(any(feature = "tracing", feature = "metrics"))]
#[path = "events/named.rs"]
mod event_names;
#[cfg(feature = "redb")]
mod events;
#[cfg(feature = "redb")]
mod file;
#[cfg(feature = "redb")]
mod generate;
#[cfg(feature = "redb")]
mod holder;
#[cfg(feature = "tower")]
pub mod http;
#[cfg(feature = "redb")]
mod json_exact;
#[cfg(feature = "redb")]
mod ledger;
#[cfg(feature = "metrics")]
#[path = "events/metered.rs"]
mod metered;
#[cfg(all(feature = "redb", not(feature = "metrics")))]
#[path = "events/unmetered.rs"]
mod metered;
#[cfg(feature = "redb")]
mod operation;
#[cfg(feature = "redb")]
mod outbox;
#[cfg(feature = "redb")]
mod store;
#[cfg(feature = "redb")]
mod stored_http;
#[cfg(feature = "redb")]
mod table_record;
#[cfg(feature = "tracing")]
#[path = "events/traced.rs"]
mod traced;
#[cfg(all(feature = "redb", not(feature = "tracing")))]
#[path = "events/untraced.rs"]
mod traced;
#[cfg(feature = "redb")]
mod unambiguous_json;
#[cfg(feature = "redb")]
mod versioned;

pub use decision::{
    Checkpoint, Expected, Fence, Fingerprint, FingerprintAlgorithm, FingerprintHasher, Key,
    KeyError, Namespace, OnInterrupted, Policy, PolicyError, Response, ResponseKind, Scope,
    TimeTextError, Timekeeper, Timestamp, Version,
};

/// Time: what is read of clocks, and what the ledger makes of it.
pub mod time {
    #[cfg(feature = "redb")]
    pub use crate::care::clock::{ChangedKey, ClockBack, KeyChange, Unguarded};
    pub use crate::decision::{
        BootId, BootTime, ClockMark, ClockReading, ClockState, LEAP_BELIEVED_AFTER, LEAP_MIN, Leap,
        TimeReading, Timekeeper,
    };
}

#[cfg(feature = "redb")]
pub use self::{
    builder::Builder,
    care::{
        backup::BackupReport,
        check::CheckReport,
        compaction::Compacted,
        progress::Progress,
        record_handle::{RecordHandle, RecordInfo, RecordState, Resolution, Resolved},
        records::{RecordFilter, Records},
        stats::{NamespaceStats, Stats},
        sweeper::Sweeper,
    },
    clock::{Clock, ManualClock, Sleepers, SystemClock},
    dedup::{Dedup, DedupTable, Sighting},
    error::{Cause, Error, Invalid},
    events::{
        advice::{DelaySpan, RetentionAdvice},
        counts::EventCounts,
        drift::PolicyDrift,
    },
    file::{
        settings::{CommitProfile, Verify},
        storage::OpenReport,
    },
    holder::side_file::RunLock,
    ledger::Ledger,
    operation::{
        claim::{Claim, KeepAlive},
        many::{BeginMany, CompleteAllError, KeyStanding},
        refusal::{CompleteError, EndingError, Refusal, ReleaseError},
        replay::Replay,
        request::{Begin, Request},
        run::{Operation, Outcome, ReleaseIf, RunError, Undecodable, Unstored},
        steps::{StepError, Steps},
        ticket::{Ticket, TicketError},
        typed::{
            OldValue, StoredValue, ValueFormat, check_stored_value, decode_stored, encode_stored,
        },
        write_txn::{BeginIn, ClaimIn, Committed, CompleteInError, TicketIn, WriteTxn},
    },
    outbox::{Drain, Drained, Outbox, OutboxRow, OutboxTable},
    store::write_store::Swept,
    versioned::{Current, Put, Removal, Update, Versioned, VersionedTable},
};
#[cfg(feature = "redb")]
pub use redb;
