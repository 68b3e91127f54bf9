//! A disk whose syncs take as long as a benchmark wants.

use std::io;
use std::path::Path;
use std::time::Duration;

use idempotency_ledger::Ledger;
use idempotency_ledger::redb::backends::FileBackend;
use idempotency_ledger::redb::{BackendError, StorageBackend};

/// A ledger on a new file: as an application opens it where no sync takes longer.
pub(crate) fn ledger(path: &Path, delay: Duration) -> Result<Ledger, Box<dyn std::error::Error>> {
    if delay.is_zero() {
        return Ok(Ledger::open(path)?);
    }
    Ok(Ledger::builder().open_backend(backend(path, delay)?)?)
}

/// A new file.
pub(crate) fn backend(
    path: &Path,
    delay: Duration,
) -> Result<SlowSync, Box<dyn std::error::Error>> {
    let file = std::fs::OpenOptions::new()
        .read(true)
        .write(true)
        .create_new(true)
        .open(path)?;
    Ok(SlowSync {
        file: FileBackend::new(file)?,
        delay,
    })
}

/// A file whose syncs take longer.
#[derive(Debug)]
pub(crate) struct SlowSync {
    file: FileBackend,
    delay: Duration,
}

impl StorageBackend for SlowSync {
    fn len(&self) -> Result<u64, io::Error> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.file.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        self.file.set_len(len)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.file.sync_data()?;
        if !self.delay.is_zero() {
            #[expect(
                clippy::disallowed_methods,
                reason = "a benchmark's disk takes real time"
            )]
            std::thread::sleep(self.delay);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.file.write(offset, data)
    }

    fn close(&self) -> Result<(), io::Error> {
        self.file.close()
    }

    fn try_lock_range(
        &self,
        start: std::ops::Bound<u64>,
        end: std::ops::Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn unlock_range(
        &self,
        start: std::ops::Bound<u64>,
        end: std::ops::Bound<u64>,
    ) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }
}
