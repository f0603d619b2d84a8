//! Disk files: what one is, told by content and never by name, and how its disk is read, in place and read-only.
//!
//! A raw disk is read as it lies. qcow2, VMDK and VHD files keep a disk in pieces, any of which can be fetched. A
//! compressed disk, and a VMDK whose tables are gone, can only be taken in whole, from start to end.
//!
//! Left out: every other format. It is refused with what turns it into a raw disk.

mod format;
mod qcow2;
mod read;
mod stream;
#[cfg(test)]
mod test;
mod vhd;
mod vmdk;

use crate::open::{Opened, open as open_file};
use crate::{SECTOR, StorageError};
use format::{Foreign, Format, HEAD, container, tell};
use read::Reader;
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Seek, SeekFrom};
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
#[derive(Clone, Debug)]
pub struct Blocks(Pieces);

#[derive(Clone, Debug)]
enum Pieces {
    Qcow2(qcow2::Image),
    Vmdk(vmdk::Sparse),
    Vhd(vhd::Dynamic),
}

impl Blocks {
    /// The disk's size in bytes: a multiple of 512, and not 0.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.0 {
            Pieces::Qcow2(image) => image.size(),
            Pieces::Vmdk(sparse) => sparse.size(),
            Pieces::Vhd(dynamic) => dynamic.size(),
        }
    }

    /// One that fetches; every thread takes its own.
    #[must_use]
    pub fn fetcher(&self) -> Box<dyn Fetch> {
        match &self.0 {
            Pieces::Qcow2(image) => Box::new(image.clone()),
            Pieces::Vmdk(sparse) => Box::new(sparse.clone()),
            Pieces::Vhd(dynamic) => Box::new(dynamic.clone()),
        }
    }
}

/// A disk that is decoded in one go.
#[derive(Debug)]
pub struct Stream(Streamed);

#[derive(Debug)]
enum Streamed {
    Compressed(stream::Stream),
    Vmdk(vmdk::Stream),
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
    #[must_use]
    pub fn size(&self) -> Option<u64> {
        match &self.0 {
            Streamed::Compressed(_) => None,
            Streamed::Vmdk(stream) => Some(stream.size()),
        }
    }

    /// Decodes all of it into `sink`, and gives the disk's size in bytes: a multiple of 512, and not 0. A piece
    /// comes now and then even where all is zeroes, so that progress can be shown.
    pub fn decode(&self, sink: &mut dyn FnMut(Piece<'_>) -> io::Result<()>) -> Result<u64, StreamError> {
        match &self.0 {
            Streamed::Compressed(stream) => stream.decode(sink),
            Streamed::Vmdk(stream) => vmdk::decode(stream, sink),
        }
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
    let part = Part { path: path.canonicalize().map_err(read)?, file };
    let told = |found: Foreign| {
        let (what, advice) = (found.format.to_owned(), found.advice);
        StorageError::Refused { path: path.to_owned(), what, advice }
    };
    let raw = Reader::new(part.clone(), size, Format::Raw.name());
    let head = raw.up_to(HEAD as u64, 0)?;
    let tail = raw.up_to(SECTOR, size.saturating_sub(SECTOR))?;
    let format = tell(&head, &tail).map_err(told)?;
    let reader = Reader::new(part.clone(), size, format.name());
    let mut parts = vec![part];
    let kind = match format {
        Format::Raw => {
            if let Some(found) = container(path, &head) {
                return Err(told(found));
            }
            if !size.is_multiple_of(SECTOR) {
                return Err(StorageError::OddSize { path: path.to_owned(), size });
            }
            Kind::Raw { file: Arc::clone(&reader.part().file), size }
        }
        Format::VhdFixed => Kind::Raw { file: Arc::clone(&reader.part().file), size: vhd::fixed(&reader)? },
        Format::VhdDynamic => Kind::Blocks(Blocks(Pieces::Vhd(vhd::Dynamic::open(reader)?))),
        Format::Vmdk => match vmdk::open(reader)? {
            vmdk::Vmdk::Tables(sparse) => Kind::Blocks(Blocks(Pieces::Vmdk(sparse))),
            vmdk::Vmdk::Markers(stream) => Kind::Stream(Stream(Streamed::Vmdk(stream))),
        },
        Format::Qcow2 => {
            let image = qcow2::Image::open(reader)?;
            parts = image.parts();
            Kind::Blocks(Blocks(Pieces::Qcow2(image)))
        }
        Format::Gzip | Format::Xz | Format::Zstd => {
            Kind::Stream(Stream(Streamed::Compressed(stream::Stream::open(reader, format)?)))
        }
    };
    Ok(Source { path: path.to_owned(), format: format.name(), parts, kind })
}
