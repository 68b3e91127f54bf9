//! `idem confirm-clock`, and what is said of the clock.

use idempotency_ledger::time::{ClockBack, ClockState, KeyChange};
use idempotency_ledger::{Ledger, Stats, Verify};

use crate::arguments::ConfirmClockArguments;
use crate::duration::in_words;
use crate::exit::{Exit, Failure};
use crate::location::Location;
use crate::output::{Output, Table};
use crate::record_form::scope_in_words;
use crate::speak::printable;

/// `idem confirm-clock`.
pub(crate) fn confirm(
    arguments: &ConfirmClockArguments,
    location: &Location,
) -> Result<Exit, Failure> {
    let ledger = location.open_existing(Verify::Never)?;
    let mut output = Output::new();
    if arguments.back {
        take_back(&ledger, arguments, &mut output)?;
    } else {
        let now = ledger.confirm_clock()?;
        output.line(&match ledger.stats()?.clock {
            ClockState::Behind { by, .. } => format!(
                "the clock is behind the ledger's time, {now}, by {}; nothing was changed, since \
                 the time never runs back by itself; if the clock is right, `idem confirm-clock \
                 --back` takes it back",
                in_words(by)
            ),
            ClockState::Agrees | ClockState::Leapt { .. } => format!("the ledger's time is {now}"),
        })?;
    }
    output.finish()?;
    Ok(Exit::Success)
}

fn take_back(
    ledger: &Ledger,
    arguments: &ConfirmClockArguments,
    output: &mut Output,
) -> Result<(), Failure> {
    let Some(back) = ledger.plan_clock_back()? else {
        return output.line("the ledger's time is not ahead of the clock; nothing was changed");
    };
    name_changed(&back, output)?;
    let changes = back.keys_changed > 0 || !back.unguarded.is_empty();
    if changes && !arguments.yes {
        return Err(Failure::usage(format!(
            "the ledger's time is {}, ahead of the clock by {}; nothing was changed yet; if the \
             clock is right, `idem confirm-clock --back --yes` takes it back",
            back.now,
            in_words(back.by)
        )));
    }
    let now = ledger.take_clock_back()?;
    output.line(&format!("the ledger's time is {now}"))
}

/// Counts and names the keys for which something changes.
fn name_changed(back: &ClockBack, output: &mut Output) -> Result<(), Failure> {
    let mut table = Table::new(["NAMESPACE", "KEY", "SCOPE", "ONCE TAKEN BACK"]);
    for found in &back.changed {
        let change = match found.change {
            KeyChange::AnswersAgain => "its stored answer counts again",
            KeyChange::LeaseRuns => "its lease runs again",
        };
        let row = [
            printable(&found.namespace),
            found.key.to_string(),
            scope_in_words(found.scope.as_bytes()),
            change.to_owned(),
        ];
        table.row(row, output)?;
    }
    if back.keys_changed > 0 {
        table.print(output)?;
        let counted = format!("{} keys change", back.keys_changed);
        output.line(&match back.keys_changed - back.changed.len() as u64 {
            0 => counted,
            more => format!("{counted}; {more} of them are not named here"),
        })?;
    }
    for found in &back.unguarded {
        output.line(&format!(
            "{}: keys from up to {} were removed; those from after {} can run again once their \
             time has come",
            printable(&found.namespace),
            found.newest_removed,
            back.to
        ))?;
    }
    Ok(())
}

/// What a person has to know of the clock, and can do; `None` where it agrees.
pub(crate) fn state_in_words(stats: &Stats) -> Option<String> {
    match stats.clock {
        ClockState::Agrees => None,
        ClockState::Leapt {
            by,
            since,
            believed_at,
        } => {
            let leapt = format!(
                "the clock leapt ahead by {}, since {since}, and is held back: time goes on from \
                 {}",
                in_words(by),
                stats.now
            );
            Some(match believed_at {
                Some(at) => format!(
                    "{leapt}; if it stays there it is believed at {at}, or at once with `idem \
                     confirm-clock`"
                ),
                None => format!("{leapt} until `idem confirm-clock`"),
            })
        }
        ClockState::Behind { by, since } => Some(format!(
            "the ledger's time is ahead of the clock by {}, since {} by that clock: new keys that \
             carry their time may be refused as stale; if the clock is right, `idem confirm-clock \
             --back` takes the time back",
            in_words(by),
            since.saturating_sub(by)
        )),
    }
}
