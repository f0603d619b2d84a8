//! Where things are in a top: two headers, the map, and each granule's data at its own place. The map is as large as
//! the largest volume needs, so that a volume can grow; nothing of it is allocated before it is written.

/// Bytes in a granule: what the map has one entry for.
pub(crate) const GRANULE: u64 = 4096;
/// EBS's largest volume, 64 TiB.
pub(crate) const MAX_SIZE: u64 = 64 << 40;
/// Two headers, a page each.
pub(crate) const HEADERS: [u64; 2] = [0, 4096];
pub(crate) const HEADER_LEN: usize = 4096;
/// Bytes in a map sector: what a disk writes whole or not at all.
pub(crate) const MAP_SECTOR: u64 = 512;
/// Granules in a map sector: 480 bytes of two bits each.
pub(crate) const SECTOR_GRANULES: u64 = 1920;
/// Map sectors that are read together.
pub(crate) const PAGE_SECTORS: u64 = 8;
const MAP: u64 = 8192;
/// Where the data begins: 4.5 GiB, above the map of the largest volume.
const DATA: u64 = 0x1_2000_0000;
const _: () = assert!(MAP + (MAX_SIZE / GRANULE).div_ceil(SECTOR_GRANULES) * MAP_SECTOR <= DATA);

// Offsets are inside a volume, and so far below 2^64: saturating sums are exact sums.

/// Where a byte of the volume is.
pub(crate) fn data(offset: u64) -> u64 {
    DATA.saturating_add(offset)
}

/// Where a map sector is.
pub(crate) fn map_sector(number: u64) -> u64 {
    MAP.saturating_add(number.saturating_mul(MAP_SECTOR))
}

/// The granules that a page of the map stands for.
pub(crate) fn page_of(granule: u64) -> u64 {
    granule / (SECTOR_GRANULES * PAGE_SECTORS)
}

/// The pages of the map that a volume of this size has.
pub(crate) fn pages(size: u64) -> u64 {
    size.div_ceil(GRANULE).div_ceil(SECTOR_GRANULES * PAGE_SECTORS)
}
