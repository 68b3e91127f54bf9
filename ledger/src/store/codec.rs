//! The bytes of stored values: bincode behind a version byte, with a checksum.
//!
//! This is the only module that knows bincode. Its development has ended (RUSTSEC-2025-0141), so
//! it is pinned, the bytes are held fast by golden tests, and a test reads them with a
//! maintained codec that could take its place.
//!
//! ```text
//! value   = version (1 byte) ++ bincode (standard configuration) ++ checksum (8 bytes)
//! checksum = XXH3-64, little-endian, over key length (8 bytes, little-endian) ++ key ++ version
//!            ++ bincode
//! ```
//!
//! The key is part of the sum, so a value that damage moved to another key is damage too.

use std::time::Duration;

use bincode::config;
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use bincode::{Decode, Encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::Xxh3Default;

use crate::decision::{
    Checkpoint, Claimed, Completed, Fence, Fingerprint, FingerprintAlgorithm, Policy, PolicyStamp,
    Record, Response, ResponseKind, State, Timestamp,
};

const VERSION: u8 = 1;
const CHECKSUM_BYTES: usize = 8;
/// The largest typed value that is decoded: a bound on what damaged lengths can ask for.
const TYPED_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Why stored bytes were not understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unreadable {
    /// The checksum, or what it covers, is wrong.
    Damaged,
    /// A version that this program does not know wrote it.
    NewerVersion(u8),
}

/// Seals `value` for `key`.
fn seal<T: Encode>(key: &[u8], value: &T) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    bincode::encode_into_writer(value, AppendTo(&mut bytes), config::standard())
        .expect("appending to memory cannot fail");
    let sum = checksum(key, &bytes);
    bytes.extend_from_slice(&sum.to_le_bytes());
    bytes
}

/// Lets bincode append behind the version byte.
struct AppendTo<'b>(&'b mut Vec<u8>);

impl Writer for AppendTo<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), EncodeError> {
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}

fn unseal<T: Decode<()>>(key: &[u8], sealed: &[u8]) -> Result<T, Unreadable> {
    let (body, sum) = sealed
        .split_last_chunk::<CHECKSUM_BYTES>()
        .ok_or(Unreadable::Damaged)?;
    if checksum(key, body) != u64::from_le_bytes(*sum) {
        return Err(Unreadable::Damaged);
    }
    let (&version, bytes) = body.split_first().ok_or(Unreadable::Damaged)?;
    if version != VERSION {
        return Err(Unreadable::NewerVersion(version));
    }
    match bincode::decode_from_slice(bytes, config::standard()) {
        Ok((value, read)) if read == bytes.len() => Ok(value),
        Ok(_) | Err(_) => Err(Unreadable::Damaged),
    }
}

fn checksum(key: &[u8], body: &[u8]) -> u64 {
    let mut hasher = Xxh3Default::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(body);
    hasher.digest()
}

#[derive(Encode, Decode)]
struct StoredRecord {
    fingerprint_algorithm: u8,
    fingerprint: [u8; 32],
    fence: u64,
    attempts: u32,
    first_claimed_at_ms: u64,
    claimed_at_ms: u64,
    policy_version: u32,
    lease_ms: u64,
    retention_ms: u64,
    forget_after_ms: Option<u64>,
    holder: u64,
    program: String,
    state: StoredState,
}

#[derive(Encode, Decode)]
enum StoredState {
    Claimed {
        lease_until_ms: u64,
        checkpoint: Option<StoredCheckpoint>,
    },
    Completed {
        completed_at_ms: u64,
        expires_at_ms: u64,
        kind: StoredKind,
        bytes: Vec<u8>,
    },
}

#[derive(Encode, Decode)]
struct StoredCheckpoint {
    name: String,
    bytes: Vec<u8>,
}

#[derive(Encode, Decode)]
enum StoredKind {
    Raw,
    Typed(String),
    Http,
    Command,
}

/// The stored bytes of a record under its key.
pub(crate) fn encode_record(key: &[u8], record: &Record) -> Vec<u8> {
    let state = match &record.state {
        State::Claimed(claimed) => StoredState::Claimed {
            lease_until_ms: claimed.lease_until.unix_ms(),
            checkpoint: claimed
                .checkpoint
                .as_ref()
                .map(|checkpoint| StoredCheckpoint {
                    name: checkpoint.name.clone(),
                    bytes: checkpoint.bytes.clone(),
                }),
        },
        State::Completed(completed) => StoredState::Completed {
            completed_at_ms: completed.completed_at.unix_ms(),
            expires_at_ms: completed.expires_at.unix_ms(),
            kind: match completed.response.kind() {
                ResponseKind::Raw => StoredKind::Raw,
                ResponseKind::Typed { schema } => StoredKind::Typed(schema.to_string()),
                ResponseKind::Http => StoredKind::Http,
                ResponseKind::Command => StoredKind::Command,
            },
            bytes: completed.response.bytes().to_vec(),
        },
    };
    let stored = StoredRecord {
        fingerprint_algorithm: record.fingerprint.algorithm().code(),
        fingerprint: *record.fingerprint.digest(),
        fence: record.fence.get(),
        attempts: record.attempts,
        first_claimed_at_ms: record.first_claimed_at.unix_ms(),
        claimed_at_ms: record.claimed_at.unix_ms(),
        policy_version: record.policy.version,
        lease_ms: span_ms(record.policy.lease),
        retention_ms: span_ms(record.policy.retention),
        forget_after_ms: record.policy.forget_after.map(span_ms),
        holder: record.holder,
        program: record.program.clone(),
        state,
    };
    seal(key, &stored)
}

/// The record behind stored bytes.
pub(crate) fn decode_record(key: &[u8], sealed: &[u8]) -> Result<Record, Unreadable> {
    let stored: StoredRecord = unseal(key, sealed)?;
    let algorithm = FingerprintAlgorithm::from_code(stored.fingerprint_algorithm)
        .ok_or(Unreadable::NewerVersion(VERSION))?;
    let state = match stored.state {
        StoredState::Claimed {
            lease_until_ms,
            checkpoint,
        } => State::Claimed(Claimed {
            lease_until: Timestamp::from_unix_ms(lease_until_ms),
            checkpoint: checkpoint.map(|checkpoint| Checkpoint {
                name: checkpoint.name,
                bytes: checkpoint.bytes,
            }),
        }),
        StoredState::Completed {
            completed_at_ms,
            expires_at_ms,
            kind,
            bytes,
        } => State::Completed(Completed {
            completed_at: Timestamp::from_unix_ms(completed_at_ms),
            expires_at: Timestamp::from_unix_ms(expires_at_ms),
            response: Response::of_kind(
                match kind {
                    StoredKind::Raw => ResponseKind::Raw,
                    StoredKind::Typed(schema) => ResponseKind::Typed {
                        schema: schema.into_boxed_str(),
                    },
                    StoredKind::Http => ResponseKind::Http,
                    StoredKind::Command => ResponseKind::Command,
                },
                bytes,
            ),
        }),
    };
    Ok(Record {
        fingerprint: Fingerprint::from_stored(algorithm, stored.fingerprint),
        fence: Fence::from_stored(stored.fence),
        attempts: stored.attempts,
        first_claimed_at: Timestamp::from_unix_ms(stored.first_claimed_at_ms),
        claimed_at: Timestamp::from_unix_ms(stored.claimed_at_ms),
        policy: PolicyStamp {
            version: stored.policy_version,
            lease: Duration::from_millis(stored.lease_ms),
            retention: Duration::from_millis(stored.retention_ms),
            forget_after: stored.forget_after_ms.map(Duration::from_millis),
        },
        holder: stored.holder,
        program: stored.program,
        state,
    })
}

/// The last row of a namespace: its counters, and what the file must never forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Tail {
    /// Stored records, expired ones that were not swept included.
    pub(crate) records: u64,
    /// Of these, claims: running or interrupted.
    pub(crate) claimed: u64,
    /// Bytes of their keys and values.
    pub(crate) bytes: u64,
    /// The highest fence given out in this namespace.
    pub(crate) fence: u64,
    /// The newest time at which the namespace was written.
    pub(crate) mark_ms: u64,
    /// The newest time inside a key that was ever removed by sweeping; 0 for none.
    pub(crate) newest_removed_ms: u64,
}

pub(crate) fn encode_tail(key: &[u8], tail: &Tail) -> Vec<u8> {
    seal(key, tail)
}

pub(crate) fn decode_tail(key: &[u8], sealed: &[u8]) -> Result<Tail, Unreadable> {
    unseal(key, sealed)
}

/// What fence and time may never fall below, for a file whose tails do not say so yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode)]
pub(crate) struct Floor {
    pub(crate) fence: u64,
    pub(crate) mark_ms: u64,
}

pub(crate) fn encode_floor(key: &[u8], floor: &Floor) -> Vec<u8> {
    seal(key, floor)
}

pub(crate) fn decode_floor(key: &[u8], sealed: &[u8]) -> Result<Floor, Unreadable> {
    unseal(key, sealed)
}

/// A namespace as the file knows it.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(crate) struct NamespaceRow {
    pub(crate) id: u16,
    /// Counted from 1, raised whenever a record is claimed under another policy.
    pub(crate) policy_version: u32,
    policy: StoredPolicy,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
struct StoredPolicy {
    lease_ms: u64,
    retention_ms: u64,
    retry_hint_ms: u64,
    response_bytes_max: u64,
    rerun_interrupted: bool,
    records_max: Option<u64>,
    bytes_max: Option<u64>,
    refuse_stale_keys: bool,
    forget_interrupted_after_ms: Option<u64>,
}

impl NamespaceRow {
    pub(crate) fn new(id: u16, policy_version: u32, policy: &Policy) -> Self {
        Self {
            id,
            policy_version,
            policy: StoredPolicy::of(policy),
        }
    }

    /// Whether the row was written under the same rules.
    pub(crate) fn has_policy(&self, policy: &Policy) -> bool {
        self.policy == StoredPolicy::of(policy)
    }
}

impl StoredPolicy {
    fn of(policy: &Policy) -> Self {
        Self {
            lease_ms: span_ms(policy.lease_span()),
            retention_ms: span_ms(policy.retention_span()),
            retry_hint_ms: span_ms(policy.retry_hint_span()),
            response_bytes_max: policy.response_limit(),
            rerun_interrupted: matches!(
                policy.interrupted_rule(),
                crate::decision::OnInterrupted::Rerun
            ),
            records_max: policy.record_quota(),
            bytes_max: policy.byte_quota(),
            refuse_stale_keys: policy.refuses_stale_keys(),
            forget_interrupted_after_ms: policy.interrupted_retention().map(span_ms),
        }
    }
}

pub(crate) fn encode_namespace(name: &[u8], row: &NamespaceRow) -> Vec<u8> {
    seal(name, row)
}

pub(crate) fn decode_namespace(name: &[u8], sealed: &[u8]) -> Result<NamespaceRow, Unreadable> {
    unseal(name, sealed)
}

/// Milliseconds of a span, rounded up, so that what was above zero stays above zero.
fn span_ms(span: Duration) -> u64 {
    let rounded_up = span.as_nanos().div_ceil(1_000_000);
    u64::try_from(rounded_up).unwrap_or(u64::MAX)
}

/// The bytes of a typed value.
pub(crate) fn encode_typed<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    bincode::serde::encode_to_vec(value, config::standard()).map_err(|error| error.to_string())
}

/// The value behind typed bytes; all of them must belong to it.
pub(crate) fn decode_typed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let limited = config::standard().with_limit::<TYPED_BYTES_MAX>();
    match bincode::serde::decode_from_slice(bytes, limited) {
        Ok((value, read)) if read == bytes.len() => Ok(value),
        Ok((_, read)) => Err(format!("{} bytes are left over", bytes.len() - read)),
        Err(error) => Err(error.to_string()),
    }
}
