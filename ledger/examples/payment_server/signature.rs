//! The signature of a webhook: `t=SECONDS,v1=HEX`, as Stripe writes it.
//!
//! HMAC-SHA256 over `SECONDS\nSOURCE/ID\nBODY`. A source has no slash, and an id no line break: so
//! no two events have the same text.

use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use idempotency_ledger::Timestamp;
use sha2::Sha256;

/// How far the sender's clock may be from this one, and how long a delivery may be on its way. An
/// event that was overheard cannot be sent again after the table of events has forgotten it.
const TOLERANCE: Duration = Duration::from_secs(5 * 60);

/// What was signed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Event<'a> {
    pub(crate) source: &'a str,
    pub(crate) id: &'a str,
    pub(crate) body: &'a [u8],
}

impl Event<'_> {
    /// Whether this header was made for the event, with this secret, and not long ago.
    pub(crate) fn is_signed(self, header: &str, secret: &str, now: Timestamp) -> bool {
        let Some((time, told)) = parts(header) else {
            return false;
        };
        let mut mac =
            Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length is a key");
        for part in [time, "\n", self.source, "/", self.id, "\n"] {
            mac.update(part.as_bytes());
        }
        mac.update(self.body);
        // Each compared in constant time.
        let is_right = |told: &Vec<u8>| mac.clone().verify_slice(told).is_ok();
        is_recent(time, now) && told.iter().any(is_right)
    }
}

/// The time as it was written, and the signatures: two while the sender changes its secret.
fn parts(header: &str) -> Option<(&str, Vec<Vec<u8>>)> {
    let mut time = None;
    let mut told = Vec::new();
    for part in header.split(',') {
        match part.split_once('=')? {
            ("t", seconds) if time.is_none() => time = Some(seconds),
            ("t", _) => return None,
            ("v1", hex) => told.push(bytes_of(hex)?),
            // Of another way to sign.
            _ => {}
        }
    }
    Some((time?, told))
}

fn is_recent(seconds: &str, now: Timestamp) -> bool {
    let Ok(seconds) = seconds.parse::<u64>() else {
        return false;
    };
    let apart = now.unix_ms().abs_diff(seconds.saturating_mul(1_000));
    Duration::from_millis(apart) <= TOLERANCE
}

fn bytes_of(hex: &str) -> Option<Vec<u8>> {
    let pairs = (0..hex.len()).step_by(2);
    pairs
        .map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok())
        .collect()
}
