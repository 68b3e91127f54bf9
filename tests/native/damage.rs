//! Files that are no ledgers, that were cut, flipped, or written by somebody newer.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

use idempotency_ledger::{Begin, CommitProfile, Error, Ledger, RecordFilter, Resolved, Verify};
use idempotency_tests::{Expect, PAYMENTS, asked, begin, clock, key};
use redb::{ReadableTable, TableDefinition};

/// A closed ledger with a few answers, and an interrupted key.
fn filled(path: &Path, profile: CommitProfile) {
    fill(path, profile).close().expect("closes");
}

pub(crate) fn fill(path: &Path, profile: CommitProfile) -> Ledger {
    let ledger = open(path, profile, Verify::Never).expect("opens");
    for number in 0..20 {
        let text = format!("k-{number}");
        begin(&ledger, &text)
            .fresh()
            .complete(answer(&text))
            .expect("stored");
    }
    drop(begin(&ledger, "lost").fresh());
    ledger
}

pub(crate) fn answer(text: &str) -> String {
    format!("the answer of {text}")
}

pub(crate) fn open(path: &Path, profile: CommitProfile, verify: Verify) -> Result<Ledger, Error> {
    let builder = Ledger::builder().clock(clock());
    builder.commit_profile(profile).verify(verify).open(path)
}

/// Reads every key as a retry would. Errors are fine; another answer, or a claim, is not.
pub(crate) fn nothing_is_wrong(ledger: &Ledger, context: &str) {
    no_answer_is_wrong(ledger, context);
    match ledger.operation(PAYMENTS, &key("lost"), asked()).begin() {
        Ok(Begin::Interrupted(_)) | Err(_) => {}
        Ok(other) => panic!("{context}: lost got {other:?}"),
    }
}

pub(crate) fn no_answer_is_wrong(ledger: &Ledger, context: &str) {
    for number in 0..20 {
        let text = format!("k-{number}");
        match ledger.operation(PAYMENTS, &key(&text), asked()).begin() {
            Ok(Begin::Replay(replay)) => {
                assert_eq!(
                    replay.response().bytes(),
                    answer(&text).as_bytes(),
                    "{context}"
                );
            }
            Ok(other) => panic!("{context}: {text} got {other:?}"),
            Err(_) => {}
        }
    }
}

#[test]
fn what_is_no_ledger_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let files = [
        b"a shopping list\n".to_vec(),
        vec![0; 8_192],
        vec![0xff; 100_000],
    ];
    for bytes in files {
        fs::write(&path, &bytes).expect("writes");
        let refused = Ledger::open(&path);
        let is_named = matches!(
            refused,
            Err(Error::NotALedger { .. } | Error::FileDamaged(_))
        );
        assert!(is_named, "{refused:?}");
        assert_eq!(fs::read(&path).expect("reads"), bytes);
    }
    assert!(matches!(
        Ledger::open(folder.path()),
        Err(Error::NotALedger { .. })
    ));
}

#[test]
fn an_empty_file_is_never_a_silent_empty_ledger() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    filled(&path, CommitProfile::OnePhase);
    File::create(&path).expect("cuts");
    assert!(matches!(Ledger::open(&path), Err(Error::NotALedger { .. })));
    assert_eq!(fs::metadata(&path).expect("exists").len(), 0);
}

#[test]
fn another_redb_database_is_no_ledger_and_stays_as_it_is() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    redb::Database::create(&path)
        .expect("creates")
        .close()
        .expect("closes");
    let before = fs::read(&path).expect("reads");
    let refused = Ledger::open(&path);
    assert!(
        matches!(refused, Err(Error::NotALedger { .. })),
        "{refused:?}"
    );
    assert_eq!(fs::read(&path).expect("reads"), before);
}

#[test]
fn a_newer_format_is_refused_untouched() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    filled(&path, CommitProfile::OnePhase);
    let database = redb::Database::open(&path).expect("opens");
    let meta: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("idempotency/meta");
    let transaction = database.begin_write().expect("begins");
    let mut table = transaction.open_table(meta).expect("opens");
    table
        .insert(&b"format"[..], &2_u32.to_le_bytes()[..])
        .expect("inserts");
    drop(table);
    transaction.commit().expect("commits");
    database.close().expect("closes");
    let before = fs::read(&path).expect("reads");
    let refused = Ledger::open(&path);
    assert!(
        matches!(refused, Err(Error::NewerFormat { found: 2, .. })),
        "{refused:?}"
    );
    assert_eq!(fs::read(&path).expect("reads"), before);
    let refused = Ledger::builder().read_only().open(&path);
    assert!(
        matches!(refused, Err(Error::NewerFormat { found: 2, .. })),
        "{refused:?}"
    );
}

#[test]
fn a_file_cut_at_any_length_is_an_error_or_whole() {
    let folder = tempfile::tempdir().expect("a folder");
    for profile in [CommitProfile::OnePhase, CommitProfile::TwoPhase] {
        let whole = folder.path().join(format!("{profile:?}.redb"));
        filled(&whole, profile);
        let bytes = fs::read(&whole).expect("reads");
        let path = folder.path().join(format!("{profile:?} cut.redb"));
        for length in (0..bytes.len()).step_by(2_039) {
            fs::write(&path, &bytes[..length]).expect("writes");
            if let Ok(ledger) = open(&path, profile, Verify::Always) {
                nothing_is_wrong(&ledger, &format!("{profile:?} cut at {length}"));
            }
        }
    }
}

/// Changes a stored answer behind redb's back, in every place where it lies in the file.
fn damage_answer(path: &Path, text: &str) {
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .expect("opens");
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).expect("reads");
    let wanted = answer(text).into_bytes();
    let places: Vec<_> = (0..bytes.len() - wanted.len())
        .filter(|&at| bytes[at..].starts_with(&wanted))
        .collect();
    assert!(!places.is_empty());
    for at in places {
        file.seek(SeekFrom::Start(at as u64)).expect("seeks");
        file.write_all(b"THE").expect("writes");
    }
}

#[test]
fn a_damaged_record_is_named_and_never_replayed() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    filled(&path, CommitProfile::OnePhase);
    damage_answer(&path, "k-7");
    let verified = open(&path, CommitProfile::OnePhase, Verify::Always);
    assert!(
        matches!(verified, Err(Error::FileDamaged(_))),
        "{verified:?}"
    );
    let ledger = open(&path, CommitProfile::OnePhase, Verify::Never).expect("opens");
    assert!(!ledger.stats().expect("reads").verified);
    let read = ledger.operation(PAYMENTS, &key("k-7"), asked()).begin();
    match read {
        Err(Error::Damaged { namespace, key }) => {
            assert_eq!((namespace.as_str(), key.as_str()), ("payments", "k-7"));
        }
        other => panic!("expected damage, got {other:?}"),
    }
    assert!(ledger.record(PAYMENTS, &key("k-7")).peek().is_err());
    begin(&ledger, "k-8").replay();
    let listed = ledger.records(RecordFilter::all()).expect("reads");
    assert_eq!(listed.filter(Result::is_err).count(), 1);
}

#[test]
fn a_damaged_record_can_be_forgotten_and_nothing_else_goes_with_it() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    filled(&path, CommitProfile::OnePhase);
    damage_answer(&path, "k-7");
    let ledger = open(&path, CommitProfile::OnePhase, Verify::Never).expect("opens");
    let forgotten = ledger
        .record(PAYMENTS, &key("k-7"))
        .forget()
        .expect("works");
    assert_eq!(forgotten, Resolved::Done);
    begin(&ledger, "k-7")
        .fresh()
        .complete("anew")
        .expect("stored");
    begin(&ledger, "k-8").replay();
    assert_eq!(ledger.stats().expect("reads").records(), 21);
}

#[test]
fn an_unclean_stop_is_repaired_and_reported() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, image) = (
        folder.path().join("app.redb"),
        folder.path().join("image.redb"),
    );
    let ledger = Ledger::open(&path).expect("opens");
    begin(&ledger, "k").fresh().complete("a").expect("stored");
    // The bytes of an open file are what a crash leaves.
    fs::copy(&path, &image).expect("copies");
    drop(ledger);
    let reader = Ledger::builder().read_only().open(&image);
    assert!(matches!(reader, Err(Error::NeedsRepair)), "{reader:?}");
    let repaired = Ledger::open(&image).expect("opens");
    assert!(repaired.open_report().repaired);
    begin(&repaired, "k").replay();
    drop(repaired);
    assert!(!Ledger::open(&image).expect("opens").open_report().repaired);
}

#[test]
fn a_backup_taken_in_use_is_a_ledger_with_everything() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = (
        folder.path().join("app.redb"),
        folder.path().join("copy.redb"),
    );
    let own: TableDefinition<'_, u64, u64> = TableDefinition::new("own");
    let ledger = Ledger::open(&path).expect("opens");
    let held = begin(&ledger, "held").fresh();
    begin(&ledger, "done")
        .fresh()
        .complete("a")
        .expect("stored");
    let txn = ledger.write().expect("writes");
    txn.open_table(own)
        .expect("opens")
        .insert(1, 2)
        .expect("inserts");
    let _ = txn.commit().expect("commits");
    ledger.backup(&copy).expect("copies");
    assert!(ledger.backup(&copy).is_err(), "a backup replaces nothing");
    held.complete("later").expect("stored");
    let restored = Ledger::open(&copy).expect("opens");
    assert!(!restored.open_report().repaired);
    assert!(restored.check().expect("checks").is_clean());
    begin(&restored, "done").replay();
    drop(begin(&restored, "held").interrupted());
    let txn = restored.write().expect("writes");
    let table = txn.open_table(own).expect("opens");
    assert_eq!(table.get(1).expect("reads").map(|it| it.value()), Some(2));
}

#[test]
fn a_backup_of_a_read_only_ledger_has_its_records() {
    let folder = tempfile::tempdir().expect("a folder");
    let (path, copy) = (
        folder.path().join("app.redb"),
        folder.path().join("copy.redb"),
    );
    filled(&path, CommitProfile::OnePhase);
    let reader = Ledger::builder().read_only().open(&path).expect("opens");
    reader.backup(&copy).expect("copies");
    let refused = reader.operation(PAYMENTS, &key("new"), asked()).begin();
    assert!(matches!(refused, Err(Error::ReadOnly)), "{refused:?}");
    drop(reader);
    let restored = open(&copy, CommitProfile::OnePhase, Verify::Always).expect("opens");
    nothing_is_wrong(&restored, "a copy");
    assert_eq!(restored.stats().expect("reads").records(), 21);
}

#[test]
fn a_compaction_waits_for_nobody_who_reads() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let ledger = Ledger::open(&path).expect("opens");
    begin(&ledger, "k").fresh().complete("a").expect("stored");
    let listed = ledger.records(RecordFilter::all()).expect("reads");
    assert!(matches!(ledger.compact(), Err(Error::Busy { .. })));
    assert!(matches!(ledger.check(), Err(Error::Busy { .. })));
    drop(listed);
    assert!(ledger.compact().is_ok());
    begin(&ledger, "k").replay();
}

#[test]
fn without_permission_the_error_names_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing = folder.path().join("no/such/folder/app.redb");
    let refused = Ledger::open(&missing).expect_err("there is no folder");
    assert!(refused.to_string().contains("check the path"), "{refused}");
}

const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("idempotency/records");
const EXPIRY: TableDefinition<'_, &[u8], ()> = TableDefinition::new("idempotency/expiry");
const NAMESPACES: TableDefinition<'_, &[u8], &[u8]> =
    TableDefinition::new("idempotency/namespaces");

/// Where the counters of the only namespace lie.
const COUNTERS: [u8; 3] = [0, 0, 0xff];

/// Changes the tables of a closed ledger behind its back, as a defect would.
fn meddle(path: &Path, change: impl FnOnce(&redb::WriteTransaction)) {
    let database = redb::Database::open(path).expect("opens");
    let transaction = database.begin_write().expect("begins");
    change(&transaction);
    transaction.commit().expect("commits");
    database.close().expect("closes");
}

/// The key of a record of the only namespace.
fn record_key(text: &str) -> Vec<u8> {
    [&[0, 0], text.as_bytes(), &[0]].concat()
}

fn store(transaction: &redb::WriteTransaction, key: &[u8], value: &[u8]) {
    let mut records = transaction.open_table(RECORDS).expect("opens");
    records.insert(key, value).expect("inserts");
}

/// The first row of the expiry index, taken out.
fn take_row(transaction: &redb::WriteTransaction) -> Vec<u8> {
    let mut expiry = transaction.open_table(EXPIRY).expect("opens");
    let row = expiry.pop_first().expect("reads").expect("there is one");
    row.0.value().to_vec()
}

#[test]
fn a_check_names_what_is_wrong_with_records_index_and_counters() {
    type Change = fn(&redb::WriteTransaction);
    let changes: [(Change, &str); 6] = [
        (
            |txn| store(txn, &record_key("k-3"), b"nonsense"),
            "the record of key \"k-3\" in namespace \"payments\" is damaged",
        ),
        (
            |txn| store(txn, &[0, 0, b'k'], b"nonsense"),
            "a record has a key that is none",
        ),
        (|txn| drop(take_row(txn)), "has no row in the expiry index"),
        (
            |txn| {
                let mut row = take_row(txn);
                row[7] ^= 1;
                let mut expiry = txn.open_table(EXPIRY).expect("opens");
                expiry.insert(row.as_slice(), ()).expect("inserts");
            },
            "that the record does not confirm",
        ),
        (
            |txn| {
                let mut records = txn.open_table(RECORDS).expect("opens");
                records
                    .remove(record_key("k-3").as_slice())
                    .expect("removes");
            },
            "the counters of \"payments\" say 21 records",
        ),
        (
            |txn| {
                let mut names = txn.open_table(NAMESPACES).expect("opens");
                names.remove(&b"payments"[..]).expect("removes");
            },
            "21 records belong to namespace number 0, which no row names",
        ),
    ];
    let folder = tempfile::tempdir().expect("a folder");
    for (number, (change, problem)) in changes.into_iter().enumerate() {
        let path = folder.path().join(format!("{number}.redb"));
        filled(&path, CommitProfile::OnePhase);
        meddle(&path, change);
        // What the side file remembers would tell of some of it before `check` does.
        fs::remove_file(path.with_extension("redb.locks")).expect("it is there");
        // The pages are whole, so it opens also where the whole file is verified.
        let ledger = open(&path, CommitProfile::OnePhase, Verify::Always).expect("opens");
        let report = ledger.check().expect("checks");
        let is_named = report.problems.iter().any(|found| found.contains(problem));
        assert!(is_named, "{problem}: {report:?}");
        assert!(report.pages_verified && !report.is_clean());
    }
}

#[test]
fn damaged_counters_are_an_error_on_opening() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    filled(&path, CommitProfile::OnePhase);
    meddle(&path, |txn| store(txn, &COUNTERS, b"nonsense"));
    let refused = open(&path, CommitProfile::OnePhase, Verify::Always);
    assert!(matches!(refused, Err(Error::Damaged { .. })), "{refused:?}");
}

#[test]
fn a_file_without_permission_to_write_is_named_and_can_be_read() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    filled(&path, CommitProfile::OnePhase);
    let mut permissions = fs::metadata(&path).expect("exists").permissions();
    permissions.set_readonly(true);
    fs::set_permissions(&path, permissions).expect("changes");
    if OpenOptions::new().write(true).open(&path).is_ok() {
        // A superuser may write everywhere, so there is nothing to see here.
        return;
    }
    let refused = Ledger::open(&path).expect_err("it is read-only");
    assert!(
        refused.to_string().contains("check the permissions"),
        "{refused}"
    );
    let reader = Ledger::builder().read_only().clock(clock()).open(&path);
    let record = reader.expect("may be read").record(PAYMENTS, &key("k-1"));
    assert!(record.peek().expect("reads").is_some());
}
