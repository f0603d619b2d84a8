//! A streamOptimized VMDK as VMware's tools and EC2's export write it: to a pipe, so that the tables come behind the
//! grains and the footer says where. qemu-img writes none of this kind.

use super::{Files, assert_holds, disk, error, source};
use crate::source::{Kind, StreamError};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use std::io::{self, Write};

/// How the file ends.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum End {
    /// Grain directory, footer, the end's marker.
    Footer,
    /// The end's marker alone: nothing says where the tables are.
    Bare,
}

/// Sectors in front of the first grain.
const OVERHEAD: u64 = 128;
/// Fewer entries than usual: a small disk has several tables then.
const ENTRIES: u64 = 16;
const GRAIN: usize = 64 << 10;

pub(super) const DESCRIPTOR: &str = "# Disk DescriptorFile\nversion=1\nCID=7e29f0c3\nparentCID=ffffffff\n\
    createType=\"streamOptimized\"\n\n# Extent description\nRW 10243 SPARSE \"disk.vmdk\"\n\nddb.adapterType = \"lsilogic\"\n";

fn header(sectors: u64, directory: u64) -> Vec<u8> {
    let mut header = b"KDMV".to_vec();
    header.extend(3u32.to_le_bytes());
    header.extend((1u32 | 1 << 16 | 1 << 17).to_le_bytes());
    for number in [sectors, GRAIN as u64 / 512, 1, 20] {
        header.extend(number.to_le_bytes());
    }
    header.extend((ENTRIES as u32).to_le_bytes());
    for number in [0, directory, OVERHEAD] {
        header.extend(number.to_le_bytes());
    }
    header.extend(b"\0\n \r\n\x01\0");
    header.resize(512, 0);
    header
}

fn marker(sectors: u64, kind: u32) -> Vec<u8> {
    let mut marker = [&sectors.to_le_bytes()[..], &[0; 4], &kind.to_le_bytes()].concat();
    marker.resize(512, 0);
    marker
}

fn grain(first: u64, bytes: &[u8]) -> Vec<u8> {
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

pub(super) fn vmdk(disk: &[u8], end: End) -> Vec<u8> {
    let sectors = disk.len() as u64 / 512;
    let mut file = header(sectors, u64::MAX);
    file.extend(DESCRIPTOR.as_bytes());
    file.resize(OVERHEAD as usize * 512, 0);
    let (mut entries, mut tables) = (Vec::new(), Vec::new());
    let count = disk.len().div_ceil(GRAIN);
    for (number, bytes) in disk.chunks(GRAIN).enumerate() {
        let place = file.len() as u64 / 512;
        // The last grain is written whole, or as far as the disk goes: both are seen.
        entries.push(if bytes.iter().all(|byte| *byte == 0) { 0 } else { place });
        if entries.last() != Some(&0) {
            file.extend(grain(number as u64 * GRAIN as u64 / 512, bytes));
        }
        if entries.len() as u64 == ENTRIES || number + 1 == count {
            let bytes = table(&entries);
            file.extend(marker(bytes.len() as u64 / 512, 1));
            tables.push(if entries.iter().all(|entry| *entry == 0) { 0 } else { file.len() as u64 / 512 });
            file.extend(bytes);
            entries.clear();
        }
    }
    if end == End::Footer {
        let bytes = table(&tables);
        file.extend(marker(bytes.len() as u64 / 512, 2));
        let directory = file.len() as u64 / 512;
        file.extend(bytes);
        file.extend(marker(1, 3));
        file.extend(header(sectors, directory));
    }
    file.extend(marker(0, 0));
    file
}

#[test]
fn a_vmdk_with_its_tables_at_the_end_is_read_by_them() {
    let (files, disk) = (Files::new(), disk());
    let path = files.write("disk.vmdk", vmdk(&disk, End::Footer));
    assert!(matches!(source(&path).kind(), Kind::Blocks(_)));
    assert_holds(&path, &disk);
    // The marker between the grains and the tables would let it be read from start to end as well; it isn't.
    let mut file = vmdk(&disk, End::Footer);
    file[OVERHEAD as usize * 512..][..8].fill(0xee);
    assert!(error(&files.write("disk.vmdk", &file)).contains("the grain of sector 0 is not at 65536"));
}

#[test]
fn a_vmdk_without_tables_is_read_from_start_to_end() {
    let (files, disk) = (Files::new(), disk());
    let whole = vmdk(&disk, End::Bare);
    let path = files.write("disk.vmdk", &whole);
    let found = source(&path);
    let Kind::Stream(stream) = found.kind() else { panic!("a stream") };
    assert_eq!(stream.size(), Some(disk.len() as u64));
    assert_holds(&path, &disk);
    let gives_up = stream.decode(&mut |_| Err(io::ErrorKind::StorageFull.into()));
    assert!(matches!(gives_up, Err(StreamError::Sink(error)) if error.kind() == io::ErrorKind::StorageFull));
    // A directory that leads past the end is as good as none.
    let mut lies = vmdk(&disk, End::Footer);
    let footer = lies.len() - 1024;
    let directory = u64::from_le_bytes(lies[footer + 56..][..8].try_into().unwrap());
    lies[directory as usize * 512..][..4].copy_from_slice(&0x7000_0000u32.to_le_bytes());
    let path = files.write("disk.vmdk", &lies);
    assert!(matches!(source(&path).kind(), Kind::Stream(_)));
    assert_holds(&path, &disk);
    let cut = files.write("disk.vmdk", &whole[..whole.len() - 512]);
    assert!(error(&cut).contains("it ends without the marker of its end, so it was cut short"));
}

#[test]
fn grains_out_of_place_are_an_error() {
    let (files, disk) = (Files::new(), disk());
    let whole = vmdk(&disk, End::Bare);
    let first = OVERHEAD as usize * 512;
    for (value, at) in [(1u64 << 40, "1099511627776"), (64, "64")] {
        let mut file = whole.clone();
        file[first..][..8].copy_from_slice(&value.to_le_bytes());
        assert!(
            error(&files.write("disk.vmdk", &file))
                .contains(&format!("is for sector {at}, where none belongs"))
        );
    }
    let twice = [&whole[..first], &grain(0, &disk[..GRAIN]), &whole[first..]].concat();
    assert!(error(&files.write("disk.vmdk", &twice)).contains("is for sector 0, where none belongs"));
}

#[test]
fn a_grain_that_inflates_beyond_its_size_is_an_error() {
    let (files, disk) = (Files::new(), disk());
    let whole = vmdk(&disk, End::Bare);
    let first = OVERHEAD as usize * 512;
    let said = |grain: Vec<u8>| error(&files.write("disk.vmdk", [&whole[..first], &grain].concat()));
    assert!(said(grain(0, &[7; GRAIN + 1])).contains("the grain of sector 0 has more than its 65536 bytes"));
    assert!(
        said(grain(0, &vec![7; 8 << 20])).contains("the grain of sector 0 has more than its 65536 bytes")
    );
    assert!(said(grain(0, &[7; GRAIN - 1])).contains("the grain of sector 0 has only 65535 bytes"));
    let mut large = grain(0, &[7; GRAIN]);
    large[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(said(large).contains("the grain of sector 0 has 4294967295 compressed bytes"));
}
