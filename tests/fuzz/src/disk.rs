//! Disks that nobody made for us: partition tables, FAT, ext, EFI programs, initrds.
//!
//! A disk is larger than a play, so a play is what differs from a good disk: an offset, a count, and as many bytes,
//! until they run out. Every play must end after a bounded count of bytes read, whatever the disk says.

#[path = "../../../boot/inspect/tests/inspect/disks/mod.rs"]
#[expect(dead_code, clippy::unwrap_used, reason = "the makers of disks are shared with boot/inspect's tests")]
mod disks;

use crate::input::Input;
use ami_run_image::Architecture;
use ami_run_inspect::{Claims, Contents, Depth, guess, initrd, lint, look, starts};
use disks::ext::{self, Node, file};
use disks::{ESP, LINUX, SECTOR};
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::sync::OnceLock;

/// Both tables fit: a GPT takes 34 sectors at the front and 33 at the end.
const TABLES: usize = 128 << 10;
const FILES: usize = 64 << 10;

/// What `look` promises: so many times the disk's size, and a megabyte.
const OVER: u64 = 16;
const LEAST: u64 = 1 << 20;

struct Counting<'a>(Cursor<&'a [u8]>, u64);

impl Read for Counting<'_> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        let count = self.0.read(to)?;
        self.1 += count as u64;
        Ok(count)
    }
}

impl Seek for Counting<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

fn judge(disk: &[u8]) -> Contents {
    let bytes = disk.len() as u64;
    let mut counting = Counting(Cursor::new(disk), 0);
    let contents = look(&mut counting, bytes, Depth::System).expect("memory can be read");
    assert!(counting.1 <= bytes * OVER + LEAST, "{} bytes were read of a disk of {bytes}", counting.1);
    let by_uefi = Claims {
        architecture: Some(Architecture::X86_64),
        boot_mode: Some("uefi".to_owned()),
        ..Claims::default()
    };
    for here in [Architecture::X86_64, Architecture::Arm64] {
        for claims in [None, Some(&by_uefi)] {
            assert!(lint(&contents, claims, here).iter().all(|finding| !finding.reason.is_empty()));
        }
        assert!(!guess(&contents, here).why.is_empty());
    }
    let next = |loader| starts(&contents, loader).is_none_or(|next| contents.loaders.contains(next));
    assert!(contents.loaders.iter().all(next));
    contents
}

/// Applies a play to a disk: each step is a 24-bit offset, a count, and the bytes. What reaches past the end is left
/// out.
pub(crate) fn differ(disk: &mut [u8], input: &mut Input<'_>) {
    let mut step = || -> Option<()> {
        let (low, high) = (input.word()?, input.byte()?);
        let count = usize::from(input.byte()?);
        let at = usize::from(low) | usize::from(high) << 16;
        let bytes = input.bytes(count)?;
        if let Some(place) = disk.get_mut(at..at + bytes.len()) {
            place.copy_from_slice(bytes);
        }
        Some(())
    };
    while step().is_some() {}
}

/// The first byte chooses: a GPT whose checksums are made good again, one whose are not, or an MBR with a chain.
pub fn disk_tables(data: &[u8]) {
    static GPT: OnceLock<Vec<u8>> = OnceLock::new();
    static MBR: OnceLock<Vec<u8>> = OnceLock::new();
    let mut input = Input::new(data);
    let first = input.byte().unwrap_or(0);
    let mut disk = if first & 1 == 0 { GPT.get_or_init(gpt) } else { MBR.get_or_init(mbr) }.clone();
    differ(&mut disk, &mut input);
    if first & 3 == 0 {
        for sector in [1, TABLES / SECTOR - 1] {
            disks::checksums(&mut disk, sector);
        }
    }
    judge(&disk);
}

fn gpt() -> Vec<u8> {
    let parts = vec![disks::part(ESP, 40, vec![0; 8192]), disks::part(LINUX, 80, vec![0; 8192])];
    let mut disk = disks::gpt(TABLES, parts);
    disks::grub(&mut disk, 60);
    disk
}

fn mbr() -> Vec<u8> {
    let mut disk = vec![0; TABLES];
    disks::mbr_entry(&mut disk, 0, 0, (0x80, 0x83, 1, 9));
    disks::mbr_entry(&mut disk, 0, 1, (0, 0x0f, 10, 200));
    for (record, next) in [(10, 50), (60, 100), (110, 0)] {
        disks::mbr_entry(&mut disk, record, 0, (0, 0xef, 2, 10));
        disks::mbr_entry(&mut disk, record, 1, (0, u8::from(next > 0) * 5, next, 50));
    }
    disk
}

/// A FAT with loaders that lead to each other, an entry for the last, and a kernel's initrd.
pub fn disk_fat(data: &[u8]) {
    static FAT: OnceLock<Vec<u8>> = OnceLock::new();
    let mut disk = FAT.get_or_init(fat).clone();
    differ(&mut disk, &mut Input::new(data));
    judge(&disk);
}

fn fat() -> Vec<u8> {
    let initrd = disks::cpio(&[("lib/modules/6.1.0/nvme.ko", b"x")]);
    disks::fat(
        FILES,
        &[
            ("EFI/BOOT/BOOTX64.EFI", &disks::shim(0x8664)),
            ("EFI/BOOT/fbx64.efi", &disks::with_sbat(0x8664, "shim")),
            ("EFI/a long name of a folder/BOOTX64.CSV", &disks::boot_list(&["GRUBX64.EFI"])),
            ("EFI/a long name of a folder/GRUBX64.EFI", &disks::systemd_boot(0x8664)),
            ("loader/loader.conf", b"timeout 3\n"),
            ("loader/entries/one.conf", b"linux /vmlinuz-6.1.0\ninitrd /initrd\noptions console=ttyS0\n"),
            ("vmlinuz-6.1.0", &disks::bzimage("6.1.0 x")),
            ("initrd", &initrd),
        ],
    )
}

/// An ext file system with all that is looked for on one.
pub fn disk_ext(data: &[u8]) {
    static EXT: OnceLock<Vec<u8>> = OnceLock::new();
    let mut disk = EXT.get_or_init(ext_disk).clone();
    differ(&mut disk, &mut Input::new(data));
    judge(&disk);
}

fn ext_disk() -> Vec<u8> {
    let initrd = disks::gzip(&disks::cpio(&[("lib/modules/6.1.0/nvme.ko", b"x")]));
    ext::build(
        FILES,
        &[
            ("/usr/lib/os-release", file("PRETTY_NAME=\"x\"\n")),
            ("/etc/os-release", Node::Link("../usr/lib/os-release".to_owned())),
            ("/lib", Node::Link("usr/lib".to_owned())),
            (
                "/boot/grub/grub.cfg",
                file("set a=b\nlinux /boot/vmlinuz-6.1.0 console=ttyS0 $a\ninitrd /boot/initrd-6.1.0\n"),
            ),
            ("/boot/vmlinuz-6.1.0", Node::File(disks::bzimage("6.1.0 x"))),
            ("/boot/initrd-6.1.0", Node::Mapped(initrd)),
            ("/boot/config-6.1.0", file("CONFIG_BLK_DEV_NVME=y\n")),
            ("/usr/lib/modules/6.1.0/modules.dep", Node::Mapped(vec![b'\n'; 14 * 1024])),
            ("/usr/lib/modules/6.1.0/modules.builtin", file("kernel/ena.ko\n")),
        ],
    )
}

/// The bytes are an EFI program, the only file in its FAT.
pub fn efi_program(data: &[u8]) {
    const MARK: u8 = 0xa5;
    static FAT: OnceLock<(Vec<u8>, usize)> = OnceLock::new();
    let (fat, at) = FAT.get_or_init(|| {
        let disk = disks::fat(FILES, &[("EFI/BOOT/BOOTX64.EFI", &[MARK; 4096])]);
        let at = disk.windows(4096).position(|window| window.iter().all(|byte| *byte == MARK));
        (disk, at.expect("the file is in one piece"))
    });
    let mut disk = fat.clone();
    let length = data.len().min(4096);
    disk[*at..at + 4096].fill(0);
    disk[*at..at + length].copy_from_slice(&data[..length]);
    assert_eq!(judge(&disk).loaders.len(), 1);
}

/// The bytes are an initrd.
pub fn initrd_archive(data: &[u8]) {
    let seen = initrd::read(data);
    assert!(seen.versions.len() <= 16);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_good_disks_are_read_to_the_end() {
        let ext = judge(&ext_disk());
        assert_eq!((ext.unread.len(), ext.system.kernels["6.1.0"].initrds.len()), (0, 1));
        let fat = judge(&fat());
        assert_eq!((fat.unread.len(), fat.loaders.len(), fat.system.kernels.len()), (0, 3, 1), "{fat:?}");
        assert_eq!((fat.boot_lists.len(), fat.system.entries.len(), fat.system.menus.len()), (1, 1, 1));
        assert_eq!(judge(&gpt()).partitions.len(), 2);
        assert_eq!(judge(&mbr()).partitions.len(), 5);
    }
}
