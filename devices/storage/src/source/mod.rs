//! Disk files: what one is, told by content and never by name, and how its disk is read, in place and read-only.
//!
//! A raw disk is read as it lies. qcow2, VMDK and VHD files keep a disk in pieces, any of which can be fetched. A
//! compressed disk, and a VMDK whose tables are gone, can only be taken in whole, from start to end.
//!
//! Left out: every other format. It is refused with what turns it into a raw disk.

mod format;

pub(crate) use format::foreign;

use crate::open::{Opened, open as open_file};
use crate::{SECTOR, StorageError};
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What is fetched at once, as EBS snapshots have it.
pub const BLOCK: u64 = 512 << 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Content {
    /// All zeroes. What `block` holds doesn't matter then.
    Zeroes,
    Data,
}

/// Gives a disk's content block by block, from a format that keeps it in pieces.
pub trait Fetch: Send + Debug {
    /// Fills `block` with the disk's bytes at `offset`. The offset is a multiple of [`BLOCK`], and the block is that
    /// long or ends where the disk does. An error names the file.
    fn fetch(&mut self, offset: u64, block: &mut [u8]) -> io::Result<Content>;
}

/// One of the files that a disk is made of, open for reading.
#[derive(Clone, Debug)]
pub struct Part {
    /// Absolute, with no symbolic link in it.
    pub path: PathBuf,
    pub file: Arc<File>,
}

/// A disk file, looked at but not read.
#[derive(Debug)]
pub struct Source {
    path: PathBuf,
    format: &'static str,
    parts: Vec<Part>,
    kind: Kind,
}

/// How a disk file's disk is read.
#[derive(Debug)]
pub enum Kind {
    /// From its first byte on it is the disk, of this many bytes; the file may be longer.
    Raw { file: Arc<File>, size: u64 },
    /// Block by block.
    Blocks(Blocks),
    /// Only from start to end.
    Stream(Stream),
}

/// A disk in pieces.
#[derive(Debug)]
pub struct Blocks {
    size: u64,
}

impl Blocks {
    /// The disk's size in bytes: a multiple of 512, and not 0.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// One that fetches; every thread takes its own.
    pub fn fetcher(&self) -> io::Result<Box<dyn Fetch>> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

/// A disk that is decoded in one go.
#[derive(Debug)]
pub struct Stream {
    size: Option<u64>,
}

/// What has been decoded.
#[derive(Debug)]
pub struct Piece<'a> {
    /// Where on the disk it belongs. Pieces never overlap; they come in any order, and where none comes are zeroes.
    pub offset: u64,
    /// Empty, or not all zeroes.
    pub bytes: &'a [u8],
    /// How many of the file's bytes have been read, of how many.
    pub read: u64,
    pub of: u64,
}

/// Why a stream was not decoded to its end.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    #[error(transparent)]
    Source(#[from] StorageError),
    /// Who takes the pieces gave up.
    #[error(transparent)]
    Sink(io::Error),
}

impl Stream {
    /// The disk's size in bytes, if the file says so before it is decoded.
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// Decodes all of it into `sink`, and gives the disk's size in bytes: a multiple of 512, and not 0. A piece
    /// comes now and then even where all is zeroes, so that progress can be shown.
    pub fn decode(&self, _sink: &mut dyn FnMut(Piece<'_>) -> io::Result<()>) -> Result<u64, StreamError> {
        Err(StreamError::Sink(io::ErrorKind::Unsupported.into()))
    }
}

impl Source {
    /// The file that was named.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it is, for messages: "a qcow2 file".
    pub fn format(&self) -> &'static str {
        self.format
    }

    /// Every file that the disk is made of, the named one first.
    pub fn parts(&self) -> &[Part] {
        &self.parts
    }

    pub fn kind(&self) -> &Kind {
        &self.kind
    }
}

/// Tells what a disk file is, and checks what can be checked without reading all of it.
pub fn open(path: &Path) -> Result<Source, StorageError> {
    let read = |source| StorageError::Read { path: path.to_owned(), source };
    let file = match open_file(path).map_err(read)? {
        Opened::Data(file) => Arc::new(file),
        Opened::Other(what) => return Err(StorageError::NotADisk { path: path.to_owned(), what }),
    };
    let size = (&*file).seek(SeekFrom::End(0)).map_err(read)?;
    if size == 0 {
        return Err(StorageError::Empty { path: path.to_owned() });
    }
    let head = sector_at(&file, 0).map_err(read)?;
    let tail = sector_at(&file, size.saturating_sub(SECTOR)).map_err(read)?;
    if let Some(found) = foreign(&head, &tail) {
        let (format, advice) = (found.format, found.advice);
        return Err(StorageError::NotRaw { path: path.to_owned(), format, advice });
    }
    if !size.is_multiple_of(SECTOR) {
        return Err(StorageError::OddSize { path: path.to_owned(), size });
    }
    let parts = vec![Part { path: path.canonicalize().map_err(read)?, file: Arc::clone(&file) }];
    Ok(Source { path: path.to_owned(), format: "a raw disk", parts, kind: Kind::Raw { file, size } })
}

/// Up to 512 bytes from `offset` on.
fn sector_at(mut file: &File, offset: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(offset))?;
    file.take(SECTOR).read_to_end(&mut bytes)?;
    Ok(bytes)
}
