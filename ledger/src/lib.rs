#![cfg_attr(not(feature = "redb"), no_std)]
//! Idempotency keys in an embedded database.

extern crate alloc;

pub mod decision;

// A request's way: what is asked, how it begins, how it runs, how it ends.
#[cfg(feature = "redb")]
mod asked;
#[cfg(feature = "redb")]
mod beginning;
#[cfg(feature = "redb")]
mod claim;
#[cfg(feature = "redb")]
mod ending;
#[cfg(feature = "redb")]
mod generate;
#[cfg(feature = "redb")]
mod ledger;
#[cfg(feature = "redb")]
mod replay;
#[cfg(feature = "redb")]
mod request;
#[cfg(feature = "redb")]
mod run;
#[cfg(feature = "redb")]
mod ticket;
#[cfg(feature = "redb")]
mod transact;
#[cfg(feature = "redb")]
mod typed;
#[cfg(feature = "redb")]
mod write_txn;

// What all handles share, and how it is opened.
#[cfg(feature = "redb")]
mod builder;
#[cfg(feature = "redb")]
mod clock;
#[cfg(feature = "redb")]
mod engine;
#[cfg(feature = "redb")]
mod live_claims;
#[cfg(feature = "redb")]
mod opening;
#[cfg(feature = "redb")]
mod side_file;

// From jobs to bytes.
#[cfg(feature = "redb")]
mod codec;
#[cfg(feature = "redb")]
mod group_commit;
#[cfg(feature = "redb")]
mod held_backend;
#[cfg(feature = "redb")]
mod open_files;
#[cfg(feature = "redb")]
mod platform;
#[cfg(feature = "redb")]
mod publish;
#[cfg(feature = "redb")]
mod snapshot;
#[cfg(feature = "redb")]
mod tables;
#[cfg(feature = "redb")]
mod write_store;
#[cfg(feature = "redb")]
mod writer;

// Looking, mending, cleaning.
#[cfg(feature = "redb")]
mod backup;
#[cfg(feature = "redb")]
mod check;
#[cfg(feature = "redb")]
mod compaction;
#[cfg(feature = "redb")]
mod error;
#[cfg(feature = "redb")]
mod record_handle;
#[cfg(feature = "redb")]
mod records;
#[cfg(feature = "redb")]
mod stats;
#[cfg(feature = "redb")]
mod sweeper;

pub use decision::{
    Checkpoint, Fence, Fingerprint, FingerprintAlgorithm, FingerprintHasher, Key, KeyError,
    Namespace, OnInterrupted, Policy, PolicyError, Response, ResponseKind, Scope, Timekeeper,
    Timestamp,
};

#[cfg(feature = "redb")]
pub use self::{
    backup::BackupReport,
    builder::{Builder, CommitProfile, Verify},
    check::CheckReport,
    claim::{Claim, KeepAlive},
    clock::{Clock, ManualClock, Sleepers, SystemClock},
    compaction::Compacted,
    ending::{CompleteError, EndingError, Refusal, ReleaseError},
    error::{Cause, Error, Invalid},
    ledger::Ledger,
    opening::OpenReport,
    record_handle::{RecordHandle, RecordInfo, RecordState, Resolution, Resolved},
    records::{RecordFilter, Records},
    replay::Replay,
    request::{Begin, Request},
    run::{Operation, Outcome, ReleaseIf, RunError, Undecodable, Unstored},
    side_file::RunLock,
    stats::{NamespaceStats, Stats},
    sweeper::Sweeper,
    ticket::{Ticket, TicketError},
    typed::{StoredValue, check_stored_value, decode_stored, encode_stored},
    write_store::Swept,
    write_txn::{BeginIn, ClaimIn, Committed, TicketIn, WriteTxn},
};
#[cfg(feature = "redb")]
pub use redb;
