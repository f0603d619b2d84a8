//! The MBR's table and the chain of records behind its extended partition (UEFI 2.10 §5.2.1; the chain is Linux'
//! block/partitions/msdos.c).
//!
//! By hand: mbrman 0.6 adds a disk's sector numbers unchecked, which ends the program, reads the chain all or
//! nothing, and stands on bincode, which has no maintainer.

use super::SECTOR;
use crate::bytes::u32_at;
use crate::contents::{Chain, Holds, Partition, Role};
use crate::disk::{Disk, Fault};

const TABLE_AT: usize = 446;
const ENTRY: usize = 16;
const ENTRIES: usize = 4;
/// The 512 bytes end in it.
const SIGNATURE: [u8; 2] = [0x55, 0xaa];

const EXTENDED: [u8; 3] = [0x05, 0x0f, 0x85];
const PROTECTIVE: u8 = 0xee;
const EFI_SYSTEM: u8 = 0xef;
const ACTIVE: u8 = 0x80;

/// Linux knows no more logical partitions than this.
const MAX_LOGICAL: u32 = 128;
/// Logical partitions are numbered from here.
const FIRST_LOGICAL: u32 = 5;

#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    status: u8,
    kind: u8,
    start: u32,
    sectors: u32,
}

impl Entry {
    fn parse(bytes: &[u8]) -> Option<Entry> {
        Some(Entry {
            status: *bytes.first()?,
            kind: *bytes.get(4)?,
            start: u32_at(bytes, 8)?,
            sectors: u32_at(bytes, 12)?,
        })
    }

    pub(super) fn is_used(&self) -> bool {
        self.kind != 0 && self.sectors != 0
    }

    pub(super) fn is_protective(&self) -> bool {
        self.is_used() && self.kind == PROTECTIVE
    }

    pub(super) fn is_extended(&self) -> bool {
        self.is_used() && EXTENDED.contains(&self.kind)
    }

    /// The partition, in sectors that count from `base`.
    fn partition(&self, number: u32, base: u64) -> Partition {
        let role = match self.kind {
            EFI_SYSTEM => Role::Esp,
            kind if EXTENDED.contains(&kind) => Role::Extended,
            _ => Role::Other,
        };
        Partition {
            number,
            role,
            first_byte: base.saturating_add(u64::from(self.start)).saturating_mul(SECTOR),
            bytes: u64::from(self.sectors).saturating_mul(SECTOR),
            active: self.status == ACTIVE,
            name: String::new(),
            holds: Holds::Unknown,
        }
    }
}

/// The four entries, if this sector is an MBR. A boot sector of FAT has the same signature, and Linux tells them apart
/// by the first byte of every entry: only 00 and 80 mean anything there.
pub(super) fn entries(sector: &[u8; 512]) -> Option<[Entry; ENTRIES]> {
    let mut found = [Entry { status: 0, kind: 0, start: 0, sectors: 0 }; ENTRIES];
    let (table, signature) = sector.get(TABLE_AT..)?.split_at_checked(ENTRY * ENTRIES)?;
    if signature != SIGNATURE {
        return None;
    }
    for (entry, bytes) in found.iter_mut().zip(table.chunks_exact(ENTRY)) {
        *entry = Entry::parse(bytes)?;
    }
    let honest = found.iter().all(|entry| entry.status & !ACTIVE == 0);
    (honest && found.iter().any(Entry::is_used)).then_some(found)
}

pub(super) fn primary(entries: &[Entry]) -> Vec<Partition> {
    let used = (1..).zip(entries).filter(|(_, entry)| entry.is_used());
    used.map(|(number, entry)| entry.partition(number, 0)).collect()
}

/// Follows the chain: each record holds a partition, counted from the record, and the next record, counted from the
/// extended partition.
pub(super) fn logical(disk: &mut Disk<'_>, extended: &Entry) -> Result<(Chain, Vec<Partition>), Fault> {
    let base = u64::from(extended.start);
    let (mut partitions, mut seen) = (Vec::new(), Vec::new());
    let mut next = 0u32;
    for number in FIRST_LOGICAL..FIRST_LOGICAL.saturating_add(MAX_LOGICAL) {
        let here = base.saturating_add(u64::from(next));
        seen.push(next);
        let mut sector = [0; 512];
        match disk.read(here.saturating_mul(SECTOR), &mut sector) {
            Ok(()) => {}
            Err(Fault::BehindTheEnd) => return Ok((Chain::Broken, partitions)),
            Err(fault) => return Err(fault),
        }
        let Some([this, link, ..]) = entries(&sector) else {
            // An extended partition may be empty: then it has no record at all.
            return Ok((if partitions.is_empty() { Chain::Whole } else { Chain::Broken }, partitions));
        };
        if this.is_used() && !this.is_extended() {
            partitions.push(this.partition(number, here));
        }
        if !link.is_extended() {
            return Ok((Chain::Whole, partitions));
        }
        next = link.start;
        if seen.contains(&next) {
            return Ok((Chain::Loop, partitions));
        }
        if next >= extended.sectors {
            return Ok((Chain::Broken, partitions));
        }
    }
    Ok((Chain::Broken, partitions))
}
