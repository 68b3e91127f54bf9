//! Moving one stream of the command: into the record first, then to whoever looks.

use std::io::{self, PipeReader};
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{Errno, ioctl_fionread};

use super::capture::{Omission, Recorder, Stream};
use super::display::Display;

const CHUNK_BYTES: usize = 64 * 1024;

/// Moves `source` until its end, or until the other end of `bell` closes: then only what is
/// already in the pipe is moved, for a grandchild may hold it open and write for ever.
pub(crate) fn pump(
    source: impl AsFd,
    stream: Stream,
    recorder: &Mutex<Recorder>,
    display: &mut Display<'_>,
    bell: &PipeReader,
) {
    let record = || recorder.lock().unwrap_or_else(PoisonError::into_inner);
    let moved = move_all(&source, bell, |bytes| {
        record().note(stream, bytes);
        display.show(bytes);
    });
    if moved.is_err() {
        record().give_up(Omission::Unread);
    }
}

fn move_all(source: impl AsFd, bell: &PipeReader, mut take: impl FnMut(&[u8])) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    while !is_rung(&source, bell)? {
        match read(&source, &mut chunk)? {
            0 => return Ok(()),
            count => take(&chunk[..count]),
        }
    }
    let mut left = usize::try_from(ioctl_fionread(&source)?).unwrap_or(usize::MAX);
    while left > 0 {
        let room = left.min(CHUNK_BYTES);
        match read(&source, &mut chunk[..room])? {
            0 => break,
            count => {
                left -= count;
                take(&chunk[..count]);
            }
        }
    }
    Ok(())
}

/// Waits until there is something to read, or the bell rings.
fn is_rung(source: impl AsFd, bell: &PipeReader) -> io::Result<bool> {
    let mut ready = [
        PollFd::new(&source, PollFlags::IN),
        PollFd::new(bell, PollFlags::IN),
    ];
    loop {
        match poll(&mut ready, None) {
            Ok(_) => return Ok(!ready[1].revents().is_empty()),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn read(source: impl AsFd, chunk: &mut [u8]) -> io::Result<usize> {
    loop {
        match rustix::io::read(&source, &mut *chunk) {
            Ok(count) => return Ok(count),
            Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exec::capture::Ending;
    use std::io::Write;

    fn pumped(source: &PipeReader, bell: &PipeReader) -> Vec<u8> {
        let recorder = Mutex::new(Recorder::storing());
        let mut display = Display::hidden(Stream::Out);
        pump(source, Stream::Out, &recorder, &mut display, bell);
        let run = recorder.into_inner().unwrap().finish(Ending::Exited(0));
        run.output()
            .unwrap()
            .flat_map(|(_, bytes)| bytes.to_vec())
            .collect()
    }

    #[test]
    fn everything_until_the_end() {
        let (source, mut writer) = io::pipe().unwrap();
        let (bell, _ringer) = io::pipe().unwrap();
        writer.write_all(b"all of it").unwrap();
        drop(writer);
        assert_eq!(pumped(&source, &bell), b"all of it");
    }

    #[test]
    fn after_the_bell_what_is_there_and_no_more() {
        let (source, mut writer) = io::pipe().unwrap();
        let (bell, ringer) = io::pipe().unwrap();
        writer.write_all(b"there").unwrap();
        drop(ringer);
        // The writer lives, so waiting for the end would never return.
        assert_eq!(pumped(&source, &bell), b"there");
        writer.write_all(b"later").unwrap();
    }
}
