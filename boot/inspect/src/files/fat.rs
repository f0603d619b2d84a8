//! FAT12, FAT16 and FAT32, read-only: long names, chains of clusters (Microsoft's "FAT: General Overview of On-Disk
//! Format" 1.03). Left out: writing, labels, dates.
//!
//! By hand: fatfs 0.3 ends the program on a cluster number below 2 or one whose sector does not fit 32 bits, and a
//! chain that comes back to itself keeps it going for ever; both are in the table of clusters, where no check of the
//! boot sector sees them. Here every chain is as long as its file's size says at most.

use super::{File, FileSystem, MAX_FOLDER, names};
use crate::bytes::{array, long, u16_at, u32_at};
use crate::disk::{Disk, Fault};

const ENTRY: usize = 32;
const DELETED: u8 = 0xe5;
const VOLUME: u8 = 0x08;
const FOLDER: u8 = 0x10;
const LONG_NAME: u8 = 0x0f;
/// Where an entry of a long name keeps its thirteen characters.
const LONG_NAME_PARTS: [(usize, usize); 3] = [(1, 5), (14, 6), (28, 2)];
const LONG_NAME_LAST: u8 = 0x40;
/// A name has 255 characters at most: twenty entries.
const MAX_LONG_NAME: usize = 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    Fat12,
    Fat16,
    Fat32,
}

pub(super) struct Fat {
    width: Width,
    /// Byte offsets on the disk.
    table: u64,
    table_bytes: u64,
    root: Root,
    data: u64,
    cluster_bytes: u64,
    clusters: u32,
}

#[derive(Clone, Copy)]
enum Root {
    /// FAT12 and FAT16 have it between table and data.
    Fixed {
        at: u64,
        bytes: u64,
    },
    Chain(u32),
}

struct Entry {
    name: String,
    short_name: String,
    folder: bool,
    cluster: u32,
    bytes: u64,
}

impl Fat {
    pub(super) fn open(disk: &mut Disk<'_>, first_byte: u64, bytes: u64) -> Result<Fat, Fault> {
        let sector = disk.take(first_byte, 512)?;
        Fat::parse(&sector, first_byte, bytes).ok_or(Fault::Broken("a FAT whose boot sector makes no sense"))
    }

    /// All numbers in 64 bits: none of them can overflow there.
    fn parse(boot: &[u8], first_byte: u64, bytes: u64) -> Option<Fat> {
        let word = |at| u16_at(boot, at).map(u64::from);
        let either = |small: u64, large: usize| {
            if small == 0 { u32_at(boot, large).map(u64::from) } else { Some(small) }
        };
        let sector = word(11)?;
        let per_cluster = u64::from(*boot.get(13)?);
        if !matches!(sector, 512 | 1024 | 2048 | 4096) || !per_cluster.is_power_of_two() {
            return None;
        }
        let cluster_bytes = sector.checked_mul(per_cluster)?;
        let reserved = word(14)?.checked_mul(sector)?;
        let table_bytes = either(word(22)?, 36)?.checked_mul(sector)?;
        let tables = table_bytes.checked_mul(u64::from(*boot.get(16)?))?;
        let root_bytes = word(17)?.checked_mul(long(ENTRY))?.checked_next_multiple_of(sector)?;
        let total = either(word(19)?, 32)?.checked_mul(sector)?;
        let root = reserved.checked_add(tables)?;
        let data = root.checked_add(root_bytes)?;
        if reserved == 0 || tables == 0 || total > bytes {
            return None;
        }
        let clusters = total.checked_sub(data)?.checked_div(cluster_bytes)?;
        let width = match clusters {
            0 => return None,
            1..4085 => Width::Fat12,
            4085..65525 => Width::Fat16,
            _ => Width::Fat32,
        };
        let at = |offset: u64| first_byte.checked_add(offset);
        let root = match width {
            Width::Fat32 => Root::Chain(u32_at(boot, 44)?),
            _ => Root::Fixed { at: at(root)?, bytes: root_bytes },
        };
        Some(Fat {
            width,
            table: at(reserved)?,
            table_bytes,
            root,
            data: at(data)?,
            cluster_bytes,
            clusters: u32::try_from(clusters).ok()?,
        })
    }

    /// Where a cluster's bytes are. The first is number 2.
    fn place(&self, cluster: u32) -> Result<u64, Fault> {
        let index = cluster.checked_sub(2).filter(|index| *index < self.clusters);
        let offset = index.and_then(|index| u64::from(index).checked_mul(self.cluster_bytes));
        offset
            .and_then(|offset| self.data.checked_add(offset))
            .ok_or(Fault::Broken("a cluster that is not there"))
    }

    /// What follows this cluster; None at the end of the chain.
    fn next(&self, disk: &mut Disk<'_>, cluster: u32) -> Result<Option<u32>, Fault> {
        let offset = match self.width {
            Width::Fat12 => u64::from(cluster).saturating_add(u64::from(cluster / 2)),
            Width::Fat16 => u64::from(cluster).saturating_mul(2),
            Width::Fat32 => u64::from(cluster).saturating_mul(4),
        };
        let mut bytes = [0; 4];
        let used = if self.width == Width::Fat32 { 4 } else { 2 };
        if offset.saturating_add(used) > self.table_bytes {
            return Err(Fault::Broken("a table of clusters that is too short"));
        }
        let to = bytes.get_mut(..crate::bytes::short(used)).unwrap_or_default();
        disk.read(self.table.saturating_add(offset), to)?;
        let value = u32::from_le_bytes(bytes);
        let (value, last) = match self.width {
            Width::Fat12 if cluster & 1 == 1 => (value >> 4, 0xff8),
            Width::Fat12 => (value & 0xfff, 0xff8),
            Width::Fat16 => (value, 0xfff8),
            Width::Fat32 => (value & 0x0fff_ffff, 0x0fff_fff8),
        };
        Ok((value < last).then_some(value))
    }

    /// The chain from `first`, as far as `bytes` reach.
    fn chain(&self, disk: &mut Disk<'_>, first: u32, bytes: u64) -> Result<File, Fault> {
        let mut file = File::new(bytes);
        let (mut cluster, mut left) = (first, bytes);
        while left > 0 {
            let count = left.min(self.cluster_bytes);
            file.push(Some(self.place(cluster)?), count)?;
            left = left.saturating_sub(count);
            match self.next(disk, cluster)? {
                Some(next) => cluster = next,
                None => break,
            }
        }
        // A folder has no size: its chain says how long it is.
        file.bytes = bytes.saturating_sub(left);
        Ok(file)
    }

    fn entries(&self, disk: &mut Disk<'_>, folder: Option<&Entry>) -> Result<Vec<Entry>, Fault> {
        let chain = match (folder.map(|folder| folder.cluster), self.root) {
            // `..` of a folder in the root names cluster 0.
            (None | Some(0), Root::Fixed { at, bytes }) => {
                let mut file = File::new(bytes);
                file.push(Some(at), bytes)?;
                file
            }
            (None | Some(0), Root::Chain(cluster)) | (Some(cluster), _) => {
                self.chain(disk, cluster, MAX_FOLDER)?
            }
        };
        let bytes = chain.read(disk, MAX_FOLDER)?;
        Ok(parse_entries(&bytes, self.width))
    }

    fn walk(&self, disk: &mut Disk<'_>, path: &str) -> Result<Option<Entry>, Fault> {
        let mut here: Option<Entry> = None;
        for name in names(path) {
            if here.as_ref().is_some_and(|here| !here.folder) {
                return Err(Fault::Absent);
            }
            let found = self
                .entries(disk, here.as_ref())?
                .into_iter()
                .find(|entry| same(&entry.name, name) || same(&entry.short_name, name));
            here = Some(found.ok_or(Fault::Absent)?);
        }
        Ok(here)
    }
}

impl FileSystem for Fat {
    fn find(&self, disk: &mut Disk<'_>, path: &str) -> Result<File, Fault> {
        match self.walk(disk, path)? {
            Some(entry) if !entry.folder && entry.bytes == 0 => Ok(File::new(0)),
            Some(entry) if !entry.folder => {
                let file = self.chain(disk, entry.cluster, entry.bytes)?;
                if file.bytes < entry.bytes {
                    return Err(Fault::Broken("a file whose chain of clusters ends before its size"));
                }
                Ok(file)
            }
            _ => Err(Fault::Absent),
        }
    }

    fn list(&self, disk: &mut Disk<'_>, folder: &str) -> Result<Vec<String>, Fault> {
        let folder = self.walk(disk, folder)?;
        if folder.as_ref().is_some_and(|entry| !entry.folder) {
            return Err(Fault::Absent);
        }
        let entries = self.entries(disk, folder.as_ref())?;
        Ok(entries.into_iter().map(|entry| entry.name).filter(|name| name != "." && name != "..").collect())
    }
}

fn same(one: &str, other: &str) -> bool {
    one.chars().flat_map(char::to_uppercase).eq(other.chars().flat_map(char::to_uppercase))
}

/// A long name stands before its entry, last part first.
fn parse_entries(bytes: &[u8], width: Width) -> Vec<Entry> {
    let mut found = Vec::new();
    let mut parts: Vec<[u16; 13]> = Vec::new();
    let mut sum = None;
    for entry in bytes.as_chunks::<ENTRY>().0 {
        let [first, ..] = *entry;
        let attributes = entry[11];
        match (first, attributes) {
            (0, _) => break,
            (DELETED, _) => parts.clear(),
            (order, _) if attributes & 0x3f == LONG_NAME => {
                if order & LONG_NAME_LAST != 0 {
                    parts.clear();
                    sum = Some(entry[13]);
                }
                if parts.len() < MAX_LONG_NAME {
                    parts.push(characters(entry));
                }
            }
            _ if attributes & VOLUME != 0 => parts.clear(),
            _ => {
                let short_name = short_name(entry);
                let fits = sum.take() == Some(checksum(entry)) && !parts.is_empty();
                let name = if fits { long_name(&parts) } else { short_name.clone() };
                parts.clear();
                found.push(Entry {
                    name,
                    short_name,
                    folder: attributes & FOLDER != 0,
                    cluster: first_cluster(entry, width),
                    bytes: u32_at(entry, 28).map_or(0, u64::from),
                });
            }
        }
    }
    found
}

fn first_cluster(entry: &[u8; ENTRY], width: Width) -> u32 {
    let [low, high] = [26, 20].map(|at| array(entry, at).map_or(0, u16::from_le_bytes));
    let high = if width == Width::Fat32 { high } else { 0 };
    u32::from(high) << 16 | u32::from(low)
}

fn characters(entry: &[u8; ENTRY]) -> [u16; 13] {
    let mut characters = [0; 13];
    let words = LONG_NAME_PARTS
        .iter()
        .flat_map(|(at, count)| entry.get(*at..).unwrap_or_default().chunks_exact(2).take(*count));
    for (to, word) in characters.iter_mut().zip(words) {
        *to = u16_at(word, 0).unwrap_or(0);
    }
    characters
}

fn long_name(parts: &[[u16; 13]]) -> String {
    let characters = parts.iter().rev().flatten().copied().take_while(|character| *character != 0);
    char::decode_utf16(characters).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
}

/// What ties a long name to the short one behind it.
fn checksum(entry: &[u8; ENTRY]) -> u8 {
    entry.iter().take(11).fold(0, |sum: u8, byte| sum.rotate_right(1).wrapping_add(*byte))
}

/// Eight characters, a dot, three. The flags of Windows NT say which part is written small.
fn short_name(entry: &[u8; ENTRY]) -> String {
    let (base, extension) = (entry.get(..8).unwrap_or_default(), entry.get(8..11).unwrap_or_default());
    let flags = entry[12];
    let text = |bytes: &[u8], small: bool| {
        let text = String::from_utf8_lossy(bytes.trim_ascii_end()).into_owned();
        if small { text.to_lowercase() } else { text }
    };
    let (base, extension) = (text(base, flags & 8 != 0), text(extension, flags & 16 != 0));
    if extension.is_empty() { base } else { format!("{base}.{extension}") }
}
