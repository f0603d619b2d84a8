//! The files of a direct kernel boot, as far as both architectures are alike: what a kernel's file is, how an initrd
//! is opened and copied, and how a command line is judged.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "a kernel's headers are whatever its file says"
)]

pub(crate) mod identify;
#[cfg(test)]
pub(crate) mod sample;

use crate::FirmwareError;
use crate::file::Source;
use ami_run_memory::{Gpa, Memory, Range};
use identify::Format;
use std::path::Path;

/// A kernel with all its debug information has most of this.
const MAX_KERNEL_FILE: u64 = 1 << 30;
const KERNEL_WANTED: &str = "a kernel";
const INITRD_WANTED: &str = "an initrd";
const PAGE: u64 = 0x1000;

/// What is told to whoever names another kernel.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wanted {
    pub architecture: &'static str,
    pub formats: &'static str,
}

/// A kernel's file, judged by its kind only.
#[derive(Debug)]
pub(crate) struct Opened {
    pub source: Source,
    /// The file's beginning.
    pub head: Vec<u8>,
    pub format: Format,
}

pub(crate) fn open(kernel: &Path, wanted: Wanted) -> Result<Opened, FirmwareError> {
    let source = Source::open(kernel, KERNEL_WANTED)?;
    let head = source.read(0, identify::HEAD)?;
    let format = identify::identify(kernel, &head, wanted)?;
    if source.length > MAX_KERNEL_FILE {
        let found = format!("{} MiB long", source.length >> 20);
        return Err(FirmwareError::NotAKernel { path: source.path, found, wanted: wanted.formats });
    }
    Ok(Opened { source, head, format })
}

pub(crate) fn open_initrd(path: Option<&Path>) -> Result<Option<Source>, FirmwareError> {
    let initrd = path.map(|path| Source::open(path, INITRD_WANTED)).transpose()?;
    match initrd {
        Some(empty) if empty.length == 0 => Err(FirmwareError::InitrdEmpty { path: empty.path }),
        initrd => Ok(initrd),
    }
}

/// `limit`: without the NUL.
pub(crate) fn check_command_line(command_line: &str, limit: usize) -> Result<(), FirmwareError> {
    let length = command_line.len();
    if length > limit {
        return Err(FirmwareError::CommandLineTooLong { length, limit });
    }
    if command_line.contains('\0') {
        return Err(FirmwareError::CommandLineNul);
    }
    Ok(())
}

pub(crate) fn damaged(source: &Source, what: &str) -> FirmwareError {
    FirmwareError::KernelDamaged { path: source.path.clone(), what: what.to_owned() }
}

pub(crate) fn made_for(path: &Path, architecture: &str, wanted: Wanted) -> FirmwareError {
    let (path, architecture) = (path.to_owned(), architecture.to_owned());
    FirmwareError::KernelArchitecture { path, architecture, wanted: wanted.architecture }
}

/// `needed`: bytes.
pub(crate) fn too_small(what: &'static str, source: &Source, needed: u64, ram: &[Range]) -> FirmwareError {
    let given = ram.iter().fold(0u64, |sum, range| sum.saturating_add(range.len)) >> 20;
    FirmwareError::MemoryTooSmall { what, path: source.path.clone(), needed: needed.div_ceil(1 << 20), given }
}

pub(crate) fn initrd_too_big(initrd: &Source, limit: u64) -> FirmwareError {
    let size = initrd.length.div_ceil(1 << 20);
    FirmwareError::InitrdTooBig { path: initrd.path.clone(), size, limit: limit >> 20 }
}

pub(crate) fn page_floor(address: u64) -> u64 {
    address & !(PAGE - 1)
}

/// Reads a whole file straight into guest memory.
pub(crate) fn copy(source: &Source, place: Range, memory: &Memory) -> Result<(), FirmwareError> {
    let mut buffers = memory.buffers();
    buffers.push(Gpa(place.start), place.len)?;
    buffers.fill_from(0, place.len, &source.file, 0).map_err(|error| source.cannot_read(error))
}
