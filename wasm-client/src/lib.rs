//! Idempotency keys in the browser: a key is born, is persisted, and only then is anything sent.
//!
//! This crate is the part of `@idempotency-ledger/client` that must not differ from the ledger:
//! the decision, the fingerprint, the keys, and the store that holds an intent over reloads and
//! crashes. The hand-written modules in `js/` hold locks, wait, retry and talk to the page; they
//! decide nothing about a stored intent.

#![cfg_attr(all(feature = "bare", target_arch = "wasm32"), no_std)]

extern crate alloc;

#[cfg(all(feature = "bare", target_arch = "wasm32"))]
mod bare;
pub mod bindings;
mod fingerprint;
mod keys;
mod record;
mod sensitive;
mod store;
mod transition;
