//! The clock of this tool, kept in one place as the library keeps its own.

use std::fmt;
use std::thread;
use std::time::{Duration, Instant};

/// Measures how long a step takes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Stopwatch {
    started: Instant,
}

impl Stopwatch {
    /// Starts to measure.
    #[expect(
        clippy::disallowed_methods,
        reason = "steps are timed for a person to read"
    )]
    pub(crate) fn start() -> Self {
        Self {
            started: Instant::now(),
        }
    }

    /// The time since the start.
    #[expect(
        clippy::disallowed_methods,
        reason = "steps are timed for a person to read"
    )]
    pub(crate) fn elapsed(&self) -> Elapsed {
        Elapsed(self.started.elapsed())
    }
}

/// A span of time that prints as `12.3 s`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Elapsed(pub(crate) Duration);

impl fmt::Display for Elapsed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:.1} s", self.0.as_secs_f64());
        f.pad(&text)
    }
}

/// Waits between two looks at a program that must not run for ever.
#[expect(
    clippy::disallowed_methods,
    reason = "another process offers nothing to wait on"
)]
pub(crate) fn pause() {
    thread::sleep(Duration::from_millis(100));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_prints_in_tenths_and_pads() {
        let span = Elapsed(Duration::from_millis(12_345));
        assert_eq!(span.to_string(), "12.3 s");
        assert_eq!(format!("{span:>8}"), "  12.3 s");
    }
}
