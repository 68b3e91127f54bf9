//! Keys and scopes: the two parts of a record's identity that clients choose.

use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::str::FromStr;

use super::Timestamp;

/// The longest key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 255;
/// The longest scope, in bytes.
pub const SCOPE_BYTES_MAX: usize = 255;

/// An idempotency key: 1 to 255 bytes of UTF-8 without control characters, chosen by the client.
///
/// Keys that sort by time (UUIDv7) are the cheapest to store, since keys of one time then lie on
/// the same page. The length limit is Stripe's and that of the IETF draft's implementations.
///
/// ```
/// use idempotency_ledger::{Key, KeyError};
///
/// let key = Key::new("order-17")?;
/// assert_eq!(key.as_str(), "order-17");
/// assert_eq!(Key::new(""), Err(KeyError::Empty));
/// assert!(Key::new("a".repeat(256)).is_err());
/// # Ok::<(), KeyError>(())
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key(Box<str>);

impl Key {
    /// Validates `text` once; every other place trusts the type.
    ///
    /// # Errors
    ///
    /// [`KeyError`] when the text is empty, longer than [`KEY_BYTES_MAX`] bytes, or holds a
    /// control character.
    pub fn new(text: impl Into<String>) -> Result<Self, KeyError> {
        let text = text.into();
        check_text(&text)?;
        Ok(Self(text.into_boxed_str()))
    }

    /// A key whose text this crate made itself, in a form that is always valid.
    pub(crate) fn trusted(text: String) -> Self {
        debug_assert!(check_text(&text).is_ok());
        Self(text.into_boxed_str())
    }

    /// The key as the client wrote it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The time inside the key, if it is a UUIDv7 in its 36-character form (RFC 9562).
    ///
    /// ```
    /// use idempotency_ledger::{Key, Timestamp};
    ///
    /// let key = Key::new("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")?;
    /// assert_eq!(key.time(), Some(Timestamp::from_unix_ms(0x017f_22e2_79b0)));
    /// assert_eq!(Key::new("order-17")?.time(), None);
    /// # Ok::<(), idempotency_ledger::KeyError>(())
    /// ```
    #[must_use]
    pub fn time(&self) -> Option<Timestamp> {
        if !self.is_uuid() {
            return None;
        }
        let bytes = self.0.as_bytes();
        let digits = bytes[..13].iter().filter(|&&byte| byte != b'-');
        let unix_ms = digits.fold(0_u64, |unix_ms, &byte| {
            unix_ms << 4 | u64::from(char::from(byte).to_digit(16).unwrap_or_default())
        });
        let version_7 = bytes[14] == b'7';
        let variant_rfc = matches!(bytes[19], b'8' | b'9' | b'a' | b'b' | b'A' | b'B');
        (version_7 && variant_rfc).then(|| Timestamp::from_unix_ms(unix_ms))
    }
}

impl Key {
    /// Whether it is a UUID in its 36-character form.
    fn is_uuid(&self) -> bool {
        let is_right = |(at, byte): (usize, &u8)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        };
        self.0.len() == 36
            && self
                .0
                .bytes()
                .enumerate()
                .all(|(at, byte)| is_right((at, &byte)))
    }

    /// The same key in lower case if it is a UUID, whose digits mean the same in both.
    pub(crate) fn with_uuid_in_lower_case(mut self) -> Self {
        if self.is_uuid() {
            self.0.make_ascii_lowercase();
        }
        self
    }
}

fn check_text(text: &str) -> Result<(), KeyError> {
    if text.is_empty() {
        return Err(KeyError::Empty);
    }
    if text.len() > KEY_BYTES_MAX {
        return Err(KeyError::TooLong { bytes: text.len() });
    }
    match text.char_indices().find(|(_, letter)| letter.is_control()) {
        Some((at, _)) => Err(KeyError::ControlCharacter { at }),
        None => Ok(()),
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({:?})", self.as_str())
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Key {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::new(text)
    }
}

impl TryFrom<&str> for Key {
    type Error = KeyError;

    fn try_from(text: &str) -> Result<Self, KeyError> {
        Self::new(text)
    }
}

impl TryFrom<String> for Key {
    type Error = KeyError;

    fn try_from(text: String) -> Result<Self, KeyError> {
        Self::new(text)
    }
}

impl AsRef<str> for Key {
    fn as_ref(&self) -> &str {
        self.as_str()
    }
}

/// Up to 255 bytes that make the key's owner (a principal, a route) part of its identity.
///
/// ```
/// use idempotency_ledger::Scope;
///
/// assert_eq!(Scope::NONE.as_bytes(), b"");
/// assert!(Scope::new([0_u8; 256]).is_err());
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Scope(Vec<u8>);

impl Scope {
    /// The empty scope: the namespace alone owns the key.
    pub const NONE: Self = Self(Vec::new());

    /// Takes the bytes of a scope; any bytes are allowed.
    ///
    /// # Errors
    ///
    /// [`KeyError::ScopeTooLong`] above [`SCOPE_BYTES_MAX`] bytes.
    pub fn new(bytes: impl Into<Vec<u8>>) -> Result<Self, KeyError> {
        let bytes = bytes.into();
        if bytes.len() > SCOPE_BYTES_MAX {
            return Err(KeyError::ScopeTooLong { bytes: bytes.len() });
        }
        Ok(Self(bytes))
    }

    /// The bytes of the scope.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Scope({:?})", String::from_utf8_lossy(&self.0))
    }
}

/// Why a key, a scope or a namespace name was refused. Nothing was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyError {
    /// The text is empty.
    Empty,
    /// The text has more than 255 bytes.
    TooLong {
        /// How many bytes it has.
        bytes: usize,
    },
    /// The text holds a control character.
    ControlCharacter {
        /// The byte at which it starts.
        at: usize,
    },
    /// The namespace's name starts with `dedup:` or `versioned:`, which name tables.
    Reserved,
    /// The scope has more than 255 bytes.
    ScopeTooLong {
        /// How many bytes it has.
        bytes: usize,
    },
}

impl fmt::Display for KeyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Empty => f.write_str("it is empty; give 1 to 255 bytes"),
            Self::TooLong { bytes } => write!(
                f,
                "it has {bytes} bytes, the limit is {KEY_BYTES_MAX}; hash what is longer"
            ),
            Self::ControlCharacter { at } => write!(
                f,
                "it has a control character at byte {at}; use printable text"
            ),
            Self::Reserved => f.write_str(
                "it starts with `dedup:`, `versioned:` or `outbox:`, which name tables; take \
                 another",
            ),
            Self::ScopeTooLong { bytes } => write!(
                f,
                "the scope has {bytes} bytes, the limit is {SCOPE_BYTES_MAX}; hash what is longer"
            ),
        }
    }
}

impl core::error::Error for KeyError {}
