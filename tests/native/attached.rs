//! A ledger in a database that the application has open.

use std::collections::HashSet;
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;

use idempotency_ledger::{EndingError, Error, Ledger, ManualClock, RecordState, Refusal, RunError};
use idempotency_tests::{Expect, PAYMENTS, asked, begin, clock, key, seconds};
use redb::backends::InMemoryBackend;
use redb::{ConcurrencyMode, Database, ReadableDatabase, ReadableTable, TableDefinition};

const ORDERS: TableDefinition<'_, &str, u64> = TableDefinition::new("orders");

fn database() -> Arc<Database> {
    let database = Database::builder().create_with_backend(InMemoryBackend::new());
    Arc::new(database.expect("memory opens"))
}

fn attach(database: &Arc<Database>, clock: &ManualClock) -> Result<Ledger, Error> {
    let builder = Ledger::builder().clock(clock.clone());
    builder.attach(Arc::clone(database))
}

fn orders(database: &Database) -> Option<u64> {
    let txn = database.begin_read().expect("reads");
    let orders = txn.open_table(ORDERS).ok()?;
    orders.get("a").expect("reads").map(|it| it.value())
}

#[test]
fn application_and_ledger_share_a_transaction() {
    let (database, clock) = (database(), clock());
    let ledger = attach(&database, &clock).expect("attaches");
    // The application goes on writing by itself.
    let txn = database.begin_write().expect("begins");
    txn.open_table(ORDERS)
        .expect("opens")
        .insert("a", 1)
        .expect("inserts");
    txn.commit().expect("commits");
    let transact = |fails: bool| {
        let request = ledger.operation(PAYMENTS, &key("k"), asked());
        request.transact_bytes(|_, txn| {
            let mut orders = txn.open_table(ORDERS).expect("opens");
            let old = orders.get("a").expect("reads").map_or(0, |it| it.value());
            orders.insert("a", old + 1).expect("inserts");
            if fails { Err("no") } else { Ok("ordered") }
        })
    };
    assert!(matches!(transact(true), Err(RunError::Operation("no"))));
    assert_eq!(orders(&database), Some(1));
    for round in 0..2 {
        assert_eq!(transact(false).expect("stored").is_replay(), round > 0);
        assert_eq!(orders(&database), Some(2));
    }
    let report = ledger.check().expect("checks");
    assert!(report.is_clean() && !report.pages_verified, "{report:?}");
}

#[test]
fn nobody_can_say_that_a_holder_is_gone_so_the_lease_decides() {
    let (database, clock) = (database(), clock());
    let ledger = attach(&database, &clock).expect("attaches");
    let claim = begin(&ledger, "k").fresh();
    drop(claim);
    drop(ledger);
    let ledger = attach(&database, &clock).expect("attaches again");
    let state = || {
        let info = ledger.record(PAYMENTS, &key("k")).peek().expect("reads");
        info.map(|info| (info.state(), info.is_overdue()))
    };
    clock.advance(seconds(59));
    assert!(matches!(
        begin(&ledger, "k").refused(),
        Refusal::InProgress { .. }
    ));
    assert_eq!(state(), Some((RecordState::Claimed, false)));
    let forgotten = ledger.record(PAYMENTS, &key("k")).forget();
    assert_eq!(
        forgotten.expect("works"),
        idempotency_ledger::Resolved::StillAlive
    );
    clock.advance(seconds(1));
    assert_eq!(state(), Some((RecordState::Interrupted, false)));
    let ticket = begin(&ledger, "k").interrupted();
    assert!(!ticket.is_overdue());
    ticket
        .rerun()
        .expect("taken over")
        .complete("done")
        .expect("stored");
}

#[test]
fn a_second_ledger_on_one_database_is_refused_until_the_first_is_gone() {
    let (database, clock) = (database(), clock());
    let ledger = attach(&database, &clock).expect("attaches");
    let second = attach(&database, &clock);
    assert!(matches!(second, Err(Error::AlreadyOpenHere)), "{second:?}");
    drop(ledger);
    assert!(attach(&database, &clock).is_ok());
}

#[test]
fn compacting_an_attached_database_is_refused_with_the_reason() {
    let ledger = attach(&database(), &clock()).expect("attaches");
    let refused = ledger.compact();
    assert!(
        matches!(refused, Err(Error::Unsupported { .. })),
        "{refused:?}"
    );
}

#[test]
fn attaching_from_inside_a_write_transaction_is_an_error_and_no_deadlock() {
    let database = database();
    let txn = database.begin_write().expect("begins");
    let refused = attach(&database, &clock());
    assert!(
        matches!(refused, Err(Error::WouldDeadlock { .. })),
        "{refused:?}"
    );
    txn.abort().expect("aborts");
    assert!(attach(&database, &clock()).is_ok());
}

#[test]
fn a_closed_attached_ledger_leaves_the_database_to_the_application() {
    let database = database();
    let ledger = attach(&database, &clock()).expect("attaches");
    let handle = ledger.clone();
    ledger.close().expect("closes");
    let request = handle.operation(PAYMENTS, &key("k"), asked());
    let closed = request.run_bytes(|_| Ok::<_, Infallible>("x"));
    assert!(matches!(closed, Err(RunError::Ledger(Error::Closed))));
    let txn = database.begin_write().expect("begins");
    txn.open_table(ORDERS)
        .expect("opens")
        .insert("a", 1)
        .expect("inserts");
    txn.commit().expect("commits");
    assert_eq!(orders(&database), Some(1));
}

/// What another process has open: the same file through a database of its own.
fn shared_database(path: &Path) -> Arc<Database> {
    let mut builder = Database::builder();
    builder.set_concurrency_mode(ConcurrencyMode::MultiWriter);
    Arc::new(builder.create(path).expect("opens"))
}

#[test]
fn attached_ledgers_on_one_file_never_give_out_a_fence_twice() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.redb");
    let (one, other) = (shared_database(&path), shared_database(&path));
    let clock = clock();
    let one = attach(&one, &clock).expect("attaches");
    drop(begin(&one, "early").fresh());
    let other = attach(&other, &clock).expect("attaches");
    let mut fences = HashSet::new();
    for number in 0..20 {
        for ledger in [&one, &other] {
            let claim = begin(ledger, &format!("{number}-{}", fences.len())).fresh();
            assert!(fences.insert(claim.fence()), "{} twice", claim.fence());
            claim.complete("a").expect("stored");
        }
    }
    // A claim that was taken over in the other one cannot complete any more.
    let held = begin(&one, "held").fresh();
    clock.advance(seconds(61));
    let taken = begin(&other, "held")
        .interrupted()
        .rerun()
        .expect("its lease is over");
    let refused = held.complete("late").expect_err("it was taken over");
    assert!(matches!(refused.error, EndingError::Superseded));
    taken.complete("in time").expect("stored");
    let replay = begin(&one, "held").replay();
    assert_eq!(replay.response().bytes(), b"in time");
}
