//! What must not be left behind: unfinished code, debug output, tests that do not run.

use super::rust_code::words;
use super::{Complaint, SourceFile};

/// Macros that stand for work that was not done.
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// Looks at Rust code for them, comments and literals left out.
pub(super) fn check(file: &SourceFile) -> Vec<Complaint> {
    let Some(code) = &file.code else {
        return Vec::new();
    };
    let mut complaints = Vec::new();
    for word in words(code) {
        if UNFINISHED.contains(&word.text) && word.after.trim_start().starts_with('!') {
            let message = format!("`{}!` must not stay", word.text);
            complaints.push(Complaint::new(file, word.line, message));
        }
    }
    for (line, number) in code.lines().zip(1..) {
        let attribute: String = line.chars().filter(|c| !c.is_whitespace()).collect();
        if attribute.contains("#[ignore]") || attribute.contains("#[ignore=") {
            complaints.push(Complaint::new(
                file,
                number,
                "a test that is ignored tests nothing",
            ));
        }
    }
    for (line, number) in file.text.lines().zip(1..) {
        let is_doc = line.trim_start().starts_with("//");
        if is_doc && line.contains("```ignore") {
            let message = "an example that is ignored may not even compile";
            complaints.push(Complaint::new(file, number, message));
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let found = check(&SourceFile::new("ledger/src/claim.rs", text));
        found.into_iter().map(|complaint| complaint.line).collect()
    }

    #[test]
    fn unfinished_code_is_found() {
        assert_eq!(lines("fn f() { todo!() }"), [1]);
        assert_eq!(lines("\nfn f() { unimplemented!(\"later\") }"), [2]);
        assert_eq!(lines("let x = dbg ! (x);"), [1]);
        assert_eq!(lines("let x = std::todo![];"), [1]);
    }

    #[test]
    fn words_about_it_are_fine() {
        assert_eq!(lines("// todo!() is not allowed"), []);
        assert_eq!(lines("let message = \"todo!\";"), []);
        assert_eq!(lines("let todo = 1; f(!todo)"), []);
    }

    #[test]
    fn ignored_tests_and_examples_are_found() {
        assert_eq!(lines("#[test]\n#[ignore]\nfn f() {}"), [2]);
        assert_eq!(lines("#[ignore = \"slow\"]"), [1]);
        assert_eq!(lines("/// ```ignore\n/// x\n/// ```"), [1]);
        assert_eq!(lines("// An attribute #[ignore] in a comment."), []);
        assert_eq!(lines("/// ```no_run\n/// x\n/// ```"), []);
    }

    #[test]
    fn only_rust_is_looked_at() {
        assert_eq!(check(&SourceFile::new("a.md", "todo!()")), []);
    }
}
