//! `POST /orders` with an id that the server makes: the row and the answer are one commit.
//!
//! A crash leaves both or neither. So a retry gets the id of the first attempt, and there is never
//! an order that nobody was told of.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use idempotency_ledger::redb::{self, ReadableTable, ReadableTableMetadata, TableDefinition};
use idempotency_ledger::{
    Fingerprint, Key, Ledger, Namespace, Outcome, Policy, Refusal, RunError, StoredValue,
};
use serde::{Deserialize, Serialize};

const ORDERS: TableDefinition<'_, u64, &str> = TableDefinition::new("orders");
const CREATE: Namespace = Namespace::new("POST /orders").policy(Policy::PAYMENTS);

/// The answer: `201 Created` and where the order lies.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Created {
    id: u64,
}
impl StoredValue for Created {
    const SCHEMA: &str = "created/1";
}

/// The customer is the scope, so that two customers may happen to use the same key.
fn create(
    ledger: &Ledger,
    (customer, key): (&str, &Key),
    item: &str,
    crashes: bool,
) -> Result<Outcome<Created>, RunError<redb::Error, Created>> {
    ledger
        .operation(CREATE, key, Fingerprint::of([item]))
        .scope(customer)
        .transact(|_, txn| {
            let mut orders = txn.open_table(ORDERS)?;
            let id = orders.last()?.map_or(1, |(last, _)| last.value() + 1);
            let _ = orders.insert(id, item)?;
            if crashes {
                resume_unwind(Box::new("the process dies behind the insert"));
            }
            Ok(Created { id })
        })
}

fn rows(ledger: &Ledger) -> Result<u64, Box<dyn std::error::Error>> {
    Ok(ledger.read()?.open_table(ORDERS)?.len()?)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ledger = Ledger::in_memory()?; // or Ledger::open("shop.redb")?
    let key = Key::generate(); // from the client, the same in each retry
    let first = create(&ledger, ("ada", &key), "tea", false)?;
    let retry = create(&ledger, ("ada", &key), "tea", false)?;
    println!("first: {:?}, retry: {:?}", first.get(), retry.get());
    assert!(!first.is_replay() && retry.is_replay());
    assert_eq!(first.get(), retry.get(), "the same id");
    assert_eq!(rows(&ledger)?, 1, "and one order");

    let other_body = create(&ledger, ("ada", &key), "coffee", false);
    assert!(matches!(
        other_body,
        Err(RunError::Refused(Refusal::Mismatch))
    ));
    let other_customer = create(&ledger, ("bob", &key), "coffee", false)?;
    println!("another customer: {:?}", other_customer.get());
    assert_eq!(other_customer.get(), &Created { id: 2 });

    // A crash behind the insert leaves neither the row nor the key, so the retry runs.
    let key = Key::generate();
    let died = catch_unwind(AssertUnwindSafe(|| {
        create(&ledger, ("ada", &key), "milk", true)
    }));
    assert!(died.is_err());
    assert_eq!(rows(&ledger)?, 2);
    let retry = create(&ledger, ("ada", &key), "milk", false)?;
    println!("after a crash: {:?}", retry.get());
    assert!(!retry.is_replay());
    assert_eq!(rows(&ledger)?, 3);
    Ok(())
}
