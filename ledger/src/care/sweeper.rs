//! Sweeping from time to time, on a thread of its own.

use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::clock::{Clock, Signal, Woken};
use crate::error::Error;
use crate::file::platform::Process;
use crate::store::write_store::Swept;

/// Sweeps a ledger until it is dropped; see [`Ledger::sweep_every`](crate::Ledger::sweep_every).
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// use std::time::Duration;
///
/// let sweeper = ledger.sweep_every(Duration::from_secs(60), 1_000);
/// // ... the program runs ...
/// drop(sweeper); // its thread has ended
/// assert_eq!(ledger.stats()?.records(), 0);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
#[must_use = "sweeping ends when this is dropped"]
pub struct Sweeper {
    process: Process,
    stop: Signal,
    thread: Option<thread::JoinHandle<()>>,
}

impl Sweeper {
    /// Calls `sweep` every `period`, and again at once while it says that more is left.
    pub(crate) fn start(
        clock: Arc<dyn Clock>,
        period: Duration,
        sweep: impl Fn() -> Result<Swept, Error> + Send + 'static,
    ) -> Self {
        let stop = Signal::default();
        let stopped = stop.clone();
        let sweeping = move || {
            let mut more = false;
            loop {
                // A period of zero would spin; what is left over is swept without a pause.
                let pause = if more {
                    Duration::ZERO
                } else {
                    period.max(PERIOD_MIN)
                };
                let until = clock.elapsed().saturating_add(pause);
                if stopped.wait(&*clock, Some(until)) == Woken::Fired {
                    return;
                }
                // A sweep that fails is tried again: nothing depends on it but space.
                more = sweep().is_ok_and(|swept| swept.more && swept.removed > 0);
            }
        };
        let thread = thread::Builder::new()
            .name("idempotency-sweep".into())
            .spawn(sweeping);
        Self {
            process: Process::current(),
            stop,
            thread: Some(thread.expect("the system has a thread left")),
        }
    }
}

const PERIOD_MIN: Duration = Duration::from_millis(1);

impl Drop for Sweeper {
    fn drop(&mut self) {
        // A fork has no such thread, and would wait for it for ever.
        if !self.process.is_current() {
            return;
        }
        self.stop.fire();
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported, and there is nothing left to stop.
            let _ = thread.join();
        }
    }
}
