//! How the vectors write numbers, bytes, fingerprints and records.

use std::time::Duration;

use idempotency_ledger::decision::{
    Checkpoint, ClaimLock, Claimed, Completed, Fence, Fingerprint, FingerprintAlgorithm,
    PolicyStamp, Record, Response, ResponseKind, State, Timestamp,
};
use serde::Deserialize;

/// A 64-bit number as a decimal string: not every language's numbers reach that far.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Number(pub(crate) u64);

impl TryFrom<String> for Number {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let number: u64 = text.parse().map_err(|error| format!("{text:?}: {error}"))?;
        Ok(Self(number))
    }
}

impl Number {
    pub(crate) fn time(self) -> Timestamp {
        Timestamp::from_unix_ms(self.0)
    }

    /// The number as milliseconds.
    pub(crate) fn span(self) -> Duration {
        Duration::from_millis(self.0)
    }
}

/// Bytes in hex.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub(crate) struct Hex(pub(crate) Vec<u8>);

impl TryFrom<String> for Hex {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if !text.is_ascii() || !text.len().is_multiple_of(2) {
            return Err(format!("{text:?} is no hex"));
        }
        let pairs = (0..text.len()).step_by(2);
        let bytes = pairs.map(|at| u8::from_str_radix(&text[at..at + 2], 16));
        let bytes: Result<Vec<u8>, _> = bytes.collect();
        bytes
            .map(Self)
            .map_err(|error| format!("{text:?}: {error}"))
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenFingerprint {
    algorithm: Algorithm,
    digest_hex: Hex,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Algorithm {
    None,
    Parts,
    Json,
    JsonExact,
    Http,
}

impl WrittenFingerprint {
    pub(crate) fn read(&self) -> Fingerprint {
        let algorithm = match self.algorithm {
            Algorithm::None => FingerprintAlgorithm::None,
            Algorithm::Parts => FingerprintAlgorithm::Parts,
            Algorithm::Json => FingerprintAlgorithm::Json,
            Algorithm::JsonExact => FingerprintAlgorithm::JsonExact,
            Algorithm::Http => FingerprintAlgorithm::Http,
        };
        let digest = self.digest_hex.0.as_slice();
        Fingerprint::from_stored(algorithm, digest.try_into().expect("32 bytes"))
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenPolicy {
    version: u32,
    lease_ms: Number,
    retention_ms: Number,
    forget_after_ms: Option<Number>,
}

impl WrittenPolicy {
    pub(crate) fn read(&self) -> PolicyStamp {
        PolicyStamp {
            version: self.version,
            lease: self.lease_ms.span(),
            retention: self.retention_ms.span(),
            forget_after: self.forget_after_ms.map(Number::span),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenCheckpoint {
    name: String,
    bytes_hex: Hex,
}

impl WrittenCheckpoint {
    pub(crate) fn read(&self) -> Checkpoint {
        Checkpoint {
            name: self.name.clone(),
            bytes: self.bytes_hex.0.clone(),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum WrittenKind {
    Raw,
    Typed { schema: String },
    Http,
    Command,
    Json { schema: String },
}

impl WrittenKind {
    pub(crate) fn read(&self, bytes: &Hex) -> Response {
        let kind = match self {
            Self::Raw => ResponseKind::Raw,
            Self::Typed { schema } => ResponseKind::Typed {
                schema: schema.as_str().into(),
            },
            Self::Http => ResponseKind::Http,
            Self::Command => ResponseKind::Command,
            Self::Json { schema } => ResponseKind::Json {
                schema: schema.as_str().into(),
            },
        };
        Response::of_kind(kind, bytes.0.clone())
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum WrittenState {
    Claimed {
        lease_until_ms: Number,
        checkpoint: Option<WrittenCheckpoint>,
        #[serde(default)]
        lock: WrittenLock,
    },
    Completed {
        completed_at_ms: Number,
        expires_at_ms: Number,
        kind: WrittenKind,
        bytes_hex: Hex,
    },
}

/// The lock that the holder of a claim took; not named where it took none.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) enum WrittenLock {
    #[default]
    None,
    File,
    SideFile(Number),
}

impl WrittenLock {
    pub(crate) const fn read(self) -> ClaimLock {
        match self {
            Self::None => ClaimLock::None,
            Self::File => ClaimLock::File,
            Self::SideFile(number) => ClaimLock::SideFile(number.0),
        }
    }
}

impl WrittenState {
    fn read(&self) -> State {
        match self {
            Self::Claimed {
                lease_until_ms,
                checkpoint,
                lock,
            } => State::Claimed(Claimed {
                lease_until: lease_until_ms.time(),
                checkpoint: checkpoint.as_ref().map(WrittenCheckpoint::read),
                lock: lock.read(),
            }),
            Self::Completed {
                completed_at_ms,
                expires_at_ms,
                kind,
                bytes_hex,
            } => State::Completed(Completed {
                completed_at: completed_at_ms.time(),
                expires_at: expires_at_ms.time(),
                response: kind.read(bytes_hex),
            }),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct WrittenRecord {
    fingerprint: WrittenFingerprint,
    fence: Number,
    attempts: u32,
    first_claimed_at_ms: Number,
    claimed_at_ms: Number,
    policy: WrittenPolicy,
    holder: Number,
    program: String,
    state: WrittenState,
}

impl WrittenRecord {
    pub(crate) fn read(&self) -> Record {
        Record {
            fingerprint: self.fingerprint.read(),
            fence: Fence::from_stored(self.fence.0),
            attempts: self.attempts,
            first_claimed_at: self.first_claimed_at_ms.time(),
            claimed_at: self.claimed_at_ms.time(),
            policy: self.policy.read(),
            holder: self.holder.0,
            program: self.program.clone(),
            state: self.state.read(),
        }
    }
}
