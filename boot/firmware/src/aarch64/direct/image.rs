//! Image: Linux's flat format for arm64, which says in its header how much memory it needs. linux-loader copies it;
//! it believes every header, so it is judged here first.

use crate::FirmwareError;
use crate::file::Source;
use crate::kernel::damaged;
use ami_run_memory::Memory;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, KnownLayout};

/// The kernel lies at an offset of its own from a multiple of this.
pub(super) const ALIGN: u64 = 2 << 20;
/// Kernels from before Linux 4.2 look for their device tree no farther than this from that multiple; newer ones are
/// not as long either.
const MAX_END: u64 = (512 << 20) - super::TREE_ROOM;

#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Header {
    code: [U32; 2],
    text_offset: U64,
    image_size: U64,
    flags: U64,
    reserved: [U64; 3],
    magic: U32,
    pe_offset: U32,
}

const _: () = assert!(size_of::<Header>() == 64);

/// Of a kernel that UEFI can start, too: the header of an EFI program (Microsoft's PE format, COFF file header).
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct PeHeader {
    signature: [u8; 4],
    machine: U16,
    sections: U16,
    unused: [U32; 3],
    optional_header_size: U16,
    characteristics: U16,
}

const PE_SIGNATURE: [u8; 4] = *b"PE\0\0";
/// Kernels have two.
const MAX_SECTIONS: u16 = 16;

/// One part of the file.
#[derive(FromBytes, Immutable, KnownLayout)]
#[repr(C)]
struct Section {
    name: [u8; 8],
    memory: [U32; 2],
    length: U32,
    start: U32,
    unused: [U32; 4],
}

const _: () = assert!(size_of::<PeHeader>() == 24);
const _: () = assert!(size_of::<Section>() == 40);

/// What a kernel's header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Image {
    /// From a multiple of [`ALIGN`].
    pub offset: u64,
    /// Of the memory that is the kernel's alone.
    pub size: u64,
}

pub(super) fn plan(source: &Source, head: &[u8]) -> Result<Image, FirmwareError> {
    let Ok((header, _)) = Header::read_from_prefix(head) else {
        return Err(damaged(source, "it ends within its header"));
    };
    let (offset, size) = (header.text_offset.get(), header.image_size.get());
    if size == 0 {
        let found = "an old kernel (from before Linux 3.17)".to_owned();
        let path = source.path.clone();
        return Err(FirmwareError::NotAKernel { path, found, wanted: super::WANTED.formats });
    }
    check_sections(source, head, header.pe_offset.get())?;
    // What is behind the kernel in its file, such as a signature, is copied too.
    let size = size.max(source.length);
    if offset >= ALIGN || offset.saturating_add(size) > MAX_END {
        return Err(damaged(source, "its header asks for an impossible place in memory"));
    }
    Ok(Image { offset, size })
}

/// Whether the file is as long as its sections say: Linux's own header does not tell, and what is cut short would
/// stop without a word.
fn check_sections(source: &Source, head: &[u8], pe_offset: u32) -> Result<(), FirmwareError> {
    let within = || damaged(source, "it ends within its header");
    let rest = usize::try_from(pe_offset).ok().and_then(|at| head.get(at..)).unwrap_or_default();
    let Ok((header, rest)) = PeHeader::read_from_prefix(rest) else { return Ok(()) };
    if header.signature != PE_SIGNATURE {
        return Ok(());
    }
    let mut rest = rest.get(usize::from(header.optional_header_size.get())..).ok_or_else(within)?;
    for _ in 0..header.sections.get().min(MAX_SECTIONS) {
        let (section, next) = Section::read_from_prefix(rest).map_err(|_| within())?;
        let (start, length) = (u64::from(section.start.get()), u64::from(section.length.get()));
        if start.saturating_add(length) > source.length {
            return Err(damaged(source, &format!("it ends within the section that begins at {start:#x}")));
        }
        rest = next;
    }
    Ok(())
}

/// Reads the kernel to its offset from `base`.
#[cfg(target_arch = "aarch64")]
pub(super) fn copy(source: &Source, base: u64, _offset: u64, memory: &Memory) -> Result<(), FirmwareError> {
    use ami_run_memory::GuestAddress;
    use linux_loader::loader::{KernelLoader, PE};

    let mut file = source.file.try_clone().map_err(|error| source.cannot_read(error))?;
    let loaded = PE::load(memory.ram(), Some(GuestAddress(base)), &mut file, None);
    loaded.map(|_| ()).map_err(|error| damaged(source, &format!("it cannot be copied into memory ({error})")))
}

/// The same where linux-loader does not have it: nothing starts there.
#[cfg(not(target_arch = "aarch64"))]
pub(super) fn copy(source: &Source, base: u64, offset: u64, memory: &Memory) -> Result<(), FirmwareError> {
    use ami_run_memory::Range;

    crate::kernel::copy(source, Range::new(base.saturating_add(offset), source.length), memory)
}
