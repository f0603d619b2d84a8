//! The MADT (ACPI 6.3 §5.2.12): CPUs with their part of the GIC, distributor, redistributors and ITS. acpi_tables'
//! structure of a CPU is that of ACPI 6.5, longer than the table's revision allows.

use crate::aarch64::Board;
use crate::aarch64::board::PMU;
use acpi_tables::Aml;
use acpi_tables::madt::{GicIts, GicVersion, Gicd, Gicr};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

pub(super) const REVISION: u8 = 5;

/// GIC CPU interface (§5.2.12.14). Addresses are zero: it is reached by system registers, and redistributors are
/// found in their region.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Gicc {
    kind: u8,
    length: u8,
    reserved: U16,
    number: U32,
    uid: U32,
    flags: U32,
    parking_version: U32,
    pmu: U32,
    parked: U64,
    base: U64,
    virtual_base: U64,
    hypervisor_base: U64,
    maintenance: U32,
    redistributor: U64,
    mpidr: U64,
    efficiency: u8,
    reserved_2: u8,
    profiling: U16,
}

const _: () = assert!(size_of::<Gicc>() == 80);
const ENABLED: u32 = 1;

/// A CPU's structure; its UID is its place in the list, as in the DSDT.
fn cpu(uid: u32, mpidr: u64, pmu: bool) -> Gicc {
    Gicc {
        kind: 0x0b,
        length: 80,
        reserved: 0.into(),
        number: uid.into(),
        uid: uid.into(),
        flags: ENABLED.into(),
        parking_version: 0.into(),
        pmu: if pmu { PMU } else { 0 }.into(),
        parked: 0.into(),
        base: 0.into(),
        virtual_base: 0.into(),
        hypervisor_base: 0.into(),
        maintenance: 0.into(),
        redistributor: 0.into(),
        mpidr: mpidr.into(),
        efficiency: 0,
        reserved_2: 0,
        profiling: 0.into(),
    }
}

/// The table without its header. Neither a local interrupt controller's address nor flags mean anything here.
pub(super) fn madt(board: &Board) -> Vec<u8> {
    let mut body = vec![0; 8];
    let gic = &board.gic;
    Gicd::new(0, gic.distributor.start, GicVersion::GICv3).to_aml_bytes(&mut body);
    for (uid, mpidr) in (0..).zip(&board.cpus) {
        body.extend_from_slice(cpu(uid, *mpidr, board.pmu).as_bytes());
    }
    let length = u32::try_from(gic.redistributors.len).unwrap_or(u32::MAX);
    Gicr::new(gic.redistributors.start, length).to_aml_bytes(&mut body);
    GicIts::new(super::iort::ITS, gic.its.start).to_aml_bytes(&mut body);
    body
}
