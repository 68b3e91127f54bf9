//! Every way in which `idem` can end, and the number that the shell sees.

use std::fmt;
use std::process::ExitCode;

use idempotency_ledger::Error;

/// Why `idem` ends, as a script can tell it apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// What was asked for is done.
    Success,
    /// The command's own code: 128 + n after signal n, 126 or 127 where it could not start.
    Command(u8),
    /// 1: an id was seen before.
    Repeat,
    /// 64: the call itself is wrong; nothing was written.
    Usage,
    /// 65: the key's record is not what the call asks for (another command, already completed).
    Mismatch,
    /// 66: the ledger has no such key.
    UnknownKey,
    /// 68: the key is older than the ledger's memory.
    Stale,
    /// 69: the output was not stored, or the namespace is full.
    OmittedOrQuota,
    /// 70: an earlier attempt may or may not have happened.
    Interrupted,
    /// 74: the ledger's file, or a stream that `idem` writes to, failed.
    Storage,
    /// 75: somebody else holds the key now; the same call may succeed later.
    TryLater,
}

impl Exit {
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Success => 0,
            Self::Command(code) => code,
            Self::Repeat => 1,
            Self::Usage => 64,
            Self::Mismatch => 65,
            Self::UnknownKey => 66,
            Self::Stale => 68,
            Self::OmittedOrQuota => 69,
            Self::Interrupted => 70,
            Self::Storage => 74,
            Self::TryLater => 75,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit.code())
    }
}

/// An ending with something to say: the message goes to standard error.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }

    /// The call is wrong. Only said before anything is written.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }

    /// A file other than the ledger could not be read or written.
    pub(crate) fn storage(message: impl Into<String>) -> Self {
        Self::new(Exit::Storage, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<Error> for Failure {
    /// The library's message already says what is true on disk and what to do.
    fn from(error: Error) -> Self {
        let exit = match &error {
            Error::Invalid(..) => Exit::Usage,
            Error::Busy { .. } => Exit::TryLater,
            _ => Exit::Storage,
        };
        Self::new(exit, error.to_string())
    }
}
