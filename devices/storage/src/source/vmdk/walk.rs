//! A streamOptimized VMDK read from start to end, by the markers between its grains; its tables are passed over.

use super::{Grains, MARKER, Marker, Stream};
use crate::source::{Piece, StreamError};
use crate::{SECTOR, StorageError};
use std::io;

/// Kinds of markers, where the size is 0.
const END: u32 = 0;
const TABLE: u32 = 1;
const DIRECTORY: u32 = 2;
const FOOTER: u32 = 3;

/// Gives every grain to `sink`, and the disk's size in bytes. Grains must come in the disk's order, as whoever writes
/// to a pipe has them: it keeps two of one place out without a memory of all.
pub(in crate::source) fn decode(
    stream: &Stream,
    sink: &mut dyn FnMut(Piece<'_>) -> io::Result<()>,
) -> Result<u64, StreamError> {
    let Stream { reader, header } = stream;
    let mut grains = Grains::new(header);
    let (mut at, mut next) = (header.overhead.saturating_mul(SECTOR), 0);
    let damaged = |what: String| StreamError::Source(reader.damaged(what));
    loop {
        let marker = Marker::read(reader, at).map_err(|error| cut_short(stream, error))?;
        if marker.size == 0 {
            let kind = u32::from_le_bytes(reader.array(at.saturating_add(MARKER))?);
            let skipped = match kind {
                END => return Ok(stream.size()),
                TABLE | DIRECTORY | FOOTER => marker.value,
                _ => return Err(damaged(format!("there is an unknown marker {kind} at {at}"))),
            };
            at = at.saturating_add(SECTOR).saturating_add(skipped.saturating_mul(SECTOR));
            continue;
        }
        let first = marker.value;
        if first >= header.capacity || first.checked_rem(header.grain) != Some(0) || first < next {
            return Err(damaged(format!("the grain at {at} is for sector {first}, where none belongs")));
        }
        let bytes = grains.inflate(reader, header, &marker)?;
        let held = header.capacity.saturating_sub(first).saturating_mul(SECTOR).min(bytes.len() as u64);
        let offset = first.saturating_mul(SECTOR);
        let bytes = bytes.get(..usize::try_from(held).unwrap_or(0)).unwrap_or_default();
        let bytes = if crate::source::read::all_zero(bytes) { &[] } else { bytes };
        let end = marker.data.saturating_add(u64::from(marker.size)).next_multiple_of(SECTOR);
        sink(Piece { offset, bytes, read: end, of: reader.size() }).map_err(StreamError::Sink)?;
        (at, next) = (end, first.saturating_add(header.grain));
    }
}

/// The file ends where a marker should be.
fn cut_short(stream: &Stream, error: StorageError) -> StreamError {
    match error {
        StorageError::Damaged { .. } => {
            let what = "it ends without the marker of its end, so it was cut short";
            StreamError::Source(stream.reader.damaged(what))
        }
        error => StreamError::Source(error),
    }
}
