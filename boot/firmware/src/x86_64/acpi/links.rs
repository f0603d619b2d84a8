//! PCI interrupt routing (ACPI 6.5 §6.2.13, PNP0C0F in §5.6.7): the four links behind the ISA bridge's PIRQ route
//! registers (82371AB datasheet §4.1.10), and the table that says which slot and pin uses which.

use crate::acpi::Encoded;
use crate::board::Board;
use acpi_tables::Aml;
use acpi_tables::aml::{
    And, Arg, CreateDWordField, Device, EISAName, Equal, Field, FieldAccessType, FieldEntry, FieldLockRule,
    FieldUpdateRule, If, Interrupt, Method, Name, OpRegion, OpRegionSpace, Or, PackageBuilder, Path,
    ResourceTemplate, Return, Store,
};

/// PIRQ route registers A to D in the bridge's configuration space.
const ROUTE_REGISTERS: u8 = 0x60;
/// In a route register: the link is connected to no interrupt.
const DISABLED: u8 = 0x80;
const STA_DISABLED: u8 = 0x09;
const STA_ENABLED: u8 = 0x0b;
/// Where an extended interrupt descriptor holds its number.
const IRQ_OFFSET: u8 = 5;
const LINKS: [char; 4] = ['A', 'B', 'C', 'D'];
const SLOTS: u32 = 32;
/// The slot of ISA bridge and power management. Its pin A is the SCI, which has no route register.
const BRIDGE_SLOT: u32 = 1;

/// PRQA to PRQD, in the ISA bridge's scope.
pub(super) fn registers() -> Encoded {
    let fields = LINKS.map(|link| FieldEntry::Named([b'P', b'R', b'Q', link as u8], 8)).to_vec();
    Encoded::new(&[
        &OpRegion::new("PIRQ".into(), OpRegionSpace::PCIConfig, &ROUTE_REGISTERS, &4u8),
        &Field::new(
            "PIRQ".into(),
            FieldAccessType::Byte,
            FieldLockRule::NoLock,
            FieldUpdateRule::Preserve,
            fields,
        ),
    ])
}

/// One entry a slot and pin, used or not, so that a device can be added later. Pins rotate from slot to slot.
pub(super) fn routing() -> PackageBuilder {
    let mut table = PackageBuilder::new();
    for slot in 0..SLOTS {
        for pin in 0..4u32 {
            let link = match (slot, pin) {
                (BRIDGE_SLOT, 0) => "LNKS".to_owned(),
                _ => format!("LNK{}", letter(slot + 3 + pin)),
            };
            let mut entry = PackageBuilder::new();
            entry.add_element(&(slot << 16 | 0xffff));
            entry.add_element(&pin);
            entry.add_element(&Path::new(&link));
            entry.add_element(&0u8);
            table.add_element(&entry);
        }
    }
    table
}

fn letter(number: u32) -> char {
    let [a, b, c, d] = LINKS;
    match number & 3 {
        0 => a,
        1 => b,
        2 => c,
        _ => d,
    }
}

/// The link devices.
pub(super) fn links(board: &Board) -> Encoded {
    let routed = (0u8..).zip(LINKS).zip(board.pirq).map(|((uid, letter), irq)| link(uid, letter, irq));
    let links: Vec<Encoded> = routed.chain([fixed_link(board.power.sci)]).collect();
    Encoded::new(&links.iter().map(|link| link as &dyn Aml).collect::<Vec<_>>())
}

/// A PCI interrupt: level, active high, shared.
fn pci_irq(irq: u8) -> Encoded {
    let interrupt = Interrupt::new(true, false, false, true, u32::from(irq));
    Encoded::new(&[&ResourceTemplate::new(vec![&interrupt])])
}

/// A link with a route register. It offers the one interrupt that the board is wired for, so that the OS finds it
/// where the firmware left it and moves nothing.
fn link(uid: u8, letter: char, irq: u8) -> Encoded {
    let register = || Path::new(&format!("\\_SB_.PCI0.ISA_.PRQ{letter}"));
    let (irq_field, buffer) = (Name::new_field_name("IRQN"), Path::new("BUF0"));
    Encoded::new(&[&Device::new(
        format!("LNK{letter}").as_str().into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0C0F")),
            &Name::new("_UID".into(), &uid),
            &Name::new("_PRS".into(), &pci_irq(irq)),
            &Method::new(
                "_STA".into(),
                0,
                false,
                vec![
                    &If::new(
                        &Equal::new(&And::new(&0u8, &register(), &DISABLED), &0u8),
                        vec![&Return::new(&STA_ENABLED)],
                    ),
                    &Return::new(&STA_DISABLED),
                ],
            ),
            &Method::new("_DIS".into(), 0, false, vec![&Or::new(&register(), &register(), &DISABLED)]),
            &Method::new(
                "_CRS".into(),
                0,
                true,
                vec![
                    &Name::new("BUF0".into(), &pci_irq(0)),
                    &CreateDWordField::new(&irq_field, &buffer, &IRQ_OFFSET),
                    &If::new(
                        &Equal::new(&And::new(&0u8, &register(), &DISABLED), &0u8),
                        vec![&Store::new(&irq_field, &register())],
                    ),
                    &Return::new(&buffer),
                ],
            ),
            &Method::new(
                "_SRS".into(),
                1,
                true,
                vec![
                    &CreateDWordField::new(&irq_field, &Arg(0), &IRQ_OFFSET),
                    &Store::new(&register(), &irq_field),
                ],
            ),
        ],
    )])
}

/// The SCI's link: always connected, always there.
fn fixed_link(irq: u8) -> Encoded {
    Encoded::new(&[&Device::new(
        "LNKS".into(),
        vec![
            &Name::new("_HID".into(), &EISAName::new("PNP0C0F")),
            &Name::new("_UID".into(), &4u8),
            &Name::new("_PRS".into(), &pci_irq(irq)),
            &Method::new("_STA".into(), 0, false, vec![&Return::new(&STA_ENABLED)]),
            &Method::new("_DIS".into(), 0, false, vec![]),
            &Method::new("_CRS".into(), 0, false, vec![&Return::new(&pci_irq(irq))]),
            &Method::new("_SRS".into(), 1, false, vec![]),
        ],
    )])
}
