//! The parts list of the x86_64 board: what is where. Read it from top to bottom; devices, and what firmware and
//! tables are told of them, come from the same lines.

use super::chips::OWN_PAGES;
use crate::MachineError;
use crate::board::{Functions, Outside, Parts};
use crate::first::First;
use ami_run_firmware::board::{Board, FirmwareKind, PciKind, Power, SerialPort};
use ami_run_memory::{Memory, Range, Slot};
use ami_run_models::bus::{Bus, Device};
use ami_run_models::cmos::{Clock, Cmos};
use ami_run_models::fw_cfg::Items;
use ami_run_models::irq::{Hypervisor, Line, Lines};
use ami_run_models::pci::{Address, HostBridge, IsaBridge, PowerManagement, Root, Window};
use ami_run_models::ports::{DebugPort, FastA20, KeyboardReset};
use ami_run_models::power::PowerBlock;
use ami_run_models::serial::Port;
use std::sync::Arc;

/// RAM below 4 GiB ends here; the rest is above 4 GiB.
const LOW_RAM_END: u64 = 0xc000_0000;
const GIB: u64 = 1 << 30;
pub(super) const FOUR_GIB: u64 = 1 << 32;
/// The window of BARs ends at the IOAPIC. Both firmwares and Linux place BARs within.
const PCI_WINDOW_END: u64 = 0xfec0_0000;
/// SeaBIOS puts the PM ports here when it is given tables (its src/fw/paravirt.c).
const PM_BASE: u16 = 0x600;
/// And EDK II here, always (edk2: OvmfPkg/Include/OvmfPlatforms.h).
const PM_BASE_OF_UEFI: u16 = 0xb000;
const SCI: u8 = 9;
/// Where every PC has its clock's, and the DSDT too.
const RTC_IRQ: u8 = 8;
const COM1: SerialPort = SerialPort { port: 0x3f8, irq: 4 };
const FW_CFG_PORT: u16 = 0x510;
/// EC2 has no such device; it stands beside the bridges, where no volume would.
const RNG: Address = Address { slot: 1, function: 2 };

/// The ranges of RAM for so many bytes.
pub(crate) fn ram(bytes: u64) -> Vec<Range> {
    let low = bytes.min(LOW_RAM_END);
    let mut ranges = vec![Range::new(0, low)];
    if bytes > low {
        ranges.push(Range::new(FOUR_GIB, bytes - low));
    }
    ranges
}

/// RAM without the VGA hole, where firmware looks for devices.
pub(crate) fn ram_slots(ram: &Memory) -> Vec<Slot> {
    let (hole, after) = (0xa_0000, 0xc_0000);
    ram.slots()
        .into_iter()
        .flat_map(|slot| {
            if slot.gpa != 0 {
                return vec![slot];
            }
            let rest = Slot { gpa: after, host: slot.host + after, len: slot.len - after, ..slot };
            vec![Slot { len: hole, ..slot }, rest]
        })
        .collect()
}

/// The window of BARs begins with the first gibibyte above low RAM: there EDK II begins to place them (edk2:
/// OvmfPkg/Library/PlatformInitLib/MemDetect.c), which leaves two for them when there is little RAM.
fn pci_window(memory: u64) -> Range {
    let start = if memory <= 2 * GIB { 2 * GIB } else { LOW_RAM_END };
    Range::new(start, PCI_WINDOW_END.saturating_sub(start))
}

/// Devices in the order of the list, with the half-made board.
struct List {
    board: Board,
    ports: Bus,
}

impl List {
    fn port(&mut self, first: u16, count: u64, device: Arc<dyn Device>) -> Result<(), MachineError> {
        Ok(self.ports.add(Range::new(u64::from(first), count), device)?)
    }
}

/// At a slot of bus 0.
const fn at(slot: u8, function: u8) -> Address {
    Address { slot, function }
}

pub(crate) fn build(outside: &Outside<'_>) -> Result<Parts, MachineError> {
    let (trace, handle) = (&outside.spec.trace, outside.handle);
    let lines = Arc::new(Lines::new(Arc::clone(outside.vm) as Arc<dyn Hypervisor>));
    let line = |gsi| Line::new(Arc::clone(&lines), gsi);
    let power = Arc::new(PowerBlock::new(line(SCI)).watched(&handle.stages));
    let cpus = u8::try_from(outside.spec.cpus).unwrap_or(u8::MAX);
    let mut list = List { board: board(outside), ports: Bus::default() };

    list.port(0x64, 1, Arc::new(KeyboardReset))?;
    list.port(0x70, 2, Arc::new(Clock::new(Cmos::new(cpus), line(RTC_IRQ), outside.gate)))?;
    list.port(0x92, 1, Arc::new(FastA20::default()))?;
    list.port(COM1.port, 8, Port::new(line(COM1.irq), &handle.console))?;
    list.port(0x402, 1, Arc::new(DebugPort::new(Arc::clone(&handle.debug_text), trace.clone())))?;
    list.port(list.board.power.pm_base, PowerBlock::LEN, Arc::clone(&power) as Arc<dyn Device>)?;

    let mut functions = Functions::default();
    functions.add(at(0, 0), PciKind::HostBridge, Arc::new(HostBridge::new()));
    functions.add(at(1, 0), PciKind::IsaBridge, Arc::new(IsaBridge::new(Arc::clone(&lines))));
    functions.add(at(1, 3), PciKind::PowerManagement, Arc::new(PowerManagement::new(SCI)));
    functions.add_instance(RNG, outside, &lines)?;
    list.board.pci = functions.told;
    list.board.boot_order = functions.boot_order;

    let items = fw_cfg_items(&list.board, outside.first);
    list.port(FW_CFG_PORT, 12, Arc::new(outside.fw_cfg(items)))?;
    let root = Arc::new(Root::new(functions.devices, trace.clone()));
    list.port(0xcf8, 8, Arc::clone(&root) as Arc<dyn Device>)?;
    let mut memory = Bus::default();
    let window = list.board.pci_window;
    memory.add(window, Arc::new(Window::new(root, window.start)))?;
    outside.add_variables(&mut memory)?;
    Ok(Parts { board: list.board, ports: list.ports, memory, power })
}

fn board(outside: &Outside<'_>) -> Board {
    let spec = outside.spec;
    let firmware = match outside.first {
        First::Uefi { .. } => FirmwareKind::Uefi,
        First::Bios(_) | First::Kernel(_) => FirmwareKind::Bios,
    };
    let pm_base = match firmware {
        FirmwareKind::Bios => PM_BASE,
        FirmwareKind::Uefi => PM_BASE_OF_UEFI,
    };
    let (own_start, own_len) = OWN_PAGES;
    Board {
        identity: spec.identity.clone(),
        cpus: outside.cpus.ids.clone(),
        ram: ram(spec.memory),
        reserved: vec![Range::new(own_start, own_len)],
        pci_window: pci_window(spec.memory),
        pci: Vec::new(),
        pirq: [10, 10, 11, 11],
        serial: vec![COM1],
        power: Power { pm_base, sci: SCI, reset_port: 0xcf9, reset_value: 6 },
        fw_cfg_port: FW_CFG_PORT,
        firmware,
        boot_order: Vec::new(),
    }
}

/// Firmware's files; a kernel that is started without firmware finds none.
fn fw_cfg_items(board: &Board, first: &First) -> Items {
    let files = match first {
        First::Bios { .. } | First::Uefi { .. } => {
            ami_run_firmware::files(board).into_iter().map(|blob| (blob.name, blob.bytes)).collect()
        }
        First::Kernel(_) => Vec::new(),
    };
    Items::new(ami_run_firmware::keys(board), files)
}
