//! The tables of fixed shape: RSDP (ACPI 6.3 §5.2.5), FADT (§5.2.9), GTDT (§5.2.24) and MCFG (PCI Firmware
//! Specification 3.2 §4.1.2). acpi_tables has no GTDT; its MCFG and RSDP have ids and checksums of their own.

use crate::aarch64::Pci;
use crate::aarch64::board::{HYPERVISOR_TIMER, PHYSICAL_TIMER, SECURE_TIMER, VIRTUAL_TIMER};
use crate::acpi::{CREATOR_ID, CREATOR_REVISION, OEM_ID, OEM_REVISION, table_id};
use acpi_tables::Aml;
use acpi_tables::fadt::{FADTBuilder, Flags};
use zerocopy::little_endian::{U16, U32, U64};
use zerocopy::{Immutable, IntoBytes};

/// Revision 2.
pub(super) const RSDP_LENGTH: u32 = 36;
const RSDP_REVISION: u8 = 2;

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Rsdp {
    signature: [u8; 8],
    checksum: u8,
    oem_id: [u8; 6],
    revision: u8,
    rsdt: U32,
    length: U32,
    xsdt: U64,
    extended_checksum: u8,
    reserved: [u8; 3],
}

/// The loader fills in both checksums.
pub(super) fn rsdp(xsdt: u32) -> Vec<u8> {
    let rsdp = Rsdp {
        signature: *b"RSD PTR ",
        checksum: 0,
        oem_id: OEM_ID,
        revision: RSDP_REVISION,
        rsdt: 0.into(),
        length: RSDP_LENGTH.into(),
        xsdt: u64::from(xsdt).into(),
        extended_checksum: 0,
        reserved: [0; 3],
    };
    rsdp.as_bytes().to_vec()
}

/// ACPI 6.3.
const FADT_REVISION: u8 = 6;
const FADT_MINOR: u8 = 3;
/// ARM_BOOT_ARCH: there is PSCI, and it is called by HVC. That is how CPUs start, and how the machine is reset and
/// turned off, so there is no other hardware for it.
const PSCI_BY_HVC: u16 = 0x0003;

pub(super) fn fadt(dsdt: u32) -> Vec<u8> {
    let mut fadt = FADTBuilder::new(OEM_ID, table_id(*b"FACP"), OEM_REVISION)
        .dsdt_64(dsdt.into())
        .flag(Flags::HwReducedAcpi);
    fadt.major_version = FADT_REVISION;
    fadt.fadt_minor_version = FADT_MINOR;
    fadt.creator_id = CREATOR_ID;
    fadt.creator_revision = CREATOR_REVISION.to_le_bytes();
    fadt.arm_boot_arch = PSCI_BY_HVC.into();
    let mut bytes = Vec::new();
    fadt.finalize().to_aml_bytes(&mut bytes);
    bytes
}

/// A timer's interrupt: level, active high.
#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Timer {
    gsi: U32,
    flags: U32,
}

/// Flag 2: it goes on in every power state of its CPU.
const ALWAYS_ON: u32 = 1 << 2;
/// An address that is not there.
const NONE: u64 = u64::MAX;

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Gtdt {
    control_base: U64,
    reserved: U32,
    secure: Timer,
    physical: Timer,
    virtual_: Timer,
    hypervisor: Timer,
    read_base: U64,
    platform_timers: U32,
    platform_offset: U32,
    virtual_hypervisor: Timer,
}

const _: () = assert!(size_of::<Gtdt>() == 104 - 36);

pub(super) const GTDT_REVISION: u8 = 3;

/// The table without its header. There are no timers but the CPUs', by system registers.
pub(super) fn gtdt() -> Vec<u8> {
    let timer = |gsi: u32, flags: u32| Timer { gsi: gsi.into(), flags: flags.into() };
    let gtdt = Gtdt {
        control_base: NONE.into(),
        reserved: 0.into(),
        secure: timer(SECURE_TIMER, 0),
        physical: timer(PHYSICAL_TIMER, ALWAYS_ON),
        virtual_: timer(VIRTUAL_TIMER, ALWAYS_ON),
        hypervisor: timer(HYPERVISOR_TIMER, 0),
        read_base: NONE.into(),
        platform_timers: 0.into(),
        platform_offset: 0.into(),
        virtual_hypervisor: timer(0, 0),
    };
    gtdt.as_bytes().to_vec()
}

pub(super) const MCFG_REVISION: u8 = 1;

#[derive(IntoBytes, Immutable)]
#[repr(C)]
struct Mcfg {
    reserved: U64,
    base: U64,
    segment: U16,
    first_bus: u8,
    last_bus: u8,
    reserved_2: U32,
}

/// The table without its header.
pub(super) fn mcfg(pci: &Pci) -> Vec<u8> {
    let mcfg = Mcfg {
        reserved: 0.into(),
        base: pci.ecam.start.into(),
        segment: 0.into(),
        first_bus: 0,
        last_bus: pci.last_bus(),
        reserved_2: 0.into(),
    };
    mcfg.as_bytes().to_vec()
}
