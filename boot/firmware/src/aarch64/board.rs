//! The arm64 board as plain data. It is a type of its own: what it shares with the PC's [`crate::board::Board`] are
//! parts (identity, PCI functions), while CPUs, interrupts, ports and power are described by other numbers, and one
//! type for both would be a PC with holes.

use crate::board::{Identity, PciAddress, PciFunction};
use ami_run_memory::Range;

/// One machine's hardware, described.
#[derive(Clone, Debug)]
pub struct Board {
    pub identity: Identity,
    /// The affinity fields of the CPUs' MPIDR_EL1, the boot CPU first.
    pub cpus: Vec<u64>,
    /// The CPUs have performance counters.
    pub pmu: bool,
    /// RAM, lowest first.
    pub ram: Vec<Range>,
    /// None for a machine that starts a kernel without firmware.
    pub flash: Option<Flash>,
    pub gic: Gic,
    /// A PL011: the firmware's console, and the kernel's if `serial` is none.
    pub console: Chip,
    /// A 16550 with byte registers: the kernel's console, as on EC2.
    pub serial: Option<Chip>,
    /// A PL031.
    pub clock: Chip,
    /// The generic event device's two registers.
    pub events: Chip,
    pub fw_cfg: Range,
    pub pci: Pci,
    /// The function (of `pci`) of each disk to boot from, in order of preference. None: the firmware's own order
    /// stands in its variables.
    pub boot_order: Vec<PciAddress>,
}

/// Registers in memory, and the shared peripheral interrupt of whoever has them: 0 for the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Chip {
    pub registers: Range,
    pub spi: u32,
}

/// Where firmware's code is, and its variables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flash {
    pub code: Range,
    pub variables: Range,
}

/// A GICv3 with its ITS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gic {
    pub distributor: Range,
    /// Of all CPUs, one after another.
    pub redistributors: Range,
    pub its: Range,
}

/// A host bridge of segment 0, all of whose BARs are 32-bit memory BARs.
#[derive(Clone, Debug)]
pub struct Pci {
    /// Configuration space, 1 MiB a bus.
    pub ecam: Range,
    /// The window for memory BARs.
    pub window: Range,
    /// The shared peripheral interrupts of the four links, A first. INTA of slot 1 is link A, and pins rotate from
    /// slot to slot.
    pub links: [u32; 4],
    /// In order of slot and function.
    pub functions: Vec<PciFunction>,
}

/// Interrupt ids below this one are a CPU's own.
const FIRST_SPI: u32 = 32;

/// A shared peripheral interrupt's number among all of the GIC's, which is ACPI's GSI.
pub(crate) fn gsi(spi: u32) -> u32 {
    spi.saturating_add(FIRST_SPI)
}

/// The virtual timer and its kin, and the performance counters: interrupts of each CPU, which KVM raises.
pub(crate) const SECURE_TIMER: u32 = 29;
pub(crate) const PHYSICAL_TIMER: u32 = 30;
pub(crate) const VIRTUAL_TIMER: u32 = 27;
pub(crate) const HYPERVISOR_TIMER: u32 = 26;
pub(crate) const PMU: u32 = 23;

impl Chip {
    pub(crate) fn gsi(&self) -> u32 {
        gsi(self.spi)
    }
}

impl Pci {
    /// The link that a slot's pin (0 for INTA) pulls.
    pub(crate) fn spi(&self, slot: u32, pin: u32) -> u32 {
        let [a, b, c, d] = self.links;
        match slot.wrapping_add(3).wrapping_add(pin) & 3 {
            0 => a,
            1 => b,
            2 => c,
            _ => d,
        }
    }

    pub(crate) fn last_bus(&self) -> u8 {
        u8::try_from((self.ecam.len >> 20).saturating_sub(1)).unwrap_or(u8::MAX)
    }
}

#[cfg(test)]
pub(crate) mod sample {
    use super::*;
    use crate::board::{PciKind, sample as pc};

    /// Two CPUs, 1 GiB, a disk and a network, at the addresses that QEMU's board has.
    pub(crate) fn board() -> Board {
        let at = |slot, kind| PciFunction { address: PciAddress { slot, function: 0 }, kind };
        let chip = |start, len, spi| Chip { registers: Range::new(start, len), spi };
        Board {
            identity: pc::board().identity,
            cpus: vec![0, 1],
            pmu: true,
            ram: vec![Range::new(0x4000_0000, 0x4000_0000)],
            flash: Some(Flash {
                code: Range::new(0, 0x400_0000),
                variables: Range::new(0x400_0000, 0x400_0000),
            }),
            gic: Gic {
                distributor: Range::new(0x800_0000, 0x1_0000),
                redistributors: Range::new(0x80a_0000, 0xf6_0000),
                its: Range::new(0x808_0000, 0x2_0000),
            },
            console: chip(0x900_0000, 0x1000, 1),
            serial: Some(chip(0x90a_0000, 0x1000, 8)),
            clock: chip(0x901_0000, 0x1000, 2),
            events: chip(0x908_0000, 8, 9),
            fw_cfg: Range::new(0x902_0000, 0x18),
            pci: Pci {
                ecam: Range::new(0x3f00_0000, 0x100_0000),
                window: Range::new(0x1000_0000, 0x2eff_0000),
                links: [3, 4, 5, 6],
                functions: vec![at(0, PciKind::HostBridge), at(4, PciKind::Nvme), at(5, PciKind::Network)],
            },
            boot_order: Vec::new(),
        }
    }
}
