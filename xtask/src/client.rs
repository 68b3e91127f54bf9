//! The browser client: built into an npm package, packed, and tested in real browsers.
//!
//! What knows this machine is here; what knows wasm and the package is the tool in
//! `xtask/wasm`, which is compiled only for these steps.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::apt;
use crate::browsers::{self, Browser, DRIVER_VARIABLES};
use crate::demo;
use crate::node;
use crate::process::{Failure, Program, find_on_path};
use crate::site;
use crate::suite::Ending;
use crate::wasm_toolchain::{TARGET, WasmToolchain, sysroot_has};
use crate::workspace::Workspace;

/// The package for the browser.
const CLIENT: &str = "idempotency-client";
const CRATE_FILE: &str = "idempotency_client.wasm";

/// The tool in `xtask/wasm`.
const TOOL: &str = "xtask-wasm";

/// The page tests. The manifest keeps them out of `cargo test`, which would find no package to
/// load; so cargo sees them only where they are named, and does not even lint them elsewhere.
const PAGE_TESTS: [&str; 4] = ["-p", "idempotency-tests", "--test", "browser"];

/// The page tests that need another browser than the rest, by the name of their module.
const IN_WEBKIT: &str = "webkit::";

/// The profile of what ships.
pub(crate) const SHIPPED: &str = "wasm";

/// Makes `wasm-client/pkg` and prints how large it is.
pub(crate) fn package(workspace: &Workspace, profile: &str) -> Result<(), Failure> {
    let esbuild = node::esbuild(workspace)
        .inspect_err(|reason| println!("    what a page loads is not measured: {reason}"));
    make(workspace, profile, esbuild.ok())
}

/// Makes what ships without measuring what a page loads, which would need Node.
pub(crate) fn package_unmeasured(workspace: &Workspace) -> Result<(), Failure> {
    make(workspace, SHIPPED, None)
}

fn make(workspace: &Workspace, profile: &str, esbuild: Option<PathBuf>) -> Result<(), Failure> {
    let toolchain = WasmToolchain::find(workspace)?;
    // One crate type alone: with the two of the manifest there is no optimization over the
    // borders of crates, and the wasm is a quarter larger.
    toolchain
        .cargo(workspace, "rustc")
        .args(["-p", CLIENT, "--lib", "--crate-type", "cdylib"])
        .args(["--features", "bare", "--profile", profile])
        .run()?;
    let mut program = tool(workspace)
        .args(["package", "--root"])
        .args([workspace.root()])
        .args(["--wasm".into(), compiled(workspace, profile, CRATE_FILE)]);
    if let Some(path) = wasm_opt() {
        program = program.args(["--wasm-opt".into(), path]);
    }
    if let Some(path) = esbuild {
        program = program.args(["--esbuild".into(), path]);
    }
    if profile != SHIPPED {
        program = program.args(["--unlimited"]);
    }
    program.run()
}

/// The step: what ships is built and measured. A limit that nobody measures is none.
pub(crate) fn build(workspace: &Workspace) -> Result<Ending, Failure> {
    node::esbuild(workspace).map_err(Failure::new)?;
    package(workspace, SHIPPED).map(|()| Ending::Passed)
}

/// The lints, for the target where its std is at hand, else for this machine: Debian's
/// toolchain, which builds std for the browser, comes without clippy. Alone, because in a
/// workspace build the other packages switch features on.
pub(crate) fn clippy(workspace: &Workspace) -> Result<Ending, Failure> {
    let mut program = workspace.cargo(["clippy", "-p", CLIENT, "--all-targets"]);
    if sysroot_has(TARGET) {
        let target_dir = Workspace::target_dir("wasm");
        program = program.args(["--target", TARGET, "--target-dir"]);
        program = program.args([target_dir]);
    }
    program.args(["--", "-D", "warnings"]).run()?;
    let pages = workspace.cargo(["clippy"]).args(PAGE_TESTS);
    pages.args(["--", "-D", "warnings"]).run()?;
    Ok(Ending::Passed)
}

/// Packs the package as `npm publish` would, and holds the tarball against the folder.
pub(crate) fn pack(workspace: &Workspace) -> Result<Ending, Failure> {
    node::check()?;
    let package = built_package(workspace)?;
    let folder = workspace.root().join(Workspace::target_dir("npm"));
    fs::create_dir_all(&folder).map_err(|error| unwritable(&folder, &error))?;
    let printed = node::npm()
        .args(["pack", "--json", "--pack-destination"])
        .args([&folder])
        .in_dir(&package)
        .capture()?;
    let list = folder.join("packed.json");
    fs::write(&list, printed).map_err(|error| unwritable(&list, &error))?;
    let check = tool(workspace).args(["check-tarball", "--package"]);
    check.args([&package]).args(["--list".into(), list]).run()?;
    println!("    {}", tarball(workspace).display());
    Ok(Ending::Passed)
}

/// wasm-bindgen's tests in Chromium, without which nothing about the client is known.
pub(crate) fn test_in_chromium(workspace: &Workspace) -> Result<Ending, Failure> {
    let browser = browsers::chromium().map_err(Failure::new)?;
    test_in(workspace, &browser)?;
    Ok(Ending::Passed)
}

/// The same in Firefox, where it and its driver are to be had.
pub(crate) fn test_in_firefox(workspace: &Workspace) -> Result<Ending, Failure> {
    match browsers::firefox(workspace) {
        Ok(browser) => test_in(workspace, &browser).map(|()| Ending::Passed),
        Err(why) => Ok(Ending::Unavailable(why)),
    }
}

/// Pages that are reloaded, crashed, frozen and raced in Chromium, and what Node, Vite,
/// webpack, React and TypeScript make of the tarball.
pub(crate) fn test_pages(workspace: &Workspace) -> Result<Ending, Failure> {
    node::check()?;
    browsers::chromium().map_err(Failure::new)?;
    built_package(workspace)?;
    let tarball = tarball(workspace);
    if !tarball.is_file() {
        return Err(Failure::new(
            "the package is not packed: `cargo xtask test --only npm-pack`",
        ));
    }
    workspace
        .cargo(["test"])
        .args(PAGE_TESTS)
        .env("IDEMPOTENCY_TARBALL", tarball)
        .env("IDEMPOTENCY_SITE", site::built(workspace)?)
        .env("IDEMPOTENCY_SERVER", demo::build_server(workspace)?)
        .env(
            "IDEMPOTENCY_AXE",
            node::axe(workspace).map_err(Failure::new)?,
        )
        .args(["--", "--skip", IN_WEBKIT])
        .run()?;
    Ok(Ending::Passed)
}

/// What `WebKit` does differently, where it is to be had.
pub(crate) fn test_in_webkit(workspace: &Workspace) -> Result<Ending, Failure> {
    if let Err(why) = browsers::webkit() {
        return Ok(Ending::Unavailable(why));
    }
    built_package(workspace)?;
    let pages = workspace.cargo(["test"]).args(PAGE_TESTS);
    pages.args(["--", IN_WEBKIT]).run()?;
    Ok(Ending::Passed)
}

/// The tests of the crate itself, each one in a page of the browser.
fn test_in(workspace: &Workspace, browser: &Browser) -> Result<(), Failure> {
    if !workspace.root().join(CLIENT_TESTS).is_file() {
        return Err(Failure::new(format!("there is no {CLIENT_TESTS}")));
    }
    let toolchain = WasmToolchain::find(workspace)?;
    workspace.cargo(["build", "-p", TOOL]).run()?;
    let run = workspace.cargo(["run", "--quiet", "-p", TOOL, "--", "where"]);
    let runner = run
        .answer()
        .ok_or_else(|| Failure::new(format!("{TOOL} does not say where it is")))?;
    let folder = workspace.root().join(Workspace::target_dir("wasm"));
    let capabilities = folder.join("webdriver.json");
    fs::create_dir_all(&folder)
        .and_then(|()| fs::write(&capabilities, browser.capabilities))
        .map_err(|error| unwritable(&capabilities, &error))?;
    toolchain
        .cargo(workspace, "test")
        .args(["-p", CLIENT, "--lib", "--tests"])
        .args(["--config".to_owned(), runner_setting(&runner)])
        .without_env(&DRIVER_VARIABLES)
        .without_env(&["NO_HEADLESS"])
        .env(browser.driver_variable, &browser.driver)
        .env("WASM_BINDGEN_TEST_WEBDRIVER_JSON", capabilities)
        // Of a whole test file, on a machine that may do other things as well.
        .env("WASM_BINDGEN_TEST_TIMEOUT", "300")
        .env("WASM_BINDGEN_TEST_DRIVER_TIMEOUT", "60")
        .run()
}

/// The runner of wasm tests is content with none at all.
const CLIENT_TESTS: &str = "wasm-client/tests/browser/main.rs";

/// An array, so that a path with a blank in it stays one word; quoted so that TOML takes
/// backslashes for what they are.
fn runner_setting(runner: &str) -> String {
    format!("target.{TARGET}.runner = ['{runner}', 'test-runner']")
}

/// The tool, compiled if it must be.
pub(crate) fn tool(workspace: &Workspace) -> Program {
    workspace.cargo(["run", "-p", TOOL, "--"])
}

/// Where cargo leaves a wasm file.
pub(crate) fn compiled(workspace: &Workspace, profile: &str, file: &str) -> PathBuf {
    let folder = match profile {
        "dev" | "test" => "debug",
        "bench" => "release",
        other => other,
    };
    let target = workspace.root().join(Workspace::target_dir("wasm"));
    target.join(TARGET).join(folder).join(file)
}

/// It saves a third of the bytes, and the limits are those of what ships: so it is installed
/// where that may be, and its absence is said.
pub(crate) fn wasm_opt() -> Option<PathBuf> {
    const PACKAGES: [&str; 1] = ["binaryen"];
    find_on_path("wasm-opt").or_else(|| {
        let installed = apt::install(&PACKAGES);
        let path = find_on_path("wasm-opt");
        if path.is_none() {
            let reason = installed.err().unwrap_or_default();
            println!(
                "    no wasm-opt, so the wasm is larger and no limit is enforced {reason}: {}",
                apt::remedy(&PACKAGES)
            );
        }
        path
    })
}

/// The folder, if it is complete.
pub(crate) fn built_package(workspace: &Workspace) -> Result<PathBuf, Failure> {
    let package = workspace.root().join("wasm-client/pkg");
    if !package.join("package.json").is_file() {
        return Err(Failure::new(
            "wasm-client/pkg is not built: `cargo xtask wasm` builds it",
        ));
    }
    Ok(package)
}

/// npm makes this name of `@idempotency-ledger/client`.
fn tarball(workspace: &Workspace) -> PathBuf {
    let folder = workspace.root().join(Workspace::target_dir("npm"));
    let version = env!("CARGO_PKG_VERSION");
    folder.join(format!("idempotency-ledger-client-{version}.tgz"))
}

fn unwritable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(format!("{} cannot be written: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runner_keeps_blanks_and_backslashes() {
        assert_eq!(
            runner_setting(r"C:\my tools\xtask-wasm.exe"),
            r"target.wasm32-unknown-unknown.runner = ['C:\my tools\xtask-wasm.exe', 'test-runner']"
        );
    }
}
