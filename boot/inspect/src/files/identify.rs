//! What a partition begins with, told by magic numbers.

use crate::bytes::{array, stands_at, u16_at, u32_at};
use crate::contents::Holds;
use crate::disk::Disk;

const HEAD: usize = 0x2000;

/// Magic numbers within the head.
const MAGIC: [(usize, &[u8], &str); 12] = [
    (0, b"XFSB", "XFS"),
    (0, b"LUKS\xba\xbe", "LUKS"),
    (3, b"NTFS    ", "NTFS"),
    (3, b"-FVE-FS-", "BitLocker"),
    (3, b"EXFAT   ", "exFAT"),
    (0, b"hsqs", "squashfs"),
    (1024, b"\xe2\xe1\xf5\xe0", "EROFS"),
    (1024, b"\x10\x20\xf5\xf2", "F2FS"),
    (4096, b"\xfc\x4e\x2b\xa9", "a RAID member"),
    (0xff6, b"SWAPSPACE2", "swap"),
    (0x1018, b"\xc6\x85\x73\xf6", "bcachefs"),
    (0x55c, b"\x19\x01\x54\x19", "UFS"),
];

/// Magic numbers further in: btrfs' superblock, ISO 9660's volume descriptor.
const FAR: [(u64, &[u8], &str); 2] = [(0x1_0040, b"_BHRfS_M", "btrfs"), (0x8001, b"CD001", "ISO 9660")];

/// LVM's label may stand in any of the first four sectors.
const LVM_LABEL: &[u8] = b"LABELONE";

/// A ZFS label's ring of uberblocks (the first label is 256 KiB), and their magic.
const UBERBLOCKS_AT: u64 = 128 << 10;
const UBERBLOCKS: usize = 128 << 10;
const UBERBLOCK: usize = 1024;
const UBERBLOCK_MAGIC: u64 = 0x00ba_b10c;

const EXT_MAGIC_AT: usize = 1024 + 0x38;
const EXT_MAGIC: u16 = 0xef53;

pub(crate) fn identify(disk: &mut Disk<'_>, first_byte: u64, bytes: u64) -> Holds {
    let mut head = vec![0; HEAD.min(crate::bytes::short(bytes))];
    if disk.read(first_byte, &mut head).is_err() {
        return Holds::Nothing;
    }
    if u16_at(&head, EXT_MAGIC_AT) == Some(EXT_MAGIC) {
        return Holds::Ext;
    }
    if let Some((_, _, what)) = MAGIC.iter().find(|(at, magic, _)| stands_at(&head, *at, magic)) {
        return Holds::Other(what);
    }
    if head.chunks(512).take(4).any(|sector| sector.starts_with(LVM_LABEL)) {
        return Holds::Other("LVM");
    }
    if is_fat(&head) {
        return Holds::Fat;
    }
    for (at, magic, what) in FAR {
        let found = disk.take(first_byte.saturating_add(at), magic.len());
        if found.is_ok_and(|found| found == magic) {
            return Holds::Other(what);
        }
    }
    let ring = disk.take(first_byte.saturating_add(UBERBLOCKS_AT), UBERBLOCKS).unwrap_or_default();
    let magic = |block: &[u8]| array(block, 0).map(u64::from_ne_bytes);
    if ring.chunks(UBERBLOCK).any(|block| {
        magic(block).is_some_and(|magic| magic == UBERBLOCK_MAGIC || magic.swap_bytes() == UBERBLOCK_MAGIC)
    }) {
        return Holds::Other("ZFS");
    }
    Holds::Unknown
}

/// A boot sector's jump, signature, and a sector size that FAT allows.
fn is_fat(head: &[u8]) -> bool {
    let jump = matches!(head.first(), Some(0xeb | 0xe9));
    let signature = stands_at(head, 510, &[0x55, 0xaa]);
    let sector = u16_at(head, 11).is_some_and(|size| matches!(size, 512 | 1024 | 2048 | 4096));
    let total = u16_at(head, 19).unwrap_or(0) != 0 || u32_at(head, 32).unwrap_or(0) != 0;
    jump && signature && sector && total
}
