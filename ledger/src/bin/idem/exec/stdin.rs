//! What the command reads: where its standard input comes from, decided before anything runs.

use std::fs::{File, OpenOptions};
use std::io::{self, IsTerminal, Read, Seek, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::process::Stdio;

use idempotency_ledger::Key;
use rustix::fs::{FileType, fstat, stat};

use crate::arguments::FingerprintArguments;
use crate::exit::Failure;

/// The most standard input that `--fingerprint-stdin` reads.
pub(crate) const STDIN_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// What the command gets as standard input.
#[derive(Debug)]
pub(crate) enum Stdin {
    /// The same as `idem` has.
    Inherited,
    /// `/dev/null`.
    Nothing,
    /// What was read for the fingerprint.
    Buffered(Vec<u8>),
}

impl Stdin {
    /// Applies the options. A pipe or a file that none of them is about is refused: whether its
    /// bytes are part of the request is nothing that could be guessed.
    pub(crate) fn choose(arguments: &FingerprintArguments) -> Result<Self, Failure> {
        let stdin = io::stdin();
        if arguments.no_stdin {
            Ok(Self::Nothing)
        } else if arguments.ignore_stdin {
            Ok(Self::Inherited)
        } else if arguments.fingerprint_stdin {
            buffer(stdin.lock()).map(Self::Buffered)
        } else if may_hold_data(stdin.as_fd()) {
            Err(Failure::usage(
                "standard input is a pipe or a file; say what it is for: --fingerprint-stdin (it \
                 is part of the request), --ignore-stdin (pass it on, do not compare it) or \
                 --no-stdin (give the command /dev/null)",
            ))
        } else {
            Ok(Self::Inherited)
        }
    }

    /// The bytes that belong to the fingerprint.
    pub(crate) fn counted(&self) -> Option<&[u8]> {
        match self {
            Self::Buffered(bytes) => Some(bytes),
            Self::Inherited | Self::Nothing => None,
        }
    }

    /// For the child. Buffered bytes are handed over in a file without a name, not through a
    /// pipe: if `idem` dies, the command still reads all of them, and no thread has to feed it.
    pub(crate) fn for_child(&self) -> io::Result<Stdio> {
        match self {
            Self::Inherited => Ok(Stdio::inherit()),
            Self::Nothing => Ok(Stdio::null()),
            Self::Buffered(bytes) => {
                let mut file = nameless_file()?;
                file.write_all(bytes)?;
                file.rewind()?;
                Ok(Stdio::from(file))
            }
        }
    }
}

fn buffer(stdin: impl Read) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read = stdin.take(STDIN_BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| Failure::usage(format!("standard input cannot be read: {error}")))?;
    if bytes.len() as u64 > STDIN_BYTES_MAX {
        return Err(Failure::usage(
            "standard input is longer than 16 MiB, the limit of --fingerprint-stdin; use \
             --fingerprint-file for what identifies the request, and --ignore-stdin",
        ));
    }
    Ok(bytes)
}

/// Whether bytes could come from there. Rust opens `/dev/null` where it was started with a
/// closed standard input, so that case needs no look of its own.
fn may_hold_data(stdin: BorrowedFd<'_>) -> bool {
    if stdin.is_terminal() {
        return false;
    }
    let (Ok(seen), Ok(null)) = (fstat(stdin), stat("/dev/null")) else {
        return false;
    };
    let is_device = FileType::from_raw_mode(seen.st_mode) == FileType::CharacterDevice;
    !(is_device && seen.st_rdev == null.st_rdev)
}

fn nameless_file() -> io::Result<File> {
    #[cfg(target_os = "linux")]
    {
        use rustix::fs::{MemfdFlags, memfd_create};
        // Where a sandbox forbids it, a file on disk does.
        if let Ok(memory) = memfd_create("idem-stdin", MemfdFlags::CLOEXEC) {
            return Ok(File::from(memory));
        }
    }
    unlinked_file()
}

fn unlinked_file() -> io::Result<File> {
    let path = std::env::temp_dir().join(format!("idem-stdin-{}", Key::generate()));
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&path)?;
    std::fs::remove_file(&path)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_and_one_byte_more() {
        let at_limit = io::repeat(7).take(STDIN_BYTES_MAX);
        assert_eq!(buffer(at_limit).unwrap().len() as u64, STDIN_BYTES_MAX);
        assert!(buffer(io::repeat(7).take(STDIN_BYTES_MAX + 1)).is_err());
    }

    #[test]
    fn what_may_hold_data() {
        let (reader, _writer) = io::pipe().unwrap();
        assert!(may_hold_data(reader.as_fd()));
        assert!(may_hold_data(unlinked_file().unwrap().as_fd()));
        assert!(may_hold_data(File::open("/dev/zero").unwrap().as_fd()));
        assert!(!may_hold_data(File::open("/dev/null").unwrap().as_fd()));
    }

    #[test]
    fn both_nameless_files_hold_bytes() {
        for mut file in [nameless_file().unwrap(), unlinked_file().unwrap()] {
            file.write_all(b"kept").unwrap();
            file.rewind().unwrap();
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            assert_eq!(text, "kept");
        }
    }
}
