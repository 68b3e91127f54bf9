//! The threads that wait for what can happen while a command runs, and report it as events.

use std::convert::Infallible;
use std::io::{self, PipeReader};
use std::os::fd::OwnedFd;
use std::sync::Mutex;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::Scope;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use signal_hook::iterator::Handle;

use super::capture::{Recorder, Stream};
use super::display::Display;
use super::pump::pump;
use super::signals::{Received, Signals};

/// What can happen while a command runs.
#[derive(Debug)]
pub(crate) enum Event {
    Signal(Received),
    /// The command is gone, and not yet reaped, so its process id is still its own.
    CommandGone(io::Result<()>),
    /// One of its streams has ended; why it could not be shown, if so.
    StreamEnded(Option<io::Error>),
    RenewalDue,
    GrandchildWaitOver,
}

/// Starts the threads. All of them end with the scope.
#[derive(Debug)]
pub(crate) struct Watch<'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    events: Sender<Event>,
}

impl<'scope, 'env> Watch<'scope, 'env> {
    pub(crate) fn new(scope: &'scope Scope<'scope, 'env>, events: Sender<Event>) -> Self {
        Self { scope, events }
    }

    /// Reports the end of the command without reaping it.
    pub(crate) fn command(&self, pid: Pid) {
        self.report(move || Event::CommandGone(wait_unreaped(pid)));
    }

    /// Moves one stream until it ends or `reading` rings, and shows it until `showing` rings.
    pub(crate) fn stream(
        &self,
        source: OwnedFd,
        stream: Stream,
        recorder: &'env Mutex<Recorder>,
        reading: &'env PipeReader,
        showing: &'env PipeReader,
    ) {
        self.report(move || {
            let mut display = Display::until(stream, showing);
            pump(source, stream, recorder, &mut display, reading);
            Event::StreamEnded(display.into_failure())
        });
    }

    /// Reports every signal until the result is dropped.
    pub(crate) fn signals(&self, mut signals: Signals) -> SignalsWatched {
        let watched = SignalsWatched(signals.handle());
        let events = self.events.clone();
        self.scope.spawn(move || {
            signals.deliver(|signal| {
                let _ = events.send(Event::Signal(signal));
            });
        });
        watched
    }

    /// Reports the event after `span`, and again as long as it says so and the result lives.
    pub(crate) fn alarm(&self, span: Duration, repeat: Repeat, event: fn() -> Event) -> Alarm {
        let (stopper, called_off) = mpsc::channel::<Infallible>();
        let events = self.events.clone();
        self.scope.spawn(move || {
            while let Err(RecvTimeoutError::Timeout) = called_off.recv_timeout(span) {
                if events.send(event()).is_err() || repeat == Repeat::Never {
                    break;
                }
            }
        });
        Alarm { _stopper: stopper }
    }

    fn report(&self, wait: impl FnOnce() -> Event + Send + 'scope) {
        let events = self.events.clone();
        self.scope.spawn(move || {
            // Nobody listens any more once the command and its output have ended.
            let _ = events.send(wait());
        });
    }
}

/// Whether an alarm goes off more than once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    Never,
    Forever,
}

/// An alarm that is called off when this is dropped.
#[derive(Debug)]
#[must_use = "dropping it calls the alarm off"]
pub(crate) struct Alarm {
    _stopper: Sender<Infallible>,
}

/// Signals that are reported until this is dropped. They stay watched, so that none of them ends
/// `idem` between the end of its command and the storing of the result.
#[derive(Debug)]
#[must_use = "dropping it ends the reports"]
pub(crate) struct SignalsWatched(Handle);

impl Drop for SignalsWatched {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn wait_unreaped(pid: Pid) -> io::Result<()> {
    loop {
        match waitid(
            WaitId::Pid(pid),
            WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
        ) {
            Ok(_) => return Ok(()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}
