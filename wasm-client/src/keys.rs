//! A key: UUIDv7, so that the server's records lie in the order of time.

use alloc::borrow::ToOwned;
use alloc::string::String;
use idempotency_ledger::Timestamp;
use uuid::Builder;
use wasm_bindgen::JsValue;

/// What a browser without a source of random numbers rejects with.
const NO_RANDOMNESS: &str = "no-randomness";

/// A new key for a moment.
pub(crate) fn new_key(at: Timestamp) -> Result<String, JsValue> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|_| NO_RANDOMNESS)?;
    let uuid = Builder::from_unix_timestamp_millis(at.unix_ms(), &random).into_uuid();
    let mut text = [0; 36];
    Ok(uuid.hyphenated().encode_lower(&mut text).to_owned())
}

/// Milliseconds as JavaScript counts them; what lies before 1970 is 1970.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the cast stops at both ends, and a fraction of a millisecond is of no use"
)]
pub(crate) const fn unix_ms(ms: f64) -> u64 {
    ms as u64
}
