//! The stored form of a command's run: its ending, and its output in arrival order.
//!
//! | bytes | meaning |
//! | --- | --- |
//! | 1 | version, 1 |
//! | 1 | ending: 0 exited, 1 killed by a signal |
//! | 1 | the exit code, or the signal's number |
//! | 1 | output: 0 follows, 1 omitted as too long, 2 by choice, 3 for the terminal, 4 unread |
//! | rest | frames: LEB128 of (length * 2 + stream), then the bytes; stream 0 is standard output |
//!
//! Neighbouring writes to one stream are one frame, so the overhead is one byte a switch at
//! worst, and the whole at most twice the output and [`HEADER_BYTES`].

use std::fmt;
use std::process::ExitStatus;

use std::os::unix::process::ExitStatusExt;

/// The most output of one run that is stored, both streams together.
pub(crate) const OUTPUT_BYTES_MAX: usize = 16 * 1024 * 1024;
/// What stands before the frames.
pub(crate) const HEADER_BYTES: usize = 4;
/// The most bytes that a stored run can have.
pub(crate) const STORED_BYTES_MAX: usize = 2 * OUTPUT_BYTES_MAX + HEADER_BYTES;

const VERSION: u8 = 1;

/// One of the two streams that a command writes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Out,
    Err,
}

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    Exited(u8),
    Signalled(u8),
}

impl Ending {
    /// What the operating system said about a child that is gone.
    pub(crate) fn of(status: ExitStatus) -> Self {
        match (status.code(), status.signal()) {
            (Some(code), _) => Self::Exited(u8::try_from(code & 0xff).unwrap_or(u8::MAX)),
            (None, Some(signal)) => Self::Signalled(u8::try_from(signal & 0x7f).unwrap_or(0x7f)),
            (None, None) => unreachable!("waiting for the end does not report a stop"),
        }
    }

    /// The shell's number for it: signal n is 128 + n.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Exited(code) => code,
            Self::Signalled(signal) => 128 | signal,
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(code) => write!(f, "exited with {code}"),
            Self::Signalled(signal) => write!(f, "was killed by signal {signal}"),
        }
    }
}

/// Why a run's output is not in its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Omission {
    TooLong,
    Chosen,
    Terminal,
    Unread,
}

impl fmt::Display for Omission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TooLong => "it was longer than 16 MiB",
            Self::Chosen => "it ran with --no-store-output",
            Self::Terminal => "it ran with --tty",
            Self::Unread => "it could not be read to its end",
        })
    }
}

/// Collects the output of a running command, or notes why it is not kept.
#[derive(Debug)]
pub(crate) struct Recorder {
    output: Result<Frames, Omission>,
}

#[derive(Debug, Default)]
struct Frames {
    closed: Vec<u8>,
    open: Vec<u8>,
    open_stream: Option<Stream>,
    output_bytes: usize,
}

impl Recorder {
    pub(crate) fn storing() -> Self {
        Self {
            output: Ok(Frames::default()),
        }
    }

    pub(crate) fn omitting(why: Omission) -> Self {
        Self { output: Err(why) }
    }

    /// Notes bytes that just arrived. Past the limit all of the output is given up, since half
    /// of it would replay as if it were the whole.
    pub(crate) fn note(&mut self, stream: Stream, bytes: &[u8]) {
        let Ok(frames) = &mut self.output else { return };
        if bytes.len() > OUTPUT_BYTES_MAX - frames.output_bytes {
            self.output = Err(Omission::TooLong);
        } else {
            frames.push(stream, bytes);
        }
    }

    /// Gives the output up: what is there is not the whole.
    pub(crate) fn give_up(&mut self, why: Omission) {
        self.output = Err(why);
    }

    /// Ends the recording with the ending of the command.
    pub(crate) fn finish(self, ending: Ending) -> StoredRun {
        let output = self.output.map(Frames::into_bytes);
        StoredRun { ending, output }
    }
}

impl Frames {
    fn push(&mut self, stream: Stream, bytes: &[u8]) {
        if self.open_stream != Some(stream) {
            self.close();
            self.open_stream = Some(stream);
        }
        self.open.extend_from_slice(bytes);
        self.output_bytes += bytes.len();
    }

    fn close(&mut self) {
        let Some(stream) = self.open_stream.take() else {
            return;
        };
        let mut header = self.open.len() * 2 + usize::from(stream == Stream::Err);
        while header >= 0x80 {
            self.closed.push(low_byte(header) | 0x80);
            header >>= 7;
        }
        self.closed.push(low_byte(header));
        self.closed.append(&mut self.open);
    }

    fn into_bytes(mut self) -> Vec<u8> {
        self.close();
        self.closed
    }
}

fn low_byte(number: usize) -> u8 {
    number.to_le_bytes()[0]
}

/// A finished run as it is stored.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct StoredRun {
    ending: Ending,
    output: Result<Vec<u8>, Omission>,
}

impl StoredRun {
    pub(crate) fn ending(&self) -> Ending {
        self.ending
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let (kind, number) = match self.ending {
            Ending::Exited(code) => (0, code),
            Ending::Signalled(signal) => (1, signal),
        };
        let (omission, frames) = match &self.output {
            Ok(frames) => (0, frames.as_slice()),
            Err(Omission::TooLong) => (1, [].as_slice()),
            Err(Omission::Chosen) => (2, [].as_slice()),
            Err(Omission::Terminal) => (3, [].as_slice()),
            Err(Omission::Unread) => (4, [].as_slice()),
        };
        let mut bytes = vec![VERSION, kind, number, omission];
        bytes.extend_from_slice(frames);
        assert!(
            bytes.len() <= STORED_BYTES_MAX,
            "a frame's header is no longer than its bytes"
        );
        bytes
    }

    /// Reads stored bytes and checks every frame, so that a replay that has begun can end.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, BadRun> {
        let [version, kind, number, omission, frames @ ..] = bytes else {
            return Err(BadRun::Malformed);
        };
        if *version != VERSION {
            return Err(BadRun::NewerVersion(*version));
        }
        let ending = match kind {
            0 => Ending::Exited(*number),
            1 => Ending::Signalled(*number),
            _ => return Err(BadRun::Malformed),
        };
        let output = match (omission, frames) {
            (0, frames) => Ok(frames.to_vec()),
            (1, []) => Err(Omission::TooLong),
            (2, []) => Err(Omission::Chosen),
            (3, []) => Err(Omission::Terminal),
            (4, []) => Err(Omission::Unread),
            _ => return Err(BadRun::Malformed),
        };
        let run = Self { ending, output };
        if let Ok(frames) = &run.output {
            let mut rest = frames.as_slice();
            while !rest.is_empty() {
                rest = next_frame(rest).ok_or(BadRun::Malformed)?.after;
            }
        }
        Ok(run)
    }

    /// The output in arrival order, or why there is none.
    pub(crate) fn output(&self) -> Result<impl Iterator<Item = (Stream, &[u8])>, Omission> {
        let mut rest = match &self.output {
            Ok(frames) => frames.as_slice(),
            Err(omission) => return Err(*omission),
        };
        Ok(std::iter::from_fn(move || {
            let frame = next_frame(rest)?;
            rest = frame.after;
            Some((frame.stream, frame.bytes))
        }))
    }
}

struct Frame<'a> {
    stream: Stream,
    bytes: &'a [u8],
    after: &'a [u8],
}

fn next_frame(bytes: &[u8]) -> Option<Frame<'_>> {
    let mut header = 0_u64;
    for (at, byte) in bytes.iter().enumerate().take(5) {
        header |= u64::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            let stream = if header & 1 == 0 {
                Stream::Out
            } else {
                Stream::Err
            };
            let length = usize::try_from(header / 2).ok()?;
            let (bytes, after) = bytes[at + 1..].split_at_checked(length)?;
            return Some(Frame {
                stream,
                bytes,
                after,
            });
        }
    }
    None
}

/// Stored bytes that are no run of a command, or of a version that this `idem` does not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadRun {
    Malformed,
    NewerVersion(u8),
}

impl fmt::Display for BadRun {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed => f.write_str("its stored output is not that of a command"),
            Self::NewerVersion(version) => {
                write!(
                    f,
                    "its output is stored in version {version}; this idem reads version 1"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(ending: Ending, notes: &[(Stream, &[u8])]) -> StoredRun {
        let mut recorder = Recorder::storing();
        for (stream, bytes) in notes {
            recorder.note(*stream, bytes);
        }
        recorder.finish(ending)
    }

    #[test]
    fn golden_bytes() {
        let two_streams: &[(Stream, &[u8])] = &[
            (Stream::Out, b"pa"),
            (Stream::Out, b"id\n"),
            (Stream::Err, b"!"),
            (Stream::Out, b"x"),
        ];
        for (stored, golden) in [
            (run(Ending::Exited(0), &[]), b"\x01\x00\x00\x00".as_slice()),
            (
                run(Ending::Exited(3), two_streams),
                b"\x01\x00\x03\x00\x0apaid\n\x03!\x02x",
            ),
            (
                run(Ending::Signalled(9), &[(Stream::Err, b"")]),
                b"\x01\x01\x09\x00\x01",
            ),
            (
                Recorder::omitting(Omission::TooLong).finish(Ending::Exited(0)),
                b"\x01\x00\x00\x01",
            ),
            (
                Recorder::omitting(Omission::Chosen).finish(Ending::Exited(1)),
                b"\x01\x00\x01\x02",
            ),
            (
                Recorder::omitting(Omission::Terminal).finish(Ending::Exited(0)),
                b"\x01\x00\x00\x03",
            ),
        ] {
            assert_eq!(stored.encode(), golden);
            assert_eq!(StoredRun::decode(golden), Ok(stored));
        }
    }

    #[test]
    fn a_long_frame_has_a_longer_header() {
        let line = [b'-'; 64];
        let stored = run(Ending::Exited(0), &[(Stream::Err, &line)]);
        assert_eq!(stored.encode()[4..6], [0x81, 0x01]);
        let read: Vec<_> = stored.output().unwrap().collect();
        assert_eq!(read, [(Stream::Err, line.as_slice())]);
    }

    #[test]
    fn the_limit_and_one_byte_more() {
        let mut recorder = Recorder::storing();
        recorder.note(Stream::Out, &vec![0; OUTPUT_BYTES_MAX - 1]);
        recorder.note(Stream::Err, &[0]);
        let stored = recorder.finish(Ending::Exited(0));
        let bytes: usize = stored.output().unwrap().map(|(_, bytes)| bytes.len()).sum();
        assert_eq!(bytes, OUTPUT_BYTES_MAX);

        let mut recorder = Recorder::storing();
        recorder.note(Stream::Out, &vec![0; OUTPUT_BYTES_MAX]);
        recorder.note(Stream::Err, &[0]);
        recorder.note(Stream::Out, b"after");
        let stored = recorder.finish(Ending::Exited(0));
        assert_eq!(stored.output().err(), Some(Omission::TooLong));
    }

    #[test]
    fn the_worst_alternation_stays_under_the_bound() {
        let mut recorder = Recorder::storing();
        for _ in 0..1_000 {
            recorder.note(Stream::Out, b"o");
            recorder.note(Stream::Err, b"e");
        }
        assert_eq!(
            recorder.finish(Ending::Exited(0)).encode().len(),
            2 * 2_000 + HEADER_BYTES
        );
    }

    #[test]
    fn other_bytes_are_refused() {
        for bytes in [
            b"".as_slice(),
            b"\x01\x00\x00",
            b"\x01\x02\x00\x00",
            b"\x01\x00\x00\x05",
            b"\x01\x00\x00\x01\x02x",
            b"\x01\x00\x00\x00\x04x",
            b"\x01\x00\x00\x00\x80",
            b"\x01\x00\x00\x00\xff\xff\xff\xff\xff\xff",
        ] {
            assert_eq!(
                StoredRun::decode(bytes),
                Err(BadRun::Malformed),
                "{bytes:?}"
            );
        }
        assert_eq!(
            StoredRun::decode(b"\x02\x00\x00\x00"),
            Err(BadRun::NewerVersion(2))
        );
    }

    #[test]
    fn the_shell_number_of_an_ending() {
        assert_eq!(Ending::Exited(3).code(), 3);
        assert_eq!(Ending::Signalled(15).code(), 143);
        assert_eq!(Ending::of(ExitStatus::from_raw(7 << 8)), Ending::Exited(7));
        assert_eq!(Ending::of(ExitStatus::from_raw(9)), Ending::Signalled(9));
        assert_eq!(
            Ending::of(ExitStatus::from_raw(0x8b)),
            Ending::Signalled(11)
        );
    }
}
