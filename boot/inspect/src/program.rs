//! EFI programs and kernels: which machine they are for, and what a unified kernel image carries along (PE/COFF;
//! Documentation/arch/x86/boot.rst and arm64/booting.rst; UAPI.5 for unified kernel images).
//!
//! By hand: it is two numbers and a table of sections. goblin wants the whole file, which may be a hundred megabytes.

use crate::bytes::{long, short, stands_at, u16_at, u32_at};
use crate::contents::Machine;
use crate::disk::{Disk, Fault};
use crate::files::File;

const HEAD: usize = 4096;

const PE_HEADER_AT: usize = 0x3c;
/// Behind "PE\0\0": machine, number of sections, and, 14 bytes on, the size of the header that follows.
const SECTION: usize = 40;
const MAX_SECTIONS: u16 = 96;

const BZIMAGE_MAGIC_AT: usize = 0x202;
const FLAT_MAGIC_AT: usize = 0x38;

/// The longest command line that Linux takes on arm64; x86's is 2048.
const MAX_COMMAND_LINE: usize = 2048;

/// What a program's first bytes say.
fn machine_of(head: &[u8]) -> Machine {
    match pe_header(head).and_then(|at| u16_at(head, at.checked_add(4)?)) {
        Some(0x8664) => Machine::X86_64,
        Some(0xaa64) => Machine::Arm64,
        Some(0x014c) => Machine::I386,
        Some(other) => Machine::Other(other),
        None => Machine::None,
    }
}

/// Where "PE\0\0" stands.
fn pe_header(head: &[u8]) -> Option<usize> {
    let at = usize::try_from(u32_at(head, PE_HEADER_AT)?).ok()?;
    (stands_at(head, 0, b"MZ") && stands_at(head, at, b"PE\0\0")).then_some(at)
}

/// The machine of an EFI program.
pub(crate) fn machine(disk: &mut Disk<'_>, file: &File) -> Result<Machine, Fault> {
    Ok(machine_of(&file.head(disk, HEAD)?))
}

/// The machine of a Linux kernel, where its format says so.
pub(crate) fn kernel_machine(disk: &mut Disk<'_>, file: &File) -> Result<Option<Machine>, Fault> {
    let head = file.head(disk, HEAD)?;
    Ok(match machine_of(&head) {
        Machine::None if stands_at(&head, BZIMAGE_MAGIC_AT, b"HdrS") => Some(Machine::X86_64),
        Machine::None if stands_at(&head, FLAT_MAGIC_AT, b"ARM\x64") => Some(Machine::Arm64),
        Machine::None => None,
        machine => Some(machine),
    })
}

/// What a unified kernel image carries. None: it is no such image.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unified {
    pub(crate) command_line: Option<String>,
    pub(crate) version: Option<String>,
    /// Where in the file the initrd is, and how long.
    pub(crate) initrd: Option<(u64, u64)>,
}

pub(crate) fn unified(disk: &mut Disk<'_>, file: &File) -> Result<Option<Unified>, Fault> {
    let head = file.head(disk, HEAD)?;
    let Some(at) = pe_header(&head) else { return Ok(None) };
    let word = |offset: usize| at.checked_add(offset).and_then(|at| u16_at(&head, at)).unwrap_or(0);
    let (count, optional) = (word(6).min(MAX_SECTIONS), word(20));
    let table = at.saturating_add(24).saturating_add(usize::from(optional));
    let (mut found, mut kernel) = (Unified::default(), false);
    for section in head.get(table..).unwrap_or_default().chunks_exact(SECTION).take(usize::from(count)) {
        let dword = |at| u32_at(section, at).unwrap_or(0);
        // The virtual size is the content's; the raw one is padded.
        let (start, len) = (u64::from(dword(20)), u64::from(dword(8).min(dword(16))));
        match section.get(..8).unwrap_or_default().trim_ascii_end() {
            b".linux\0\0" => kernel = true,
            b".cmdline" => found.command_line = Some(text(disk, file, start, len)?),
            b".uname\0\0" => found.version = Some(text(disk, file, start, len)?),
            b".initrd\0" => found.initrd = Some((start, len)),
            _ => {}
        }
    }
    Ok(kernel.then_some(found))
}

fn text(disk: &mut Disk<'_>, file: &File, start: u64, len: u64) -> Result<String, Fault> {
    let bytes = file.part(disk, start, short(len.min(long(MAX_COMMAND_LINE))))?;
    let text = bytes.split(|byte| *byte == 0).next().unwrap_or_default();
    Ok(String::from_utf8_lossy(text).trim().to_owned())
}
