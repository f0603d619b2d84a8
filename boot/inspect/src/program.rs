//! EFI programs and kernels: which machine they are for, what they are, and what a unified kernel image carries along
//! (Documentation/arch/x86/boot.rst and arm64/booting.rst; UAPI.5 for unified kernel images; shim's SBAT.md).

use crate::bytes::stands_at;
use crate::disk::{Disk, Fault};
use crate::files::File;
use crate::loader::{LoaderKind, Machine};
use crate::pe::{HEAD, Pe};
use flate2::bufread::GzDecoder;
use std::io::Read as _;

const BZIMAGE_MAGIC_AT: usize = 0x202;
const FLAT_MAGIC_AT: usize = 0x38;
/// A kernel for arm64 that unpacks itself (drivers/firmware/efi/libstub/zboot-header.S).
const ZBOOT_MAGIC_AT: usize = 4;
const GZIP: &[u8] = b"\x1f\x8b";

/// The longest command line that Linux takes on arm64; x86's is 2048.
const MAX_COMMAND_LINE: usize = 2048;
/// SBAT's first lines, and more of an os-release than any has.
const MAX_TEXT: usize = 4096;
/// Of a program's own name for itself.
const MAX_NAME: usize = 64;

/// An EFI program.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) machine: Machine,
    pub(crate) kind: LoaderKind,
    pub(crate) signed: bool,
}

/// The program in a file of this name.
pub(crate) fn read(disk: &mut Disk<'_>, file: &File, name: &str) -> Result<Program, Fault> {
    let head = file.head(disk, HEAD)?;
    let Some(pe) = Pe::parse(&head) else {
        return Ok(Program { machine: Machine::None, kind: LoaderKind::Other { name: None }, signed: false });
    };
    let kind = if is_linux(&head) { LoaderKind::Linux } else { kind(disk, file, &pe, name)? };
    Ok(Program { machine: machine(&pe), kind, signed: pe.signed })
}

fn machine(pe: &Pe) -> Machine {
    match pe.machine {
        0x8664 => Machine::X86_64,
        0xaa64 => Machine::Arm64,
        0x014c => Machine::I386,
        other => Machine::Other(other),
    }
}

/// Linux kernels are EFI programs, too, and keep their own magic numbers where those were.
fn is_linux(head: &[u8]) -> bool {
    stands_at(head, BZIMAGE_MAGIC_AT, b"HdrS")
        || stands_at(head, FLAT_MAGIC_AT, b"ARM\x64")
        || stands_at(head, ZBOOT_MAGIC_AT, b"zimg")
}

fn kind(disk: &mut Disk<'_>, file: &File, pe: &Pe, name: &str) -> Result<LoaderKind, Fault> {
    let mut text = |section: &[u8]| match pe.section(section) {
        Some(section) => section.text(disk, file, MAX_TEXT),
        None => Ok(String::new()),
    };
    if pe.section(b".linux").is_some() {
        let name = text(b".osrel")?;
        return Ok(LoaderKind::Unified { name: pretty_name(&name).and_then(plain) });
    }
    // "#### LoaderInfo: systemd-boot 252 ####"
    let (magic, sbat) = (text(b".sdmagic")?, text(b".sbat")?);
    let mut words = magic.split_whitespace().skip_while(|word| *word != "LoaderInfo:").skip(1);
    match words.next() {
        Some("systemd-boot") => return Ok(LoaderKind::SystemdBoot { version: words.next().and_then(plain) }),
        Some(other) => return Ok(LoaderKind::Other { name: plain(other) }),
        None => {}
    }
    if pe.section(b"mods").is_some() {
        return Ok(LoaderKind::Grub);
    }
    if pe.has_long(disk, file, b".vendor_cert")? {
        return Ok(LoaderKind::Shim);
    }
    // The first component is SBAT itself, the next the program.
    let component = sbat.lines().nth(1).and_then(|line| line.split(',').next());
    Ok(match component {
        Some("shim") if name.to_ascii_lowercase().starts_with("fb") => LoaderKind::ShimFallback,
        Some("shim") => LoaderKind::MokManager,
        Some("grub") => LoaderKind::Grub,
        other => LoaderKind::Other { name: other.and_then(plain) },
    })
}

/// os-release's name for people.
pub(crate) fn pretty_name(os_release: &str) -> Option<&str> {
    let name = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    Some(name.trim().trim_matches(['"', '\'']))
}

/// As much of a name as can be shown on a line.
fn plain(name: &str) -> Option<String> {
    let name: String = name.chars().filter(|c| !c.is_control()).take(MAX_NAME).collect();
    (!name.trim().is_empty()).then(|| name.trim().to_owned())
}

/// The machine of a Linux kernel, where its format says so. Some distributions for arm64 have it packed as a whole, which
/// their GRUB unpacks.
pub(crate) fn kernel_machine(disk: &mut Disk<'_>, file: &File) -> Result<Option<Machine>, Fault> {
    let mut head = file.head(disk, HEAD)?;
    if stands_at(&head, 0, GZIP) {
        head = unpacked(&head);
    }
    Ok(match Pe::parse(&head) {
        None if stands_at(&head, BZIMAGE_MAGIC_AT, b"HdrS") => Some(Machine::X86_64),
        None if stands_at(&head, FLAT_MAGIC_AT, b"ARM\x64") => Some(Machine::Arm64),
        None => None,
        Some(pe) => Some(machine(&pe)),
    })
}

/// As much as comes out of the beginning of a packed file, and no more than a head.
fn unpacked(packed: &[u8]) -> Vec<u8> {
    let mut head = Vec::new();
    // It may break off: what came out before stands.
    GzDecoder::new(packed).take(HEAD as u64).read_to_end(&mut head).unwrap_or_default();
    head
}

/// What a unified kernel image carries. None: it is no such image.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unified {
    pub(crate) command_line: Option<String>,
    pub(crate) version: Option<String>,
    /// Where in the file the initrd is, and how long.
    pub(crate) initrd: Option<(u64, u64)>,
}

/// The command line that a program carries, for itself or as an add-on.
pub(crate) fn command_line(disk: &mut Disk<'_>, file: &File) -> Result<Option<String>, Fault> {
    let section = Pe::parse(&file.head(disk, HEAD)?).and_then(|pe| pe.section(b".cmdline"));
    section.map(|section| section.text(disk, file, MAX_COMMAND_LINE)).transpose()
}

pub(crate) fn unified(disk: &mut Disk<'_>, file: &File) -> Result<Option<Unified>, Fault> {
    let pe = Pe::parse(&file.head(disk, HEAD)?);
    let Some(pe) = pe.filter(|pe| pe.section(b".linux").is_some()) else { return Ok(None) };
    let mut text = |name: &[u8]| {
        let section = pe.section(name);
        section.map(|section| section.text(disk, file, MAX_COMMAND_LINE)).transpose()
    };
    let (command_line, version) = (text(b".cmdline")?, text(b".uname")?);
    let initrd = pe.section(b".initrd").map(|section| (section.start, section.len));
    Ok(Some(Unified { command_line, version, initrd }))
}
