//! A disk in memory that fails, or holds a sync back, when a test says so.

use std::io;
use std::sync::{Arc, Condvar, Mutex};

use idempotency_ledger::redb::StorageBackend;

use crate::shop::until;

/// Clones are the same disk.
#[derive(Clone, Debug, Default)]
pub(crate) struct Disk(Arc<Platter>);

#[derive(Debug, Default)]
struct Platter {
    bytes: Mutex<Vec<u8>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    is_full: bool,
    /// How many more syncs pass before they are held back; `None` lets all pass.
    passing: Option<u32>,
    held: u32,
    done: u32,
}

impl Disk {
    /// From now on nothing is written, until there is room again.
    pub(crate) fn fill(&self) {
        self.0.state.lock().unwrap().is_full = true;
    }

    pub(crate) fn make_room(&self) {
        self.0.state.lock().unwrap().is_full = false;
    }

    /// Holds every sync back.
    pub(crate) fn hold(&self) {
        self.0.state.lock().unwrap().passing = Some(0);
    }

    /// Returns once a sync is held back.
    pub(crate) fn wait_until_held(&self) {
        until("a sync is held", || {
            let state = self.0.state.lock().unwrap();
            state.held > 0 && state.passing == Some(0)
        });
    }

    /// Lets so many more syncs pass.
    pub(crate) fn pass(&self, syncs: u32) {
        self.0.state.lock().unwrap().passing = Some(syncs);
        self.0.changed.notify_all();
    }

    /// How many syncs have passed.
    pub(crate) fn syncs(&self) -> u32 {
        self.0.state.lock().unwrap().done
    }

    /// Lets every sync pass again.
    pub(crate) fn go_on(&self) {
        self.0.state.lock().unwrap().passing = None;
        self.0.changed.notify_all();
    }

    fn check_room(&self) -> io::Result<()> {
        if self.0.state.lock().unwrap().is_full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        Ok(())
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.bytes.lock().unwrap().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.bytes.lock().unwrap();
        let start = place(offset)?;
        let found = bytes.get(start..start + out.len());
        out.copy_from_slice(found.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.check_room()?;
        self.0.bytes.lock().unwrap().resize(place(len)?, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        self.check_room()?;
        let mut state = self.0.state.lock().unwrap();
        state.held += 1;
        while state.passing == Some(0) {
            state = self.0.changed.wait(state).unwrap();
        }
        state.held -= 1;
        state.done += 1;
        state.passing = state.passing.map(|left| left - 1);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check_room()?;
        let start = place(offset)?;
        let mut bytes = self.0.bytes.lock().unwrap();
        let end = start + data.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[start..end].copy_from_slice(data);
        Ok(())
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}
