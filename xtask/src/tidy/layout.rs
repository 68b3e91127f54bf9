//! What a file looks like from outside: its name, its length, its lines.

use super::{Complaint, SourceFile};

/// Half of it is the usual size; above it a file holds more than one idea.
const LINES_MAX: usize = 800;

/// What fits on half a screen, and what rustfmt is told as well.
const COLUMNS_MAX: usize = 100;

/// Names that say nothing about what is inside, and so attract anything.
const BANNED_NAMES: [&str; 8] = [
    "utils", "util", "common", "helpers", "helper", "manager", "types", "misc",
];

/// Names, lengths and lines of source files; documents are free in all of this.
pub(super) fn check(file: &SourceFile) -> Vec<Complaint> {
    if file.extension() == "md" {
        return Vec::new();
    }
    let mut complaints = name(file);
    let lines = file.text.lines().count();
    if lines > LINES_MAX {
        let message = format!("{lines} lines, at most {LINES_MAX}: split it by idea");
        complaints.push(Complaint::new(file, LINES_MAX + 1, message));
    }
    for (line, number) in file.text.lines().zip(1..) {
        let columns = line.chars().count();
        if columns > COLUMNS_MAX && !is_link(line) {
            let message = format!("{columns} columns, at most {COLUMNS_MAX}");
            complaints.push(Complaint::new(file, number, message));
        }
        if let Some(c) = line.chars().find(|c| !c.is_ascii()) {
            let message = format!("{c:?} is not ASCII; in a literal write it as an escape");
            complaints.push(Complaint::new(file, number, message));
        }
    }
    complaints
}

/// Directories count like files: a module is either.
fn name(file: &SourceFile) -> Vec<Complaint> {
    let stems = file
        .path
        .split('/')
        .map(|part| part.split('.').next().unwrap_or(part));
    let banned = stems.filter(|stem| BANNED_NAMES.contains(stem));
    let complain = |stem| Complaint::new(file, 1, format!("`{stem}` does not say what is inside"));
    banned.map(complain).collect()
}

/// A comment that ends in an address: breaking the line would break the link.
fn is_link(line: &str) -> bool {
    let line = line.trim_start();
    let is_comment = line.starts_with("//") || line.starts_with('*');
    is_comment
        && line
            .rsplit(' ')
            .next()
            .is_some_and(|word| word.contains("://"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaints(path: &str, text: &str) -> Vec<(usize, String)> {
        let found = check(&SourceFile::new(path, text));
        found
            .into_iter()
            .map(|complaint| (complaint.line, complaint.message))
            .collect()
    }

    #[test]
    fn the_length_of_a_file_has_a_limit() {
        assert!(complaints("a.rs", &"//\n".repeat(LINES_MAX)).is_empty());
        let found = complaints("a.rs", &"//\n".repeat(LINES_MAX + 1));
        assert_eq!(
            found,
            [(801, "801 lines, at most 800: split it by idea".to_owned())]
        );
        assert_eq!(complaints("a.js", &"//\n".repeat(LINES_MAX + 1)).len(), 1);
        assert!(complaints("a.md", &"x\n".repeat(LINES_MAX + 1)).is_empty());
    }

    #[test]
    fn the_width_of_a_line_has_a_limit() {
        assert!(complaints("a.rs", &"x".repeat(COLUMNS_MAX)).is_empty());
        let found = complaints("a.rs", &format!("\n{}", "x".repeat(COLUMNS_MAX + 1)));
        assert_eq!(found, [(2, "101 columns, at most 100".to_owned())]);
        assert!(complaints("a.md", &"x".repeat(COLUMNS_MAX + 1)).is_empty());
    }

    #[test]
    fn a_link_may_be_as_wide_as_it_is() {
        let link = format!("https://example.com/{}", "x".repeat(COLUMNS_MAX));
        assert!(complaints("a.rs", &format!("    // See {link}")).is_empty());
        assert!(complaints("a.js", &format!(" * {link}")).is_empty());
        assert_eq!(
            complaints("a.rs", &format!("let link = \"{link}\";")).len(),
            1
        );
    }

    #[test]
    fn sources_are_ascii_also_in_comments() {
        for path in ["a.rs", "a.js", "a.mjs", "a.d.ts", "a.tsx"] {
            let found = complaints(path, "// fine\n// gr\u{fc}n\n");
            assert_eq!(found.len(), 1, "{path}");
            assert_eq!(found[0].0, 2, "{path}");
        }
        assert!(complaints("a.md", "gr\u{fc}n\n").is_empty());
    }

    #[test]
    fn names_that_say_nothing_are_refused() {
        for path in [
            "ledger/src/utils.rs",
            "ledger/src/common/mod.rs",
            "tests/native/helpers.rs",
            "wasm-client/js/types.d.ts",
            "ledger/src/manager.rs",
            "ledger/src/misc.rs",
        ] {
            assert_eq!(complaints(path, "").len(), 1, "{path}");
        }
        for path in [
            "ledger/src/claim.rs",
            "ledger/src/common_key.rs",
            "docs/types.md",
        ] {
            assert!(complaints(path, "").is_empty(), "{path}");
        }
    }
}
