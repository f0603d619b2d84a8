//! The parts list of the x86_64 board: what is where. Read it from top to bottom; devices, and what firmware and
//! tables are told of them, come from the same lines.

use crate::first::First;
use crate::flash::FlashDevice;
use crate::kvm::{OWN_PAGES, Vm};
use crate::{MachineError, Network, Spec, disks};
use ami_run_firmware::board::{Board, FirmwareKind, PciAddress, PciFunction, PciKind, Power, SerialPort};
use ami_run_memory::{Memory, Range};
use ami_run_models::bus::{Bus, Device};
use ami_run_models::cmos::{Clock, Cmos};
use ami_run_models::console::Console;
use ami_run_models::fw_cfg::{FwCfg, Items};
use ami_run_models::gate::Gate;
use ami_run_models::irq::{Hypervisor, Line, Lines};
use ami_run_models::pci::{Address, Function, HostBridge, IsaBridge, PowerManagement, Root, Window, Wiring};
use ami_run_models::ports::{DebugPort, DebugText, FastA20, KeyboardReset};
use ami_run_models::power::PowerBlock;
use ami_run_models::serial::Port;
use ami_run_models::stages::Stages;
use ami_run_models::virtio::{Net, Rng, Transport};
use parking_lot::Mutex;
use std::sync::Arc;

/// RAM below 4 GiB ends here; the rest is above 4 GiB.
const LOW_RAM_END: u64 = 0xc000_0000;
const GIB: u64 = 1 << 30;
const FOUR_GIB: u64 = 1 << 32;
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
const RNG: PciAddress = PciAddress { slot: 1, function: 2 };
/// As on EC2: between the root volume and the others.
const NETWORK: PciAddress = PciAddress { slot: 5, function: 0 };

/// The ranges of RAM for so many bytes.
pub(crate) fn ram(bytes: u64) -> Vec<Range> {
    let low = bytes.min(LOW_RAM_END);
    let mut ranges = vec![Range::new(0, low)];
    if bytes > low {
        ranges.push(Range::new(FOUR_GIB, bytes - low));
    }
    ranges
}

/// The window of BARs begins with the first gibibyte above low RAM: there EDK II begins to place them (edk2:
/// OvmfPkg/Library/PlatformInitLib/MemDetect.c), which leaves two for them when there is little RAM.
fn pci_window(memory: u64) -> Range {
    let start = if memory <= 2 * GIB { 2 * GIB } else { LOW_RAM_END };
    Range::new(start, PCI_WINDOW_END.saturating_sub(start))
}

/// A board with its devices, before the first vCPU.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) board: Board,
    pub(crate) ports: Bus,
    pub(crate) memory: Bus,
    pub(crate) power: Arc<PowerBlock>,
}

/// What outlives a reset and is connected to each new board.
#[derive(Debug)]
pub(crate) struct Outside<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) first: &'a First,
    pub(crate) ram: &'a Memory,
    pub(crate) console: &'a Arc<Console>,
    pub(crate) debug_text: &'a Arc<Mutex<DebugText>>,
    /// The number of the slot in which the guest reads UEFI's variables.
    pub(crate) variables_slot: u32,
    pub(crate) stages: &'a Arc<Stages>,
    /// Made anew for each board.
    pub(crate) gate: &'a Arc<Gate>,
}

/// Devices in the order of the list, with the half-made board.
struct List {
    board: Board,
    ports: Bus,
    functions: Vec<(Address, Arc<dyn Function>)>,
}

impl List {
    fn port(&mut self, first: u16, count: u64, device: Arc<dyn Device>) -> Result<(), MachineError> {
        let range = Range::new(u64::from(first), count);
        self.ports.add(range, device).map_err(|conflict| MachineError::Bug(conflict.to_string()))
    }

    fn pci(&mut self, slot: u8, function: u8, kind: PciKind, device: Arc<dyn Function>) {
        self.board.pci.push(PciFunction { address: PciAddress { slot, function }, kind });
        self.functions.push((Address { slot, function }, device));
    }
}

pub(crate) fn build(vm: &Arc<Vm>, outside: &Outside<'_>) -> Result<Parts, MachineError> {
    let spec = outside.spec;
    let trace = &spec.trace;
    let hypervisor: Arc<dyn Hypervisor> = Arc::clone(vm) as Arc<dyn Hypervisor>;
    let lines = Arc::new(Lines::new(Arc::clone(&hypervisor)));
    let line = |gsi| Line::new(Arc::clone(&lines), gsi);
    let power = Arc::new(PowerBlock::new(line(SCI)).watched(outside.stages));
    let cpus = u8::try_from(spec.cpus).unwrap_or(u8::MAX);
    let mut list = List { board: board(spec, outside.first), ports: Bus::default(), functions: Vec::new() };

    list.port(0x64, 1, Arc::new(KeyboardReset))?;
    list.port(0x70, 2, Arc::new(Clock::new(Cmos::new(cpus), line(RTC_IRQ), outside.gate)))?;
    list.port(0x92, 1, Arc::new(FastA20::default()))?;
    list.port(COM1.port, 8, Port::new(line(COM1.irq), outside.console))?;
    list.port(0x402, 1, Arc::new(DebugPort::new(Arc::clone(outside.debug_text), trace.clone())))?;
    list.port(list.board.power.pm_base, PowerBlock::LEN, Arc::clone(&power) as Arc<dyn Device>)?;

    list.pci(0, 0, PciKind::HostBridge, Arc::new(HostBridge::new()));
    list.pci(1, 0, PciKind::IsaBridge, Arc::new(IsaBridge::new(Arc::clone(&lines))));
    list.pci(1, 3, PciKind::PowerManagement, Arc::new(PowerManagement::new(SCI)));
    let wiring = Wiring {
        memory: outside.ram.clone(),
        hypervisor,
        lines: Arc::clone(&lines),
        gate: Arc::clone(outside.gate),
        trace: trace.clone(),
        stages: None,
    };
    // EDK II uses the one and the other, and lets go of the first when a kernel is to start.
    let watched = Wiring { stages: Some(Arc::clone(outside.stages)), ..wiring.clone() };
    let rng = Transport::new("rng", RNG.slot, Box::new(Rng), watched.clone())
        .map_err(|cause| MachineError::Call { what: "making the random number device", cause })?;
    list.pci(RNG.slot, RNG.function, PciKind::Other, rng);
    if let Some(Network { mac, link }) = &spec.network {
        let net = Net::new(*mac, Arc::clone(link))
            .and_then(|net| Transport::new("net", NETWORK.slot, Box::new(net), wiring.clone()))
            .map_err(|cause| MachineError::Call { what: "making the network card", cause })?;
        list.pci(NETWORK.slot, NETWORK.function, PciKind::Network, net);
    }
    let slots = disks::slots(&spec.disks).unwrap_or_default();
    for (number, (slot, disk)) in slots.into_iter().zip(&spec.disks).enumerate() {
        let wiring = if number == 0 { &watched } else { &wiring };
        let (kind, function) = disks::function(number, slot, disk, wiring.clone())
            .map_err(|cause| MachineError::Call { what: "making a disk", cause })?;
        list.pci(slot, 0, kind, function);
        if number == 0 && !outside.first.has_boot_order() {
            list.board.boot_order.push(PciAddress { slot, function: 0 });
        }
    }

    let items = fw_cfg_items(&list.board, outside.first);
    let fw_cfg = FwCfg::new(items, outside.ram.clone(), trace.clone()).watched(outside.stages);
    list.port(FW_CFG_PORT, 12, Arc::new(fw_cfg))?;
    let root = Arc::new(Root::new(list.functions, trace.clone()));
    let range = Range::new(0xcf8, 8);
    let bug = |conflict: ami_run_models::bus::Conflict| MachineError::Bug(conflict.to_string());
    list.ports.add(range, Arc::clone(&root) as Arc<dyn Device>).map_err(bug)?;
    let mut memory = Bus::default();
    let window = list.board.pci_window;
    memory.add(window, Arc::new(Window::new(root, window.start))).map_err(bug)?;
    if let Some((variables, slot)) = outside.first.variables().and_then(|all| Some((all, all.slot()?))) {
        let device = FlashDevice::new(Arc::clone(variables), Arc::clone(vm), outside.variables_slot);
        memory.add(Range::new(slot.gpa, slot.len), Arc::new(device)).map_err(bug)?;
    }
    Ok(Parts { board: list.board, ports: list.ports, memory, power })
}

fn board(spec: &Spec, first: &First) -> Board {
    let firmware = first.kind();
    let pm_base = match firmware {
        FirmwareKind::Bios => PM_BASE,
        FirmwareKind::Uefi => PM_BASE_OF_UEFI,
    };
    let (own_start, own_len) = OWN_PAGES;
    Board {
        identity: spec.identity.clone(),
        cpus: (0..spec.cpus).collect(),
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
