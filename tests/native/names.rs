//! One file under several names: each opening of it, by any of them, sees which holders live.

use std::fs;
use std::path::Path;

use idempotency_ledger::{Begin, Ledger, RecordState};
use idempotency_tests::{Expect, PAYMENTS, begin, clock, key, seconds};
use redb::{Database, TableDefinition};

use crate::child::Child;
use crate::vectors::load;

#[test]
fn a_link_leads_to_the_file_and_to_its_side_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let links = folder.path().join("links");
    fs::create_dir(&links).expect("a folder");
    let link = links.join("link.redb");
    let mut first = Child::with_open("shared", &path);
    std::os::unix::fs::symlink(&path, &link).expect("links");
    let mut second = Child::with_open("shared", &link);
    assert_eq!(first.ask("begin k"), "fresh");
    assert_eq!(second.ask("begin k"), "in progress");
    assert_eq!(second.ask("begin l"), "fresh");
    assert_eq!(first.ask("begin l"), "in progress");
    assert_eq!(fs::read_dir(&links).expect("reads").count(), 1);
    second.kill();
    assert_eq!(first.ask("begin l"), "interrupted");
}

#[test]
fn another_hard_link_of_a_shared_file_is_refused_until_it_is_accepted() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let other = folder.path().join("other.redb");
    let mut first = Child::with_open("shared", &path);
    fs::hard_link(&path, &other).expect("links");
    assert_eq!(first.ask("begin k"), "fresh");
    let refused = Ledger::builder().shared().clock(clock()).open(&other);
    let text = refused.expect_err("its side file is elsewhere").to_string();
    assert!(
        text.contains("several names") && text.contains("accept_rollback"),
        "{text}"
    );
    assert!(!folder.path().join("other.redb.locks").exists());
    // Under the first name nothing is in the way.
    assert_eq!(
        Child::with_open("shared", &path).ask("begin k"),
        "in progress"
    );
    // Accepted, neither is taken for gone by the other: the lease decides.
    let builder = Ledger::builder().shared().clock(clock());
    let second = builder.accept_rollback().open(&other).expect("accepted");
    assert!(matches!(begin(&second, "k"), Begin::Refused(_)));
    let held = begin(&second, "l").fresh();
    assert_eq!(first.ask("begin l"), "in progress");
    drop(held);
    assert_eq!(first.ask("begin l"), "in progress");
}

#[test]
fn a_relative_path_goes_on_leading_to_the_file_from_another_folder() {
    for mode in ["exclusive", "shared"] {
        let folder = tempfile::tempdir().expect("a folder");
        let elsewhere = tempfile::tempdir().expect("a folder");
        let mut holder = Child::start();
        let line = format!("folder {}", folder.path().display());
        assert_eq!(holder.ask(&line), "ok");
        assert_eq!(holder.ask(&format!("open {mode} app.redb")), "opened");
        assert_eq!(holder.ask("begin k"), "fresh");
        let line = format!("folder {}", elsewhere.path().display());
        assert_eq!(holder.ask(&line), "ok");
        assert_eq!(holder.ask("begin l"), "fresh", "{mode}");
        assert_eq!(holder.ask("complete k a"), "ok", "{mode}");
        if mode == "shared" {
            let mut other = Child::with_open("shared", &folder.path().join("app.redb"));
            assert_eq!(other.ask("begin m"), "fresh");
            assert_eq!(holder.ask("begin m"), "in progress");
            other.kill();
            assert_eq!(holder.ask("begin m"), "interrupted");
        }
        assert_eq!(fs::read_dir(elsewhere.path()).expect("reads").count(), 0);
    }
}

/// Puts a claim of the vectors beside an answer of the same namespace.
fn file_with_claim(path: &Path, kind: &str, number: usize) {
    let ledger = Ledger::builder().shared().clock(clock()).open(path);
    let ledger = ledger.expect("opens");
    begin(&ledger, "other")
        .fresh()
        .complete("a")
        .expect("stored");
    ledger.close().expect("closes");
    let vectors: serde_json::Value = load("records.json");
    let row = &vectors[kind][number];
    let bytes = |field: &str| -> Vec<u8> {
        let text = row[field].as_str().expect("hex");
        let pairs = (0..text.len()).step_by(2);
        pairs
            .map(|at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex"))
            .collect()
    };
    let records: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("idempotency/records");
    let database = Database::open(path).expect("opens");
    let txn = database.begin_write().expect("begins");
    let mut table = txn.open_table(records).expect("opens");
    let (key, value) = (bytes("key_hex"), bytes("value_hex"));
    table
        .insert(key.as_slice(), value.as_slice())
        .expect("inserts");
    drop(table);
    txn.commit().expect("commits");
}

fn state_of(ledger: &Ledger) -> RecordState {
    let record = ledger.record(PAYMENTS, &key("order-17"));
    record.peek().expect("reads").expect("stored").state()
}

#[test]
fn a_holder_is_called_gone_only_where_it_took_a_lock_that_is_seen_free() {
    let cases = [
        // From before records said so.
        ("records", 0, RecordState::Claimed),
        ("locked", 0, RecordState::Interrupted),
        // In a side file of which nothing is known.
        ("locked", 1, RecordState::Claimed),
    ];
    for (kind, number, expected) in cases {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("app.redb");
        file_with_claim(&path, kind, number);
        let clock = clock();
        let shared = || Ledger::builder().shared().clock(clock.clone());
        let ledger = shared().open(&path).expect("opens");
        assert_eq!(state_of(&ledger), expected, "{kind} {number}");
        drop(ledger);
        let reading = shared().read_only().open(&path).expect("opens");
        assert_eq!(state_of(&reading), expected, "{kind} {number}");
        drop(reading);
        // Alone with the file, no other holder lives.
        let alone = Ledger::builder().clock(clock.clone()).open(&path);
        let alone = alone.expect("opens");
        assert_eq!(
            state_of(&alone),
            RecordState::Interrupted,
            "{kind} {number}"
        );
        drop(alone);
        clock.advance(seconds(60));
        let ledger = shared().open(&path).expect("opens");
        assert_eq!(
            state_of(&ledger),
            RecordState::Interrupted,
            "{kind} {number}"
        );
    }
}

#[test]
fn a_holder_that_had_the_file_alone_is_seen_gone_by_those_who_share_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let mut holder = Child::with_open("exclusive", &path);
    assert_eq!(holder.ask("begin k"), "fresh");
    holder.kill();
    let mut other = Child::with_open("shared", &path);
    assert_eq!(other.ask("begin k"), "interrupted");
}
