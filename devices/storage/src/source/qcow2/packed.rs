//! Whether a compressed cluster is in its file to its last byte (docs/interop/qcow2.rst, "Compressed Clusters
//! Descriptor"). The crate takes zeroes for what is missing, which may well inflate to something.

use super::chain::Layer;
use super::header::Header;
use crate::StorageError;
use crate::source::read::Reader;
use flate2::{Decompress, FlushDecompress};

const COMPRESSED: u64 = 1 << 62;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// Checks the cluster of `at`, which the crate found compressed in one of these layers.
pub(super) fn check(layers: &[Layer], at: u64) -> Result<(), StorageError> {
    for Layer { reader, header, data } in layers {
        let Some(header) = header else { return Ok(()) };
        let entry = entry(reader, header, at)?;
        if entry & COMPRESSED != 0 {
            return in_file(data.as_ref().unwrap_or(reader), header.cluster, entry);
        }
    }
    Ok(())
}

/// A cluster's entry in its second table; 0 where there is no table.
fn entry(reader: &Reader, header: &Header, at: u64) -> Result<u64, StorageError> {
    let (bits, entries) = (header.cluster.trailing_zeros(), header.cluster / 8);
    let index = at >> bits >> entries.trailing_zeros();
    let table = header.l1_offset.saturating_add(index.saturating_mul(8));
    if index.saturating_mul(8) >= header.l1_len {
        return Ok(0);
    }
    match u64::from_be_bytes(reader.array(table)?) & OFFSET {
        0 => Ok(0),
        table => {
            let index = at >> bits & entries.wrapping_sub(1);
            Ok(u64::from_be_bytes(reader.array(table.saturating_add(index.saturating_mul(8)))?))
        }
    }
}

fn in_file(reader: &Reader, cluster: u64, entry: u64) -> Result<(), StorageError> {
    let shift = 70u32.saturating_sub(cluster.trailing_zeros());
    let below = |bits: u32| 1u64.checked_shl(bits).unwrap_or(0).wrapping_sub(1);
    let offset = entry & below(shift) & below(56);
    let sectors = (entry & below(62)).checked_shr(shift).unwrap_or(0);
    // The last sector is counted as a whole, wherever in it the data ends.
    let end = (offset >> 9).saturating_add(sectors).saturating_add(1).saturating_mul(512);
    if end <= reader.size() {
        return Ok(());
    }
    let cut =
        || reader.damaged(format!("its compressed data at {offset} is not all there; it was cut short"));
    if end > reader.size().next_multiple_of(512) || offset >= reader.size() {
        return Err(cut());
    }
    // A file that ends within a sector: what is there must do.
    let packed = reader.up_to(end.saturating_sub(offset), offset)?;
    let mut plain = vec![0; usize::try_from(cluster).unwrap_or(0)];
    let mut inflater = Decompress::new(false);
    match inflater.decompress(&packed, &mut plain, FlushDecompress::Finish) {
        Ok(_) if inflater.total_out() == cluster => Ok(()),
        _ => Err(cut()),
    }
}
