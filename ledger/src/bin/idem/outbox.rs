//! `idem outbox`: the messages that wait to be sent, and a command that sends them.

use std::io::Write;
use std::process::{Command, Stdio};
use std::thread;

use idempotency_ledger::{Drain, Ledger, OutboxRow, OutboxTable};
use serde::Serialize;

use crate::arguments::OutboxArguments;
use crate::exit::{Exit, Failure};
use crate::location::{Location, verify_of};
use crate::output::{Output, Table};
use crate::speak::{printable, say};

/// A row as a JSON line.
#[derive(Debug, Serialize)]
struct RowLine<'a> {
    table: &'a str,
    topic: &'a str,
    key: &'a str,
    fence: u64,
    failures: u32,
    pushed_at: String,
    bytes: usize,
    /// The payload, where it is text.
    payload: Option<&'a str>,
}

pub(crate) fn run(arguments: &OutboxArguments, location: &Location) -> Result<Exit, Failure> {
    if arguments.command.is_empty() {
        return list(arguments, location);
    }
    let Some(table) = &arguments.table else {
        return Err(Failure::usage("which outbox? Give --table NAME"));
    };
    deliver(OutboxTable::named(table.as_str())?, arguments, location)
}

fn list(arguments: &OutboxArguments, location: &Location) -> Result<Exit, Failure> {
    let ledger = location.open_reading()?;
    let mut output = Output::new();
    let mut shown = Table::new([
        "TABLE", "TOPIC", "KEY", "FENCE", "FAILURES", "PUSHED", "BYTES",
    ]);
    for table in tables(&ledger, arguments.table.as_deref())? {
        for row in ledger.outbox(table.clone()).rows(arguments.max)? {
            if arguments.form.json {
                output.json(&line(&table, &row))?;
                continue;
            }
            let cells = [
                printable(table.name()),
                printable(row.topic()),
                printable(row.key().as_str()),
                row.fence().to_string(),
                row.failures().to_string(),
                row.pushed_at().to_string(),
                row.payload().len().to_string(),
            ];
            shown.row(cells, &mut output)?;
        }
    }
    if !arguments.form.json {
        shown.print(&mut output)?;
    }
    output.finish()?;
    Ok(Exit::Success)
}

/// The outboxes of the ledger, or the one that was asked for.
fn tables(ledger: &Ledger, wanted: Option<&str>) -> Result<Vec<OutboxTable>, Failure> {
    if let Some(name) = wanted {
        return Ok(vec![OutboxTable::named(name)?]);
    }
    let mut tables = Vec::new();
    for names in ledger.stats()?.namespaces {
        if let Some(name) = names.name.strip_prefix("outbox:") {
            tables.push(OutboxTable::named(name)?);
        }
    }
    Ok(tables)
}

fn line<'a>(table: &'a OutboxTable, row: &'a OutboxRow) -> RowLine<'a> {
    RowLine {
        table: table.name(),
        topic: row.topic(),
        key: row.key().as_str(),
        fence: row.fence().get(),
        failures: row.failures(),
        pushed_at: row.pushed_at().to_string(),
        bytes: row.payload().len(),
        payload: std::str::from_utf8(row.payload()).ok(),
    }
}

/// Runs the command once for each row, oldest first.
fn deliver(
    table: OutboxTable,
    arguments: &OutboxArguments,
    location: &Location,
) -> Result<Exit, Failure> {
    let ledger = location.open_existing(verify_of(arguments.verify))?;
    let drained = ledger.outbox(table).drain(arguments.max, |row| {
        let sent = send(&arguments.command, row);
        if let Err(why) = &sent {
            let topic = printable(row.topic());
            say(format_args!("{topic} {}: {why}; it stays", row.key()));
        }
        sent
    })?;
    let drained = match drained {
        Drain::Done(drained) => drained,
        Drain::Busy { .. } => {
            let message = "somebody else is draining it; nothing was sent";
            return Err(Failure::new(Exit::TryLater, message));
        }
    };
    let mut output = Output::new();
    output.line(&format!("{} sent", drained.delivered))?;
    output.finish()?;
    let left = drained.failed.len() + drained.held_back;
    if left == 0 && !drained.more {
        return Ok(Exit::Success);
    }
    let more = if drained.more { ", and more wait" } else { "" };
    Err(Failure::new(
        Exit::TryLater,
        format!(
            "{} failed, {} were held back behind them{more}; the same call tries again",
            drained.failed.len(),
            drained.held_back
        ),
    ))
}

/// The payload is the command's standard input; topic and key are in its environment.
fn send(command: &[std::ffi::OsString], row: &OutboxRow) -> Result<(), String> {
    let Some((program, rest)) = command.split_first() else {
        return Err("no command was given".to_owned());
    };
    let mut child = Command::new(program)
        .args(rest)
        .env("IDEM_TOPIC", row.topic())
        .env("IDEM_KEY", row.key().as_str())
        .stdin(Stdio::piped())
        .spawn()
        .map_err(|error| format!("{}: {error}", program.display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // Beside the command, which is free not to read: its exit code counts, and what it leaves
        // behind may keep the pipe open.
        let payload = row.payload().to_vec();
        let _ = thread::spawn(move || stdin.write_all(&payload));
    }
    let status = child.wait().map_err(|error| error.to_string())?;
    if status.success() {
        return Ok(());
    }
    Err(status.to_string())
}
