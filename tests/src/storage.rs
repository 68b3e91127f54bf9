//! Storage for tests: a wrapper that counts and that fails, tears, panics or stops where a script
//! says so, and a disk that tells what was synced from what was only written.

use std::fmt;
use std::io;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redb::{BackendError, StorageBackend};

/// What the database is about to do to its storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write so many bytes.
    Write {
        /// How many.
        bytes: usize,
    },
    /// Make everything written durable.
    Sync,
    /// Change the length.
    Resize,
    /// Read, which has no number of its own: how often redb reads is up to its cache.
    Read,
}

/// What becomes of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It happens.
    Pass,
    /// It does not happen.
    Fail(io::ErrorKind),
    /// Of a write only the first bytes happen, and then it fails; other steps fail.
    Tear {
        /// How many bytes are written.
        kept: usize,
    },
    /// The storage panics.
    Panic,
}

/// Says what becomes of a step from its number, counted from 0 since the script was set.
type Script = dyn Fn(u64, Step) -> Fate + Send + Sync;

/// How often each call arrived, whatever became of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Writes.
    pub writes: u64,
    /// Bytes of these writes.
    pub bytes: u64,
    /// Syncs.
    pub syncs: u64,
    /// Changes of the length.
    pub resizes: u64,
    /// Of these, those that make the storage longer.
    pub growths: u64,
    /// Reads.
    pub reads: u64,
    /// Closes, which give all locks up.
    pub closes: u64,
    /// Locks given up one by one.
    pub unlocks: u64,
}

impl Counts {
    /// Writes, syncs and resizes: the steps that have a number.
    #[must_use]
    pub const fn steps(&self) -> u64 {
        self.writes + self.syncs + self.resizes
    }
}

/// Any storage, counted, and scripted where a test wants it. Clones are the same storage.
#[derive(Clone)]
pub struct Watched(Arc<Watch>);

struct Watch {
    storage: Box<dyn StorageBackend>,
    counts: Mutex<Counts>,
    script: Mutex<Option<(u64, Arc<Script>)>>,
}

impl Watched {
    /// Watches `storage`; everything passes until a script is set.
    pub fn new(storage: impl StorageBackend) -> Self {
        Self(Arc::new(Watch {
            storage: Box::new(storage),
            counts: Mutex::default(),
            script: Mutex::default(),
        }))
    }

    /// What has arrived so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        *locked(&self.0.counts)
    }

    /// Decides each step from now on by its number and kind. The script may block.
    pub fn script(&self, script: impl Fn(u64, Step) -> Fate + Send + Sync + 'static) {
        let first = self.counts().steps();
        *locked(&self.0.script) = Some((first, Arc::new(script)));
    }

    /// Lets everything pass again.
    pub fn heal(&self) {
        *locked(&self.0.script) = None;
    }

    /// The `number`th step from now fails, those after it pass.
    pub fn fail_once(&self, number: u64, kind: io::ErrorKind) {
        self.script(move |at, step| match step {
            Step::Read => Fate::Pass,
            _ if at == number => Fate::Fail(kind),
            _ => Fate::Pass,
        });
    }

    /// From the `number`th step on nothing passes, as with a disk that is gone or full.
    pub fn fail_from(&self, number: u64, kind: io::ErrorKind) {
        self.script(move |at, step| match step {
            Step::Read => Fate::Pass,
            _ if at >= number => Fate::Fail(kind),
            _ => Fate::Pass,
        });
    }

    /// Half of the `number`th step passes, and nothing behind it.
    pub fn tear_at(&self, number: u64) {
        self.script(move |at, step| match step {
            Step::Write { bytes } if at == number => Fate::Tear { kept: bytes / 2 },
            Step::Write { .. } | Step::Sync | Step::Resize if at >= number => {
                Fate::Fail(io::ErrorKind::Other)
            }
            _ => Fate::Pass,
        });
    }

    /// The storage panics at the `number`th step, once.
    pub fn panic_at(&self, number: u64) {
        self.script(move |at, step| match step {
            Step::Read => Fate::Pass,
            _ if at == number => Fate::Panic,
            _ => Fate::Pass,
        });
    }

    fn fate(&self, step: Step) -> Fate {
        let number = {
            let mut counts = locked(&self.0.counts);
            let number = counts.steps();
            match step {
                Step::Write { bytes } => {
                    counts.writes += 1;
                    counts.bytes += bytes as u64;
                }
                Step::Sync => counts.syncs += 1,
                Step::Resize => counts.resizes += 1,
                Step::Read => counts.reads += 1,
            }
            number
        };
        // Called without a lock, since a script may block or look at the counts.
        let script = locked(&self.0.script).clone();
        script.map_or(Fate::Pass, |(first, script)| {
            script(number.saturating_sub(first), step)
        })
    }

    fn pass<T>(&self, step: Step, then: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self.fate(step) {
            Fate::Pass => then(),
            Fate::Fail(kind) => Err(failure(kind)),
            Fate::Tear { .. } => Err(failure(io::ErrorKind::Other)),
            Fate::Panic => panic!("the storage panics because the test says so"),
        }
    }
}

fn failure(kind: io::ErrorKind) -> io::Error {
    io::Error::new(kind, "the storage fails because the test says so")
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Watched({:?})", self.counts())
    }
}

impl StorageBackend for Watched {
    fn len(&self) -> io::Result<u64> {
        self.0.storage.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.pass(Step::Read, || self.0.storage.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        if len > self.len()? {
            locked(&self.0.counts).growths += 1;
        }
        self.pass(Step::Resize, || self.0.storage.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.pass(Step::Sync, || self.0.storage.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        match self.fate(Step::Write { bytes: data.len() }) {
            Fate::Pass => self.0.storage.write(offset, data),
            Fate::Fail(kind) => Err(failure(kind)),
            Fate::Tear { kept } => {
                self.0
                    .storage
                    .write(offset, &data[..kept.min(data.len())])?;
                Err(failure(io::ErrorKind::Other))
            }
            Fate::Panic => panic!("the storage panics because the test says so"),
        }
    }

    fn close(&self) -> io::Result<()> {
        locked(&self.0.counts).closes += 1;
        self.0.storage.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.storage.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.0.storage.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.storage.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.0.storage.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        locked(&self.0.counts).unlocks += 1;
        self.0.storage.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.0.storage.query_lock_range(start, end)
    }
}

/// A disk in memory that keeps what was synced apart from what was only written. Clones are the
/// same disk.
#[derive(Clone, Default)]
pub struct Disk(Arc<Mutex<Platter>>);

#[derive(Default)]
struct Platter {
    /// What readers see.
    live: Vec<u8>,
    /// What a completed sync has promised.
    synced: Vec<u8>,
    /// What was done since.
    unsynced: Vec<Change>,
}

#[derive(Clone)]
enum Change {
    Write { offset: usize, data: Vec<u8> },
    Resize { len: usize },
}

impl Change {
    fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Resize { len } => image.resize(*len, 0),
            Self::Write { offset, data } => {
                let end = offset + data.len();
                if image.len() < end {
                    image.resize(end, 0);
                }
                image[*offset..end].copy_from_slice(data);
            }
        }
    }
}

/// Which of the changes that were not synced a power cut leaves on the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survivors {
    /// None of them.
    None,
    /// All of them, as when only the process dies.
    All,
    /// Some sectors, drawn from the seed.
    Drawn(u64),
}

/// What a disk writes in one piece.
const SECTOR_BYTES: usize = 512;

impl Disk {
    /// A disk that holds `image`, synced.
    #[must_use]
    pub fn holding(image: Vec<u8>) -> Self {
        Self(Arc::new(Mutex::new(Platter {
            live: image.clone(),
            synced: image,
            unsynced: Vec::new(),
        })))
    }

    /// What lies on the disk if the power goes now.
    #[must_use]
    pub fn after_power_cut(&self, survivors: Survivors) -> Vec<u8> {
        let platter = locked(&self.0);
        match survivors {
            Survivors::None => platter.synced.clone(),
            Survivors::All => platter.live.clone(),
            Survivors::Drawn(seed) => {
                let mut draw = Draw::new(seed);
                let mut image = platter.synced.clone();
                for change in &platter.unsynced {
                    survive(change, &mut draw, &mut image);
                }
                image
            }
        }
    }
}

/// Applies what a draw lets through: a change of length as a whole, of a write each sector.
fn survive(change: &Change, draw: &mut Draw, image: &mut Vec<u8>) {
    match change {
        Change::Resize { .. } => {
            if draw.coin() {
                change.apply(image);
            }
        }
        Change::Write { offset, data } => {
            for (at, sector) in data.chunks(SECTOR_BYTES).enumerate() {
                let offset = offset + at * SECTOR_BYTES;
                // A sector behind the end of a file that was not made longer is nowhere.
                if draw.coin() && offset + sector.len() <= image.len() {
                    image[offset..offset + sector.len()].copy_from_slice(sector);
                }
            }
        }
    }
}

impl fmt::Debug for Disk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let platter = locked(&self.0);
        f.debug_struct("Disk")
            .field("bytes", &platter.live.len())
            .field("unsynced", &platter.unsynced.len())
            .finish()
    }
}

impl StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        Ok(locked(&self.0).live.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platter = locked(&self.0);
        let start = place(offset)?;
        let bytes = start
            .checked_add(out.len())
            .and_then(|end| platter.live.get(start..end))
            .ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        locked(&self.0).change(Change::Resize { len: place(len)? });
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let platter = &mut *locked(&self.0);
        for change in platter.unsynced.drain(..) {
            change.apply(&mut platter.synced);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let data = data.to_vec();
        let offset = place(offset)?;
        locked(&self.0).change(Change::Write { offset, data });
        Ok(())
    }
}

impl Platter {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.live);
        self.unsynced.push(change);
    }
}

fn place(offset: u64) -> io::Result<usize> {
    usize::try_from(offset).map_err(io::Error::other)
}

/// Numbers that look random and are the same for the same seed (`SplitMix64`).
#[derive(Clone, Debug)]
pub struct Draw(u64);

impl Draw {
    /// Starts from a seed, which a failing test prints.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.number() % limit
    }

    /// Yes or no.
    pub fn coin(&mut self) -> bool {
        self.number() & 1 == 0
    }
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
