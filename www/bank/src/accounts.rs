//! The bank's own rows, in the ledger's file: accounts, transfers and charges.

use std::fmt::Display;

use idempotency_ledger::{Expected, Ledger, Put, StoredValue, VersionedTable, WriteTxn};
use redb::{ReadableTable, TableDefinition, TableError};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::request::{ChargeAsked, TransferAsked};

const ACCOUNTS: VersionedTable<Account> = VersionedTable::new("www-accounts");

/// JSON by number, as it is listed, with the principal that asked for it.
const TRANSFERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("www-transfers");
const CHARGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("www-charges");

/// The accounts that are open from the start, and what is on them, in cents.
const OPEN: [(&str, u64); 5] = [
    ("alice", 100_000),
    ("bob", 100_000),
    ("ordinary", 100_000),
    ("guarded", 100_000),
    ("shop", 0),
];

/// What is on an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Account {
    balance: u64,
}

impl StoredValue for Account {
    const SCHEMA: &str = "www-account/1";
}

/// A row with its owner.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    principal: String,
    listed: Value,
}

/// What storage said; nothing of the transaction is kept.
#[derive(Debug)]
pub struct Unwritten(pub String);

impl<E: Display> From<E> for Unwritten {
    fn from(error: E) -> Self {
        Self(error.to_string())
    }
}

/// What became of a transfer.
#[derive(Debug)]
pub enum Transferred {
    /// The money moved; this is the receipt.
    Done(Value),
    /// There is no such account.
    Unknown(String),
    /// The account has less than that.
    InsufficientFunds(u64),
}

/// Opens the accounts that are not open yet.
///
/// # Errors
///
/// What storage says.
pub fn open(ledger: &Ledger) -> Result<(), Unwritten> {
    let accounts = ledger.versioned(ACCOUNTS);
    for (id, balance) in OPEN {
        let _ = accounts.put(id, &Account { balance }, Expected::Absent)?;
    }
    Ok(())
}

/// Moves money inside a transaction.
///
/// # Errors
///
/// What storage says; nothing was moved.
pub fn transfer(
    ledger: &Ledger,
    txn: &WriteTxn<'_>,
    asked: &TransferAsked,
    principal: &str,
    key: Option<&str>,
) -> Result<Transferred, Unwritten> {
    let accounts = ledger.versioned(ACCOUNTS);
    let Some(from) = accounts.get_in(txn, &asked.from)? else {
        return Ok(Transferred::Unknown(asked.from.clone()));
    };
    let Some(to) = accounts.get_in(txn, &asked.to)? else {
        return Ok(Transferred::Unknown(asked.to.clone()));
    };
    let Some(left) = from.value.balance.checked_sub(asked.amount) else {
        return Ok(Transferred::InsufficientFunds(from.value.balance));
    };
    let reached = to.value.balance.checked_add(asked.amount);
    let reached = reached.ok_or("no account holds that much")?;
    for (id, balance, seen) in [
        (&asked.from, left, from.version),
        (&asked.to, reached, to.version),
    ] {
        let put = accounts.put_in(txn, id, &Account { balance }, Expected::At(seen))?;
        if matches!(put, Put::Conflict { .. }) {
            return Err(Unwritten("an account changed inside a transaction".into()));
        }
    }
    let mut receipt = json!({"from": asked.from, "to": asked.to, "amount": asked.amount});
    let mut listed = receipt.clone();
    listed["key"] = json!(key);
    listed["at"] = json!(ledger.now().unix_ms());
    let id = append(txn, TRANSFERS, principal, listed)?;
    receipt["id"] = json!(id);
    receipt["balances"] = json!({&*asked.from: left, &*asked.to: reached});
    Ok(Transferred::Done(receipt))
}

/// Notes a charge inside the transaction that completes it; the charge as it is listed.
///
/// # Errors
///
/// What storage says.
pub fn note_charge(
    txn: &WriteTxn<'_>,
    asked: &ChargeAsked,
    principal: &str,
) -> Result<Value, Unwritten> {
    let mut charge = json!({
        "customer": asked.customer,
        "amount": asked.amount,
        "currency": asked.currency,
    });
    charge["id"] = json!(append(txn, CHARGES, principal, charge.clone())?);
    Ok(charge)
}

/// Every account with its balance and version.
///
/// # Errors
///
/// What storage says.
pub fn accounts(ledger: &Ledger) -> Result<Value, Unwritten> {
    let table = ledger.versioned(ACCOUNTS);
    let mut list = Vec::new();
    for (id, _) in OPEN {
        if let Some(current) = table.get(id)? {
            let (balance, version) = (current.value.balance, current.version.get());
            list.push(json!({"id": id, "balance": balance, "version": version}));
        }
    }
    Ok(Value::Array(list))
}

/// The transfers of a principal, oldest first.
///
/// # Errors
///
/// What storage says.
pub fn transfers(ledger: &Ledger, principal: &str) -> Result<Value, Unwritten> {
    owned(ledger, TRANSFERS, principal)
}

/// The charges of a principal, oldest first.
///
/// # Errors
///
/// What storage says.
pub fn charges(ledger: &Ledger, principal: &str) -> Result<Value, Unwritten> {
    owned(ledger, CHARGES, principal)
}

fn append(
    txn: &WriteTxn<'_>,
    table: TableDefinition<'_, u64, &[u8]>,
    principal: &str,
    mut listed: Value,
) -> Result<u64, Unwritten> {
    let mut table = txn.open_table(table)?;
    let last = table.last()?.map_or(0, |(number, _)| number.value());
    let id = last.checked_add(1).ok_or("the table is full")?;
    listed["id"] = json!(id);
    let principal = principal.to_owned();
    let row = serde_json::to_vec(&Row { principal, listed })?;
    table.insert(id, row.as_slice())?;
    Ok(id)
}

fn owned(
    ledger: &Ledger,
    table: TableDefinition<'_, u64, &[u8]>,
    principal: &str,
) -> Result<Value, Unwritten> {
    let mut list = Vec::new();
    let table = match ledger.read()?.open_table(table) {
        Err(TableError::TableDoesNotExist(_)) => return Ok(Value::Array(list)),
        table => table?,
    };
    for row in table.iter()? {
        let row: Row = serde_json::from_slice(row?.1.value())?;
        if row.principal == principal {
            list.push(row.listed);
        }
    }
    Ok(Value::Array(list))
}
