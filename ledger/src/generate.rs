//! What the pure core cannot make by itself: random keys, and fingerprints of JSON.

use serde::Serialize;
use sha2::{Digest, Sha256};
use uuid::Builder;

use crate::clock::{Clock, SystemClock};
use crate::decision::{Fingerprint, FingerprintAlgorithm, Key};
use crate::json_exact::{self, ExactFormatter};

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
    /// The fingerprint of a JSON value: SHA-256 over a canonical form, so that the order of members
    /// and white space do not matter. The order of arrays does. Numbers count by their exact value:
    /// 1, 1.0 and 10e-1 are equal, and two amounts above 2^53 are not.
    ///
    /// A `serde_json::Value` has turned fractions and very large numbers into doubles already. One
    /// that may stand for other numbers too is refused: hash the text that came with
    /// [`Fingerprint::json_text`].
    ///
    /// ```
    /// use idempotency_ledger::Fingerprint;
    /// use std::collections::BTreeMap;
    ///
    /// let one = BTreeMap::from([("amount", 25), ("order", 17)]);
    /// let other = std::collections::HashMap::from([("order", 17), ("amount", 25)]);
    /// assert_eq!(Fingerprint::json(&one).unwrap(), Fingerprint::json(&other).unwrap());
    /// assert_ne!(Fingerprint::json(&[1, 2]).unwrap(), Fingerprint::json(&[2, 1]).unwrap());
    /// assert!(Fingerprint::json(&123456789012.12346).is_err(), "it has lost digits");
    /// ```
    ///
    /// # Errors
    ///
    /// What keeps the value from being JSON, such as a map whose keys are no strings, a number
    /// that is not finite, or a member that comes twice; and a double of more than 15 digits, or
    /// from 2^53 on; and integers of 128 bits, which are given as a string or with
    /// [`Fingerprint::json_text`].
    pub fn json<T: Serialize + ?Sized>(value: &T) -> Result<Self, String> {
        // It refuses what is not finite, which becomes `null` elsewhere.
        let _ = serde_jcs::to_vec(value).map_err(|error| error.to_string())?;
        let mut text = Vec::new();
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, ExactFormatter);
        let written = value.serialize(&mut serializer);
        written.map_err(|error| error.to_string())?;
        Self::json_text(&text)
    }

    /// The fingerprint of a JSON text, such as the body of a request: equal to
    /// [`Fingerprint::json`] of what it says, with every number exactly as large as it is written.
    ///
    /// ```
    /// use idempotency_ledger::Fingerprint;
    ///
    /// let text = |text: &str| Fingerprint::json_text(text).unwrap();
    /// assert_eq!(text(r#"{"a":1.0,"b":2}"#), text(r#"{"b":2,"a":1}"#));
    /// assert_eq!(text("[25]"), Fingerprint::json(&[25]).unwrap());
    /// // One double, two amounts.
    /// assert_ne!(text("123456789012.123456"), text("123456789012.123459"));
    /// ```
    ///
    /// # Errors
    ///
    /// For what is no JSON, holds a member twice, or a power of ten beyond 64 bits.
    pub fn json_text(text: impl AsRef<[u8]>) -> Result<Self, String> {
        let canonical = json_exact::canonical(text.as_ref()).ok_or(
            "it is no JSON text with each member once and with numbers that can be compared",
        )?;
        let digest = Sha256::digest(&canonical).into();
        Ok(Self::from_stored(FingerprintAlgorithm::JsonExact, digest))
    }

    /// The fingerprint that [`Fingerprint::json`] made at first: SHA-256 over the RFC 8785 form, in
    /// which numbers are doubles and two large amounts may be one. For
    /// [`Request::also_accept`](crate::Request::also_accept), as long as records made with it last.
    ///
    /// ```
    /// use idempotency_ledger::{Fingerprint, FingerprintAlgorithm};
    ///
    /// let earlier = Fingerprint::json_in_doubles(&25).unwrap();
    /// assert_eq!(earlier.algorithm(), FingerprintAlgorithm::Json);
    /// assert_ne!(earlier, Fingerprint::json(&25).unwrap());
    /// ```
    ///
    /// # Errors
    ///
    /// What keeps the value from being JSON.
    pub fn json_in_doubles<T: Serialize + ?Sized>(value: &T) -> Result<Self, String> {
        let canonical = serde_jcs::to_vec(value).map_err(|error| error.to_string())?;
        let digest = Sha256::digest(&canonical).into();
        Ok(Self::from_stored(FingerprintAlgorithm::Json, digest))
    }
}
