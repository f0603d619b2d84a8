//! The file beside a cache's data: what it is the cache of, and which blocks are there.
//!
//! | offset | what |
//! | --- | --- |
//! | 0 | [`Head`], written when the data file is made, for a stream when it has been taken in |
//! | 512 | how far the taking in of a stream has come: bytes read, of how many |
//! | 4096 | a bit a block: its bytes are on stable storage, and were before the bit was |
//! | behind it | a byte a block: it has been fetched since the cache was last opened by nobody else |
//!
//! The bytes tell processes that use a cache at one time what the others have; they mean nothing once all of those
//! have gone, as what they stand for need not have reached the disk. Far behind all this lie the bytes that are only
//! locked: a place for who uses the cache, for who takes a stream in, for who writes bits, and one for each block.

use super::lock::{Lock, lock};
use crate::source::BLOCK;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;

const MAGIC: &[u8; 8] = b"ami-run\n";
const VERSION: u32 = 1;

const PROGRESS: u64 = 512;
const BITS: u64 = 4096;

/// Who uses the cache holds it shared; who makes or removes it, exclusive.
pub(super) const USE: u64 = 1 << 40;
const INTAKE: u64 = USE + 1;
const COMMIT: u64 = USE + 2;
const BLOCKS: u64 = 1 << 41;

/// How many blocks' bytes are looked at together.
const CHUNK: u64 = 4096;

/// What the data file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Head {
    /// The disk's, in bytes. 0: it is not known yet.
    pub(super) size: u64,
    /// The data file's, so that another file of its name is not taken for it.
    pub(super) inode: u64,
}

impl Head {
    fn bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        let block = u32::try_from(BLOCK).unwrap_or_default();
        let fields = [&MAGIC[..], &VERSION.to_le_bytes(), &block.to_le_bytes()].concat();
        let fields = [&fields[..], &self.size.to_le_bytes(), &self.inode.to_le_bytes()].concat();
        for (to, from) in bytes.iter_mut().zip(fields) {
            *to = from;
        }
        bytes
    }
}

#[derive(Debug)]
pub(super) struct Sidecar {
    file: File,
}

impl Sidecar {
    pub(super) fn new(file: File) -> Sidecar {
        Sidecar { file }
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// None: there is none, or it is not one of this version's.
    pub(super) fn head(&self) -> io::Result<Option<Head>> {
        let mut bytes = [0; 32];
        if !read_at(&self.file, &mut bytes, 0)? {
            return Ok(None);
        }
        let number = |at: usize| {
            let field = bytes.get(at..).and_then(|rest| rest.first_chunk::<8>());
            field.map_or(0, |field| u64::from_le_bytes(*field))
        };
        let head = Head { size: number(16), inode: number(24) };
        Ok((bytes == head.bytes()).then_some(head))
    }

    /// Says what the data file is, for good.
    pub(super) fn set_head(&self, head: Head) -> io::Result<()> {
        self.file.write_all_at(&head.bytes(), 0)?;
        self.file.sync_all()
    }

    /// Forgets all that it says, for good.
    pub(super) fn clear(&self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.sync_all()
    }

    pub(super) fn progress(&self) -> io::Result<(u64, u64)> {
        let mut numbers = [[0; 8]; 2];
        let [read, of] = &mut numbers;
        let held =
            read_at(&self.file, read, PROGRESS)? && read_at(&self.file, of, PROGRESS.saturating_add(8))?;
        let [read, of] = numbers.map(u64::from_le_bytes);
        Ok(if held { (read, of) } else { (0, 0) })
    }

    pub(super) fn set_progress(&self, read: u64, of: u64) -> io::Result<()> {
        self.file.write_all_at(&[read.to_le_bytes(), of.to_le_bytes()].concat(), PROGRESS)
    }

    pub(super) fn lock_use(&self, how: Lock) -> io::Result<bool> {
        lock(&self.file, USE, how)
    }

    pub(super) fn lock_intake(&self, how: Lock) -> io::Result<bool> {
        lock(&self.file, INTAKE, how)
    }

    /// None: somebody else has it.
    pub(super) fn lock_block(&self, block: u64) -> io::Result<Option<Held<'_>>> {
        Held::try_new(&self.file, BLOCKS.saturating_add(block))
    }

    /// The bits of `count` blocks.
    pub(super) fn bits(&self, count: u64) -> io::Result<Vec<u8>> {
        let mut bits = vec![0; usize::try_from(count.div_ceil(8)).map_err(io::Error::other)?];
        Ok(if read_at(&self.file, &mut bits, BITS)? { bits } else { Vec::new() })
    }

    /// Sets the bits of blocks whose bytes are on stable storage. False: somebody else is at it.
    pub(super) fn set_bits(&self, blocks: &mut [u64]) -> io::Result<bool> {
        // Two writers of one byte would lose each other's bits.
        let Some(_held) = Held::try_new(&self.file, COMMIT)? else { return Ok(false) };
        blocks.sort_unstable();
        let sector = |block: &u64| block / 4096;
        for blocks in blocks.chunk_by(|a, b| sector(a) == sector(b)) {
            let Some(first) = blocks.first() else { continue };
            let offset = BITS.saturating_add(sector(first).saturating_mul(512));
            let mut bytes = [0; 512];
            read_at(&self.file, &mut bytes, offset)?;
            for block in blocks {
                let place = usize::try_from(block / 8 % 512).unwrap_or_default();
                if let Some(byte) = bytes.get_mut(place) {
                    *byte |= 1 << (block % 8);
                }
            }
            self.file.write_all_at(&bytes, offset)?;
        }
        Ok(true)
    }

    /// Makes room for a byte for each of `count` blocks, all 0.
    pub(super) fn clear_live(&self, count: u64) -> io::Result<()> {
        self.file.set_len(live(count))?;
        self.file.set_len(live(count).saturating_add(count))
    }

    pub(super) fn set_live(&self, block: u64, count: u64, is: bool) -> io::Result<()> {
        self.file.write_all_at(&[u8::from(is)], live(count).saturating_add(block))
    }

    /// Calls `found` for each block near this one that some process has.
    pub(super) fn live_near(&self, block: u64, count: u64, mut found: impl FnMut(u64)) -> io::Result<()> {
        let start = block & !(CHUNK - 1);
        let len = count.saturating_sub(start).min(CHUNK);
        let mut bytes = [0; 4096];
        let Some(bytes) = bytes.get_mut(..usize::try_from(len).unwrap_or_default()) else { return Ok(()) };
        if read_at(&self.file, bytes, live(count).saturating_add(start))? {
            (start..).zip(bytes.iter()).filter(|(_, byte)| **byte != 0).for_each(|(block, _)| found(block));
        }
        Ok(())
    }
}

/// Where the bytes of `count` blocks are: behind their bits, on a page of their own.
fn live(count: u64) -> u64 {
    BITS.saturating_add(count.div_ceil(8).next_multiple_of(4096))
}

/// True: all of it was there.
fn read_at(file: &File, bytes: &mut [u8], offset: u64) -> io::Result<bool> {
    match file.read_exact_at(bytes, offset) {
        Ok(()) => Ok(true),
        Err(cause) if cause.kind() == io::ErrorKind::UnexpectedEof => {
            bytes.fill(0);
            Ok(false)
        }
        Err(cause) => Err(cause),
    }
}

/// An exclusive lock until it is dropped.
#[derive(Debug)]
pub(super) struct Held<'a> {
    file: &'a File,
    offset: u64,
}

impl Held<'_> {
    fn try_new(file: &File, offset: u64) -> io::Result<Option<Held<'_>>> {
        Ok(lock(file, offset, Lock::Exclusive)?.then_some(Held { file, offset }))
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        // A lock that was taken can be given back; should it not, it goes with the file.
        lock(self.file, self.offset, Lock::Open).unwrap_or_default();
    }
}

#[cfg(test)]
#[path = "sidecar_test.rs"]
mod tests;
