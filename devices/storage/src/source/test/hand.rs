//! A streamOptimized VMDK as VMware's tools and EC2's export write it: to a pipe, so that the tables come behind the
//! grains and the footer says where. qemu-img writes none of this kind.

use super::maker::{self, End, Shape};
use super::{Files, assert_holds, disk, error, source};
use crate::source::{Kind, StreamError};
use std::io;

const GRAIN: usize = 64 << 10;

/// Where the first grain is.
const FIRST: usize = 21 * 512;

fn vmdk(disk: &[u8], end: End) -> Vec<u8> {
    // Fewer entries than usual: a small disk has several tables then.
    maker::vmdk(disk, Shape { grain: GRAIN, entries: 16, end })
}

fn grain(first: u64, bytes: &[u8]) -> Vec<u8> {
    maker::grain(first, bytes)
}

#[test]
fn a_vmdk_with_its_tables_at_the_end_is_read_by_them() {
    let (files, disk) = (Files::new(), disk());
    let path = files.write("disk.vmdk", vmdk(&disk, End::Footer));
    assert!(matches!(source(&path).kind(), Kind::Blocks(_)));
    assert_holds(&path, &disk);
    // The marker between the grains and the tables would let it be read from start to end as well; it isn't.
    let mut file = vmdk(&disk, End::Footer);
    file[FIRST..][..8].fill(0xee);
    assert!(error(&files.write("disk.vmdk", &file)).contains("the grain of sector 0 is not at 10752"));
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
    for (value, at) in [(1u64 << 40, "1099511627776"), (64, "64")] {
        let mut file = whole.clone();
        file[FIRST..][..8].copy_from_slice(&value.to_le_bytes());
        assert!(
            error(&files.write("disk.vmdk", &file))
                .contains(&format!("is for sector {at}, where none belongs"))
        );
    }
    let twice = [&whole[..FIRST], &grain(0, &disk[..GRAIN]), &whole[FIRST..]].concat();
    assert!(error(&files.write("disk.vmdk", &twice)).contains("is for sector 0, where none belongs"));
}

#[test]
fn a_grain_that_inflates_beyond_its_size_is_an_error() {
    let (files, disk) = (Files::new(), disk());
    let whole = vmdk(&disk, End::Bare);
    let said = |grain: Vec<u8>| error(&files.write("disk.vmdk", [&whole[..FIRST], &grain].concat()));
    assert!(said(grain(0, &[7; GRAIN + 1])).contains("the grain of sector 0 has more than its 65536 bytes"));
    assert!(
        said(grain(0, &vec![7; 8 << 20])).contains("the grain of sector 0 has more than its 65536 bytes")
    );
    assert!(said(grain(0, &[7; GRAIN - 1])).contains("the grain of sector 0 has only 65535 bytes"));
    let mut large = grain(0, &[7; GRAIN]);
    large[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(said(large).contains("the grain of sector 0 has 4294967295 compressed bytes"));
}

#[test]
fn small_files_of_every_kind_are_read() {
    let (files, whole) = (Files::new(), disk());
    let sparse = maker::vmdk(&whole, Shape { grain: 4096, entries: 7, end: End::Sparse });
    assert_holds(&files.write("sparse.vmdk", sparse), &whole);
    assert_holds(&files.write("fixed.vhd", maker::vhd_fixed(&whole)), &whole);
    assert_holds(&files.write("dynamic.vhd", maker::vhd_dynamic(&whole)), &whole);
    let mut small = vec![0; 64 << 10];
    small[..512].fill(0x11);
    small[512..512 + 384].fill(0x33);
    small[32 << 10..][..512].fill(0x22);
    assert_holds(&files.write("small.qcow2", maker::qcow2()), &small);
}
