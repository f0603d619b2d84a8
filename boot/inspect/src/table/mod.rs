//! Partition tables: which there is, what it lists, and what is wrong with it.

mod gpt;
mod mbr;

use crate::contents::{Chain, GptMbr, Partition, Table};
use crate::disk::{Disk, Fault};

/// The sector that both tables count in. EC2 shows every volume with sectors of 512 bytes.
const SECTOR: u64 = 512;

/// Reads the table behind this first sector.
pub(crate) fn read(disk: &mut Disk<'_>, first: &[u8; 512]) -> Result<(Table, Vec<Partition>), Fault> {
    let mbr = mbr::entries(first);
    let claimed = match &mbr {
        Some(entries) if entries.iter().any(mbr::Entry::is_protective) => {
            Some(if entries.iter().filter(|entry| entry.is_used()).count() > 1 {
                GptMbr::Hybrid
            } else {
                GptMbr::Protective
            })
        }
        Some(_) => None,
        None => Some(GptMbr::None),
    };
    // A GPT that its MBR says nothing of is what UEFI and Linux ignore, unless there is no MBR either: then its
    // header is the only thing that tells what the disk once was.
    if let Some(before) = claimed
        && let Some((gpt, partitions)) = gpt::read(disk, before)?
    {
        return Ok((Table::Gpt(gpt), partitions));
    }
    let Some(entries) = mbr else {
        return Ok((Table::None, Vec::new()));
    };
    let mut partitions = mbr::primary(&entries);
    let (chain, logical) = match entries.iter().find(|entry| entry.is_extended()) {
        Some(extended) => mbr::logical(disk, extended)?,
        None => (Chain::None, Vec::new()),
    };
    partitions.extend(logical);
    Ok((Table::Mbr { chain }, partitions))
}
