//! New room of a file, filled with zeros ahead of the pages that go there.
//!
//! Where a file has grown there is a hole: the first write to a block of it allocates the block,
//! and the next sync has to store the file's own metadata too, which is a second trip to the disk
//! or a commit of the file system's journal. A block that was filled before is overwritten, and a
//! sync stores its bytes alone. Databases recycle the files of their logs for the same reason
//! (`wal_init_zero` and `wal_recycle` of `PostgreSQL`).
//!
//! Nothing that was ever written lies in what is filled: only room that the file has grown by while
//! it was held alone, and of that only what is below every page written there out of order.

use std::io;
use std::ops::{Bound, Range};
use std::sync::Mutex;

use redb::{BackendError, StorageBackend};

use crate::clock::locked;

/// How many bytes are filled at once: a sync in about forty has so much more to store.
const STEP: u64 = 256 * 1024;

/// A storage whose new room is filled ahead. No other process may write to it meanwhile.
#[derive(Debug)]
pub(crate) struct FreshSpace<B> {
    storage: B,
    /// What the file has grown by and nobody has written to.
    hole: Mutex<Range<u64>>,
}

impl<B: StorageBackend> FreshSpace<B> {
    pub(crate) const fn new(storage: B) -> Self {
        Self {
            storage,
            hole: Mutex::new(0..0),
        }
    }

    /// Fills what is ahead of a write to `pages`, if that goes to the hole.
    fn fill_ahead(&self, pages: &Range<u64>) {
        let mut hole = locked(&self.hole);
        if pages.end <= hole.start || pages.start >= hole.end {
            return;
        }
        // Pages are given out from the front; one far behind is an exception that ends the hole.
        if pages.start > hole.start.saturating_add(STEP) {
            hole.end = pages.start;
            return;
        }
        let end = pages.end.saturating_add(STEP).min(hole.end);
        let zeros = usize::try_from(end - hole.start).map(|bytes| vec![0; bytes]);
        let filled = zeros.map(|zeros| self.storage.write(hole.start, &zeros));
        // Where there is no room for zeros there may still be some for the page, which says it.
        hole.start = if matches!(filled, Ok(Ok(()))) {
            end.max(pages.end)
        } else {
            hole.end
        };
    }
}

impl<B: StorageBackend> StorageBackend for FreshSpace<B> {
    fn len(&self) -> Result<u64, io::Error> {
        self.storage.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        self.storage.read(offset, out)
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let mut hole = locked(&self.hole);
        let old = self.storage.len()?;
        self.storage.set_len(len)?;
        *hole = if len < hole.end {
            hole.start.min(len)..len
        } else if hole.is_empty() || hole.end != old {
            old.min(len)..len
        } else {
            hole.start..len
        };
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.storage.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        self.fill_ahead(&(offset..offset.saturating_add(data.len() as u64)));
        self.storage.write(offset, data)
    }

    fn close(&self) -> Result<(), io::Error> {
        *locked(&self.hole) = 0..0;
        self.storage.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.storage.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.storage.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.storage.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.storage.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.storage.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.storage.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 4096;

    /// Bytes in memory that remember what was written to them, in order.
    #[derive(Debug, Default)]
    struct Noted {
        bytes: Mutex<Vec<u8>>,
        writes: Mutex<Vec<Range<u64>>>,
        is_full: bool,
    }

    impl StorageBackend for Noted {
        fn len(&self) -> Result<u64, io::Error> {
            Ok(locked(&self.bytes).len() as u64)
        }

        fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
            let at = usize::try_from(offset).expect("it is small");
            out.copy_from_slice(&locked(&self.bytes)[at..at + out.len()]);
            Ok(())
        }

        fn set_len(&self, len: u64) -> Result<(), io::Error> {
            let len = usize::try_from(len).expect("it is small");
            locked(&self.bytes).resize(len, 0);
            Ok(())
        }

        fn sync_data(&self) -> Result<(), io::Error> {
            Ok(())
        }

        fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
            if self.is_full && data.len() as u64 > PAGE {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let at = usize::try_from(offset).expect("it is small");
            locked(&self.bytes)[at..at + data.len()].copy_from_slice(data);
            locked(&self.writes).push(offset..offset + data.len() as u64);
            Ok(())
        }
    }

    fn page(number: u8) -> Vec<u8> {
        vec![number; usize::try_from(PAGE).expect("it is small")]
    }

    /// A generator of its own, so that a seed tells the whole run.
    fn next(state: &mut u64, below: u64) -> u64 {
        *state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (*state >> 33) % below
    }

    #[test]
    fn whatever_is_written_is_what_is_there() {
        for seed in 0..200 {
            println!("seed {seed}");
            let mut random = seed;
            let (plain, filled) = (Noted::default(), FreshSpace::new(Noted::default()));
            for step in 0..400_u64 {
                let len = plain.len().expect("it is there");
                match next(&mut random, 12) {
                    0 => {
                        let len = next(&mut random, 600) * PAGE;
                        plain.set_len(len).expect("it is set");
                        filled.set_len(len).expect("it is set");
                    }
                    _ if len == 0 => {}
                    kind => {
                        // Most at the front, as redb does it, and some anywhere.
                        let pages = if kind < 10 {
                            (len / PAGE).min(90)
                        } else {
                            len / PAGE
                        };
                        let offset = next(&mut random, pages) * PAGE;
                        let data = page(u8::try_from(step % 250).expect("it is small") + 1);
                        plain.write(offset, &data).expect("it is written");
                        filled.write(offset, &data).expect("it is written");
                    }
                }
                let same = *locked(&plain.bytes) == *locked(&filled.storage.bytes);
                assert!(same, "seed {seed}, step {step}");
            }
        }
    }

    #[test]
    fn a_step_is_filled_for_many_pages() {
        let filled = FreshSpace::new(Noted::default());
        let pages = 4 * STEP / PAGE;
        filled.set_len(pages * PAGE).expect("it is set");
        for number in 0..pages {
            filled
                .write(number * PAGE, &page(7))
                .expect("it is written");
        }
        let writes = locked(&filled.storage.writes).clone();
        let zeros = writes.iter().filter(|write| write.end - write.start > PAGE);
        assert_eq!(writes.len() as u64, pages + zeros.count() as u64);
        // Four steps in all, each reaching a page further than the write that asked for it.
        assert_eq!(writes.len() as u64, pages + 4);
        let first = writes[0].clone();
        assert_eq!(first, 0..STEP + PAGE);
    }

    #[test]
    fn a_page_far_behind_is_never_overwritten() {
        let filled = FreshSpace::new(Noted::default());
        filled.set_len(8 * STEP).expect("it is set");
        filled.write(4 * STEP, &page(9)).expect("it is written");
        for number in 0..4 * STEP / PAGE {
            filled
                .write(number * PAGE, &page(7))
                .expect("it is written");
        }
        let mut found = page(0);
        filled.read(4 * STEP, &mut found).expect("it is read");
        assert_eq!(found, page(9));
    }

    #[test]
    fn a_disk_without_room_for_zeros_takes_pages() {
        let storage = Noted {
            is_full: true,
            ..Noted::default()
        };
        let filled = FreshSpace::new(storage);
        filled.set_len(2 * STEP).expect("it is set");
        filled.write(0, &page(7)).expect("it is written");
        assert_eq!(
            locked(&filled.storage.writes).as_slice(),
            &[Range {
                start: 0,
                end: PAGE
            }]
        );
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_blocks_of_a_step_are_there_after_its_first_page() {
        use std::os::unix::fs::MetadataExt as _;
        let file = tempfile::tempfile().expect("a file");
        let blocks = file.try_clone().expect("a handle");
        let storage = redb::backends::FileBackend::new(file).expect("it is a file");
        let filled = FreshSpace::new(storage);
        filled.set_len(64 * STEP).expect("it is set");
        filled.write(0, &page(7)).expect("it is written");
        filled.sync_data().expect("it is synced");
        let allocated = blocks.metadata().expect("it is there").blocks() * 512;
        assert!((STEP..2 * STEP).contains(&allocated), "{allocated}");
    }
}
