//! Node and npm: they pack and try the npm package, and bring the bundler that measures it.

use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::process::{Failure, Program, on_path};
use crate::workspace::Workspace;

/// The oldest Node that the package is tried with.
const NODE_MAJOR_MIN: u32 = 20;

/// One exact version, so that a size changes only when the client does.
const ESBUILD: &str = "0.28.2";

/// What judges whether everybody can use the demo page; one exact version, so that its rules
/// change only when somebody wants them to.
const AXE: &str = "4.14.1";

/// Demands Node and npm, and says in one line what to install.
pub(crate) fn check() -> Result<(), Failure> {
    let version = Program::new("node").args(["--version"]).answer();
    let found = match version.as_deref() {
        Some(version) if major(version) >= Some(NODE_MAJOR_MIN) && on_path("npm") => return Ok(()),
        Some(version) if on_path("npm") => format!("this is Node {version}"),
        Some(version) => format!("there is Node {version}, but no npm"),
        None => "there is no `node`".to_owned(),
    };
    Err(Failure::new(format!(
        "Node {NODE_MAJOR_MIN} or newer with npm is needed, and {found}: install it from \
         https://nodejs.org or with a version manager"
    )))
}

/// The bundler, installed below the target directory; the error is why there is none.
pub(crate) fn esbuild(workspace: &Workspace) -> Result<PathBuf, String> {
    check().map_err(|failure| failure.to_string())?;
    let folder = workspace.root().join(Workspace::target_dir("npm-tools"));
    let program = folder.join("node_modules/.bin").join(if cfg!(windows) {
        "esbuild.cmd"
    } else {
        "esbuild"
    });
    if is_this_esbuild(&program) {
        return Ok(program);
    }
    install(&folder, &format!("esbuild@{ESBUILD}"))?;
    Ok(program)
}

/// The script of axe-core, installed below the target directory; the error is why there is none.
/// In a folder of its own: an install takes away what else it finds.
pub(crate) fn axe(workspace: &Workspace) -> Result<PathBuf, String> {
    check().map_err(|failure| failure.to_string())?;
    let folder = workspace.root().join(Workspace::target_dir("npm-axe"));
    let script = folder.join("node_modules/axe-core/axe.min.js");
    let manifest = folder.join("node_modules/axe-core/package.json");
    let is_this = std::fs::read_to_string(manifest)
        .is_ok_and(|text| text.contains(&format!("\"version\": \"{AXE}\"")));
    if !(is_this && script.is_file()) {
        install(&folder, &format!("axe-core@{AXE}"))?;
    }
    Ok(script)
}

/// Without install scripts: what they would do is only to replace a starter by what it starts.
fn install(folder: &Path, package: &str) -> Result<(), String> {
    let options = ["--no-save", "--ignore-scripts", "--no-package-lock"];
    npm()
        .args(["install", "--prefix"])
        .args([folder])
        .args(options)
        .args([package])
        .run_within(Duration::from_secs(300))
        .map_err(|failure| failure.to_string())
}

fn is_this_esbuild(program: &Path) -> bool {
    let version = Program::new(program).args(["--version"]).answer();
    version.as_deref() == Some(ESBUILD)
}

/// npm, without the requests that it makes of its own accord.
pub(crate) fn npm() -> Program {
    Program::new(if cfg!(windows) { "npm.cmd" } else { "npm" })
        .env("npm_config_audit", "false")
        .env("npm_config_fund", "false")
        .env("npm_config_update_notifier", "false")
}

/// `20` from `v20.20.2`.
fn major(version: &str) -> Option<u32> {
    version.strip_prefix('v')?.split('.').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_node_are_compared_by_number() {
        assert_eq!(major("v20.20.2"), Some(20));
        assert_eq!(major("v9.0.0"), Some(9));
        assert_eq!(major("20"), None);
        assert!(major("v9.0.0") < Some(NODE_MAJOR_MIN));
        assert!(major("nothing") < Some(NODE_MAJOR_MIN));
        assert!(major("v100.0.0") > Some(NODE_MAJOR_MIN));
    }

    #[test]
    fn another_program_is_not_the_bundler() {
        assert!(!is_this_esbuild(Path::new("no-such-program")));
    }
}
