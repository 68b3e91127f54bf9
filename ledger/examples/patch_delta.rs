//! `PATCH /accounts/acc_1` with a delta: "add 2" is made safe by a key and by a version.
//!
//! The version keeps two writers from overwriting each other; the key keeps one writer's retry from
//! adding twice. Either alone is not enough.

use std::convert::Infallible;

use idempotency_ledger::{
    Expected, Fingerprint, Key, Ledger, Namespace, Policy, Put, StoredValue, Version,
    VersionedTable,
};
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Account {
    cents: i64,
}
impl StoredValue for Account {
    const SCHEMA: &str = "account/1";
}

const ACCOUNTS: VersionedTable<Account> = VersionedTable::new("accounts");
const PATCHES: Namespace = Namespace::new("patches").policy(Policy::PAYMENTS);

/// The answer: the account behind the change, or that its version was not the one in `If-Match`.
type Patched = Result<(Account, u64), String>;

fn patch(
    ledger: &Ledger,
    key: &Key,
    if_match: Version,
    delta: i64,
) -> Result<(Patched, bool), Box<dyn std::error::Error>> {
    let asked = Fingerprint::of(["acc_1", &if_match.to_string(), &delta.to_string()]);
    let accounts = ledger.versioned(ACCOUNTS);
    let done =
        ledger
            .operation(PATCHES, key, asked)
            .transact(|_, txn| -> Result<Answer, Infallible> {
                let read = accounts.get_in(txn, "acc_1").expect("the file can be read");
                let cents = read.map_or(0, |read| read.value.cents) + delta;
                let changed = Account { cents };
                let put = accounts.put_in(txn, "acc_1", &changed, Expected::At(if_match));
                Ok(Answer(match put.expect("the file can be written") {
                    Put::Stored(version) => Ok((changed, version.get())),
                    Put::Conflict { current } => Err(format!("412: the version is {current:?}")),
                }))
            })?;
    let is_replay = done.is_replay();
    Ok((done.into_inner().0, is_replay))
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer(Patched);
impl StoredValue for Answer {
    const SCHEMA: &str = "patched/1";
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ledger = Ledger::in_memory()?; // or Ledger::open("accounts.redb")?
    let opened = Account { cents: 10 };
    let Put::Stored(version) =
        ledger
            .versioned(ACCOUNTS)
            .put("acc_1", &opened, Expected::Absent)?
    else {
        panic!("nobody else opened it");
    };
    let key = Key::generate(); // from the client, the same in each retry
    let (first, is_replay) = patch(&ledger, &key, version, 2)?;
    println!("first: {first:?}");
    assert!(!is_replay && first.as_ref().is_ok_and(|(account, _)| account.cents == 12));
    let (retry, is_replay) = patch(&ledger, &key, version, 2)?;
    println!("retry: {retry:?}");
    assert!(
        is_replay && retry == first,
        "the first answer, and no second change"
    );
    let (stale, _) = patch(&ledger, &Key::generate(), version, 2)?;
    println!("stale: {stale:?}");
    assert!(stale.is_err(), "somebody else changed it since");
    let now = ledger
        .versioned(ACCOUNTS)
        .get("acc_1")?
        .expect("it is there");
    assert_eq!(now.value, Account { cents: 12 });
    Ok(())
}
