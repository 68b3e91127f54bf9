//! Every promise in the guarantees is held by a test that exists.
//!
//! A test is named in backticks as its file and its name, `path/to/file.rs::tests::name`
//! for Rust, `path/to/file.mjs::title of the test` for JavaScript. A promise is a heading or
//! a list item that starts at the margin with a number and a dot; it reaches to the next
//! one or to the next heading, and must name a test.

use super::rust_code::words;
use super::{Complaint, SourceFile, Tree};

/// Where the promises are written.
pub(super) const DOCUMENT: &str = "docs/guarantees.md";

/// Holds the document, if there is one, against the tests.
pub(super) fn check(tree: &Tree) -> Vec<Complaint> {
    let Some(document) = tree.file(DOCUMENT) else {
        return Vec::new();
    };
    let mut complaints = Vec::new();
    let mut unheld: Option<(usize, &str)> = None;
    let mut in_fence = false;
    for (line, number) in document.text.lines().zip(1..) {
        if line.trim_start().starts_with("```") {
            in_fence = !in_fence;
        }
        if in_fence {
            continue;
        }
        if line.starts_with('#') || is_promise(line) {
            complaints.extend(unheld.take().map(|promise| without_test(document, promise)));
            unheld = is_promise(line).then_some((number, line));
        }
        for name in tests_named_in(line) {
            unheld = None;
            if let Err(message) = find(tree, &name) {
                complaints.push(Complaint::new(document, number, message));
            }
        }
    }
    complaints.extend(unheld.map(|promise| without_test(document, promise)));
    complaints
}

fn without_test(document: &SourceFile, (line, text): (usize, &str)) -> Complaint {
    Complaint::new(document, line, format!("no test is named for `{text}`"))
}

fn is_promise(line: &str) -> bool {
    let line = line.trim_start_matches('#');
    let digits = line
        .trim_start()
        .trim_start_matches(|c: char| c.is_ascii_digit());
    !line.starts_with("  ") && digits.len() < line.trim_start().len() && digits.starts_with(". ")
}

/// A file and the name of a test in it.
struct TestName<'a> {
    path: &'a str,
    name: &'a str,
}

/// The code spans that name a test; `Ledger::open` has no file and is none.
fn tests_named_in(line: &str) -> Vec<TestName<'_>> {
    let spans = line.split('`').skip(1).step_by(2);
    let split = spans.filter_map(|span| span.split_once("::"));
    let is_file = |path: &str| {
        [".rs", ".js", ".mjs", ".ts"]
            .iter()
            .any(|end| path.ends_with(end))
    };
    split
        .filter(|(path, _)| is_file(path))
        .map(|(path, name)| TestName { path, name })
        .collect()
}

fn find(tree: &Tree, test: &TestName<'_>) -> Result<(), String> {
    let TestName { path, name } = *test;
    let file = tree
        .file(path)
        .ok_or_else(|| format!("there is no file {path}"))?;
    let exists = match &file.code {
        Some(code) => {
            let function = name.rsplit("::").next().unwrap_or(name);
            words(code).zip(words(code).skip(1)).any(|(keyword, word)| {
                keyword.text == "fn" && word.text == function && !function.is_empty()
            })
        }
        None => !name.is_empty() && file.text.contains(name),
    };
    if exists {
        Ok(())
    } else {
        Err(format!("{path} has no test `{name}`"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(document: &str) -> Vec<(usize, String)> {
        let tree = Tree::of(&[
            (DOCUMENT, document),
            (
                "tests/native/crash.rs",
                "#[test]\nfn kill_at_every_step() {}\n// fn gone() {}\n",
            ),
            (
                "ledger/src/key.rs",
                "mod tests {\n    fn is_short() {}\n}\n",
            ),
            (
                "tests/browser/tabs.mjs",
                "test(\"two tabs send once\", async () => {});\n",
            ),
        ]);
        check(&tree)
            .into_iter()
            .map(|complaint| (complaint.line, complaint.message))
            .collect()
    }

    #[test]
    fn tests_that_exist_hold_their_promises() {
        assert_eq!(
            complaints("1. A kill: `tests/native/crash.rs::kill_at_every_step`.\n"),
            []
        );
        assert_eq!(
            complaints("## 1. Keys\n\n`ledger/src/key.rs::tests::is_short`\n"),
            []
        );
        assert_eq!(
            complaints("`tests/browser/tabs.mjs::two tabs send once`\n"),
            []
        );
    }

    #[test]
    fn a_missing_file_is_found() {
        let found = complaints("\n`tests/native/gone.rs::kill_at_every_step`\n");
        assert_eq!(
            found,
            [(2, "there is no file tests/native/gone.rs".to_owned())]
        );
    }

    #[test]
    fn a_missing_test_is_found() {
        let found = complaints("`tests/native/crash.rs::kill_at_every`\n");
        let message = "tests/native/crash.rs has no test `kill_at_every`".to_owned();
        assert_eq!(found, [(1, message)]);
        assert_eq!(complaints("`tests/native/crash.rs::gone`").len(), 1);
        assert_eq!(complaints("`tests/native/crash.rs::`").len(), 1);
        assert_eq!(complaints("`ledger/src/key.rs::tests::is_long`").len(), 1);
        assert_eq!(complaints("`tests/browser/tabs.mjs::three tabs`").len(), 1);
    }

    #[test]
    fn each_of_several_on_a_line_is_checked() {
        let line = "`ledger/src/key.rs::tests::is_short` and `ledger/src/key.rs::tests::no`";
        assert_eq!(complaints(line).len(), 1);
    }

    #[test]
    fn a_promise_without_a_test_is_found() {
        let found = complaints("1. Held: `ledger/src/key.rs::tests::is_short`\n2. Not held.\n");
        assert_eq!(
            found,
            [(2, "no test is named for `2. Not held.`".to_owned())]
        );
        let found = complaints("## 1. Not held\n\nWords.\n\n## Notes\n\n`Ledger::open`\n");
        assert_eq!(
            found,
            [(1, "no test is named for `## 1. Not held`".to_owned())]
        );
    }

    #[test]
    fn other_words_and_fences_are_no_promises() {
        assert_eq!(complaints("Redb 4.6 and `Ledger::open`, 3.5 of it.\n"), []);
        assert_eq!(complaints("```\n1. code\n`gone.rs::x`\n```\n"), []);
        assert_eq!(complaints("    1. An inner list.\n"), []);
        assert_eq!(check(&Tree::of(&[])), []);
    }
}
