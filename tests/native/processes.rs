//! Several processes, several handles, and files that are not what they were.

use std::collections::HashSet;
use std::fs::{self, OpenOptions};
use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use idempotency_ledger::{
    Begin, EndingError, Error, Ledger, ManualClock, RecordState, Resolution, Resolved,
};
use idempotency_tests::storage::{Draw, Watched};
use idempotency_tests::{Expect, PAYMENTS, asked, begin, clock, key, seconds};
use redb::backends::FileBackend;
use redb::{ConcurrencyMode, Database};

use crate::child::{Child, Lingering};

fn shared(path: &Path) -> (Ledger, ManualClock) {
    let clock = clock();
    let builder = Ledger::builder().shared().clock(clock.clone());
    (builder.open(path).expect("opens"), clock)
}

#[test]
fn an_exclusive_file_refuses_a_second_process_and_a_second_handle() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let ledger = Ledger::open(&path).expect("opens");
    assert_eq!(
        Child::start().ask(&format!("open exclusive {}", path.display())),
        "AlreadyOpen"
    );
    assert_eq!(
        Child::start().ask(&format!("open shared {}", path.display())),
        "AlreadyOpen"
    );
    assert!(matches!(Ledger::open(&path), Err(Error::AlreadyOpenHere)));
    // Under another name it is the same file.
    let link = folder.path().join("link.redb");
    fs::hard_link(&path, &link).expect("links");
    assert!(matches!(Ledger::open(&link), Err(Error::AlreadyOpenHere)));
    drop(ledger);
    assert!(Ledger::open(&path).is_ok());
}

#[test]
fn a_database_is_attached_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let database = Database::create(folder.path().join("app.redb")).expect("creates");
    let database = Arc::new(database);
    let ledger = Ledger::attach(Arc::clone(&database)).expect("attaches");
    assert!(matches!(
        Ledger::attach(Arc::clone(&database)),
        Err(Error::AlreadyOpenHere)
    ));
    drop(ledger);
    assert!(Ledger::attach(database).is_ok());
}

#[test]
fn a_file_that_was_removed_or_replaced_is_not_written_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let ledger = Ledger::open(&path).expect("opens");
    let claim = begin(&ledger, "held").fresh();
    fs::remove_file(&path).expect("removes");
    let refused = ledger.operation(PAYMENTS, &key("k"), asked()).begin();
    assert!(
        matches!(refused, Err(Error::FileReplaced { .. })),
        "{refused:?}"
    );
    fs::write(&path, b"something else").expect("writes");
    let refused = claim.complete("a").expect_err("the file is another");
    assert!(matches!(
        refused.error,
        EndingError::Ledger(Error::FileReplaced { .. })
    ));
    assert_eq!(refused.response.bytes(), b"a");
    assert_eq!(fs::read(&path).expect("reads"), b"something else");
}

#[test]
fn a_run_lock_keeps_the_key_while_a_grandchild_lives() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let mut holder = Child::with_open("shared", &path);
    assert_eq!(holder.ask("begin k"), "fresh");
    let grandchild = Lingering::of(&mut holder, "k");
    holder.kill();
    let (ledger, _) = shared(&path);
    let ticket = begin(&ledger, "k").interrupted();
    assert!(ticket.is_running());
    let refused = ticket.rerun().expect_err("it still runs");
    assert!(matches!(refused.error, EndingError::StillRunning));
    let record = ledger.record(PAYMENTS, &key("k"));
    let seen = record.peek().expect("reads").expect("stored");
    assert!(seen.state() == RecordState::Interrupted && seen.is_running());
    assert_eq!(
        record.resolve(Resolution::Released).expect("works"),
        Resolved::StillRunning
    );
    assert_eq!(record.forget().expect("works"), Resolved::StillRunning);
    drop(grandchild);
    idempotency_tests::until("the grandchild ends", || {
        !record.peek().expect("reads").expect("stored").is_running()
    });
    assert_eq!(
        record.resolve(Resolution::Released).expect("works"),
        Resolved::Done
    );
    drop(begin(&ledger, "k").fresh());
}

#[test]
fn a_replaced_side_file_proves_nothing_and_the_lease_decides() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let side = folder.path().join("app.redb.locks");
    let mut holder = Child::with_open("shared", &path);
    assert_eq!(holder.ask("begin k"), "fresh");
    fs::remove_file(&side).expect("removes");
    // The side file of this opening is a new one, in which nothing is locked.
    let (ledger, clock) = shared(&path);
    assert!(matches!(begin(&ledger, "k"), Begin::Refused(_)));
    clock.advance(seconds(60));
    assert!(!begin(&ledger, "k").interrupted().is_overdue());
    // Neither does the old holder believe its own side file about others.
    let claim = begin(&ledger, "l").fresh();
    assert_eq!(holder.ask("begin l"), "in progress");
    drop(claim);
}

#[test]
fn a_restored_backup_is_refused_until_it_is_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let copy = folder.path().join("copy.redb");
    let (ledger, _) = shared(&path);
    begin(&ledger, "a").fresh().complete("a").expect("stored");
    ledger.backup(&copy).expect("copies");
    begin(&ledger, "b").fresh().complete("b").expect("stored");
    let newest = ledger.stats().expect("reads").fence;
    drop(ledger);
    fs::rename(&copy, &path).expect("restores");
    let clock = clock();
    let open = || Ledger::builder().shared().clock(clock.clone());
    let refused = open().open(&path);
    assert!(
        matches!(refused, Err(Error::RolledBack { .. })),
        "{refused:?}"
    );
    let ledger = open().accept_rollback().open(&path).expect("accepted");
    // Fences go on from what was seen, not from what the copy holds.
    assert!(begin(&ledger, "b").fresh().fence() > newest);
    begin(&ledger, "a").replay();
    drop(ledger);
    assert!(open().open(&path).is_ok());
}

#[test]
fn a_backup_restored_under_an_open_shared_ledger_is_noticed_by_the_next_write() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let (ledger, _) = shared(&path);
    begin(&ledger, "a").fresh().complete("a").expect("stored");
    let old = fs::read(&path).expect("reads");
    let held = begin(&ledger, "held").fresh();
    begin(&ledger, "b").fresh().complete("b").expect("stored");
    // In place, so that it is still the same file.
    fs::write(&path, &old).expect("restores");
    for text in ["b", "new"] {
        let refused = ledger.operation(PAYMENTS, &key(text), asked()).begin();
        assert!(
            matches!(refused, Err(Error::RolledBack { .. })),
            "{text}: {refused:?}"
        );
    }
    let refused = held.complete("it happened").expect_err("the claim is gone");
    assert!(matches!(
        refused.error,
        EndingError::Ledger(Error::RolledBack { .. })
    ));
    assert_eq!(refused.response.bytes(), b"it happened");
    drop(refused);
    drop(ledger);
    let clock = clock();
    let open = || Ledger::builder().shared().clock(clock.clone());
    assert!(matches!(open().open(&path), Err(Error::RolledBack { .. })));
    let ledger = open().accept_rollback().open(&path).expect("accepted");
    drop(begin(&ledger, "b").fresh());
}

#[test]
fn a_backup_restored_under_a_failed_exclusive_ledger_is_noticed_when_it_reopens() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let mut options = OpenOptions::new();
    let options = options.read(true).write(true).create_new(true);
    let file = options.open(&path).expect("a new file");
    let storage = Watched::new(FileBackend::new(file).expect("a backend"));
    let builder = Ledger::builder().clock(clock());
    let ledger = builder.open_backend(storage.clone()).expect("opens");
    begin(&ledger, "a").fresh().complete("a").expect("stored");
    let old = fs::read(&path).expect("reads");
    begin(&ledger, "b").fresh().complete("b").expect("stored");
    storage.fail_once(0, ErrorKind::Other);
    let failed = ledger.operation(PAYMENTS, &key("c"), asked()).begin();
    assert!(matches!(failed, Err(Error::CommitUnknown(_))), "{failed:?}");
    fs::write(&path, &old).expect("restores");
    for text in ["a", "b", "new"] {
        let refused = ledger.operation(PAYMENTS, &key(text), asked()).begin();
        assert!(
            matches!(refused, Err(Error::RolledBack { .. })),
            "{text}: {refused:?}"
        );
    }
}

#[test]
fn a_side_file_that_is_none_is_named_and_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let side = folder.path().join("app.redb.locks");
    for bytes in [&b""[..], b"a shopping list", &[7; 100]] {
        fs::write(&side, bytes).expect("writes");
        let refused = Ledger::builder().shared().open(&path);
        let text = refused.expect_err("it is no side file").to_string();
        assert!(
            text.contains("app.redb.locks is not the side file"),
            "{text}"
        );
        assert_eq!(fs::read(&side).expect("reads"), bytes);
        assert!(!path.exists());
    }
}

#[test]
fn racers_of_several_processes_get_one_claim_each() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let mut children: Vec<_> = (0..5).map(|_| Child::with_open("shared", &path)).collect();
    for round in 0..4 {
        for child in &mut children {
            child.say(&format!("race round-{round} 10"));
        }
        let won: usize = children
            .iter_mut()
            .map(|child| {
                child
                    .hear()
                    .expect("lives")
                    .parse::<usize>()
                    .expect("a number")
            })
            .sum();
        assert_eq!(won, 1, "round {round}");
    }
}

#[test]
fn killed_writers_of_several_processes_lose_nothing_that_was_acknowledged() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let seed = 0x5eed_0007;
    println!("seed {seed:#x}");
    let mut draw = Draw::new(seed);
    let (mut claimed, mut done) = (HashSet::new(), HashSet::new());
    for round in 0..6 {
        let mut writers: Vec<_> = (0..3).map(|_| Child::with_open("shared", &path)).collect();
        for (number, writer) in writers.iter_mut().enumerate() {
            writer.say(&format!("write {round}-{number}"));
        }
        for writer in &mut writers {
            let lines = 1 + draw.below(8);
            for _ in 0..lines {
                note(&writer.hear().expect("it writes"), &mut claimed, &mut done);
            }
            writer.kill();
            while let Some(line) = writer.hear() {
                note(&line, &mut claimed, &mut done);
            }
        }
    }
    assert!(done.len() >= 6, "the writers got somewhere");
    let (ledger, _) = shared(&path);
    for text in &claimed {
        match begin(&ledger, text) {
            Begin::Replay(replay) => assert_eq!(replay.response().bytes(), text.as_bytes()),
            Begin::Interrupted(_) => assert!(!done.contains(text), "{text} was acknowledged"),
            other => panic!("{text}: {other:?}"),
        }
    }
    assert_eq!(
        ledger.check().expect("checks").problems,
        Vec::<String>::new()
    );
}

#[test]
fn opening_a_shared_ledger_while_others_write_is_no_rollback() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let mut writers: Vec<_> = (0..2).map(|_| Child::with_open("shared", &path)).collect();
    for (number, writer) in writers.iter_mut().enumerate() {
        writer.say(&format!("write {number}"));
    }
    for round in 0..30 {
        let opened = Ledger::builder().shared().clock(clock()).open(&path);
        assert!(opened.is_ok(), "round {round}: {opened:?}");
        // Keeps the writers from waiting for somebody who listens.
        for writer in &mut writers {
            writer.hear().expect("it writes");
        }
    }
}

fn note(line: &str, claimed: &mut HashSet<String>, done: &mut HashSet<String>) {
    match line.split_once(' ') {
        Some(("claimed", text)) => claimed.insert(text.to_owned()),
        Some(("done", text)) => done.insert(text.to_owned()),
        other => panic!("unknown line {other:?}"),
    };
}

#[test]
fn an_opening_waits_for_a_writer_that_stands_still_until_the_busy_timeout() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    drop(shared(&path));
    let mut builder = Database::builder();
    builder.set_concurrency_mode(ConcurrencyMode::MultiWriter);
    let writer = builder.open(&path).expect("opens");
    let writing = writer.begin_write().expect("begins");
    let open = |builder: idempotency_ledger::Builder| {
        let builder = builder.busy_timeout(std::time::Duration::from_millis(20));
        builder.shared().clock(clock()).open(&path)
    };
    let refused = open(Ledger::builder()).expect_err("the writer is held");
    assert!(matches!(refused, Error::Busy { .. }), "{refused:?}");
    assert!(
        refused.to_string().contains("the busy timeout"),
        "{refused}"
    );
    writing.abort().expect("ends");
    let ledger = open(Ledger::builder()).expect("opens");
    let writing = writer.begin_write().expect("begins");
    for busy in [ledger.check().map(drop), ledger.compact().map(drop)] {
        assert!(matches!(busy, Err(Error::Busy { .. })), "{busy:?}");
    }
    // Reading needs no writer.
    assert!(open(Ledger::builder().read_only()).is_ok_and(|it| it.stats().is_ok()));
    writing.abort().expect("ends");
    drop(begin(&ledger, "k").fresh());
}

/// The calls of a child that wrote, synced and named files, one a line, with the paths of handles.
#[cfg(target_os = "linux")]
fn traced_calls(work: impl FnOnce(&mut Child)) -> Vec<String> {
    let folder = tempfile::tempdir().expect("a folder");
    let trace = folder.path().join("trace");
    let mut child = Child::under(&[
        "strace",
        "-f",
        "-qq",
        "-y",
        "-e",
        "trace=pwrite64,write,ftruncate,fsync,fdatasync,link,linkat,rename,renameat2",
        "-o",
        trace.to_str().expect("it is text"),
    ]);
    work(&mut child);
    child.say("end");
    assert_eq!(child.hear(), None, "strace ends with the child");
    let calls = fs::read_to_string(&trace).expect("strace has written it");
    calls.lines().map(str::to_owned).collect()
}

/// Where the power goes after a new file got its name, it must be there, and whole.
#[cfg(target_os = "linux")]
#[test]
fn a_new_file_and_its_name_are_synced_before_it_is_used() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let calls = traced_calls(|child| {
        let opened = child.ask(&format!("open shared {}", path.display()));
        assert_eq!(opened, "opened");
        assert_eq!(child.ask("begin k"), "fresh");
    });
    let folder = fs::canonicalize(folder.path()).expect("it is there");
    let at_sync = |call: &str, path: &str| {
        (call.contains(" fsync(") || call.contains(" fdatasync(")) && call.contains(path)
    };
    let mut named = 0;
    for (number, call) in calls.iter().enumerate() {
        let Some((_, arguments)) = call.split_once(" link") else {
            continue;
        };
        let draft = arguments.split('"').nth(1).expect("it has two names");
        let draft = draft.rsplit('/').next().expect("it has a name");
        named += 1;
        let touched = |call: &&String| call.contains(draft);
        let last = calls[..number].iter().rev().find(touched);
        assert!(
            last.is_some_and(|last| at_sync(last, draft)),
            "{draft}: {calls:#?}"
        );
        let of_folder = format!("<{}>)", folder.display());
        let used = calls[number..]
            .iter()
            .position(|call| call.contains("app.redb>"));
        let until_used = &calls[number..number + used.unwrap_or(calls.len() - number)];
        assert!(
            until_used.iter().any(|call| at_sync(call, &of_folder)),
            "{draft} is used before its name is on disk: {calls:#?}"
        );
    }
    assert_eq!(named, 2, "the ledger and its side file: {calls:#?}");
}
