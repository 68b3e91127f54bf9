//! One ledger per file and process: two registries of live claims would contradict each other.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use redb::Database;

use crate::clock::locked;
use crate::error::Error;
use crate::file::platform::{FileIdentity, Process};

/// A fork inherits the entries of its parent, but not what they stand for.
static OPEN: Mutex<Option<HashSet<(Process, What)>>> = Mutex::new(None);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum What {
    File(FileIdentity),
    /// A database that the application lends, by where it lies in memory.
    Lent(usize),
}

/// Says that this process has a file open; dropping it takes that back.
#[derive(Debug)]
pub(crate) struct OpenHere(Process, What);

impl OpenHere {
    pub(crate) fn file(identity: FileIdentity) -> Result<Self, Error> {
        Self::register(What::File(identity))
    }

    pub(crate) fn lent(database: &Arc<Database>) -> Result<Self, Error> {
        Self::register(What::Lent(Arc::as_ptr(database).addr()))
    }

    fn register(what: What) -> Result<Self, Error> {
        let process = Process::current();
        let mut open = locked(&OPEN);
        let open = open.get_or_insert_with(HashSet::new);
        if open.insert((process, what.clone())) {
            Ok(Self(process, what))
        } else {
            Err(Error::AlreadyOpenHere)
        }
    }
}

impl Drop for OpenHere {
    fn drop(&mut self) {
        if self.0.is_current()
            && let Some(open) = locked(&OPEN).as_mut()
        {
            open.remove(&(self.0, self.1.clone()));
        }
    }
}
