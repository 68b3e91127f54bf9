//! The bytes of the ledger's file, in memory; a copy of them in IndexedDB is what is durable.

use std::io;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use redb::StorageBackend;

/// Larger than the demo ever gets, smaller than what a tab may take.
const BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Storage for redb. Clones share the bytes.
#[derive(Clone, Debug, Default)]
pub struct MemoryImage(Arc<RwLock<Vec<u8>>>);

impl MemoryImage {
    /// Storage that holds these bytes.
    #[must_use]
    pub fn of(bytes: Vec<u8>) -> Self {
        Self(Arc::new(RwLock::new(bytes)))
    }

    /// A copy of all bytes, to be made after a commit.
    #[must_use]
    pub fn bytes(&self) -> Vec<u8> {
        self.read_bytes().clone()
    }

    fn read_bytes(&self) -> RwLockReadGuard<'_, Vec<u8>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn written_bytes(&self) -> RwLockWriteGuard<'_, Vec<u8>> {
        self.0.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where `length` bytes from `offset` lie, if they lie inside.
fn span(offset: u64, length: usize, whole: usize) -> Result<std::ops::Range<usize>, io::Error> {
    let start = usize::try_from(offset).ok();
    let end = start.and_then(|start| start.checked_add(length));
    match (start, end) {
        (Some(start), Some(end)) if end <= whole => Ok(start..end),
        _ => Err(outside(offset)),
    }
}

fn outside(offset: u64) -> io::Error {
    io::Error::other(format!("byte {offset} lies outside of the image"))
}

impl StorageBackend for MemoryImage {
    fn len(&self) -> Result<u64, io::Error> {
        Ok(self.read_bytes().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        let bytes = self.read_bytes();
        let span = span(offset, out.len(), bytes.len())?;
        out.copy_from_slice(&bytes[span]);
        Ok(())
    }

    fn set_len(&self, len: u64) -> Result<(), io::Error> {
        let length = usize::try_from(len).ok().filter(|_| len <= BYTES_MAX);
        let length = length.ok_or_else(|| outside(len))?;
        self.written_bytes().resize(length, 0);
        Ok(())
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        let mut bytes = self.written_bytes();
        let span = span(offset, data.len(), bytes.len())?;
        bytes[span].copy_from_slice(data);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_and_nothing_beyond_the_end() {
        let image = MemoryImage::default();
        image.set_len(4).expect("it grows");
        image.write(1, b"ab").expect("inside");
        assert_eq!(image.bytes(), b"\0ab\0");
        let mut two = [0; 2];
        image.read(1, &mut two).expect("inside");
        assert_eq!(&two, b"ab");
        assert!(image.read(3, &mut two).is_err());
        assert!(image.write(3, b"ab").is_err());
        assert!(image.write(u64::MAX, b"ab").is_err());
        assert_eq!(image.bytes(), b"\0ab\0");
    }

    #[test]
    fn the_image_has_a_largest_size() {
        let image = MemoryImage::default();
        assert!(image.set_len(BYTES_MAX + 1).is_err());
        assert!(image.set_len(8).is_ok());
        assert!(image.set_len(2).is_ok());
        assert_eq!(image.len().expect("it has one"), 2);
    }
}
