//! ext2, ext3 and ext4, read-only: extents and block maps, folders, symbolic links (Linux'
//! Documentation/filesystems/ext4). Left out: the journal's replay (what a running system had not written home yet is
//! read as it was before), checksums, encryption, files kept inside their inode, extended attributes.
//!
//! By hand: ext4-view 1.0 reads more and checks more, but a disk can keep it going without a single read that we
//! could count: extents of no blocks, trees whose branches all lead to the same leaf, folders of 2³² blocks. The tests
//! compare with it on honest disks.

use super::{File, FileSystem, MAX_FILE, MAX_FOLDER, names};
use crate::bytes::{array, short, u16_at, u32_at};
use crate::disk::{Disk, Fault};

const SUPERBLOCK_AT: u64 = 1024;
const SUPERBLOCK: usize = 1024;

const FILE_TYPE: u32 = 0x2;
const RECOVER: u32 = 0x4;
const EXTENTS: u32 = 0x40;
const SIXTY_FOUR_BIT: u32 = 0x80;
const MMP: u32 = 0x100;
const FLEX_BG: u32 = 0x200;
const EA_INODE: u32 = 0x400;
const CHECKSUM_SEED: u32 = 0x2000;
const LARGE_FOLDERS: u32 = 0x4000;
const INLINE_DATA: u32 = 0x8000;
const ENCRYPT: u32 = 0x1_0000;
const CASE_FOLD: u32 = 0x2_0000;
/// Features that change nothing of what is read here, or only inodes that say so themselves.
const KNOWN: u32 = FILE_TYPE
    | RECOVER
    | EXTENTS
    | SIXTY_FOUR_BIT
    | MMP
    | FLEX_BG
    | EA_INODE
    | CHECKSUM_SEED
    | LARGE_FOLDERS
    | INLINE_DATA
    | ENCRYPT
    | CASE_FOLD;

const ROOT: u32 = 2;

const KIND: u16 = 0xf000;
const FOLDER: u16 = 0x4000;
const REGULAR: u16 = 0x8000;
const LINK: u16 = 0xa000;

const INODE_ENCRYPTED: u32 = 0x800;
const INODE_EXTENTS: u32 = 0x8_0000;
const INODE_INLINE: u32 = 0x1000_0000;

const EXTENT_MAGIC: u16 = 0xf30a;
const EXTENT: usize = 12;
const MAX_DEPTH: u16 = 5;
/// Longer extents are reserved, and read as zeros.
const WRITTEN: u32 = 32768;

/// Block numbers in an inode: twelve of data, then one each of one, two and three levels.
const DIRECT: usize = 12;
/// Shorter links stand where the block numbers would.
const SHORT_LINK: u64 = 60;
const MAX_LINK: u64 = 4096;
/// Linux gives up after as many.
const MAX_LINKS: usize = 40;

pub(super) struct Ext {
    first_byte: u64,
    bytes: u64,
    block: u64,
    descriptors: u64,
    descriptor: u64,
    groups: u64,
    inodes_per_group: u32,
    inode: u64,
}

struct Inode {
    mode: u16,
    flags: u32,
    bytes: u64,
    blocks: [u8; 60],
}

impl Inode {
    fn is(&self, kind: u16) -> bool {
        self.mode & KIND == kind
    }
}

impl Ext {
    pub(super) fn open(disk: &mut Disk<'_>, first_byte: u64, bytes: u64) -> Result<Ext, Fault> {
        let superblock = disk.take(first_byte.saturating_add(SUPERBLOCK_AT), SUPERBLOCK)?;
        let dword = |at| u32_at(&superblock, at).unwrap_or(0);
        let word = |at| u16_at(&superblock, at).unwrap_or(0);
        let features = dword(0x60);
        if features & !KNOWN != 0 {
            return Err(Fault::Unknown("an ext file system with features that are not read here"));
        }
        let broken = Fault::Broken("an ext file system whose superblock makes no sense");
        let block = 1024u64.checked_shl(dword(0x18)).filter(|block| *block <= 65536).ok_or(broken)?;
        let wide = features & SIXTY_FOUR_BIT != 0;
        let high = if wide { u64::from(dword(0x150)) << 32 } else { 0 };
        let blocks = (high | u64::from(dword(4))).saturating_sub(u64::from(dword(0x14)));
        let inodes_per_group = dword(0x28);
        // Revision 0 has no such fields.
        let inode = if dword(0x4c) == 0 { 128 } else { u64::from(word(0x58)) };
        let descriptor = if wide { u64::from(word(0xfe)) } else { 32 };
        let groups =
            blocks.checked_div(u64::from(dword(0x20))).map(|whole| whole.saturating_add(1)).ok_or(broken)?;
        if inodes_per_group == 0 || !(128..=block).contains(&inode) || !(32..=block).contains(&descriptor) {
            return Err(broken);
        }
        // The block behind the superblock's own, which is the first or, with blocks of 1 KiB, the second.
        let behind = if block > SUPERBLOCK_AT { block } else { SUPERBLOCK_AT.saturating_mul(2) };
        let descriptors = first_byte.saturating_add(behind);
        Ok(Ext { first_byte, bytes, block, descriptors, descriptor, groups, inodes_per_group, inode })
    }

    /// Where a block is on the disk.
    fn place(&self, block: u64) -> Result<u64, Fault> {
        let outside = Fault::Broken("a block that lies outside its file system");
        let offset = block.checked_mul(self.block).filter(|offset| *offset < self.bytes).ok_or(outside)?;
        self.first_byte.checked_add(offset).ok_or(outside)
    }

    fn inode(&self, disk: &mut Disk<'_>, number: u32) -> Result<Inode, Fault> {
        let broken = Fault::Broken("an inode that is not there");
        let index = number.checked_sub(1).ok_or(broken)?;
        let group = index.checked_div(self.inodes_per_group).ok_or(broken)?;
        let within = index.checked_rem(self.inodes_per_group).ok_or(broken)?;
        if u64::from(group) >= self.groups {
            return Err(broken);
        }
        let at = self.descriptors.saturating_add(u64::from(group).saturating_mul(self.descriptor));
        let descriptor = disk.take(at, short(self.descriptor))?;
        let low = u32_at(&descriptor, 8).map_or(0, u64::from);
        let high = if self.descriptor >= 64 { u32_at(&descriptor, 0x28).map_or(0, u64::from) } else { 0 };
        let table = self.place(high << 32 | low)?;
        let at = table.saturating_add(u64::from(within).saturating_mul(self.inode));
        let bytes = disk.take(at, 128)?;
        let size = |at| u32_at(&bytes, at).map_or(0, u64::from);
        Ok(Inode {
            mode: u16_at(&bytes, 0).unwrap_or(0),
            flags: u32_at(&bytes, 0x20).unwrap_or(0),
            bytes: size(0x6c) << 32 | size(4),
            blocks: array(&bytes, 0x28).ok_or(broken)?,
        })
    }

    fn file(&self, disk: &mut Disk<'_>, inode: &Inode, most: u64) -> Result<File, Fault> {
        if inode.flags & INODE_ENCRYPTED != 0 {
            return Err(Fault::Unknown("a file that is encrypted"));
        }
        if inode.flags & INODE_INLINE != 0 {
            return Err(Fault::Unknown("a file that is kept inside its inode"));
        }
        if inode.bytes > most {
            return Err(Fault::TooMuch);
        }
        let mut mapping = Mapping { ext: self, file: File::new(inode.bytes), done: 0 };
        if inode.flags & INODE_EXTENTS != 0 {
            mapping.extents(disk, &inode.blocks, None)?;
        } else {
            mapping.block_map(disk, &inode.blocks)?;
        }
        mapping.fill_up_to(inode.bytes)?;
        Ok(mapping.file)
    }

    /// The names and inodes of a folder.
    fn entries(&self, disk: &mut Disk<'_>, inode: &Inode) -> Result<Vec<(String, u32)>, Fault> {
        if !inode.is(FOLDER) {
            return Err(Fault::Absent);
        }
        let bytes = self.file(disk, inode, MAX_FOLDER)?.read(disk, MAX_FOLDER)?;
        let mut found = Vec::new();
        // An entry never reaches across the end of a block.
        for mut block in bytes.chunks(short(self.block)) {
            while let (Some(number), Some(length), Some(name_length)) =
                (u32_at(block, 0), u16_at(block, 4), block.get(6))
            {
                let name = block.get(8..).and_then(|rest| rest.get(..usize::from(*name_length)));
                if let (true, Some(name)) = (number != 0, name) {
                    found.push((String::from_utf8_lossy(name).into_owned(), number));
                }
                // A length of 0 is how blocks of 64 KiB say 65536.
                match block.get(usize::from(length)..) {
                    Some(rest) if length >= 8 => block = rest,
                    _ => break,
                }
            }
        }
        Ok(found)
    }

    /// The inode of a path. The folders on the way stand in a stack, for `..`.
    fn walk(&self, disk: &mut Disk<'_>, path: &str) -> Result<Inode, Fault> {
        let mut stack = vec![ROOT];
        let mut left: Vec<String> = names(path).map(str::to_owned).rev().collect();
        let mut links = 0;
        let mut here = self.inode(disk, ROOT)?;
        while let Some(name) = left.pop() {
            if name == ".." {
                if stack.len() > 1 {
                    stack.pop();
                }
                here = self.inode(disk, stack.last().copied().unwrap_or(ROOT))?;
                continue;
            }
            let entries = self.entries(disk, &here)?;
            let (_, number) = entries.into_iter().find(|(other, _)| *other == name).ok_or(Fault::Absent)?;
            let found = self.inode(disk, number)?;
            if !found.is(LINK) {
                stack.push(number);
                here = found;
                continue;
            }
            links = usize::saturating_add(links, 1);
            if links > MAX_LINKS {
                return Err(Fault::Broken("symbolic links that lead to each other"));
            }
            let target = self.target(disk, &found)?;
            if target.starts_with('/') {
                stack.truncate(1);
                here = self.inode(disk, ROOT)?;
            }
            left.extend(names(&target).map(str::to_owned).rev());
            if left.len() > short(MAX_LINK) {
                return Err(Fault::Broken("symbolic links that lead ever deeper"));
            }
        }
        Ok(here)
    }

    fn target(&self, disk: &mut Disk<'_>, link: &Inode) -> Result<String, Fault> {
        let bytes = if link.bytes < SHORT_LINK && link.flags & INODE_EXTENTS == 0 {
            link.blocks.get(..short(link.bytes)).unwrap_or_default().to_vec()
        } else {
            self.file(disk, link, MAX_LINK)?.read(disk, MAX_LINK)?
        };
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl FileSystem for Ext {
    fn find(&self, disk: &mut Disk<'_>, path: &str) -> Result<File, Fault> {
        let inode = self.walk(disk, path)?;
        if inode.is(REGULAR) { self.file(disk, &inode, MAX_FILE) } else { Err(Fault::Absent) }
    }

    fn list(&self, disk: &mut Disk<'_>, folder: &str) -> Result<Vec<String>, Fault> {
        let inode = self.walk(disk, folder)?;
        let entries = self.entries(disk, &inode)?;
        Ok(entries.into_iter().map(|(name, _)| name).filter(|name| name != "." && name != "..").collect())
    }
}

/// A file's blocks, as they are found, in their order in the file.
struct Mapping<'e> {
    ext: &'e Ext,
    file: File,
    /// Bytes of the file that are placed.
    done: u64,
}

impl Mapping<'_> {
    fn whole(&self) -> bool {
        self.done >= self.file.bytes
    }

    fn place(&mut self, disk: Option<u64>, blocks: u64) -> Result<(), Fault> {
        let bytes = blocks.saturating_mul(self.ext.block).min(self.file.bytes.saturating_sub(self.done));
        if bytes > 0 {
            self.file.push(disk, bytes)?;
            self.done = self.done.saturating_add(bytes);
        }
        Ok(())
    }

    /// A hole up to this byte.
    fn fill_up_to(&mut self, end: u64) -> Result<(), Fault> {
        let hole = end.saturating_sub(self.done);
        self.place(None, hole.div_ceil(self.ext.block))
    }

    /// One node of the tree of extents: header, then entries. `depth` is what the node above expects.
    fn extents(&mut self, disk: &mut Disk<'_>, node: &[u8], depth: Option<u16>) -> Result<(), Fault> {
        let broken = Fault::Broken("a tree of extents that makes no sense");
        let level = u16_at(node, 6).ok_or(broken)?;
        if u16_at(node, 0) != Some(EXTENT_MAGIC)
            || level > MAX_DEPTH
            || depth.is_some_and(|depth| depth != level)
        {
            return Err(broken);
        }
        let count = usize::from(u16_at(node, 2).ok_or(broken)?);
        for entry in node.chunks_exact(EXTENT).skip(1).take(count) {
            if self.whole() {
                return Ok(());
            }
            let dword = |at| u32_at(entry, at).map_or(0, u64::from);
            let word = |at| u16_at(entry, at).map_or(0, u64::from);
            let start = dword(0).saturating_mul(self.ext.block);
            // They stand in the file's order: what goes back would let a tree be walked for ever.
            if start < self.done {
                return Err(broken);
            }
            if let Some(below) = level.checked_sub(1) {
                let child = disk.take(self.ext.place(word(8) << 32 | dword(4))?, short(self.ext.block))?;
                let before = self.done;
                self.extents(disk, &child, Some(below))?;
                if self.done == before {
                    return Err(broken);
                }
                continue;
            }
            let (length, first) = (u32::from(u16_at(entry, 4).unwrap_or(0)), word(6) << 32 | dword(8));
            self.fill_up_to(start)?;
            match length {
                0 => return Err(broken),
                1..=WRITTEN => self.place(Some(self.ext.place(first)?), u64::from(length))?,
                _ => self.place(None, u64::from(length.saturating_sub(WRITTEN)))?,
            }
        }
        Ok(())
    }

    fn block_map(&mut self, disk: &mut Disk<'_>, blocks: &[u8; 60]) -> Result<(), Fault> {
        for (index, number) in
            blocks.as_chunks::<4>().0.iter().map(|bytes| u32::from_le_bytes(*bytes)).enumerate()
        {
            self.mapped(disk, number, index.saturating_sub(DIRECT - 1))?;
        }
        Ok(())
    }

    /// A block of data, or one of block numbers, `levels` above data. Number 0 is a hole.
    fn mapped(&mut self, disk: &mut Disk<'_>, number: u32, levels: usize) -> Result<(), Fault> {
        if self.whole() {
            return Ok(());
        }
        if levels == 0 {
            let place = if number == 0 { None } else { Some(self.ext.place(u64::from(number))?) };
            return self.place(place, 1);
        }
        if number == 0 {
            let below =
                u32::try_from(levels).ok().and_then(|levels| (self.ext.block / 4).checked_pow(levels));
            return self.place(None, below.unwrap_or(u64::MAX));
        }
        let node = disk.take(self.ext.place(u64::from(number))?, short(self.ext.block))?;
        for number in node.as_chunks::<4>().0 {
            self.mapped(disk, u32::from_le_bytes(*number), levels.saturating_sub(1))?;
        }
        Ok(())
    }
}
