//! Keys, fences, versions and times in the types that applications have: serde, uuid, std.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

use crate::decision::{Fence, Key, Timestamp, Version};

/// As its text.
impl Serialize for Key {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// From its text, under the rules of [`Key::new`].
impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::new(text).map_err(D::Error::custom)
    }
}

/// In the 36-character form, in lower case.
impl From<Uuid> for Key {
    fn from(uuid: Uuid) -> Self {
        Self::trusted(uuid.hyphenated().to_string())
    }
}

macro_rules! as_number {
    ($($type:ident, $get:ident, $from:ident;)*) => {
        $(
            /// As its number.
            impl Serialize for $type {
                fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                    serializer.serialize_u64(self.$get())
                }
            }

            /// From its number.
            impl<'de> Deserialize<'de> for $type {
                fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                    u64::deserialize(deserializer).map(Self::$from)
                }
            }
        )*
    };
}

as_number! {
    Fence, get, from_stored;
    Version, get, from_stored;
    Timestamp, unix_ms, from_unix_ms;
}

/// Whole milliseconds; a time before 1970 is 1970.
impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self::from_unix_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }
}

/// The end of the year 9999, which every system's type holds.
const FAR_AHEAD: Duration = Duration::from_millis(253_402_300_799_999);

/// A time that the system's type cannot hold (no end at all, say) is the end of the year 9999.
impl From<Timestamp> for SystemTime {
    fn from(time: Timestamp) -> Self {
        let since = Duration::from_millis(time.unix_ms());
        UNIX_EPOCH
            .checked_add(since)
            .unwrap_or(UNIX_EPOCH + FAR_AHEAD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_system_and_back() {
        let time = Timestamp::from_unix_ms(1_700_000_000_123);
        assert_eq!(Timestamp::from(SystemTime::from(time)), time);
        let before = UNIX_EPOCH - Duration::from_secs(1);
        assert_eq!(Timestamp::from(before), Timestamp::EPOCH);
        let end = SystemTime::from(Timestamp::from_unix_ms(u64::MAX));
        assert!(end >= UNIX_EPOCH + FAR_AHEAD);
    }
}
