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

/// How far ahead is filled at once: a sync in about forty has so much more to store.
const STEP: u64 = 256 * 1024;

/// How far from the front a page may be written. redb gives pages out from the front, and writes
/// those of one commit in no order.
const FAR: u64 = 4 * 1024 * 1024;

static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

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

    /// Fills what is before and behind a write to `pages`, if that goes to the hole.
    fn fill_around(&self, pages: &Range<u64>) {
        let mut hole = locked(&self.hole);
        if hole.is_empty() || pages.end <= hole.start || pages.start >= hole.end {
            return;
        }
        // One far behind is an exception, and ends the hole.
        if pages.start > hole.start.saturating_add(FAR) {
            hole.end = pages.start;
            return;
        }
        let end = pages.end.saturating_add(STEP).min(hole.end);
        let filled = self
            .fill(hole.start..pages.start)
            .and_then(|()| self.fill(pages.end..end));
        // Where there is no room for zeros the page's own write says whether there is some for it.
        hole.start = match filled {
            Ok(()) => end,
            Err(_) => hole.end,
        };
    }

    fn fill(&self, room: Range<u64>) -> io::Result<()> {
        let mut at = room.start;
        while at < room.end {
            let bytes = usize::try_from(room.end - at).unwrap_or(ZEROS.len());
            let zeros = &ZEROS[..bytes.min(ZEROS.len())];
            self.storage.write(at, zeros)?;
            at += zeros.len() as u64;
        }
        Ok(())
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
        self.fill_around(&(offset..offset.saturating_add(data.len() as u64)));
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
        for seed in 0..60 {
            println!("seed {seed}");
            let mut random = seed;
            let (plain, filled) = (Noted::default(), FreshSpace::new(Noted::default()));
            for step in 0..400_u64 {
                let len = plain.len().expect("it is there");
                match next(&mut random, 12) {
                    0 => {
                        let len = next(&mut random, 2_500) * PAGE;
                        plain.set_len(len).expect("it is set");
                        filled.set_len(len).expect("it is set");
                    }
                    _ if len == 0 => {}
                    kind => {
                        // Most at the front, as redb does it, and some anywhere; up to 16 pages,
                        // each at a multiple of its size.
                        let size = PAGE << next(&mut random, 5);
                        let room = if kind < 10 { len.min(90 * PAGE) } else { len };
                        let offset = next(&mut random, room.div_ceil(size)) * size;
                        if offset + size > len {
                            continue;
                        }
                        let byte = u8::try_from(step % 250).expect("it is small") + 1;
                        let data = vec![byte; usize::try_from(size).expect("it is small")];
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
        assert_eq!(writes[0], PAGE..PAGE + ZEROS.len() as u64);
        // All but the four pages that asked for it was filled once, in a few large writes.
        let zeros: Vec<_> = writes
            .iter()
            .filter(|write| write.end - write.start > PAGE)
            .collect();
        let bytes: u64 = zeros.iter().map(|write| write.end - write.start).sum();
        let pages_alone = writes.len() - zeros.len();
        assert_eq!(pages_alone as u64 + bytes / PAGE, 2 * pages - 4);
        assert!(zeros.len() <= 4 * 4, "{zeros:?}");
    }

    #[test]
    fn pages_around_the_end_of_a_hole_are_written() {
        let filled = FreshSpace::new(Noted::default());
        filled.set_len(4 * FAR).expect("it is set");
        let far = FAR + 20 * PAGE;
        for (offset, pages) in [(far, 1), (far - 2 * PAGE, 4), (far - 8 * PAGE, 16), (0, 4)] {
            let data = vec![9; usize::try_from(pages * PAGE).expect("it is small")];
            filled.write(offset, &data).expect("it is written");
            let mut found = vec![0; data.len()];
            filled.read(offset, &mut found).expect("it is read");
            assert_eq!(found, data, "{offset}");
        }
    }

    #[test]
    fn a_page_far_behind_is_never_overwritten() {
        let filled = FreshSpace::new(Noted::default());
        filled.set_len(4 * FAR).expect("it is set");
        let far = FAR + 20 * PAGE;
        filled.write(far, &page(9)).expect("it is written");
        for number in 0..far / PAGE {
            filled
                .write(number * PAGE, &page(7))
                .expect("it is written");
        }
        let mut found = page(0);
        filled.read(far, &mut found).expect("it is read");
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
