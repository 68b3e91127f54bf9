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

mod namespaces;
mod tails;

use std::time::Duration;

use bincode::config;
use bincode::enc::write::Writer;
use bincode::error::EncodeError;
use bincode::{Decode, Encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::Xxh3Default;

use crate::decision::{
    Checkpoint, ClaimLock, Claimed, Completed, Fence, Fingerprint, FingerprintAlgorithm,
    PolicyStamp, Record, Response, ResponseKind, State, Timestamp,
};
use crate::events::Noted;
use crate::events::counts::EventCounts;
use crate::events::delays::Delays;

pub(crate) use namespaces::{NamespaceRow, decode_namespace, encode_namespace};
pub(crate) use tails::{Floor, Tail, decode_floor, decode_tail, encode_floor, encode_tail};

const VERSION: u8 = 1;
/// A record that says which lock its holder took: version 1 ++ the lock.
const VERSION_WITH_LOCK: u8 = 2;
/// A record whose answer is a value in JSON: version 1 with one more kind of answer.
const VERSION_WITH_JSON: u8 = 3;
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

/// A record with a short response fits; bincode writes it byte by byte, and growing costs more than
/// the writing.
const USUAL_BYTES: usize = 512;

/// Seals `value` for `key`.
fn seal<T: Encode>(key: &[u8], value: &T) -> Vec<u8> {
    seal_as(VERSION, key, value)
}

fn seal_as<T: Encode>(version: u8, key: &[u8], value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL_BYTES);
    bytes.push(version);
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
    match open_seal(key, sealed)? {
        (VERSION, body) => decode_body(body),
        (version, _) => Err(Unreadable::NewerVersion(version)),
    }
}

/// The version and the body of a value that is whole.
fn open_seal<'s>(key: &[u8], sealed: &'s [u8]) -> Result<(u8, &'s [u8]), Unreadable> {
    let (body, sum) = sealed
        .split_last_chunk::<CHECKSUM_BYTES>()
        .ok_or(Unreadable::Damaged)?;
    if checksum(key, body) != u64::from_le_bytes(*sum) {
        return Err(Unreadable::Damaged);
    }
    let (&version, bytes) = body.split_first().ok_or(Unreadable::Damaged)?;
    Ok((version, bytes))
}

/// The value that all of the bytes make up.
fn decode_body<T: Decode<()>>(body: &[u8]) -> Result<T, Unreadable> {
    // A length is believed, and room made for it, before that many bytes are read: a record that
    // claims more than it has must not end the process. The checksum does not help against bytes
    // that were made on purpose.
    let decoded = if body.len() <= SHORT_BYTES {
        bincode::decode_from_slice(body, config::standard().with_limit::<SHORT_ROOM>())
    } else {
        bincode::decode_from_slice(body, config::standard().with_limit::<LONG_ROOM>())
    };
    match decoded {
        Ok((value, read)) if read == body.len() => Ok(value),
        Ok(_) | Err(_) => Err(Unreadable::Damaged),
    }
}

/// What a stored value of at most so many bytes may take in memory: eight for each at most, since a
/// number may be stored in one.
const SHORT_BYTES: usize = 2 * 1024 * 1024;
const SHORT_ROOM: usize = 8 * SHORT_BYTES;
/// What a longer one may take. redb stores no value that is larger.
const LONG_ROOM: usize = u32::MAX as usize;

fn checksum(key: &[u8], body: &[u8]) -> u64 {
    let mut hasher = Xxh3Default::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(body);
    hasher.digest()
}

#[derive(Encode, Decode)]
#[cfg_attr(test, derive(Serialize, serde::Deserialize))]
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
#[cfg_attr(test, derive(Serialize, serde::Deserialize))]
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
#[cfg_attr(test, derive(Serialize, serde::Deserialize))]
struct StoredCheckpoint {
    name: String,
    bytes: Vec<u8>,
}

#[derive(Encode, Decode)]
#[cfg_attr(test, derive(Serialize, serde::Deserialize))]
enum StoredKind {
    Raw,
    Typed(String),
    Http,
    Command,
    /// In records of version 3 alone.
    Json(String),
}

#[derive(Encode, Decode)]
#[cfg_attr(test, derive(Serialize, serde::Deserialize))]
enum StoredLock {
    File,
    SideFile(u64),
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
                ResponseKind::Json { schema } => StoredKind::Json(schema.to_string()),
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
    let lock = match record.lock() {
        ClaimLock::None if holds_json(&stored.state) => {
            return seal_as(VERSION_WITH_JSON, key, &stored);
        }
        ClaimLock::None => return seal(key, &stored),
        ClaimLock::File => StoredLock::File,
        ClaimLock::SideFile(number) => StoredLock::SideFile(number),
    };
    seal_as(VERSION_WITH_LOCK, key, &(stored, lock))
}

/// Whether a program that knows version 1 alone would take the record for damage.
const fn holds_json(state: &StoredState) -> bool {
    match state {
        StoredState::Completed { kind, .. } => matches!(kind, StoredKind::Json(_)),
        StoredState::Claimed { .. } => false,
    }
}

/// The record behind stored bytes.
pub(crate) fn decode_record(key: &[u8], sealed: &[u8]) -> Result<Record, Unreadable> {
    let (stored, lock): (StoredRecord, _) = match open_seal(key, sealed)? {
        (VERSION | VERSION_WITH_JSON, body) => (decode_body(body)?, ClaimLock::None),
        (VERSION_WITH_LOCK, body) => match decode_body(body)? {
            (stored, StoredLock::File) => (stored, ClaimLock::File),
            (stored, StoredLock::SideFile(number)) => (stored, ClaimLock::SideFile(number)),
        },
        (version, _) => return Err(Unreadable::NewerVersion(version)),
    };
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
            lock,
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
                    StoredKind::Json(schema) => ResponseKind::Json {
                        schema: schema.into_boxed_str(),
                    },
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

/// What the callers of a namespace met.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode)]
#[cfg_attr(test, derive(Serialize, serde::Deserialize))]
struct StoredEvents {
    replays: u64,
    in_progress: u64,
    mismatches: u64,
    stale: u64,
    quota: u64,
    interruptions: u64,
    late: u64,
    swept: u64,
    delay_ms_max: u64,
    /// The lowest delay of a bucket in milliseconds, and how many duplicates are in it.
    delays: Vec<(u64, u64)>,
}

pub(crate) fn encode_noted(key: &[u8], noted: &Noted) -> Vec<u8> {
    let counts = noted.counts;
    let stored = StoredEvents {
        replays: counts.replays,
        in_progress: counts.in_progress,
        mismatches: counts.mismatches,
        stale: counts.stale,
        quota: counts.quota,
        interruptions: counts.interruptions,
        late: counts.late,
        swept: counts.swept,
        delay_ms_max: span_ms(noted.delays.max()),
        delays: noted.delays.buckets(),
    };
    seal(key, &stored)
}

pub(crate) fn decode_noted(key: &[u8], sealed: &[u8]) -> Result<Noted, Unreadable> {
    let stored: StoredEvents = unseal(key, sealed)?;
    Ok(Noted {
        counts: EventCounts {
            replays: stored.replays,
            in_progress: stored.in_progress,
            mismatches: stored.mismatches,
            stale: stored.stale,
            quota: stored.quota,
            interruptions: stored.interruptions,
            late: stored.late,
            swept: stored.swept,
        },
        delays: Delays::of_stored(&stored.delays, stored.delay_ms_max),
    })
}

/// Milliseconds of a span, rounded up, so that what was above zero stays above zero.
fn span_ms(span: Duration) -> u64 {
    let rounded_up = span.as_nanos().div_ceil(1_000_000);
    u64::try_from(rounded_up).unwrap_or(u64::MAX)
}

/// The bytes of a value in bincode.
pub(crate) fn encode_typed<T: Serialize>(value: &T) -> Result<Vec<u8>, String> {
    bincode::serde::encode_to_vec(value, config::standard()).map_err(|error| error.to_string())
}

/// The value behind bytes in bincode; all of them must belong to it.
pub(crate) fn decode_typed<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    let limited = config::standard().with_limit::<TYPED_BYTES_MAX>();
    match bincode::serde::decode_from_slice(bytes, limited) {
        Ok((value, read)) if read == bytes.len() => Ok(value),
        Ok((_, read)) => Err(format!("{} bytes are left over", bytes.len() - read)),
        Err(error) => Err(error.to_string()),
    }
}

/// The vectors lie in the repository, beside those of the decision core, where implementers look
/// for all of them; so these tests need a checkout. They are read at run time: the published
/// package, which ends at its folder, still compiles its tests.
#[cfg(test)]
mod tests {
    use std::path::Path;

    use serde_json::{Value, json};

    use super::tails::{StoredClock, StoredFloor, StoredTail};
    use super::*;
    use crate::decision::ClockMark;

    fn vectors() -> Value {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/records.json");
        let text = std::fs::read_to_string(&path).unwrap_or_else(|error| {
            panic!(
                "{}: {error}; this test runs in a checkout of the repository",
                path.display()
            )
        });
        serde_json::from_str(&text).expect("the vectors are JSON")
    }

    /// The rows of one kind; `count` is how many there have to be.
    fn rows(kind: &str, count: usize) -> Vec<Value> {
        let rows = vectors()[kind].as_array().expect("rows").clone();
        assert_eq!(rows.len(), count, "{kind}");
        rows
    }

    fn hex(bytes: &[u8]) -> String {
        use std::fmt::Write;
        bytes.iter().fold(String::new(), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to memory cannot fail");
            text
        })
    }

    fn bytes(row: &Value, field: &str) -> Vec<u8> {
        let text = row[field].as_str().expect("hex");
        let pairs = (0..text.len()).step_by(2);
        pairs
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
            .collect()
    }

    fn number(number: u64) -> Value {
        Value::String(number.to_string())
    }

    fn optional(span_or_limit: Option<u64>) -> Value {
        span_or_limit.map_or(Value::Null, number)
    }

    /// A record as the vectors write it.
    fn record_in_words(record: &Record) -> Value {
        let algorithm = match record.fingerprint.algorithm() {
            FingerprintAlgorithm::None => "none",
            FingerprintAlgorithm::Parts => "parts",
            FingerprintAlgorithm::Json => "json",
            FingerprintAlgorithm::JsonExact => "json-exact",
            FingerprintAlgorithm::Http => "http",
        };
        let state = match &record.state {
            State::Claimed(claimed) => {
                let mut words = json!({
                    "lease_until_ms": number(claimed.lease_until.unix_ms()),
                    "checkpoint": claimed.checkpoint.as_ref().map(|checkpoint| {
                        json!({"name": checkpoint.name, "bytes_hex": hex(&checkpoint.bytes)})
                    }),
                });
                match claimed.lock {
                    ClaimLock::None => {}
                    ClaimLock::File => words["lock"] = json!("file"),
                    ClaimLock::SideFile(id) => words["lock"] = json!({"side-file": number(id)}),
                }
                json!({"claimed": words})
            }
            State::Completed(completed) => json!({"completed": {
                "completed_at_ms": number(completed.completed_at.unix_ms()),
                "expires_at_ms": number(completed.expires_at.unix_ms()),
                "kind": match completed.response.kind() {
                    ResponseKind::Raw => json!("raw"),
                    ResponseKind::Typed { schema } => json!({"typed": {"schema": schema}}),
                    ResponseKind::Http => json!("http"),
                    ResponseKind::Command => json!("command"),
                    ResponseKind::Json { schema } => json!({"json": {"schema": schema}}),
                },
                "bytes_hex": hex(completed.response.bytes()),
            }}),
        };
        json!({
            "fingerprint": {"algorithm": algorithm, "digest_hex": hex(record.fingerprint.digest())},
            "fence": number(record.fence.get()),
            "attempts": record.attempts,
            "first_claimed_at_ms": number(record.first_claimed_at.unix_ms()),
            "claimed_at_ms": number(record.claimed_at.unix_ms()),
            "policy": {
                "version": record.policy.version,
                "lease_ms": number(span_ms(record.policy.lease)),
                "retention_ms": number(span_ms(record.policy.retention)),
                "forget_after_ms": optional(record.policy.forget_after.map(span_ms)),
            },
            "holder": number(record.holder),
            "program": record.program,
            "state": state,
        })
    }

    /// Whether the codec that could take bincode's place agrees on the body of a sealed value.
    fn assert_maintained_codec_agrees<T>(sealed: &[u8])
    where
        T: Encode + Decode<()> + Serialize + DeserializeOwned,
    {
        let body = &sealed[1..sealed.len() - CHECKSUM_BYTES];
        let standard = bincode_next::config::standard();
        let (read, used): (T, usize) =
            bincode_next::serde::decode_from_slice(body, standard).expect("it reads the bytes");
        assert_eq!(used, body.len());
        // The same values: bincode makes the same bytes of what the other has read.
        let ours = bincode::encode_to_vec(&read, config::standard()).expect("encodes");
        assert_eq!(hex(&ours), hex(body));
        let theirs = bincode_next::serde::encode_to_vec(&read, standard).expect("encodes");
        assert_eq!(hex(&theirs), hex(body));
    }

    #[test]
    fn records_keep_their_bytes() {
        for row in rows("records", 15) {
            let (key, sealed) = (bytes(&row, "key_hex"), bytes(&row, "value_hex"));
            let record = decode_record(&key, &sealed).expect("it decodes");
            assert_eq!(record_in_words(&record), row["record"], "{}", row["name"]);
            assert_eq!(
                hex(&encode_record(&key, &record)),
                hex(&sealed),
                "{}",
                row["name"]
            );
            assert_maintained_codec_agrees::<StoredRecord>(&sealed);
        }
    }

    #[test]
    fn records_that_say_which_lock_their_holder_took_keep_their_bytes() {
        for row in rows("locked", 2) {
            let (key, sealed) = (bytes(&row, "key_hex"), bytes(&row, "value_hex"));
            let record = decode_record(&key, &sealed).expect("it decodes");
            assert_eq!(record_in_words(&record), row["record"], "{}", row["name"]);
            assert_eq!(hex(&encode_record(&key, &record)), hex(&sealed));
            assert_maintained_codec_agrees::<(StoredRecord, StoredLock)>(&sealed);
        }
    }

    #[test]
    fn records_that_hold_json_keep_their_bytes_under_a_version_of_their_own() {
        for row in rows("records_with_json", 2) {
            let (key, sealed) = (bytes(&row, "key_hex"), bytes(&row, "value_hex"));
            assert_eq!(sealed[0], VERSION_WITH_JSON);
            let record = decode_record(&key, &sealed).expect("it decodes");
            assert_eq!(record_in_words(&record), row["record"], "{}", row["name"]);
            assert_eq!(hex(&encode_record(&key, &record)), hex(&sealed));
            assert_maintained_codec_agrees::<StoredRecord>(&sealed);
        }
    }

    #[test]
    fn tails_and_floors_keep_their_bytes() {
        for row in rows("tails", 7) {
            let (key, sealed) = (bytes(&row, "key_hex"), bytes(&row, "value_hex"));
            let tail = decode_tail(&key, &sealed).expect("it decodes");
            for (field, found) in [
                ("records", tail.records),
                ("claimed", tail.claimed),
                ("bytes", tail.bytes),
                ("fence", tail.fence),
                ("mark_ms", tail.mark.now.unix_ms()),
                ("newest_removed_ms", tail.newest_removed_ms),
            ] {
                assert_eq!(row[field], number(found), "{}: {field}", row["name"]);
            }
            assert_eq!(encode_tail(&key, &tail), sealed);
            match clock_of(&tail.mark) {
                None => assert_maintained_codec_agrees::<StoredTail>(&sealed),
                Some(clock) => {
                    assert_eq!(row["clock"], clock, "{}", row["name"]);
                    assert_maintained_codec_agrees::<(StoredTail, StoredClock)>(&sealed);
                }
            }
        }
        for row in rows("floors", 4) {
            let (key, sealed) = (bytes(&row, "key_hex"), bytes(&row, "value_hex"));
            let floor = decode_floor(&key, &sealed).expect("it decodes");
            assert_eq!(row["fence"], number(floor.fence));
            assert_eq!(row["mark_ms"], number(floor.mark.now.unix_ms()));
            assert_eq!(encode_floor(&key, &floor), sealed);
            match clock_of(&floor.mark) {
                None => assert_maintained_codec_agrees::<StoredFloor>(&sealed),
                Some(clock) => {
                    assert_eq!(row["clock"], clock, "{}", row["name"]);
                    assert_maintained_codec_agrees::<(StoredFloor, StoredClock)>(&sealed);
                }
            }
        }
    }

    /// What a mark says beside its time, as the vectors write it.
    fn clock_of(mark: &ClockMark) -> Option<Value> {
        StoredClock::of(mark).map(|clock| {
            json!({
                "rewinds": clock.rewinds,
                "boot": clock.boot.map(|at| json!({
                    "id_hex": hex(&at.id),
                    "since_start_ms": number(at.since_start_ms),
                })),
                "leap": clock.leap.map(|leap| json!({
                    "since_ms": number(leap.since_ms),
                    "wall_ms": number(leap.wall_ms),
                    "unmeasured": leap.unmeasured,
                })),
            })
        })
    }

    #[test]
    fn counts_of_events_keep_their_bytes() {
        for row in rows("events", 2) {
            let (key, sealed) = (bytes(&row, "key_hex"), bytes(&row, "value_hex"));
            let noted = decode_noted(&key, &sealed).expect("it decodes");
            let counts = noted.counts;
            for (field, found) in [
                ("replays", counts.replays),
                ("in_progress", counts.in_progress),
                ("mismatches", counts.mismatches),
                ("stale", counts.stale),
                ("quota", counts.quota),
                ("interruptions", counts.interruptions),
                ("late", counts.late),
                ("swept", counts.swept),
                ("delay_ms_max", span_ms(noted.delays.max())),
            ] {
                assert_eq!(row[field], number(found), "{}: {field}", row["name"]);
            }
            let buckets = noted.delays.buckets();
            let shown = buckets
                .iter()
                .map(|(from, count)| json!([number(*from), number(*count)]));
            assert_eq!(row["delays"], shown.collect::<Value>(), "{}", row["name"]);
            assert_eq!(hex(&encode_noted(&key, &noted)), hex(&sealed));
            assert_maintained_codec_agrees::<StoredEvents>(&sealed);
        }
    }

    #[test]
    fn namespaces_keep_their_bytes() {
        for row in rows("namespaces", 3) {
            let (name, sealed) = (bytes(&row, "key_hex"), bytes(&row, "value_hex"));
            let found = decode_namespace(&name, &sealed).expect("it decodes");
            let policy = &found.policy;
            let words = json!({
                "name": String::from_utf8_lossy(&name),
                "key_hex": hex(&name),
                "value_hex": hex(&sealed),
                "namespace_number": found.id,
                "policy_version": found.policy_version,
                "lease_ms": number(policy.lease_ms),
                "retention_ms": number(policy.retention_ms),
                "retry_hint_ms": number(policy.retry_hint_ms),
                "response_bytes_max": number(policy.response_bytes_max),
                "rerun_interrupted": policy.rerun_interrupted,
                "records_max": optional(policy.records_max),
                "bytes_max": optional(policy.bytes_max),
                "refuse_stale_keys": policy.refuse_stale_keys,
                "forget_interrupted_after_ms": optional(policy.forget_interrupted_after_ms),
            });
            assert_eq!(words, row);
            assert_eq!(encode_namespace(&name, &found), sealed);
            assert_maintained_codec_agrees::<NamespaceRow>(&sealed);
        }
    }

    #[test]
    fn the_maintained_codec_agrees_on_typed_values() {
        #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
        struct Sample {
            amount: u64,
            delta: i64,
            rate: f64,
            is_final: bool,
            note: Option<String>,
            lines: Vec<(u16, String)>,
            verdict: Verdict,
        }
        #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
        enum Verdict {
            Paid,
            Declined { reason: String },
        }
        for row in rows("typed", 4) {
            let sealed = bytes(&row, "value_hex");
            let value: Sample = decode_typed(&sealed).expect("it decodes");
            assert_eq!(encode_typed(&value).expect("it encodes"), sealed);
            let standard = bincode_next::config::standard();
            let (theirs, used): (Sample, usize) =
                bincode_next::serde::decode_from_slice(&sealed, standard).expect("it reads them");
            assert_eq!((&theirs, used), (&value, sealed.len()));
            let written = bincode_next::serde::encode_to_vec(&value, standard).expect("encodes");
            assert_eq!(hex(&written), hex(&sealed));
        }
    }

    #[test]
    fn no_flipped_bit_passes_and_no_other_key_either() {
        for row in rows("records", 15) {
            let (key, sealed) = (bytes(&row, "key_hex"), bytes(&row, "value_hex"));
            for bit in 0..sealed.len() * 8 {
                let mut flipped = sealed.clone();
                flipped[bit / 8] ^= 1 << (bit % 8);
                assert_eq!(
                    decode_record(&key, &flipped),
                    Err(Unreadable::Damaged),
                    "bit {bit}"
                );
            }
            for length in 0..sealed.len() {
                let cut = decode_record(&key, &sealed[..length]);
                assert_eq!(cut, Err(Unreadable::Damaged), "{length} bytes");
            }
            let elsewhere = [&key[..], b"x"].concat();
            assert_eq!(decode_record(&elsewhere, &sealed), Err(Unreadable::Damaged));
        }
    }

    #[test]
    fn a_newer_version_is_refused_and_not_guessed() {
        let row = &rows("records", 15)[0];
        let (key, mut sealed) = (bytes(row, "key_hex"), bytes(row, "value_hex"));
        sealed.truncate(sealed.len() - CHECKSUM_BYTES);
        sealed[0] = VERSION_WITH_JSON + 1;
        let sum = checksum(&key, &sealed);
        sealed.extend_from_slice(&sum.to_le_bytes());
        assert_eq!(
            decode_record(&key, &sealed),
            Err(Unreadable::NewerVersion(VERSION_WITH_JSON + 1))
        );
    }

    #[test]
    fn bytes_left_over_behind_a_record_are_damage() {
        let row = &rows("records", 15)[0];
        let (key, mut sealed) = (bytes(row, "key_hex"), bytes(row, "value_hex"));
        sealed.truncate(sealed.len() - CHECKSUM_BYTES);
        sealed.push(0);
        let sum = checksum(&key, &sealed);
        sealed.extend_from_slice(&sum.to_le_bytes());
        assert_eq!(decode_record(&key, &sealed), Err(Unreadable::Damaged));
    }

    #[test]
    fn a_record_that_claims_more_bytes_than_it_has_is_damaged() {
        let key = b"key";
        for claimed in [1_u64 << 40, 1 << 33, 1 << 20, u64::MAX] {
            // The fields of a record up to its program's name, whose length is a claim.
            let start = (
                1_u8, [0_u8; 32], 1_u64, 1_u32, 1_u64, 1_u64, 1_u32, 1_u64, 1_u64,
            );
            let sealed = seal(key, &(start, None::<u64>, 1_u64, claimed));
            assert_eq!(decode_record(key, &sealed), Err(Unreadable::Damaged));
            let long = seal(
                key,
                &(start, None::<u64>, 1_u64, claimed, vec![7_u8; 3 << 20]),
            );
            assert_eq!(decode_record(key, &long), Err(Unreadable::Damaged));
        }
    }
}
