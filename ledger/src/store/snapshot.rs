//! Records as the last commit left them: replays, mismatches and live claims are answered here.

use std::ops::Bound;
use std::sync::{Arc, RwLock};

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, TableError};

use crate::clock::unpoisoned;
use crate::decision::Record;
use crate::error::{Error, before_commit};
use crate::events::Noted;
use crate::store::codec::{self, NamespaceRow, Tail, Unreadable};
use crate::store::tables::{
    EVENTS, EXPIRY, FORMAT, NAMESPACES, NamespaceId, RECORDS, namespace_prefix, parse_record_key,
    tail_key,
};

type Records = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// A read transaction with its tables open.
pub(crate) struct Snapshot {
    pub(crate) records: Records,
    transaction: ReadTransaction,
}

impl Snapshot {
    pub(crate) fn open(transaction: ReadTransaction) -> Result<Self, Error> {
        let records = transaction.open_table(RECORDS).map_err(before_commit)?;
        Ok(Self {
            records,
            transaction,
        })
    }

    pub(crate) fn get(&self, record_key: &[u8]) -> Result<Option<Record>, Error> {
        Ok(self.get_sized(record_key)?.map(|(record, _)| record))
    }

    /// A record, and how many bytes it takes.
    pub(crate) fn get_sized(&self, record_key: &[u8]) -> Result<Option<(Record, usize)>, Error> {
        match self.records.get(record_key).map_err(before_commit)? {
            None => Ok(None),
            Some(sealed) => {
                let record = self.record_from(record_key, sealed.value())?;
                Ok(Some((record, sealed.value().len())))
            }
        }
    }

    /// Decodes a stored record of this snapshot.
    pub(crate) fn record_from(&self, record_key: &[u8], sealed: &[u8]) -> Result<Record, Error> {
        record_from(record_key, sealed, |id| self.name_of(id))
    }

    /// The name of a namespace for messages.
    fn name_of(&self, id: NamespaceId) -> String {
        let named = self.namespaces().unwrap_or_default();
        named
            .into_iter()
            .find(|(_, row)| row.id == id.0)
            .map_or_else(|| format!("number {}", id.0), |(name, _)| name)
    }

    pub(crate) fn namespace(&self, name: &str) -> Result<Option<NamespaceRow>, Error> {
        let table = self
            .transaction
            .open_table(NAMESPACES)
            .map_err(before_commit)?;
        let row = table.get(name.as_bytes()).map_err(before_commit)?;
        row.map(|sealed| codec::decode_namespace(name.as_bytes(), sealed.value()))
            .transpose()
            .map_err(|why| unreadable(why, name, ""))
    }

    /// All namespaces with their rows.
    pub(crate) fn namespaces(&self) -> Result<Vec<(String, NamespaceRow)>, Error> {
        let table = self
            .transaction
            .open_table(NAMESPACES)
            .map_err(before_commit)?;
        let mut found = Vec::new();
        for row in table.iter().map_err(before_commit)? {
            let (name, sealed) = row.map_err(before_commit)?;
            let text = String::from_utf8_lossy(name.value()).into_owned();
            let row = codec::decode_namespace(name.value(), sealed.value())
                .map_err(|why| unreadable(why, &text, ""))?;
            found.push((text, row));
        }
        Ok(found)
    }

    /// Shows the records of a namespace in the order of their keys, from the one behind `behind`
    /// on, until `see` has seen enough.
    pub(crate) fn visit(
        &self,
        namespace: NamespaceId,
        behind: Option<&[u8]>,
        mut see: impl FnMut(&[u8], Record) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let (prefix, end) = (namespace_prefix(namespace), tail_key(namespace));
        let start = behind.map_or(Bound::Included(&prefix[..]), Bound::Excluded);
        let bounds = (start, Bound::Excluded(end.as_slice()));
        for row in self.records.range::<&[u8]>(bounds).map_err(before_commit)? {
            let (key, sealed) = row.map_err(before_commit)?;
            let record = self.record_from(key.value(), sealed.value())?;
            if !see(key.value(), record)? {
                break;
            }
        }
        Ok(())
    }

    pub(crate) fn tail(&self, namespace: NamespaceId) -> Result<Tail, Error> {
        let key = tail_key(namespace);
        match self.records.get(key.as_slice()).map_err(before_commit)? {
            None => Ok(Tail::default()),
            Some(sealed) => codec::decode_tail(&key, sealed.value())
                .map_err(|why| unreadable(why, "", "counters")),
        }
    }

    /// The same for those who only count: a damaged row, which `check` names, counts nothing.
    pub(crate) fn noted_or_none(&self, namespace: NamespaceId) -> Result<Noted, Error> {
        match self.noted(namespace) {
            Err(Error::Damaged { .. }) | Ok(None) => Ok(Noted::default()),
            Ok(Some(noted)) => Ok(noted),
            Err(error) => Err(error),
        }
    }

    /// What the callers of a namespace met, as far as it is stored.
    pub(crate) fn noted(&self, namespace: NamespaceId) -> Result<Option<Noted>, Error> {
        let table = match self.transaction.open_table(EVENTS) {
            Ok(table) => table,
            Err(TableError::TableDoesNotExist(_)) => return Ok(None),
            Err(error) => return Err(before_commit(error)),
        };
        let key = namespace_prefix(namespace);
        let row = table.get(key.as_slice()).map_err(before_commit)?;
        row.map(|sealed| codec::decode_noted(&key, sealed.value()))
            .transpose()
            .map_err(|why| unreadable(why, &self.name_of(namespace), "counts of events"))
    }

    /// The expiry index, which does not exist before the first completed record.
    pub(crate) fn expiry(&self) -> Result<Option<ReadOnlyTable<&'static [u8], ()>>, Error> {
        match self.transaction.open_table(EXPIRY) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(before_commit(error)),
        }
    }
}

/// Decodes a stored record; what cannot be read is named as well as its key allows.
pub(crate) fn record_from(
    record_key: &[u8],
    sealed: &[u8],
    name_of: impl FnOnce(NamespaceId) -> String,
) -> Result<Record, Error> {
    codec::decode_record(record_key, sealed).map_err(|why| {
        let (namespace, key) = match parse_record_key(record_key) {
            Some((id, key, _)) => (name_of(id), key.as_str().to_owned()),
            None => (String::new(), String::new()),
        };
        unreadable(why, &namespace, &key)
    })
}

pub(crate) fn unreadable(why: Unreadable, namespace: &str, key: &str) -> Error {
    match why {
        Unreadable::Damaged => Error::Damaged {
            namespace: namespace.to_owned(),
            key: key.to_owned(),
        },
        Unreadable::NewerVersion(version) => Error::NewerFormat {
            found: u32::from(version),
            supported: FORMAT,
        },
    }
}

/// The snapshot of the newest commit, shared by all readers until the next one.
///
/// It is opened by the first reader after a commit: a ledger that is only written to never holds
/// one, and so never keeps pages from being reused.
#[derive(Default)]
pub(crate) struct SnapshotCache(RwLock<Cached>);

#[derive(Default)]
struct Cached {
    generation: u64,
    snapshot: Option<Arc<Snapshot>>,
}

impl SnapshotCache {
    /// The current snapshot; `open` makes one where there is none.
    pub(crate) fn current(
        &self,
        open: impl FnOnce() -> Result<Snapshot, Error>,
    ) -> Result<Arc<Snapshot>, Error> {
        let generation = {
            let cached = unpoisoned(self.0.read());
            if let Some(snapshot) = &cached.snapshot {
                return Ok(Arc::clone(snapshot));
            }
            cached.generation
        };
        let snapshot = Arc::new(open()?);
        let mut cached = unpoisoned(self.0.write());
        // A commit in between would make this one old news: used by this call, kept by none.
        if cached.generation == generation && cached.snapshot.is_none() {
            cached.snapshot = Some(Arc::clone(&snapshot));
        }
        Ok(snapshot)
    }

    /// Lets go of the snapshot, before a commit is acknowledged or the file is taken apart.
    pub(crate) fn renew(&self) {
        let old = {
            let mut cached = unpoisoned(self.0.write());
            cached.generation += 1;
            cached.snapshot.take()
        };
        drop(old);
    }
}

impl std::fmt::Debug for SnapshotCache {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SnapshotCache")
    }
}
