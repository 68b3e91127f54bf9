//! Noticing that a file is older than one already seen: a restored backup.

use redb::{Database, ReadableTable, StorageError, Table};

use crate::decision::{ClockMark, Fence};
use crate::error::{Error, before_commit, in_commit};
use crate::file::head::Head;
use crate::file::settings::{Rollback, Settings};
use crate::holder::side_file::SideFile;
use crate::store::codec::{self, Floor};
use crate::store::tables::{META, META_FLOOR, META_SIDE_FILE_ID};

type Meta<'txn> = Table<'txn, &'static [u8], &'static [u8]>;

/// Compares the file with what the side file has seen of the ledger under this name, whichever
/// file that was.
pub(crate) fn settle_rollback(
    settings: &Settings,
    database: &Database,
    side: &SideFile,
    head: Head,
    stored: Floor,
    seen: Floor,
) -> Result<Floor, Error> {
    let has_fallen_back = stored.fence < seen.fence || stored.mark.now < seen.mark.now;
    match settings.rollback {
        Rollback::Refuse if has_fallen_back => Err(Error::RolledBack {
            stored: Fence::from_stored(stored.fence),
            seen: Fence::from_stored(seen.fence),
        }),
        Rollback::Refuse if head.side_file_id.is_some() => Ok(stored),
        // A ledger opened for the first time since there are side files gets its own here.
        Rollback::Refuse => {
            change_meta(database, |meta| {
                // Another process may have been faster.
                if meta.get(META_SIDE_FILE_ID)?.is_none() {
                    meta.insert(META_SIDE_FILE_ID, side.id().as_slice())?;
                }
                Ok(())
            })?;
            Ok(stored)
        }
        Rollback::Accept => {
            let mark = if seen.mark.now > stored.mark.now {
                // Of a mark in the note only the time is known.
                ClockMark {
                    rewinds: stored.mark.rewinds,
                    ..seen.mark
                }
            } else {
                stored.mark
            };
            let floor = Floor {
                fence: stored.fence.max(seen.fence),
                mark,
            };
            let sealed = codec::encode_floor(META_FLOOR, &floor);
            change_meta(database, |meta| {
                meta.insert(META_SIDE_FILE_ID, side.id().as_slice())?;
                meta.insert(META_FLOOR, sealed.as_slice())?;
                Ok(())
            })?;
            Ok(floor)
        }
    }
}

fn change_meta(
    database: &Database,
    change: impl FnOnce(&mut Meta<'_>) -> Result<(), StorageError>,
) -> Result<(), Error> {
    let transaction = database.begin_write().map_err(before_commit)?;
    change(&mut transaction.open_table(META).map_err(before_commit)?).map_err(before_commit)?;
    transaction.commit().map_err(in_commit)
}
