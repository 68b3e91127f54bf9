//! Tests of the ledger on native platforms.

mod batches;
mod claims;
mod faults;
mod intents;
mod keys_and_scopes;
mod record_bytes;
mod recovery;
mod running;
mod sweeping;
mod vectors;
mod waiting;
