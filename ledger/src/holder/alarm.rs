//! Alarms for asynchronous callers that wait until a time: one thread rings for all of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::clock::{Clock, Signal, locked};
use crate::error::Error;
use crate::file::platform::Process;

/// Signals that fire at a time of one clock. The thread starts with the first of them.
#[derive(Debug)]
pub(crate) struct Alarms {
    clock: Arc<dyn Clock>,
    board: Arc<Board>,
    is_started: Mutex<bool>,
}

#[derive(Debug)]
struct Board {
    /// Whose thread rings. In a fork there is none, and what it had locked stays locked.
    process: Process,
    due: Mutex<Due>,
    /// Wakes the thread when an earlier alarm is set.
    bell: Signal,
    is_over: AtomicBool,
}

/// By elapsed time, and a number that tells those of the same time apart.
#[derive(Debug, Default)]
struct Due {
    signals: BTreeMap<(Duration, u64), Signal>,
    numbers: u64,
}

/// An alarm that is set; dropping it takes it back.
#[derive(Debug)]
pub(crate) struct Alarm {
    board: Arc<Board>,
    place: (Duration, u64),
}

impl Alarms {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self {
            clock,
            board: Arc::new(Board {
                process: Process::current(),
                due: Mutex::default(),
                bell: Signal::default(),
                is_over: AtomicBool::new(false),
            }),
            is_started: Mutex::new(false),
        }
    }

    pub(crate) fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Fires the signal when the clock has shown `at`, as elapsed time.
    pub(crate) fn set(&self, at: Duration, signal: &Signal) -> Result<Alarm, Error> {
        self.start()?;
        let mut due = locked(&self.board.due);
        due.numbers += 1;
        let place = (at, due.numbers);
        due.signals.insert(place, signal.clone());
        drop(due);
        self.board.bell.fire();
        Ok(Alarm {
            board: Arc::clone(&self.board),
            place,
        })
    }

    fn start(&self) -> Result<(), Error> {
        let mut is_started = locked(&self.is_started);
        if !*is_started {
            let (clock, board) = (Arc::clone(&self.clock), Arc::clone(&self.board));
            thread::Builder::new()
                .name("idempotency-alarm".into())
                .spawn(move || ring(&*clock, &board))
                .map_err(Error::io)?;
            *is_started = true;
        }
        Ok(())
    }
}

impl Drop for Alarms {
    fn drop(&mut self) {
        self.board.is_over.store(true, Ordering::SeqCst);
        if self.board.process.is_current() {
            // A task that still waits has lost its ledger, and ends.
            let due = locked(&self.board.due);
            due.signals.values().for_each(Signal::fire);
            drop(due);
            self.board.bell.fire();
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        if self.board.process.is_current() {
            locked(&self.board.due).signals.remove(&self.place);
        }
    }
}

fn ring(clock: &dyn Clock, board: &Board) {
    while !board.is_over.load(Ordering::SeqCst) {
        let now = clock.elapsed();
        let next = {
            let mut due = locked(&board.due);
            let later = due.signals.split_off(&(now, u64::MAX));
            let ringing = std::mem::replace(&mut due.signals, later);
            let next = due.signals.keys().next().map(|(at, _)| *at);
            drop(due);
            ringing.values().for_each(Signal::fire);
            next
        };
        let _ = board.bell.wait(clock, next);
    }
}
