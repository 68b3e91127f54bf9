//! What a ledger leaves on disk, and what is made of it when a part is missing, older, or refused.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use idempotency_ledger::{Builder, EndingError, Error, Ledger, Resolution, Resolved};
use idempotency_tests::{Expect, asked, begin, clock, key};

use crate::child::{Child, Lingering};

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

#[test]
fn a_backup_that_was_restored_is_refused_however_it_is_opened() {
    for before in MODES {
        for after in MODES {
            let folder = tempfile::tempdir().expect("a folder");
            let (path, copy) = (folder.path().join("app.redb"), folder.path().join("copy"));
            let ledger = builder(before).open(&path).expect("opens");
            begin(&ledger, "a").fresh().complete("a").expect("stored");
            ledger.backup(&copy).expect("copies");
            drop(ledger);
            // Killed, so that nothing is said at the end.
            let mut holder = Child::with_open(before, &path);
            assert_eq!(holder.ask("begin b"), "fresh");
            assert_eq!(holder.ask("complete b b"), "ok");
            holder.kill();
            fs::rename(&copy, &path).expect("restores");
            let refused = builder(after).open(&path);
            assert!(
                matches!(refused, Err(Error::RolledBack { .. })),
                "{before}, {after}: {refused:?}"
            );
            let accepted = builder(after).accept_rollback().open(&path);
            let ledger = accepted.expect("accepted");
            // Fences go on from what was seen, not from what the copy holds.
            assert!(
                begin(&ledger, "b").fresh().fence().get() > 2,
                "{before}, {after}"
            );
            drop(ledger);
            assert!(builder(after).open(&path).is_ok(), "{before}, {after}");
        }
    }
}

#[test]
fn a_ledger_that_is_gone_from_beside_its_side_file_is_refused_until_it_is_accepted() {
    for mode in MODES {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.redb");
        let ledger = builder(mode).open(&path).expect("opens");
        let last = begin(&ledger, "k").fresh().fence();
        drop(ledger);
        fs::remove_file(&path).expect("removes");
        for builder in [builder(mode), builder(mode).existing_only()] {
            let refused = builder.open(&path).expect_err("it was there");
            let text = refused.to_string();
            assert!(
                text.contains("is gone") && text.contains("fence 1"),
                "{text}"
            );
        }
        assert_eq!(names_in(folder.path()), ["app.redb.locks"]);
        let accepted = builder(mode).accept_rollback().open(&path);
        let ledger = accepted.expect("accepted");
        assert!(begin(&ledger, "k").fresh().fence() > last, "{mode}");
        drop(ledger);
        assert!(builder(mode).open(&path).is_ok(), "{mode}");
    }
}

#[test]
fn a_creation_that_was_cut_short_after_its_side_file_is_no_lost_ledger() {
    for mode in MODES {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.redb");
        drop(builder(mode).open(&path).expect("opens"));
        // Nothing was claimed, so nothing can run twice.
        fs::remove_file(&path).expect("removes");
        let ledger = builder(mode).open(&path).expect("opens");
        drop(begin(&ledger, "k").fresh());
    }
}

#[test]
fn a_run_lock_keeps_the_key_from_an_exclusive_opening() {
    for mode in MODES {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.redb");
        let mut holder = Child::with_open(mode, &path);
        assert_eq!(holder.ask("begin-repeatable k"), "fresh");
        let grandchild = Lingering::of(&mut holder, "k");
        holder.kill();
        let ledger = builder("exclusive").open(&path).expect("opens");
        let request = ledger.operation(crate::child::REPEATABLE, &key("k"), asked());
        let ticket = request.clone().begin().expect("works").interrupted();
        assert!(ticket.is_running(), "{mode}");
        let refused = ticket.rerun().expect_err("it still runs");
        assert!(matches!(refused.error, EndingError::StillRunning));
        let record = ledger.record(crate::child::REPEATABLE, &key("k"));
        assert_eq!(
            record.resolve(Resolution::Released).expect("works"),
            Resolved::StillRunning
        );
        drop(grandchild);
        idempotency_tests::until("the grandchild ends", || {
            !record.peek().expect("reads").expect("stored").is_running()
        });
        drop(request.begin().expect("works").fresh());
    }
}

#[test]
fn a_closed_file_opens_again_in_the_same_process_whatever_handles_are_left() {
    for mode in MODES {
        for again in MODES {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("app.redb");
            let ledger = builder(mode).open(&path).expect("opens");
            let (clone, reader) = (ledger.clone(), ledger.read().expect("reads"));
            let claim = begin(&ledger, "k").fresh();
            ledger.close().expect("closes");
            let fresh = builder(again).open(&path).expect("opens again");
            // The claims of a closed ledger are interrupted.
            let ticket = begin(&fresh, "k").interrupted();
            let held = begin(&fresh, "l").fresh();
            let refused = claim.complete("late").expect_err("it is closed");
            assert!(matches!(refused.error, EndingError::Ledger(Error::Closed)));
            drop((refused, clone, reader));
            drop(ticket.complete("once").expect("stored"));
            let _ = begin(&fresh, "l").refused();
            drop(held.complete("l").expect("stored"));
            let third = builder(mode).open(&path);
            assert!(matches!(third, Err(Error::AlreadyOpenHere)), "{third:?}");
        }
    }
}

#[test]
fn an_opening_that_was_refused_leaves_no_side_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let holder = Child::with_open("exclusive", &path);
    let _ = fs::remove_file(folder.path().join("app.redb.locks"));
    let database = folder.path().join("other.redb");
    drop(redb::Database::create(&database).expect("creates"));
    let text = folder.path().join("list.txt");
    fs::write(&text, "tea, bread").expect("writes");
    for path in [&path, &database, &text] {
        for mode in MODES {
            let refused = builder(mode).open(path);
            assert!(refused.is_err(), "{mode} {path:?}");
        }
    }
    assert_eq!(
        names_in(folder.path()),
        ["app.redb", "list.txt", "other.redb"]
    );
    drop(holder);
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

#[test]
fn a_side_file_is_open_to_those_to_whom_its_ledger_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let side = folder.path().join("app.redb.locks");
    drop(builder("shared").open(&path).expect("opens"));
    fs::set_permissions(&path, fs::Permissions::from_mode(0o660)).expect("sets");
    fs::remove_file(&side).expect("removes");
    drop(builder("shared").open(&path).expect("opens"));
    assert_eq!(mode_of(&side), 0o660);
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

#[test]
fn the_next_backup_removes_the_drafts_of_killed_ones_and_no_others() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut killed = half_a_backup(folder.path(), "monday");
    killed.kill();
    let left = drafts_in(folder.path());
    assert_eq!(left.len(), 1);
    let _living = half_a_backup(folder.path(), "tuesday");
    let others = [
        "notes.backup",
        "list.0123456789abcdef.backup",
        "list.0123456789ABCDEF.backup",
    ];
    for name in others {
        fs::write(folder.path().join(name), "tea, bread").expect("writes");
    }
    let ledger = Ledger::in_memory().expect("opens");
    ledger
        .backup(folder.path().join("wednesday"))
        .expect("copies");
    let now = drafts_in(folder.path());
    assert!(!now.contains(&left[0]), "{now:?}");
    assert_eq!(now.len(), others.len() + 1, "{now:?}");
}
