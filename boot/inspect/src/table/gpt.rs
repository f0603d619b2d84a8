//! GPT, by gptman (UEFI 2.10 §5.3): both copies with their checksums, and which of them holds.
//!
//! gptman takes memory for as many entries as a header names, and ends the program where an entry is not of 128
//! bytes or a sector number overflows; so a header's numbers are bounded here before its entries are read. The
//! entries are read out of memory for the same reason.

use super::SECTOR;
use crate::bytes::short;
use crate::contents::{Copy, Gpt, GptMbr, Holds, Partition, Role};
use crate::disk::{Disk, Fault};
use gptman::{GPTHeader, GPTPartitionEntry};
use std::io::Cursor;

/// Type GUIDs as they stand on disk.
const ESP: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
const XBOOTLDR: [u8; 16] =
    [0xff, 0xc2, 0x13, 0xbc, 0xe6, 0x59, 0x62, 0x42, 0xa3, 0x52, 0xb2, 0x75, 0xfd, 0x6f, 0x71, 0x72];
const BIOS_BOOT: [u8; 16] = *b"Hah!IdontNeedEFI";

/// Attribute bit 2: legacy BIOS bootable.
const LEGACY_BOOTABLE: u64 = 1 << 2;

/// Everyone makes 128 entries; sgdisk can make more.
const MAX_ENTRIES: u32 = 1024;
const ENTRY: u32 = 128;
/// gptman reads its own structure's size for each entry, which is more than the entry's.
const SLACK: usize = 128;

/// None: there is no GPT here, and nothing says that there should be one.
pub(super) fn read(disk: &mut Disk<'_>, mbr: GptMbr) -> Result<Option<(Gpt, Vec<Partition>)>, Fault> {
    let primary = copy(disk, 1)?;
    // Where the primary names it; else where it would be: at the end of the snapshot that the volume was made from,
    // or of the volume.
    let mut places: Vec<u64> = primary.as_ref().map(|(header, _)| header.backup_lba).into_iter().collect();
    if places.is_empty() {
        places = [disk.held, disk.bytes].map(|end| (end / SECTOR).saturating_sub(1)).to_vec();
    }
    let mut backup = Err("there is none".to_owned());
    for place in places.into_iter().filter(|place| *place > 1) {
        backup = match copy(disk, place)? {
            Ok(good) => Ok(good),
            // Garbage at the second place says less than a bad header at the first.
            Err(why) => backup.map_err(|before| if why == NO_HEADER { before } else { why }),
        };
        if backup.is_ok() {
            break;
        }
    }
    let absent = |why: &String| [NO_HEADER, BEHIND_THE_END].contains(&why.as_str());
    if mbr == GptMbr::None && primary.as_ref().is_err_and(absent) && backup.is_err() {
        return Ok(None);
    }
    let judged = |side: &Side| match side {
        Ok(_) => Copy::Good,
        Err(why) => Copy::Broken(why.clone()),
    };
    let mut gpt = Gpt { primary: judged(&primary), backup: judged(&backup), mbr, bytes: 0 };
    let Ok((header, entries)) = primary.or(backup) else {
        return Ok(Some((gpt, Vec::new())));
    };
    // A backup names itself as the primary.
    gpt.bytes = header.backup_lba.max(header.primary_lba).saturating_add(1).saturating_mul(SECTOR);
    let used = (1..).zip(&entries).filter(|(_, entry)| entry.is_used());
    Ok(Some((gpt, used.map(|(number, entry)| partition(number, entry)).collect())))
}

/// One copy's header and entries, or what is wrong with it.
type Side = Result<(GPTHeader, Vec<GPTPartitionEntry>), String>;

const NO_HEADER: &str = "its header is missing";
const BEHIND_THE_END: &str = "it would lie behind the end of the volume";

fn copy(disk: &mut Disk<'_>, lba: u64) -> Result<Side, Fault> {
    let mut sector = [0; 512];
    let words = |why: &str| Ok(Err(why.to_owned()));
    match disk.read(lba.saturating_mul(SECTOR), &mut sector) {
        Ok(()) => {}
        Err(Fault::BehindTheEnd) => return words(BEHIND_THE_END),
        Err(fault) => return Err(fault),
    }
    let header = match GPTHeader::read_from(&mut Cursor::new(sector)) {
        Ok(header) => header,
        Err(gptman::Error::InvalidSignature) => return words(NO_HEADER),
        Err(gptman::Error::InvalidChecksum(..)) => return words("its header's checksum is wrong"),
        Err(cause) => return Ok(Err(format!("its header is broken: {cause}"))),
    };
    if header.primary_lba != lba {
        return words("its header says that it stands elsewhere");
    }
    if header.size_of_partition_entry != ENTRY || header.number_of_partition_entries > MAX_ENTRIES {
        return words("its entries are of a size or number that nobody uses");
    }
    let bytes = u64::from(header.number_of_partition_entries).saturating_mul(u64::from(ENTRY));
    let mut array = match disk.take(header.partition_entry_lba.saturating_mul(SECTOR), short(bytes)) {
        Ok(array) => array,
        Err(Fault::BehindTheEnd) => return words("its entries would lie behind the end of the volume"),
        Err(fault) => return Err(fault),
    };
    array.resize(array.len().saturating_add(SLACK), 0);
    let in_memory = GPTHeader { partition_entry_lba: 0, ..header.clone() };
    Ok(match in_memory.read_partitions(&mut Cursor::new(array), SECTOR) {
        Ok(entries) => Ok((header, entries)),
        Err(gptman::Error::InvalidPartitionEntryArrayChecksum(..)) => {
            Err("its entries' checksum is wrong".to_owned())
        }
        Err(cause) => Err(format!("its entries are broken: {cause}")),
    })
}

fn partition(number: u32, entry: &GPTPartitionEntry) -> Partition {
    let role = match entry.partition_type_guid {
        ESP => Role::Esp,
        XBOOTLDR => Role::XBootLoader,
        BIOS_BOOT => Role::BiosBoot,
        _ => Role::Other,
    };
    let sectors = entry.ending_lba.saturating_add(1).saturating_sub(entry.starting_lba);
    Partition {
        number,
        role,
        first_byte: entry.starting_lba.saturating_mul(SECTOR),
        bytes: sectors.saturating_mul(SECTOR),
        active: entry.attribute_bits & LEGACY_BOOTABLE != 0,
        name: entry.partition_name.as_str().to_owned(),
        holds: Holds::Unknown,
    }
}
