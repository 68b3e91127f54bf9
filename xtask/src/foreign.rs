//! The other platforms: the compiler's word that the ledger compiles there.
//!
//! A check needs a std for the target but no linker, so it works far from any such
//! machine. It proves that the code compiles, not that it runs.

use std::path::Path;

use crate::debian::DebianToolchain;
use crate::process::Failure;
use crate::suite::Ending;
use crate::wasm_toolchain::sysroot_has;
use crate::workspace::{LEDGER, Workspace};

/// Any of these stands for Windows; the ledger does not look at the linker. First the one
/// whose std builds without a tool from outside: the other calls `dlltool`.
const WINDOWS: [&str; 2] = ["x86_64-pc-windows-msvc", "x86_64-pc-windows-gnu"];

/// Any of these stands for macOS; the ledger does not look at the processor.
const MACOS: [&str; 2] = ["aarch64-apple-darwin", "x86_64-apple-darwin"];

/// Checks the library for Windows; the command line is for Linux and macOS.
pub(crate) fn windows(workspace: &Workspace) -> Result<Ending, Failure> {
    check(workspace, &WINDOWS, &["--lib"])
}

/// Checks the library for macOS. The command line has a dependency with a C file in it, which
/// only a C compiler for macOS takes; so it is checked on a Mac, by the ordinary steps.
pub(crate) fn macos(workspace: &Workspace) -> Result<Ending, Failure> {
    check(workspace, &MACOS, &["--lib"])
}

/// Takes the first target whose std is at hand, else lets Debian's toolchain build the
/// std of the first. It downloads and installs nothing: the wasm step is what may.
fn check(workspace: &Workspace, targets: &[&str], what: &[&str]) -> Result<Ending, Failure> {
    let program = if let Some(target) = targets.iter().find(|target| sysroot_has(target)) {
        workspace.cargo(["check", "--target", target])
    } else {
        match DebianToolchain::installed() {
            Ok(debian) => debian.cargo("check", targets[0]).in_dir(workspace.root()),
            Err(lack) => return Ok(Ending::Unavailable(unavailable(targets[0], &lack))),
        }
    };
    let target_dir = Workspace::target_dir("foreign");
    program
        .args(["-p", LEDGER])
        .args(what)
        .args([Path::new("--target-dir"), &target_dir])
        .run()?;
    Ok(Ending::Passed)
}

fn unavailable(target: &str, lack: &str) -> String {
    let debian = DebianToolchain::remedy();
    format!("no std for {target} ({lack}): `rustup target add {target}`, or, {debian}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_comes_with_both_remedies() {
        let text = unavailable("aarch64-apple-darwin", "there is no cargo");
        assert!(
            text.contains("rustup target add aarch64-apple-darwin"),
            "{text}"
        );
        assert!(text.contains("apt-get install rustc-web"), "{text}");
    }
}
