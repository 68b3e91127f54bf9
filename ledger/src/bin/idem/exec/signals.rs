//! Signals to `idem` while its command runs: which it passes on, and which reach both.

use std::ffi::c_int;
use std::io;

use signal_hook::consts::{SIGCHLD, SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::iterator::exfiltrator::WithOrigin;
use signal_hook::iterator::{Handle, SignalsInfo};
use signal_hook::low_level::siginfo::{Cause, Origin};

/// What would end `idem` and leave its command alone.
const WATCHED: [c_int; 6] = [SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2];

/// A signal that `idem` got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub(crate) signal: c_int,
    origin: Source,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// The terminal sends to the whole process group, so the command has it already.
    Kernel,
    Process,
}

impl Received {
    /// SIGTERM and SIGHUP are always passed on; the others only if a process sent them, since
    /// then they were meant for `idem` alone.
    pub(crate) fn is_for_the_command(self) -> bool {
        matches!(self.signal, SIGTERM | SIGHUP) || self.origin == Source::Process
    }

    /// What a shell reports for a program that died of it.
    pub(crate) fn exit_code(self) -> u8 {
        128 | u8::try_from(self.signal & 0x7f).unwrap_or(0)
    }

    fn of(origin: &Origin) -> Self {
        let sent = matches!(origin.cause, Cause::Sent(_)) || origin.process.is_some();
        let source = if sent {
            Source::Process
        } else {
            Source::Kernel
        };
        Self {
            signal: origin.signal,
            origin: source,
        }
    }
}

/// The signals that `idem` watches instead of dying from them.
#[derive(Debug)]
pub(crate) struct Signals(SignalsInfo<WithOrigin>);

impl Signals {
    /// Watches from before the command starts, where the system says which signals are ignored.
    ///
    /// A signal that is ignored (`nohup`, or SIGINT in a background job) has to stay ignored in
    /// the command, and a program that is started keeps "ignored" but not "handled". `None`:
    /// nobody can say, so [`Signals::watch_late`] is to be called once the command runs.
    pub(crate) fn watch_early() -> io::Result<Option<Self>> {
        // Where SIGCHLD is ignored the system reaps children by itself, and their status is lost.
        signal_hook::flag::register(SIGCHLD, std::sync::Arc::default())?;
        let Some(ignored) = ignored_signals() else {
            return Ok(None);
        };
        let watched = WATCHED.iter().filter(|signal| !is_in(ignored, **signal));
        SignalsInfo::new(watched).map(|signals| Some(Self(signals)))
    }

    pub(crate) fn watch_late() -> io::Result<Self> {
        SignalsInfo::new(WATCHED).map(Self)
    }

    /// One that came already, without waiting.
    pub(crate) fn pending(&mut self) -> Option<Received> {
        self.0.pending().next().map(|origin| Received::of(&origin))
    }

    /// Hands every signal to `deliver` until [`Handle::close`] is called.
    pub(crate) fn deliver(&mut self, mut deliver: impl FnMut(Received)) {
        for origin in self.0.forever() {
            deliver(Received::of(&origin));
        }
    }

    pub(crate) fn handle(&self) -> Handle {
        self.0.handle()
    }
}

/// A set of signals, one bit each, as the kernel writes it.
fn ignored_signals() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    parse_ignored(&status)
}

fn parse_ignored(status: &str) -> Option<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("SigIgn:"))?;
    u64::from_str_radix(line.trim(), 16).ok()
}

fn is_in(set: u64, signal: c_int) -> bool {
    set & 1 << (signal - 1) != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_passed_on() {
        for (signal, origin, passed_on) in [
            (SIGINT, Source::Kernel, false),
            (SIGQUIT, Source::Kernel, false),
            (SIGINT, Source::Process, true),
            (SIGQUIT, Source::Process, true),
            (SIGTERM, Source::Kernel, true),
            (SIGTERM, Source::Process, true),
            (SIGHUP, Source::Kernel, true),
            (SIGUSR1, Source::Process, true),
        ] {
            let received = Received { signal, origin };
            assert_eq!(received.is_for_the_command(), passed_on, "{received:?}");
        }
    }

    #[test]
    fn the_kernels_set_of_ignored_signals() {
        let status = "Name:\tidem\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000001003\n";
        let ignored = parse_ignored(status).unwrap();
        assert!(is_in(ignored, SIGHUP) && is_in(ignored, SIGINT) && !is_in(ignored, SIGTERM));
        assert_eq!(parse_ignored("Name:\tidem\n"), None);
    }
}
