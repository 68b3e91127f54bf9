//! The vectors under `tests/vectors/`, run against the decision core.
//!
//! Every file is read whole: a field that the runner does not know is an error, and each runner
//! counts its cases, so that nothing is skipped in silence. `tests/vectors/README.md` explains
//! the format to implementers in other languages.

mod decisions;
mod endings;
mod identity;
mod times;
pub(crate) mod written;

use std::path::Path;

use serde::de::DeserializeOwned;

/// Reads one file of vectors.
pub(crate) fn load<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("vectors")
        .join(name);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Every file in the folder has a runner: a forgotten one would look as if it passed.
#[test]
fn every_file_of_vectors_has_a_runner() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("vectors");
    let mut found: Vec<String> = std::fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| {
            entry
                .expect("readable")
                .file_name()
                .into_string()
                .expect("text")
        })
        .collect();
    found.sort();
    let known = [
        "README.md",
        "changes.json",
        "child_keys.json",
        "decide.json",
        "decide_intent.json",
        "endings.json",
        "expires_at.json",
        "fingerprints.json",
        "key_age.json",
        "key_times.json",
        "keys.json",
        "records.json",
        "retry_after.json",
        "stale_key.json",
        "store.json",
        "take_over.json",
        "timekeeper.json",
    ];
    assert_eq!(found, known);
}
