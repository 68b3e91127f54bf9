//! A point in time that can be stored: Unix milliseconds.

use core::fmt;
use core::time::Duration;

/// A point in time: milliseconds since 1970-01-01 00:00 UTC.
///
/// ```
/// use idempotency_ledger::Timestamp;
/// use std::time::Duration;
///
/// let at = Timestamp::from_unix_ms(1_700_000_000_123);
/// assert_eq!(at.to_string(), "2023-11-14T22:13:20.123Z");
/// assert_eq!(at.saturating_add(Duration::from_secs(1)).unix_ms(), 1_700_000_001_123);
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(u64);

impl Timestamp {
    /// 1970-01-01 00:00 UTC; also what a ledger without a mark starts from.
    pub const EPOCH: Self = Self(0);

    /// From milliseconds since 1970.
    #[must_use]
    pub const fn from_unix_ms(unix_ms: u64) -> Self {
        Self(unix_ms)
    }

    /// Milliseconds since 1970.
    #[must_use]
    pub const fn unix_ms(self) -> u64 {
        self.0
    }

    /// Later by `span`, whose fraction of a millisecond counts as a whole one; stops at the end
    /// of time instead of wrapping.
    #[must_use]
    pub fn saturating_add(self, span: Duration) -> Self {
        Self(self.0.saturating_add(duration_ms_up(span)))
    }

    /// Earlier by `span`; stops at 1970.
    #[must_use]
    pub fn saturating_sub(self, span: Duration) -> Self {
        Self(self.0.saturating_sub(duration_ms_up(span)))
    }

    /// How far `self` is after `earlier`; zero if it is not.
    #[must_use]
    pub const fn saturating_since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

/// Whole milliseconds of a span, rounded up, so that a span above zero never becomes none.
pub(super) fn duration_ms_up(span: Duration) -> u64 {
    let nanos_left = span.subsec_nanos() % 1_000_000;
    let whole = span.as_millis() + u128::from(nanos_left > 0);
    u64::try_from(whole).unwrap_or(u64::MAX)
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with milliseconds. The calendar arithmetic is the era method of Howard
    /// Hinnant's "chrono-Compatible Low-Level Date Algorithms"; a date crate would outweigh the
    /// rest of the core in the browser.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, ms) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let shifted = days + 719_468;
        let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
        let year_of_era =
            (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 {
            month_from_march + 3
        } else {
            month_from_march - 9
        };
        let year = year_of_era + era * 400 + u64::from(month <= 2);
        let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
        write!(
            f,
            "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
            ms % 1_000
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString;

    #[test]
    fn calendar_edges() {
        for (unix_ms, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_782_399_999, "2000-02-28T23:59:59.999Z"),
            (951_782_400_000, "2000-02-29T00:00:00.000Z"),
            (4_107_542_399_999, "2100-02-28T23:59:59.999Z"),
            (4_107_542_400_000, "2100-03-01T00:00:00.000Z"),
        ] {
            assert_eq!(Timestamp::from_unix_ms(unix_ms).to_string(), text);
        }
    }

    #[test]
    fn a_fraction_of_a_millisecond_counts() {
        let later = Timestamp::EPOCH.saturating_add(Duration::from_nanos(1));
        assert_eq!(later.unix_ms(), 1);
    }
}
