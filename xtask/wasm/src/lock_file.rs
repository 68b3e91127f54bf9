//! The version of wasm-bindgen: the library in the wasm and this tool must be the same one.
//!
//! The compiler leaves descriptions in the wasm whose form changes with every version. Both
//! sides are in one lock file, so they can be compared before anything goes wrong.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// In the wasm.
const LIBRARY: &str = "wasm-bindgen";

/// In this tool.
const TOOLS: [&str; 2] = ["wasm-bindgen-cli-support", "wasm-bindgen-cli"];

/// Refuses a lock file that gives the wasm and this tool different versions.
pub(crate) fn check(path: &Path) -> Result<()> {
    let text = fs::read_to_string(path)
        .with_context(|| format!("the lock file {} cannot be read", path.display()))?;
    let version = compare(&text)?;
    println!("    wasm-bindgen {version}");
    Ok(())
}

/// The one version; cargo writes each package as a block of `name`, `version` and more.
fn compare(lock: &str) -> Result<&str> {
    let library = versions(lock, LIBRARY);
    let [version] = library[..] else {
        bail!("Cargo.lock has {library:?} as versions of {LIBRARY}, and must have one");
    };
    for tool in TOOLS {
        let found = versions(lock, tool);
        if found != [version] {
            bail!(
                "Cargo.lock has {LIBRARY} {version} but {tool} {found:?}: set both to the same \
                 version in the workspace's Cargo.toml, then `cargo update {LIBRARY} {tool}`"
            );
        }
    }
    Ok(version)
}

fn versions<'a>(lock: &'a str, package: &str) -> Vec<&'a str> {
    let name = format!("name = \"{package}\"");
    let lines = lock.lines().zip(lock.lines().skip(1));
    lines
        .filter(|(line, _)| *line == name)
        .filter_map(|(_, next)| next.strip_prefix("version = \"")?.strip_suffix('"'))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock(packages: &[(&str, &str)]) -> String {
        let block = |(name, version): &(&str, &str)| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"{version}\"\n\n")
        };
        packages.iter().map(block).collect()
    }

    #[test]
    fn equal_versions_pass() {
        let lock = lock(&[
            ("wasm-bindgen", "0.2.130"),
            ("wasm-bindgen-cli", "0.2.130"),
            ("wasm-bindgen-cli-support", "0.2.130"),
            ("wasm-bindgen-futures", "0.4.80"),
        ]);
        assert_eq!(compare(&lock).expect("all are equal"), "0.2.130");
    }

    #[test]
    fn another_version_of_the_tool_is_named_with_the_remedy() {
        let lock = lock(&[
            ("wasm-bindgen", "0.2.131"),
            ("wasm-bindgen-cli-support", "0.2.130"),
            ("wasm-bindgen-cli", "0.2.131"),
        ]);
        let error = compare(&lock).expect_err("they differ").to_string();
        assert!(error.contains("wasm-bindgen 0.2.131 but"), "{error}");
        assert!(error.contains("cli-support [\"0.2.130\"]"), "{error}");
        assert!(error.contains("cargo update"), "{error}");
    }

    #[test]
    fn a_version_that_is_missing_or_double_is_refused() {
        assert!(compare("").is_err());
        let one = ("wasm-bindgen", "0.2.130");
        assert!(compare(&lock(&[one])).is_err());
        let two = lock(&[one, ("wasm-bindgen", "0.2.131")]);
        let error = compare(&two).expect_err("two libraries").to_string();
        assert!(error.contains("must have one"), "{error}");
    }

    #[test]
    fn the_lock_file_of_this_checkout_passes() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        check(&root.join("Cargo.lock")).expect("the checkout is consistent");
    }
}
