//! Disks that mean harm: loops, sizes that nobody has, ends in the middle. Each must end, with a bounded count of
//! bytes read.

use crate::HERE;
use crate::disks::ext::{self, BLOCK, Node, file};
use crate::disks::{ESP, SIZE, cpio, fat, fat_of, gpt, part, program};
use ami_run_inspect::{Contents, Copy, Depth, Table, guess, initrd, lint, look};
use std::io::{self, Cursor, Read, Seek, SeekFrom};

/// Counts what is read.
struct Counting<R> {
    inner: R,
    bytes: u64,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(to)?;
        self.bytes += count as u64;
        Ok(count)
    }
}

impl<R: Seek> Seek for Counting<R> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.inner.seek(to)
    }
}

/// Looks, judges, and returns how many bytes it took.
fn cost(disk: &[u8]) -> (u64, Contents) {
    let mut counting = Counting { inner: Cursor::new(disk), bytes: 0 };
    let contents = look(&mut counting, disk.len() as u64, Depth::System).unwrap();
    drop(lint(&contents, None, HERE));
    assert!(!guess(&contents, HERE).why.is_empty());
    (counting.bytes, contents)
}

fn bounded(disk: &[u8]) -> Contents {
    let (bytes, contents) = cost(disk);
    let most = disk.len() as u64 * 16 + (1 << 20);
    assert!(bytes <= most, "{bytes} bytes were read of a disk of {}", disk.len());
    contents
}

fn complaint(contents: &Contents) -> String {
    contents.unread.iter().map(|unread| format!("{}: {}\n", unread.place, unread.why)).collect()
}

/// The 32-bit number at this offset becomes another.
fn poke(disk: &mut [u8], at: usize, value: u32) {
    disk[at..at + 4].copy_from_slice(&value.to_le_bytes());
}

const SUPERBLOCK: usize = 1024;
/// Where the root's inode stands (ext.rs of disks/).
const ROOT_INODE: usize = 5 * BLOCK + 128;

/// A source that cannot be read from some byte on.
struct Failing(Cursor<Vec<u8>>);

impl Read for Failing {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        if self.0.position() > 1 << 20 { Err(io::Error::other("a bad sector")) } else { self.0.read(to) }
    }
}

impl Seek for Failing {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

#[test]
fn the_host_s_trouble_is_not_the_disk_s() {
    let disk = gpt(SIZE, vec![part(ESP, 3000, fat(1 << 20, &[]))]);
    let mut failing = Failing(Cursor::new(disk));
    let cause = look(&mut failing, SIZE as u64, Depth::Start).unwrap_err();
    assert_eq!(cause.to_string(), "a bad sector");
}

#[test]
fn an_ext_file_system_that_lies_about_its_sizes_ends() {
    let good = ext::build(1 << 20, &[("/etc/os-release", file("PRETTY_NAME=x\n"))]);
    assert_eq!(bounded(&good).system.names.len(), 1);
    for (offset, value) in [
        (4, u32::MAX),
        (0x14, u32::MAX),
        (0x18, 0),
        (0x18, 6),
        (0x18, 31),
        (0x18, 32),
        (0x18, u32::MAX),
        (0x20, 0),
        (0x20, 1),
        (0x28, 0),
        (0x28, 1),
        (0x28, u32::MAX),
        (0x58, 0),
        (0x58, 0xffff),
        (0x60, 0xc2),
        (0x60, u32::MAX),
        (0x60, 0),
        (0x4c, 0),
    ] {
        let mut disk = good.clone();
        poke(&mut disk, SUPERBLOCK + offset, value);
        bounded(&disk);
    }
    // The root's inode: its mode, size, flags, its extent's header and the extent.
    for (offset, value) in [
        (0, 0x81a4),
        (4, u32::MAX),
        (0x6c, u32::MAX),
        (0x20, 0),
        (0x20, 0x1008_0000),
        (0x20, 0x8_0800),
        (0x28, 0),
        (0x2a, u32::MAX),
        (0x2e, 0xffff),
        (0x2e, 5),
        (0x34, u32::MAX),
        (0x38, 0),
        (0x38, 0xffff_ffff),
        (0x3c, u32::MAX),
    ] {
        let mut disk = good.clone();
        poke(&mut disk, ROOT_INODE + offset, value);
        bounded(&disk);
    }
    for end in (1024..good.len()).step_by(1021) {
        bounded(&good[..end]);
    }
}

#[test]
fn a_tree_of_extents_that_leads_into_itself_ends() {
    let mut disk = ext::build(1 << 20, &[("/etc/os-release", file("PRETTY_NAME=x\n"))]);
    // The root's tree: one level, four branches that are all the same block, which says the same.
    for (size, branch_start) in [(0x10_0000, 0), (0x40_0000, 1), (u32::MAX, 0)] {
        poke(&mut disk, ROOT_INODE + 4, size);
        for (node, depth, entries) in
            [(ROOT_INODE + 0x28, 5u16, 4u16), (900 * BLOCK, 4, 84), (901 * BLOCK, 3, 84)]
        {
            disk[node..node + 2].copy_from_slice(&0xf30au16.to_le_bytes());
            disk[node + 2..node + 4].copy_from_slice(&entries.to_le_bytes());
            disk[node + 6..node + 8].copy_from_slice(&depth.to_le_bytes());
            for entry in 1..=usize::from(entries) {
                let at = node + entry * 12;
                poke(&mut disk, at, branch_start * u32::try_from(entry).unwrap());
                poke(&mut disk, at + 4, if depth == 5 { 900 } else { 901 });
                poke(&mut disk, at + 8, 0);
            }
        }
        let contents = bounded(&disk);
        // Said once, and not for every file that is looked for.
        assert_eq!(contents.unread.len(), 1, "{:?}", contents.unread);
        let complaint = complaint(&contents);
        let known = if size == u32::MAX { "more to read" } else { "tree of extents" };
        assert!(complaint.contains(known), "{complaint}");
    }
    // Two leaves that say the same blocks of the file.
    let mut disk = ext::build(1 << 20, &[("/etc/os-release", file("PRETTY_NAME=x\n"))]);
    poke(&mut disk, ROOT_INODE + 4, 4096);
    disk[ROOT_INODE + 0x2a] = 2;
    disk.copy_within(ROOT_INODE + 0x34..ROOT_INODE + 0x40, ROOT_INODE + 0x40);
    assert!(complaint(&bounded(&disk)).contains("tree of extents"), "{}", complaint(&bounded(&disk)));
    // Extents of no blocks, as many as fit: the reader that we do not use walks them for ever.
    let mut disk = ext::build(1 << 20, &[("/etc/os-release", file("PRETTY_NAME=x\n"))]);
    poke(&mut disk, ROOT_INODE + 0x38, 0);
    assert!(complaint(&bounded(&disk)).contains("tree of extents"), "{}", complaint(&bounded(&disk)));
}

#[test]
fn links_that_lead_to_each_other_end() {
    let nodes = [
        ("/etc", Node::Link("usr/etc".to_owned())),
        ("/usr", Node::Link("etc/usr".to_owned())),
        ("/boot", Node::Link("boot/boot/boot/boot/boot/boot".to_owned())),
        ("/lib", Node::Link("../../../../lib".to_owned())),
    ];
    let contents = bounded(&ext::build(1 << 20, &nodes));
    assert!(complaint(&contents).contains("symbolic links"), "{}", complaint(&contents));
}

#[test]
fn sparse_files_cost_neither_memory_nor_time() {
    let mut disk = ext::build(
        1 << 20,
        &[("/boot/grub/grub.cfg", file("x")), ("/boot/initrd.img", Node::Mapped(vec![1; 10]))],
    );
    // Inodes 12 and 13 (11 is the first): every file becomes as large as ext can have one.
    for inode in 11..20 {
        let at = 5 * BLOCK + (inode - 1) * 128;
        if disk[at + 1] & 0xf0 == 0x80 {
            poke(&mut disk, at + 4, 0xffff_ffff);
            poke(&mut disk, at + 0x6c, 0x3ff);
        }
    }
    bounded(&disk);
    // As large as is looked into: half a gigabyte of zeros are no archive, and cost no reads.
    for inode in 11..20 {
        let at = 5 * BLOCK + (inode - 1) * 128;
        if disk[at + 1] & 0xf0 == 0x80 {
            poke(&mut disk, at + 4, 512 << 20);
            poke(&mut disk, at + 0x6c, 0);
        }
    }
    bounded(&disk);
}

#[test]
fn a_fat_whose_chains_lead_into_themselves_ends() {
    let loader = ("EFI/BOOT/BOOTX64.EFI", &program(0x8664)[..]);
    let good = fat(1 << 20, &[loader, ("EFI/long name of a folder/x.efi", b"MZ")]);
    let contents = bounded(&good);
    let paths: Vec<&str> = contents.loaders.iter().map(|loader| loader.path.as_str()).collect();
    assert_eq!(paths, ["/EFI/BOOT/BOOTX64.EFI", "/EFI/long name of a folder/x.efi"]);
    // FAT12: the first table begins behind the reserved sectors. Every cluster leads to every low one.
    let table = usize::from(u16::from_le_bytes([good[14], good[15]])) * 512;
    for next in 0..16u16 {
        let mut disk = good.clone();
        for pair in 1..40 {
            let packed = u32::from(next) | u32::from(next) << 12;
            disk[table + pair * 3..][..3].copy_from_slice(&packed.to_le_bytes()[..3]);
        }
        bounded(&disk);
    }
    // Folders' entries that name clusters before the first and behind the last.
    let entry = good.windows(11).position(|name| name == b"BOOTX64 EFI").unwrap();
    for cluster in [0u16, 1, 0x0fff, 0xffff] {
        let mut disk = good.clone();
        disk[entry + 26..entry + 28].copy_from_slice(&cluster.to_le_bytes());
        assert!(complaint(&bounded(&disk)).contains("a cluster that is not there"), "{cluster}");
    }
    for at in 11..62 {
        for value in [0, 1, 0x7f, 0xff] {
            let mut disk = good.clone();
            disk[at] = value;
            bounded(&disk);
        }
    }
    for end in (512..good.len()).step_by(4093) {
        bounded(&good[..end]);
    }
}

/// Each of a thousand partitions is the same file system: what is kept does not grow with them.
#[test]
fn a_thousand_partitions_keep_no_more_than_a_few() {
    let settings = "linux /vmlinuz-6.1.0 quiet\n".repeat(64);
    let content =
        ext::build(256 << 10, &[("/grub/grub.cfg", file(&settings)), ("/initrd.img", file("07070"))]);
    let mut disk = gpt(SIZE, vec![part(ESP, 4096, content)]);
    // The array of entries, made longer than the 128 that it has room for before the first usable sector.
    let entry = disk[1024..1152].to_vec();
    for index in 1..1024 {
        disk[1024 + index * 128..][..128].copy_from_slice(&entry);
    }
    poke(&mut disk, 512 + 80, 1024);
    crate::disks::checksums(&mut disk, 1);
    let contents = bounded(&disk);
    assert_eq!(contents.partitions.len(), 1024);
    assert_eq!(contents.system.command_lines.len(), 256);
    assert!(complaint(&contents).contains("more to read"), "{}", complaint(&contents));
}

#[test]
fn a_fat_of_each_width_is_read() {
    use fatfs::FatType::{Fat12, Fat16, Fat32};
    // The contents are several clusters long.
    let text = vec![b'x'; 100_000];
    for (size, width) in [(1 << 20, Fat12), (16 << 20, Fat16), (40 << 20, Fat32)] {
        let files = [("EFI/BOOT/BOOTX64.EFI", &program(0x8664)[..]), ("boot/initrd.img", &text)];
        let disk = fat_of(width, size, &files);
        assert_eq!(
            fatfs::FileSystem::new(Cursor::new(disk.clone()), fatfs::FsOptions::new()).unwrap().fat_type(),
            width
        );
        let contents = bounded(&disk);
        assert_eq!(contents.loaders.len(), 1, "{width:?}");
        assert!(complaint(&contents).contains("no archive"), "{width:?}: {}", complaint(&contents));
    }
}

#[test]
fn a_gpt_that_names_numbers_nobody_has_ends() {
    let good = gpt(SIZE, vec![part(ESP, 2048, fat(1 << 20, &[]))]);
    // Offsets in the header: own and other place, entries' place, number and size. Checksums are made good again.
    for (offset, values) in [
        (24, [0, 2, u32::MAX]),
        (28, [1, 2, u32::MAX]),
        (32, [0, 1, u32::MAX]),
        (36, [1, 2, u32::MAX]),
        (72, [0, 1, u32::MAX]),
        (76, [1, 2, u32::MAX]),
        (80, [0, 1025, u32::MAX]),
        (84, [0, 64, u32::MAX]),
        (12, [0, 91, u32::MAX]),
        (8, [0, 1, u32::MAX]),
    ] {
        for value in values {
            let mut disk = good.clone();
            poke(&mut disk, 512 + offset, value);
            crate::disks::checksums(&mut disk, 1);
            bounded(&disk);
        }
    }
    // What the numbers are refused for, on a volume that has room for everything.
    for (offset, value, why) in [
        (24, 5, "stands elsewhere"),
        (80, u32::MAX, "size or number"),
        (84, 256, "size or number"),
        (12, 96, "header"),
        (76, 1 << 20, "behind the end"),
    ] {
        let mut disk = good.clone();
        poke(&mut disk, 512 + offset, value);
        disk.resize(SIZE * 2, 0);
        crate::disks::checksums(&mut disk, 1);
        let contents = look(&mut Cursor::new(&disk), 1 << 45, Depth::Start).unwrap();
        let Table::Gpt(table) = contents.table else { panic!("{:?}", contents.table) };
        assert!(matches!(&table.primary, Copy::Broken(found) if found.contains(why)), "{why}: {table:?}");
    }
    // An entry that ends before it begins, and one that never ends.
    for (first, last) in [(2048u64, 0u64), (u64::MAX, u64::MAX), (0, u64::MAX), (1 << 40, 1 << 50)] {
        let mut disk = good.clone();
        disk[1024 + 32..1024 + 40].copy_from_slice(&first.to_le_bytes());
        disk[1024 + 40..1024 + 48].copy_from_slice(&last.to_le_bytes());
        crate::disks::checksums(&mut disk, 1);
        bounded(&disk);
    }
}

#[test]
fn an_initrd_that_lies_ends() {
    let good = cpio(&[("lib/modules/6.1.0/nvme.ko", b"12345")]);
    assert_eq!(initrd::read(&good[..]).versions.len(), 1);
    for at in 0..good.len() {
        for value in [b'f', b'0', b'+', 0, 0xff] {
            let mut bytes = good.clone();
            bytes[at] = value;
            initrd::read(&bytes[..]);
            initrd::read(&bytes[..at]);
        }
    }
    // A name of 64 KiB, all of it there.
    let mut long = good.clone();
    long[94..102].copy_from_slice(b"00010000");
    long.resize(1 << 20, b'x');
    assert!(initrd::read(&long[..]).unread.unwrap().contains("longer than a path"));
    // One that never ends.
    assert_eq!(initrd::read(io::repeat(0)).unread, None);
    // A file of four gigabytes in a megabyte.
    let mut large = good;
    large[54..62].copy_from_slice(b"ffffffff");
    large.resize(8 << 20, 0);
    let seen = initrd::read(&crate::disks::gzip(&large)[..]);
    assert!(seen.unread.unwrap().contains("in the middle of a file"));
}
