//! ELF kernels: with a PVH note, entered in 32-bit mode at the address that the note holds; without one, taken for
//! a vmlinux and entered in 64-bit mode. linux-loader copies the segments; it believes every header, so they are
//! judged here first.

use super::spec::{
    ELF_CLASS_64, ELF_EXECUTABLE, ELF_LITTLE_ENDIAN, ELF_SHARED, ELF_X86_64, ElfHeader, NOTE_NAME,
    NOTE_PHYS32_ENTRY, NoteHeader, ProgramHeader, SEGMENT_LOAD, SEGMENT_NOTE,
};
use super::{Kernel, WANTED, bzimage, damaged, layout};
use crate::FirmwareError;
use crate::file::Source;
use crate::kernel::identify::elf_machine;
use crate::kernel::made_for;
use crate::x86_64::direct::entry::Protocol;
use ami_run_memory::Range;
use zerocopy::{FromBytes, IntoBytes};

/// Linux's COMMAND_LINE_SIZE without the NUL: it cuts off what is longer.
const COMMAND_LINE_MAX: usize = 2047;
/// Linux's default initrd_addr_max.
const INITRD_MAX: u64 = 0x7fff_ffff;
/// Kernels have five.
const MAX_SEGMENTS: u16 = 64;
const MAX_NOTES: u64 = 64 << 10;

pub(super) fn plan(source: &Source, head: &[u8]) -> Result<Kernel, FirmwareError> {
    let Ok((header, _)) = ElfHeader::read_from_prefix(head) else {
        return Err(damaged(source, "it ends within its header"));
    };
    check_kind(source, &header)?;
    let segments = segments(source, &header)?;
    let loaded = loaded(source, &segments)?;
    let pvh = pvh_entry(source, &segments)?;
    let entry = pvh.unwrap_or(header.entry.get());
    if !loaded.iter().any(|range| range.contains(entry)) {
        return Err(damaged(source, &format!("its entry point {entry:#x} is in none of its segments")));
    }
    Ok(Kernel {
        protocol: if pvh.is_some() { Protocol::Pvh } else { Protocol::Linux64 },
        entry,
        end: loaded.iter().map(|range| range.end()).max().unwrap_or(0),
        initrd_max: INITRD_MAX,
        command_line_max: COMMAND_LINE_MAX,
        header: bzimage::minimal_header(),
    })
}

fn check_kind(source: &Source, header: &ElfHeader) -> Result<(), FirmwareError> {
    let made_for = |architecture: &str| Err(made_for(&source.path, architecture, WANTED));
    let little = header.encoding == ELF_LITTLE_ENDIAN;
    if header.machine.get() != ELF_X86_64 || !little {
        return made_for(&elf_machine(header.as_bytes()));
    }
    if header.class != ELF_CLASS_64 {
        return made_for("32-bit x86");
    }
    match header.kind.get() {
        ELF_EXECUTABLE | ELF_SHARED => Ok(()),
        _ => Err(FirmwareError::NotAKernel {
            path: source.path.clone(),
            found: "an ELF file that cannot be run (an object, a module or a core dump)".to_owned(),
            wanted: WANTED.formats,
        }),
    }
}

fn segments(source: &Source, header: &ElfHeader) -> Result<Vec<ProgramHeader>, FirmwareError> {
    let count = header.program_header_count.get();
    if usize::from(header.program_header_size.get()) != size_of::<ProgramHeader>() || count > MAX_SEGMENTS {
        return Err(damaged(source, "its program headers have the wrong size or number"));
    }
    let length = usize::from(count).saturating_mul(size_of::<ProgramHeader>());
    let offset = header.program_headers.get();
    if offset < size_of::<ElfHeader>() as u64 {
        return Err(damaged(source, "its program headers lie within its file header"));
    }
    let bytes = source.read(offset, length)?;
    if bytes.len() < length {
        return Err(damaged(source, "it ends before its program headers do"));
    }
    let (records, _) = bytes.as_chunks::<{ size_of::<ProgramHeader>() }>();
    let segments: Vec<ProgramHeader> = records.iter().map(|record| zerocopy::transmute!(*record)).collect();
    for segment in &segments {
        let end = segment.offset.get().checked_add(segment.file_size.get());
        if end.is_none_or(|end| end > source.length) {
            return Err(damaged(source, "it ends within one of its segments"));
        }
    }
    Ok(segments)
}

/// The places in memory that segments are copied to.
fn loaded(source: &Source, segments: &[ProgramHeader]) -> Result<Vec<Range>, FirmwareError> {
    let mut places = Vec::new();
    let mut copied = 0u64;
    for segment in segments.iter().filter(|segment| segment.kind.get() == SEGMENT_LOAD) {
        let (start, size) = (segment.address.get(), segment.memory_size.get());
        let end = start.checked_add(size).filter(|end| *end <= layout::KERNEL_MAX);
        if end.is_none() || start < layout::KERNEL_MIN {
            return Err(damaged(source, &format!("a segment at {start:#x} is not between 1 MiB and 2 GiB")));
        }
        if segment.file_size.get() > size {
            return Err(damaged(source, "a segment has more bytes in the file than in memory"));
        }
        copied = copied.saturating_add(segment.file_size.get());
        places.push(Range::new(start, size));
    }
    // Many segments that each name the whole file would be copied for hours.
    if copied > source.length {
        return Err(damaged(source, "its segments together have more bytes than the file"));
    }
    Ok(places)
}

/// The address in the PVH note. Looked for here because linux-loader forgets a note when another note segment
/// follows, and compilers add one.
fn pvh_entry(source: &Source, segments: &[ProgramHeader]) -> Result<Option<u64>, FirmwareError> {
    for segment in segments.iter().filter(|segment| segment.kind.get() == SEGMENT_NOTE) {
        if segment.file_size.get() > MAX_NOTES {
            return Err(damaged(source, "its notes are longer than 64 KiB"));
        }
        let length = usize::try_from(segment.file_size.get()).unwrap_or(0);
        let notes = source.read(segment.offset.get(), length)?;
        if let Some(entry) = pvh_note(&notes) {
            return Ok(Some(u64::from(entry)));
        }
    }
    Ok(None)
}

fn pvh_note(mut notes: &[u8]) -> Option<u32> {
    loop {
        let (header, rest) = NoteHeader::read_from_prefix(notes).ok()?;
        let (name, rest) = padded(rest, header.name_size.get())?;
        let (content, rest) = padded(rest, header.content_size.get())?;
        if header.kind.get() == NOTE_PHYS32_ENTRY && name == NOTE_NAME {
            return content.first_chunk().map(|address| u32::from_le_bytes(*address));
        }
        notes = rest;
    }
}

/// Takes `length` bytes, and what pads them to a multiple of four.
fn padded(bytes: &[u8], length: u32) -> Option<(&[u8], &[u8])> {
    let length = usize::try_from(length).ok()?;
    let (taken, _) = bytes.split_at_checked(length)?;
    let whole = length.checked_next_multiple_of(4)?.min(bytes.len());
    Some((taken, bytes.get(whole..)?))
}
