//! Accounts and transfers in the ledger's own file.

use idempotency_ledger::redb::{self, ReadableTable, TableDefinition};
use idempotency_ledger::{
    Current, Expected, Ledger, Put, StoredValue, Version, Versioned, VersionedTable, WriteTxn,
};
use serde::{Deserialize, Serialize};

const ACCOUNTS: VersionedTable<Account> = VersionedTable::new("accounts");
const TRANSFERS: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("transfers");
/// What is there when the bank opens for the first time, in cents.
pub(crate) const OPENED: [(&str, i64); 5] = [
    ("alice", 100_000),
    ("bob", 100_000),
    ("guarded", 100_000),
    ("ordinary", 100_000),
    ("shop", 0),
];

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Account {
    pub(crate) balance: i64,
}

impl StoredValue for Account {
    const SCHEMA: &'static str = "account/1";
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Transfer {
    pub(crate) id: u64,
    pub(crate) from: String,
    pub(crate) to: String,
    /// In cents.
    pub(crate) amount: i64,
    pub(crate) key: Option<String>,
    pub(crate) principal: String,
    /// When, by the ledger's time, in Unix milliseconds.
    #[serde(default)]
    pub(crate) at: u64,
}

/// Why a change of accounts was not made.
#[derive(Debug)]
pub(crate) enum BankError {
    NoAccount(String),
    NoFunds { balance: i64 },
    Conflict { current: Option<Version> },
    Storage(String),
}

impl From<redb::TableError> for BankError {
    fn from(error: redb::TableError) -> Self {
        Self::Storage(error.to_string())
    }
}

impl From<redb::StorageError> for BankError {
    fn from(error: redb::StorageError) -> Self {
        Self::Storage(error.to_string())
    }
}

impl From<idempotency_ledger::Error> for BankError {
    fn from(error: idempotency_ledger::Error) -> Self {
        Self::Storage(error.to_string())
    }
}

#[derive(Clone)]
pub(crate) struct Bank {
    ledger: Ledger,
    accounts: Versioned<Account>,
}

impl Bank {
    /// Opens the accounts that are not there yet.
    pub(crate) fn open(ledger: &Ledger) -> Result<Self, BankError> {
        let accounts = ledger.versioned(ACCOUNTS);
        for (id, balance) in OPENED {
            // A conflict is an account that is open already.
            let _ = accounts.put(id, &Account { balance }, Expected::Absent)?;
        }
        Ok(Self {
            ledger: ledger.clone(),
            accounts,
        })
    }

    /// Moves money between two accounts in a transaction, and notes it; the balances afterwards.
    /// Both are looked at before either is changed: a refusal is an answer, whose transaction is
    /// committed.
    pub(crate) fn transfer(
        &self,
        txn: &WriteTxn<'_>,
        mut transfer: Transfer,
    ) -> Result<(Transfer, [i64; 2]), BankError> {
        let _ = changed(&self.current(txn, &transfer.to)?, transfer.amount)?;
        let from = self.add(txn, &transfer.from, -transfer.amount, None)?;
        let to = self.add(txn, &transfer.to, transfer.amount, None)?;
        transfer.at = self.ledger.now().unix_ms();
        let mut transfers = txn.open_table(TRANSFERS)?;
        transfer.id = transfers.last()?.map_or(1, |(last, _)| last.value() + 1);
        let line = serde_json::to_vec(&transfer).map_err(|error| storage(&error))?;
        let _ = transfers.insert(transfer.id, line.as_slice())?;
        Ok((transfer, [from.0, to.0]))
    }

    /// Adds to a balance, if its version is still the one that was seen.
    pub(crate) fn add(
        &self,
        txn: &WriteTxn<'_>,
        id: &str,
        amount: i64,
        seen: Option<Version>,
    ) -> Result<(i64, Version), BankError> {
        let current = self.current(txn, id)?;
        // Who has seen another version is told that first: what follows may not be news.
        if seen.is_some_and(|seen| seen != current.version) {
            let current = Some(current.version);
            return Err(BankError::Conflict { current });
        }
        let balance = changed(&current, amount)?;
        let expected = Expected::At(current.version);
        match self
            .accounts
            .put_in(txn, id, &Account { balance }, expected)?
        {
            Put::Stored(version) => Ok((balance, version)),
            Put::Conflict { current } => Err(BankError::Conflict { current }),
        }
    }

    fn current(&self, txn: &WriteTxn<'_>, id: &str) -> Result<Current<Account>, BankError> {
        let current = self.accounts.get_in(txn, id)?;
        current.ok_or_else(|| BankError::NoAccount(id.to_owned()))
    }

    /// The accounts with their versions.
    pub(crate) fn accounts(&self) -> Result<Vec<(&'static str, i64, Version)>, BankError> {
        let mut found = Vec::new();
        for (id, _) in OPENED {
            if let Some(account) = self.accounts.get(id)? {
                found.push((id, account.value.balance, account.version));
            }
        }
        Ok(found)
    }

    /// The transfers of a principal, oldest first.
    pub(crate) fn transfers(&self, principal: &str) -> Result<Vec<Transfer>, BankError> {
        let txn = self.ledger.read()?;
        let table = match txn.open_table(TRANSFERS) {
            Err(redb::TableError::TableDoesNotExist(_)) => return Ok(Vec::new()),
            table => table?,
        };
        let mut found = Vec::new();
        for row in table.iter()? {
            let (_, line) = row?;
            let transfer: Transfer =
                serde_json::from_slice(line.value()).map_err(|error| storage(&error))?;
            if transfer.principal == principal {
                found.push(transfer);
            }
        }
        Ok(found)
    }
}

/// What a balance would be.
fn changed(account: &Current<Account>, amount: i64) -> Result<i64, BankError> {
    let balance = account.value.balance;
    let sum = balance.checked_add(amount);
    let sum = sum.filter(|sum| *sum >= 0 || amount >= 0);
    sum.ok_or(BankError::NoFunds { balance })
}

fn storage(error: &serde_json::Error) -> BankError {
    BankError::Storage(error.to_string())
}
