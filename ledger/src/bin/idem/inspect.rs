//! Looking at the ledger without changing it: `ls`, `show`, `stats`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use idempotency_ledger::time::ClockState;
use idempotency_ledger::{
    FingerprintAlgorithm, NamespaceStats, Policy, RecordFilter, RecordInfo, RecordState, Stats,
};
use serde::Serialize;

use crate::arguments::{LsArguments, ShowArguments, StateArgument, StatsArguments};
use crate::clock;
use crate::exit::{Exit, Failure};
use crate::identity::{Identity, check_scope, stored_namespace};
use crate::location::Location;
use crate::output::{Output, Table};
use crate::record_form::{RecordLine, response_in_words, scope_in_words};
use crate::speak::{printable, say};

/// `idem ls`. A damaged record is named and does not hide the others.
pub(crate) fn ls(arguments: &LsArguments, location: &Location) -> Result<Exit, Failure> {
    let filter = filter_of(arguments)?;
    if !location.exists() {
        say(location.missing());
        return Ok(Exit::Success);
    }
    let ledger = location.open_reading()?;
    let mut output = Output::new();
    let mut table = Table::new([
        "NAMESPACE",
        "KEY",
        "SCOPE",
        "STATE",
        "ATTEMPTS",
        "FENCE",
        "PROGRAM",
        "CLAIMED",
        "EXPIRES",
    ]);
    let mut exit = Exit::Success;
    for record in ledger.records(filter)? {
        match record {
            Ok(info) if !in_scope(&info, arguments.scope.as_deref()) => {}
            Ok(info) if arguments.form.json => output.json(&RecordLine::of(&info))?,
            Ok(info) => table.row(row_of(&info), &mut output)?,
            Err(error) => {
                say(&error);
                exit = Exit::Storage;
            }
        }
        if output.is_gone() {
            return Ok(exit);
        }
    }
    if !arguments.form.json {
        table.print(&mut output)?;
    }
    output.finish()?;
    Ok(exit)
}

fn filter_of(arguments: &LsArguments) -> Result<RecordFilter, Failure> {
    check_scope(arguments.scope.as_ref())?;
    let mut filter = RecordFilter::all();
    if let Some(name) = &arguments.namespace {
        filter = filter.namespace(&stored_namespace(name)?);
    }
    if let Some(state) = arguments.state {
        filter = filter.state(match state {
            StateArgument::Claimed => RecordState::Claimed,
            StateArgument::Interrupted => RecordState::Interrupted,
            StateArgument::Completed => RecordState::Completed,
        });
    }
    Ok(filter)
}

fn in_scope(info: &RecordInfo, scope: Option<&OsStr>) -> bool {
    scope.is_none_or(|scope| scope.as_bytes() == info.scope().as_bytes())
}

fn row_of(info: &RecordInfo) -> [String; 9] {
    [
        printable(info.namespace()),
        printable(info.key().as_str()),
        scope_in_words(info.scope().as_bytes()),
        state_in_words(info),
        info.attempts().to_string(),
        info.fence().to_string(),
        printable(info.program()),
        info.claimed_at().to_string(),
        info.expires_at()
            .map_or_else(String::new, |time| time.to_string()),
    ]
}

fn state_in_words(info: &RecordInfo) -> String {
    let mut words = info.state().as_str().to_owned();
    if info.is_running() {
        words += " (running)";
    }
    if info.is_overdue() {
        words += " (overdue)";
    }
    words
}

/// `idem show KEY`.
pub(crate) fn show(arguments: ShowArguments, location: &Location) -> Result<Exit, Failure> {
    let identity = Identity::new(&arguments.key, arguments.place)?;
    let unknown = || Failure::new(Exit::UnknownKey, format!("{} is unknown", identity.shown()));
    if !location.exists() {
        return Err(unknown());
    }
    let ledger = location.open_reading()?;
    let info = ledger
        .record(identity.namespace(Policy::DEFAULT), identity.key())
        .scope(identity.scope_bytes())
        .peek()?
        .ok_or_else(unknown)?;
    let mut output = Output::new();
    if arguments.form.json {
        output.json(&RecordLine::of(&info))?;
    } else {
        show_to_people(&info, &mut output)?;
        if info.state() == RecordState::Interrupted {
            let lines = match info.fingerprint().algorithm() {
                FingerprintAlgorithm::Http => identity.resolve_http_lines(location, info.fence()),
                _ => identity.resolve_lines(location, info.fence()),
            };
            output.line(&lines)?;
        }
    }
    output.finish()?;
    Ok(Exit::Success)
}

fn show_to_people(info: &RecordInfo, output: &mut Output) -> Result<(), Failure> {
    let time = |time: idempotency_ledger::Timestamp| time.to_string();
    for (name, value) in [
        ("namespace", Some(printable(info.namespace()))),
        ("key", Some(printable(info.key().as_str()))),
        (
            "scope",
            Some(scope_in_words(info.scope().as_bytes())).filter(|text| !text.is_empty()),
        ),
        ("state", Some(state_in_words(info))),
        ("attempts", Some(info.attempts().to_string())),
        ("fence", Some(info.fence().to_string())),
        (
            "program",
            Some(printable(info.program())).filter(|text| !text.is_empty()),
        ),
        ("first claimed", Some(time(info.first_claimed_at()))),
        ("claimed", Some(time(info.claimed_at()))),
        ("lease until", info.lease_until().map(time)),
        ("completed", info.completed_at().map(time)),
        ("expires", info.expires_at().map(time)),
        (
            "checkpoint",
            info.checkpoint()
                .map(|checkpoint| printable(&checkpoint.name)),
        ),
        ("answer", response_in_words(info)),
    ] {
        if let Some(value) = value {
            output.line(&format!("{name:<14} {value}"))?;
        }
    }
    Ok(())
}

/// One line of `stats --json` for each namespace.
#[derive(Debug, Serialize)]
struct NamespaceLine<'a> {
    namespace: &'a str,
    policy_version: u32,
    records: u64,
    claimed: u64,
    completed: u64,
    bytes: u64,
    expired: u64,
    replays: u64,
    in_progress: u64,
    mismatches: u64,
    stale: u64,
    quota: u64,
    interruptions: u64,
    late: u64,
    swept: u64,
    /// The rules of the newest claim.
    lease_ms: u64,
    retention_ms: u64,
}

/// The last line of `stats --json`: the ledger as a whole, known by having no `namespace`.
#[derive(Debug, Serialize)]
struct LedgerLine {
    file_bytes: Option<u64>,
    fence: u64,
    now: String,
    /// `agrees`, `leapt` (ahead, and held back) or `behind` (the ledger's time is ahead of it).
    clock: &'static str,
    /// Since when, in the ledger's time.
    clock_since: Option<String>,
    /// When a clock that leapt is believed, if it stays there.
    clock_believed_at: Option<String>,
    /// How far the wall clock leapt, while it is held back.
    unconfirmed_jump_s: Option<u64>,
    /// How far the ledger's time is ahead of the wall clock.
    behind_s: Option<u64>,
}

impl LedgerLine {
    fn of(stats: &Stats) -> Self {
        let (clock, since, believed_at, behind) = match stats.clock {
            ClockState::Agrees => ("agrees", None, None, None),
            ClockState::Leapt {
                since, believed_at, ..
            } => ("leapt", Some(since), believed_at, None),
            ClockState::Behind { by, since } => ("behind", Some(since), None, Some(by)),
        };
        Self {
            file_bytes: stats.file_bytes,
            fence: stats.fence.get(),
            now: stats.now.to_string(),
            clock,
            clock_since: since.map(|time| time.to_string()),
            clock_believed_at: believed_at.map(|time| time.to_string()),
            unconfirmed_jump_s: stats.unconfirmed_jump.map(|jump| jump.as_secs()),
            behind_s: behind.map(|span| span.as_secs()),
        }
    }
}

/// `idem stats`.
pub(crate) fn stats(arguments: &StatsArguments, location: &Location) -> Result<Exit, Failure> {
    let stats = location.open_reading()?.stats()?;
    let mut output = Output::new();
    if arguments.form.json {
        for namespace in &stats.namespaces {
            output.json(&namespace_line(namespace))?;
        }
        output.json(&LedgerLine::of(&stats))?;
    } else {
        stats_for_people(&stats, &mut output)?;
    }
    output.finish()?;
    Ok(Exit::Success)
}

fn namespace_line(namespace: &NamespaceStats) -> NamespaceLine<'_> {
    NamespaceLine {
        namespace: &namespace.name,
        policy_version: namespace.policy_version,
        records: namespace.records,
        claimed: namespace.claimed,
        completed: namespace.completed,
        bytes: namespace.bytes,
        expired: namespace.expired,
        replays: namespace.events.replays,
        in_progress: namespace.events.in_progress,
        mismatches: namespace.events.mismatches,
        stale: namespace.events.stale,
        quota: namespace.events.quota,
        interruptions: namespace.events.interruptions,
        late: namespace.events.late,
        swept: namespace.events.swept,
        lease_ms: span_ms(namespace.policy.lease_span()),
        retention_ms: span_ms(namespace.policy.retention_span()),
    }
}

fn span_ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

fn stats_for_people(stats: &Stats, output: &mut Output) -> Result<(), Failure> {
    let mut table = Table::new([
        "NAMESPACE",
        "RECORDS",
        "CLAIMED",
        "COMPLETED",
        "BYTES",
        "EXPIRED",
        "REPLAYS",
        "REFUSALS",
        "INTERRUPTED",
        "LATE",
        "SWEPT",
    ]);
    for namespace in &stats.namespaces {
        let met = namespace.events;
        let counts = [
            namespace.records,
            namespace.claimed,
            namespace.completed,
            namespace.bytes,
            namespace.expired,
            met.replays,
            met.refusals(),
            met.interruptions,
            met.late,
            met.swept,
        ];
        let mut row: [String; 11] = Default::default();
        row[0] = printable(&namespace.name);
        for (cell, count) in row[1..].iter_mut().zip(counts) {
            *cell = count.to_string();
        }
        table.row(row, output)?;
    }
    table.print(output)?;
    if let Some(bytes) = stats.file_bytes {
        output.line(&format!("{bytes} bytes in the file"))?;
    }
    if let Some(words) = clock::state_in_words(stats) {
        output.line(&words)?;
    }
    Ok(())
}
