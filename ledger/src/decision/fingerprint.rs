//! What a request asks for, as 32 bytes: the guard against one key used for two requests.

use core::fmt;

use sha2::{Digest, Sha256};

/// How the bytes of a [`Fingerprint`] were made. Stored with the record, so that a record is
/// always compared under the rule it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FingerprintAlgorithm {
    /// No fingerprint: matches only a request without one.
    None,
    /// SHA-256 over parts, each behind its length as 8 bytes, little-endian.
    Parts,
    /// SHA-256 over the RFC 8785 form of a JSON value, whose numbers are doubles.
    Json,
    /// SHA-256 over a form of JSON that keeps numbers exactly as large as they are written.
    JsonExact,
    /// As `Parts`, of a request that came over HTTP: its answer is an HTTP answer.
    Http,
}

impl FingerprintAlgorithm {
    /// The number that stands for the algorithm in files and vectors.
    #[must_use]
    pub const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Parts => 1,
            Self::Json => 2,
            Self::JsonExact => 3,
            Self::Http => 4,
        }
    }

    /// The algorithm behind a number, if this version knows it.
    #[must_use]
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Parts),
            2 => Some(Self::Json),
            3 => Some(Self::JsonExact),
            4 => Some(Self::Http),
            _ => None,
        }
    }
}

/// What a request asks for: an algorithm and 32 bytes.
///
/// A retry with the same key must ask for the same thing; another fingerprint is a mismatch.
///
/// ```
/// use idempotency_ledger::Fingerprint;
///
/// assert_eq!(Fingerprint::of(["pay", "25"]), Fingerprint::of(["pay", "25"]));
/// assert_ne!(Fingerprint::of(["a", "bc"]), Fingerprint::of(["ab", "c"]));
/// assert_ne!(Fingerprint::NONE, Fingerprint::of([""]));
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fingerprint {
    algorithm: FingerprintAlgorithm,
    digest: [u8; 32],
}

impl Fingerprint {
    /// No fingerprint. It is a value of its own and matches only itself.
    pub const NONE: Self = Self {
        algorithm: FingerprintAlgorithm::None,
        digest: [0; 32],
    };

    /// The fingerprint of parts, each length-prefixed, so that moving a byte over a border
    /// changes it.
    #[must_use]
    pub fn of<P: AsRef<[u8]>>(parts: impl IntoIterator<Item = P>) -> Self {
        let mut hasher = FingerprintHasher::new();
        for part in parts {
            hasher = hasher.part(part);
        }
        hasher.finish()
    }

    /// Puts a fingerprint together from stored fields.
    #[must_use]
    pub const fn from_stored(algorithm: FingerprintAlgorithm, digest: [u8; 32]) -> Self {
        Self { algorithm, digest }
    }

    /// How it was made.
    #[must_use]
    pub const fn algorithm(&self) -> FingerprintAlgorithm {
        self.algorithm
    }

    /// Its 32 bytes; zeros for [`Fingerprint::NONE`].
    #[must_use]
    pub const fn digest(&self) -> &[u8; 32] {
        &self.digest
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.algorithm {
            FingerprintAlgorithm::None => return f.write_str("none"),
            FingerprintAlgorithm::Parts => f.write_str("parts:")?,
            FingerprintAlgorithm::Json => f.write_str("json:")?,
            FingerprintAlgorithm::JsonExact => f.write_str("json-exact:")?,
            FingerprintAlgorithm::Http => f.write_str("http:")?,
        }
        self.digest
            .iter()
            .try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Makes a [`Fingerprint`] part by part, for parts that are read rather than held.
///
/// ```
/// use idempotency_ledger::{Fingerprint, FingerprintHasher};
///
/// let streamed = FingerprintHasher::new().part("pay").part("25").finish();
/// assert_eq!(streamed, Fingerprint::of(["pay", "25"]));
/// ```
#[derive(Clone)]
#[must_use = "a hasher does nothing until it is finished"]
pub struct FingerprintHasher(Sha256);

impl FingerprintHasher {
    /// Starts without parts.
    pub fn new() -> Self {
        Self(Sha256::new())
    }

    /// Adds one part behind its length.
    pub fn part(mut self, part: impl AsRef<[u8]>) -> Self {
        let part = part.as_ref();
        self.0.update((part.len() as u64).to_le_bytes());
        self.0.update(part);
        self
    }

    /// Ends with the fingerprint of all parts.
    pub fn finish(self) -> Fingerprint {
        Fingerprint {
            algorithm: FingerprintAlgorithm::Parts,
            digest: self.0.finalize().into(),
        }
    }
}

impl Default for FingerprintHasher {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for FingerprintHasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintHasher")
    }
}
