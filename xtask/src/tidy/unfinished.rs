//! What must not be left behind: unfinished code, debug output, tests that do not run.

use super::rust_code::words;
use super::{Complaint, SourceFile};

/// Macros that stand for work that was not done.
const UNFINISHED: [&str; 3] = ["todo", "unimplemented", "dbg"];

/// What does the same in the tests and modules of JavaScript and TypeScript.
const UNFINISHED_SCRIPT: [&str; 7] = [
    "debugger;",
    "describe.only(",
    "describe.skip(",
    "it.only(",
    "it.skip(",
    "test.only(",
    "test.skip(",
];

/// Looks for them, in Rust with comments and literals left out.
pub(super) fn check(file: &SourceFile) -> Vec<Complaint> {
    match (&file.code, file.extension()) {
        (Some(code), _) => rust(file, code),
        (None, "md") => Vec::new(),
        (None, _) => script(file),
    }
}

fn script(file: &SourceFile) -> Vec<Complaint> {
    let mut complaints = Vec::new();
    for (line, number) in file.text.lines().zip(1..) {
        let found = UNFINISHED_SCRIPT.iter().find(|text| has_word(line, text));
        let found = found.filter(|_| !line.trim_start().starts_with("//"));
        complaints.extend(
            found.map(|text| Complaint::new(file, number, format!("`{text}` must not stay"))),
        );
    }
    complaints
}

/// `submit.skip(` is another word than `it.skip(`.
fn has_word(line: &str, text: &str) -> bool {
    let mut places = line.match_indices(text);
    places.any(|(at, _)| !line[..at].ends_with(char::is_alphanumeric))
}

fn rust(file: &SourceFile, code: &str) -> Vec<Complaint> {
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
    fn scripts_neither_stop_nor_leave_tests_out() {
        let lines = |text: &str| {
            let found = check(&SourceFile::new("tests/browser/tabs.mjs", text));
            found.into_iter().map(|c| c.line).collect::<Vec<_>>()
        };
        for text in UNFINISHED_SCRIPT {
            assert_eq!(lines(&format!("a();\n  {text}\n")), [2], "{text}");
        }
        assert_eq!(lines("// debugger;\nlist.only(1); submit.skip(2);\n"), []);
    }

    #[test]
    fn documents_are_free() {
        assert_eq!(check(&SourceFile::new("a.md", "todo!() debugger;")), []);
    }
}
