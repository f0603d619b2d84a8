//! The board as plain data: what firmware and tables must know of a machine. The machine makes it from the same
//! parts list as the devices, so the two cannot disagree.

use ami_run_memory::Range;

/// One machine's hardware, described.
#[derive(Clone, Debug)]
pub struct Board {
    pub identity: Identity,
    /// Local APIC ids of the CPUs, the boot CPU first.
    pub cpus: Vec<u32>,
    /// RAM, lowest first.
    pub ram: Vec<Range>,
    /// What e820 must call reserved though no device is there (KVM's own pages).
    pub reserved: Vec<Range>,
    /// The window for 32-bit memory BARs.
    pub pci_window: Range,
    /// PCI functions on bus 0, in order of slot and function.
    pub pci: Vec<PciFunction>,
    /// The IRQ numbers that the four PCI interrupt links are wired to, PIRQ A first.
    pub pirq: [u8; 4],
    pub serial: Vec<SerialPort>,
    pub power: Power,
    /// First port of fw_cfg (12 ports).
    pub fw_cfg_port: u16,
    /// Who reads what is said of the machine.
    pub firmware: FirmwareKind,
    /// The function (of `pci`) of each disk to boot from, in order of preference. None for UEFI: its own order stands
    /// in its variables.
    pub boot_order: Vec<PciAddress>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareKind {
    /// SeaBIOS, or a kernel without firmware.
    Bios,
    /// EDK II.
    Uefi,
}

/// Which machine this is, as its guest may know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `i-…`.
    pub instance_id: String,
    pub instance_type: String,
    /// In the order in which it is written; EC2's begin with `ec2`.
    pub uuid: [u8; 16],
    /// The VM generation id, in memory order: another one for every launch, the same after a reset.
    pub generation: [u8; 16],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PciAddress {
    pub slot: u8,
    pub function: u8,
}

impl PciAddress {
    /// As paths of boot orders have it: Open Firmware leaves out function 0.
    pub(crate) fn unit(self) -> String {
        match self.function {
            0 => format!("{:x}", self.slot),
            function => format!("{:x},{function:x}", self.slot),
        }
    }
}

#[derive(Clone, Debug)]
pub struct PciFunction {
    pub address: PciAddress,
    pub kind: PciKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PciKind {
    HostBridge,
    IsaBridge,
    PowerManagement,
    VirtioBlock,
    Nvme,
    Network,
    Other,
}

/// A 16550 at an I/O port.
#[derive(Clone, Copy, Debug)]
pub struct SerialPort {
    pub port: u16,
    pub irq: u8,
}

/// ACPI fixed hardware and the reset register.
#[derive(Clone, Copy, Debug)]
pub struct Power {
    /// Base of the PM block: PM1 status and enable at +0, control at +4, timer at +8.
    pub pm_base: u16,
    /// The interrupt of ACPI events.
    pub sci: u8,
    pub reset_port: u16,
    pub reset_value: u8,
}

#[cfg(test)]
pub(crate) mod sample {
    use super::*;

    /// Two CPUs, 1 GiB, one disk, a network, as the first form of the machine has it.
    pub(crate) fn board() -> Board {
        let at = |slot, function, kind| PciFunction { address: PciAddress { slot, function }, kind };
        Board {
            identity: Identity {
                instance_id: "i-0123456789abcdef0".to_owned(),
                instance_type: "t3.micro".to_owned(),
                uuid: *b"\xec\x2a\x01\x02\x03\x04\x05\x06\x87\x08\x09\x0a\x0b\x0c\x0d\x0e",
                generation: *b"generation of it",
            },
            cpus: vec![0, 1],
            ram: vec![Range::new(0, 0x4000_0000)],
            reserved: vec![Range::new(0xfeff_c000, 0x4000)],
            pci_window: Range::new(0xc000_0000, 0x3ec0_0000),
            pci: vec![
                at(0, 0, PciKind::HostBridge),
                at(1, 0, PciKind::IsaBridge),
                at(1, 3, PciKind::PowerManagement),
                at(4, 0, PciKind::VirtioBlock),
                at(5, 0, PciKind::Network),
            ],
            pirq: [10, 10, 11, 11],
            serial: vec![SerialPort { port: 0x3f8, irq: 4 }],
            power: Power { pm_base: 0x600, sci: 9, reset_port: 0xcf9, reset_value: 6 },
            fw_cfg_port: 0x510,
            firmware: FirmwareKind::Bios,
            boot_order: vec![PciAddress { slot: 4, function: 0 }],
        }
    }
}
