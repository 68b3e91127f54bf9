//! The one door for time: nothing else in the crate reads a clock or waits on one.

use std::fmt;
use std::future::{Future, poll_fn};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::decision::{BootId, BootTime, ClockReading, Timestamp};
use crate::file::platform;

/// Where a ledger takes the time from. The default is [`SystemClock`].
///
/// ```
/// use idempotency_ledger::{Clock, ManualClock, Timestamp};
/// use std::time::Duration;
///
/// let clock = ManualClock::starting_at(Timestamp::from_unix_ms(1_000));
/// clock.advance(Duration::from_secs(1));
/// assert_eq!(clock.wall(), Timestamp::from_unix_ms(2_000));
/// ```
pub trait Clock: fmt::Debug + Send + Sync {
    /// What a clock on the wall shows; it may be set back or leap.
    fn wall(&self) -> Timestamp;

    /// How much time has passed since some fixed moment; it never runs back.
    fn elapsed(&self) -> Duration;

    /// The clock that counts from the machine's start, sleep included, and that nothing sets. With
    /// it a leap of the wall clock is measured, also over restarts of the program. `None` where
    /// there is none: then only leaps of more than [`Builder::clock_jump_max`] are held back.
    ///
    /// [`Builder::clock_jump_max`]: crate::Builder::clock_jump_max
    fn boot(&self) -> Option<BootTime> {
        None
    }

    /// Who has to be told when the time is moved by hand. `None` for a clock that runs by itself.
    fn sleepers(&self) -> Option<&Sleepers> {
        None
    }
}

/// The clock of the operating system.
///
/// ```
/// use idempotency_ledger::{Clock, SystemClock, Timestamp};
///
/// assert!(SystemClock::new().wall() > Timestamp::EPOCH);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug)]
pub struct SystemClock {
    started: Instant,
}

impl SystemClock {
    /// A clock that counts elapsed time from now.
    #[must_use]
    pub fn new() -> Self {
        #[expect(
            clippy::disallowed_methods,
            reason = "this module is the door for time"
        )]
        Self {
            started: Instant::now(),
        }
    }
}

impl Default for SystemClock {
    fn default() -> Self {
        Self::new()
    }
}

impl Clock for SystemClock {
    fn wall(&self) -> Timestamp {
        #[expect(
            clippy::disallowed_methods,
            reason = "this module is the door for time"
        )]
        let since = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or(Duration::ZERO);
        Timestamp::from_unix_ms(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
    }

    fn elapsed(&self) -> Duration {
        #[expect(
            clippy::disallowed_methods,
            reason = "this module is the door for time"
        )]
        let elapsed = self.started.elapsed();
        elapsed
    }

    fn boot(&self) -> Option<BootTime> {
        platform::boot_time()
    }
}

/// All that a clock shows, read together.
pub(crate) fn reading(clock: &dyn Clock) -> ClockReading {
    ClockReading {
        wall: clock.wall(),
        elapsed: clock.elapsed(),
        boot: clock.boot(),
    }
}

/// A clock that is moved by hand, for tests. Clones share one time; waiting calls wake when it
/// moves.
///
/// ```
/// use idempotency_ledger::{Ledger, ManualClock, Timestamp};
/// use std::time::Duration;
///
/// let clock = ManualClock::starting_at(Timestamp::from_unix_ms(1_000));
/// let folder = tempfile::tempdir()?;
/// let ledger = Ledger::builder().clock(clock.clone()).open(folder.path().join("app.redb"))?;
/// clock.advance(Duration::from_secs(2));
/// assert_eq!(ledger.now().unix_ms(), 3_000);
/// clock.set_wall(Timestamp::EPOCH); // set back: the ledger's time does not follow
/// assert_eq!(ledger.now().unix_ms(), 3_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<ManualTime>);

#[derive(Debug)]
struct ManualTime {
    shown: Mutex<Shown>,
    sleepers: Sleepers,
}

#[derive(Debug)]
struct Shown {
    wall: Timestamp,
    elapsed: Duration,
    boot: Option<BootTime>,
}

impl Shown {
    /// Lets time pass for the wall and for the machine.
    fn advance(&mut self, span: Duration) {
        self.wall = self.wall.saturating_add(span);
        if let Some(boot) = &mut self.boot {
            boot.since_start = boot.since_start.saturating_add(span);
        }
    }
}

impl ManualClock {
    /// A clock that shows `wall` until it is moved.
    #[must_use]
    pub fn starting_at(wall: Timestamp) -> Self {
        Self(Arc::new(ManualTime {
            shown: Mutex::new(Shown {
                wall,
                elapsed: Duration::ZERO,
                boot: None,
            }),
            sleepers: Sleepers::default(),
        }))
    }

    /// Lets time pass.
    pub fn advance(&self, span: Duration) {
        {
            let mut shown = locked(&self.0.shown);
            shown.advance(span);
            shown.elapsed = shown.elapsed.saturating_add(span);
        }
        self.0.sleepers.wake();
    }

    /// Sets the wall clock, as a person or a time server would; no time passes.
    pub fn set_wall(&self, wall: Timestamp) {
        locked(&self.0.shown).wall = wall;
        self.0.sleepers.wake();
    }

    /// Starts a machine with a boot clock, or starts it again: the boot clock counts from zero.
    /// Without this call there is none, and nothing measures a leap.
    ///
    /// ```
    /// use idempotency_ledger::time::BootId;
    /// use idempotency_ledger::{Clock, ManualClock, Timestamp};
    /// use std::time::Duration;
    ///
    /// let clock = ManualClock::starting_at(Timestamp::from_unix_ms(1_000));
    /// assert_eq!(clock.boot(), None);
    /// clock.start_machine(BootId::from_bytes([1; 16]));
    /// clock.sleep_machine(Duration::from_secs(60));
    /// assert_eq!(clock.boot().map(|at| at.since_start), Some(Duration::from_secs(60)));
    /// assert_eq!(clock.wall(), Timestamp::from_unix_ms(61_000));
    /// assert_eq!(clock.elapsed(), Duration::ZERO);
    /// ```
    pub fn start_machine(&self, boot: BootId) {
        locked(&self.0.shown).boot = Some(BootTime {
            boot,
            since_start: Duration::ZERO,
        });
    }

    /// Lets the machine sleep: the wall clock and the boot clock go on, the process does not.
    pub fn sleep_machine(&self, span: Duration) {
        locked(&self.0.shown).advance(span);
        self.0.sleepers.wake();
    }

    /// How many calls are waiting for this clock or for an event beside it. Tests wait for a
    /// number here instead of sleeping.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.0.sleepers.count()
    }
}

impl Clock for ManualClock {
    fn wall(&self) -> Timestamp {
        locked(&self.0.shown).wall
    }

    fn elapsed(&self) -> Duration {
        locked(&self.0.shown).elapsed
    }

    fn boot(&self) -> Option<BootTime> {
        locked(&self.0.shown).boot
    }

    fn sleepers(&self) -> Option<&Sleepers> {
        Some(&self.0.sleepers)
    }
}

/// The calls that wait on a clock which is moved by hand.
#[derive(Debug, Default)]
pub struct Sleepers(Mutex<Vec<Weak<SignalState>>>);

impl Sleepers {
    fn enter(&self, signal: &Signal) {
        let mut sleeping = locked(&self.0);
        sleeping.retain(|sleeper| sleeper.strong_count() > 0);
        sleeping.push(Arc::downgrade(&signal.0));
    }

    fn leave(&self, signal: &Signal) {
        locked(&self.0).retain(|sleeper| !std::ptr::eq(sleeper.as_ptr(), Arc::as_ptr(&signal.0)));
    }

    fn count(&self) -> usize {
        locked(&self.0).len()
    }

    /// Lets every sleeper look at the clock again. The list is copied first: a sleeper holds its
    /// own lock while it takes this one.
    fn wake(&self) {
        let sleeping: Vec<_> = locked(&self.0).iter().filter_map(Weak::upgrade).collect();
        for sleeper in sleeping {
            drop(locked(&sleeper.fired));
            sleeper.changed.notify_all();
        }
    }
}

/// An event that one call waits for and others fire.
#[derive(Clone, Debug, Default)]
pub(crate) struct Signal(Arc<SignalState>);

#[derive(Debug, Default)]
struct SignalState {
    fired: Mutex<bool>,
    changed: Condvar,
    /// The task that waits for it, where one does.
    task: Mutex<Option<Waker>>,
}

/// How a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Woken {
    Fired,
    TimedOut,
}

impl Signal {
    pub(crate) fn fire(&self) {
        *locked(&self.0.fired) = true;
        self.0.changed.notify_all();
        let task = locked(&self.0.task).take();
        if let Some(task) = task {
            task.wake();
        }
    }

    /// Waits until the signal fires, and takes it, without holding a thread.
    pub(crate) fn fired(&self) -> impl Future<Output = ()> + '_ {
        poll_fn(|context| {
            // Entered before looking: a signal that fires in between is not missed.
            *locked(&self.0.task) = Some(context.waker().clone());
            if std::mem::take(&mut *locked(&self.0.fired)) {
                return Poll::Ready(());
            }
            Poll::Pending
        })
    }

    /// Waits until the signal fires, and takes it, or until `clock` has shown `until` (elapsed
    /// time); `None` waits for the signal alone.
    pub(crate) fn wait(&self, clock: &dyn Clock, until: Option<Duration>) -> Woken {
        let mut fired = locked(&self.0.fired);
        loop {
            if std::mem::take(&mut *fired) {
                return Woken::Fired;
            }
            let left = until.map(|until| until.saturating_sub(clock.elapsed()));
            if left == Some(Duration::ZERO) {
                return Woken::TimedOut;
            }
            fired = match clock.sleepers() {
                Some(sleepers) => {
                    sleepers.enter(self);
                    // Looked at again behind the entry: a clock moved before it wakes nobody.
                    if until.is_some_and(|until| clock.elapsed() >= until) {
                        sleepers.leave(self);
                        return Woken::TimedOut;
                    }
                    let fired = unpoisoned(self.0.changed.wait(fired));
                    sleepers.leave(self);
                    fired
                }
                None => match left {
                    Some(left) => unpoisoned(self.0.changed.wait_timeout(fired, left)).0,
                    None => unpoisoned(self.0.changed.wait(fired)),
                },
            };
        }
    }
}

/// Locks a mutex whose data is valid at every moment, so that a panic elsewhere does not spread.
pub(crate) fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    unpoisoned(mutex.lock())
}

pub(crate) fn unpoisoned<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}

/// Waits between attempts at something that only other processes can free.
const RETRY_FIRST: Duration = Duration::from_micros(200);
const RETRY_MAX: Duration = Duration::from_millis(5);

/// Attempts something until it succeeds, or until `timeout` of real time is over; then it says how
/// long it waited. The first attempt is always made.
pub(crate) fn retry_within<T, E>(
    timeout: Option<Duration>,
    mut attempt: impl FnMut() -> Result<Option<T>, E>,
) -> Result<Result<T, Duration>, E> {
    let (clock, pause) = (SystemClock::new(), Signal::default());
    let mut retry = RETRY_FIRST;
    loop {
        if let Some(done) = attempt()? {
            return Ok(Ok(done));
        }
        let waited = clock.elapsed();
        if timeout.is_some_and(|timeout| waited >= timeout) {
            return Ok(Err(waited));
        }
        let _ = pause.wait(&clock, Some(waited.saturating_add(retry)));
        retry = (retry * 2).min(RETRY_MAX);
    }
}

/// The next message, if it comes within the span, of which the time that passed is taken.
#[expect(
    clippy::disallowed_methods,
    reason = "this module is the door for time"
)]
pub(crate) fn received_within<T>(line: &Receiver<T>, span: &mut Duration) -> Option<T> {
    let began = Instant::now();
    let received = line.recv_timeout(*span).ok();
    *span = span.saturating_sub(began.elapsed());
    received
}
