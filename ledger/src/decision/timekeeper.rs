//! The ledger's time: it never runs back, and it does not follow a leap of the wall clock at once.
//!
//! What a reading gives, first match. `passed` is the time since the mark: by the boot clock where
//! mark and reading are of one boot ("measured"), else by the clock of the process. `expected` is
//! the mark plus `passed`.
//!
//! | # | mark, reading | wall clock | time | called |
//! | --- | --- | --- | --- | --- |
//! | 1 | no mark | any | wall | agrees |
//! | 2 | measured | within 5 minutes of expected | the later one | agrees; a leap is forgotten |
//! | 3 | measured | earlier | expected | behind |
//! | 4 | measured | later, as it has been for an hour of boot time | wall | agrees |
//! | 5 | measured | later | expected | leapt, held back |
//! | 6 | not measured | more than `jump_max` later | expected | leapt, held back until confirmed |
//! | 7 | not measured | at most `jump_max` later | the later one | agrees, or behind |
//!
//! A leap of row 6 stays held back in the boot that it was met in: row 4 needs a leap that began
//! in a measured reading. What agrees with a leap is a wall clock that has gone on with the boot
//! clock since, give or take 5 minutes.

use core::time::Duration;

use super::Timestamp;

/// How far the wall clock and the time that has passed may differ, before one of them has leapt.
pub const LEAP_MIN: Duration = Duration::from_secs(5 * 60);
/// For how long of boot time a clock that leapt has to go on from there, to be believed.
pub const LEAP_BELIEVED_AFTER: Duration = Duration::from_secs(60 * 60);

/// Which run of the machine it is, from start to shutdown: a random number of its own.
///
/// ```
/// use idempotency_ledger::time::BootId;
///
/// assert_ne!(BootId::from_bytes([1; 16]), BootId::from_bytes([2; 16]));
/// assert_eq!(BootId::from_bytes([1; 16]).to_bytes(), [1; 16]);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BootId([u8; 16]);

impl BootId {
    /// From its bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

/// A moment on the boot clock, which counts from the machine's start, sleep included, and which no
/// person and no time server sets.
///
/// ```
/// use idempotency_ledger::time::{BootId, BootTime};
/// use std::time::Duration;
///
/// let boot = BootId::from_bytes([7; 16]);
/// let at = BootTime { boot, since_start: Duration::from_secs(90) };
/// assert_eq!(at.boot, boot);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BootTime {
    /// The boot that it counts in.
    pub boot: BootId,
    /// How long the machine has run or slept.
    pub since_start: Duration,
}

/// All clocks, looked at together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// What the clock on the wall shows.
    pub wall: Timestamp,
    /// How much time has passed for this process, from some moment on.
    pub elapsed: Duration,
    /// The boot clock, where there is one.
    pub boot: Option<BootTime>,
}

/// A wall clock that is away from the ledger's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Leap {
    /// The ledger's time when it was first seen there.
    pub since: Timestamp,
    /// What the wall clock showed then.
    pub wall: Timestamp,
    /// Whether it was met where nothing could be measured, as over a reboot: believed only when a
    /// person confirms it.
    pub unmeasured: bool,
}

impl Leap {
    /// Whether a wall clock has gone on from this leap, at `expected` of the ledger's time.
    fn agrees(&self, wall: Timestamp, expected: Timestamp) -> bool {
        let foreseen = self
            .wall
            .saturating_add(expected.saturating_since(self.since));
        foreseen
            .saturating_since(wall)
            .max(wall.saturating_since(foreseen))
            <= LEAP_MIN
    }
}

/// The ledger's time as a file keeps it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClockMark {
    /// How often a person has taken the time back. A mark of fewer times is an older one, however
    /// late its time is.
    pub rewinds: u32,
    /// The ledger's time.
    pub now: Timestamp,
    /// The boot clock at that time, in whole milliseconds.
    pub boot: Option<BootTime>,
    /// Where the wall clock was, if it was away from the ledger's time.
    pub leap: Option<Leap>,
}

impl ClockMark {
    /// The order in which marks were made. Two of one millisecond differ at most in the leap: the
    /// one without is kept, since a leap that was contradicted starts again.
    fn rank(&self) -> (u32, Timestamp, Option<Duration>, bool, Option<Timestamp>) {
        let leap = self.leap.map(|leap| leap.since);
        let boot = self.boot.map(|boot| boot.since_start);
        (self.rewinds, self.now, boot, leap.is_none(), leap)
    }

    /// The newer of two marks of one file.
    #[must_use]
    pub fn newer(self, other: Self) -> Self {
        if other.rank() > self.rank() {
            other
        } else {
            self
        }
    }

    /// Whether its time was reached before that of `other`.
    #[must_use]
    pub fn is_before(&self, other: &Self) -> bool {
        (self.rewinds, self.now) < (other.rewinds, other.now)
    }
}

impl From<Timestamp> for ClockMark {
    fn from(now: Timestamp) -> Self {
        Self {
            now,
            ..Self::default()
        }
    }
}

/// How the wall clock stands to the ledger's time.
///
/// ```
/// use idempotency_ledger::{Ledger, time::ClockState};
///
/// let ledger = Ledger::in_memory()?;
/// assert_eq!(ledger.stats()?.clock, ClockState::Agrees);
/// # Ok::<(), idempotency_ledger::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockState {
    /// It is the ledger's time, give or take 5 minutes.
    Agrees,
    /// It leapt ahead and is held back: the ledger's time goes on by the time that passes.
    Leapt {
        /// How far ahead it is.
        by: Duration,
        /// Since when, in the ledger's time.
        since: Timestamp,
        /// The ledger's time at which it is believed if it stays there; `None` where only a person
        /// can confirm it.
        believed_at: Option<Timestamp>,
    },
    /// It is behind the ledger's time, which a clock that was wrong has driven ahead, or was set
    /// back. The ledger's time never runs back by itself: a person may take it back.
    Behind {
        /// How far behind it is.
        by: Duration,
        /// Since when, in the ledger's time, as far as the file knows.
        since: Timestamp,
    },
}

/// What a look at the clocks gave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeReading {
    /// The ledger's time.
    pub now: Timestamp,
    /// What the wall clock shows, believed or not.
    pub wall: Timestamp,
    /// How far the wall clock is ahead, if it leapt and is held back.
    pub unconfirmed_jump: Option<Duration>,
    /// How the wall clock stands to the ledger's time.
    pub clock: ClockState,
}

impl TimeReading {
    fn agrees(now: Timestamp, wall: Timestamp) -> Self {
        Self {
            now,
            wall,
            unconfirmed_jump: None,
            clock: ClockState::Agrees,
        }
    }

    fn away(now: Timestamp, wall: Timestamp, leap: Leap) -> Self {
        let by = wall.saturating_since(now);
        if by == Duration::ZERO {
            let by = now.saturating_since(wall);
            let since = leap.since;
            let clock = ClockState::Behind { by, since };
            return Self {
                clock,
                ..Self::agrees(now, wall)
            };
        }
        let believed_at = leap.since.saturating_add(LEAP_BELIEVED_AFTER);
        Self {
            now,
            wall,
            unconfirmed_jump: Some(by),
            clock: ClockState::Leapt {
                by,
                since: leap.since,
                believed_at: (!leap.unmeasured).then_some(believed_at),
            },
        }
    }

    /// The later of both clocks. Whether a key lies too far ahead is judged by it: new keys are
    /// minted by one of them.
    #[must_use]
    pub fn latest(&self) -> Timestamp {
        self.now.max(self.wall)
    }
}

/// Turns readings of the clocks into the ledger's time.
///
/// `now = max(last seen, stored mark, wall clock)`. Between two readings at least the time that
/// passed passes, so that a clock set back lengthens no lease. A wall clock that leapt is held
/// back, as the table of the module says: time goes on by what passes.
///
/// ```
/// use idempotency_ledger::time::{BootId, BootTime, ClockReading, Timekeeper};
/// use idempotency_ledger::Timestamp;
/// use std::time::Duration;
///
/// let day = Duration::from_secs(86_400);
/// let boot = BootId::from_bytes([7; 16]);
/// let at = |wall_ms, seconds| {
///     let elapsed = Duration::from_secs(seconds);
///     let boot = Some(BootTime { boot, since_start: elapsed });
///     ClockReading { wall: Timestamp::from_unix_ms(wall_ms), elapsed, boot }
/// };
/// let mut time = Timekeeper::new(Timestamp::EPOCH, day * 365);
/// assert_eq!(time.read(at(1_000, 1)).now.unix_ms(), 1_000);
/// // Two seconds later the wall clock shows two days more: by the boot clock it leapt.
/// let reading = time.read(at(172_803_000, 3));
/// assert_eq!(reading.now.unix_ms(), 3_000);
/// assert!(reading.unconfirmed_jump.is_some());
/// time.confirm(at(172_803_000, 3));
/// assert_eq!(time.read(at(172_803_000, 3)).now.unix_ms(), 172_803_000);
/// ```
#[derive(Clone, Debug)]
pub struct Timekeeper {
    mark: ClockMark,
    /// The process's clock at the mark's time.
    last_elapsed: Duration,
    jump_max: Duration,
}

impl Timekeeper {
    /// Starts from a mark without a boot clock; at [`Timestamp::EPOCH`] the first wall clock is
    /// believed.
    #[must_use]
    pub fn new(mark: Timestamp, jump_max: Duration) -> Self {
        Self {
            mark: ClockMark::from(mark),
            last_elapsed: Duration::ZERO,
            jump_max,
        }
    }

    /// The time at a reading.
    pub fn read(&mut self, at: ClockReading) -> TimeReading {
        let (reading, leap) = self.judge(at);
        self.advance_to(reading.now, at);
        self.mark.leap = leap;
        reading
    }

    fn judge(&self, at: ClockReading) -> (TimeReading, Option<Leap>) {
        let wall = at.wall;
        if self.mark.now == Timestamp::EPOCH {
            return (TimeReading::agrees(wall, wall), None);
        }
        let since_mark = self.since_mark(at);
        let expected = self.mark.now.saturating_add(since_mark.span());
        let ahead = wall.saturating_since(expected);
        let behind = expected.saturating_since(wall) > LEAP_MIN;
        let new = |unmeasured| Leap {
            since: expected,
            wall,
            unmeasured,
        };
        let known = self.mark.leap;
        let leap = match since_mark {
            SinceMark::Measured(_) => {
                let same = known.filter(|leap| leap.agrees(wall, expected));
                let is_believed = same.is_some_and(|leap| {
                    !leap.unmeasured && expected.saturating_since(leap.since) >= LEAP_BELIEVED_AFTER
                });
                let is_away = behind || (ahead > self.leap_min() && !is_believed);
                is_away.then(|| same.unwrap_or_else(|| new(false)))
            }
            SinceMark::Unmeasured(_) if ahead > self.jump_max => {
                let same = known.filter(|leap| leap.unmeasured && leap.agrees(wall, expected));
                Some(same.unwrap_or_else(|| new(true)))
            }
            // While the machine was off the wall clock came nearer: the leap is another, and has
            // been there since before.
            SinceMark::Unmeasured(_) => behind.then(|| {
                let before = known.filter(|leap| leap.wall < leap.since);
                before.map_or_else(
                    || new(true),
                    |leap| Leap {
                        since: leap.since,
                        wall: wall.saturating_sub(expected.saturating_since(leap.since)),
                        unmeasured: true,
                    },
                )
            }),
        };
        let reading = match leap {
            None => TimeReading::agrees(expected.max(wall), wall),
            Some(leap) => TimeReading::away(expected, wall, leap),
        };
        (reading, leap)
    }

    /// A `jump_max` below 5 minutes binds within a boot as well.
    fn leap_min(&self) -> Duration {
        LEAP_MIN.min(self.jump_max)
    }

    /// What has passed since the mark. A boot clock that ran back is that of another start under a
    /// copied identity, or one in a namespace of its own: nothing is measured by it.
    fn since_mark(&self, at: ClockReading) -> SinceMark {
        let passed = floor_ms(at.elapsed.saturating_sub(self.last_elapsed));
        match (self.mark.boot, at.boot) {
            (Some(then), Some(now)) if then.boot == now.boot => {
                match floor_ms(now.since_start).checked_sub(then.since_start) {
                    Some(span) => SinceMark::Measured(span),
                    None => SinceMark::Unmeasured(passed),
                }
            }
            // No machine starts within a millisecond, and so no two boots have the same time.
            (Some(_), Some(_)) => SinceMark::Unmeasured(passed.max(Duration::from_millis(1))),
            (None, _) | (_, None) => SinceMark::Unmeasured(passed),
        }
    }

    fn advance_to(&mut self, now: Timestamp, at: ClockReading) {
        if now > self.mark.now {
            // The fraction of a millisecond that has passed is kept for the next reading.
            let fraction = Duration::from_nanos(u64::from(at.elapsed.subsec_nanos() % 1_000_000));
            self.mark.now = now;
            self.last_elapsed = at.elapsed.saturating_sub(fraction);
        }
        self.mark.boot = at.boot.map(|boot| BootTime {
            since_start: floor_ms(boot.since_start),
            ..boot
        });
    }

    /// Learns a mark that the file holds, from any process.
    ///
    /// The newer mark counts, with its boot clock and its leap. Of an older one only a
    /// contradiction counts: a mark from after the beginning of a leap that does not have it says
    /// that another process has seen a wall clock that did not leap.
    pub fn absorb(&mut self, seen: ClockMark, elapsed: Duration) {
        if seen.rank() > self.mark.rank() {
            self.mark = seen;
            self.last_elapsed = elapsed;
        } else if seen.rewinds == self.mark.rewinds
            && let Some(leap) = self.mark.leap
            && seen.now >= leap.since
            && seen.leap.is_none_or(|theirs| theirs.since > leap.since)
        {
            self.mark.leap = seen.leap;
        }
    }

    /// Believes the wall clock, however far it leapt ahead.
    pub fn confirm(&mut self, at: ClockReading) {
        if at.wall > self.mark.now {
            self.advance_to(at.wall, at);
            self.mark.leap = None;
        }
    }

    /// Takes the time back to the wall clock. A time that is not ahead of it stays.
    pub fn take_back(&mut self, at: ClockReading) {
        if at.wall < self.read(at).now {
            self.mark = ClockMark {
                rewinds: self.mark.rewinds.saturating_add(1),
                ..ClockMark::default()
            };
            self.advance_to(at.wall, at);
        }
    }

    /// The newest time seen, as it is to be stored.
    #[must_use]
    pub const fn mark(&self) -> ClockMark {
        self.mark
    }
}

/// The time since the mark, and how it is known.
#[derive(Clone, Copy)]
enum SinceMark {
    Measured(Duration),
    Unmeasured(Duration),
}

impl SinceMark {
    const fn span(self) -> Duration {
        match self {
            Self::Measured(span) | Self::Unmeasured(span) => span,
        }
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

    fn at(wall: Timestamp, elapsed: Duration) -> ClockReading {
        let boot = None;
        ClockReading {
            wall,
            elapsed,
            boot,
        }
    }

    #[test]
    fn set_back_one_hour_still_passes() {
        let start = Timestamp::from_unix_ms(100_000_000);
        let mut time = Timekeeper::new(Timestamp::EPOCH, HOUR * 24);
        assert_eq!(time.read(at(start, Duration::ZERO)).now, start);
        let back = start.saturating_sub(HOUR);
        let later = time.read(at(back, Duration::from_secs(60))).now;
        assert_eq!(later, start.saturating_add(Duration::from_secs(60)));
    }

    #[test]
    fn many_short_readings_lose_no_time() {
        let start = Timestamp::from_unix_ms(100_000_000);
        let mut time = Timekeeper::new(start, HOUR);
        for micros in (0_u64..10_000).step_by(300) {
            let _ = time.read(at(Timestamp::EPOCH, Duration::from_micros(micros)));
        }
        let now = time
            .read(at(Timestamp::EPOCH, Duration::from_millis(10)))
            .now;
        assert_eq!(now.unix_ms(), 100_000_010);
    }
}
