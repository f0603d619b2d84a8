//! The DSDT (ACPI 6.3 §5.2.11.1): the CPUs, the console, the PCI host bridge with its window and interrupts, fw_cfg,
//! and the power button by the generic event device. The PL031 is the firmware's, which serves the time by EFI.

use crate::aarch64::board::gsi;
use crate::aarch64::{Board, Chip, Pci};
use crate::acpi::{Encoded, devices};
use acpi_tables::aml::{
    AddressSpace, AddressSpaceCacheable, And, Arg, CreateDWordField, Device, EISAName, Equal, Field,
    FieldAccessType, FieldEntry, FieldLockRule, FieldUpdateRule, If, Interrupt, LessThan, Local,
    Memory32Fixed, Method, Name, Notify, OpRegion, OpRegionSpace, Or, PackageBuilder, Path, ResourceTemplate,
    Return, Scope, Store, Uuid,
};
use ami_run_memory::Range;

/// _STA: present, enabled, working, but not for users to see.
const HIDDEN: u8 = 0x0b;
const SLOTS: u32 = 32;
/// A 16550 has so many byte registers.
const UART_REGISTERS: u32 = 8;

/// Of a host bridge (PCI Firmware Specification 3.2 §4.5.1).
const PCI_OSC: &str = "33db4d5b-1ff7-401c-9657-7441c03dd766";
const OSC_UNKNOWN_UUID: u8 = 1 << 2;
const OSC_UNKNOWN_REVISION: u8 = 1 << 3;

/// The power button's bit in the register of events.
const POWER_BUTTON: u8 = 1 << 1;
/// What a control-method power button is told (§4.8.3.2.2.1).
const PRESSED: u8 = 0x80;

/// The table without its header.
pub(super) fn dsdt(board: &Board) -> Vec<u8> {
    let (bridge, console) = (pci_bridge(&board.pci), console(board));
    let (fw_cfg, events) = (fw_cfg(board.fw_cfg), events(&board.events));
    let cpus = devices::cpus(board.cpus.len());
    Encoded::new(&[&Scope::new("_SB_".into(), vec![&cpus, &console, &bridge, &fw_cfg, &events])]).into_bytes()
}

fn low(address: u64) -> u32 {
    u32::try_from(address).unwrap_or(u32::MAX)
}

fn registers(range: Range) -> Memory32Fixed {
    Memory32Fixed::new(true, low(range.start), low(range.len))
}

/// The kernel's console. With a 16550 the PL011 is left to the firmware: two consoles would say everything twice.
fn console(board: &Board) -> Encoded {
    let (id, port, length) = match board.serial {
        Some(serial) => (Encoded::new(&[&EISAName::new("PNP0501")]), serial, UART_REGISTERS),
        None => (Encoded::new(&[&"ARMH0011"]), board.console, low(board.console.registers.len)),
    };
    let memory = Memory32Fixed::new(true, low(port.registers.start), length);
    let interrupt = Interrupt::new(true, false, false, false, port.gsi());
    Encoded::new(&[&Device::new(
        "COM1".into(),
        vec![
            &Name::new("_HID".into(), &id),
            &Name::new("_UID".into(), &0u8),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&memory, &interrupt])),
        ],
    )])
}

fn fw_cfg(range: Range) -> Encoded {
    Encoded::new(&[&Device::new(
        "FWCF".into(),
        vec![
            &Name::new("_HID".into(), &"QEMU0002"),
            &Name::new("_STA".into(), &HIDDEN),
            &Name::new("_CCA".into(), &1u8),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&registers(range)])),
        ],
    )])
}

fn pci_bridge(pci: &Pci) -> Encoded {
    let (window, last) = (pci.window, pci.window.end().saturating_sub(1));
    let buses = AddressSpace::new_bus_number(0u16, pci.last_bus().into());
    let memory = AddressSpaceCacheable::NotCacheable;
    let memory = AddressSpace::new_memory(memory, true, low(window.start), low(last), None);
    let resources = ResourceTemplate::new(vec![&buses, &memory]);
    let (routing, control, space, slots) =
        (routing(pci), osc(), config_space(pci.ecam), devices::slots(&pci.functions));
    Encoded::new(&[&Device::new(
        "PCI0".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0A08")),
            &Name::new("_CID".into(), &EISAName::new("PNP0A03")),
            &Name::new("_SEG".into(), &0u8),
            &Name::new("_BBN".into(), &0u8),
            &Name::new("_UID".into(), &0u8),
            &Name::new("_CCA".into(), &1u8),
            &Name::new("_CRS".into(), &resources),
            &Name::new("_PRT".into(), &routing),
            &control,
            &space,
            &slots,
        ],
    )])
}

/// One entry a slot and pin, used or not, so that a device can be added later.
fn routing(pci: &Pci) -> PackageBuilder {
    let mut table = PackageBuilder::new();
    for slot in 0..SLOTS {
        for pin in 0..4u32 {
            let mut entry = PackageBuilder::new();
            entry.add_element(&(slot << 16 | 0xffff));
            entry.add_element(&pin);
            entry.add_element(&0u8);
            entry.add_element(&gsi(pci.spi(slot, pin)));
            table.add_element(&entry);
        }
    }
    table
}

/// The operating system may have all control that it asks for: nobody else does anything with it.
fn osc() -> Encoded {
    let (status, ours) = (Name::new_field_name("CDW1"), Uuid::new(PCI_OSC));
    Encoded::new(&[&Method::new(
        "_OSC".into(),
        4,
        true,
        vec![
            &CreateDWordField::new(&status, &Arg(3), &0u8),
            &If::new(
                &Equal::new(&Arg(0), &ours),
                vec![
                    &If::new(
                        &LessThan::new(&Arg(1), &1u8),
                        vec![&Or::new(&status, &status, &OSC_UNKNOWN_REVISION)],
                    ),
                    &Return::new(&Arg(3)),
                ],
            ),
            &Or::new(&status, &status, &OSC_UNKNOWN_UUID),
            &Return::new(&Arg(3)),
        ],
    )])
}

/// Keeps the operating system from giving configuration space to a device (PCI Firmware Specification §4.1.2).
fn config_space(ecam: Range) -> Encoded {
    let (start, last) = (ecam.start, ecam.end().saturating_sub(1));
    let memory = AddressSpace::new_memory(AddressSpaceCacheable::NotCacheable, true, start, last, None);
    Encoded::new(&[&Device::new(
        "RES0".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0C02")),
            &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&memory])),
        ],
    )])
}

/// The generic event device (§5.6.9) and the button that it tells of (§4.8.3.2.2).
fn events(chip: &Chip) -> Encoded {
    let interrupt = Interrupt::new(true, true, false, false, chip.gsi());
    let (address, length) = (low(chip.registers.start), low(chip.registers.len));
    let (register, button) = (Path::new("ESEL"), Path::new("\\_SB_.PWRB"));
    let (begun, one) = (Path::new("EUSE"), 1u8);
    let field = vec![FieldEntry::Named(*b"ESEL", 32), FieldEntry::Named(*b"EUSE", 32)];
    let (lock, rule) = (FieldLockRule::NoLock, FieldUpdateRule::WriteAsZeroes);
    Encoded::new(&[
        &Device::new(
            "GED_".into(),
            vec![
                &Name::new("_HID".into(), &"ACPI0013"),
                &Name::new("_UID".into(), &0u8),
                &Name::new("_CRS".into(), &ResourceTemplate::new(vec![&interrupt])),
                &OpRegion::new("EREG".into(), OpRegionSpace::SystemMemory, &address, &length),
                &Field::new("EREG".into(), FieldAccessType::DWord, lock, rule, field),
                // Tells the machine that somebody listens from now on.
                &Method::new("_INI".into(), 0, false, vec![&Store::new(&begun, &one)]),
                &Method::new(
                    "_EVT".into(),
                    1,
                    true,
                    vec![
                        // Reading it clears it.
                        &Store::new(&Local(0), &register),
                        &If::new(
                            &Equal::new(&And::new(&0u8, &Local(0), &POWER_BUTTON), &POWER_BUTTON),
                            vec![&Notify::new(&button, &PRESSED)],
                        ),
                    ],
                ),
            ],
        ),
        &Device::new(
            "PWRB".into(),
            vec![&Name::new("_HID".into(), &EISAName::new("PNP0C0C")), &Name::new("_UID".into(), &0u8)],
        ),
    ])
}
