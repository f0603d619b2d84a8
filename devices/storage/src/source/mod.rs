//! Disk files of other formats than raw: told by content, read in place.

use std::fmt::Debug;
use std::io;

/// What is fetched at once, as EBS snapshots have it.
pub(crate) const BLOCK: u64 = 512 << 10;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Content {
    /// All zeroes. What `block` holds doesn't matter then.
    Zeroes,
    Data,
}

/// Gives a disk's content block by block, from a format that keeps it in pieces.
pub(crate) trait Fetch: Send + Debug {
    /// Fills `block` with the disk's bytes at `offset`. The offset is a multiple of [`BLOCK`], and the block is that
    /// long or ends where the disk does.
    fn fetch(&mut self, offset: u64, block: &mut [u8]) -> io::Result<Content>;
}
