//! Makes small ext file systems: one group, blocks of 1 KiB, files in one piece. Enough of the format for a reader,
//! and nothing that a writer would want (bitmaps, checksums, a journal). The layout is
//! Documentation/filesystems/ext4's, written apart from the reader that it tests.

pub(crate) const BLOCK: usize = 1024;
const INODES: usize = 128;
const INODE: usize = 128;
const TABLE: usize = 5;
const FIRST_DATA: usize = TABLE + INODES * INODE / BLOCK;
const ROOT: usize = 2;
/// The first inode that is nobody's by convention.
const FIRST_INODE: usize = 11;

#[derive(Clone)]
pub(crate) enum Node {
    /// Found by an extent.
    File(Vec<u8>),
    /// Found by block numbers.
    Mapped(Vec<u8>),
    Link(String),
}

pub(crate) fn file(text: &str) -> Node {
    Node::File(text.as_bytes().to_vec())
}

struct Folder {
    path: String,
    inode: usize,
    parent: usize,
    entries: Vec<(String, usize, u8)>,
}

pub(crate) struct Builder {
    pub(crate) bytes: Vec<u8>,
    next_block: usize,
    next_inode: usize,
    folders: Vec<Folder>,
}

/// A file system of `bytes` (a multiple of the block size) with these nodes, and the folders that lead to them.
pub(crate) fn build(bytes: usize, nodes: &[(&str, Node)]) -> Vec<u8> {
    assert!(bytes.is_multiple_of(BLOCK) && bytes / BLOCK <= 8192);
    let root = Folder { path: String::new(), inode: ROOT, parent: ROOT, entries: Vec::new() };
    let mut builder = Builder {
        bytes: vec![0; bytes],
        next_block: FIRST_DATA,
        next_inode: FIRST_INODE,
        folders: vec![root],
    };
    builder.superblock();
    for (path, node) in nodes {
        let (folder, name) = path.rsplit_once('/').unwrap();
        let (folder, inode) = (builder.folder(folder), builder.inode_number());
        let kind = builder.node(inode, node);
        builder.folders[folder].entries.push((name.to_owned(), inode, kind));
    }
    builder.write_folders();
    builder.bytes
}

impl Builder {
    fn put(&mut self, at: usize, bytes: &[u8]) {
        self.bytes[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn superblock(&mut self) {
        let blocks = u32::try_from(self.bytes.len() / BLOCK).unwrap();
        let inodes = u32::try_from(INODES).unwrap();
        for (at, value) in [
            (0, inodes),
            (4, blocks),
            (0x14, 1),    // the first data block, with blocks of 1 KiB
            (0x20, 8192), // blocks in a group
            (0x24, 8192),
            (0x28, inodes), // inodes in a group
            (0x4c, 1),      // dynamic revision
            (0x54, 11),     // the first inode for everyone
            (0x60, 0x42),   // file types in folders, extents
        ] {
            self.put(1024 + at, &value.to_le_bytes());
        }
        self.put(1024 + 0x38, &0xef53u16.to_le_bytes());
        self.put(1024 + 0x58, &u16::try_from(INODE).unwrap().to_le_bytes());
        self.put(2 * BLOCK + 8, &u32::try_from(TABLE).unwrap().to_le_bytes());
    }

    fn inode_number(&mut self) -> usize {
        self.next_inode += 1;
        assert!(self.next_inode <= INODES, "more inodes than the builder makes");
        self.next_inode - 1
    }

    /// The folder of this path, made with those above it.
    fn folder(&mut self, path: &str) -> usize {
        if let Some(index) = self.folders.iter().position(|folder| folder.path == path) {
            return index;
        }
        let (above, name) = path.rsplit_once('/').unwrap();
        let above = self.folder(above);
        let inode = self.inode_number();
        let parent = self.folders[above].inode;
        self.folders[above].entries.push((name.to_owned(), inode, 2));
        self.folders.push(Folder { path: path.to_owned(), inode, parent, entries: Vec::new() });
        self.folders.len() - 1
    }

    /// Writes bytes in one piece and returns its first block.
    fn data(&mut self, bytes: &[u8]) -> usize {
        let first = self.next_block;
        self.put(first * BLOCK, bytes);
        self.next_block += bytes.len().div_ceil(BLOCK);
        first
    }

    fn inode(&mut self, number: usize, mode: u16, size: usize, flags: u32, blocks: &[u8]) {
        let at = TABLE * BLOCK + (number - 1) * INODE;
        self.put(at, &mode.to_le_bytes());
        self.put(at + 4, &u32::try_from(size).unwrap().to_le_bytes());
        self.put(at + 0x1a, &1u16.to_le_bytes());
        self.put(at + 0x20, &flags.to_le_bytes());
        self.put(at + 0x28, blocks);
    }

    /// Returns the kind that the folder's entry says.
    fn node(&mut self, inode: usize, node: &Node) -> u8 {
        match node {
            Node::File(bytes) => {
                let extent = self.extent(bytes);
                self.inode(inode, 0x81a4, bytes.len(), 0x8_0000, &extent);
                1
            }
            Node::Mapped(bytes) => {
                let map = self.map(bytes);
                self.inode(inode, 0x81a4, bytes.len(), 0, &map);
                1
            }
            Node::Link(target) => {
                assert!(target.len() < 60);
                self.inode(inode, 0xa1ff, target.len(), 0, target.as_bytes());
                7
            }
        }
    }

    /// One extent in the inode. None for an empty file.
    fn extent(&mut self, bytes: &[u8]) -> Vec<u8> {
        let blocks = bytes.len().div_ceil(BLOCK);
        let first = self.data(bytes);
        let mut node = vec![0x0a, 0xf3, u8::from(blocks > 0), 0, 4, 0, 0, 0, 0, 0, 0, 0];
        if blocks > 0 {
            node.extend(0u32.to_le_bytes());
            node.extend(u16::try_from(blocks).unwrap().to_le_bytes());
            node.extend(0u16.to_le_bytes());
            node.extend(u32::try_from(first).unwrap().to_le_bytes());
        }
        node
    }

    /// Twelve block numbers, then one block of them; a block of zeros is a hole.
    fn map(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut numbers: Vec<u32> = Vec::new();
        for block in bytes.chunks(BLOCK) {
            let hole = block.iter().all(|byte| *byte == 0);
            numbers.push(if hole { 0 } else { u32::try_from(self.data(block)).unwrap() });
        }
        let (direct, more) = numbers.split_at(numbers.len().min(12));
        let mut map: Vec<u8> = direct.iter().flat_map(|number| number.to_le_bytes()).collect();
        if !more.is_empty() {
            let block: Vec<u8> = more.iter().flat_map(|number| number.to_le_bytes()).collect();
            assert!(block.len() <= BLOCK);
            let at = self.data(&block);
            map.extend(u32::try_from(at).unwrap().to_le_bytes());
        }
        map
    }

    fn write_folders(&mut self) {
        for folder in std::mem::take(&mut self.folders) {
            let mut entries = vec![(".".to_owned(), folder.inode, 2), ("..".to_owned(), folder.parent, 2)];
            entries.extend(folder.entries);
            let bytes = entries_in_blocks(&entries);
            let extent = self.extent(&bytes);
            self.inode(folder.inode, 0x41ed, bytes.len(), 0x8_0000, &extent);
        }
    }
}

/// Entries never cross a block's end: the last of a block reaches to it.
fn entries_in_blocks(entries: &[(String, usize, u8)]) -> Vec<u8> {
    let (mut bytes, mut last) = (Vec::new(), 0);
    for (name, inode, kind) in entries {
        let length = (8 + name.len()).next_multiple_of(4);
        if bytes.len() % BLOCK + length > BLOCK {
            stretch(&mut bytes, last);
        }
        last = bytes.len();
        bytes.extend(u32::try_from(*inode).unwrap().to_le_bytes());
        bytes.extend(u16::try_from(length).unwrap().to_le_bytes());
        bytes.extend([u8::try_from(name.len()).unwrap(), *kind]);
        bytes.extend(name.as_bytes());
        bytes.resize(last + length, 0);
    }
    stretch(&mut bytes, last);
    bytes
}

fn stretch(bytes: &mut Vec<u8>, last: usize) {
    bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
    let length = u16::try_from(bytes.len() - last).unwrap();
    bytes[last + 4..last + 6].copy_from_slice(&length.to_le_bytes());
}
