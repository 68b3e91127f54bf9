//! The steps of continuous integration: what is quick or fails most often comes first.

use std::ffi::OsStr;
use std::fs;
use std::time::Duration;

use crate::apt;
use crate::client;
use crate::desktop;
use crate::foreign;
use crate::process::{Failure, on_path};
use crate::site;
use crate::suite::{Ending, Step};
use crate::tidy;
use crate::wasm_toolchain::WasmToolchain;
use crate::workspace::{LEDGER, Workspace};

/// All of them, in the order in which they run.
pub(crate) static ALL: &[Step] = &[
    Step {
        name: "tidy",
        what: "the house rules that no compiler knows",
        run: tidy::step,
    },
    Step {
        name: "fmt",
        what: "formatting",
        run: fmt,
    },
    Step {
        name: "clippy",
        what: "lints, default features",
        run: clippy,
    },
    Step {
        name: "clippy-core",
        what: "lints, the decision core alone",
        run: clippy_core,
    },
    Step {
        name: "clippy-all",
        what: "lints, all features",
        run: clippy_all,
    },
    Step {
        name: "test",
        what: "unit and integration tests, all features",
        run: test,
    },
    Step {
        name: "test-core",
        what: "unit tests of the decision core alone",
        run: test_core,
    },
    Step {
        name: "examples",
        what: "the recipes of the cookbook, each run to its end",
        run: examples,
    },
    Step {
        name: "desktop",
        what: "the window of the desktop example, clicked and killed under Xvfb",
        run: desktop::step,
    },
    Step {
        name: "doctest",
        what: "the examples in the documentation",
        run: doctest,
    },
    Step {
        name: "doc",
        what: "the documentation, without a warning",
        run: doc,
    },
    Step {
        name: "wasm-core",
        what: "the decision core, for the browser",
        run: wasm_core,
    },
    Step {
        name: "clippy-wasm",
        what: "lints, the browser client alone and the tests of its pages",
        run: client::clippy,
    },
    Step {
        name: "wasm",
        what: "the browser client as an npm package, and its sizes",
        run: client::build,
    },
    Step {
        name: "npm-pack",
        what: "the tarball of the npm package, file by file",
        run: client::pack,
    },
    Step {
        name: "wasm-chromium",
        what: "the tests of the browser client, in Chromium",
        run: client::test_in_chromium,
    },
    Step {
        name: "site",
        what: "the demo page with its bank, as static files",
        run: site::step,
    },
    Step {
        name: "browser",
        what: "pages in Chromium; the tarball in Node, bundlers, TypeScript",
        run: client::test_pages,
    },
    Step {
        name: "webkit",
        what: "the flows that WebKit, the engine of Safari, does differently",
        run: client::test_in_webkit,
    },
    Step {
        name: "wasm-firefox",
        what: "the tests of the browser client, in Firefox",
        run: client::test_in_firefox,
    },
    Step {
        name: "check-windows",
        what: "the ledger, for Windows",
        run: foreign::windows,
    },
    Step {
        name: "check-macos",
        what: "the ledger, for macOS",
        run: foreign::macos,
    },
    Step {
        name: "publish",
        what: "the package builds from its archive alone",
        run: publish,
    },
    Step {
        name: "deny",
        what: "licences, sources and bans of dependencies",
        run: deny,
    },
    Step {
        name: "advisories",
        what: "known vulnerabilities of dependencies",
        run: advisories,
    },
];

/// Runs cargo and says that the step passed; every plain step is one such line.
fn cargo(workspace: &Workspace, arguments: &[&str]) -> Result<Ending, Failure> {
    workspace
        .cargo(arguments.iter().copied())
        .run()
        .map(|()| Ending::Passed)
}

fn fmt(workspace: &Workspace) -> Result<Ending, Failure> {
    cargo(workspace, &["fmt", "--all", "--check"])
}

fn clippy(workspace: &Workspace) -> Result<Ending, Failure> {
    cargo(
        workspace,
        &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ],
    )
}

/// Alone, because in a workspace build the other packages switch the features on.
fn clippy_core(workspace: &Workspace) -> Result<Ending, Failure> {
    let core = ["clippy", "-p", LEDGER, "--lib", "--no-default-features"];
    cargo(workspace, &[&core[..], &["--", "-D", "warnings"]].concat())
}

fn clippy_all(workspace: &Workspace) -> Result<Ending, Failure> {
    let all = ["clippy", "--workspace", "--all-targets", "--all-features"];
    cargo(workspace, &[&all[..], &["--", "-D", "warnings"]].concat())
}

/// Benchmarks are linted but not run: a shared machine measures nothing.
fn test(workspace: &Workspace) -> Result<Ending, Failure> {
    // Tests run programs under a wrong clock, and see which calls they make.
    let packages = ["faketime", "strace"];
    if cfg!(target_os = "linux") && !packages.iter().all(|package| on_path(package)) {
        apt::install(&packages).map_err(|why| {
            let remedy = apt::remedy(&packages);
            Failure::new(format!("no faketime or strace ({why}): {remedy}"))
        })?;
    }
    let targets = ["--lib", "--bins", "--tests", "--examples"];
    cargo(
        workspace,
        &[&["test", "--workspace", "--all-features"][..], &targets].concat(),
    )
}

/// No feature may change what a decision is, so its tests run without any as well.
fn test_core(workspace: &Workspace) -> Result<Ending, Failure> {
    cargo(
        workspace,
        &["test", "-p", LEDGER, "--lib", "--no-default-features"],
    )
}

/// Each asserts what its recipe promises.
fn examples(workspace: &Workspace) -> Result<Ending, Failure> {
    let folder = workspace.root().join("ledger/examples");
    let unreadable = |error: std::io::Error| Failure::new(format!("{}: {error}", folder.display()));
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        if path.extension().is_some_and(|end| end == "rs") {
            names.extend(path.file_stem().map(OsStr::to_owned));
        }
    }
    names.sort();
    for name in names {
        let run = ["run", "--quiet", "-p", LEDGER, "--example"];
        workspace.cargo(run).args([name]).run()?;
    }
    Ok(Ending::Passed)
}

fn doctest(workspace: &Workspace) -> Result<Ending, Failure> {
    cargo(
        workspace,
        &["test", "--workspace", "--all-features", "--doc"],
    )
}

fn doc(workspace: &Workspace) -> Result<Ending, Failure> {
    let program = workspace.cargo(["doc", "--workspace", "--all-features", "--no-deps"]);
    program
        .env("RUSTDOCFLAGS", "-D warnings")
        .run()
        .map(|()| Ending::Passed)
}

/// A machine without a wasm toolchain fails here: the browser is half of the product.
fn wasm_core(workspace: &Workspace) -> Result<Ending, Failure> {
    WasmToolchain::find(workspace)?.build_decision_core(workspace)?;
    Ok(Ending::Passed)
}

fn publish(workspace: &Workspace) -> Result<Ending, Failure> {
    cargo(
        workspace,
        &["publish", "--dry-run", "-p", LEDGER, "--allow-dirty"],
    )
}

const NO_CARGO_DENY: &str =
    "cargo-deny is not installed; `cargo install --locked cargo-deny` installs it";

fn deny(workspace: &Workspace) -> Result<Ending, Failure> {
    if !on_path("cargo-deny") {
        return Ok(Ending::Unavailable(NO_CARGO_DENY.into()));
    }
    cargo(workspace, &["deny", "check", "bans", "licenses", "sources"])
}

/// Apart from [`deny`], since only this one needs a download before it can judge.
fn advisories(workspace: &Workspace) -> Result<Ending, Failure> {
    if !on_path("cargo-deny") {
        return Ok(Ending::Unavailable(NO_CARGO_DENY.into()));
    }
    let fetch = workspace
        .cargo(["deny", "fetch", "db"])
        .run_within(Duration::from_secs(180));
    if let Err(failure) = fetch {
        return Ok(Ending::Unavailable(format!(
            "no advisory database: {failure}"
        )));
    }
    cargo(workspace, &["deny", "--offline", "check", "advisories"])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_step_has_a_name_of_its_own_that_fits_the_report() {
        let names: BTreeSet<_> = ALL.iter().map(|step| step.name).collect();
        assert_eq!(names.len(), ALL.len());
        assert!(names.iter().all(|name| name.len() <= 14));
    }
}
