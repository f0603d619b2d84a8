//! A volume's base: a disk file of any format that is known, opened read-only and never written; or nothing at all.

use crate::StorageError;
use crate::cache::{Cache, CacheFolder, Progress, Taken, take_in};
use crate::identity::Identity;
use crate::source::{self, Kind, Part};
use crate::waker::Waker;
use ami_run_memory::Buffers;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Cloning shares it.
#[derive(Clone, Debug)]
pub struct Base {
    path: PathBuf,
    content: Content,
}

#[derive(Clone, Debug)]
enum Content {
    Nothing,
    /// A file that is the disk, or begins with it.
    File {
        file: Arc<File>,
        size: u64,
        parts: Vec<Part>,
    },
    Taken(Arc<Taken>),
    Cached(Arc<Cache>),
}

impl Base {
    /// That of a volume which is made from no snapshot. `name` stands for it in messages.
    #[must_use]
    pub fn empty(name: &str) -> Base {
        Base { path: PathBuf::from(name), content: Content::Nothing }
    }

    /// A disk file that is read as it lies: raw, or a block device. Others are refused: [`Base::open_any`] takes them.
    pub fn open(path: &Path) -> Result<Base, StorageError> {
        let source = source::open(path)?;
        match source.kind() {
            Kind::Raw { file, size } => Ok(Base::raw(path, file, *size, source.parts())),
            Kind::Blocks(_) | Kind::Stream(_) => {
                let (path, format) = (path.to_owned(), source.format());
                Err(StorageError::NotRaw { path, format, advice: "name a raw disk file" })
            }
        }
    }

    /// A disk file of any format that is known. What is not raw is read through the cache. A compressed disk is taken
    /// in whole here, if that was not done before: `progress` hears of it many times a second.
    pub fn open_any(
        path: &Path,
        folder: &CacheFolder,
        progress: &mut dyn FnMut(Progress),
    ) -> Result<Base, StorageError> {
        let source = source::open(path)?;
        let identity = || {
            Identity::of(source.parts())
                .map_err(|source| StorageError::Read { path: path.to_owned(), source })
        };
        let content = match source.kind() {
            Kind::Raw { file, size } => return Ok(Base::raw(path, file, *size, source.parts())),
            Kind::Stream(stream) => {
                let taken = take_in(folder, path, identity()?, &|sink| stream.decode(sink), progress);
                Content::Taken(Arc::new(taken?))
            }
            Kind::Blocks(blocks) => {
                let (identity, size) = (identity()?, blocks.size());
                let blocks = blocks.clone();
                let fetchers = Box::new(move || blocks.fetcher());
                let cache = Cache::open(folder, identity, size, fetchers);
                Content::Cached(Arc::new(cache.map_err(|cause| folder.failed(cause))?))
            }
        };
        Ok(Base { path: path.to_owned(), content })
    }

    /// One on a cache of a test's own.
    #[cfg(test)]
    pub(crate) fn cached(
        path: &Path,
        folder: &CacheFolder,
        size: u64,
        fetchers: crate::cache::Fetchers,
    ) -> Base {
        let file = Arc::new(File::open(path).unwrap());
        let identity = Identity::of(&[Part { path: path.to_owned(), file }]).unwrap();
        let cache = Cache::open(folder, identity, size, fetchers).unwrap();
        Base { path: path.to_owned(), content: Content::Cached(Arc::new(cache)) }
    }

    fn raw(path: &Path, file: &Arc<File>, size: u64, parts: &[Part]) -> Base {
        let (file, parts) = (Arc::clone(file), parts.to_vec());
        Base { path: path.to_owned(), content: Content::File { file, size, parts } }
    }

    /// The file that was named.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What the disk's bytes are read from, each at its own offset, where [`Base::prepare`] permits it. The file may
    /// be longer than the disk.
    pub(crate) fn file(&self) -> Option<&File> {
        match &self.content {
            Content::Nothing => None,
            Content::File { file, .. } => Some(file),
            Content::Taken(taken) => Some(taken.file()),
            Content::Cached(cache) => Some(cache.file()),
        }
    }

    /// In bytes, a multiple of 512.
    #[must_use]
    pub fn size(&self) -> u64 {
        match &self.content {
            Content::Nothing => 0,
            Content::File { size, .. } => *size,
            Content::Taken(taken) => taken.size(),
            Content::Cached(cache) => cache.size(),
        }
    }

    /// True: the bytes of the range, which lies in the disk, can be read from the file. False: the waker wakes when
    /// something has changed: ask again. An error is the reader's.
    pub(crate) fn prepare(&self, range: Range<u64>, waker: &Arc<Waker>) -> io::Result<bool> {
        match &self.content {
            Content::Cached(cache) => cache.prepare(range, waker),
            Content::Nothing | Content::File { .. } | Content::Taken(_) => Ok(true),
        }
    }

    /// Waits until the bytes of the range can be read from the file.
    fn wait(&self, range: &Range<u64>) -> io::Result<()> {
        if !matches!(self.content, Content::Cached(_)) {
            return Ok(());
        }
        let waker = Arc::new(Waker::new()?);
        while !self.prepare(range.clone(), &waker)? {
            waker.wait()?;
        }
        Ok(())
    }

    /// Every file that the disk is read from, the named one first.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        match &self.content {
            Content::Nothing => Vec::new(),
            Content::File { parts, .. } => parts.iter().map(|part| part.path.clone()).collect(),
            Content::Taken(taken) => taken.identity().paths().collect(),
            Content::Cached(cache) => cache.identity().paths().collect(),
        }
    }

    /// What the disk's files are now, so that a later process can tell whether they are the same. None: there are none.
    pub fn identity(&self) -> io::Result<Option<Identity>> {
        match &self.content {
            Content::Nothing => Ok(None),
            Content::File { parts, .. } => Identity::of(parts).map(Some),
            Content::Taken(taken) => Ok(Some(taken.identity().clone())),
            Content::Cached(cache) => Ok(Some(cache.identity().clone())),
        }
    }

    /// A view of the disk for who reads it as a file, and waits for what must be fetched.
    #[must_use]
    pub fn reader(&self) -> BaseReader {
        BaseReader { base: self.clone(), at: 0 }
    }

    /// Fills `[start, start + len)` of the buffers with the base's bytes at `offset`. Past its end are zeroes,
    /// even if the file has grown since it was opened.
    pub(crate) fn read(&self, buffers: &Buffers, start: u64, len: u64, offset: u64) -> io::Result<()> {
        let held = self.size().saturating_sub(offset).min(len);
        if let (Some(file), 1..) = (self.file(), held) {
            self.wait(&(offset..offset.saturating_add(held)))?;
            buffers.fill_from(start, held, file, offset)?;
        }
        buffers.zero(start.saturating_add(held), len.saturating_sub(held))
    }

    /// Fills `bytes` in the same way.
    pub(crate) fn read_bytes(&self, bytes: &mut [u8], offset: u64) -> io::Result<()> {
        bytes.fill(0);
        let held = self.size().saturating_sub(offset);
        let held = usize::try_from(held).unwrap_or(usize::MAX).min(bytes.len());
        match (self.file(), bytes.get_mut(..held)) {
            (Some(file), Some(part)) if held > 0 => {
                self.wait(&(offset..offset.saturating_add(u64::try_from(held).unwrap_or_default())))?;
                file.read_exact_at(part, offset)
            }
            _ => Ok(()),
        }
    }
}

/// A base as a file that can only be read.
#[derive(Debug)]
pub struct BaseReader {
    base: Base,
    at: u64,
}

impl Read for BaseReader {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        let left = self.base.size().saturating_sub(self.at);
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX).min(left);
        let end = self.at.saturating_add(len);
        let bytes = bytes.get_mut(..usize::try_from(len).unwrap_or_default()).unwrap_or_default();
        if let Content::Cached(cache) = &self.base.content {
            cache.wait(self.at..end)?;
        }
        if let Some(file) = self.base.file() {
            file.read_exact_at(bytes, self.at)?;
        }
        self.at = end;
        Ok(bytes.len())
    }
}

impl Seek for BaseReader {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => self.base.size().checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or(io::ErrorKind::InvalidInput)?;
        Ok(self.at)
    }
}
