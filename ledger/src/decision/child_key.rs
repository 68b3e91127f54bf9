//! Deterministic keys for the downstream calls of an operation.

use alloc::string::String;
use core::fmt::Write;

use sha2::{Digest, Sha256};

use super::{Fingerprint, Key, Namespace, Scope};

/// The key for a downstream call (to Stripe, say), from everything that identifies the operation
/// and a label for the call.
///
/// It does not depend on the fence: whoever takes the operation over sends the same key, and the
/// other side deduplicates. The form is a `UUIDv8` (RFC 9562), which every API takes.
#[must_use]
pub fn child_key(
    namespace: &Namespace,
    scope: &Scope,
    key: &Key,
    fingerprint: &Fingerprint,
    label: &str,
) -> Key {
    let algorithm = [fingerprint.algorithm().code()];
    let parts: [&[u8]; 7] = [
        b"idempotency-ledger/child-key/1",
        namespace.name().as_bytes(),
        scope.as_bytes(),
        key.as_str().as_bytes(),
        &algorithm,
        fingerprint.digest(),
        label.as_bytes(),
    ];
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digest: [u8; 32] = hasher.finalize().into();
    Key::trusted(uuid_v8_text(&digest))
}

fn uuid_v8_text(digest: &[u8; 32]) -> String {
    let mut text = String::with_capacity(36);
    for (at, &byte) in digest[..16].iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        let byte = match at {
            6 => byte & 0x0f | 0x80,
            8 => byte & 0x3f | 0x80,
            _ => byte,
        };
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}
