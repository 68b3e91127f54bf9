//! Writing output on, to a reader that may be slow or gone.

use std::io::{self, PipeReader};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use super::capture::Stream;

/// What one write may be without blocking once a pipe says that it has room (`PIPE_BUF`).
const WRITE_BYTES: usize = if cfg!(target_os = "linux") {
    4_096
} else {
    512
};

/// One of the streams of `idem` itself. Unbuffered, so that output is seen as it comes.
#[derive(Debug)]
pub(crate) struct Display<'a> {
    stream: Stream,
    bell: Option<&'a PipeReader>,
    state: State,
}

#[derive(Debug)]
enum State {
    Open,
    /// The reader went away, or nobody wants to wait for it any more.
    Gone,
    Failed(io::Error),
}

impl<'a> Display<'a> {
    pub(crate) fn new(stream: Stream) -> Self {
        Self {
            stream,
            bell: None,
            state: State::Open,
        }
    }

    /// A display that is given up when the other end of `bell` closes, even while it is blocked.
    pub(crate) fn until(stream: Stream, bell: &'a PipeReader) -> Self {
        Self {
            stream,
            bell: Some(bell),
            state: State::Open,
        }
    }

    /// A display that nobody looks at.
    #[cfg(test)]
    pub(crate) fn hidden(stream: Stream) -> Self {
        Self {
            stream,
            bell: None,
            state: State::Gone,
        }
    }

    /// Shows the bytes, as long as somebody looks.
    pub(crate) fn show(&mut self, bytes: &[u8]) {
        if !matches!(self.state, State::Open) {
            return;
        }
        let shown = match self.stream {
            Stream::Out => write_all(io::stdout().as_fd(), self.bell, bytes),
            Stream::Err => write_all(io::stderr().as_fd(), self.bell, bytes),
        };
        if let Err(state) = shown {
            self.state = state;
        }
    }

    /// What went wrong, if it was more than a reader going away.
    pub(crate) fn into_failure(self) -> Option<io::Error> {
        match self.state {
            State::Failed(error) => Some(error),
            State::Open | State::Gone => None,
        }
    }
}

fn write_all(
    target: BorrowedFd<'_>,
    bell: Option<&PipeReader>,
    mut bytes: &[u8],
) -> Result<(), State> {
    while !bytes.is_empty() {
        if let Some(bell) = bell {
            wait_for_room(target, bell)?;
        }
        let piece = &bytes[..bytes.len().min(WRITE_BYTES)];
        match rustix::io::write(target, piece) {
            Ok(written) => bytes = &bytes[written..],
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => {
                let _ = poll(
                    &mut [PollFd::from_borrowed_fd(target, PollFlags::OUT)],
                    None,
                );
            }
            Err(Errno::PIPE) => return Err(State::Gone),
            Err(error) => return Err(State::Failed(error.into())),
        }
    }
    Ok(())
}

fn wait_for_room(target: BorrowedFd<'_>, bell: &PipeReader) -> Result<(), State> {
    let mut ready = [
        PollFd::from_borrowed_fd(target, PollFlags::OUT),
        PollFd::new(bell, PollFlags::IN),
    ];
    loop {
        match poll(&mut ready, None) {
            Ok(_) => break,
            Err(Errno::INTR) => {}
            Err(error) => return Err(State::Failed(error.into())),
        }
    }
    let rung = !ready[1].revents().is_empty();
    let has_room = !ready[0].revents().is_empty();
    if rung && !has_room {
        Err(State::Gone)
    } else {
        Ok(())
    }
}
