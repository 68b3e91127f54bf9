//! What npm put into the tarball, held against the folder that was packed.
//!
//! `files` in package.json decides, and a pattern that misses a file is noticed by nobody but
//! who installs the package.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::folder::Folder;

/// Demands that the tarball holds every file of the folder and no other.
pub(crate) fn check(folder: &Folder, list: &Path) -> Result<()> {
    let text = fs::read_to_string(list)
        .with_context(|| format!("the list {} cannot be read", list.display()))?;
    let packed = packed(&text)?;
    let there: BTreeSet<_> = folder.files.keys().map(String::as_str).collect();
    let packed: BTreeSet<_> = packed.iter().map(String::as_str).collect();
    let left_out: Vec<_> = there.difference(&packed).collect();
    let strange: Vec<_> = packed.difference(&there).collect();
    ensure!(
        left_out.is_empty(),
        "`files` in package.json leaves out {left_out:?}"
    );
    ensure!(strange.is_empty(), "the tarball also has {strange:?}");
    println!(
        "    {} files in the tarball, all of the package",
        packed.len()
    );
    Ok(())
}

fn packed(list: &str) -> Result<Vec<String>> {
    let list: Value = serde_json::from_str(list).context("npm did not print JSON")?;
    let files = list[0]["files"].as_array();
    let files = files.context("npm did not list the files of the tarball")?;
    let paths = files
        .iter()
        .map(|file| file["path"].as_str().map(str::to_owned));
    paths
        .collect::<Option<_>>()
        .context("npm lists a file without a path")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(files: &[&str], list: &str) -> Result<()> {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("list.json");
        fs::write(&path, list).expect("a file");
        let files = files
            .iter()
            .map(|path| ((*path).to_owned(), Vec::new()))
            .collect();
        check(&Folder { files }, &path)
    }

    const TWO: &str = r#"[{"name": "x", "files": [{"path": "a.js"}, {"path": "b/c.js"}]}]"#;

    #[test]
    fn equal_lists_pass() {
        verdict(&["a.js", "b/c.js"], TWO).expect("they are equal");
    }

    #[test]
    fn a_difference_either_way_is_named() {
        let error = verdict(&["a.js", "b/c.js", "d.js"], TWO).expect_err("one is left out");
        assert!(
            error.to_string().contains("leaves out [\"d.js\"]"),
            "{error}"
        );
        let error = verdict(&["a.js"], TWO).expect_err("one is strange");
        assert!(
            error.to_string().contains("also has [\"b/c.js\"]"),
            "{error}"
        );
    }

    #[test]
    fn anything_but_a_list_is_refused() {
        for list in ["", "npm warn", "[]", "[{}]", r#"[{"files": [{}]}]"#] {
            assert!(verdict(&[], list).is_err(), "{list}");
        }
    }
}
