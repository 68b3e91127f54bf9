//! The card network: a file outside of the ledger, one line a charge, that deduplicates nothing.
//!
//! It is what the world really did. Whatever the server or the ledger believe, the tests and the
//! demo count here.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use serde::{Deserialize, Serialize};

/// One line of the file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Charge {
    pub(crate) principal: String,
    /// The client's idempotency key.
    pub(crate) key: String,
    /// In cents.
    pub(crate) amount: u64,
}

/// How often a key was charged.
#[derive(Debug, Serialize)]
pub(crate) struct Effect {
    principal: String,
    key: String,
    count: u64,
}

/// The file, appended to by one charge at a time.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    file: Arc<Mutex<File>>,
    path: PathBuf,
}

impl Network {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        let found = std::fs::read(path)?;
        if found.last().is_some_and(|last| *last != b'\n') {
            // A crash cut the last line short; the next charge must not become a part of it.
            file.write_all(b"\n")?;
        }
        Ok(Self {
            file: Arc::new(Mutex::new(file)),
            path: path.to_owned(),
        })
    }

    /// Charges, once more each time it is called. When this returns, it has happened.
    ///
    /// Blocks until the line is on disk.
    pub(crate) fn charge(&self, charge: &Charge) -> io::Result<()> {
        let line = serde_json::to_string(charge)? + "\n";
        let mut file = self.file.lock().expect("nobody panics while charging");
        file.write_all(line.as_bytes())?;
        file.sync_data()
    }

    /// All charges, oldest first. A line that a crash cut short is no charge.
    pub(crate) fn charges(&self) -> io::Result<Vec<Charge>> {
        let mut charges = Vec::new();
        for line in BufReader::new(File::open(&self.path)?).lines() {
            if let Ok(charge) = serde_json::from_str(&line?) {
                charges.push(charge);
            }
        }
        Ok(charges)
    }

    pub(crate) fn effects(&self) -> io::Result<Vec<Effect>> {
        let mut counts: BTreeMap<(String, String), u64> = BTreeMap::new();
        for charge in self.charges()? {
            *counts.entry((charge.principal, charge.key)).or_default() += 1;
        }
        let effect = |((principal, key), count)| Effect {
            principal,
            key,
            count,
        };
        Ok(counts.into_iter().map(effect).collect())
    }
}
