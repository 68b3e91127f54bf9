//! The program: its arguments, and the window.
//!
//! `cargo run -p idempotency-desktop-example` starts it; `-- --help` says what else there is.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;

use clap::Parser;
use eframe::egui::ViewportBuilder;
use idempotency_desktop_example::announcement::Announcer;
use idempotency_desktop_example::counter::Counter;
use idempotency_desktop_example::moment::{Fate, Moment, Witness};
use idempotency_desktop_example::window::{HEIGHT, PaymentWindow, TITLE, WIDTH};

/// A window whose "Pay" button cannot charge twice, even when it is killed in the middle.
#[derive(Debug, Parser)]
#[command(disable_version_flag = true)]
struct Arguments {
    /// Where the ledger and the bank's book lie [default: a folder among the temporary files]
    folder: Option<PathBuf>,
    /// Stop for ever at this moment of a payment, so that there is time to kill the program
    #[arg(long, value_name = "MOMENT")]
    pause_at: Option<Moment>,
    /// Let the line to the bank break at this moment: nothing is sent, or the answer is lost
    #[arg(long, value_name = "MOMENT")]
    break_line_at: Option<Moment>,
    /// Print what the window shows and where its buttons are, a line for each change
    #[arg(long)]
    announce: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> eframe::Result {
    let witness = witness(arguments.pause_at, arguments.break_line_at);
    let folder = arguments
        .folder
        .unwrap_or_else(|| std::env::temp_dir().join("idempotency-desktop-example"));
    let options = eframe::NativeOptions {
        viewport: ViewportBuilder::default()
            .with_title(TITLE)
            .with_inner_size([WIDTH, HEIGHT])
            .with_resizable(false),
        ..eframe::NativeOptions::default()
    };
    let start = move |creation: &eframe::CreationContext<'_>| {
        let context = creation.egui_ctx.clone();
        let counter = Counter::open(folder, witness, move || context.request_repaint())?;
        let announcer = arguments.announce.then(Announcer::default);
        let window = PaymentWindow::new(&creation.egui_ctx, counter, announcer);
        Ok(Box::new(window) as Box<dyn eframe::App>)
    };
    eframe::run_native(TITLE, options, Box::new(start))
}

/// Nobody, or somebody who stops a payment or breaks its line.
fn witness(pause_at: Option<Moment>, break_line_at: Option<Moment>) -> Witness {
    Witness::new(move |moment| {
        if pause_at == Some(moment) {
            // Whoever listened may be gone; the pause is meant all the same.
            let _ = writeln!(stdout(), "paused at {moment}");
            loop {
                thread::park();
            }
        }
        if break_line_at == Some(moment) {
            Fate::LineBreaks
        } else {
            Fate::GoesOn
        }
    })
}
