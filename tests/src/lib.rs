//! What the tests share: clocks, storage that counts or fails, short ways to begin.

#![expect(
    clippy::missing_panics_doc,
    reason = "in a test a panic is the verdict"
)]

pub mod storage;
pub mod workload;

use std::time::Duration;

use idempotency_ledger::time::BootId;
use idempotency_ledger::{
    Begin, Claim, EventCounts, Fingerprint, Key, Ledger, ManualClock, Namespace, NamespaceStats,
    Refusal, Replay, Stats, Ticket, Timestamp,
};

/// Random cases, without a file beside the sources for those that fail: their input is printed.
#[must_use]
pub fn cases(count: u32) -> proptest::test_runner::Config {
    proptest::test_runner::Config {
        cases: count,
        failure_persistence: None,
        ..proptest::test_runner::Config::default()
    }
}

/// A namespace under the default policy.
pub const PAYMENTS: Namespace = Namespace::new("payments");

/// Where every manual clock starts: 2026-01-01.
pub const START: Timestamp = Timestamp::from_unix_ms(1_767_225_600_000);

/// A manual clock at [`START`].
#[must_use]
pub fn clock() -> ManualClock {
    ManualClock::starting_at(START)
}

/// A manual clock at [`START`], of a machine that has just been started and says which boot it is.
#[must_use]
pub fn booted_clock(boot: u8) -> ManualClock {
    let clock = clock();
    clock.start_machine(BootId::from_bytes([boot; 16]));
    clock
}

/// A key of version 7 with a time of its own.
#[must_use]
pub fn key_of(time: Timestamp, number: u16) -> Key {
    let ms = time.unix_ms();
    let text = format!(
        "{:08x}-{:04x}-7000-8000-00000000{number:04x}",
        ms >> 16,
        ms & 0xffff
    );
    let key = key(&text);
    assert_eq!(key.time(), Some(time));
    key
}

/// A key from its text.
#[must_use]
pub fn key(text: &str) -> Key {
    Key::new(text).expect("tests use valid keys")
}

/// A request that everybody agrees on.
#[must_use]
pub fn asked() -> Fingerprint {
    Fingerprint::of(["pay", "25 EUR"])
}

/// A ledger in memory with its clock.
#[must_use]
pub fn in_memory() -> (Ledger, ManualClock) {
    let clock = clock();
    let ledger = Ledger::builder()
        .clock(clock.clone())
        .open_backend(redb::backends::InMemoryBackend::new())
        .expect("memory opens");
    (ledger, clock)
}

/// Seconds as a span.
#[must_use]
pub const fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

/// Lets other threads go on until `reached` says so, and ends the test if it never does. For what
/// has no event to wait for, such as the number of calls that wait.
#[track_caller]
pub fn until(what: &str, mut reached: impl FnMut() -> bool) {
    for _ in 0..20_000_000_u64 {
        if reached() {
            return;
        }
        std::thread::yield_now();
    }
    panic!("never reached: {what}");
}

/// What the namespaces hold, whatever their callers met.
#[must_use]
pub fn held(stats: Stats) -> Vec<NamespaceStats> {
    let without_events = |namespace| NamespaceStats {
        events: EventCounts::default(),
        ..namespace
    };
    stats.namespaces.into_iter().map(without_events).collect()
}

/// Begins under [`PAYMENTS`] with [`asked`].
pub fn begin(ledger: &Ledger, text: &str) -> Begin {
    ledger
        .operation(PAYMENTS, &key(text), asked())
        .begin()
        .expect("the ledger works")
}

/// What a begin has to be, or the test ends.
pub trait Expect {
    /// A claim.
    fn fresh(self) -> Claim;
    /// A stored answer.
    fn replay(self) -> Replay;
    /// A ticket.
    fn interrupted(self) -> Ticket;
    /// A refusal.
    fn refused(self) -> Refusal;
}

impl Expect for Begin {
    #[track_caller]
    fn fresh(self) -> Claim {
        match self {
            Self::Fresh(claim) => claim,
            other => panic!("expected a claim, got {other:?}"),
        }
    }

    #[track_caller]
    fn replay(self) -> Replay {
        match self {
            Self::Replay(replay) => replay,
            other => panic!("expected a replay, got {other:?}"),
        }
    }

    #[track_caller]
    fn interrupted(self) -> Ticket {
        match self {
            Self::Interrupted(ticket) => ticket,
            other => panic!("expected a ticket, got {other:?}"),
        }
    }

    #[track_caller]
    fn refused(self) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal,
            other => panic!("expected a refusal, got {other:?}"),
        }
    }
}
