//! The SPCR (Microsoft's "Serial Port Console Redirection Table", revision 2): the port that a kernel takes for its
//! console when its command line names none. Linux calls a 16550 ttyS0, as on EC2, and a PL011 ttyAMA0.

use crate::aarch64::Board;
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

pub(super) const REVISION: u8 = 2;

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Spcr {
    kind: u8,
    reserved: [u8; 3],
    space: u8,
    width: u8,
    offset: u8,
    access: u8,
    address: U64,
    interrupt_type: u8,
    irq: u8,
    gsi: U32,
    baud: u8,
    parity: u8,
    stop_bits: u8,
    flow_control: u8,
    terminal: u8,
    language: u8,
    device: U16,
    vendor: U16,
    bus: u8,
    slot: u8,
    function: u8,
    flags: U32,
    segment: u8,
    reserved_2: U32,
}

const _: () = assert!(size_of::<Spcr>() == 80 - 36);

const FULL_16550: u8 = 0;
const PL011: u8 = 3;
const SYSTEM_MEMORY: u8 = 0;
const BYTE_ACCESS: u8 = 1;
const DWORD_ACCESS: u8 = 3;
const BY_GIC: u8 = 1 << 3;
const BAUD_115200: u8 = 7;
/// As the firmware left it: a PL011's clock is not in ACPI.
const BAUD_AS_IS: u8 = 0;
const ANSI: u8 = 3;
const NOT_PCI: u16 = 0xffff;

/// The table without its header.
pub(super) fn spcr(board: &Board) -> Vec<u8> {
    let (kind, width, access, baud) = match board.serial {
        Some(_) => (FULL_16550, 8, BYTE_ACCESS, BAUD_115200),
        None => (PL011, 32, DWORD_ACCESS, BAUD_AS_IS),
    };
    let port = board.serial.unwrap_or(board.console);
    let spcr = Spcr {
        kind,
        reserved: [0; 3],
        space: SYSTEM_MEMORY,
        width,
        offset: 0,
        access,
        address: port.registers.start.into(),
        interrupt_type: BY_GIC,
        irq: 0,
        gsi: port.gsi().into(),
        baud,
        parity: 0,
        stop_bits: 1,
        flow_control: 0,
        terminal: ANSI,
        language: 0,
        device: NOT_PCI.into(),
        vendor: NOT_PCI.into(),
        bus: 0,
        slot: 0,
        function: 0,
        flags: 0.into(),
        segment: 0,
        reserved_2: 0.into(),
    };
    spcr.as_bytes().to_vec()
}
