//! A command that a person starts again when it seems to hang: `pay order-17`.
//!
//! Nobody sends a key, so the application makes one, and keeps it in its own table before the first
//! attempt. A restart then goes on with the same key instead of paying under a new one.

use std::cell::RefCell;
use std::path::Path;

use idempotency_ledger::redb::{ReadableTable, TableDefinition};
use idempotency_ledger::{Begin, Claim, Fingerprint, Key, Ledger, Namespace, Policy};

const PAYMENTS: Namespace = Namespace::new("payments").policy(Policy::PAYMENTS);
/// What a person wants and has not seen the end of: the intention and its key.
const PENDING: TableDefinition<'_, &str, &str> = TableDefinition::new("pending");

type Failure = Box<dyn std::error::Error>;

/// A bank that knows what it has charged, by reference.
#[derive(Default)]
struct Bank(RefCell<Vec<Key>>);

impl Bank {
    fn charge(&self, reference: Key) {
        self.0.borrow_mut().push(reference);
    }

    fn has_charged(&self, reference: &Key) -> bool {
        self.0.borrow().contains(reference)
    }
}

/// How far a process gets.
#[derive(Clone, Copy, PartialEq)]
enum Until {
    KeyIsStored,
    Charged,
    Completed,
    End,
}

/// The key of an intention, on disk when this returns.
fn pending_key(ledger: &Ledger, intention: &str) -> Result<Key, Failure> {
    let txn = ledger.write()?;
    let stored = txn
        .open_table(PENDING)?
        .get(intention)?
        .map(|key| key.value().to_owned());
    if let Some(stored) = stored {
        return Ok(Key::new(stored)?);
    }
    let key = Key::generate();
    let _ = txn.open_table(PENDING)?.insert(intention, key.as_str())?;
    let _ = txn.commit()?;
    Ok(key)
}

/// One process, from its start to its end or its crash: dropping a claim writes nothing.
fn pay(path: &Path, bank: &Bank, order: &str, until: Until) -> Result<Option<String>, Failure> {
    let ledger = Ledger::open(path)?;
    let key = pending_key(&ledger, order)?;
    if until == Until::KeyIsStored {
        return Ok(None);
    }
    let charge = |claim: Claim| -> Result<_, Failure> {
        bank.charge(claim.child_key("bank"));
        if until == Until::Charged {
            return Ok(None);
        }
        Ok(Some(claim.complete(format!("{order} is paid"))?))
    };
    let request = ledger.operation(PAYMENTS, &key, Fingerprint::of([order]));
    let paid = match request.begin()? {
        Begin::Fresh(claim) => charge(claim)?,
        Begin::Replay(replay) => Some(replay),
        Begin::Interrupted(ticket) if bank.has_charged(&ticket.child_key("bank")) => {
            println!("attempt {} has charged", ticket.attempts());
            Some(ticket.complete(format!("{order} is paid"))?)
        }
        Begin::Interrupted(ticket) => charge(ticket.rerun()?)?,
        Begin::Refused(refusal) => return Err(refusal.into()),
    };
    let Some(paid) = paid.filter(|_| until == Until::End) else {
        return Ok(None);
    };
    let receipt = String::from_utf8(paid.into_response().into_bytes())?;
    println!("{receipt}");
    // The person has seen it: to pay again from here on is a new intention.
    let txn = ledger.write()?;
    let _ = txn.open_table(PENDING)?.remove(order)?;
    let _ = txn.commit()?;
    Ok(Some(receipt))
}

fn main() -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("app.redb");
    let bank = Bank::default();
    for until in [Until::KeyIsStored, Until::Charged, Until::Completed] {
        assert_eq!(pay(&path, &bank, "order-17", until)?, None, "it crashes");
    }
    let receipt = pay(&path, &bank, "order-17", Until::End)?;
    assert_eq!(receipt.as_deref(), Some("order-17 is paid"));
    assert_eq!(bank.0.borrow().len(), 1, "four starts, one charge");

    let ledger = Ledger::open(&path)?;
    let pending = ledger.read()?.open_table(PENDING)?.first()?.is_some();
    assert!(!pending, "the person has seen the end of it");
    assert_eq!(ledger.stats()?.records(), 1, "and one key");
    Ok(())
}
