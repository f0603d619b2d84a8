//! A file of a disk, read at offsets, with errors that name it; and the words for what is wrong with one.

use super::Part;
use crate::StorageError;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What to do about a disk file of a format that is read here only in part.
pub(super) const CONVERT: &str = "convert it with `qemu-img convert -O raw FILE NEW.raw`";

/// EBS makes no larger volume.
pub(super) const LARGEST: u64 = 64 << 40;

/// One file, how long it was when it was opened, and what it is.
#[derive(Clone, Debug)]
pub(super) struct Reader {
    part: Part,
    size: u64,
    format: &'static str,
}

impl Reader {
    pub(super) fn new(part: Part, size: u64, format: &'static str) -> Reader {
        Reader { part, size, format }
    }

    /// The file's size in bytes.
    pub(super) fn size(&self) -> u64 {
        self.size
    }

    pub(super) fn part(&self) -> &Part {
        &self.part
    }

    pub(super) fn path(&self) -> &Path {
        &self.part.path
    }

    /// Fills `bytes` from `offset` on. A file that ends before that is damaged: it was longer, or a table of it lies.
    pub(super) fn fill(&self, bytes: &mut [u8], offset: u64) -> Result<(), StorageError> {
        self.part.file.read_exact_at(bytes, offset).map_err(|source| match source.kind() {
            io::ErrorKind::UnexpectedEof => self.damaged(format!(
                "it has {} bytes, and {} are needed at {offset}; it may have been cut short",
                self.size,
                bytes.len()
            )),
            _ => self.unread(source),
        })
    }

    pub(super) fn array<const N: usize>(&self, offset: u64) -> Result<[u8; N], StorageError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes, offset)?;
        Ok(bytes)
    }

    /// Up to so many bytes from `offset` on: less where the file ends.
    pub(super) fn up_to(&self, count: u64, offset: u64) -> Result<Vec<u8>, StorageError> {
        let held = self.size.saturating_sub(offset).min(count);
        let mut bytes = vec![0; usize::try_from(held).unwrap_or(0)];
        self.fill(&mut bytes, offset)?;
        Ok(bytes)
    }

    pub(super) fn unread(&self, source: io::Error) -> StorageError {
        StorageError::Read { path: self.path().to_owned(), source }
    }

    pub(super) fn damaged(&self, what: impl Into<String>) -> StorageError {
        StorageError::Damaged { path: self.path().to_owned(), format: self.format, what: what.into() }
    }

    /// What is sound, but not read here. `what` goes on after the format's name.
    pub(super) fn refused(&self, what: impl AsRef<str>, advice: &'static str) -> StorageError {
        let what = format!("{} {}", self.format, what.as_ref());
        StorageError::Refused { path: self.path().to_owned(), what, advice }
    }

    /// A disk's size as a header has it, if a volume can have it.
    pub(super) fn disk_size(&self, size: u64) -> Result<u64, StorageError> {
        if size == 0 {
            return Err(self.damaged("its header says that the disk has no bytes"));
        }
        if size > LARGEST {
            let most = LARGEST >> 40;
            return Err(
                self.damaged(format!("its header says {size} bytes, and a volume has {most} TiB at most"))
            );
        }
        if !size.is_multiple_of(crate::SECTOR) {
            return Err(self.damaged(format!("its header says {size} bytes, not a multiple of 512")));
        }
        Ok(size)
    }
}

/// The error of a fetch.
pub(super) fn fault(error: StorageError) -> io::Error {
    let kind = match &error {
        StorageError::Read { source, .. } => source.kind(),
        _ => io::ErrorKind::InvalidData,
    };
    io::Error::new(kind, error)
}

/// True where there is nothing but zeroes.
pub(super) fn all_zero(bytes: &[u8]) -> bool {
    let (chunks, rest) = bytes.as_chunks::<64>();
    chunks.iter().all(|chunk| *chunk == [0; 64]) && rest.iter().all(|byte| *byte == 0)
}
