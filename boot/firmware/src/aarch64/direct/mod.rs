//! Direct kernel boot on arm64: an Image, an initrd and a device tree straight into memory, no firmware (Linux's
//! Documentation/arch/arm64/booting.rst).
//!
//! The kernel lies at the beginning of RAM, the device tree behind it, the initrd at the end. Left out: unpacking
//! compressed kernels, unified kernel images, the EFI stub, and whether the CPU has pages of the kernel's size: a
//! kernel whose pages it does not have stops before its first word.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "a kernel's headers are whatever its file says"
)]

mod image;

use crate::FirmwareError;
use crate::aarch64::{Board, Reader, Seed, device_tree};
use crate::file::Source;
use crate::kernel::identify::{Format, elf_machine};
use crate::kernel::{self, Opened, Wanted, page_floor, too_small};
use ami_run_memory::{Gpa, Memory, Range};
use image::Image;
use rustix::rand::{GetRandomFlags, getrandom};
use std::path::Path;

const WANTED: Wanted =
    Wanted { architecture: "arm64", formats: "an Image (many distributions call it vmlinuz)" };

/// COMMAND_LINE_SIZE (arch/arm64/include/uapi/asm/setup.h) without the NUL: Linux cuts off what is longer.
const COMMAND_LINE_MAX: usize = 2047;
/// A device tree may have as much, and is mapped in blocks of this size.
const TREE_ROOM: u64 = 2 << 20;
/// Kernel and initrd lie in one window of this size, whose start is a multiple of the other.
const WINDOW: u64 = 32 << 30;
const WINDOW_ALIGN: u64 = 1 << 30;

/// A kernel to start, its files open and its header judged.
#[derive(Debug)]
pub struct Direct {
    source: Source,
    image: Image,
    initrd: Option<Source>,
    command_line: String,
}

/// What must be set on the boot CPU. Registers that are not named stay as KVM resets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    pub pc: u64,
    /// Where the device tree is.
    pub x0: u64,
}

/// Opens the files and tells what is wrong with them, before there is a machine.
pub fn open(kernel: &Path, initrd: Option<&Path>, command_line: &str) -> Result<Direct, FirmwareError> {
    let Opened { source, head, format } = kernel::open(kernel, WANTED)?;
    let image = match format {
        Format::Image => image::plan(&source, &head)?,
        Format::BzImage => return Err(kernel::made_for(kernel, "x86", WANTED)),
        Format::Elf => return Err(elf(kernel, &head)),
    };
    kernel::check_command_line(command_line, COMMAND_LINE_MAX)?;
    let initrd = kernel::open_initrd(initrd)?;
    Ok(Direct { source, image, initrd, command_line: command_line.to_owned() })
}

/// No ELF file starts here.
fn elf(path: &Path, head: &[u8]) -> FirmwareError {
    let machine = elf_machine(head);
    if machine != WANTED.architecture {
        return kernel::made_for(path, &machine, WANTED);
    }
    let found = "an ELF file (a vmlinux), which no arm64 machine starts".to_owned();
    FirmwareError::NotAKernel { path: path.to_owned(), found, wanted: WANTED.formats }
}

impl Direct {
    /// Puts everything into `memory`, which must be all zero (as it is at first and after a reset), and says how
    /// the boot CPU must be set.
    pub fn load(&self, memory: &Memory, board: &Board) -> Result<Entry, FirmwareError> {
        let mut seed: Seed = [0; _];
        // So few bytes come whole, or not at all.
        getrandom(&mut seed, GetRandomFlags::empty()).map_err(|cause| FirmwareError::Random(cause.into()))?;
        self.load_with(&seed, memory, board)
    }

    fn load_with(&self, seed: &Seed, memory: &Memory, board: &Board) -> Result<Entry, FirmwareError> {
        let Some(ram) = board.ram.first().copied() else {
            return Err(FirmwareError::Tables("the machine has no memory"));
        };
        let base = ram.start.next_multiple_of(image::ALIGN);
        let kernel = Range::new(base.saturating_add(self.image.offset), self.image.size);
        let tree = Range::new(kernel.end().next_multiple_of(TREE_ROOM), TREE_ROOM);
        if tree.end() > ram.end() {
            let needed = tree.end().saturating_sub(ram.start);
            return Err(too_small("kernel", &self.source, needed, &board.ram));
        }
        let place = |initrd| place_initrd(initrd, tree.end(), ram, board);
        let initrd = self.initrd.as_ref().map(place).transpose()?;
        image::copy(&self.source, base, self.image.offset, memory)?;
        if let (Some(source), Some(place)) = (&self.initrd, initrd) {
            kernel::copy(source, place, memory)?;
        }
        let bytes = device_tree(board, Reader::Kernel { command_line: &self.command_line, initrd, seed })?;
        if bytes.len() as u64 > TREE_ROOM {
            return Err(FirmwareError::Tables("the device tree is longer than a kernel takes"));
        }
        memory.write(Gpa(tree.start), &bytes)?;
        Ok(Entry { pc: kernel.start, x0: tree.start })
    }
}

/// As high as the kernel allows.
fn place_initrd(initrd: &Source, floor: u64, ram: Range, board: &Board) -> Result<Range, FirmwareError> {
    let window = (ram.start & !(WINDOW_ALIGN - 1)).saturating_add(WINDOW);
    let limit = window.saturating_sub(floor);
    if initrd.length > limit {
        return Err(kernel::initrd_too_big(initrd, limit));
    }
    let start = page_floor(ram.end().min(window).saturating_sub(initrd.length));
    if start < floor {
        let needed = floor.saturating_add(initrd.length).saturating_sub(ram.start);
        return Err(too_small("initrd", initrd, needed, &board.ram));
    }
    Ok(Range::new(start, initrd.length))
}

#[cfg(test)]
#[path = "direct_test.rs"]
mod tests;
