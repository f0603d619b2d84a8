//! The MADT (ACPI 6.5 §5.2.12): CPUs, the IOAPIC, and which interrupts are not as ISA has them. acpi_tables has
//! the first two structures; the others are records here.

use crate::board::Board;
use acpi_tables::Aml;
use acpi_tables::madt::{EnabledStatus, IoApic, ProcessorLocalApic};
use std::collections::BTreeSet;
use zerocopy::little_endian::{U16, U32};
use zerocopy::{Immutable, IntoBytes};

const LOCAL_APIC: u32 = 0xfee0_0000;
const IO_APIC: u32 = 0xfec0_0000;
/// Flag 0 of the table: there is an 8259 pair too.
const PCAT_COMPAT: u32 = 1;

/// Polarity and trigger (§5.2.12.5): as the bus has it; active high and level.
const BUS_DEFAULT: u16 = 0;
const HIGH_LEVEL: u16 = 0x000d;
/// The NMI pin of a local APIC.
const LINT1: u8 = 1;
/// The PIT is wired to this pin of the IOAPIC.
const PIT_PIN: u32 = 2;

/// A structure with an x2APIC id (§5.2.12.12), for ids that 8 bits cannot hold.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct LocalX2Apic {
    kind: u8,
    length: u8,
    reserved: U16,
    id: U32,
    flags: U32,
    uid: U32,
}

/// Interrupt source override (§5.2.12.5).
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct SourceOverride {
    kind: u8,
    length: u8,
    bus: u8,
    irq: u8,
    gsi: U32,
    flags: U16,
}

/// Local APIC NMI (§5.2.12.7), for all CPUs.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct LocalApicNmi {
    kind: u8,
    length: u8,
    uid: u8,
    flags: U16,
    pin: u8,
}

/// Local x2APIC NMI (§5.2.12.13), for all CPUs.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct LocalX2ApicNmi {
    kind: u8,
    length: u8,
    flags: U16,
    uid: U32,
    pin: u8,
    reserved: [u8; 3],
}

fn source_override(irq: u8, gsi: u32, flags: u16) -> SourceOverride {
    SourceOverride { kind: 2, length: 10, bus: 0, irq, gsi: gsi.into(), flags: flags.into() }
}

/// A CPU's structure; its UID is its place in the list, as in the DSDT. 0xff as id or UID means all CPUs.
fn cpu(uid: usize, id: u32, body: &mut Vec<u8>) {
    match (u8::try_from(uid), u8::try_from(id)) {
        (Ok(uid), Ok(id)) if uid < 0xff && id < 0xff => {
            ProcessorLocalApic::new(uid, id, EnabledStatus::Enabled).to_aml_bytes(body);
        }
        _ => {
            let uid = u32::try_from(uid).unwrap_or(u32::MAX).into();
            let x2apic =
                LocalX2Apic { kind: 9, length: 16, reserved: 0.into(), id: id.into(), flags: 1.into(), uid };
            body.extend_from_slice(x2apic.as_bytes());
        }
    }
}

/// The table without its header.
pub(crate) fn madt(board: &Board) -> Vec<u8> {
    let mut body = LOCAL_APIC.to_le_bytes().to_vec();
    body.extend_from_slice(&PCAT_COMPAT.to_le_bytes());
    for (uid, id) in board.cpus.iter().enumerate() {
        cpu(uid, *id, &mut body);
    }
    IoApic::new(0, IO_APIC, 0).to_aml_bytes(&mut body);
    body.extend_from_slice(source_override(0, PIT_PIN, BUS_DEFAULT).as_bytes());
    let level: BTreeSet<u8> = board.pirq.into_iter().chain([board.power.sci]).collect();
    for irq in level {
        body.extend_from_slice(source_override(irq, u32::from(irq), HIGH_LEVEL).as_bytes());
    }
    let nmi = LocalApicNmi { kind: 4, length: 6, uid: 0xff, flags: BUS_DEFAULT.into(), pin: LINT1 };
    body.extend_from_slice(nmi.as_bytes());
    if board.cpus.len() >= 0xff || board.cpus.iter().any(|id| *id >= 0xff) {
        let (flags, uid) = (BUS_DEFAULT.into(), u32::MAX.into());
        let nmi = LocalX2ApicNmi { kind: 10, length: 12, flags, uid, pin: LINT1, reserved: [0; 3] };
        body.extend_from_slice(nmi.as_bytes());
    }
    body
}
