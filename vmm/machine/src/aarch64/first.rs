//! Firmware of an arm64 board: the code begins at 0, where the CPU's first instruction is, and finds the board described
//! where RAM begins.

use super::virt::{self, CODE, VARIABLES};
use crate::MachineError;
use crate::first::Places;
use ami_run_firmware::aarch64::{Board, Reader, device_tree};
use ami_run_memory::{Gpa, Memory, Slot};
use ami_run_models::flash::{Geometry, Wiring};

/// The most that firmware takes, its variables included: AAVMF is filled up to 64 MiB.
pub(crate) const MOST_FIRMWARE: usize = 0x500_0000;
/// Blocks of the flash that AAVMF writes to (edk2: ArmVirtPkg/ArmVirtQemu.fdf).
pub(super) const FLASH_BLOCK: u32 = 0x4_0000;

/// There is none.
#[derive(Debug)]
pub(crate) enum Bios {}

impl Bios {
    pub(crate) fn new(_: &[u8]) -> Result<Bios, MachineError> {
        Err(MachineError::NoBios)
    }

    pub(crate) fn slot(&self) -> Option<Slot> {
        match *self {}
    }

    pub(crate) fn prepare(&self, _: &Memory) -> Result<(), MachineError> {
        match *self {}
    }
}

/// Each chip has an address of its own.
pub(crate) fn uefi_places(_: usize, variables: usize) -> Places {
    let size = u32::try_from(variables).ok().filter(|size| u64::from(*size) <= VARIABLES.len);
    let geometry = size.and_then(|size| Geometry::new(Wiring::Pair, size, FLASH_BLOCK));
    Places { code: CODE.start, variables: VARIABLES.start, geometry }
}

pub(crate) fn prepare_uefi(ram: &Memory, board: &Board) -> Result<(), MachineError> {
    let tree = device_tree(board, Reader::Firmware).map_err(MachineError::Firmware)?;
    Ok(ram.write(Gpa(virt::RAM), &tree)?)
}
