//! What makes two calls the same request.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use idempotency_ledger::{Fingerprint, FingerprintHasher};

use crate::arguments::FingerprintArguments;
use crate::exit::Failure;

/// Files are hashed in pieces of this size, so a large one is never held.
const PIECE_BYTES: u64 = 64 * 1024;

/// Hashes the command, its arguments and what the options add. Each value stands behind a part
/// that names it, so that no argument can pass for a file, a variable or standard input.
pub(crate) fn of(
    command: &[OsString],
    arguments: &FingerprintArguments,
    stdin: Option<&[u8]>,
) -> Result<Fingerprint, Failure> {
    if arguments.no_fingerprint {
        return Ok(Fingerprint::NONE);
    }
    let mut hasher = FingerprintHasher::new().part("idem exec 1");
    for word in command {
        hasher = hasher.part("word").part(word.as_bytes());
    }
    for path in &arguments.fingerprint_file {
        hasher = add_file(hasher.part("file"), path)?;
    }
    for name in sorted(&arguments.fingerprint_env) {
        hasher = add_variable(hasher, name, std::env::var_os(name).as_deref());
    }
    if arguments.fingerprint_cwd {
        let folder = std::env::current_dir().map_err(|error| {
            Failure::usage(format!("--fingerprint-cwd: no current directory: {error}"))
        })?;
        hasher = hasher.part("cwd").part(folder.as_os_str().as_bytes());
    }
    if let Some(bytes) = stdin {
        hasher = hasher.part("stdin").part(bytes);
    }
    Ok(hasher.finish())
}

/// Naming a variable twice, or in another order, asks for the same thing.
fn sorted(names: &[String]) -> Vec<&str> {
    let mut names: Vec<&str> = names.iter().map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    names
}

/// An unset variable differs from an empty one.
fn add_variable(hasher: FingerprintHasher, name: &str, value: Option<&OsStr>) -> FingerprintHasher {
    let hasher = hasher.part("variable").part(name);
    match value {
        Some(value) => hasher.part("set").part(value.as_bytes()),
        None => hasher.part("unset"),
    }
}

/// Adds the content of a file, not its path: a temporary file of another name, with the same
/// content, asks for the same thing.
fn add_file(hasher: FingerprintHasher, path: &Path) -> Result<FingerprintHasher, Failure> {
    add_pieces(hasher, path)
        .map_err(|error| Failure::usage(format!("--fingerprint-file {}: {error}", path.display())))
}

fn add_pieces(mut hasher: FingerprintHasher, path: &Path) -> io::Result<FingerprintHasher> {
    let mut file = File::open(path)?;
    let mut piece = Vec::new();
    loop {
        piece.clear();
        // Whole pieces only: how a pipe cuts its bytes must not show in the hash.
        file.by_ref().take(PIECE_BYTES).read_to_end(&mut piece)?;
        if piece.is_empty() {
            return Ok(hasher.part("end"));
        }
        hasher = hasher.part("piece").part(&piece);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    fn nothing() -> FingerprintArguments {
        FingerprintArguments {
            fingerprint_file: Vec::new(),
            fingerprint_env: Vec::new(),
            fingerprint_cwd: false,
            fingerprint_stdin: false,
            no_stdin: false,
            ignore_stdin: false,
            no_fingerprint: false,
        }
    }

    fn fingerprint(
        words: &[&str],
        arguments: &FingerprintArguments,
        stdin: Option<&[u8]>,
    ) -> Fingerprint {
        let command: Vec<OsString> = words.iter().map(OsString::from).collect();
        of(&command, arguments, stdin).unwrap()
    }

    #[test]
    fn nothing_passes_for_something_else() {
        let variable = FingerprintArguments {
            fingerprint_env: vec!["IDEM_SURELY_UNSET".to_owned()],
            ..nothing()
        };
        let folder = FingerprintArguments {
            fingerprint_cwd: true,
            ..nothing()
        };
        let file = FingerprintArguments {
            fingerprint_file: vec![PathBuf::from("/dev/null")],
            ..nothing()
        };
        let all = [
            fingerprint(&["a", "bc"], &nothing(), None),
            fingerprint(&["ab", "c"], &nothing(), None),
            fingerprint(&["a", "bc", "stdin", ""], &nothing(), None),
            fingerprint(&["a", "bc"], &nothing(), Some(b"")),
            fingerprint(&["a", "bc"], &nothing(), Some(b"x")),
            fingerprint(&["a", "bc"], &variable, None),
            fingerprint(&["a", "bc"], &folder, None),
            fingerprint(&["a", "bc"], &file, None),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all[..at].contains(one), "{at}");
        }
    }

    #[test]
    fn a_variable_may_be_unset_or_empty() {
        let unset = add_variable(FingerprintHasher::new(), "N", None).finish();
        let empty = add_variable(FingerprintHasher::new(), "N", Some(OsStr::new(""))).finish();
        assert_ne!(unset, empty);
        assert_eq!(
            sorted(&["b".to_owned(), "a".to_owned(), "b".to_owned()]),
            ["a", "b"]
        );
    }

    #[test]
    fn without_a_fingerprint_it_is_none() {
        let none = FingerprintArguments {
            no_fingerprint: true,
            ..nothing()
        };
        assert_eq!(fingerprint(&["a"], &none, None), Fingerprint::NONE);
    }

    #[test]
    fn a_missing_file_is_a_wrong_call() {
        let missing = FingerprintArguments {
            fingerprint_file: vec![PathBuf::from("/no/such")],
            ..nothing()
        };
        let failure = of(&["a".into()], &missing, None).unwrap_err();
        assert!(failure.to_string().contains("/no/such"));
    }

    /// A retry must be recognised by later versions, so the bytes hashed are part of the format.
    #[test]
    fn golden_fingerprint() {
        let parts = ["idem exec 1", "word", "pay", "word", "25", "stdin", "x"];
        assert_eq!(
            fingerprint(&["pay", "25"], &nothing(), Some(b"x")),
            Fingerprint::of(parts)
        );
    }
}
