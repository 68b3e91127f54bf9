//! Everything about a run that can be checked without a ledger: a wrong call writes nothing.

use std::ffi::OsString;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use idempotency_ledger::{Fingerprint, Namespace, OnInterrupted, Policy};

use crate::arguments::VerifyArgument;
use crate::arguments::{ExecArguments, OnInterruptedArgument, OutputArguments, PolicyArguments};
use crate::exit::Failure;
use crate::identity::Identity;
use crate::speak::printable;

use super::capture::{Omission, Recorder, STORED_BYTES_MAX};
use super::fingerprint;
use super::stdin::Stdin;
use super::verdict::Reading;

const LEASE_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// A claim ends before its answer would.
const MILLISECOND: Duration = Duration::from_millis(1);
/// The longest program name that is stored; more of it tells nobody anything.
const PROGRAM_CHARS_MAX: usize = 60;

/// A run that may begin.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) identity: Identity,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) output: OutputArguments,
    pub(crate) reading: Reading,
    pub(crate) wait: Option<Duration>,
    pub(crate) verify: VerifyArgument,
    pub(crate) reruns: bool,
    policy: Policy,
    stdin: Stdin,
    command: Vec<OsString>,
}

impl Plan {
    pub(crate) fn new(arguments: ExecArguments) -> Result<Self, Failure> {
        let identity = Identity::new(&arguments.key, arguments.place)?;
        let policy = policy_of(&arguments.policy)?;
        let stdin = Stdin::choose(&arguments.fingerprint)?;
        let fingerprint =
            fingerprint::of(&arguments.command, &arguments.fingerprint, stdin.counted())?;
        Ok(Self {
            identity,
            fingerprint,
            output: arguments.output,
            reruns: arguments.policy.on_interrupted == OnInterruptedArgument::Rerun,
            reading: Reading {
                on_failure: arguments.policy.on_failure,
                release_exit: arguments.policy.release_exit,
            },
            wait: arguments.wait,
            verify: arguments.verify,
            policy,
            stdin,
            command: arguments.command,
        })
    }

    pub(crate) fn namespace(&self) -> Namespace {
        self.identity.namespace(self.policy)
    }

    /// The name that is stored: without its folder, and never with its arguments.
    pub(crate) fn program(&self) -> String {
        let program = self.command.first().map_or(Path::new(""), Path::new);
        let name = program.file_name().unwrap_or(program.as_os_str());
        name.to_string_lossy()
            .chars()
            .take(PROGRAM_CHARS_MAX)
            .collect()
    }

    /// The command as it was written, for a message.
    pub(crate) fn first_word(&self) -> String {
        self.command
            .first()
            .map_or_else(String::new, |word| printable(&word.to_string_lossy()))
    }

    /// The command, ready to start but for the variables that the claim adds.
    pub(crate) fn command(&self) -> std::io::Result<Command> {
        let (program, words) = self
            .command
            .split_first()
            .expect("the parser asks for a command");
        let mut command = Command::new(program);
        command.args(words).stdin(self.stdin.for_child()?);
        if !self.output.tty {
            command.stdout(Stdio::piped()).stderr(Stdio::piped());
        }
        Ok(command)
    }

    pub(crate) fn recorder(&self) -> Recorder {
        if self.output.tty {
            Recorder::omitting(Omission::Terminal)
        } else if self.output.no_store_output {
            Recorder::omitting(Omission::Chosen)
        } else {
            Recorder::storing()
        }
    }
}

/// What the user gave is kept or refused; what was not given bends to what was.
fn policy_of(arguments: &PolicyArguments) -> Result<Policy, Failure> {
    let mut policy = Policy::DEFAULT.response_bytes_max(STORED_BYTES_MAX as u64);
    if let Some(retention) = arguments.retention {
        policy = policy.retention(retention);
    }
    // Before the lease bends to it, a retention of zero or one millisecond is named as what it is.
    policy
        .check()
        .map_err(|error| Failure::usage(error.to_string()))?;
    policy = policy.lease(match (arguments.lease, arguments.retention) {
        (Some(lease), _) => lease,
        (None, Some(retention)) => LEASE_DEFAULT.min(retention.saturating_sub(MILLISECOND)),
        (None, None) => LEASE_DEFAULT,
    });
    policy = policy.on_interrupted(match arguments.on_interrupted {
        OnInterruptedArgument::Refuse => OnInterrupted::Refuse,
        OnInterruptedArgument::Rerun => OnInterrupted::Rerun,
    });
    if arguments.refuse_stale_keys {
        policy = policy.refuse_stale_keys();
    }
    policy
        .check()
        .map_err(|error| Failure::usage(error.to_string()))?;
    Ok(policy)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::OnFailure;

    fn policy(lease_s: Option<u64>, retention_s: Option<u64>) -> Result<Policy, Failure> {
        policy_of(&PolicyArguments {
            retention: retention_s.map(Duration::from_secs),
            lease: lease_s.map(Duration::from_secs),
            on_interrupted: OnInterruptedArgument::Refuse,
            on_failure: OnFailure::Interrupt,
            release_exit: Vec::new(),
            refuse_stale_keys: false,
        })
    }

    #[test]
    fn defaults_bend_and_given_values_do_not() {
        const HOUR_S: u64 = 3_600;
        let span = Duration::from_secs;
        for (lease, retention, in_force) in [
            (None, None, (span(HOUR_S), span(24 * HOUR_S))),
            (None, Some(60), (Duration::from_millis(59_999), span(60))),
            (
                Some(48 * HOUR_S),
                None,
                (span(48 * HOUR_S), span(48 * HOUR_S) + MILLISECOND),
            ),
            (Some(59), Some(60), (span(59), span(60))),
        ] {
            let policy = policy(lease, retention).unwrap();
            assert_eq!((policy.lease_span(), policy.retention_span()), in_force);
        }
        assert!(policy(Some(60), Some(60)).is_err());
        assert!(policy(Some(61), Some(60)).is_err());
        assert!(policy(Some(0), None).is_err());
        assert!(policy(None, Some(0)).is_err());
    }
}
