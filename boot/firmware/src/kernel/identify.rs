//! What kind of file a kernel is, told by its content.

use super::{Wanted, made_for};
use crate::FirmwareError;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Of x86 alone.
    BzImage,
    /// Of any architecture.
    Elf,
    /// Of arm64 alone.
    Image,
}

/// How much of the file's beginning is needed.
pub(super) const HEAD: usize = 4096;

/// Of x86's boot sectors and bzImages (Linux's Documentation/arch/x86/boot.rst).
pub(crate) const BOOT_FLAG: u16 = 0xaa55;
pub(crate) const SETUP_MAGIC: u32 = u32::from_le_bytes(*b"HdrS");
const BOOT_FLAG_OFFSET: usize = 0x1fe;
const SETUP_MAGIC_OFFSET: usize = 0x202;

const ELF_MAGIC: [u8; 4] = *b"\x7fELF";

/// Kernels compressed as a whole, and what unpacks them.
const COMPRESSED: [(&[u8], &str); 6] = [
    (b"\x1f\x8b", "gunzip"),
    (b"\xfd7zXZ\0", "unxz"),
    (b"\x28\xb5\x2f\xfd", "unzstd"),
    (b"BZh", "bunzip2"),
    (b"\x04\x22\x4d\x18", "unlz4"),
    (b"\x02\x21\x4c\x18", "unlz4"),
];

/// Magic of Linux's flat images (Documentation/arch/arm64/booting.rst, arch/riscv/boot-image-header.rst), and where.
const IMAGE_MAGIC: &[u8] = b"ARM\x64";
const RISCV_IMAGE_MAGIC: &[u8] = b"RSC\x05";
const FLAT_IMAGE_MAGIC: usize = 0x38;

/// Of an EFI program that has a compressed kernel in it (drivers/firmware/efi/libstub/zboot-header.S).
const ZBOOT_MAGIC: &[u8] = b"zimg";
const ZBOOT_MAGIC_OFFSET: usize = 4;

/// Machines in a PE header.
const PE_MACHINES: [(u16, &str); 5] = [
    (0x8664, "x86_64"),
    (0xaa64, "arm64"),
    (0x5064, "riscv64"),
    (0x6264, "loongarch64"),
    (0x014c, "32-bit x86"),
];
const PE_OFFSET: usize = 0x3c;

/// Machines in an ELF header.
const ELF_MACHINES: [(u16, &str); 8] = [
    (3, "32-bit x86"),
    (20, "32-bit PowerPC"),
    (21, "PowerPC"),
    (22, "s390"),
    (40, "32-bit arm"),
    (62, "x86_64"),
    (183, "arm64"),
    (243, "RISC-V"),
];
const ELF_ENCODING: usize = 5;
const ELF_BIG_ENDIAN: u8 = 2;
const ELF_MACHINE: usize = 18;

pub(super) fn identify(path: &Path, head: &[u8], wanted: Wanted) -> Result<Format, FirmwareError> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let not_a_kernel = |found: &str| FirmwareError::NotAKernel {
        path: path.to_owned(),
        found: found.to_owned(),
        wanted: wanted.formats,
    };
    if at(0, &ELF_MAGIC) {
        return Ok(Format::Elf);
    }
    if at(SETUP_MAGIC_OFFSET, &SETUP_MAGIC.to_le_bytes()) {
        return Ok(Format::BzImage);
    }
    if at(FLAT_IMAGE_MAGIC, IMAGE_MAGIC) {
        return Ok(Format::Image);
    }
    if at(FLAT_IMAGE_MAGIC, RISCV_IMAGE_MAGIC) {
        return Err(made_for(path, "riscv64", wanted));
    }
    if at(0, b"MZ") {
        let machine = pe_machine(head);
        let known = PE_MACHINES.iter().find(|(number, _)| machine == Some(*number)).map(|(_, name)| *name);
        return Err(match known.filter(|name| *name != wanted.architecture) {
            Some(architecture) => made_for(path, architecture, wanted),
            None if at(ZBOOT_MAGIC_OFFSET, ZBOOT_MAGIC) => {
                not_a_kernel("an EFI program that unpacks its kernel by itself (zboot), which takes firmware")
            }
            None => {
                not_a_kernel("an EFI program (a unified kernel image has its kernel in the section .linux)")
            }
        });
    }
    if let Some((_, tool)) = COMPRESSED.iter().find(|(magic, _)| at(0, magic)) {
        return Err(FirmwareError::KernelCompressed { path: path.to_owned(), tool });
    }
    Err(not_a_kernel(match head {
        [] => "an empty file",
        _ if at(0, b"\x27\x05\x19\x56") => "an image for the boot loader U-Boot",
        _ if at(BOOT_FLAG_OFFSET, &BOOT_FLAG.to_le_bytes()) => "a boot sector or a disk",
        _ => "neither of the known kinds",
    }))
}

fn pe_machine(head: &[u8]) -> Option<u16> {
    let offset = u32::from_le_bytes(*head.get(PE_OFFSET..)?.first_chunk()?);
    match *head.get(usize::try_from(offset).ok()?..)?.first_chunk()? {
        [b'P', b'E', 0, 0, low, high] => Some(u16::from_le_bytes([low, high])),
        _ => None,
    }
}

/// What the ELF file that begins so is made for.
pub(crate) fn elf_machine(head: &[u8]) -> String {
    let bytes = head.get(ELF_MACHINE..).and_then(|rest| rest.first_chunk()).copied().unwrap_or_default();
    let big = head.get(ELF_ENCODING) == Some(&ELF_BIG_ENDIAN);
    let machine = if big { u16::from_be_bytes(bytes) } else { u16::from_le_bytes(bytes) };
    let known = ELF_MACHINES.iter().find(|(number, _)| *number == machine);
    known.map_or_else(|| format!("another CPU (ELF machine {machine})"), |(_, name)| (*name).to_owned())
}
