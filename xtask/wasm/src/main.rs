//! From the compiler's wasm to the npm package, and the runner of tests in a browser.
//!
//! `cargo xtask` starts this tool and hands it what it found on the machine. `package` goes
//! through [`lock_file`] (is this the right wasm-bindgen?), [`bindings`] (with [`glue`], which
//! makes their JavaScript small), [`wasm_opt`], [`inlined`] (the wasm as a module), [`folder`]
//! (everything laid out), [`manifest`] and [`imports`] (does it hold together?), and [`sizes`]
//! with the help of [`bundle`].
//! `bank` is [`bank`], which the demo page loads. `check-tarball` is [`tarball`]; `test-runner`
//! is what cargo starts for a wasm test.

mod bank;
mod bindings;
mod bundle;
mod folder;
mod glue;
mod imports;
mod inlined;
mod lock_file;
mod manifest;
mod sizes;
mod tarball;
mod wasm_opt;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::folder::{Folder, Ingredients};
use crate::sizes::{Entry, Limits, Size};

#[derive(Debug, Parser)]
#[command(name = "xtask-wasm", about, disable_version_flag = true)]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Make the package from the wasm that the compiler left
    Package(Package),
    /// Make the demo page's bank from the wasm that the compiler left
    Bank {
        /// What the compiler made of it
        #[arg(long)]
        wasm: PathBuf,
        /// A wasm-opt to make it smaller with
        #[arg(long)]
        wasm_opt: Option<PathBuf>,
        /// The folder for its files
        #[arg(long)]
        out: PathBuf,
    },
    /// Hold the list of a tarball, as `npm pack --json` prints it, against the package
    CheckTarball {
        /// The folder that was packed
        #[arg(long)]
        package: PathBuf,
        /// What `npm pack --json` printed
        #[arg(long)]
        list: PathBuf,
    },
    /// Print the path of this program, for who must hand it to another one
    Where,
    /// Run the tests in a wasm file, as wasm-bindgen-test-runner does
    #[command(disable_help_flag = true)]
    TestRunner {
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

#[derive(Debug, Args)]
struct Package {
    /// The top-level directory of the checkout
    #[arg(long)]
    root: PathBuf,
    /// What the compiler made of the client
    #[arg(long)]
    wasm: PathBuf,
    /// A wasm-opt to make it smaller with; the limits hold only then
    #[arg(long)]
    wasm_opt: Option<PathBuf>,
    /// An esbuild to measure with what a page loads
    #[arg(long)]
    esbuild: Option<PathBuf>,
    /// Print sizes, hold nothing to a limit: for a build that is not meant to ship
    #[arg(long)]
    unlimited: bool,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Package(package) => package.make(),
        Task::Bank {
            wasm,
            wasm_opt,
            out,
        } => bank::make(&wasm, wasm_opt.as_deref(), &out),
        Task::CheckTarball { package, list } => tarball::check(&Folder::read(&package)?, &list),
        Task::Where => {
            println!("{}", std::env::current_exe()?.display());
            Ok(())
        }
        Task::TestRunner { arguments } => {
            let program = OsString::from("wasm-bindgen-test-runner");
            let arguments = std::iter::once(program).chain(arguments);
            wasm_bindgen_cli::wasm_bindgen_test_runner::run_cli_with_args(arguments)
        }
    }
}

impl Package {
    fn make(&self) -> Result<()> {
        lock_file::check(&self.root.join("Cargo.lock"))?;
        let mut bindings = bindings::generate(&self.wasm)?;
        if let Some(program) = &self.wasm_opt {
            bindings.wasm = wasm_opt::shrink(program, &bindings.wasm)?;
        }
        let client = self.root.join("wasm-client");
        let pkg = client.join("pkg");
        let ingredients = Ingredients {
            sources: &client.join("js"),
            licences: &self.root,
            bindings: &bindings,
        };
        let folder = ingredients.lay_out(&pkg)?;
        manifest::check(&folder)?;
        imports::check(&folder)?;
        println!("    {} files in {}", folder.files.len(), pkg.display());
        self.measure(&pkg, &bindings.wasm)
    }

    fn measure(&self, pkg: &Path, wasm: &[u8]) -> Result<()> {
        let wasm = Size::of(wasm);
        let mut entries = vec![Entry::wasm(wasm)];
        if let Some(esbuild) = &self.esbuild {
            let inlined = Size::of(&bundle::minified(esbuild, &pkg.join("index.js"))?);
            let web = Size::of(&bundle::minified(esbuild, &pkg.join("web.js"))?);
            entries.push(Entry::page(".", inlined));
            entries.push(Entry::page("./web", web + wasm));
        }
        println!("{}", sizes::table(&entries));
        let are_final = self.wasm_opt.is_some() && !self.unlimited;
        let limits = if are_final {
            Limits::Enforced
        } else {
            Limits::Printed
        };
        limits.hold(&entries)
    }
}
