//! What a ledger leaves on disk, and what is made of it when a part is missing, older, or refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use idempotency_ledger::{Builder, Ledger};
use idempotency_tests::clock;

use crate::child::Child;

const MODES: [&str; 2] = ["exclusive", "shared"];

fn builder(mode: &str) -> Builder {
    let builder = Ledger::builder().clock(clock());
    match mode {
        "exclusive" => builder,
        "shared" => builder.shared(),
        other => panic!("unknown mode {other}"),
    }
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).expect("reads");
    let name = |entry: fs::DirEntry| entry.file_name().into_string().expect("text");
    let mut names: Vec<_> = entries.map(|entry| name(entry.expect("reads"))).collect();
    names.sort();
    names
}

fn mode_of(path: &Path) -> u32 {
    let file = fs::metadata(path).expect("it is there");
    file.permissions().mode() & 0o777
}

#[test]
fn new_files_are_for_their_owner_alone() {
    for mode in MODES {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.redb");
        let ledger = builder(mode).open(&path).expect("opens");
        ledger.backup(folder.path().join("copy")).expect("copies");
        for name in names_in(folder.path()) {
            assert_eq!(mode_of(&folder.path().join(&name)), 0o600, "{mode} {name}");
        }
    }
    // Half written, too.
    let folder = tempfile::tempdir().expect("a folder");
    let _half = half_a_backup(folder.path(), "copy");
    let draft = drafts_in(folder.path()).pop().expect("a draft");
    assert_eq!(mode_of(&draft), 0o600);
}

/// A process that stopped in the middle of a backup.
fn half_a_backup(folder: &Path, name: &str) -> Child {
    let mut child = Child::start();
    let path = folder.join(format!("{name}-of.redb"));
    let copy = folder.join(name);
    let line = format!("stop-in-backup {} {}", path.display(), copy.display());
    assert_eq!(child.ask(&line), "half");
    child
}

/// What lies there but for ledgers and backups.
fn drafts_in(folder: &Path) -> Vec<PathBuf> {
    let paths = names_in(folder).into_iter().map(|name| folder.join(name));
    let is_draft = |path: &PathBuf| {
        let kind = path.extension().and_then(std::ffi::OsStr::to_str);
        matches!(kind, Some("draft" | "backup"))
    };
    paths.filter(is_draft).collect()
}

