//! The parts list of the arm64 board: what is where. Read it from top to bottom; devices, and what firmware and tables
//! are told of them, come from the same lines. Addresses are those of QEMU's `virt`: AAVMF has some of them built in
//! (facts: edk2 ArmVirtPkg/ArmVirtQemu.dsc), and the others are as good as any.

use crate::MachineError;
use crate::board::{Functions, Outside, Parts};
use crate::first::First;
use ami_run_firmware::aarch64::{Board, Chip, Flash, Gic, Pci, files, keys};
use ami_run_firmware::board::PciKind;
use ami_run_memory::Range;
use ami_run_models::bus::{Bus, Device};
use ami_run_models::fw_cfg::{Items, Mapped};
use ami_run_models::ged::Events;
use ami_run_models::irq::{Hypervisor, Line, Lines};
use ami_run_models::pci::{Address, Ecam, HostBridge, Root, Window};
use ami_run_models::pl031::{Pl031, Rtc};
use ami_run_models::serial::{ArmPort, Port};
use std::sync::Arc;

/// Where the first instruction is.
pub(super) const CODE: Range = Range::new(0, 0x400_0000);
pub(super) const VARIABLES: Range = Range::new(0x400_0000, 0x400_0000);
pub(super) const GIC: Gic = Gic {
    distributor: Range::new(0x800_0000, 0x1_0000),
    its: Range::new(0x808_0000, 0x2_0000),
    // Two pages of 64 KiB for each of 64 CPUs.
    redistributors: Range::new(0x80a_0000, 0x80_0000),
};
const _: () = assert!(GIC.redistributors.len >= crate::MAX_CPUS as u64 * 0x2_0000);
const CONSOLE: Chip = chip(0x900_0000, 0x1000, 1);
const CLOCK: Chip = chip(0x901_0000, 0x1000, 2);
const FW_CFG: Range = Range::new(0x902_0000, Mapped::LEN);
const EVENTS: Chip = chip(0x908_0000, Events::LEN, 9);
/// EC2's console is a 16550 too. QEMU's board has the guest's stolen time here, which this one does not tell.
const SERIAL: Chip = chip(0x90a_0000, 0x1000, 8);
const PCI_WINDOW: Range = Range::new(0x1000_0000, 0x2eff_0000);
const PCI_LINKS: [u8; 4] = [3, 4, 5, 6];
/// Of 16 buses, as the first is all that there is.
const ECAM: Range = Range::new(0x3f00_0000, 16 * Ecam::BUS);
/// Firmware finds the device tree here, and takes this address for granted.
pub(super) const RAM: u64 = 0x4000_0000;
/// EC2 has no such device.
const RNG: Address = Address { slot: 1, function: 0 };

const fn chip(start: u64, len: u64, spi: u32) -> Chip {
    Chip { registers: Range::new(start, len), spi }
}

/// The ranges of RAM for so many bytes.
pub(crate) fn ram(bytes: u64) -> Vec<Range> {
    vec![Range::new(RAM, bytes)]
}

pub(crate) fn build(outside: &Outside<'_>) -> Result<Parts, MachineError> {
    let (trace, console) = (&outside.spec.trace, &outside.handle.console);
    let lines = Arc::new(Lines::wired(Arc::clone(outside.vm) as Arc<dyn Hypervisor>, PCI_LINKS));
    let line = |chip: Chip| Line::new(Arc::clone(&lines), u8::try_from(chip.spi).unwrap_or(u8::MAX));
    let power = Arc::new(Events::new(line(EVENTS)).watched(&outside.handle.stages));
    let mut memory = Bus::default();
    let mut add = |at: Range, device: Arc<dyn Device>| memory.add(at, device);

    add(CONSOLE.registers, ArmPort::new(line(CONSOLE), console))?;
    add(SERIAL.registers, Port::new(line(SERIAL), console))?;
    add(CLOCK.registers, Arc::new(Rtc::new(Pl031::default(), line(CLOCK), outside.gate)))?;
    add(EVENTS.registers, Arc::clone(&power) as Arc<dyn Device>)?;

    let mut functions = Functions::default();
    let bridge = Address { slot: 0, function: 0 };
    functions.add(bridge, PciKind::HostBridge, Arc::new(HostBridge::of_graviton()));
    functions.add_instance(RNG, outside, &lines)?;
    functions.told.sort_by_key(|function| (function.address.slot, function.address.function));
    let root = Arc::new(Root::new(functions.devices, trace.clone()));
    add(ECAM, Arc::new(Ecam::new(Arc::clone(&root))))?;
    add(PCI_WINDOW, Arc::new(Window::new(root, PCI_WINDOW.start)))?;

    let mut board = board(outside);
    board.pci.functions = functions.told;
    board.boot_order = functions.boot_order;
    if board.flash.is_some() {
        let named = files(&board).into_iter().map(|blob| (blob.name, blob.bytes)).collect();
        let items = Items::new(keys(&board), named);
        add(FW_CFG, Arc::new(Mapped::new(outside.fw_cfg(items))))?;
    }
    outside.add_variables(&mut memory)?;
    Ok(Parts { board, ports: Bus::default(), memory, power })
}

fn board(outside: &Outside<'_>) -> Board {
    Board {
        identity: outside.spec.identity.clone(),
        cpus: outside.cpus.ids.clone(),
        pmu: outside.cpus.counters,
        ram: ram(outside.spec.memory),
        flash: flash(outside.first),
        gic: GIC,
        console: CONSOLE,
        serial: Some(SERIAL),
        clock: CLOCK,
        events: EVENTS,
        fw_cfg: FW_CFG,
        pci: Pci { ecam: ECAM, window: PCI_WINDOW, links: PCI_LINKS.map(u32::from), functions: Vec::new() },
        boot_order: Vec::new(),
    }
}

/// None for a kernel that is started without firmware.
fn flash(first: &First) -> Option<Flash> {
    let slot = first.variables()?.slot()?;
    Some(Flash { code: CODE, variables: Range::new(slot.gpa, slot.len) })
}
