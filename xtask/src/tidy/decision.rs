//! The decision core stays pure: what it decides may depend on its arguments alone.
//!
//! Native and wasm compile the same files. `std` would let time and randomness in, storage
//! and encoding belong to the store, and a `cfg` would let a feature or a platform change
//! what is decided.

use super::rust_code::words;
use super::{Complaint, SourceFile};

const MODULE: &str = "ledger/src/decision.rs";
const DIRECTORY: &str = "ledger/src/decision/";

/// Crates that the core must not name, tests included.
const BANNED_CRATES: [&str; 9] = [
    "std",
    "redb",
    "serde",
    "serde_json",
    "bincode",
    "getrandom",
    "js_sys",
    "web_sys",
    "wasm_bindgen",
];

/// Looks at the files of the core.
pub(super) fn check(file: &SourceFile) -> Vec<Complaint> {
    let Some(code) = &file.code else {
        return Vec::new();
    };
    if file.path != MODULE && !file.path.starts_with(DIRECTORY) {
        return Vec::new();
    }
    let mut complaints = Vec::new();
    for word in words(code) {
        if BANNED_CRATES.contains(&word.text) {
            let message = format!("the decision core does not use `{}`", word.text);
            complaints.push(Complaint::new(file, word.line, message));
        }
        if is_condition(word.text, word.after) {
            let message = "in the decision core only `cfg(test)` may be conditional";
            complaints.push(Complaint::new(file, word.line, message));
        }
    }
    complaints
}

/// Whether this is `cfg(..)`, `cfg!(..)` or `cfg_attr(..)` on anything but `test` alone.
fn is_condition(word: &str, after: &str) -> bool {
    let after = after.trim_start();
    let after = after.strip_prefix('!').unwrap_or(after).trim_start();
    let Some(arguments) = after.strip_prefix('(') else {
        return false;
    };
    match word {
        "cfg_attr" | "cfg_select" => true,
        "cfg" => arguments
            .split_once(')')
            .is_none_or(|(inside, _)| inside.trim() != "test"),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<usize> {
        let found = check(&SourceFile::new("ledger/src/decision/key.rs", text));
        found.into_iter().map(|complaint| complaint.line).collect()
    }

    #[test]
    fn every_banned_crate_is_found() {
        for name in BANNED_CRATES {
            assert_eq!(
                lines(&format!("use core::fmt;\nuse {name}::x;")),
                [2],
                "{name}"
            );
            assert_eq!(lines(&format!("fn f() -> {name}::X {{}}")), [1], "{name}");
        }
        assert_eq!(lines("extern crate std;"), [1]);
        assert_eq!(lines("#[derive(serde::Serialize)]"), [1]);
    }

    #[test]
    fn core_alloc_and_words_about_the_others_are_fine() {
        assert_eq!(
            lines("use core::fmt;\nuse alloc::vec::Vec;\nuse super::policy::Policy;"),
            []
        );
        assert_eq!(
            lines("//! No std, no serde: `use std::time` is refused.\n"),
            []
        );
        assert_eq!(
            lines("let message = \"redb\"; let stdin = 1; let serde_like = 2;"),
            []
        );
    }

    #[test]
    fn conditions_are_found() {
        assert_eq!(lines("#[cfg(feature = \"redb\")]\nfn f() {}"), [1]);
        assert_eq!(lines("\n#[cfg(not(test))]"), [2]);
        assert_eq!(lines("#[cfg(all(test, unix))]"), [1]);
        assert_eq!(lines("if cfg!(debug_assertions) {}"), [1]);
        assert_eq!(lines("#[cfg_attr(test, derive(Debug))]"), [1]);
        assert_eq!(lines("#[cfg(\n    target_arch = \"wasm32\"\n)]"), [1]);
    }

    #[test]
    fn tests_in_the_core_are_fine() {
        assert_eq!(
            lines("#[cfg(test)]\nmod tests {}\n#[cfg( test )]\nmod more {}"),
            []
        );
        assert_eq!(lines("let cfg = cfg;"), []);
    }

    #[test]
    fn other_files_are_free() {
        let text = "use std::fs;\n#[cfg(unix)]\nfn f() {}";
        assert_eq!(check(&SourceFile::new("ledger/src/store.rs", text)), []);
        assert_eq!(
            check(&SourceFile::new("wasm-client/src/decision/x.rs", text)),
            []
        );
        assert_eq!(
            check(&SourceFile::new("ledger/src/decision.rs", text)).len(),
            2
        );
    }
}
