//! The house rules that neither the compiler nor a linter knows, as one quick step.
//!
//! A rule is a function from a [`SourceFile`] or from the whole [`Tree`] to complaints, so
//! each one is tested on text in memory, bad and good.

mod decision;
mod layout;
mod promises;
mod rust_code;
mod tree;
mod unfinished;

use std::fmt;

use crate::process::Failure;
use crate::suite::Ending;
use crate::workspace::Workspace;

use tree::{SourceFile, Tree};

/// One place where a rule is broken.
#[derive(Debug, PartialEq, Eq)]
struct Complaint {
    path: String,
    line: usize,
    message: String,
}

impl Complaint {
    fn new(file: &SourceFile, line: usize, message: impl Into<String>) -> Self {
        Self {
            path: file.path.clone(),
            line,
            message: message.into(),
        }
    }
}

impl fmt::Display for Complaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.message)
    }
}

/// Reads the checkout and holds it to every rule.
pub(crate) fn step(workspace: &Workspace) -> Result<Ending, Failure> {
    let tree = Tree::read(workspace.root())?;
    let complaints = complaints(&tree);
    for complaint in &complaints {
        println!("    {complaint}");
    }
    println!("    {} files read", tree.files.len());
    if tree.file(promises::DOCUMENT).is_none() {
        println!(
            "    {} is not there, so no promise was checked",
            promises::DOCUMENT
        );
    }
    match complaints.len() {
        0 => Ok(Ending::Passed),
        1 => Err(Failure::new("a house rule is broken, see above")),
        n => Err(Failure::new(format!(
            "house rules are broken in {n} places, see above"
        ))),
    }
}

fn complaints(tree: &Tree) -> Vec<Complaint> {
    let rules: [fn(&SourceFile) -> Vec<Complaint>; 3] =
        [layout::check, unfinished::check, decision::check];
    let mut all: Vec<_> = tree
        .files
        .iter()
        .flat_map(|file| rules.iter().flat_map(|rule| rule(file)))
        .collect();
    all.extend(promises::check(tree));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_rule_is_asked() {
        let tree = Tree::of(&[
            ("ledger/src/common.rs", "//! A drawer.\n"),
            ("ledger/src/claim.rs", "fn f() {\n    todo!()\n}\n"),
            ("ledger/src/decision/key.rs", "use std::fmt;\n"),
            ("docs/guarantees.md", "`tests/native/crash.rs::gone`\n"),
            ("ledger/src/clock.rs", "//! Time.\n"),
        ]);
        let found: Vec<_> = complaints(&tree)
            .into_iter()
            .map(|c| (c.path, c.line))
            .collect();
        assert_eq!(
            found,
            [
                ("ledger/src/common.rs".to_owned(), 1),
                ("ledger/src/claim.rs".to_owned(), 2),
                ("ledger/src/decision/key.rs".to_owned(), 1),
                ("docs/guarantees.md".to_owned(), 1),
            ]
        );
    }

    #[test]
    fn the_step_fails_on_bad_input_and_passes_on_good() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |text| std::fs::write(dir.path().join("claim.rs"), text).expect("a file");
        let tidy = || complaints(&Tree::read(dir.path()).expect("readable")).len();
        write("//! A claim.\n");
        assert_eq!(tidy(), 0);
        write("fn claim() { unimplemented!() }\n");
        assert_eq!(tidy(), 1);
    }

    #[test]
    fn a_complaint_prints_as_a_place_that_editors_open() {
        let complaint = Complaint {
            path: "a/b.rs".into(),
            line: 7,
            message: "too wide".into(),
        };
        assert_eq!(complaint.to_string(), "a/b.rs:7: too wide");
    }
}
