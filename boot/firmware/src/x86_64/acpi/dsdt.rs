//! The DSDT (ACPI 6.5 §5.2.11.1): the PCI host bridge with its windows and interrupt routing, what is behind the
//! ISA bridge, the CPUs, and how to power off.

use super::links;
use crate::acpi::{Encoded, devices};
use crate::board::{Board, SerialPort};
use acpi_tables::Aml;
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, Device, EISAName, IO, Interrupt, Name, Package, ResourceTemplate,
    Scope,
};

/// 00:01.0, the ISA bridge, in _ADR's form.
const ISA_BRIDGE: u32 = 0x0001_0000;
/// The configuration ports of PCI (mechanism 1), reset register included.
const CONFIG_PORTS: u16 = 0xcf8;
const CONFIG_PORTS_LENGTH: u8 = 8;
const VGA: (u32, u32) = (0xa_0000, 0xb_ffff);
const RTC_PORT: u16 = 0x70;
const RTC_IRQ: u8 = 8;
const UART_PORTS: u8 = 8;
const FW_CFG_PORTS: u8 = 12;
const PM_PORTS: u8 = 64;
/// _STA: present, enabled, working, but not for users to see.
const HIDDEN: u8 = 0x0b;

/// The table without its header.
pub(super) fn dsdt(board: &Board) -> Vec<u8> {
    let mut aml = Vec::new();
    let (bridge, links, cpus) = (pci_bridge(board), links::links(board), devices::cpus(board.cpus.len()));
    Scope::new("_SB_".into(), vec![&bridge, &links, &cpus]).to_aml_bytes(&mut aml);
    // SLP_TYP 0 is soft-off, for firmware that powers off by itself too.
    let soft_off = Package::new(vec![&0u8, &0u8, &0u8, &0u8]);
    Name::new("\\_S5_".into(), &soft_off).to_aml_bytes(&mut aml);
    aml
}

fn pci_bridge(board: &Board) -> Encoded {
    let isa = isa_bridge(board);
    let resources = pci_windows(board);
    let routing = links::routing();
    let slots = devices::slots(&board.pci);
    Encoded::new(&[&Device::new(
        "PCI0".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0A03")),
            &Name::new("_UID".into(), &0u8),
            &Name::new("_CRS".into(), &resources),
            &Name::new("_PRT".into(), &routing),
            &isa,
            &slots,
        ],
    )])
}

/// What the bridge passes on. There is no window above 4 GiB: every BAR of this machine is 32-bit.
fn pci_windows(board: &Board) -> Encoded {
    let clamp = |address: u64| u32::try_from(address).unwrap_or(u32::MAX);
    let (start, last) = (board.pci_window.start, board.pci_window.end().saturating_sub(1));
    let memory = |cacheable, start, end| AddressSpace::new_memory(cacheable, true, start, end, None);
    Encoded::new(&[&ResourceTemplate::new(vec![
        &AddressSpace::new_bus_number(0u16, 0xff),
        &IO::new(CONFIG_PORTS, CONFIG_PORTS, 1, CONFIG_PORTS_LENGTH),
        &AddressSpace::new_io(0u16, CONFIG_PORTS - 1, None),
        &AddressSpace::new_io(CONFIG_PORTS + u16::from(CONFIG_PORTS_LENGTH), 0xffff, None),
        &memory(AddressSpaceCacheable::Cacheable, VGA.0, VGA.1),
        &memory(AddressSpaceCacheable::NotCacheable, clamp(start), clamp(last)),
    ])])
}

fn ports(first: u16, count: u8) -> IO {
    IO::new(first, first, 1, count)
}

/// An ISA interrupt: edge, active high, not shared.
fn isa_irq(irq: u8) -> Interrupt {
    Interrupt::new(true, true, false, false, u32::from(irq))
}

fn isa_bridge(board: &Board) -> Encoded {
    let serial: Vec<Encoded> =
        (1u8..=9).zip(&board.serial).map(|(number, port)| uart(number, *port)).collect();
    let serial = Encoded::new(&serial.iter().map(|port| port as &dyn Aml).collect::<Vec<_>>());
    let (pirq, rtc, fw_cfg, power) = (links::registers(), rtc(), fw_cfg(board), power_block(board));
    Encoded::new(&[&Device::new(
        "ISA_".into(),
        vec![&Name::new("_ADR".into(), &ISA_BRIDGE), &pirq, &rtc, &serial, &fw_cfg, &power],
    )])
}

fn rtc() -> Encoded {
    let (ports, irq) = (ports(RTC_PORT, 8), isa_irq(RTC_IRQ));
    Encoded::new(&[&Device::new(
        "RTC_".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0B00")),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ports, &irq])),
        ],
    )])
}

/// `number` is COM's: 1 for the first.
fn uart(number: u8, port: SerialPort) -> Encoded {
    let (ports, irq) = (ports(port.port, UART_PORTS), isa_irq(port.irq));
    Encoded::new(&[&Device::new(
        format!("COM{number}").as_str().into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0501")),
            &Name::new("_UID".into(), &number),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ports, &irq])),
        ],
    )])
}

fn fw_cfg(board: &Board) -> Encoded {
    Encoded::new(&[&Device::new(
        "FWCF".into(),
        vec![
            &Name::new("_HID".into(), &"QEMU0002"),
            &Name::new("_STA".into(), &HIDDEN),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ports(board.fw_cfg_port, FW_CFG_PORTS)])),
        ],
    )])
}

/// Keeps the OS from giving the power-management ports to a PCI device.
fn power_block(board: &Board) -> Encoded {
    Encoded::new(&[&Device::new(
        "PMIO".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0C02")),
            &Name::new("_UID".into(), &1u8),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&ports(board.power.pm_base, PM_PORTS)])),
        ],
    )])
}
