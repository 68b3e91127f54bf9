//! Tests of the ledger on native platforms.

#![allow(
    clippy::unchecked_time_subtraction,
    reason = "in a test a span below zero is a panic, and so a verdict"
)]

mod attached;
mod batches;
mod child;
mod claims;
mod counters;
mod damage;
mod errors;
mod events;
mod faults;
mod flipped_bits;
#[cfg(unix)]
mod forks;
mod groups;
mod inspection;
mod intents;
mod keys_and_scopes;
mod kill;
mod leaps;
#[cfg(unix)]
mod leftovers;
mod limits;
mod model;
#[cfg(unix)]
mod names;
mod outbox;
mod processes;
mod record_bytes;
mod recovery;
mod running;
mod self_describing;
mod sightings;
mod steps;
mod sweeping;
mod tickets;
mod time;
mod torn_pages;
mod transactions;
mod twins;
mod values;
mod vectors;
mod versions;
mod waiting;
