//! The one tool of this repository: `cargo xtask test` is all of continuous integration.
//!
//! In the order in which a run flows: [`suite`] walks through the [`steps`], a step starts
//! programs through [`process`], and what is no program is here: [`tidy`] checks what no
//! compiler can, [`wasm_toolchain`] finds a compiler for the browser (with [`debian`] as
//! the way without downloads from rustup), [`client`] builds, packs and tests the browser
//! client in [`browsers`] and on [`node`], [`desktop`] opens the window of the desktop example,
//! [`site`] writes the demo page as static files and [`demo`] serves it with the real server,
//! and [`foreign`] checks the other platforms. What may be installed without a question comes
//! through [`apt`].
//!
//! This tool compiles in seconds, so that the quick steps start quickly. What takes longer
//! to compile, wasm-bindgen's own libraries, is in the tool `xtask/wasm` beside it.

mod apt;
mod browsers;
mod client;
mod debian;
mod demo;
mod desktop;
mod foreign;
mod node;
mod process;
mod site;
mod steps;
mod stopwatch;
mod suite;
mod tidy;
mod wasm_toolchain;
mod workspace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::process::Failure;
use crate::suite::Choice;
use crate::wasm_toolchain::WasmToolchain;
use crate::workspace::Workspace;

#[derive(Debug, Parser)]
#[command(name = "cargo xtask", about, disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Run everything that continuous integration runs; stop at the first failure
    Test {
        /// Run these steps only, in the order of the list
        #[arg(long, value_name = "STEP", value_delimiter = ',')]
        only: Vec<String>,
        /// Print the steps and what each one does, run nothing
        #[arg(long, conflicts_with = "only")]
        list: bool,
    },
    /// Build the browser client into wasm-client/pkg, and print how large it is
    Wasm {
        /// The cargo profile; sizes are held to their limits with the one that ships only
        #[arg(long, default_value = client::SHIPPED)]
        profile: String,
    },
    /// Build the demo page and serve it with the real payment server, until Ctrl-C
    Demo {
        /// Where the server listens
        #[arg(long, default_value = demo::ADDRESS)]
        addr: std::net::SocketAddr,
        /// A further name of this machine that browsers may use, beside `localhost` and addresses
        #[arg(long, value_name = "NAME")]
        allow_host: Vec<String>,
        /// Open no browser
        #[arg(long)]
        no_browser: bool,
    },
    /// Write the demo page with all it needs as files for any static host
    Site {
        /// The folder to write to
        dir: std::path::PathBuf,
    },
    /// Build the decision core for the browser, with the wasm toolchain that is found
    WasmCheck,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("\nerror: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<(), Failure> {
    match task {
        Task::Test { list: true, .. } => {
            suite::list(steps::ALL);
            Ok(())
        }
        Task::Test { only, list: false } => {
            let workspace = Workspace::find()?;
            suite::run(&workspace, &Choice::of(steps::ALL, &only)?)
        }
        Task::Wasm { profile } => client::package(&Workspace::find()?, &profile),
        Task::Demo {
            addr,
            allow_host,
            no_browser,
        } => {
            let opening = if no_browser {
                demo::Opening::Printed
            } else {
                demo::Opening::InBrowser
            };
            demo::run(&Workspace::find()?, addr, allow_host, opening)
        }
        Task::Site { dir } => site::run(&Workspace::find()?, &dir),
        Task::WasmCheck => {
            let workspace = Workspace::find()?;
            WasmToolchain::find(&workspace)?.build_decision_core(&workspace)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// Each call of this tool that a document shows, up to the end of its line or code span.
    fn calls(text: &str) -> Vec<String> {
        let after = text.split("cargo xtask ").skip(1);
        let ends: &[char] = &['`', '\n', '#', '|'];
        let calls = after.filter_map(|rest| rest.split(ends).next());
        calls.map(|call| call.trim().to_owned()).collect()
    }

    #[test]
    fn the_documents_call_this_tool_as_it_can_be_called() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut shown = Vec::new();
        for name in ["README.md", "docs/cookbook.md", "www/index.html"] {
            let text = fs::read_to_string(root.join(name)).expect("it is in the repository");
            let text = text.replace("</code>", "`");
            shown.extend(calls(&text));
        }
        for call in &shown {
            let words = ["xtask"].into_iter().chain(call.split(' '));
            let parsed = Arguments::try_parse_from(words);
            assert!(parsed.is_ok(), "{call}: {}", parsed.unwrap_err());
        }
        for wanted in ["demo", "test", "site DIR", "wasm"] {
            assert!(
                shown.iter().any(|call| call == wanted),
                "{wanted}: {shown:?}"
            );
        }
    }
}
