//! Versions of values, and when a write that expects one may happen.

use core::fmt;
use core::num::ParseIntError;
use core::str::FromStr;

use super::Fence;

/// The version of a value: the fence it was written under, so it is never used again, not even
/// behind a removal.
///
/// ```
/// use idempotency_ledger::Version;
///
/// assert!(Version::from_stored(7) < Version::from_stored(8));
/// assert_eq!(Version::from_stored(7).to_string(), "7");
/// assert_eq!(Version::try_from("7"), Ok(Version::from_stored(7)));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version(u64);

impl Version {
    /// A version that was given out before: from an `ETag`, a form, another process.
    #[must_use]
    pub const fn from_stored(number: u64) -> Self {
        Self(number)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }
}

impl From<Fence> for Version {
    fn from(fence: Fence) -> Self {
        Self(fence.get())
    }
}

impl FromStr for Version {
    type Err = ParseIntError;

    fn from_str(text: &str) -> Result<Self, ParseIntError> {
        text.parse().map(Self)
    }
}

impl TryFrom<&str> for Version {
    type Error = ParseIntError;

    fn try_from(text: &str) -> Result<Self, ParseIntError> {
        text.parse()
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// What a writer takes to be stored.
///
/// ```
/// use idempotency_ledger::{Expected, Version};
///
/// let seen = Version::from_stored(7);
/// assert_ne!(Expected::At(seen), Expected::Absent);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// Nothing: put if absent.
    Absent,
    /// The value that it read, and no newer one.
    At(Version),
    /// Whatever there is, or nothing: an UPSERT. The last writer wins.
    Any,
}

impl Expected {
    /// Whether a write may happen over what is stored.
    #[must_use]
    pub fn is_met_by(self, stored: Option<Version>) -> bool {
        match (self, stored) {
            (Self::Any, _) | (Self::Absent, None) => true,
            (Self::At(expected), Some(version)) => expected == version,
            (Self::Absent, Some(_)) | (Self::At(_), None) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cell_of_expected_and_stored() {
        let (seven, eight) = (Version::from_stored(7), Version::from_stored(8));
        let cells = [
            (Expected::Absent, None, true),
            (Expected::Absent, Some(seven), false),
            (Expected::At(seven), None, false),
            (Expected::At(seven), Some(seven), true),
            (Expected::At(seven), Some(eight), false),
            (Expected::At(eight), Some(seven), false),
            (Expected::Any, None, true),
            (Expected::Any, Some(seven), true),
        ];
        for (expected, stored, is_met) in cells {
            assert_eq!(
                expected.is_met_by(stored),
                is_met,
                "{expected:?} {stored:?}"
            );
        }
    }
}
