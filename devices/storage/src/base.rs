//! A volume's base: a raw disk file or a block device, opened read-only and never written; or nothing at all.

use crate::open::{Opened, open};
use crate::{SECTOR, StorageError, source};
use ami_run_memory::Buffers;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

#[derive(Debug)]
pub struct Base {
    path: PathBuf,
    /// None: there is no byte in it.
    file: Option<File>,
    size: u64,
}

impl Base {
    /// That of a volume which is made from no snapshot. `name` stands for it in messages.
    #[must_use]
    pub fn empty(name: &str) -> Base {
        Base { path: PathBuf::from(name), file: None, size: 0 }
    }

    pub fn open(path: &Path) -> Result<Base, StorageError> {
        let read = |source| StorageError::Read { path: path.to_owned(), source };
        let file = match open(path).map_err(read)? {
            Opened::Data(file) => file,
            Opened::Other(what) => return Err(StorageError::NotADisk { path: path.to_owned(), what }),
        };
        let size = (&file).seek(SeekFrom::End(0)).map_err(read)?;
        if size == 0 {
            return Err(StorageError::Empty { path: path.to_owned() });
        }
        let head = sector_at(&file, 0).map_err(read)?;
        let tail = sector_at(&file, size.saturating_sub(SECTOR)).map_err(read)?;
        if let Some(found) = source::foreign(&head, &tail) {
            let (format, advice) = (found.format, found.advice);
            return Err(StorageError::NotRaw { path: path.to_owned(), format, advice });
        }
        if !size.is_multiple_of(SECTOR) {
            return Err(StorageError::OddSize { path: path.to_owned(), size });
        }
        Ok(Base { path: path.to_owned(), file: Some(file), size })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether a range can be read at once; else `waker` is woken when it may be.
    #[expect(clippy::unnecessary_wraps, clippy::unused_self, reason = "formats that are fetched come next")]
    pub(crate) fn prepare(
        &self,
        _: std::ops::Range<u64>,
        _: &std::sync::Arc<crate::waker::Waker>,
    ) -> io::Result<bool> {
        Ok(true)
    }

    pub(crate) fn file(&self) -> Option<&File> {
        self.file.as_ref()
    }

    /// In bytes, a multiple of 512.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Fills `[start, start + len)` of the buffers with the base's bytes at `offset`. Past its end are zeroes,
    /// even if the file has grown since it was opened.
    pub(crate) fn read(&self, buffers: &Buffers, start: u64, len: u64, offset: u64) -> io::Result<()> {
        let held = self.size.saturating_sub(offset).min(len);
        if let (Some(file), 1..) = (&self.file, held) {
            buffers.fill_from(start, held, file, offset)?;
        }
        buffers.zero(start.saturating_add(held), len.saturating_sub(held))
    }

    /// Fills `bytes` in the same way.
    pub(crate) fn read_bytes(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        bytes.fill(0);
        let held = self.size.saturating_sub(offset);
        let held = usize::try_from(held).unwrap_or(usize::MAX).min(bytes.len());
        match (&self.file, bytes.get_mut(..held)) {
            (Some(file), Some(part)) => file.read_exact_at(part, offset),
            _ => Ok(()),
        }
    }
}

/// Up to 512 bytes from `offset` on.
fn sector_at(mut file: &File, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.take(SECTOR).read_to_end(&mut bytes)?;
    Ok(bytes)
}
