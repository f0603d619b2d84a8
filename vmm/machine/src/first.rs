//! What runs first: where it stands in memory, what is done anew for each virtual machine, and where its registers
//! begin.

use crate::flash::VariableFlash;
use crate::{Boot, MachineError, Uefi};
use ami_run_firmware::board::{Board, FirmwareKind};
use ami_run_firmware::direct::{Direct, Entry};
use ami_run_firmware::uefi::Store;
use ami_run_memory::{Gpa, Memory, Rom, Slot};
use ami_run_models::flash::{Geometry, Wiring};
use std::sync::Arc;

const FOUR_GIB: u64 = 1 << 32;
const MIB: u64 = 1 << 20;
/// The last part of a BIOS also stands here: the reset vector jumps into it.
const LOW_ALIAS: usize = 0x2_0000;
/// Blocks of the flash that OVMF writes to (edk2: OvmfPkgDefines.fdf.inc).
const FLASH_BLOCK: u32 = 0x1000;

#[derive(Debug)]
pub(crate) enum First {
    Bios {
        rom: Rom,
        /// The part that is copied into RAM.
        alias: Vec<u8>,
    },
    Uefi {
        code: Rom,
        variables: Arc<VariableFlash>,
    },
    Kernel(Box<Direct>),
}

impl First {
    pub(crate) fn new(boot: Boot) -> Result<First, MachineError> {
        Ok(match boot {
            Boot::Firmware(image) => {
                check_size(image.len())?;
                let rom = Rom::new(FOUR_GIB.saturating_sub(image.len() as u64), &image)?;
                let alias = image.get(image.len().saturating_sub(LOW_ALIAS)..).unwrap_or_default();
                First::Bios { rom, alias: alias.to_vec() }
            }
            Boot::Uefi(uefi) => First::uefi(uefi)?,
            Boot::Kernel(kernel) => First::Kernel(kernel),
        })
    }

    fn uefi(uefi: Uefi) -> Result<First, MachineError> {
        let Uefi { code, code_offset, code_size, variables } = uefi;
        let size = variables.content.len();
        check_size(code_size.saturating_add(size))?;
        let code_at = FOUR_GIB.saturating_sub(code_size as u64);
        let geometry = u32::try_from(size)
            .ok()
            .and_then(|size| Geometry::new(Wiring::Byte, size, FLASH_BLOCK))
            .ok_or(MachineError::FirmwareSize(size))?;
        let variables = VariableFlash::new(code_at.saturating_sub(size as u64), geometry, variables)?;
        Ok(First::Uefi {
            code: Rom::of_file(code_at, code, code_offset, code_size)?,
            variables: Arc::new(variables),
        })
    }

    /// What stands below 4 GiB; variables, if any, are the last.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        match self {
            First::Bios { rom, .. } => rom.slot().into_iter().collect(),
            First::Uefi { code, variables } => code.slot().into_iter().chain(variables.slot()).collect(),
            First::Kernel(_) => Vec::new(),
        }
    }

    /// Who makes use of the tables.
    pub(crate) fn kind(&self) -> FirmwareKind {
        match self {
            First::Uefi { .. } => FirmwareKind::Uefi,
            First::Bios { .. } | First::Kernel(_) => FirmwareKind::Bios,
        }
    }

    pub(crate) fn variables(&self) -> Option<&Arc<VariableFlash>> {
        match self {
            First::Uefi { variables, .. } => Some(variables),
            First::Bios { .. } | First::Kernel(_) => None,
        }
    }

    /// Whether the machine knows by itself what to start: an order of its own stands in its variables.
    pub(crate) fn has_boot_order(&self) -> bool {
        let has = |content: &[u8]| {
            let store = Store::parse(content);
            store.is_ok_and(|store| store.variables().iter().any(|variable| variable.is_boot_order()))
        };
        self.variables().is_some_and(|variables| variables.look(has))
    }

    /// Puts into RAM what is there before the first instruction; gives where a kernel begins.
    pub(crate) fn prepare(&self, ram: &Memory, board: &Board) -> Result<Option<Entry>, MachineError> {
        match self {
            First::Bios { alias, .. } => {
                ram.write(Gpa(MIB.saturating_sub(alias.len() as u64)), alias)?;
                Ok(None)
            }
            First::Uefi { variables, .. } => {
                variables.reset();
                Ok(None)
            }
            First::Kernel(kernel) => kernel.load(ram, board).map(Some).map_err(MachineError::Kernel),
        }
    }

    /// The machine has ended.
    pub(crate) fn finish(&self) {
        if let Some(variables) = self.variables() {
            variables.finish();
        }
    }
}

fn check_size(len: usize) -> Result<(), MachineError> {
    let fits = (0x1_0000..=0x100_0000).contains(&len) && len.is_multiple_of(4096);
    if fits { Ok(()) } else { Err(MachineError::FirmwareSize(len)) }
}
