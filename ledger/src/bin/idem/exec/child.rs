//! Starting the command, and staying with it until it and its output have ended.

use std::io::{self, PipeReader, PipeWriter};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::capture::{Ending, Recorder, Stream};
use super::signals::{Received, Signals};
use super::watch::{Event, Repeat, Watch};

/// How long a grandchild may hold the output after the command itself is gone.
const GRANDCHILD_WAIT: Duration = Duration::from_secs(1);

/// The exit code for a command that could not be started, as shells have it.
pub(crate) fn code_of_failed_start(error: &io::Error) -> u8 {
    if error.kind() == io::ErrorKind::NotFound {
        127
    } else {
        126
    }
}

/// A command that runs.
#[derive(Debug)]
pub(crate) struct Running {
    child: Child,
    signals: Option<Signals>,
    bells: Bells,
}

/// What is left of a command that is gone.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) ending: Ending,
    pub(crate) recorder: Recorder,
    /// Why the output could not be shown, if it was more than a reader going away.
    pub(crate) display_failure: Option<io::Error>,
}

/// Two pipes whose closing tells the threads that move output to stop: one ends reading, the
/// other ends waiting for whoever looks. They are made before the command, so that nothing of
/// this can fail once it runs.
#[derive(Debug)]
struct Bells {
    reading: (PipeReader, PipeWriter),
    showing: (PipeReader, PipeWriter),
}

impl Running {
    /// Starts the command. An error means that it surely did not start.
    pub(crate) fn start(command: &mut Command, early: Option<Signals>) -> io::Result<Self> {
        let bells = Bells {
            reading: io::pipe()?,
            showing: io::pipe()?,
        };
        let child = command.spawn()?;
        // Where this fails, a signal ends `idem`, and the run lock still tells of the command.
        let signals = early.or_else(|| Signals::watch_late().ok());
        Ok(Self {
            child,
            signals,
            bells,
        })
    }

    /// Stays until the end. `renew` is called every `renewal` while that lasts.
    pub(crate) fn supervise(
        self,
        recorder: Recorder,
        renewal: Duration,
        renew: impl FnMut(),
    ) -> io::Result<Finished> {
        let Self {
            mut child,
            signals,
            bells,
        } = self;
        let Bells {
            reading: (reading_bell, reading),
            showing: (showing_bell, showing),
        } = bells;
        let recorder = Mutex::new(recorder);
        let sources = [
            (Stream::Out, child.stdout.take().map(OwnedFd::from)),
            (Stream::Err, child.stderr.take().map(OwnedFd::from)),
        ];
        let (status, display_failure) = thread::scope(|scope| {
            let (sender, events) = mpsc::channel();
            let watch = Watch::new(scope, sender);
            let mut streams_open = 0;
            for (stream, source) in sources {
                if let Some(source) = source {
                    watch.stream(source, stream, &recorder, &reading_bell, &showing_bell);
                    streams_open += 1;
                }
            }
            watch.command(Pid::from_child(&child));
            let _signals = signals.map(|signals| watch.signals(signals));
            let _renewals = watch.alarm(renewal, Repeat::Forever, || Event::RenewalDue);
            let ropes = Ropes {
                reading: Some(reading),
                showing: Some(showing),
            };
            attend(&mut child, streams_open, ropes, &watch, &events, renew)
        });
        let recorder = recorder
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        Ok(Finished {
            ending: Ending::of(status?),
            recorder,
            display_failure,
        })
    }
}

/// The ends of the bells that ring by being closed.
struct Ropes {
    reading: Option<PipeWriter>,
    showing: Option<PipeWriter>,
}

impl Ropes {
    fn stop_reading(&mut self) {
        self.reading = None;
    }

    fn stop_all(&mut self) {
        self.reading = None;
        self.showing = None;
    }
}

fn attend(
    child: &mut Child,
    mut streams_open: u8,
    mut ropes: Ropes,
    watch: &Watch<'_, '_>,
    events: &Receiver<Event>,
    mut renew: impl FnMut(),
) -> (io::Result<ExitStatus>, Option<io::Error>) {
    let mut status = None;
    let mut grandchild_wait = None;
    let mut display_failure = None;
    loop {
        let event = events.recv().expect("the watch holds a sender");
        match event {
            Event::Signal(signal) if status.is_none() => pass_on(child, signal),
            // Whoever ends `idem` now does not want to wait for readers or grandchildren.
            Event::Signal(_) => ropes.stop_all(),
            Event::CommandGone(waited) => {
                status = Some(waited.and_then(|()| child.wait()));
                let over = || Event::GrandchildWaitOver;
                grandchild_wait = Some(watch.alarm(GRANDCHILD_WAIT, Repeat::Never, over));
            }
            Event::GrandchildWaitOver => ropes.stop_reading(),
            Event::StreamEnded(failure) => {
                streams_open -= 1;
                display_failure = display_failure.or(failure);
            }
            Event::RenewalDue => renew(),
        }
        if streams_open == 0
            && let Some(status) = status.take()
        {
            drop(grandchild_wait);
            return (status, display_failure);
        }
    }
}

/// Only called while the command is not reaped, so the process id cannot be another's.
fn pass_on(child: &Child, received: Received) {
    if received.is_for_the_command()
        && let Some(signal) = Signal::from_named_raw(received.signal)
    {
        let _ = kill_process(Pid::from_child(child), signal);
    }
}
