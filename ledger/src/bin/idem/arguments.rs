//! What can be written on the command line. The comments here are the text of `--help`.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::duration;

const EXIT_CODES: &str = "\
Exit codes:
   1 an id was seen before (`idem seen`)
  64 wrong call        65 another command or already completed   66 unknown key
  68 stale key         69 output not stored, or quota reached    70 interrupted
  74 storage failed    75 in progress, or the earlier command still runs
  otherwise the command's own (128 + n after signal n, 126 or 127 if it could not start)

The ledger is --ledger PATH, else $IDEM_LEDGER, else $XDG_STATE_HOME/idem/ledger.redb,
else ~/.local/state/idem/ledger.redb.";

const EXEC_EXAMPLES: &str = "\
Examples:
  idem exec --key order-17 -- ./charge 25 EUR
  idem exec --key \"backup-$(date +%F)\" --on-failure release -- restic backup /srv
  generate | idem exec --key report-7 --fingerprint-stdin --wait 30s -- ./upload";

const SEEN_EXAMPLES: &str = "\
Exits with 0 if all ids are seen for the first time, and with 1 otherwise. The mark comes before
the work, so a crash in between loses the event; `idem exec --key ID` does not.

Examples:
  idem seen --table webhooks --window 7d evt_17 && ./handle evt_17
  idem seen --table mails --window 24h --json \"$MESSAGE_ID\"";

const OUTBOX_EXAMPLES: &str = "\
The command runs once for each message, oldest first: the message is its standard input, $IDEM_TOPIC
and $IDEM_KEY say what and under which key. Exit code 0 removes the message; any other keeps it and
holds back those of its topic. Each is sent at least once, so hand $IDEM_KEY on.

Examples:
  idem outbox
  idem outbox --table mails -- sh -c 'curl -f -H \"Idempotency-Key: $IDEM_KEY\" -d @- $URL'";

const WATCH_HINT: &str = "\
A program that opened its ledger exclusively (`Ledger::open`) is not watched, and does not start
while it is watched: open it with `Ledger::builder().shared()`.";

/// Makes any command safe to retry: under one key it runs once, and a retry gets the stored
/// output and exit code instead of a second run.
#[derive(Debug, Parser)]
#[command(name = "idem", version, after_help = EXIT_CODES, max_term_width = 100)]
pub(crate) struct Arguments {
    /// The ledger's file
    #[arg(long, global = true, value_name = "PATH")]
    pub(crate) ledger: Option<PathBuf>,

    #[command(subcommand)]
    pub(crate) action: Action,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Run a command once under a key, or replay what it printed and how it ended
    #[command(after_help = EXEC_EXAMPLES, override_usage =
        "idem exec --key <KEY> [OPTIONS] -- <COMMAND> [ARG]...")]
    Exec(ExecArguments),
    /// List the records
    Ls(LsArguments),
    /// Show the record of a key
    Show(ShowArguments),
    /// Say what became of an interrupted key
    Resolve(ResolveArguments),
    /// Remove the record of a completed or interrupted key, so that it can run again
    Forget(ForgetArguments),
    /// Mark ids as seen, and say which were seen before
    #[command(after_help = SEEN_EXAMPLES)]
    Seen(SeenArguments),
    /// List the messages that wait in outboxes, or send them with a command
    #[command(after_help = OUTBOX_EXAMPLES, override_usage =
        "idem outbox [OPTIONS] [-- <COMMAND> [ARG]...]")]
    Outbox(OutboxArguments),
    /// Count records, claims, bytes and what callers met, namespace by namespace
    Stats(StatsArguments),
    /// Say how long results should be kept, from when duplicates really came
    Advice(AdviceArguments),
    /// Watch claims, replays, interruptions and sweeps while they happen
    #[command(after_help = WATCH_HINT)]
    Watch(WatchArguments),
    /// Remove completed records whose retention is over
    Sweep,
    /// Give free pages back to the file system
    Compact,
    /// Verify the whole file
    Check(VerifyArgument),
    /// Copy the ledger to a new file while others use it
    Backup(BackupArguments),
    /// Print a new key (UUIDv7)
    Newkey,
    /// Print the completions of a shell
    Completions(CompletionsArguments),
    /// Print the manual page
    Man(ManArguments),
    /// Confirm that the machine's clock is right, or take the ledger's time back to it
    ConfirmClock(ConfirmClockArguments),
    /// Accept that the file is gone, or older than what was seen, as after restoring a backup
    AcceptRollback,
}

/// Options of `idem confirm-clock`.
#[derive(Debug, Args)]
pub(crate) struct ConfirmClockArguments {
    /// Take the ledger's time back to the clock, where a wrong clock has driven it ahead; keys that
    /// this changes are named first, and nothing is done
    #[arg(long)]
    pub(crate) back: bool,

    /// Take it back, with the keys that this changes
    #[arg(long, requires = "back")]
    pub(crate) yes: bool,
}

/// Where a key lives.
#[derive(Clone, Debug, Args)]
pub(crate) struct Place {
    /// The group of keys that the key belongs to
    #[arg(long, value_name = "NAME", default_value = DEFAULT_NAMESPACE)]
    pub(crate) namespace: String,

    /// The owner of the key, where two owners may choose the same one
    #[arg(long, value_name = "TEXT")]
    pub(crate) scope: Option<OsString>,
}

pub(crate) const DEFAULT_NAMESPACE: &str = "default";

#[derive(Debug, Args)]
pub(crate) struct ExecArguments {
    /// What the run is known by: 1 to 255 bytes; a retry uses the same key
    #[arg(long, value_name = "KEY")]
    pub(crate) key: String,

    #[command(flatten)]
    pub(crate) place: Place,

    /// Wait so long for another run of the key, instead of exiting with 75 at once
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) wait: Option<Duration>,

    #[command(flatten)]
    pub(crate) verify: VerifyArgument,

    #[command(flatten)]
    pub(crate) policy: PolicyArguments,

    #[command(flatten)]
    pub(crate) fingerprint: FingerprintArguments,

    #[command(flatten)]
    pub(crate) output: OutputArguments,

    /// The command and its arguments
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

/// The rules that the key is claimed under.
#[derive(Debug, Args)]
#[command(next_help_heading = "Rules")]
pub(crate) struct PolicyArguments {
    /// How long a result answers retries [default: 24h]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) retention: Option<Duration>,

    /// How long the run may go without a sign of life; renewed while it runs [default: 1h]
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) lease: Option<Duration>,

    /// What to do with a key whose earlier attempt may or may not have happened
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnInterruptedArgument::Refuse)]
    pub(crate) on_interrupted: OnInterruptedArgument,

    /// What a non-zero exit means
    #[arg(long, value_enum, value_name = "WHAT", default_value_t = OnFailure::Interrupt)]
    pub(crate) on_failure: OnFailure,

    /// Exit codes (1 to 127) that surely mean that nothing happened
    #[arg(long, value_name = "CODE,...", value_delimiter = ',',
        value_parser = clap::value_parser!(u8).range(1..=127))]
    pub(crate) release_exit: Vec<u8>,

    /// Refuse UUIDv7 keys that are older than the retention, or minutes ahead of the clock
    #[arg(long)]
    pub(crate) refuse_stale_keys: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnInterruptedArgument {
    /// Exit with 70 and say how to resolve it
    Refuse,
    /// Run again; right only where running twice does no harm
    Rerun,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum OnFailure {
    /// Nobody knows what happened: the key is interrupted
    Interrupt,
    /// Nothing happened: the next call runs again (not for codes from 128 up, not for signals)
    Release,
    /// It is the result: store and replay it
    Keep,
}

/// What makes two calls the same request. The command and its arguments always count.
#[derive(Debug, Args)]
#[command(next_help_heading = "Fingerprint and standard input")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct FingerprintArguments {
    /// The content of this file counts, too
    #[arg(long, value_name = "FILE", conflicts_with = "no_fingerprint")]
    pub(crate) fingerprint_file: Vec<PathBuf>,

    /// The value of this environment variable counts, too
    #[arg(long, value_name = "NAME", conflicts_with = "no_fingerprint")]
    pub(crate) fingerprint_env: Vec<String>,

    /// The current directory counts, too
    #[arg(long, conflicts_with = "no_fingerprint")]
    pub(crate) fingerprint_cwd: bool,

    /// Standard input counts, too: at most 16 MiB, read before the command starts
    #[arg(long, conflicts_with_all = ["no_fingerprint", "no_stdin", "ignore_stdin"])]
    pub(crate) fingerprint_stdin: bool,

    /// Give the command /dev/null as standard input
    #[arg(long, conflicts_with = "ignore_stdin")]
    pub(crate) no_stdin: bool,

    /// Pass standard input on, but do not count it
    #[arg(long)]
    pub(crate) ignore_stdin: bool,

    /// Nothing counts: any command under this key gets the stored result
    #[arg(long)]
    pub(crate) no_fingerprint: bool,
}

/// What becomes of the output.
#[derive(Debug, Args)]
#[command(next_help_heading = "Output")]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(crate) struct OutputArguments {
    /// Pass the output through without storing it
    #[arg(long)]
    pub(crate) no_store_output: bool,

    /// Let a replay whose output was not stored end with the stored exit code, not with 69
    #[arg(long)]
    pub(crate) accept_omitted: bool,

    /// Write outcome, fence and the command's status to this file, as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) status_file: Option<PathBuf>,

    /// Give the command the terminal itself; its output is not stored
    #[arg(long)]
    pub(crate) tty: bool,

    /// Do not say `replayed`
    #[arg(long, short)]
    pub(crate) quiet: bool,
}

/// Reads of redb do not verify, so a record hidden by damage would run again.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct VerifyArgument {
    /// Whether to verify the whole file first; files up to 64 MiB are verified by default
    #[arg(long, value_enum, value_name = "WHEN")]
    pub(crate) verify: Option<VerifyWhen>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum VerifyWhen {
    Always,
    Never,
}

#[derive(Debug, Args)]
pub(crate) struct LsArguments {
    /// Only records in this state
    #[arg(long, value_enum)]
    pub(crate) state: Option<StateArgument>,

    /// Only records of this namespace
    #[arg(long, value_name = "NAME")]
    pub(crate) namespace: Option<String>,

    /// Only records of this scope
    #[arg(long, value_name = "TEXT")]
    pub(crate) scope: Option<OsString>,

    #[command(flatten)]
    pub(crate) form: FormArgument,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum StateArgument {
    Claimed,
    Interrupted,
    Completed,
}

#[derive(Debug, Args)]
pub(crate) struct FormArgument {
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Args)]
pub(crate) struct ShowArguments {
    /// The key
    #[arg(value_name = "KEY")]
    pub(crate) key: String,

    #[command(flatten)]
    pub(crate) place: Place,

    #[command(flatten)]
    pub(crate) form: FormArgument,
}

#[derive(Debug, Args)]
#[command(group(clap::ArgGroup::new("what").required(true).args(["release", "complete", "http"])))]
pub(crate) struct ResolveArguments {
    /// The key
    #[arg(value_name = "KEY")]
    pub(crate) key: String,

    #[command(flatten)]
    pub(crate) place: Place,

    /// It did not happen: the next call runs again
    #[arg(long)]
    pub(crate) release: bool,

    /// It did happen: replay this file as its standard output (/dev/null for none)
    #[arg(long, value_name = "FILE")]
    pub(crate) complete: Option<PathBuf>,

    /// It did happen, over HTTP: replay an answer with this status
    #[arg(long, value_name = "STATUS", value_parser = clap::value_parser!(u16).range(100..=999))]
    pub(crate) http: Option<u16>,

    /// Replay this header with the answer, such as 'Content-Type: application/json'
    #[arg(long, value_name = "HEADER", requires = "http")]
    pub(crate) header: Vec<String>,

    /// Replay this file as the body of the answer [default: an empty one]
    #[arg(long, value_name = "FILE", requires = "http")]
    pub(crate) body: Option<PathBuf>,

    /// Replay this file as its standard error
    #[arg(
        long,
        value_name = "FILE",
        requires = "complete",
        conflicts_with = "release"
    )]
    pub(crate) stderr: Option<PathBuf>,

    /// Replay this exit code [default: 0]
    #[arg(
        long,
        value_name = "CODE",
        requires = "complete",
        conflicts_with = "release"
    )]
    pub(crate) exit_code: Option<u8>,

    /// Only if this is still the attempt that was interrupted
    #[arg(long, value_name = "NUMBER")]
    pub(crate) fence: Option<u64>,

    #[command(flatten)]
    pub(crate) verify: VerifyArgument,
}

#[derive(Debug, Args)]
pub(crate) struct ForgetArguments {
    /// The key
    #[arg(value_name = "KEY")]
    pub(crate) key: String,

    #[command(flatten)]
    pub(crate) place: Place,
}

#[derive(Debug, Args)]
pub(crate) struct SeenArguments {
    /// The table: one for each source of events
    #[arg(long, value_name = "NAME")]
    pub(crate) table: String,

    /// How long an id counts as seen, from its first sighting on
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    pub(crate) window: Duration,

    #[command(flatten)]
    pub(crate) verify: VerifyArgument,

    #[command(flatten)]
    pub(crate) form: FormArgument,

    /// The ids, each 1 to 255 bytes
    #[arg(required = true, value_name = "ID")]
    pub(crate) ids: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct StatsArguments {
    #[command(flatten)]
    pub(crate) form: FormArgument,
}

#[derive(Debug, Args)]
pub(crate) struct BackupArguments {
    /// The new file; an existing one is refused
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
}

fn at_least_one(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(0) => Err("it is zero".to_owned()),
        Ok(count) => Ok(count),
        Err(_) => Err("it is no whole number".to_owned()),
    }
}

#[derive(Debug, Args)]
pub(crate) struct OutboxArguments {
    /// Only this outbox
    #[arg(long, value_name = "NAME")]
    pub(crate) table: Option<String>,

    /// At most so many messages of an outbox
    #[arg(long, value_name = "COUNT", default_value_t = 1_000,
        value_parser = at_least_one)]
    pub(crate) max: usize,

    #[command(flatten)]
    pub(crate) verify: VerifyArgument,

    #[command(flatten)]
    pub(crate) form: FormArgument,

    /// The command that sends a message, and its arguments; needs --table
    #[arg(last = true, value_name = "COMMAND", conflicts_with = "json")]
    pub(crate) command: Vec<OsString>,
}

#[derive(Debug, Args)]
pub(crate) struct AdviceArguments {
    /// Only for this namespace
    #[arg(long, value_name = "NAME", conflicts_with = "table")]
    pub(crate) namespace: Option<String>,

    /// Only for this table of `idem seen`
    #[arg(long, value_name = "NAME")]
    pub(crate) table: Option<String>,

    #[command(flatten)]
    pub(crate) form: FormArgument,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArguments {
    /// How long to wait between two looks
    #[arg(long, value_name = "DURATION", value_parser = duration::parse, default_value = "1s")]
    pub(crate) interval: Duration,

    /// End after so many looks
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) times: Option<u64>,

    #[command(flatten)]
    pub(crate) form: FormArgument,
}

#[derive(Debug, Args)]
pub(crate) struct CompletionsArguments {
    /// The shell
    #[arg(value_enum, value_name = "SHELL")]
    pub(crate) shell: clap_complete::Shell,
}

#[derive(Debug, Args)]
pub(crate) struct ManArguments {
    /// Write a page for each command into this folder instead
    #[arg(long, value_name = "FOLDER")]
    pub(crate) dir: Option<PathBuf>,
}
