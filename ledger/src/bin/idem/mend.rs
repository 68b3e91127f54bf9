//! Changing what is stored: `resolve`, `forget`, and the care of the file.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use idempotency_ledger::http::HttpAnswer;
use idempotency_ledger::{Error, Fence, Policy, Progress, Resolution, Resolved, Response, Verify};

use crate::arguments::{BackupArguments, ForgetArguments, ResolveArguments, VerifyArgument};
use crate::exec::{Ending, OUTPUT_BYTES_MAX, Recorder, STORED_BYTES_MAX, Stream};
use crate::exit::{Exit, Failure};
use crate::identity::Identity;
use crate::location::{Location, verify_of};
use crate::output::Output;
use crate::progress::{Unit, counting, spinning};
use crate::speak::say;

/// How many expired records one transaction of `idem sweep` removes.
const SWEEP_ROWS: usize = 250;

/// `idem resolve KEY`.
pub(crate) fn resolve(arguments: ResolveArguments, location: &Location) -> Result<Exit, Failure> {
    let resolution = match (&arguments.complete, arguments.http) {
        (None, None) => Resolution::Released,
        (Some(out), _) => Resolution::Completed(result_of(out, &arguments)?),
        (None, Some(status)) => Resolution::Completed(answer_of(status, &arguments)?),
    };
    let identity = Identity::new(&arguments.key, arguments.place)?;
    let ledger = location.open_existing(verify_of(arguments.verify))?;
    let policy = Policy::DEFAULT.response_bytes_max(STORED_BYTES_MAX as u64);
    let record = ledger
        .record(identity.namespace(policy), identity.key())
        .scope(identity.scope_bytes());
    let resolved = match arguments.fence {
        Some(number) => record.resolve_at(Fence::from_stored(number), resolution)?,
        None => record.resolve(resolution)?,
    };
    end(&identity, resolved)
}

/// Says what resolving or forgetting came to.
fn end(identity: &Identity, resolved: Resolved) -> Result<Exit, Failure> {
    let (exit, why) = match resolved {
        Resolved::Done => return Ok(Exit::Success),
        Resolved::NothingThere => (Exit::UnknownKey, "it is unknown; was it another namespace?"),
        Resolved::StillAlive => (Exit::TryLater, "it is in progress; nothing was changed"),
        Resolved::StillRunning => (
            Exit::TryLater,
            "the earlier command is still running; nothing was changed",
        ),
        Resolved::Superseded => (
            Exit::Mismatch,
            "it has had another attempt since; nothing was changed; look with `idem show`",
        ),
        Resolved::AlreadyCompleted => (
            Exit::Mismatch,
            "it is completed already; nothing was changed",
        ),
    };
    Err(Failure::new(exit, format!("{}: {why}", identity.shown())))
}

/// The result that a person supplies, in the form in which a run is stored.
fn result_of(out: &Path, arguments: &ResolveArguments) -> Result<Response, Failure> {
    let mut recorder = Recorder::storing();
    let out = read(out, "--complete", OUTPUT_BYTES_MAX)?;
    recorder.note(Stream::Out, &out);
    if let Some(err) = &arguments.stderr {
        let err = read(err, "--stderr", OUTPUT_BYTES_MAX - out.len())?;
        recorder.note(Stream::Err, &err);
    }
    let ending = Ending::Exited(arguments.exit_code.unwrap_or(0));
    Ok(Response::command(recorder.finish(ending).encode()))
}

/// The HTTP answer that a person supplies, in the form in which the middleware stores it.
fn answer_of(status: u16, arguments: &ResolveArguments) -> Result<Response, Failure> {
    let body = match &arguments.body {
        Some(path) => read(path, "--body", OUTPUT_BYTES_MAX)?,
        None => Vec::new(),
    };
    let mut answer = http::Response::builder().status(status);
    for header in &arguments.header {
        let (name, value) = header.split_once(':').ok_or_else(|| {
            Failure::usage(format!(
                "--header {header:?} is no header; write 'Name: value'"
            ))
        })?;
        answer = answer.header(name.trim(), value.trim());
    }
    match answer.body(body) {
        Ok(answer) => Ok(HttpAnswer::from(answer).into()),
        Err(error) => Err(Failure::usage(format!(
            "--http {status} with these headers is no answer: {error}"
        ))),
    }
}

fn read(path: &Path, option: &str, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut bytes = Vec::new();
    let read =
        File::open(path).and_then(|file| file.take(limit as u64 + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(Failure::usage(format!(
            "{option} {}: {error}",
            path.display()
        ))),
        Ok(_) if bytes.len() > limit => Err(Failure::usage(format!(
            "{option} {}: a stored output has at most 16 MiB in all; shorten it",
            path.display()
        ))),
        Ok(_) => Ok(bytes),
    }
}

/// `idem forget KEY`.
pub(crate) fn forget(arguments: ForgetArguments, location: &Location) -> Result<Exit, Failure> {
    let identity = Identity::new(&arguments.key, arguments.place)?;
    let ledger = location.open_existing(Verify::Never)?;
    let forgotten = ledger
        .record(identity.namespace(Policy::DEFAULT), identity.key())
        .scope(identity.scope_bytes())
        .forget()?;
    end(&identity, forgotten)
}

/// `idem sweep`: until nothing expired is left.
pub(crate) fn sweep(location: &Location) -> Result<Exit, Failure> {
    let ledger = location.open_existing(Verify::Never)?;
    let stats = ledger.stats()?;
    let total = stats.namespaces.iter().map(|names| names.expired).sum();
    let removed = counting("sweeping", Unit::Records, |tell| {
        let mut removed = 0;
        loop {
            let swept = ledger.sweep(SWEEP_ROWS)?;
            removed += swept.removed;
            let done = removed as u64;
            tell(Progress { done, total });
            // What cannot be removed (claims that live) is left, however often it is asked for.
            if !swept.more || swept.removed == 0 {
                return Ok::<_, Error>(removed);
            }
        }
    })?;
    say_result(&format!("{removed} expired records removed"))
}

/// `idem compact`.
pub(crate) fn compact(location: &Location) -> Result<Exit, Failure> {
    let ledger = location.open_existing(Verify::Never)?;
    let compacted = spinning("compacting", || ledger.compact())?;
    say_result(&format!(
        "{} bytes before, {} after",
        compacted.bytes_before, compacted.bytes_after
    ))
}

/// `idem check`.
pub(crate) fn check(verify: VerifyArgument, location: &Location) -> Result<Exit, Failure> {
    let ledger = location.open_existing(verify_of(verify))?;
    let report = counting("checking", Unit::Records, |tell| ledger.check_telling(tell))?;
    for problem in &report.problems {
        say(problem);
    }
    if !report.problems.is_empty() {
        return Err(Failure::storage("the ledger is damaged; restore a backup"));
    }
    let repaired = if report.pages_repaired {
        "; the list of free pages was repaired"
    } else {
        ""
    };
    say_result(&format!("{} records, all whole{repaired}", report.records))
}

/// `idem backup FILE`.
pub(crate) fn backup(arguments: &BackupArguments, location: &Location) -> Result<Exit, Failure> {
    if arguments.file.exists() {
        let taken = arguments.file.display();
        return Err(Failure::usage(format!(
            "{taken} exists; a backup replaces nothing"
        )));
    }
    let ledger = location.open_reading()?;
    let report = counting("copying", Unit::Bytes, |tell| {
        ledger.backup_telling(&arguments.file, tell)
    })?;
    say_result(&format!(
        "{} bytes in {}",
        report.bytes,
        arguments.file.display()
    ))
}

/// `idem accept-rollback`.
pub(crate) fn accept_rollback(location: &Location) -> Result<Exit, Failure> {
    location.open_rolled_back()?.close()?;
    Ok(Exit::Success)
}

fn say_result(line: &str) -> Result<Exit, Failure> {
    let mut output = Output::new();
    output.line(line)?;
    output.finish()?;
    Ok(Exit::Success)
}
