//! `idem`: makes any shell command safe to retry.
//!
//! [`arguments`] is what can be written, [`exit`] how it can end; [`location`] finds and opens the
//! ledger, [`exec`] runs a command once, [`seen`] marks events, [`outbox`] sends messages,
//! [`inspect`], [`advice`] and [`watch`] look, [`mend`] changes, [`manual`] explains.

#[cfg(not(unix))]
compile_error!("idem needs Linux or macOS: signals, and descriptors that a command inherits");

mod advice;
mod arguments;
mod clock;
mod duration;
mod exec;
mod exit;
mod identity;
mod inspect;
mod location;
mod manual;
mod mend;
mod outbox;
mod output;
mod progress;
mod quoting;
mod record_form;
mod seen;
mod speak;
mod watch;

use std::process::ExitCode;

use clap::Parser;
use idempotency_ledger::Key;

use arguments::{Action, Arguments};
use exit::{Exit, Failure};
use location::Location;
use output::Output;

fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(answer) => {
            // Help and version are answers; where nobody reads them, nobody reads this either.
            let _ = answer.print();
            return if answer.use_stderr() {
                Exit::Usage
            } else {
                Exit::Success
            }
            .into();
        }
    };
    let exit = run(arguments).unwrap_or_else(|failure| {
        speak::say(&failure);
        failure.exit
    });
    exit.into()
}

fn run(arguments: Arguments) -> Result<Exit, Failure> {
    let Arguments { ledger, action } = arguments;
    let location = || Location::find(ledger, |name| std::env::var_os(name));
    match action {
        // These need no ledger, and so no place for one.
        Action::Newkey => new_key(),
        Action::Completions(shell) => manual::completions(&shell),
        Action::Man(man) => manual::man(&man),
        Action::Exec(exec) => exec::run(exec, &location()?),
        Action::Ls(ls) => inspect::ls(&ls, &location()?),
        Action::Show(show) => inspect::show(show, &location()?),
        Action::Resolve(resolve) => mend::resolve(resolve, &location()?),
        Action::Forget(forget) => mend::forget(forget, &location()?),
        Action::Seen(seen) => seen::run(&seen, &location()?),
        Action::Outbox(outbox) => outbox::run(&outbox, &location()?),
        Action::Stats(stats) => inspect::stats(&stats, &location()?),
        Action::Advice(advice) => advice::run(&advice, &location()?),
        Action::Watch(watch) => watch::run(&watch, &location()?),
        Action::Sweep => mend::sweep(&location()?),
        Action::Compact => mend::compact(&location()?),
        Action::Check(verify) => mend::check(verify, &location()?),
        Action::Backup(backup) => mend::backup(&backup, &location()?),
        Action::ConfirmClock(confirm) => clock::confirm(&confirm, &location()?),
        Action::AcceptRollback => mend::accept_rollback(&location()?),
    }
}

fn new_key() -> Result<Exit, Failure> {
    let mut output = Output::new();
    output.line(Key::generate().as_str())?;
    output.finish()?;
    Ok(Exit::Success)
}
