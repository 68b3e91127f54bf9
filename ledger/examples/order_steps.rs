//! An order in three steps: authorize the card elsewhere, book it here, tell the warehouse.
//!
//! Each step keeps its value. After a crash the same call goes on behind the last step that is
//! done; what may have happened without being kept is asked for again under the same child key. The
//! message to the warehouse is a row of the outbox, written with the booking: it is sent if and
//! only if the booking is there.

use std::cell::RefCell;
use std::collections::BTreeMap;

use idempotency_ledger::redb::{self, TableDefinition};
use idempotency_ledger::{
    Drain, Fingerprint, Key, Ledger, Namespace, OutboxTable, Outcome, Policy, RunError, StepError,
    StoredValue,
};
use serde::{Deserialize, Serialize};

const ORDERS: Namespace = Namespace::new("orders").policy(Policy::PAYMENTS);
const WAREHOUSE: OutboxTable = OutboxTable::new("warehouse");
const BOOKINGS: TableDefinition<'_, &str, &str> = TableDefinition::new("bookings");

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Authorization(String);
impl StoredValue for Authorization {
    const SCHEMA: &str = "authorization/1";
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Booked {
    message: String,
}
impl StoredValue for Booked {
    const SCHEMA: &str = "booked/1";
}

/// A bank that authorizes each reference once, however often it is asked.
#[derive(Default)]
struct Bank {
    authorizations: RefCell<BTreeMap<Key, String>>,
    calls: RefCell<u32>,
}

impl Bank {
    fn authorize(&self, reference: &Key) -> Authorization {
        *self.calls.borrow_mut() += 1;
        let mut all = self.authorizations.borrow_mut();
        let number = all.len() + 1;
        let known = all.entry(reference.clone());
        Authorization(known.or_insert_with(|| format!("auth-{number}")).clone())
    }
}

#[derive(Debug)]
enum Trouble {
    PowerCut,
    Storage(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Trouble {
    fn from(error: E) -> Self {
        Self::Storage(error.into())
    }
}

type Ordered = Result<Outcome<Authorization>, RunError<StepError<Trouble>, Authorization>>;

fn order(ledger: &Ledger, bank: &Bank, key: &Key, power_cut: Option<&str>) -> Ordered {
    let dies = |at| power_cut == Some(at);
    let request = ledger.operation(ORDERS, key, Fingerprint::of(["tea", "2500"]));
    request.run_steps(|steps| {
        let authorization = steps.outside("authorize", |child_key| {
            let authorization = bank.authorize(child_key);
            if dies("behind the bank") {
                return Err(Trouble::PowerCut);
            }
            Ok(authorization)
        })?;
        let Booked { message } = steps.inside("book", |txn| {
            let mut bookings = txn.open_table(BOOKINGS)?;
            let _ = bookings.insert(key.as_str(), authorization.0.as_str())?;
            let message = ledger
                .outbox(WAREHOUSE)
                .push_in(txn, "ship", key.as_str().as_bytes())
                .map_err(|_| Trouble::PowerCut)?;
            if dies("in the booking") {
                return Err(Trouble::PowerCut);
            }
            Ok(Booked {
                message: message.to_string(),
            })
        })?;
        println!("booked, the message goes out under {message}");
        Ok(authorization)
    })
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ledger = Ledger::in_memory()?; // or Ledger::open("shop.redb")?
    let (bank, key) = (Bank::default(), Key::generate());
    for power_cut in ["behind the bank", "in the booking"] {
        let cut = order(&ledger, &bank, &key, Some(power_cut));
        assert!(matches!(
            cut,
            Err(RunError::Operation(StepError::Failed(_)))
        ));
        assert!(
            ledger.outbox(WAREHOUSE).rows(1)?.is_empty(),
            "nothing is to be shipped yet"
        );
    }
    let done = order(&ledger, &bank, &key, None).map_err(|error| error.to_string());
    assert_eq!(done?.get().0, "auth-1");
    assert_eq!(
        *bank.calls.borrow(),
        2,
        "asked again only where it was in doubt"
    );
    assert_eq!(bank.authorizations.borrow().len(), 1, "and authorized once");

    // Whoever drains sends it: at once, every minute, or when the program starts.
    let mut shipped = Vec::new();
    let drained = ledger.outbox(WAREHOUSE).drain(100, |row| {
        shipped.push((row.topic().to_owned(), row.key().clone())); // POST with this key
        Ok::<_, std::io::Error>(())
    })?;
    assert!(matches!(drained, Drain::Done(drained) if drained.delivered == 1));
    println!("shipped: {shipped:?}");
    assert!(ledger.outbox(WAREHOUSE).rows(1)?.is_empty());
    let again = order(&ledger, &bank, &key, None).map_err(|error| error.to_string());
    assert!(again?.is_replay());
    Ok(())
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PowerCut => f.write_str("the power went"),
            Self::Storage(error) => std::fmt::Display::fmt(error, f),
        }
    }
}
