//! A payment at a bank: the effect is elsewhere, so it is claimed, and its outcome is stored.
//!
//! A lost answer is an error, and the card may have been charged all the same. So an error leaves
//! the key interrupted, and whoever knows (the bank, asked with the same child key) ends it.

use std::cell::RefCell;
use std::collections::BTreeMap;

use idempotency_ledger::{Begin, Fingerprint, Key, Ledger, Namespace, Policy, RunError};

const PAYMENTS: Namespace = Namespace::new("payments").policy(Policy::PAYMENTS);

/// A bank that charges each reference once, and loses its first answer.
#[derive(Default)]
struct Bank {
    charges: RefCell<BTreeMap<String, u64>>,
    has_lost_one: RefCell<bool>,
}

impl Bank {
    fn charge(&self, reference: &Key, cents: u64) -> Result<String, std::io::Error> {
        let mut charges = self.charges.borrow_mut();
        let _ = charges.entry(reference.to_string()).or_insert(cents);
        if !self.has_lost_one.replace(true) {
            return Err(std::io::Error::other("the answer got lost"));
        }
        Ok(format!("receipt for {cents} cents"))
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ledger = Ledger::in_memory()?; // or Ledger::open("shop.redb")?
    let bank = Bank::default();
    let key = Key::generate(); // from the client, the same in each retry
    let asked = Fingerprint::of(["order-17", "2500"]);
    let pay = || {
        ledger
            .operation(PAYMENTS, &key, asked)
            .run_bytes(|operation| bank.charge(&operation.child_key("bank"), 2_500))
    };
    assert!(
        matches!(pay(), Err(RunError::Operation(_))),
        "the answer got lost"
    );
    assert!(
        matches!(pay(), Err(RunError::Interrupted(_))),
        "nobody knows, so nothing runs"
    );

    // Somebody who can ask the bank ends it: here the same call again, which the bank knows.
    let Begin::Interrupted(ticket) = ledger.operation(PAYMENTS, &key, asked).begin()? else {
        panic!("it is interrupted");
    };
    let claim = ticket.rerun()?;
    let receipt = bank.charge(&claim.child_key("bank"), 2_500)?;
    claim.complete(receipt)?;

    let replayed = pay()?;
    println!("{}", String::from_utf8_lossy(replayed.get().bytes()));
    assert!(replayed.is_replay());
    assert_eq!(bank.charges.borrow().len(), 1, "charged once");
    Ok(())
}
