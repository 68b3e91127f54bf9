//! `idem watch`: claims, replays, interruptions and sweeps while they happen.
//!
//! [`board`] is what is known from one look to the next, [`picture`] how a terminal shows it. What
//! is not a terminal gets a line for each look.

mod board;
mod picture;

use std::io::{IsTerminal, stdout};
use std::sync::mpsc;
use std::time::Duration;

use idempotency_ledger::{Clock, Ledger, SystemClock};
use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};

use crate::arguments::WatchArguments;
use crate::exit::{Exit, Failure};
use crate::location::Location;
use crate::output::Output;

use board::Board;

/// The shortest pause between two looks.
const INTERVAL_MIN: Duration = Duration::from_millis(50);

pub(crate) fn run(arguments: &WatchArguments, location: &Location) -> Result<Exit, Failure> {
    let interval = arguments.interval.max(INTERVAL_MIN);
    let ledger = location.open_reading()?;
    let mut board = Board::new(location.shown());
    if arguments.form.json || !stdout().is_terminal() {
        return lines(arguments, interval, &ledger, &mut board);
    }
    let mut terminal = ratatui::try_init().map_err(|error| Failure::storage(error.to_string()))?;
    let watched = show(
        &mut terminal,
        arguments.times,
        interval,
        &ledger,
        &mut board,
    );
    ratatui::restore();
    watched.map(|()| Exit::Success)
}

/// A line for each look, until somebody ends it or nobody reads it.
fn lines(
    arguments: &WatchArguments,
    interval: Duration,
    ledger: &Ledger,
    board: &mut Board,
) -> Result<Exit, Failure> {
    let mut looks = 0;
    loop {
        board.look(ledger)?;
        let mut output = Output::new();
        if arguments.form.json {
            output.json(&board.line())?;
        } else {
            output.line(&board.line().to_string())?;
        }
        let is_gone = output.is_gone();
        output.finish()?;
        looks += 1;
        if is_gone || arguments.times.is_some_and(|times| looks >= times) {
            return Ok(Exit::Success);
        }
        pause(interval);
    }
}

fn show(
    terminal: &mut DefaultTerminal,
    times: Option<u64>,
    interval: Duration,
    ledger: &Ledger,
    board: &mut Board,
) -> Result<(), Failure> {
    let failed = |error: std::io::Error| Failure::storage(format!("the terminal: {error}"));
    let (clock, mut looks) = (SystemClock::new(), 0);
    loop {
        board.look(ledger)?;
        looks += 1;
        let next = clock.elapsed() + interval;
        loop {
            terminal
                .draw(|frame| picture::draw(frame, board))
                .map_err(failed)?;
            let left = next.saturating_sub(clock.elapsed());
            if left.is_zero() || !event::poll(left).map_err(failed)? {
                break;
            }
            if let Event::Key(key) = event::read().map_err(failed)?
                && ends(key)
            {
                return Ok(());
            }
        }
        if times.is_some_and(|times| looks >= times) {
            return Ok(());
        }
    }
}

/// Waits for something that never comes.
fn pause(interval: Duration) {
    let (_silent, never) = mpsc::channel::<()>();
    let _ = never.recv_timeout(interval);
}

fn ends(key: KeyEvent) -> bool {
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => key.modifiers.contains(KeyModifiers::CONTROL),
        _ => false,
    }
}
