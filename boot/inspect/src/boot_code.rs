//! What BIOS starts: the first sector's code, told by the words that each loader's code says when it fails.

use crate::bytes::{contain, stands_at, u64_at};
use crate::contents::{BootCode, BootCodeKind};
use crate::disk::{Disk, Fault};

/// Behind it stand the disk's signature and the partition table.
const CODE: usize = 440;
const SIGNATURE_AT: usize = 510;

/// Where GRUB's boot.img keeps the sector number of its core (GRUB 2: GRUB_BOOT_MACHINE_KERNEL_SECTOR).
const GRUB_CORE_AT: usize = 0x5c;
const SECTOR: u64 = 512;

/// Code that looks for the active partition and starts its first sector.
const CHAINS: [(&[u8], &str); 3] = [
    (b"Operating system load error.", "syslinux"),
    (b"Multiple active partitions", "syslinux"),
    (b"Invalid partition table", "Windows"),
];

pub(crate) fn read(disk: &mut Disk<'_>, first: &[u8; 512]) -> Result<BootCode, Fault> {
    let signature = stands_at(first, SIGNATURE_AT, &[0x55, 0xaa]);
    let code = first.get(..CODE).unwrap_or_default();
    let kind = if code.iter().all(|byte| *byte == 0) {
        BootCodeKind::None
    } else if contain(code, b"GRUB ") {
        let core_sector = u64_at(code, GRUB_CORE_AT).unwrap_or(0);
        BootCodeKind::Grub { core_sector, core: is_there(disk, core_sector)? }
    } else if stands_at(code, 2, b"LILO") || stands_at(code, 6, b"LILO") {
        BootCodeKind::Lilo
    } else if let Some((_, name)) = CHAINS.iter().find(|(words, _)| contain(code, words)) {
        BootCodeKind::Chain { name }
    } else {
        BootCodeKind::Unknown
    };
    Ok(BootCode { signature, kind })
}

fn is_there(disk: &mut Disk<'_>, sector: u64) -> Result<bool, Fault> {
    let mut bytes = [0; 512];
    match disk.read(sector.saturating_mul(SECTOR), &mut bytes) {
        Ok(()) => Ok(sector != 0 && bytes.iter().any(|byte| *byte != 0)),
        Err(Fault::BehindTheEnd) => Ok(false),
        Err(fault) => Err(fault),
    }
}
