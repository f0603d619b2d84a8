//! What kind of file a kernel is, told by its content.

use super::spec::{BOOT_FLAG, ELF_MAGIC, SETUP_MAGIC};
use crate::FirmwareError;
use std::path::Path;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    BzImage,
    Elf,
}

/// How much of the file's beginning is needed.
pub(super) const HEAD: usize = 4096;

/// Kernels compressed as a whole, and what unpacks them.
const COMPRESSED: [(&[u8], &str); 6] = [
    (b"\x1f\x8b", "gunzip"),
    (b"\xfd7zXZ\0", "unxz"),
    (b"\x28\xb5\x2f\xfd", "unzstd"),
    (b"BZh", "bunzip2"),
    (b"\x04\x22\x4d\x18", "unlz4"),
    (b"\x02\x21\x4c\x18", "unlz4"),
];

/// Magic of Linux's flat images for other architectures, at 0x38 (Documentation/arch/arm64/booting.rst).
const FLAT_IMAGES: [(&[u8], &str); 2] = [(b"ARM\x64", "arm64"), (b"RSC\x05", "riscv64")];
const FLAT_IMAGE_MAGIC: usize = 0x38;

/// Machines in a PE header.
const PE_MACHINES: [(u16, &str); 4] =
    [(0xaa64, "arm64"), (0x5064, "riscv64"), (0x6264, "loongarch64"), (0x014c, "32-bit x86")];
const PE_OFFSET: usize = 0x3c;

pub(super) fn identify(path: &Path, head: &[u8]) -> Result<Format, FirmwareError> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..).is_some_and(|rest| rest.starts_with(magic));
    let not_a_kernel =
        |found: &str| FirmwareError::NotAKernel { path: path.to_owned(), found: found.to_owned() };
    let made_for = |architecture: &str| FirmwareError::KernelArchitecture {
        path: path.to_owned(),
        architecture: architecture.to_owned(),
    };
    if at(0, &ELF_MAGIC) {
        return Ok(Format::Elf);
    }
    if at(0x202, &SETUP_MAGIC.to_le_bytes()) {
        return Ok(Format::BzImage);
    }
    if let Some((_, architecture)) = FLAT_IMAGES.iter().find(|(magic, _)| at(FLAT_IMAGE_MAGIC, magic)) {
        return Err(made_for(architecture));
    }
    if at(0, b"MZ") {
        let machine = pe_machine(head);
        let other = PE_MACHINES.iter().find(|(number, _)| machine == Some(*number));
        return Err(match other {
            Some((_, architecture)) => made_for(architecture),
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
        _ if at(0x1fe, &BOOT_FLAG.to_le_bytes()) => "a boot sector or a disk",
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
