//! The rows that say how far a namespace and the file have got: fence, time, counters.

use std::time::Duration;

use bincode::{Decode, Encode};
#[cfg(test)]
use serde::Serialize;

use super::{Unreadable, VERSION, decode_body, open_seal, seal, seal_as};
use crate::decision::{BootId, BootTime, ClockMark, Leap, Timestamp};

/// Of tails and floors that say more of the clock than its time.
const VERSION_WITH_CLOCK: u8 = 2;

/// The last row of a namespace: its counters, and what the file must never forget.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tail {
    /// Stored records, expired ones that were not swept included.
    pub(crate) records: u64,
    /// Of these, claims: running or interrupted.
    pub(crate) claimed: u64,
    /// Bytes of their keys and values.
    pub(crate) bytes: u64,
    /// The highest fence given out in this namespace.
    pub(crate) fence: u64,
    /// The time at which the namespace was last written.
    pub(crate) mark: ClockMark,
    /// The newest time inside a key that was ever removed by sweeping; 0 for none.
    pub(crate) newest_removed_ms: u64,
}

#[derive(Encode, Decode)]
#[cfg_attr(test, derive(Serialize, serde::Deserialize))]
pub(super) struct StoredTail {
    records: u64,
    claimed: u64,
    bytes: u64,
    fence: u64,
    mark_ms: u64,
    newest_removed_ms: u64,
}

/// What a mark says beside its time.
#[derive(Encode, Decode)]
#[cfg_attr(test, derive(Serialize, serde::Deserialize))]
pub(super) struct StoredClock {
    pub(super) rewinds: u32,
    pub(super) boot: Option<StoredBoot>,
    pub(super) leap: Option<StoredLeap>,
}

#[derive(Encode, Decode)]
#[cfg_attr(test, derive(Serialize, serde::Deserialize))]
pub(super) struct StoredBoot {
    pub(super) id: [u8; 16],
    pub(super) since_start_ms: u64,
}

#[derive(Encode, Decode)]
#[cfg_attr(test, derive(Serialize, serde::Deserialize))]
pub(super) struct StoredLeap {
    pub(super) since_ms: u64,
    pub(super) wall_ms: u64,
    pub(super) unmeasured: bool,
}

impl StoredClock {
    /// `None` where the time says it all: then the bytes are those of version 1.
    pub(super) fn of(mark: &ClockMark) -> Option<Self> {
        let clock = Self {
            rewinds: mark.rewinds,
            boot: mark.boot.map(|at| StoredBoot {
                id: at.boot.to_bytes(),
                since_start_ms: u64::try_from(at.since_start.as_millis()).unwrap_or(u64::MAX),
            }),
            leap: mark.leap.map(|leap| StoredLeap {
                since_ms: leap.since.unix_ms(),
                wall_ms: leap.wall.unix_ms(),
                unmeasured: leap.unmeasured,
            }),
        };
        // A leap that no boot clock measured is met anew by each opening.
        (clock.rewinds > 0 || clock.boot.is_some()).then_some(clock)
    }

    fn mark(self, now_ms: u64) -> ClockMark {
        ClockMark {
            rewinds: self.rewinds,
            now: Timestamp::from_unix_ms(now_ms),
            boot: self.boot.map(|at| BootTime {
                boot: BootId::from_bytes(at.id),
                since_start: Duration::from_millis(at.since_start_ms),
            }),
            leap: self.leap.map(|leap| Leap {
                since: Timestamp::from_unix_ms(leap.since_ms),
                wall: Timestamp::from_unix_ms(leap.wall_ms),
                unmeasured: leap.unmeasured,
            }),
        }
    }
}

fn mark_of(now_ms: u64, clock: Option<StoredClock>) -> ClockMark {
    match clock {
        None => ClockMark::from(Timestamp::from_unix_ms(now_ms)),
        Some(clock) => clock.mark(now_ms),
    }
}

/// Seals what a mark is part of: with its clock in version 2, or without in version 1.
fn seal_with_clock<T: Encode>(key: &[u8], stored: T, mark: &ClockMark) -> Vec<u8> {
    match StoredClock::of(mark) {
        None => seal(key, &stored),
        Some(clock) => seal_as(VERSION_WITH_CLOCK, key, &(stored, clock)),
    }
}

fn open_with_clock<T: Decode<()>>(
    key: &[u8],
    sealed: &[u8],
) -> Result<(T, Option<StoredClock>), Unreadable> {
    match open_seal(key, sealed)? {
        (VERSION, body) => Ok((decode_body(body)?, None)),
        (VERSION_WITH_CLOCK, body) => {
            let (stored, clock) = decode_body(body)?;
            Ok((stored, Some(clock)))
        }
        (version, _) => Err(Unreadable::NewerVersion(version)),
    }
}

pub(crate) fn encode_tail(key: &[u8], tail: &Tail) -> Vec<u8> {
    let stored = StoredTail {
        records: tail.records,
        claimed: tail.claimed,
        bytes: tail.bytes,
        fence: tail.fence,
        mark_ms: tail.mark.now.unix_ms(),
        newest_removed_ms: tail.newest_removed_ms,
    };
    seal_with_clock(key, stored, &tail.mark)
}

pub(crate) fn decode_tail(key: &[u8], sealed: &[u8]) -> Result<Tail, Unreadable> {
    let (stored, clock): (StoredTail, _) = open_with_clock(key, sealed)?;
    Ok(Tail {
        records: stored.records,
        claimed: stored.claimed,
        bytes: stored.bytes,
        fence: stored.fence,
        mark: mark_of(stored.mark_ms, clock),
        newest_removed_ms: stored.newest_removed_ms,
    })
}

/// What fence and time may never fall below, for a file whose tails do not say so yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Floor {
    pub(crate) fence: u64,
    pub(crate) mark: ClockMark,
}

impl Floor {
    /// What a file has reached whose tails say so as well.
    pub(crate) fn and(self, tail: &Tail) -> Self {
        Self {
            fence: self.fence.max(tail.fence),
            mark: self.mark.newer(tail.mark),
        }
    }
}

#[derive(Encode, Decode)]
#[cfg_attr(test, derive(Serialize, serde::Deserialize))]
pub(super) struct StoredFloor {
    fence: u64,
    mark_ms: u64,
}

pub(crate) fn encode_floor(key: &[u8], floor: &Floor) -> Vec<u8> {
    let stored = StoredFloor {
        fence: floor.fence,
        mark_ms: floor.mark.now.unix_ms(),
    };
    seal_with_clock(key, stored, &floor.mark)
}

pub(crate) fn decode_floor(key: &[u8], sealed: &[u8]) -> Result<Floor, Unreadable> {
    let (stored, clock): (StoredFloor, _) = open_with_clock(key, sealed)?;
    Ok(Floor {
        fence: stored.fence,
        mark: mark_of(stored.mark_ms, clock),
    })
}
