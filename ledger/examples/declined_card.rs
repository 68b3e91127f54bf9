//! A declined card is an answer: it is stored and replayed like a receipt.
//!
//! What failed before anything was sent releases the key. A timeout says nothing, so it does
//! neither: the card may have been charged.

use std::cell::Cell;
use std::io::{Error, ErrorKind};

use idempotency_ledger::{
    Fingerprint, Key, Ledger, Namespace, Outcome, Policy, Response, RunError, StoredValue,
};
use serde::{Deserialize, Serialize};

const PAYMENTS: Namespace = Namespace::new("payments").policy(Policy::PAYMENTS);

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Receipt {
    cents: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Declined {
    reason: String,
}

/// What the bank decided. Both are definite, so both are kept for the retention.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Decided(Result<Receipt, Declined>);
impl StoredValue for Decided {
    const SCHEMA: &str = "decided/1";
}

/// A shop, and how often it called the bank.
struct Shop {
    ledger: Ledger,
    calls: Cell<u32>,
}

impl Shop {
    fn pay(
        &self,
        key: &Key,
        card: &str,
        bank: Result<&Decided, ErrorKind>, // what the bank does now
    ) -> Result<Outcome<Decided>, RunError<Error, Decided>> {
        self.ledger
            .operation(PAYMENTS, key, Fingerprint::of(["order-17", "2500", card]))
            .release_if(|error: &Error| error.kind() == ErrorKind::ConnectionRefused)
            .run(|operation| {
                let _reference = operation.child_key("bank"); // goes along with the call
                self.calls.set(self.calls.get() + 1);
                Ok(bank?.clone())
            })
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ledger = Ledger::in_memory()?; // or Ledger::open("shop.redb")?
    let shop = Shop {
        ledger,
        calls: Cell::new(0),
    };
    let paid = Decided(Ok(Receipt { cents: 2_500 }));
    let reason = "no funds".to_owned();
    let declined = Decided(Err(Declined { reason }));

    // Declined: the retry gets the decline, even if the bank would now say yes.
    let key = Key::generate();
    let first = shop.pay(&key, "visa", Ok(&declined))?;
    let retry = shop.pay(&key, "visa", Ok(&paid))?;
    println!("declined: {:?}", retry.get());
    assert!(retry.is_replay() && retry.get() == first.get());
    assert_eq!(shop.calls.get(), 1, "the bank was asked once");
    // Another card is another intention, and has a key of its own.
    let other_card = shop.pay(&Key::generate(), "amex", Ok(&paid))?;
    assert_eq!(*other_card.get(), paid);

    // Nothing was sent: the key is free, and the same key pays.
    let key = Key::generate();
    let failed = shop.pay(&key, "visa", Err(ErrorKind::ConnectionRefused));
    assert!(matches!(failed, Err(RunError::Operation(_))));
    assert!(shop.ledger.record(PAYMENTS, &key).peek()?.is_none());
    let retry = shop.pay(&key, "visa", Ok(&paid))?;
    println!("not sent, then: {:?}", retry.get());
    assert!(!retry.is_replay() && *retry.get() == paid);

    // It was sent, and nobody knows: interrupted, until somebody has asked the bank.
    let key = Key::generate();
    let failed = shop.pay(&key, "visa", Err(ErrorKind::TimedOut));
    assert!(matches!(failed, Err(RunError::Operation(_))));
    let calls = shop.calls.get();
    let Err(RunError::Interrupted(ticket)) = shop.pay(&key, "visa", Ok(&declined)) else {
        panic!("the card may have been charged")
    };
    assert_eq!(shop.calls.get(), calls, "the bank was not called again");
    let found_out = Response::of_value(&paid)?;
    let _ = ticket.complete(found_out)?;
    let retry = shop.pay(&key, "visa", Ok(&declined))?;
    println!("timed out, then: {:?}", retry.get());
    assert!(retry.is_replay() && *retry.get() == paid);
    Ok(())
}
