//! Making a new ledger: whole, or not there.

use std::path::Path;

use redb::Database;
use redb::backends::FileBackend;

use crate::error::{Cause, Error, before_commit, in_commit};
use crate::file::publish::publish_new;
use crate::file::settings::Settings;
use crate::file::storage::{Storage, StorageKind, in_opening};
use crate::holder::side_file::{Note, SideFile};
use crate::store::codec::{self, Floor};
use crate::store::tables::{
    FORMAT, META, META_FLOOR, META_FORMAT, META_LEDGER_ID, META_SIDE_FILE_ID, NAMESPACES, RECORDS,
};

/// A new ledger appears under its name only when it is whole.
pub(crate) fn create_file(
    settings: &Settings,
    path: &Path,
    side: &SideFile,
    note: Note,
) -> Result<(), Error> {
    // Where another process was faster, its ledger is as good.
    let _ = publish_new(path, Error::io, |file| {
        let file = file.try_clone().map_err(Error::io)?;
        let backend = FileBackend::new(file).map_err(in_opening)?;
        let storage = Storage::of(settings, StorageKind::Lent);
        let database = storage
            .redb_builder()
            .create_with_backend(backend)
            .map_err(in_opening)?;
        initialise(&database, Some(side.id()), note)?;
        database.close().map_err(in_opening)
    })?;
    Ok(())
}

/// Makes a ledger of an empty database.
pub(crate) fn initialise(
    database: &Database,
    side: Option<[u8; 16]>,
    note: Note,
) -> Result<(), Error> {
    let transaction = database.begin_write().map_err(before_commit)?;
    {
        let mut meta = transaction.open_table(META).map_err(before_commit)?;
        meta.insert(META_FORMAT, FORMAT.to_le_bytes().as_slice())
            .map_err(before_commit)?;
        let id: [u8; 16] = random()?;
        meta.insert(META_LEDGER_ID, id.as_slice())
            .map_err(before_commit)?;
        if let Some(side) = side {
            meta.insert(META_SIDE_FILE_ID, side.as_slice())
                .map_err(before_commit)?;
        }
        // A ledger made beside the side file of a lost one goes on from its fences.
        let floor = Floor {
            fence: note.fence,
            mark: note.mark.into(),
        };
        meta.insert(
            META_FLOOR,
            codec::encode_floor(META_FLOOR, &floor).as_slice(),
        )
        .map_err(before_commit)?;
        transaction.open_table(RECORDS).map_err(before_commit)?;
        transaction.open_table(NAMESPACES).map_err(before_commit)?;
    }
    transaction.commit().map_err(in_commit)
}

pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)
        .map_err(|error| Error::Storage(Cause::new(format!("no random numbers: {error}"))))?;
    Ok(bytes)
}
