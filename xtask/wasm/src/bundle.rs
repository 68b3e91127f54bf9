//! What a page loads, as a bundler would make it.
//!
//! The package ships readable modules, and who builds a page bundles and minifies them. So
//! the figure that matters needs a bundler: esbuild, because Vite and many others use it,
//! because it is one program without dependencies, and because the minifiers among the
//! crates would add a hundred packages to the lock file for this one number.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The module at `entry` with everything that it imports, minified.
pub(crate) fn minified(esbuild: &Path, entry: &Path) -> Result<Vec<u8>> {
    let name = esbuild.display();
    let output = Command::new(esbuild)
        .arg(entry)
        .args(["--bundle", "--minify", "--format=esm", "--target=es2022"])
        .args(["--legal-comments=none", "--log-level=warning"])
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("`{name}` could not be started"))?;
    let status = output.status;
    ensure!(
        status.success(),
        "`{name}` failed ({status}) on {}",
        entry.display()
    );
    ensure!(
        !output.stdout.is_empty(),
        "`{name}` made nothing of {}",
        entry.display()
    );
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_missing_fails_or_prints_nothing_is_refused() {
        for program in ["no-such-esbuild", "false", "true"] {
            assert!(
                minified(Path::new(program), Path::new("a.js")).is_err(),
                "{program}"
            );
        }
    }
}
