//! What the pure core cannot make by itself: random keys, and fingerprints of JSON.

use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Builder;

use crate::clock::{Clock, SystemClock};
use crate::decision::{Fingerprint, FingerprintAlgorithm, Key};

impl Key {
    /// A new random key that sorts by time: a `UUIDv7` (RFC 9562).
    ///
    /// ```
    /// use idempotency_ledger::Key;
    ///
    /// let key = Key::generate();
    /// assert_ne!(key, Key::generate());
    /// assert!(key.time().is_some());
    /// ```
    ///
    /// # Panics
    ///
    /// When the operating system has no random numbers.
    #[must_use]
    pub fn generate() -> Self {
        let mut random = [0; 10];
        getrandom::fill(&mut random).expect("the operating system has random numbers");
        let unix_ms = SystemClock::new().wall().unix_ms();
        let uuid = Builder::from_unix_timestamp_millis(unix_ms, &random).into_uuid();
        Self::trusted(uuid.to_string())
    }
}

impl Fingerprint {
    /// The fingerprint of a JSON value: SHA-256 over its RFC 8785 form, so that the order of
    /// members and white space do not matter. The order of arrays does.
    ///
    /// ```
    /// use idempotency_ledger::Fingerprint;
    /// use std::collections::BTreeMap;
    ///
    /// let one = BTreeMap::from([("amount", 25), ("order", 17)]);
    /// let other = std::collections::HashMap::from([("order", 17), ("amount", 25)]);
    /// assert_eq!(Fingerprint::json(&one).unwrap(), Fingerprint::json(&other).unwrap());
    /// assert_ne!(Fingerprint::json(&[1, 2]).unwrap(), Fingerprint::json(&[2, 1]).unwrap());
    /// ```
    ///
    /// # Errors
    ///
    /// What keeps the value from being JSON, such as a map whose keys are no strings, or a
    /// number that is not finite.
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, String> {
        let canonical = serde_jcs::to_vec(value).map_err(|error| error.to_string())?;
        let digest = Sha256::digest(&canonical).into();
        Ok(Self::from_stored(FingerprintAlgorithm::Json, digest))
    }
}
