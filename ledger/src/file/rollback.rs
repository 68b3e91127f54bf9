//! Noticing that a file is older than one already seen: a restored backup.

use redb::Database;

use crate::decision::{ClockMark, Fence};
use crate::error::{Error, before_commit, in_commit};
use crate::file::head::Head;
use crate::file::settings::{Rollback, Settings};
use crate::holder::side_file::SideFile;
use crate::store::codec::{self, Floor};
use crate::store::tables::{META, META_FLOOR, META_SIDE_FILE_ID};

/// Compares the file with what the side file has seen of it.
pub(crate) fn settle_rollback(
    settings: &Settings,
    database: &Database,
    side: &SideFile,
    head: &mut Head,
    stored: Floor,
    seen: Floor,
) -> Result<Floor, Error> {
    let has_fallen_back = stored.fence < seen.fence || stored.mark.now < seen.mark.now;
    let is_stranger = head.side_file_id.is_some_and(|id| id != *side.id());
    match settings.rollback {
        Rollback::Refuse if has_fallen_back && !is_stranger => Err(Error::RolledBack {
            stored: Fence::from_stored(stored.fence),
            seen: Fence::from_stored(seen.fence),
        }),
        Rollback::Refuse if head.side_file_id.is_some() => Ok(stored),
        // A ledger opened shared for the first time gets its side file here.
        Rollback::Refuse => {
            write_floor(database, side, stored)?;
            head.side_file_id = Some(*side.id());
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
            write_floor(database, side, floor)?;
            head.side_file_id = Some(*side.id());
            Ok(floor)
        }
    }
}

fn write_floor(database: &Database, side: &SideFile, floor: Floor) -> Result<(), Error> {
    let transaction = database.begin_write().map_err(before_commit)?;
    {
        let mut meta = transaction.open_table(META).map_err(before_commit)?;
        meta.insert(META_SIDE_FILE_ID, side.id().as_slice())
            .map_err(before_commit)?;
        meta.insert(
            META_FLOOR,
            codec::encode_floor(META_FLOOR, &floor).as_slice(),
        )
        .map_err(before_commit)?;
    }
    transaction.commit().map_err(in_commit)
}
