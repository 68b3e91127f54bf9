//! Giving unused pages back to the file system.

use redb::{CompactionError, StorageBackend};

use crate::error::{Error, before_commit};
use crate::file::storage::Base;
use crate::store::engine::Engine;

/// What a compaction did.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let compacted = ledger.compact()?;
/// assert!(compacted.bytes_after <= compacted.bytes_before);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compacted {
    /// The size of the file before.
    pub bytes_before: u64,
    /// The size of the file after.
    pub bytes_after: u64,
}

pub(crate) fn compact(engine: &Engine) -> Result<Compacted, Error> {
    engine.check_writable()?;
    let backend = engine.storage.backend().ok_or(Error::Unsupported {
        reason: "an attached database is compacted by the application that has it: redb demands \
                 that nobody else uses it meanwhile",
    })?;
    let _lead = engine.lead_alone()?;
    engine.reopen_as_leader()?;
    engine.check_place()?;
    let bytes_before = backend.len().map_err(Error::io)?;
    engine.with_base_alone(|base| match base {
        Base::Owned(database) => {
            engine.await_writer(database)?;
            match database.compact() {
                Ok(_) => Ok(()),
                Err(CompactionError::TransactionInProgress) => Err(Error::Busy {
                    waited: std::time::Duration::ZERO,
                }),
                Err(error) => {
                    engine.mark_failed();
                    Err(before_commit(error))
                }
            }
        }
        Base::Lent(_) | Base::ReadOnly(_) => Err(Error::ReadOnly),
    })?;
    let bytes_after = backend.len().map_err(Error::io)?;
    Ok(Compacted {
        bytes_before,
        bytes_after,
    })
}
