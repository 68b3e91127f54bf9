//! What a file says about itself, read without touching it.

use redb::{ReadableDatabase, TableError};

use crate::error::{Error, before_commit, no_panic};
use crate::store::codec::{self, Floor};
use crate::store::snapshot::{Snapshot, unreadable};
use crate::store::tables::{FORMAT, META, META_FLOOR, META_FORMAT, META_SIDE_FILE_ID, NamespaceId};

/// What the file says about itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) side_file_id: Option<[u8; 16]>,
}

pub(crate) fn read_head(database: &impl ReadableDatabase) -> Result<Head, Error> {
    no_panic(|| {
        let transaction = database.begin_read().map_err(before_commit)?;
        let meta = match transaction.open_table(META) {
            Ok(meta) => meta,
            Err(TableError::Storage(error)) => return Err(before_commit(error)),
            Err(_) => {
                return Err(Error::NotALedger {
                    found: "a redb database without a ledger in it",
                });
            }
        };
        let format = meta.get(META_FORMAT).map_err(before_commit)?;
        let format = format
            .as_ref()
            .and_then(|value| value.value().first_chunk::<4>().copied());
        match format.map(u32::from_le_bytes) {
            Some(FORMAT) => {}
            Some(found) if found > FORMAT => {
                return Err(Error::NewerFormat {
                    found,
                    supported: FORMAT,
                });
            }
            Some(_) | None => return Err(Error::damaged_file("the format number is damaged")),
        }
        let side = meta.get(META_SIDE_FILE_ID).map_err(before_commit)?;
        let side_file_id = side.and_then(|value| value.value().first_chunk::<16>().copied());
        Ok(Head { side_file_id })
    })
}

/// The highest fence and mark of the file, over its floor and all tails.
pub(crate) fn highest_stored(database: &impl ReadableDatabase) -> Result<Floor, Error> {
    no_panic(|| {
        let transaction = database.begin_read().map_err(before_commit)?;
        let meta = transaction.open_table(META).map_err(before_commit)?;
        let floor = match meta.get(META_FLOOR).map_err(before_commit)? {
            Some(sealed) => codec::decode_floor(META_FLOOR, sealed.value())
                .map_err(|why| unreadable(why, "", "the floor of fence and time"))?,
            None => Floor::default(),
        };
        let snapshot = Snapshot::open(transaction)?;
        snapshot
            .namespaces()?
            .iter()
            .try_fold(floor, |reached, (_, row)| {
                Ok(reached.and(&snapshot.tail(NamespaceId(row.id))?))
            })
    })
}
