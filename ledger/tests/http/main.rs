//! Idempotency over HTTP as clients meet it: real sockets, compared byte by byte, and a payment
//! server that is killed for real.
//!
//! Nothing here sleeps. Where one side has to be somewhere before the other goes on, a gate holds
//! a handler, or the test looks until it is so.

#![cfg(feature = "axum")]

mod client;
mod disk;
mod draw;
mod shop;

mod axum_routes;
mod bodies;
mod disconnects;
mod extension;
mod keys;
mod leases;
mod limits;
mod refusals;
mod replays;
mod resolved;
mod scopes;
mod services;
mod statuses;
mod storage;
mod streams;
mod transactions;

mod process;

mod accounts;
mod faults;
mod hammer;
mod origins;
mod payments;
mod webhooks;
