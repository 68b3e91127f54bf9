//! Values with versions: a write says what it expects, and a conflict is an answer.
//!
//! A value is an answer that expires at the end of time, and its version is the fence it was
//! written under. So it is counted, checked, copied and kept over crashes as every other record
//! is, and a new version moves no row of the expiry index.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use crate::decision::{Expected, Key, Namespace, Policy, Record, Response, Scope, Version};
use crate::error::{Error, Invalid};
use crate::operation::asked::check_response;
use crate::operation::typed::{StoredValue, from_response, to_response};
use crate::operation::write_txn::WriteTxn;
use crate::store::engine::Engine;
use crate::store::group_commit::Patience;
use crate::store::tables::record_key;
use crate::store::write_store::WriteStore;
use crate::table_record::{Row, check_name, id_of};

/// What a value costs a batch beside its bytes.
const VALUE_BYTES: usize = 512;

/// A table of typed values under optimistic locking: nobody overwrites what they have not seen.
///
/// [`Expected::At`] is `If-Match`, [`Expected::Absent`] is put-if-absent, [`Expected::Any`] is an
/// UPSERT. A conflict changes nothing and carries the current version.
///
/// # A change that applies once
///
/// A version alone does not make a retry safe: the retry of "add 2" reads the new version and adds
/// 2 again. A key does: put [`Versioned::put_in`] into
/// [`Request::transact`](crate::Request::transact), and the change and its answer are one commit.
///
/// ```
/// # use idempotency_ledger::*;
/// # use serde::{Deserialize, Serialize};
/// # let ledger = Ledger::in_memory()?;
/// #[derive(Serialize, Deserialize, Debug, PartialEq)]
/// struct Account {
///     cents: i64,
/// }
/// impl StoredValue for Account {
///     const SCHEMA: &str = "account/1";
/// }
/// const ACCOUNTS: VersionedTable<Account> = VersionedTable::new("accounts");
///
/// let accounts = ledger.versioned(ACCOUNTS);
/// let Put::Stored(opened) = accounts.put("acc_1", &Account { cents: 0 }, Expected::Absent)? else {
///     panic!("nobody else opened it")
/// };
/// let paid_in = accounts.put("acc_1", &Account { cents: 500 }, Expected::At(opened))?;
/// assert!(matches!(paid_in, Put::Stored(_)));
/// // Whoever still holds the old version changes nothing.
/// let stale = accounts.put("acc_1", &Account { cents: 9 }, Expected::At(opened))?;
/// assert!(matches!(stale, Put::Conflict { current: Some(_) }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct VersionedTable<T> {
    name: Cow<'static, str>,
    value: PhantomData<fn() -> T>,
}

impl<T: StoredValue> VersionedTable<T> {
    /// A table with a name fixed in the program.
    ///
    /// # Panics
    ///
    /// When the name is empty, longer than 240 bytes or holds an ASCII control character. In a
    /// constant this is an error of the compiler.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        check_name(name);
        Self {
            name: Cow::Borrowed(name),
            value: PhantomData,
        }
    }

    /// The table's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl<T> Clone for VersionedTable<T> {
    fn clone(&self) -> Self {
        Self {
            name: self.name.clone(),
            value: PhantomData,
        }
    }
}

impl<T> fmt::Debug for VersionedTable<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VersionedTable").field(&self.name).finish()
    }
}

/// A value as it was read.
///
/// ```
/// # use idempotency_ledger::*;
/// # use serde::{Deserialize, Serialize};
/// # use std::num::NonZeroU32;
/// # #[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
/// # struct Stock(u32);
/// # impl StoredValue for Stock {
/// #     const SCHEMA: &str = "stock/1";
/// # }
/// # const STOCKS: VersionedTable<Stock> = VersionedTable::new("stocks");
/// # let ledger = Ledger::in_memory()?;
/// # let stocks = ledger.versioned(STOCKS);
/// let _ = stocks.put("tea", &Stock(3), Expected::Absent)?;
/// let Current { version, value } = stocks.get("tea")?.expect("it was put");
/// assert_eq!(value, Stock(3));
/// assert!(matches!(stocks.put("tea", &Stock(2), Expected::At(version))?, Put::Stored(_)));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Current<T> {
    /// Its version, for [`Expected::At`].
    pub version: Version,
    /// The value.
    pub value: T,
}

/// What a write came to. Only `Stored` has changed anything.
///
/// ```
/// # use idempotency_ledger::*;
/// # use serde::{Deserialize, Serialize};
/// # use std::num::NonZeroU32;
/// # #[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
/// # struct Stock(u32);
/// # impl StoredValue for Stock {
/// #     const SCHEMA: &str = "stock/1";
/// # }
/// # const STOCKS: VersionedTable<Stock> = VersionedTable::new("stocks");
/// # let ledger = Ledger::in_memory()?;
/// # let stocks = ledger.versioned(STOCKS);
/// assert!(matches!(stocks.put("tea", &Stock(3), Expected::Absent)?, Put::Stored(_)));
/// let taken = stocks.put("tea", &Stock(9), Expected::Absent)?;
/// assert!(matches!(taken, Put::Conflict { current: Some(_) }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a conflict has changed nothing"]
pub enum Put {
    /// The value is on disk, under this version.
    Stored(Version),
    /// Something else is stored than was expected.
    Conflict {
        /// The version that is stored; `None` where nothing is.
        current: Option<Version>,
    },
}

/// What a removal came to. Only `Removed` has changed anything.
///
/// ```
/// # use idempotency_ledger::*;
/// # use serde::{Deserialize, Serialize};
/// # use std::num::NonZeroU32;
/// # #[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
/// # struct Stock(u32);
/// # impl StoredValue for Stock {
/// #     const SCHEMA: &str = "stock/1";
/// # }
/// # const STOCKS: VersionedTable<Stock> = VersionedTable::new("stocks");
/// # let ledger = Ledger::in_memory()?;
/// # let stocks = ledger.versioned(STOCKS);
/// let Put::Stored(version) = stocks.put("tea", &Stock(3), Expected::Any)? else { panic!() };
/// assert_eq!(stocks.remove("tea", version)?, Removal::Removed);
/// assert_eq!(stocks.remove("tea", version)?, Removal::Conflict { current: None });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "a conflict has changed nothing"]
pub enum Removal {
    /// The value is gone.
    Removed,
    /// Another version is stored, or nothing.
    Conflict {
        /// The version that is stored; `None` where nothing is.
        current: Option<Version>,
    },
}

/// What [`Versioned::update`] came to.
///
/// ```
/// # use idempotency_ledger::*;
/// # use serde::{Deserialize, Serialize};
/// # use std::num::NonZeroU32;
/// # #[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
/// # struct Stock(u32);
/// # impl StoredValue for Stock {
/// #     const SCHEMA: &str = "stock/1";
/// # }
/// # const STOCKS: VersionedTable<Stock> = VersionedTable::new("stocks");
/// # let ledger = Ledger::in_memory()?;
/// # let stocks = ledger.versioned(STOCKS);
/// let tries = NonZeroU32::new(8).expect("above zero");
/// let sold = stocks.update("tea", tries, |stock| Stock(stock.map_or(9, |stock| stock.0 - 1)))?;
/// assert!(matches!(sold, Update::Stored(Current { value: Stock(9), .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "where it gave up, nothing has changed"]
pub enum Update<T> {
    /// The new value is on disk.
    Stored(Current<T>),
    /// Others were faster each time.
    GaveUp {
        /// The version that is stored; `None` where nothing is.
        current: Option<Version>,
    },
}

/// A [`VersionedTable`] of a ledger; made by [`Ledger::versioned`](crate::Ledger::versioned).
///
/// ```
/// # use idempotency_ledger::*;
/// # use serde::{Deserialize, Serialize};
/// # use std::num::NonZeroU32;
/// # #[derive(Serialize, Deserialize, Clone, Debug, PartialEq)]
/// # struct Stock(u32);
/// # impl StoredValue for Stock {
/// #     const SCHEMA: &str = "stock/1";
/// # }
/// # const STOCKS: VersionedTable<Stock> = VersionedTable::new("stocks");
/// # let ledger = Ledger::in_memory()?;
/// # let stocks = ledger.versioned(STOCKS);
/// let txn = ledger.write()?;
/// let _ = stocks.put_in(&txn, "tea", &Stock(3), Expected::Absent)?;
/// txn.abort();
/// assert_eq!(stocks.get("tea")?, None);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Versioned<T> {
    engine: Arc<Engine>,
    table: VersionedTable<T>,
    namespace: Namespace,
}

impl<T: StoredValue> Versioned<T> {
    pub(crate) fn new(engine: Arc<Engine>, table: VersionedTable<T>) -> Self {
        let namespace = Namespace::of_versioned_table(&table.name)
            .policy(Policy::DEFAULT.retention(Duration::MAX));
        Self {
            engine,
            table,
            namespace,
        }
    }

    /// Reads a value.
    ///
    /// # Errors
    ///
    /// [`Invalid::Key`] for an id that cannot be one, and [`Invalid::Value`] where the stored value
    /// is of another type.
    pub fn get(&self, id: &str) -> Result<Option<Current<T>>, Error> {
        let id = id_of(id)?;
        let engine = &*self.engine;
        let stored = engine.read(|snapshot| {
            match engine.namespace_id(snapshot, self.namespace.name())? {
                Some(number) => snapshot.get(&record_key(number, &id, &Scope::NONE)),
                None => Ok(None),
            }
        })?;
        stored.map(|record| current(&record)).transpose()
    }

    /// Reads a value inside a transaction of the caller's own, with what was put in it before.
    ///
    /// # Errors
    ///
    /// As for [`Versioned::get`].
    pub fn get_in(&self, txn: &WriteTxn<'_>, id: &str) -> Result<Option<Current<T>>, Error> {
        let id = id_of(id)?;
        txn.check_engine(&self.engine)?;
        let name = self.namespace.name();
        let stored = txn.step(|store| match store.namespace_id(name)? {
            Some(number) => store.get(&record_key(number, &id, &Scope::NONE)),
            None => Ok(None),
        })?;
        stored.map(|record| current(&record)).transpose()
    }

    /// Writes a value, if what is stored is what is expected.
    ///
    /// # Errors
    ///
    /// [`Error::Invalid`] for an id or a value that cannot be stored, or a value above 1 MiB:
    /// nothing was written. [`Error::CommitUnknown`]: the value may be on disk; read it.
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk; writers at the same time share its sync.
    pub fn put(&self, id: &str, value: &T, expected: Expected) -> Result<Put, Error> {
        let (id, response) = self.checked(id, value)?;
        let bytes = response.bytes().len() + VALUE_BYTES;
        let namespace = self.namespace.clone();
        self.engine.submit(Patience::Bounded, bytes, move |store| {
            put(store, &namespace, &id, &response, expected)
        })
    }

    /// Writes a value in a transaction of the caller's own.
    ///
    /// # Errors
    ///
    /// As for [`Versioned::put`]; behind any error but [`Error::Invalid`] the transaction can no
    /// longer commit.
    pub fn put_in(
        &self,
        txn: &WriteTxn<'_>,
        id: &str,
        value: &T,
        expected: Expected,
    ) -> Result<Put, Error> {
        let (id, response) = self.checked(id, value)?;
        txn.check_engine(&self.engine)?;
        txn.step(|store| put(store, &self.namespace, &id, &response, expected))
    }

    /// Removes the value that was read. Its version is never used again.
    ///
    /// # Errors
    ///
    /// As for [`Versioned::put`].
    ///
    /// # Blocking
    ///
    /// Until the commit is on disk.
    pub fn remove(&self, id: &str, seen: Version) -> Result<Removal, Error> {
        let id = id_of(id)?;
        let name = self.namespace.name().to_owned();
        self.engine
            .submit(Patience::Bounded, VALUE_BYTES, move |store| {
                let Some(number) = store.namespace_id(&name)? else {
                    return Ok(Removal::Conflict { current: None });
                };
                let place = record_key(number, &id, &Scope::NONE);
                let stored = store.get(&place)?;
                let current = stored.as_ref().map(version_of);
                if !Expected::At(seen).is_met_by(current) {
                    return Ok(Removal::Conflict { current });
                }
                store.remove(&place, stored.as_ref())?;
                Ok(Removal::Removed)
            })
    }

    /// Reads, changes and writes, again where somebody else was faster, at most `tries` times. Of
    /// any number of writers one gets through each time, so with as many tries as there are writes
    /// under way nobody gives up. Writers that come back at once count each time they come.
    ///
    /// `change` runs outside of any transaction, once for each try, and gets `None` where nothing
    /// is stored; it must have no effect of its own.
    ///
    /// # Errors
    ///
    /// As for [`Versioned::get`] and [`Versioned::put`].
    ///
    /// # Blocking
    ///
    /// Until a commit is on disk.
    pub fn update(
        &self,
        id: &str,
        tries: NonZeroU32,
        mut change: impl FnMut(Option<&T>) -> T,
    ) -> Result<Update<T>, Error> {
        let mut current = None;
        for _ in 0..tries.get() {
            let read = self.get(id)?;
            let expected = match &read {
                Some(read) => Expected::At(read.version),
                None => Expected::Absent,
            };
            let value = change(read.as_ref().map(|read| &read.value));
            match self.put(id, &value, expected)? {
                Put::Stored(version) => return Ok(Update::Stored(Current { version, value })),
                Put::Conflict { current: newer } => current = newer,
            }
        }
        Ok(Update::GaveUp { current })
    }

    fn checked(&self, id: &str, value: &T) -> Result<(Key, Response), Error> {
        let (id, response) = (id_of(id)?, to_response(value)?);
        check_response(self.namespace.current_policy(), response.bytes().len())?;
        Ok((id, response))
    }
}

impl<T> Clone for Versioned<T> {
    fn clone(&self) -> Self {
        Self {
            engine: Arc::clone(&self.engine),
            table: self.table.clone(),
            namespace: self.namespace.clone(),
        }
    }
}

impl<T> fmt::Debug for Versioned<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Versioned").field(&self.table).finish()
    }
}

fn version_of(record: &Record) -> Version {
    record.fence.into()
}

fn current<T: StoredValue>(record: &Record) -> Result<Current<T>, Error> {
    let refused = |reason| {
        let schema = T::SCHEMA;
        Error::Invalid(Invalid::Value { schema, reason })
    };
    let completed = record
        .completed()
        .ok_or_else(|| refused("it is no value but a claim".to_owned()))?;
    Ok(Current {
        version: version_of(record),
        value: from_response(&completed.response).map_err(refused)?,
    })
}

/// Compares and writes in one write transaction.
fn put(
    store: &mut WriteStore<'_>,
    namespace: &Namespace,
    id: &Key,
    value: &Response,
    expected: Expected,
) -> Result<Put, Error> {
    let row = Row::find(store, namespace, id)?;
    let current = row.stored.as_ref().map(version_of);
    if !expected.is_met_by(current) {
        return Ok(Put::Conflict { current });
    }
    let fence = row.write(store, id, value)?;
    Ok(Put::Stored(fence.into()))
}
