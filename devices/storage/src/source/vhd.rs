//! VHD, as the Virtual Hard Disk Image Format Specification (Microsoft, 2006) has it: a footer of 512 bytes behind a
//! raw disk (fixed), or behind blocks that a table finds (dynamic).
//!
//! Left out: differencing disks, whose other half lies elsewhere; locators of parents; the geometry. The disk is as
//! large as the footer's current size says: qemu-img rounds that up to cylinders unless it is told `force_size`.

use super::read::{CONVERT, Reader, all_zero, fault};
use super::{Content, Fetch};
use crate::{SECTOR, StorageError};
use std::io;
use zerocopy::byteorder::big_endian::{U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// "Hard Disk Footer Format". A dynamic disk has a copy of it in front.
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Footer {
    cookie: [u8; 8],
    features: U32,
    version: U32,
    data_offset: U64,
    time: U32,
    creator: [u8; 12],
    original_size: U64,
    current_size: U64,
    geometry: U32,
    kind: U32,
    checksum: U32,
    id: [u8; 16],
    saved_state: u8,
    reserved: [u8; 427],
}

/// "Dynamic Disk Header Format".
#[derive(Clone, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct Header {
    cookie: [u8; 8],
    data_offset: U64,
    table_offset: U64,
    version: U32,
    entries: U32,
    block_size: U32,
    checksum: U32,
    parent: [u8; 984],
}

const _: () = assert!(size_of::<Footer>() == 512 && size_of::<Header>() == 1024);

const VERSION: u32 = 0x0001_0000;
const FIXED: u32 = 2;
const DYNAMIC: u32 = 3;
const DIFFERENCING: u32 = 4;

/// No block here, so its bytes are zeroes.
const NO_BLOCK: u32 = u32::MAX;

/// Blocks are 2 MiB by default; the specification sets no bound.
const BLOCK_SIZES: std::ops::RangeInclusive<u32> = 4 << 10..=64 << 20;

/// Ones' complement of the sum of all bytes but the checksum's own.
fn checksum(bytes: &[u8], own: [u8; 4]) -> u32 {
    let sum = |bytes: &[u8]| bytes.iter().fold(0u32, |sum, byte| sum.wrapping_add(u32::from(*byte)));
    !sum(bytes).wrapping_sub(sum(&own))
}

/// Reads the footer, wherever it is, and checks it.
fn footer_at(reader: &Reader, offset: u64, len: usize) -> Result<Footer, StorageError> {
    let mut bytes = [0; 512];
    reader.fill(bytes.get_mut(..len).unwrap_or_default(), offset)?;
    let footer: Footer = zerocopy::transmute!(bytes);
    if &footer.cookie != b"conectix" {
        return Err(reader
            .damaged("it does not end in a VHD's footer, so it was cut short or has something behind it"));
    }
    if footer.checksum.get() != checksum(&bytes, footer.checksum.to_bytes()) {
        return Err(reader.damaged(format!("the checksum of its footer at {offset} is wrong")));
    }
    if footer.version.get() != VERSION {
        return Err(reader.refused(format!("of version {:#x}", footer.version.get()), CONVERT));
    }
    Ok(footer)
}

/// Where the footer at the end is, and its length: what is written today has 512 bytes, what Virtual PC before 2004
/// wrote has 511.
fn end(reader: &Reader) -> Result<(u64, usize), StorageError> {
    for len in [512, 511] {
        let Some(offset) = reader.size().checked_sub(len) else { continue };
        if &reader.array::<8>(offset)? == b"conectix" {
            return Ok((offset, if len == 512 { 512 } else { 511 }));
        }
    }
    Err(reader.damaged("it does not end in a VHD's footer, so it was cut short or has something behind it"))
}

/// A fixed disk's size in bytes; its data starts at the file's first.
pub(super) fn fixed(reader: &Reader) -> Result<u64, StorageError> {
    let (offset, len) = end(reader)?;
    let footer = footer_at(reader, offset, len)?;
    match footer.kind.get() {
        FIXED => {}
        DYNAMIC | DIFFERENCING => return Err(reader.damaged("the copy of its footer in front is missing")),
        kind => return Err(reader.refused(format!("of the unknown type {kind}"), CONVERT)),
    }
    let size = reader.disk_size(footer.current_size.get())?;
    if size > offset {
        return Err(reader.damaged(format!("it should hold {size} bytes and has {offset} before its footer")));
    }
    Ok(size)
}

/// A dynamic disk.
#[derive(Clone, Debug)]
pub(super) struct Dynamic {
    reader: Reader,
    size: u64,
    /// Where the table of blocks is.
    table: u64,
    block_size: u64,
    /// Where data ends and the footer begins.
    end: u64,
}

impl Dynamic {
    pub(super) fn open(reader: Reader) -> Result<Dynamic, StorageError> {
        let front = footer_at(&reader, 0, 512)?;
        match front.kind.get() {
            DYNAMIC => {}
            DIFFERENCING => {
                return Err(reader
                    .refused("that holds only what differs from another (a differencing disk)", CONVERT));
            }
            kind => return Err(reader.refused(format!("of the unknown type {kind}"), CONVERT)),
        }
        let (end, len) = end(&reader)?;
        // A download that stopped early ends in no footer, or in a footer that happened to be data.
        let back = footer_at(&reader, end, len)?;
        let size = reader.disk_size(front.current_size.get())?;
        if back.current_size != front.current_size || back.kind != front.kind || back.id != front.id {
            return Err(reader.damaged("its two footers differ"));
        }
        let offset = front.data_offset.get();
        let bytes = reader.array::<1024>(offset)?;
        let header: Header = zerocopy::transmute!(bytes);
        if &header.cookie != b"cxsparse" {
            return Err(reader.damaged(format!("there is no dynamic disk header at {offset}")));
        }
        if header.checksum.get() != checksum(&bytes, header.checksum.to_bytes()) {
            return Err(reader.damaged(format!("the checksum of its header at {offset} is wrong")));
        }
        let block_size = header.block_size.get();
        if !block_size.is_power_of_two() || !BLOCK_SIZES.contains(&block_size) {
            return Err(
                reader.damaged(format!("its blocks of {block_size} bytes are no power of two, or too large"))
            );
        }
        let (blocks, block_size) = (size.div_ceil(u64::from(block_size)), u64::from(block_size));
        let table = header.table_offset.get();
        let table_end = blocks.checked_mul(4).and_then(|len| table.checked_add(len));
        if blocks > u64::from(header.entries.get()) || table_end.is_none_or(|table_end| table_end > end) {
            return Err(
                reader.damaged(format!("its table of blocks at {table} has no place for {blocks} entries"))
            );
        }
        Ok(Dynamic { reader, size, table, block_size, end })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// Fills `to` with the disk's bytes at `offset`, all of which lie in one block.
    fn read(&self, offset: u64, to: &mut [u8]) -> Result<(), StorageError> {
        let number = offset.checked_div(self.block_size).unwrap_or(0);
        let inside = offset.checked_rem(self.block_size).unwrap_or(0);
        let entry = self.table.saturating_add(number.saturating_mul(4));
        let sector = u32::from_be_bytes(self.reader.array(entry)?);
        if sector == NO_BLOCK {
            to.fill(0);
            return Ok(());
        }
        // In front of the data is a bit a sector, most significant first, in whole sectors.
        let bitmap = u64::from(sector).saturating_mul(SECTOR);
        let bitmap_len = (self.block_size / SECTOR).div_ceil(8).next_multiple_of(SECTOR);
        let data = bitmap.saturating_add(bitmap_len).saturating_add(inside);
        if data.saturating_add(to.len() as u64) > self.end {
            let end = self.end;
            return Err(self
                .reader
                .damaged(format!("its block {number} at {bitmap} is not before the footer at {end}")));
        }
        self.reader.fill(to, data)?;
        let first = inside / SECTOR;
        let count = (to.len() as u64).div_ceil(SECTOR);
        let bits =
            self.reader.up_to(count.div_ceil(8).saturating_add(1), bitmap.saturating_add(first / 8))?;
        for (index, sector) in (first % 8..).zip(to.chunks_mut(512)) {
            let byte = usize::try_from(index / 8).ok().and_then(|at| bits.get(at)).copied().unwrap_or(0);
            if byte & (0x80 >> (index % 8)) == 0 {
                sector.fill(0);
            }
        }
        Ok(())
    }
}

impl Fetch for Dynamic {
    fn fetch(&mut self, offset: u64, block: &mut [u8]) -> io::Result<Content> {
        let (mut at, mut rest) = (offset, &mut *block);
        while !rest.is_empty() {
            let left = self.block_size.saturating_sub(at.checked_rem(self.block_size).unwrap_or(0));
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
            let (front, back) = rest.split_at_mut(len);
            self.read(at, front).map_err(fault)?;
            (at, rest) = (at.saturating_add(len as u64), back);
        }
        Ok(if all_zero(block) { Content::Zeroes } else { Content::Data })
    }
}
