//! The ledger's time: it never runs back, and it does not follow a leap of the wall clock until
//! somebody confirms it.

use core::time::Duration;

use super::Timestamp;

/// What a look at the clock gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeReading {
    /// The ledger's time.
    pub now: Timestamp,
    /// How far the wall clock is ahead, if it leapt and nobody confirmed it.
    pub unconfirmed_jump: Option<Duration>,
}

/// Turns readings of the wall clock into the ledger's time.
///
/// `now = max(last seen, stored mark, wall clock)`. Between two readings at least the elapsed
/// time passes, so that a clock set back lengthens no lease. A wall clock that leaps more than
/// `jump_max` beyond that is unconfirmed: time goes on by elapsed time until `confirm`.
///
/// ```
/// use idempotency_ledger::{Timekeeper, Timestamp};
/// use std::time::Duration;
///
/// let hour = Duration::from_secs(3600);
/// let mut time = Timekeeper::new(Timestamp::from_unix_ms(1_000), hour);
/// let ahead = Timestamp::from_unix_ms(1_000).saturating_add(hour * 2);
/// let reading = time.read(ahead, Duration::from_millis(5));
/// assert_eq!(reading.now.unix_ms(), 1_005);
/// assert!(reading.unconfirmed_jump.is_some());
/// time.confirm(ahead, Duration::from_millis(5));
/// assert_eq!(time.read(ahead, Duration::from_millis(5)).now, ahead);
/// ```
#[derive(Clone, Debug)]
pub struct Timekeeper {
    last: Timestamp,
    last_elapsed: Duration,
    jump_max: Duration,
}

impl Timekeeper {
    /// Starts from the mark stored in the file; without one, the first wall clock is believed.
    #[must_use]
    pub const fn new(mark: Timestamp, jump_max: Duration) -> Self {
        Self {
            last: mark,
            last_elapsed: Duration::ZERO,
            jump_max,
        }
    }

    /// The time for a wall clock of `wall`, when `elapsed` has passed since the start.
    pub fn read(&mut self, wall: Timestamp, elapsed: Duration) -> TimeReading {
        let reading = self.judge(wall, elapsed);
        self.advance_to(reading.now, elapsed);
        reading
    }

    fn judge(&self, wall: Timestamp, elapsed: Duration) -> TimeReading {
        if self.last == Timestamp::EPOCH {
            return TimeReading {
                now: wall,
                unconfirmed_jump: None,
            };
        }
        let passed = elapsed.saturating_sub(self.last_elapsed);
        let expected = self.last.saturating_add(floor_ms(passed));
        let jump = wall.saturating_since(expected);
        if jump > self.jump_max {
            return TimeReading {
                now: expected,
                unconfirmed_jump: Some(jump),
            };
        }
        TimeReading {
            now: expected.max(wall),
            unconfirmed_jump: None,
        }
    }

    fn advance_to(&mut self, now: Timestamp, elapsed: Duration) {
        if now > self.last {
            // The fraction of a millisecond that has passed is kept for the next reading.
            let fraction = Duration::from_nanos(u64::from(elapsed.subsec_nanos() % 1_000_000));
            self.last = now;
            self.last_elapsed = elapsed.saturating_sub(fraction);
        }
    }

    /// Learns a mark that another holder stored.
    pub fn absorb(&mut self, mark: Timestamp, elapsed: Duration) {
        self.advance_to(mark, elapsed);
    }

    /// Believes the wall clock, however far it leapt.
    pub fn confirm(&mut self, wall: Timestamp, elapsed: Duration) {
        self.advance_to(wall, elapsed);
    }

    /// The newest time seen.
    #[must_use]
    pub const fn mark(&self) -> Timestamp {
        self.last
    }
}

fn floor_ms(span: Duration) -> Duration {
    span.saturating_sub(Duration::from_nanos(u64::from(
        span.subsec_nanos() % 1_000_000,
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    #[test]
    fn set_back_one_hour_still_passes() {
        let start = Timestamp::from_unix_ms(100_000_000);
        let mut time = Timekeeper::new(Timestamp::EPOCH, HOUR * 24);
        assert_eq!(time.read(start, Duration::ZERO).now, start);
        let back = start.saturating_sub(HOUR);
        let later = time.read(back, Duration::from_secs(60)).now;
        assert_eq!(later, start.saturating_add(Duration::from_secs(60)));
    }

    #[test]
    fn many_short_readings_lose_no_time() {
        let start = Timestamp::from_unix_ms(100_000_000);
        let mut time = Timekeeper::new(start, HOUR);
        for micros in (0_u64..10_000).step_by(300) {
            let _ = time.read(Timestamp::EPOCH, Duration::from_micros(micros));
        }
        let now = time.read(Timestamp::EPOCH, Duration::from_millis(10)).now;
        assert_eq!(now.unix_ms(), 100_000_010);
    }
}
