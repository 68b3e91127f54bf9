//! `idem advice`: how long results should be kept, from when duplicates really came.

use std::time::Duration;

use idempotency_ledger::{DelaySpan, Ledger, NamespaceStats, RetentionAdvice};
use serde::Serialize;

use crate::arguments::AdviceArguments;
use crate::duration::in_words;
use crate::exit::{Exit, Failure};
use crate::identity::stored_namespace;
use crate::location::Location;
use crate::output::Output;
use crate::speak::printable;

const BAR_COLUMNS: u64 = 40;
/// From fewer nothing follows.
const SAMPLES_MIN: u64 = 20;

pub(crate) fn run(arguments: &AdviceArguments, location: &Location) -> Result<Exit, Failure> {
    let wanted = wanted(arguments)?;
    let ledger = location.open_reading()?;
    let stats = ledger.stats()?;
    // What lies there is kept for ever, and has no duplicates.
    let is_kept = |names: &&NamespaceStats| {
        names.name.starts_with("outbox:") || names.name.starts_with("versioned:")
    };
    let chosen: Vec<&NamespaceStats> = stats
        .namespaces
        .iter()
        .filter(|names| !is_kept(names))
        .filter(|names| {
            wanted
                .as_ref()
                .is_none_or(|wanted| wanted == names.name.as_str())
        })
        .collect();
    if let (Some(wanted), []) = (&wanted, &chosen[..]) {
        let message = format!("nothing was ever stored in {wanted:?}");
        return Err(Failure::new(Exit::UnknownKey, message));
    }
    let mut output = Output::new();
    let mut shown = 0;
    for names in chosen {
        let advice = advise(&ledger, names)?;
        if arguments.form.json {
            output.json(&line(&names.name, &advice))?;
        } else if advice.samples > 0 || wanted.is_some() {
            if shown > 0 {
                output.line("")?;
            }
            show(&names.name, &advice, &mut output)?;
            shown += 1;
        }
    }
    if shown == 0 && !arguments.form.json {
        output.line("no duplicate has come yet, so there is nothing to advise")?;
    }
    output.finish()?;
    Ok(Exit::Success)
}

fn wanted(arguments: &AdviceArguments) -> Result<Option<String>, Failure> {
    let name = match (&arguments.namespace, &arguments.table) {
        (Some(name), _) => name.clone(),
        (None, Some(table)) => format!("dedup:{table}"),
        (None, None) => return Ok(None),
    };
    Ok(Some(stored_namespace(&name)?.name().to_owned()))
}

/// Asks under the policy that the namespace's newest claim was made under.
fn advise(ledger: &Ledger, names: &NamespaceStats) -> Result<RetentionAdvice, Failure> {
    let stored = stored_namespace(&names.name)?.policy(names.policy);
    Ok(ledger.retention_advice(stored)?)
}

fn show(name: &str, advice: &RetentionAdvice, output: &mut Output) -> Result<(), Failure> {
    output.line(&format!(
        "{}: {} {}, timed from the first claim of the key",
        printable(name),
        advice.samples,
        if advice.samples == 1 {
            "duplicate"
        } else {
            "duplicates"
        },
    ))?;
    if advice.samples == 0 {
        return Ok(());
    }
    let bars = advice.histogram();
    let most = bars.iter().map(|bar| bar.count).max().unwrap_or_default();
    for bar in &bars {
        output.line(&drawn(bar, most))?;
    }
    for (what, span) in [
        ("p50", advice.p50),
        ("p90", advice.p90),
        ("p99", advice.p99),
        ("max", advice.max),
    ] {
        output.line(&format!("  {what}  {}", in_words(span)))?;
    }
    let (proposed, kept) = (in_words(advice.proposed), in_words(advice.retention));
    if advice.samples < SAMPLES_MIN {
        let few = format!("  too few for advice; {kept} is kept, twice p99 is {proposed}");
        return output.line(&few);
    }
    output.line(&if advice.is_retention_shorter() {
        format!("  keep results for {proposed} (twice p99); {kept} is shorter")
    } else {
        format!("  {kept} is enough: twice p99 is {proposed}")
    })
}

fn drawn(bar: &DelaySpan, most: u64) -> String {
    let (from, until) = (in_words(bar.from), in_words(bar.until));
    let marks = bar_of(bar.count, most);
    format!("  {from:>9} - {until:<9} {marks:<40} {}", bar.count)
}

/// Every span with a duplicate in it gets at least one mark.
fn bar_of(count: u64, most: u64) -> String {
    let columns = count.saturating_mul(BAR_COLUMNS).div_ceil(most.max(1));
    "#".repeat(usize::try_from(columns).unwrap_or_default())
}

/// A namespace as a JSON line; spans in milliseconds.
#[derive(Debug, Serialize)]
struct AdviceLine<'a> {
    namespace: &'a str,
    samples: u64,
    p50_ms: u64,
    p90_ms: u64,
    p99_ms: u64,
    max_ms: u64,
    proposed_ms: u64,
    retention_ms: u64,
    retention_is_shorter: bool,
}

fn line<'a>(namespace: &'a str, advice: &RetentionAdvice) -> AdviceLine<'a> {
    let ms = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    AdviceLine {
        namespace,
        samples: advice.samples,
        p50_ms: ms(advice.p50),
        p90_ms: ms(advice.p90),
        p99_ms: ms(advice.p99),
        max_ms: ms(advice.max),
        proposed_ms: ms(advice.proposed),
        retention_ms: ms(advice.retention),
        retention_is_shorter: advice.is_retention_shorter(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bars_are_as_long_as_their_share_and_never_empty() {
        let marks = |count| bar_of(count, 80).matches('#').count();
        assert_eq!([marks(80), marks(40), marks(1), marks(0)], [40, 20, 1, 0]);
    }
}
