//! The flash that holds UEFI's variables, between the chip's model, the file that keeps them, and the guest's map.
//!
//! The guest reads the bytes in a read-only slot of KVM's, at full speed; what it writes comes here. While it has asked
//! the chip for a register, the slot is away and its reads come here, too (facts: Linux
//! Documentation/virt/kvm/api.rst, KVM_MEM_READONLY). The chip that holds the code is none: that is read-only
//! memory, as EDK II finds out by writing to it.

use crate::MachineError;
use crate::kvm::Vm;
use ami_run_memory::{Rom, Slot};
use ami_run_models::bus::{Access, Device, Effect};
use ami_run_models::flash::{self, Flash, Geometry, Reads, Wiring};
use ami_run_storage::flash::FlashFile;
use parking_lot::Mutex;
use std::sync::{Arc, Once};

/// Where the variables are kept, and what they are now.
#[derive(Debug)]
pub struct Variables {
    pub file: FlashFile,
    pub content: Vec<u8>,
}

/// The chip over all resets: its bytes stay.
#[derive(Debug)]
pub(crate) struct VariableFlash {
    state: Mutex<State>,
    file: FlashFile,
    /// What the guest reads.
    rom: Rom,
    wiring: Wiring,
    // Said once: a guest may go on for as long as it runs.
    not_kept: Once,
    not_switched: Once,
}

#[derive(Debug)]
struct State {
    chip: Flash,
    content: Vec<u8>,
}

impl VariableFlash {
    pub(crate) fn new(gpa: u64, geometry: Geometry, variables: Variables) -> Result<Self, MachineError> {
        let Variables { file, content } = variables;
        let rom = Rom::new(gpa, &content)?;
        let wiring = geometry.wiring();
        let state = Mutex::new(State { chip: Flash::new(geometry, false), content });
        Ok(VariableFlash { state, file, rom, wiring, not_kept: Once::new(), not_switched: Once::new() })
    }

    /// As the guest sees it while the chip is an array.
    pub(crate) fn slot(&self) -> Option<Slot> {
        self.rom.slot()
    }

    /// As after power-on.
    pub(crate) fn reset(&self) {
        self.state.lock().chip.reset();
    }

    /// Looks at the bytes.
    pub(crate) fn look<T>(&self, at: impl FnOnce(&[u8]) -> T) -> T {
        at(&self.state.lock().content)
    }

    /// No guest writes to it any more.
    pub(crate) fn finish(&self) {
        if let Err(cause) = self.file.compact() {
            // Nothing is lost: the log behind the image has it.
            let why = std::error::Error::source(&cause).map(ToString::to_string).unwrap_or_default();
            log::warn!("{cause}: {why}");
        }
    }
}

/// The chip on the bus of one virtual machine.
#[derive(Debug)]
pub(crate) struct FlashDevice {
    flash: Arc<VariableFlash>,
    vm: Arc<Vm>,
    /// The number of its slot.
    number: u32,
    /// Whether the slot is there. Its lock comes before the chip's.
    mapped: Mutex<bool>,
}

impl FlashDevice {
    /// Its slot is there.
    pub(crate) fn new(flash: Arc<VariableFlash>, vm: Arc<Vm>, number: u32) -> FlashDevice {
        FlashDevice { flash, vm, number, mapped: Mutex::new(true) }
    }

    /// Carries out what a write did.
    fn change(&self, at: Access, value: u64) {
        let VariableFlash { state, file, rom, not_kept, .. } = &*self.flash;
        let mut state = state.lock();
        let State { chip, content } = &mut *state;
        let effect = chip.write(at, value);
        let kept = effect.carry_out(content, |offset, change| file.append(offset, change));
        let shown = kept.and_then(|()| show(&effect, content, rom));
        if let Err(cause) = shown {
            not_kept.call_once(|| {
                log::error!("what the guest writes to its UEFI variables cannot be kept: {cause}");
            });
            chip.fail(&effect);
        }
    }

    /// Where the status of a program or an erasure is not read the bytes stay in the map meanwhile: it is a call for
    /// each word that is written otherwise, each of which stops all vCPUs.
    fn map(&self) {
        let mut mapped = self.mapped.lock();
        let wanted = match self.flash.state.lock().chip.reads() {
            Reads::Array => true,
            // AAVMF waits by it.
            Reads::Progress => self.flash.wiring == Wiring::Byte,
            Reads::Register => false,
        };
        if *mapped == wanted {
            return;
        }
        let slot = self.flash.slot().filter(|_| wanted);
        match self.vm.change_slot(self.number, slot.as_ref()) {
            Ok(()) => *mapped = wanted,
            Err(cause) => {
                let say = || log::error!("the flash chip cannot be switched: {cause}");
                self.flash.not_switched.call_once(say);
            }
        }
    }
}

/// Gives the guest to read what has changed.
fn show(effect: &flash::Effect, content: &[u8], rom: &Rom) -> std::io::Result<()> {
    let (offset, len) = match effect {
        flash::Effect::None => return Ok(()),
        flash::Effect::Program { offset, piece } => (*offset, piece.bytes().len()),
        flash::Effect::Erase { offset, len } => (*offset, usize::try_from(*len).unwrap_or(usize::MAX)),
    };
    let start = usize::try_from(offset).unwrap_or(usize::MAX);
    let bytes = content.get(start..).and_then(|rest| rest.get(..len)).unwrap_or_default();
    rom.write(offset.into(), bytes).map_err(std::io::Error::other)
}

impl Device for FlashDevice {
    fn read(&self, at: Access) -> u64 {
        let state = self.flash.state.lock();
        state.chip.read(at).unwrap_or_else(|| {
            let start = usize::try_from(at.offset).unwrap_or(usize::MAX);
            let bytes = state.content.get(start..).unwrap_or_default();
            let bytes = bytes.get(..usize::from(at.width.bytes())).unwrap_or_default();
            bytes.iter().rev().fold(0, |value, byte| value << 8 | u64::from(*byte))
        })
    }

    fn write(&self, at: Access, value: u64) -> Effect {
        self.change(at, value);
        self.map();
        Effect::None
    }

    fn eight_bits(&self) -> bool {
        self.flash.wiring == Wiring::Byte
    }
}
