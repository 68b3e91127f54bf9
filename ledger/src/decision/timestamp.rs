//! A point in time that can be stored: Unix milliseconds.

use core::fmt;
use core::str::FromStr;
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
/// assert_eq!(Timestamp::try_from("2023-11-14T22:13:20.123Z"), Ok(at));
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

/// Why a text is no point in time.
///
/// ```
/// use idempotency_ledger::{TimeTextError, Timestamp};
///
/// assert_eq!(Timestamp::try_from("tomorrow"), Err(TimeTextError));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeTextError;

impl fmt::Display for TimeTextError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no time from 1970 on in UTC; write it as 2023-11-14T22:13:20.123Z")
    }
}

impl core::error::Error for TimeTextError {}

/// RFC 3339 in UTC, as it is displayed; a fraction may have any digits or be missing, and counts in
/// whole milliseconds.
impl FromStr for Timestamp {
    type Err = TimeTextError;

    fn from_str(text: &str) -> Result<Self, TimeTextError> {
        parse(text).ok_or(TimeTextError)
    }
}

impl TryFrom<&str> for Timestamp {
    type Error = TimeTextError;

    fn try_from(text: &str) -> Result<Self, TimeTextError> {
        text.parse()
    }
}

/// By the inverse of the method that displays it.
fn parse(text: &str) -> Option<Timestamp> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let (time, fraction) = time.split_once('.').unwrap_or((time, "0"));
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(time, ':', [2, 2, 2])?;
    let are_digits = fraction.bytes().all(|byte| byte.is_ascii_digit());
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=days_of(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range || fraction.is_empty() || !are_digits {
        return None;
    }
    let thousandths = fraction.bytes().chain([b'0'; 3]).take(3);
    let ms = thousandths.fold(0, |ms, digit| ms * 10 + u64::from(digit - b'0'));
    // Years from March on, so that the day of a leap year is the last one.
    let (year, month_from_march) = match month {
        1 | 2 => (year - 1, month + 9),
        _ => (year, month - 3),
    };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * month_from_march + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    let days = (era * 146_097 + day_of_era).checked_sub(719_468)?;
    let seconds = (hour * 60 + minute) * 60 + second;
    Some(Timestamp(days * 86_400_000 + seconds * 1_000 + ms))
}

/// Three numbers of so many digits each.
fn numbers(text: &str, between: char, digits: [usize; 3]) -> Option<[u64; 3]> {
    let mut parts = text.split(between);
    let mut found = [0; 3];
    for (number, digits) in found.iter_mut().zip(digits) {
        let part = parts.next()?;
        let are_digits = part.bytes().all(|byte| byte.is_ascii_digit());
        *number = part
            .parse()
            .ok()
            .filter(|_| part.len() == digits && are_digits)?;
    }
    parts.next().is_none().then_some(found)
}

const fn days_of(year: u64, month: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    match month {
        2 if is_leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
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
            let time = Timestamp::from_unix_ms(unix_ms);
            assert_eq!(time.to_string(), text);
            assert_eq!(Timestamp::try_from(text), Ok(time));
        }
    }

    #[test]
    fn a_text_that_is_no_time_in_utc_is_refused() {
        for text in [
            "",
            "2023-11-14",
            "2023-11-14T22:13:20",
            "2023-11-14T22:13:20.Z",
            "2023-11-14T22:13:20.1+00:00",
            "2023-02-29T00:00:00Z",
            "2023-13-01T00:00:00Z",
            "2023-11-14T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "+023-11-14T22:13:20Z",
            "2023-11-14-01T22:13:20Z",
        ] {
            assert_eq!(Timestamp::try_from(text), Err(TimeTextError), "{text}");
        }
        for text in ["2023-11-14T22:13:20.1Z", "2023-11-14T22:13:20.1009Z"] {
            let time = Timestamp::from_unix_ms(1_700_000_000_100);
            assert_eq!(Timestamp::try_from(text), Ok(time), "{text}");
        }
    }

    #[test]
    fn each_day_for_eight_hundred_years_is_read_as_it_is_written() {
        for day in 0..800 * 366 {
            let time = Timestamp::from_unix_ms(day * 86_400_000 + 1);
            assert_eq!(time.to_string().parse(), Ok(time));
        }
    }

    #[test]
    fn a_fraction_of_a_millisecond_counts() {
        let later = Timestamp::EPOCH.saturating_add(Duration::from_nanos(1));
        assert_eq!(later.unix_ms(), 1);
    }
}
