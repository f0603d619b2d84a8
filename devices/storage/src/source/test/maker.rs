//! Makers of disk files that no tool here makes, or not as small; the fuzz targets have them too.

use flate2::Compression;
use flate2::write::{DeflateEncoder, ZlibEncoder};
use std::io::Write;

/// How a VMDK ends.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum End {
    /// Grain directory, footer, the end's marker.
    Footer,
    /// The end's marker alone: nothing says where the tables are.
    Bare,
    /// Nothing: its header says where the tables are, and the grains are not compressed.
    Sparse,
}

/// Sizes of a VMDK's grains, in bytes, and of its tables, in entries.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) grain: usize,
    pub(crate) entries: usize,
    pub(crate) end: End,
}

/// Sectors in front of the first grain.
const OVERHEAD: u64 = 21;

pub(crate) const DESCRIPTOR: &str = "# Disk DescriptorFile\nversion=1\nCID=7e29f0c3\nparentCID=ffffffff\n\
    createType=\"streamOptimized\"\n\n# Extent description\nRW 10243 SPARSE \"disk.vmdk\"\n\n\
    ddb.adapterType = \"lsilogic\"\n";

fn header(sectors: u64, shape: Shape, directory: u64) -> Vec<u8> {
    let packed = shape.end != End::Sparse;
    let mut header = b"KDMV".to_vec();
    header.extend(3u32.to_le_bytes());
    header.extend((if packed { 1u32 | 1 << 16 | 1 << 17 } else { 1 }).to_le_bytes());
    for number in [sectors, shape.grain as u64 / 512, 1, 20] {
        header.extend(number.to_le_bytes());
    }
    header.extend((shape.entries as u32).to_le_bytes());
    for number in [0, directory, OVERHEAD] {
        header.extend(number.to_le_bytes());
    }
    header.extend(b"\0\n \r\n");
    header.extend(u16::from(packed).to_le_bytes());
    header.resize(512, 0);
    header
}

fn marker(sectors: u64, kind: u32) -> Vec<u8> {
    let mut marker = [&sectors.to_le_bytes()[..], &[0; 4], &kind.to_le_bytes()].concat();
    marker.resize(512, 0);
    marker
}

/// A compressed grain, for the disk's sector `first`.
pub(crate) fn grain(first: u64, bytes: &[u8]) -> Vec<u8> {
    let mut packed = ZlibEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(bytes).unwrap();
    let packed = packed.finish().unwrap();
    let mut grain = [&first.to_le_bytes()[..], &(packed.len() as u32).to_le_bytes(), &packed].concat();
    grain.resize(grain.len().next_multiple_of(512), 0);
    grain
}

fn table(entries: &[u64]) -> Vec<u8> {
    let mut table: Vec<u8> = entries.iter().flat_map(|entry| (*entry as u32).to_le_bytes()).collect();
    table.resize(table.len().next_multiple_of(512), 0);
    table
}

pub(crate) fn vmdk(disk: &[u8], shape: Shape) -> Vec<u8> {
    let sectors = disk.len() as u64 / 512;
    let packed = shape.end != End::Sparse;
    let mut file = header(sectors, shape, u64::MAX);
    file.extend(DESCRIPTOR.as_bytes());
    file.resize(OVERHEAD as usize * 512, 0);
    let (mut entries, mut tables) = (Vec::new(), Vec::new());
    let count = disk.len().div_ceil(shape.grain);
    for (number, bytes) in disk.chunks(shape.grain).enumerate() {
        let place = file.len() as u64 / 512;
        let zero = bytes.iter().all(|byte| *byte == 0);
        entries.push(if zero { 0 } else { place });
        // The last grain ends where the disk does.
        match (zero, packed) {
            (true, _) => {}
            (false, true) => file.extend(grain((number * shape.grain) as u64 / 512, bytes)),
            (false, false) => file.extend(bytes),
        }
        if entries.len() == shape.entries || number + 1 == count {
            let bytes = table(&entries);
            if packed {
                file.extend(marker(bytes.len() as u64 / 512, 1));
            }
            tables.push(if entries.iter().all(|entry| *entry == 0) { 0 } else { file.len() as u64 / 512 });
            file.extend(bytes);
            entries.clear();
        }
    }
    let bytes = table(&tables);
    match shape.end {
        End::Bare => file.extend(marker(0, 0)),
        End::Sparse => {
            let directory = file.len() as u64 / 512;
            file.extend(bytes);
            file[..512].copy_from_slice(&header(sectors, shape, directory));
        }
        End::Footer => {
            file.extend(marker(bytes.len() as u64 / 512, 2));
            let directory = file.len() as u64 / 512;
            file.extend(bytes);
            file.extend(marker(1, 3));
            file.extend(header(sectors, shape, directory));
            file.extend(marker(0, 0));
        }
    }
    file
}

/// Makes the checksum of a VHD's footer or header good again.
pub(crate) fn vhd_checksum(record: &mut [u8], at: usize) {
    record[at..at + 4].fill(0);
    let sum: u32 = record.iter().map(|byte| u32::from(*byte)).sum();
    record[at..at + 4].copy_from_slice(&(!sum).to_be_bytes());
}

fn vhd_footer(size: usize, kind: u32) -> Vec<u8> {
    let mut footer = b"conectix\0\0\0\x02\0\x01\0\0".to_vec();
    footer.extend((if kind == 2 { u64::MAX } else { 512 }).to_be_bytes());
    footer.resize(40, 0);
    footer.extend([(size as u64).to_be_bytes(), (size as u64).to_be_bytes()].concat());
    footer.extend(0u32.to_be_bytes());
    footer.extend(kind.to_be_bytes());
    footer.resize(512, 0);
    vhd_checksum(&mut footer, 64);
    footer
}

/// A fixed VHD.
pub(crate) fn vhd_fixed(disk: &[u8]) -> Vec<u8> {
    [disk, &vhd_footer(disk.len(), 2)].concat()
}

/// A dynamic VHD with blocks of 4 KiB. Sectors of zeroes are marked as such in the bitmaps, and hold something else.
pub(crate) fn vhd_dynamic(disk: &[u8]) -> Vec<u8> {
    const BLOCK: usize = 4096;
    let count = disk.len().div_ceil(BLOCK);
    let mut header =
        [&b"cxsparse"[..], &[0xff; 8], &1536u64.to_be_bytes(), &0x0001_0000u32.to_be_bytes()].concat();
    header.extend([(count as u32).to_be_bytes(), (BLOCK as u32).to_be_bytes()].concat());
    header.resize(1024, 0);
    vhd_checksum(&mut header, 36);
    let mut blocks = Vec::new();
    let mut table = Vec::new();
    let start = 1536 + (count * 4).next_multiple_of(512);
    for bytes in disk.chunks(BLOCK) {
        if bytes.iter().all(|byte| *byte == 0) {
            table.extend([0xff; 4]);
            continue;
        }
        table.extend((((start + blocks.len()) / 512) as u32).to_be_bytes());
        let mut block = vec![0; 512 + BLOCK];
        for (number, sector) in bytes.chunks(512).enumerate() {
            let held = &mut block[512 + number * 512..][..sector.len()];
            held.copy_from_slice(sector);
            if sector.iter().all(|byte| *byte == 0) {
                held.fill(0xbb);
            } else {
                block[number / 8] |= 0x80 >> (number % 8);
            }
        }
        blocks.extend(block);
    }
    table.resize(start - 1536, 0xff);
    let footer = vhd_footer(disk.len(), 3);
    [&footer[..], &header, &table, &blocks, &footer].concat()
}

/// A qcow2 file of 512-byte clusters with a disk of 64 KiB: data in the clusters 0 and 64 of it, compressed data in
/// the first three quarters of cluster 1, zeroes by a flag in cluster 2.
pub(crate) fn qcow2() -> Vec<u8> {
    const CLUSTER: u64 = 512;
    let mut header = [&b"QFI\xfb"[..], &3u32.to_be_bytes(), &[0; 12], &9u32.to_be_bytes()].concat();
    header.extend((64u64 << 10).to_be_bytes());
    header.extend([0u32.to_be_bytes(), 2u32.to_be_bytes()].concat());
    header.extend([(3 * CLUSTER).to_be_bytes(), CLUSTER.to_be_bytes()].concat());
    header.extend([1u32.to_be_bytes(), 0u32.to_be_bytes()].concat());
    header.resize(96, 0);
    header.extend([4u32.to_be_bytes(), 104u32.to_be_bytes()].concat());
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::fast());
    packed.write_all(&[[0x33; 384], [0; 384]].concat()[..512]).unwrap();
    let entries = |entries: &[u64]| entries.iter().flat_map(|entry| entry.to_be_bytes()).collect::<Vec<_>>();
    let counts = (0..9).flat_map(|_| 1u16.to_be_bytes()).collect();
    let owned = |cluster: u64| 1 << 63 | (cluster * CLUSTER);
    let clusters = [
        header,
        entries(&[2 * CLUSTER]),
        counts,
        entries(&[owned(4), owned(5)]),
        entries(&[owned(6), 1 << 62 | (7 * CLUSTER), 1]),
        entries(&[owned(8)]),
        vec![0x11; 512],
        packed.finish().unwrap(),
        vec![0x22; 512],
    ];
    clusters
        .into_iter()
        .flat_map(|mut cluster| {
            cluster.resize(512, 0);
            cluster
        })
        .collect()
}
