//! What the engine asks of whoever moves bytes for it. Offsets are bytes of the volume, unless said otherwise.

use ami_run_memory::Buffers;
use std::ops::Range;
use std::sync::Arc;
use zerocopy::{FromBytes, Immutable, IntoBytes};

/// Room for one granule, aligned for O_DIRECT.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable)]
#[repr(C, align(4096))]
pub(crate) struct Granule(pub(crate) [u8; 4096]);

impl Granule {
    pub(crate) fn zeroes() -> Box<Granule> {
        Box::new(Granule([0; 4096]))
    }

    pub(crate) fn part(&self, range: &Range<usize>) -> &[u8] {
        self.0.get(range.clone()).unwrap_or_default()
    }

    pub(crate) fn part_mut(&mut self, range: &Range<usize>) -> &mut [u8] {
        self.0.get_mut(range.clone()).unwrap_or_default()
    }
}

/// A part of a request's buffers.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub(crate) buffers: Arc<Buffers>,
    pub(crate) start: u64,
    pub(crate) len: u64,
}

/// A granule that a write covers in part: what is written is `written` of it, after `part` was filled.
#[derive(Debug)]
pub(crate) struct Merge {
    pub(crate) granule: Box<Granule>,
    /// Where the granule begins.
    pub(crate) offset: u64,
    pub(crate) written: Range<usize>,
    pub(crate) part: Range<usize>,
    /// What `part` becomes; None: zeroes.
    pub(crate) with: Option<Piece>,
}

#[derive(Debug)]
pub(crate) enum Io {
    /// All of the range is inside the base.
    ReadBase(Piece, u64),
    ReadTop(Piece, u64),
    Zero(Piece),
    Write(Piece, u64),
    /// Fills so many bytes of the granule from the base; comes back to be written.
    ReadGranule(Merge, usize),
    WriteGranule(Merge),
    /// Returns when everything that was finished before is on stable storage.
    Sync,
    /// Fills the granule with this page of the map on disk.
    ReadMap(u64, Box<Granule>),
    /// Writes neighbouring sectors of the map, from this number on.
    WriteMap(u64, Vec<u8>),
    /// Gives a range's space back to the host. One that can't merely keeps it.
    Punch(Range<u64>),
}
