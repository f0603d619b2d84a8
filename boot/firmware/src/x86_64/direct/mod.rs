//! Direct kernel boot: a kernel, an initrd and a command line straight into memory, no firmware. What a firmware
//! would have done is done here: ACPI tables in place, a memory map, a CPU in the mode that the kernel expects.
//!
//! Left out: unpacking compressed kernels (a bzImage unpacks itself), unified kernel images, the EFI stub.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "a kernel's headers are whatever its file says"
)]

mod bzimage;
mod elf;
mod entry;
mod handover;
mod layout;
mod spec;

pub use entry::{DescriptorTable, Entry, Protocol, Registers, Segment};

use crate::FirmwareError;
use crate::board::Board;
use crate::file::Source;
use crate::kernel::identify;
use crate::kernel::{self, Opened, Wanted, damaged, page_floor, too_small};
use crate::placement;
use crate::x86_64::{acpi, memory_map, smbios};
use ami_run_memory::{Gpa, Memory, Range};
use handover::Facts;
use linux_loader::loader::{BzImage, Elf, KernelLoader};
use spec::SetupHeader;
use std::path::Path;

const WANTED: Wanted =
    Wanted { architecture: "x86_64", formats: "a bzImage (vmlinuz) or an ELF file (vmlinux)" };

/// A kernel to start, its files open and its headers judged.
#[derive(Debug)]
pub struct Direct {
    source: Source,
    format: Format,
    kernel: Kernel,
    initrd: Option<Source>,
    command_line: String,
}

/// What a kernel's headers say.
#[derive(Debug)]
struct Kernel {
    protocol: Protocol,
    entry: u64,
    /// Where the memory ends that it occupies at first.
    end: u64,
    /// The highest address that its initrd may have.
    initrd_max: u64,
    /// Without the NUL.
    command_line_max: usize,
    header: SetupHeader,
}

#[derive(Clone, Copy, Debug)]
enum Format {
    BzImage,
    Elf,
}

/// Opens the files and tells what is wrong with them, before there is a machine.
pub fn open(kernel: &Path, initrd: Option<&Path>, command_line: &str) -> Result<Direct, FirmwareError> {
    let Opened { source, head, format } = kernel::open(kernel, WANTED)?;
    let (format, kernel) = match format {
        identify::Format::BzImage => (Format::BzImage, bzimage::plan(&source, &head)?),
        identify::Format::Elf => (Format::Elf, elf::plan(&source, &head)?),
        identify::Format::Image => return Err(kernel::made_for(&source.path, "arm64", WANTED)),
    };
    kernel::check_command_line(command_line, kernel.command_line_max.min(layout::COMMAND_LINE_ROOM - 1))?;
    let initrd = kernel::open_initrd(initrd)?;
    Ok(Direct { source, format, kernel, initrd, command_line: command_line.to_owned() })
}

impl Direct {
    /// Puts everything into `memory`, which must be all zero (as it is at first and after a reset), and says how
    /// the boot CPU must be set.
    pub fn load(&self, memory: &Memory, board: &Board) -> Result<Entry, FirmwareError> {
        let tables = acpi::tables(board);
        let low_end = memory_map::low_end(board);
        let pages = |bytes: &[u8]| (bytes.len() as u64).next_multiple_of(layout::PAGE);
        let room = tables.files.iter().fold(0u64, |room, file| room.saturating_add(pages(&file.bytes)));
        let tables_start = page_floor(low_end.saturating_sub(room));
        let free_end = tables_start.min(layout::KERNEL_MAX);
        if self.kernel.end > free_end {
            return Err(too_small("kernel", &self.source, self.kernel.end.saturating_add(room), &board.ram));
        }
        let initrd = self
            .initrd
            .as_ref()
            .map(|initrd| self.place_initrd(initrd, free_end, room, board))
            .transpose()?;
        self.copy_kernel(memory)?;
        if let (Some(source), Some(place)) = (&self.initrd, initrd) {
            kernel::copy(source, place, memory)?;
        }
        let tables_place = Range::new(tables_start, low_end.saturating_sub(tables_start));
        let rsdp = place_tables(&tables, tables_place, memory)?;
        smbios::place(board, layout::SMBIOS, memory)?;
        let facts = Facts { map: memory_map::for_kernel(board, tables_place), rsdp, initrd };
        memory.write(Gpa(layout::COMMAND_LINE), self.command_line.as_bytes())?;
        let information = match self.kernel.protocol {
            Protocol::Pvh => handover::start_info(memory, &facts)?,
            Protocol::Linux32 | Protocol::Linux64 => {
                handover::zero_page(memory, &self.kernel.header, &facts)?
            }
        };
        let (protocol, address) = (self.kernel.protocol, self.kernel.entry);
        entry::prepare(memory, entry::Start { protocol, address, information })
    }

    /// As high as the kernel allows: farthest from where it unpacks itself.
    fn place_initrd(
        &self,
        initrd: &Source,
        free_end: u64,
        tables: u64,
        board: &Board,
    ) -> Result<Range, FirmwareError> {
        let floor = self.kernel.end;
        let ceiling = self.kernel.initrd_max.saturating_add(1).min(layout::KERNEL_MAX);
        let limit = ceiling.saturating_sub(floor.saturating_add(layout::PAGE));
        if initrd.length > limit {
            return Err(kernel::initrd_too_big(initrd, limit));
        }
        let start = page_floor(free_end.min(ceiling).saturating_sub(initrd.length));
        if start < floor {
            let needed =
                floor.saturating_add(initrd.length).saturating_add(tables).saturating_add(layout::PAGE);
            return Err(too_small("initrd", initrd, needed, &board.ram));
        }
        Ok(Range::new(start, initrd.length))
    }

    fn copy_kernel(&self, memory: &Memory) -> Result<(), FirmwareError> {
        let mut file = self.source.file.try_clone().map_err(|source| self.source.cannot_read(source))?;
        let loaded = match self.format {
            Format::BzImage => BzImage::load(memory.ram(), None, &mut file, None),
            Format::Elf => Elf::load(memory.ram(), None, &mut file, None),
        };
        // The headers were judged before, so that little can be wrong here but the reading.
        loaded
            .map(|_| ())
            .map_err(|error| damaged(&self.source, &format!("it cannot be copied into memory ({error})")))
    }
}

/// Returns where the RSDP is.
fn place_tables(tables: &acpi::Tables, place: Range, memory: &Memory) -> Result<Gpa, FirmwareError> {
    let zones = placement::Zones { high: place, f_segment: layout::RSDP };
    placement::run(&tables.script, &tables.files, zones, memory, acpi::RSDP)
}

#[cfg(test)]
#[path = "direct_test.rs"]
mod tests;
