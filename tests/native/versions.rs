//! Versioned tables: nobody overwrites what they have not seen, and nothing is lost.

use std::convert::Infallible;
use std::num::NonZeroU32;
use std::thread;

use idempotency_ledger::{
    Current, DedupTable, Error, Expected, Invalid, Ledger, ManualClock, Put, Removal, StoredValue,
    Update, Version, VersionedTable,
};
use idempotency_tests::storage::Disk;
use idempotency_tests::{PAYMENTS, asked, cases, clock, in_memory, key, seconds};
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    cents: i64,
}
impl StoredValue for Account {
    const SCHEMA: &str = "account/1";
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Owner {
    name: String,
}
impl StoredValue for Owner {
    const SCHEMA: &str = "owner/1";
}

const ACCOUNTS: VersionedTable<Account> = VersionedTable::new("accounts");
const SAVINGS: VersionedTable<Account> = VersionedTable::new("savings");
const OWNERS_UNDER_THE_SAME_NAME: VersionedTable<Owner> = VersionedTable::new("accounts");

fn open(disk: &Disk, clock: &ManualClock) -> Ledger {
    let builder = Ledger::builder().clock(clock.clone());
    builder.open_backend(disk.clone()).expect("opens")
}

fn put(ledger: &Ledger, id: &str, cents: i64, expected: Expected) -> Put {
    let put = ledger
        .versioned(ACCOUNTS)
        .put(id, &Account { cents }, expected);
    put.expect("the ledger works")
}

#[track_caller]
fn stored(put: Put) -> Version {
    match put {
        Put::Stored(version) => version,
        conflict @ Put::Conflict { .. } => panic!("{conflict:?}"),
    }
}

fn get(ledger: &Ledger, id: &str) -> Option<Current<Account>> {
    ledger
        .versioned(ACCOUNTS)
        .get(id)
        .expect("the ledger works")
}

#[test]
fn a_write_happens_over_what_it_expects_and_over_nothing_else() {
    let (ledger, _clock) = in_memory();
    let absent = Put::Conflict { current: None };
    let unknown = Version::from_stored(u64::MAX);
    assert_eq!(put(&ledger, "a", 1, Expected::At(unknown)), absent);
    let first = stored(put(&ledger, "a", 1, Expected::Absent));
    let taken = Put::Conflict {
        current: Some(first),
    };
    assert_eq!(put(&ledger, "a", 2, Expected::Absent), taken);
    assert_eq!(put(&ledger, "a", 2, Expected::At(unknown)), taken);
    let second = stored(put(&ledger, "a", 2, Expected::At(first)));
    assert!(second > first);
    let newer = Put::Conflict {
        current: Some(second),
    };
    assert_eq!(put(&ledger, "a", 3, Expected::At(first)), newer);
    let third = stored(put(&ledger, "a", 3, Expected::Any));
    let current = Current {
        version: third,
        value: Account { cents: 3 },
    };
    assert_eq!(get(&ledger, "a"), Some(current));
    assert_eq!(get(&ledger, "b"), None);
    let elsewhere = ledger.versioned(SAVINGS).get("a").expect("reads");
    assert_eq!(elsewhere, None, "another table, another value");
}

#[test]
fn a_version_is_never_used_again_not_even_behind_a_removal_and_a_restart() {
    let (disk, clock) = (Disk::default(), clock());
    let ledger = open(&disk, &clock);
    let first = stored(put(&ledger, "a", 1, Expected::Absent));
    let accounts = ledger.versioned(ACCOUNTS);
    let nobody = accounts.remove("nobody", first).expect("works");
    assert_eq!(nobody, Removal::Conflict { current: None });
    assert_eq!(
        accounts.remove("a", first).expect("works"),
        Removal::Removed
    );
    assert_eq!(get(&ledger, "a"), None);
    drop((accounts, ledger));
    let ledger = open(&disk, &clock);
    let again = stored(put(&ledger, "a", 1, Expected::Absent));
    assert!(again > first, "{again} {first}");
    let stale = put(&ledger, "a", 2, Expected::At(first));
    assert_eq!(
        stale,
        Put::Conflict {
            current: Some(again)
        }
    );
    let removal = ledger
        .versioned(ACCOUNTS)
        .remove("a", first)
        .expect("works");
    assert_eq!(
        removal,
        Removal::Conflict {
            current: Some(again)
        }
    );
}

#[test]
fn values_outlive_every_retention_and_every_sweep() {
    let (ledger, clock) = in_memory();
    let version = stored(put(&ledger, "a", 1, Expected::Absent));
    for _ in 0..40 {
        clock.advance(seconds(300 * 86_400));
        assert_eq!(ledger.sweep(1_000).expect("sweeps").removed, 0);
    }
    assert_eq!(
        get(&ledger, "a").map(|current| current.version),
        Some(version)
    );
    assert!(ledger.check().expect("reads").is_clean());
    assert_eq!(ledger.stats().expect("reads").records(), 1);
}

#[test]
fn sixty_four_writers_of_one_value_lose_nothing_within_their_tries() {
    let (ledger, _clock) = in_memory();
    let tries = NonZeroU32::new(64).expect("above zero");
    thread::scope(|scope| {
        let writers: Vec<_> = (0..64)
            .map(|_| {
                scope.spawn(|| {
                    let accounts = ledger.versioned(ACCOUNTS);
                    let add = |account: Option<&Account>| Account {
                        cents: account.map_or(0, |account| account.cents) + 1,
                    };
                    accounts.update("a", tries, add).expect("the ledger works")
                })
            })
            .collect();
        for writer in writers {
            let update = writer.join().expect("no panic");
            assert!(matches!(update, Update::Stored(_)), "{update:?}");
        }
    });
    assert_eq!(
        get(&ledger, "a").map(|current| current.value.cents),
        Some(64)
    );
}

#[test]
fn an_update_that_is_always_too_late_gives_up_within_its_tries() {
    let (ledger, _clock) = in_memory();
    let accounts = ledger.versioned(ACCOUNTS);
    let (mut calls, tries) = (0, NonZeroU32::new(3).expect("above zero"));
    let update = accounts.update("a", tries, |_| {
        calls += 1;
        let _ = stored(put(&ledger, "a", calls, Expected::Any));
        Account { cents: -1 }
    });
    let current = get(&ledger, "a").expect("it is there");
    let gave_up = Update::GaveUp {
        current: Some(current.version),
    };
    assert_eq!((update.expect("works"), calls), (gave_up, 3));
    assert_eq!(current.value, Account { cents: 3 });
}

#[test]
fn a_delta_with_a_key_applies_once_and_its_retry_gets_the_first_answer() {
    let (ledger, _clock) = in_memory();
    let accounts = ledger.versioned(ACCOUNTS);
    let opened = stored(put(&ledger, "acc_1", 10, Expected::Absent));
    let add_two = |text: &str, seen: Version| {
        let request = ledger.operation(PAYMENTS, &key(text), asked());
        let done = request.transact_bytes(|_, txn| -> Result<_, Infallible> {
            let read = accounts
                .get_in(txn, "acc_1")
                .expect("reads")
                .expect("is there");
            let changed = Account {
                cents: read.value.cents + 2,
            };
            let put = accounts.put_in(txn, "acc_1", &changed, Expected::At(seen));
            Ok(match put.expect("works") {
                Put::Stored(version) => format!("{} at {version}", changed.cents),
                Put::Conflict { .. } => "412".to_owned(),
            })
        });
        let done = done.expect("the ledger works");
        let is_replay = done.is_replay();
        let answer = String::from_utf8(done.into_inner().into_bytes());
        (answer.expect("it is text"), is_replay)
    };
    let (first, is_replay) = add_two("k1", opened);
    assert!(first.starts_with("12 at ") && !is_replay, "{first}");
    assert_eq!(add_two("k1", opened), (first, true));
    assert_eq!(get(&ledger, "acc_1").map(|it| it.value.cents), Some(12));
    assert_eq!(
        add_two("k2", opened),
        ("412".to_owned(), false),
        "a stale version"
    );
    assert_eq!(get(&ledger, "acc_1").map(|it| it.value.cents), Some(12));
}

#[test]
fn what_cannot_be_stored_or_read_is_refused_and_changes_nothing() {
    let (ledger, _clock) = in_memory();
    let accounts = ledger.versioned(ACCOUNTS);
    let one = Account { cents: 1 };
    let long = "x".repeat(256);
    for bad in ["", long.as_str(), "a\nb"] {
        let refused = accounts.put(bad, &one, Expected::Any);
        assert!(
            matches!(refused, Err(Error::Invalid(Invalid::Key(_)))),
            "{bad:?}"
        );
        assert!(matches!(
            accounts.get(bad),
            Err(Error::Invalid(Invalid::Key(_)))
        ));
    }
    let owners = ledger.versioned(OWNERS_UNDER_THE_SAME_NAME);
    let limit = 1024 * 1024;
    let huge = Owner {
        name: "x".repeat(limit),
    };
    let refused = owners.put("a", &huge, Expected::Any);
    assert!(matches!(
        refused,
        Err(Error::Invalid(Invalid::Response { .. }))
    ));
    assert_eq!(ledger.stats().expect("reads").records(), 0);
    let version = stored(put(&ledger, "a", 1, Expected::Absent));
    let other_type = owners.get("a");
    assert!(matches!(
        other_type,
        Err(Error::Invalid(Invalid::Value { .. }))
    ));
    assert_eq!(get(&ledger, "a").map(|it| it.version), Some(version));
    let (other, _clock) = in_memory();
    let txn = other.write().expect("begins");
    let foreign = accounts.put_in(&txn, "a", &one, Expected::Any);
    assert!(matches!(foreign, Err(Error::Unsupported { .. })));
}

#[test]
fn an_aborted_transaction_leaves_no_value_and_tables_of_other_kinds_do_not_meet() {
    let (ledger, _clock) = in_memory();
    let accounts = ledger.versioned(ACCOUNTS);
    let txn = ledger.write().expect("begins");
    let put = accounts.put_in(&txn, "a", &Account { cents: 1 }, Expected::Absent);
    let version = stored(put.expect("works"));
    let inside = accounts.get_in(&txn, "a").expect("reads");
    assert_eq!(inside.map(|it| it.version), Some(version));
    txn.abort();
    assert_eq!(get(&ledger, "a"), None);
    let events = DedupTable::new("accounts", seconds(60));
    let _ = ledger.dedup(events).observe("a").expect("works");
    assert_eq!(get(&ledger, "a"), None);
}

proptest! {
    #![proptest_config(cases(64))]

    /// Against a plain map of values and versions.
    #[test]
    fn random_histories_agree_with_a_plain_model(
        steps in prop::collection::vec((0_u8..4, 0_u8..3, any::<bool>()), 1..60)
    ) {
        let (disk, clock) = (Disk::default(), clock());
        let mut ledger = open(&disk, &clock);
        let mut model = std::collections::BTreeMap::<u8, (Version, i64)>::new();
        let mut newest = None;
        for (number, (verb, id, is_stale)) in (0_i64..).zip(steps) {
            clock.advance(seconds(1));
            let name = format!("acc_{id}");
            let current = model.get(&id).map(|(version, _)| *version);
            // What was never there, or what is: stale callers name the newest version of all.
            let seen = if is_stale { newest } else { current };
            let expected = match (verb, seen) {
                (0, _) | (_, None) => Expected::Absent,
                (1, _) => Expected::Any,
                (_, Some(seen)) => Expected::At(seen),
            };
            if verb == 3 && let Some(seen) = seen {
                let removal = ledger.versioned(ACCOUNTS).remove(&name, seen).expect("works");
                if current == Some(seen) {
                    prop_assert_eq!(removal, Removal::Removed);
                    model.remove(&id);
                } else {
                    prop_assert_eq!(removal, Removal::Conflict { current });
                }
            } else {
                match put(&ledger, &name, number, expected) {
                    Put::Stored(version) => {
                        prop_assert!(expected.is_met_by(current));
                        prop_assert!(newest < Some(version));
                        newest = Some(version);
                        model.insert(id, (version, number));
                    }
                    Put::Conflict { current: told } => {
                        prop_assert!(!expected.is_met_by(current));
                        prop_assert_eq!(told, current);
                    }
                }
            }
            if number % 7 == 0 {
                drop(ledger);
                ledger = open(&disk, &clock);
            }
            let read = get(&ledger, &name).map(|it| (it.version, it.value.cents));
            prop_assert_eq!(read, model.get(&id).copied());
        }
        prop_assert!(ledger.check().expect("reads").is_clean());
        let records = ledger.stats().expect("reads").records();
        prop_assert_eq!(records, model.len() as u64);
    }
}
