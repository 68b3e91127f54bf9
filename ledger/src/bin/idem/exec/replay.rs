//! Showing a stored run again: the same bytes to the same streams, the same exit code.

use std::io;

use idempotency_ledger::{Response, ResponseKind};

use crate::exit::{Exit, Failure};

use super::capture::{Omission, StoredRun, Stream};
use super::display::Display;

/// Reads a stored answer. One that a program stored under the key is no run of a command.
pub(crate) fn read(response: &Response) -> Result<StoredRun, Failure> {
    if *response.kind() != ResponseKind::Command {
        return Err(Failure::new(
            Exit::Mismatch,
            "the key was completed by a program, not by `idem exec`: its answer cannot be replayed \
             as a command's output",
        ));
    }
    StoredRun::decode(response.bytes()).map_err(|bad| Failure::storage(bad.to_string()))
}

/// How a replay ended.
#[derive(Debug)]
pub(crate) enum Shown {
    Whole,
    /// The output was never stored.
    Omitted(Omission),
    /// A stream could not be written to, for more than a reader that went away.
    Broken(io::Error),
}

/// Shows the stored output.
pub(crate) fn show(run: &StoredRun) -> Shown {
    let frames = match run.output() {
        Ok(frames) => frames,
        Err(omission) => return Shown::Omitted(omission),
    };
    let mut out = Display::new(Stream::Out);
    let mut err = Display::new(Stream::Err);
    for (stream, bytes) in frames {
        match stream {
            Stream::Out => out.show(bytes),
            Stream::Err => err.show(bytes),
        }
    }
    match out.into_failure().or(err.into_failure()) {
        Some(error) => Shown::Broken(error),
        None => Shown::Whole,
    }
}
