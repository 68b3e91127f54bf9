//! `idem seen`: whether ids were seen before, and marks those that were not.

use idempotency_ledger::{DedupTable, Sighting};
use serde::Serialize;

use crate::arguments::SeenArguments;
use crate::exit::{Exit, Failure};
use crate::location::Location;
use crate::output::{Output, Table};
use crate::speak::printable;

/// An id as a JSON line.
#[derive(Serialize)]
struct SeenLine<'a> {
    id: &'a str,
    sighting: &'static str,
    first_seen: Option<String>,
}

pub(crate) fn run(arguments: &SeenArguments, location: &Location) -> Result<Exit, Failure> {
    let table = DedupTable::named(arguments.table.as_str(), arguments.window)?;
    let ledger = location.open_or_create(arguments.verify)?;
    let seen = ledger.dedup(table).observe_all(&arguments.ids)?;
    let lines: Vec<_> = arguments.ids.iter().zip(&seen).map(line).collect();
    let mut output = Output::new();
    if arguments.form.json {
        for line in &lines {
            output.json(line)?;
        }
    } else {
        let mut shown = Table::new(["ID", "SIGHTING", "FIRST SEEN"]);
        for line in &lines {
            let first_seen = line.first_seen.clone().unwrap_or_default();
            let row = [printable(line.id), line.sighting.to_owned(), first_seen];
            shown.row(row, &mut output)?;
        }
        shown.print(&mut output)?;
    }
    output.finish()?;
    let all_first = seen.iter().all(|seen| *seen == Sighting::First);
    Ok(if all_first {
        Exit::Success
    } else {
        Exit::Repeat
    })
}

fn line<'a>((id, seen): (&'a String, &Sighting)) -> SeenLine<'a> {
    let (sighting, first_seen) = match seen {
        Sighting::First => ("first", None),
        Sighting::Repeat { first_seen } => ("repeat", Some(first_seen.to_string())),
    };
    SeenLine {
        id,
        sighting,
        first_seen,
    }
}
