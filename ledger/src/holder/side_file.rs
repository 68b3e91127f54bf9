//! The side file of a ledger: operating-system locks that show which claims live, and a note of
//! what the ledger has reached.
//!
//! A claim of a shared ledger locks one byte of the side file, at its fence, before it commits, and
//! unlocks it when its guard ends, however it ends: the system frees the locks of a dead process.
//! Others only query, so looking never disturbs. Nothing is stored under a lock; the bytes need not
//! exist.
//!
//! The file is never unlinked: a second one under the same name would be a second set of locks.
//! So a claim's record says by its random id in which side file its holder took a lock, and a free
//! lock in any other proves nothing. The id of the first one stands in the ledger: under another
//! name of the same file another side file would be found.

use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use crate::decision::{Fence, Liveness, Timestamp, Work};
use crate::file::platform::{self, FileIdentity};
use crate::file::publish::publish_new;
use crate::file::settings::Rights;

const MAGIC: &[u8; 16] = b"idempotency-lock";
const HEADER_BYTES: usize = 32;
const NOTE_OFFSET: u64 = 32;
const NOTE_BYTES: usize = 24;

/// Far behind the header, since locks bind everybody on some systems.
const CLAIM_BASE: u64 = 1 << 40;
const RUN_BASE: u64 = 1 << 61;

#[derive(Debug)]
pub(crate) struct SideFile {
    id: [u8; 16],
    path: PathBuf,
    identity: FileIdentity,
    locks: Box<dyn StorageBackend>,
}

/// What the side file remembers of the ledger beside it, to notice a restored backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Note {
    pub(crate) fence: u64,
    pub(crate) mark: Timestamp,
}

/// `app.redb` has the side file `app.redb.locks`. Of a link it is the one of the file that the link
/// leads to.
pub(crate) fn path_beside(ledger: &Path) -> PathBuf {
    let mut name = ledger.as_os_str().to_owned();
    name.push(".locks");
    PathBuf::from(name)
}

impl SideFile {
    /// Creates the side file, or opens the one that another process was faster to make. Where
    /// the ledger is there, the users who may open it may open this, too.
    pub(crate) fn create(path: PathBuf, ledger: &Path) -> io::Result<Self> {
        let mut id = [0; 16];
        getrandom::fill(&mut id).map_err(|error| io::Error::other(error.to_string()))?;
        let header = [MAGIC.as_slice(), &id, &[0; NOTE_BYTES]].concat();
        publish_new(&path, std::convert::identity, |mut file| {
            use io::Write;
            file.write_all(&header)?;
            match ledger.metadata() {
                Ok(ledger) => platform::give_like(file, &ledger),
                Err(_) => Ok(()),
            }
        })?;
        let file = open_existing(&path, true)?;
        Self::on(path, file)
    }

    /// Opens an existing side file; `None` where there is none. A query needs no right to write.
    pub(crate) fn open(path: PathBuf, rights: Rights) -> io::Result<Option<Self>> {
        match open_existing(&path, rights == Rights::ReadWrite) {
            Ok(file) => Self::on(path, file).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn on(path: PathBuf, file: File) -> io::Result<Self> {
        let identity = platform::identity_of(&file, &path)?;
        let locks = Box::new(FileBackend::new(file).map_err(io::Error::other)?);
        let mut header = [0; HEADER_BYTES];
        let readable = locks.read(0, &mut header).is_ok();
        let (magic, id) = header.split_at(16);
        if !readable || magic != MAGIC {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!(
                    "{} is not the side file of a ledger; move it away",
                    path.display()
                ),
            ));
        }
        let id = id.try_into().expect("the rest of the header is the id");
        Ok(Self {
            id,
            path,
            identity,
            locks,
        })
    }

    pub(crate) const fn id(&self) -> [u8; 16] {
        self.id
    }

    /// The part of its id that tells it from others in a record.
    pub(crate) fn number(&self) -> u64 {
        let part = self.id.first_chunk().expect("the id has 16 bytes");
        u64::from_le_bytes(*part)
    }

    /// Locks the byte of a claim. `Ok(false)` where the file system has no locks.
    pub(crate) fn lock_claim(&self, fence: Fence) -> io::Result<bool> {
        let (start, end) = byte(CLAIM_BASE, fence);
        match self.locks.try_lock_range(start, end) {
            Ok(true) => Ok(true),
            Ok(false) => Err(io::Error::other(format!(
                "the lock of fence {fence} is held by somebody else; was the ledger copied?"
            ))),
            Err(BackendError::Unsupported) => Ok(false),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn unlock_claim(&self, fence: Fence) {
        let (start, end) = byte(CLAIM_BASE, fence);
        // A lock that cannot be freed now ends with the process: the claim looks alive for
        // longer than it is, which delays and never doubles.
        let _ = self.locks.unlock_range(start, end);
    }

    /// Whether the claim of another process lives.
    pub(crate) fn liveness(&self, fence: Fence) -> Liveness {
        match self.is_locked(CLAIM_BASE, fence) {
            Some(true) => Liveness::Alive,
            Some(false) => Liveness::Gone,
            None => Liveness::Unknown,
        }
    }

    /// Whether work that the claim started still runs.
    pub(crate) fn work(&self, fence: Fence) -> Work {
        match self.is_locked(RUN_BASE, fence) {
            Some(true) => Work::Running,
            Some(false) | None => Work::Ended,
        }
    }

    /// `None` where nobody can say; so also when the file was replaced under its name, since
    /// others then lock bytes of another file.
    fn is_locked(&self, base: u64, fence: Fence) -> Option<bool> {
        if platform::identity_at(&self.path).ok()?.as_ref() != Some(&self.identity) {
            return None;
        }
        let (start, end) = byte(base, fence);
        self.locks.query_lock_range(start, end).ok()
    }

    /// Takes the run lock of a claim on a file handle of its own, which a child may inherit.
    pub(crate) fn run_lock(&self, fence: Fence) -> io::Result<RunLock> {
        let file = open_existing(&self.path, true)?;
        let locks = FileBackend::new(file.try_clone()?).map_err(io::Error::other)?;
        let (start, end) = byte(RUN_BASE, fence);
        match locks.try_lock_range(start, end) {
            Ok(true) => Ok(RunLock {
                file,
                _locks: locks,
            }),
            Ok(false) => Err(io::Error::other("the run lock is held already")),
            Err(error) => Err(error.into()),
        }
    }

    /// What was last noted. A note that cannot be read is none: it only helps to notice.
    pub(crate) fn note(&self) -> Note {
        let mut bytes = [0; NOTE_BYTES];
        if self.locks.read(NOTE_OFFSET, &mut bytes).is_err() {
            return Note::default();
        }
        let word = |at: usize| {
            let word = bytes[at..at + 8]
                .try_into()
                .expect("eight of the note's bytes");
            u64::from_le_bytes(word)
        };
        let (fence, mark_ms, sum) = (word(0), word(8), word(16));
        if sum != note_sum(fence, mark_ms) {
            return Note::default();
        }
        Note {
            fence,
            mark: Timestamp::from_unix_ms(mark_ms),
        }
    }

    /// Notes what the ledger has reached. Not synced: it is a tripwire, not a record.
    pub(crate) fn set_note(&self, note: Note) {
        let mark_ms = note.mark.unix_ms();
        let words = [note.fence, mark_ms, note_sum(note.fence, mark_ms)];
        let _ = self
            .locks
            .write(NOTE_OFFSET, &words.map(u64::to_le_bytes).concat());
    }
}

fn note_sum(fence: u64, mark_ms: u64) -> u64 {
    let words = [fence.to_le_bytes(), mark_ms.to_le_bytes()].concat();
    xxhash_rust::xxh3::xxh3_64(&words)
}

fn byte(base: u64, fence: Fence) -> (Bound<u64>, Bound<u64>) {
    let at = base + fence.get();
    (Bound::Included(at), Bound::Included(at))
}

fn open_existing(path: &Path, writable: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(writable).open(path)
}

/// Says that work of a claim still runs, for as long as any process holds a copy of it.
///
/// The file handle is its own; a child that inherits it keeps the key from being run again, also
/// after the death of the process that claimed it. Made inheritable by the caller.
///
/// ```
/// # use idempotency_ledger::*;
/// # const PAYMENTS: Namespace = Namespace::new("payments");
/// # let ledger = Ledger::in_memory()?;
/// # let key = Key::new("order-17")?;
/// # let asked = Fingerprint::of(["pay", "25"]);
/// let folder = tempfile::tempdir()?;
/// let ledger = Ledger::builder().shared().open(folder.path().join("app.redb"))?;
/// let Begin::Fresh(claim) = ledger.operation(PAYMENTS, &key, asked).begin()? else {
///     panic!("the key is new");
/// };
/// let running = claim.run_lock()?; // a child inherits `running.file()`
/// drop(claim);
/// assert!(ledger.record(PAYMENTS, &key).peek()?.is_some_and(|record| record.is_running()));
/// assert_eq!(ledger.record(PAYMENTS, &key).forget()?, Resolved::StillRunning);
/// drop(running);
/// assert_eq!(ledger.record(PAYMENTS, &key).forget()?, Resolved::Done);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct RunLock {
    file: File,
    _locks: FileBackend,
}

impl RunLock {
    /// The file handle that carries the lock.
    #[must_use]
    pub const fn file(&self) -> &File {
        &self.file
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for RunLock {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;
    use crate::clock::SystemClock;
    use crate::decision::Timekeeper;
    use crate::events::Events;
    use crate::file::settings::Mode;
    use crate::holder::live_claims::{LiveClaims, Witness};
    use crate::holder::{Holder, Written};

    /// Counts the bytes of writes, writes and syncs.
    #[derive(Clone, Debug, Default)]
    struct Counted(Arc<[AtomicUsize; 3]>);

    impl Counted {
        fn add(&self, what: usize, count: usize) {
            self.0[what].fetch_add(count, Ordering::SeqCst);
        }

        fn counts(&self) -> [usize; 3] {
            [0, 1, 2].map(|what: usize| self.0[what].load(Ordering::SeqCst))
        }
    }

    impl StorageBackend for Counted {
        fn len(&self) -> io::Result<u64> {
            Ok(0)
        }

        fn read(&self, _offset: u64, _out: &mut [u8]) -> io::Result<()> {
            Err(io::ErrorKind::UnexpectedEof.into())
        }

        fn set_len(&self, _len: u64) -> io::Result<()> {
            Ok(())
        }

        fn sync_data(&self) -> io::Result<()> {
            self.add(2, 1);
            Ok(())
        }

        fn write(&self, _offset: u64, data: &[u8]) -> io::Result<()> {
            self.add(0, data.len());
            self.add(1, 1);
            Ok(())
        }
    }

    #[test]
    fn a_note_is_one_small_write_and_no_sync() {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = folder.path().join("app.redb");
        let mut side = SideFile::create(path_beside(&ledger), &ledger).expect("creates");
        let counted = Counted::default();
        side.locks = Box::new(counted.clone());
        let witness = Witness::Exclusive { is_locked: true };
        let holder = Holder::new(
            1,
            Mode::Exclusive,
            Arc::new(SystemClock::new()),
            LiveClaims::new(witness, Some(side)),
            Timekeeper::new(Timestamp::EPOCH, Duration::from_secs(1)),
            0,
            Events::default(),
        );
        for fence in 1..=100 {
            holder.committed(Written {
                fence,
                mark: Timestamp::from_unix_ms(fence).into(),
                ..Written::default()
            });
        }
        assert_eq!(counted.counts(), [100 * NOTE_BYTES, 100, 0]);
    }
}
