//! Firmware of a PC: it ends at 4 GiB, where the CPU's first instruction is just below.

use super::i440fx::FOUR_GIB;
use crate::MachineError;
use crate::first::{Places, check_size};
use ami_run_firmware::board::Board;
use ami_run_memory::{Gpa, Memory, Rom, Slot};
use ami_run_models::flash::{Geometry, Wiring};

/// The most that firmware takes, its variables included.
pub(crate) const MOST_FIRMWARE: usize = 0x100_0000;
const MIB: u64 = 1 << 20;
/// The last part of a BIOS also stands below 1 MiB: the reset vector jumps into it.
const LOW_ALIAS: usize = 0x2_0000;
/// Blocks of the flash that OVMF writes to (edk2: OvmfPkgDefines.fdf.inc).
const FLASH_BLOCK: u32 = 0x1000;

#[derive(Debug)]
pub(crate) struct Bios {
    rom: Rom,
    /// The part that is copied into RAM.
    alias: Vec<u8>,
}

impl Bios {
    pub(crate) fn new(image: &[u8]) -> Result<Bios, MachineError> {
        check_size(image.len(), MOST_FIRMWARE)?;
        let rom = Rom::new(FOUR_GIB.saturating_sub(image.len() as u64), image)?;
        let alias = image.get(image.len().saturating_sub(LOW_ALIAS)..).unwrap_or_default();
        Ok(Bios { rom, alias: alias.to_vec() })
    }

    pub(crate) fn slot(&self) -> Option<Slot> {
        self.rom.slot()
    }

    pub(crate) fn prepare(&self, ram: &Memory) -> Result<(), MachineError> {
        Ok(ram.write(Gpa(MIB.saturating_sub(self.alias.len() as u64)), &self.alias)?)
    }
}

/// The code ends at 4 GiB, and the variables are below it.
pub(crate) fn uefi_places(code: usize, variables: usize) -> Places {
    let code = FOUR_GIB.saturating_sub(code as u64);
    let size = u32::try_from(variables).ok();
    let geometry = size.and_then(|size| Geometry::new(Wiring::Byte, size, FLASH_BLOCK));
    Places { code, variables: code.saturating_sub(variables as u64), geometry }
}

/// OVMF learns all that it must from fw_cfg.
pub(crate) fn prepare_uefi(_: &Memory, _: &Board) -> Result<(), MachineError> {
    Ok(())
}
