//! The account of a run for programs, so that the command's own 70 is not taken for `idem`'s.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};

use idempotency_ledger::{Fence, Timestamp};
use serde::{Serialize, Serializer};

use crate::exit::{Exit, Failure};
use crate::speak::say;

use super::capture::Ending;

/// What became of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Outcome {
    /// The command ran now, and its run is the stored result.
    Completed,
    /// The command ran earlier; this was its stored result.
    Replayed,
    /// The command ran now, and nobody knows what it did.
    Interrupted,
    /// Nothing happened; the next call runs again.
    Released,
    /// The command did not run.
    Refused,
    /// The command ran now, and storing its result failed.
    Unknown,
}

/// Why, where the outcome leaves more than one possibility.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Reason {
    InProgress,
    Interrupted,
    Mismatch,
    NotStarted,
    Omitted,
    Quota,
    Stale,
    StillRunning,
    Storage,
    Superseded,
}

/// What is written, as one line of JSON.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Account {
    pub(crate) outcome: Outcome,
    pub(crate) reason: Option<Reason>,
    pub(crate) fence: Option<u64>,
    pub(crate) attempt: Option<u32>,
    /// The command's own ending, if it ran now or its result was stored.
    pub(crate) child: Option<Child>,
    /// The ledger's time in Unix milliseconds, of a stale key: what a new one is made by, where
    /// nothing ever ran under the old one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) now_ms: Option<u64>,
    /// The exit code of `idem`.
    #[serde(serialize_with = "write_code")]
    pub(crate) exit: Exit,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "serde calls it with a reference"
)]
fn write_code<S: Serializer>(exit: &Exit, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u8(exit.code())
}

/// How a command ended: exactly one of the two is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Child {
    exit_code: Option<u8>,
    signal: Option<u8>,
}

impl From<Ending> for Child {
    fn from(ending: Ending) -> Self {
        match ending {
            Ending::Exited(code) => Self {
                exit_code: Some(code),
                signal: None,
            },
            Ending::Signalled(signal) => Self {
                exit_code: None,
                signal: Some(signal),
            },
        }
    }
}

impl Account {
    pub(crate) fn new(outcome: Outcome, exit: Exit) -> Self {
        Self {
            outcome,
            reason: None,
            fence: None,
            attempt: None,
            child: None,
            now_ms: None,
            exit,
        }
    }

    pub(crate) fn because(mut self, reason: Reason) -> Self {
        self.reason = Some(reason);
        self
    }

    pub(crate) fn at(mut self, now: Timestamp) -> Self {
        self.now_ms = Some(now.unix_ms());
        self
    }

    pub(crate) fn of_attempt(mut self, fence: Fence, attempt: u32) -> Self {
        self.fence = Some(fence.get());
        self.attempt = Some(attempt);
        self
    }

    pub(crate) fn with_child(mut self, ending: Ending) -> Self {
        self.child = Some(Child::from(ending));
        self
    }
}

/// The file of `--status-file`, or none.
#[derive(Debug)]
pub(crate) struct StatusFile(Option<(PathBuf, File)>);

impl StatusFile {
    /// Opens and empties the file before anything runs: a path that cannot be written is a wrong
    /// call, and what an earlier call left there is not taken for this one's.
    pub(crate) fn create(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self(None));
        };
        match File::create(path) {
            Ok(file) => Ok(Self(Some((path.to_owned(), file)))),
            Err(error) => Err(Failure::usage(format!(
                "--status-file {}: {error}",
                path.display()
            ))),
        }
    }

    /// Writes the account. What happened has happened, so a failure is only said.
    pub(crate) fn write(self, account: &Account) {
        let Some((path, mut file)) = self.0 else {
            return;
        };
        let line = serde_json::to_string(account).expect("an account has no map and no float");
        if let Err(error) = file.write_all(format!("{line}\n").as_bytes()) {
            say(format_args!(
                "the status file {} was not written: {error}",
                path.display()
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_whose_code_it_is() {
        let account = Account::new(Outcome::Interrupted, Exit::Command(70))
            .of_attempt(Fence::from_stored(12), 2)
            .with_child(Ending::Exited(70));
        assert_eq!(
            serde_json::to_string(&account).unwrap(),
            r#"{"outcome":"interrupted","reason":null,"fence":12,"attempt":2,"#.to_owned()
                + r#""child":{"exit_code":70,"signal":null},"exit":70}"#
        );
        let account =
            Account::new(Outcome::Refused, Exit::Interrupted).because(Reason::Interrupted);
        assert_eq!(
            serde_json::to_string(&account).unwrap(),
            r#"{"outcome":"refused","reason":"interrupted","fence":null,"attempt":null,"#
                .to_owned()
                + r#""child":null,"exit":70}"#
        );
    }
}
