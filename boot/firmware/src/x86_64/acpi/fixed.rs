//! The tables of fixed shape: RSDP (ACPI 6.5 §5.2.5), FADT (§5.2.9) and Microsoft's WAET.

use crate::acpi::{CREATOR_ID, CREATOR_REVISION, OEM_ID, OEM_REVISION, table_id};
use crate::board::Power;
use acpi_tables::Aml;
use acpi_tables::fadt::{FADTBuilder, Flags, PmProfile};
use acpi_tables::gas::{AccessSize, AddressSpace, GAS};

/// Revision 0.
pub(crate) const RSDP_LENGTH: u32 = 20;

/// FADT of ACPI 2.0, as EC2's: the last one without fields that only hardware-reduced machines use.
const FADT_REVISION: u8 = 3;
const FADT_LENGTH: u32 = 244;

/// IAPC_BOOT_ARCH bit 2: do not probe for VGA. Bit 1 stays clear: there is no 8042.
const VGA_NOT_PRESENT: u16 = 1 << 2;
/// Larger than the largest allowed latency: the CPU has no C2 and C3 state.
const NO_C2: u16 = 0x0fff;
const NO_C3: u16 = 0x0fff;
/// CMOS byte of the century.
const CENTURY: u8 = 0x32;

/// WAET flag 1: one read of the PM timer is enough, it never glitches.
const PM_TIMER_GOOD: u32 = 1 << 1;

/// acpi_tables' RSDP has revision 2 only.
pub(crate) fn rsdp(rsdt: u32) -> Vec<u8> {
    let mut bytes = b"RSD PTR ".to_vec();
    bytes.push(0);
    bytes.extend_from_slice(&OEM_ID);
    bytes.push(0);
    bytes.extend_from_slice(&rsdt.to_le_bytes());
    bytes
}

pub(crate) fn waet() -> Vec<u8> {
    PM_TIMER_GOOD.to_le_bytes().to_vec()
}

/// SMI_CMD is 0: the machine is in ACPI mode from the start, and PM1_CNT.SCI_EN always reads 1. The power button
/// is fixed hardware (PWR_BUTTON clear), the sleep button absent (SLP_BUTTON set), the PM timer has 24 bits
/// (TMR_VAL_EXT clear), and the clock wakes nobody (FIX_RTC set: no RTC bits in PM1).
pub(crate) fn fadt(power: &Power, facs: u32, dsdt: u32) -> Vec<u8> {
    let base = u32::from(power.pm_base);
    let mut fadt = FADTBuilder::new(OEM_ID, table_id(*b"FACP"), OEM_REVISION)
        .firmware_ctrl_32(facs)
        .dsdt_32(dsdt)
        .preferred_pm_profile(PmProfile::Unspecified)
        .flag(Flags::Wbinvd)
        .flag(Flags::ProcC1)
        .flag(Flags::SlpButton)
        .flag(Flags::FixRtc)
        .flag(Flags::ResetRegSup);
    fadt.major_version = FADT_REVISION;
    fadt.fadt_minor_version = 0;
    fadt.length = FADT_LENGTH.into();
    fadt.creator_id = CREATOR_ID;
    fadt.creator_revision = CREATOR_REVISION.to_le_bytes();
    fadt.sci_int = u16::from(power.sci).into();
    fadt.pm1a_evt_blk = base.into();
    fadt.pm1_evt_len = 4;
    fadt.pm1a_cnt_blk = (base + 4).into();
    fadt.pm1_cnt_len = 2;
    fadt.pm_tmr_blk = (base + 8).into();
    fadt.pm_tmr_len = 4;
    fadt.p_lvl2_lat = NO_C2.into();
    fadt.p_lvl3_lat = NO_C3.into();
    fadt.century = CENTURY;
    fadt.iapc_boot_arch = VGA_NOT_PRESENT.into();
    let port = u64::from(power.reset_port);
    fadt.reset_reg = GAS::new(AddressSpace::SystemIo, 8, 0, AccessSize::ByteAccess, port);
    fadt.reset_value = power.reset_value;
    let mut bytes = Vec::new();
    fadt.finalize().to_aml_bytes(&mut bytes);
    bytes.truncate(FADT_LENGTH as usize);
    bytes
}
