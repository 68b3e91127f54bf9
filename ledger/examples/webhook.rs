//! A webhook whose sender delivers until it gets a 200: each event moves the stock once.
//!
//! The mark and the work are one transaction, so a crash leaves both or neither, and the next
//! delivery either repeats nothing or does all of it. Check the sender's signature before this.

use idempotency_ledger::redb::{ReadableTable, TableDefinition};
use idempotency_ledger::{DedupTable, Error, Ledger, Sighting};

const EVENTS: DedupTable = DedupTable::new("webhooks/shop", DedupTable::SEVEN_DAYS);
const STOCK: TableDefinition<'_, &str, u64> = TableDefinition::new("stock");

/// One delivery: takes `count` from the stock, unless this event did so before.
fn deliver(ledger: &Ledger, event: &str, item: &str, count: u64) -> Result<Sighting, Error> {
    let txn = ledger.write()?;
    let sighting = ledger.dedup(EVENTS).observe_in(&txn, event)?;
    if sighting == Sighting::First {
        let mut stock = txn.open_table(STOCK).expect("the table is ours");
        let left = stock
            .get(item)
            .expect("reads")
            .map_or(10, |left| left.value());
        let _ = stock.insert(item, left - count).expect("writes");
    }
    let _ = txn.commit()?;
    Ok(sighting)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let ledger = Ledger::in_memory()?; // or Ledger::open("shop.redb")?
    for delivery in 1..=3 {
        let sighting = deliver(&ledger, "evt_17", "tea", 2)?;
        println!("delivery {delivery}: {sighting:?}");
        assert_eq!(sighting == Sighting::First, delivery == 1);
    }
    let _ = deliver(&ledger, "evt_18", "tea", 1)?;
    let txn = ledger.write()?;
    let left = txn.open_table(STOCK)?.get("tea")?.map(|left| left.value());
    println!("left: {left:?}");
    assert_eq!(left, Some(7), "evt_17 counted once");
    Ok(())
}
