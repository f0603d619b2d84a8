//! What runs first: where it stands in memory, what is done anew for each virtual machine, and where its registers
//! begin.

use crate::flash::VariableFlash;
use crate::{Boot, MachineError, Uefi, arch};
use ami_run_firmware::direct::{Direct, Entry};
use ami_run_firmware::uefi::Store;
use ami_run_memory::{Memory, Rom, Slot};
use ami_run_models::flash::Geometry;
use std::sync::Arc;

/// The smallest firmware.
const SMALLEST: usize = 0x1_0000;

#[derive(Debug)]
pub(crate) enum First {
    Bios(arch::Bios),
    Uefi { code: Rom, variables: Arc<VariableFlash> },
    Kernel(Box<Direct>),
}

/// Where the two flash chips of UEFI firmware stand, and how the one that can be written is made.
#[derive(Debug)]
pub(crate) struct Places {
    pub(crate) code: u64,
    pub(crate) variables: u64,
    pub(crate) geometry: Option<Geometry>,
}

impl First {
    pub(crate) fn new(boot: Boot) -> Result<First, MachineError> {
        Ok(match boot {
            Boot::Firmware(image) => First::Bios(arch::Bios::new(&image)?),
            Boot::Uefi(uefi) => First::uefi(uefi)?,
            Boot::Kernel(kernel) => First::Kernel(kernel),
        })
    }

    fn uefi(uefi: Uefi) -> Result<First, MachineError> {
        let Uefi { code, code_offset, code_size, variables } = uefi;
        let size = variables.content.len();
        check_size(code_size.saturating_add(size), arch::MOST_FIRMWARE)?;
        let places = arch::uefi_places(code_size, size);
        let geometry = places.geometry.ok_or(MachineError::FirmwareSize(size))?;
        let variables = VariableFlash::new(places.variables, geometry, variables)?;
        Ok(First::Uefi {
            code: Rom::of_file(places.code, code, code_offset, code_size)?,
            variables: Arc::new(variables),
        })
    }

    /// What stands in memory beside RAM; variables, if any, are the last.
    pub(crate) fn slots(&self) -> Vec<Slot> {
        match self {
            First::Bios(bios) => bios.slot().into_iter().collect(),
            First::Uefi { code, variables } => code.slot().into_iter().chain(variables.slot()).collect(),
            First::Kernel(_) => Vec::new(),
        }
    }

    pub(crate) fn variables(&self) -> Option<&Arc<VariableFlash>> {
        match self {
            First::Uefi { variables, .. } => Some(variables),
            First::Bios(_) | First::Kernel(_) => None,
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
    pub(crate) fn prepare(&self, ram: &Memory, board: &arch::Board) -> Result<Option<Entry>, MachineError> {
        match self {
            First::Bios(bios) => bios.prepare(ram).map(|()| None),
            First::Uefi { variables, .. } => {
                variables.reset();
                arch::prepare_uefi(ram, board).map(|()| None)
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

pub(crate) fn check_size(len: usize, most: usize) -> Result<(), MachineError> {
    let fits = (SMALLEST..=most).contains(&len) && len.is_multiple_of(4096);
    if fits { Ok(()) } else { Err(MachineError::FirmwareSize(len)) }
}
