//! ACPI tables of the i440FX-shaped machine (ACPI 6.5), with the ids that EC2's tables carry. All tables lie in one
//! file; the loader script ties them together. RSDP of revision 0 and RSDT, as EC2's BIOS instances show; edk2
//! makes an XSDT of its own. The SSDT has what the loader must patch, so that the DSDT needs no patching.
//!
//! Left out: HPET (KVM's PIT and LAPIC timer do), MCFG (configuration space is reached by ports alone), SRAT.

mod dsdt;
mod fixed;
mod links;
mod madt;

use crate::Blob;
use crate::acpi::{ALIGN, CHECKSUM, HEADER, Layout, Placed, RSDP_ALIGN, RSDP_CHECKSUM, table, vmgenid};
pub(crate) use crate::acpi::{RSDP, TABLES, Tables};
use crate::board::Board;
use crate::table_loader::{Script, ZONE_F_SEGMENT, ZONE_HIGH};
use acpi_tables::Aml;
use acpi_tables::facs::FACS;

const FADT_FIRMWARE_CTRL: u32 = 36;
const FADT_DSDT: u32 = 40;
const RSDP_RSDT: u32 = 16;

pub(crate) fn tables(board: &Board) -> Tables {
    let mut layout = Layout::default();
    let mut facs = Vec::new();
    FACS::new().to_aml_bytes(&mut facs);
    let facs = layout.push(&facs);
    let dsdt = layout.push(&table(*b"DSDT", 1, &dsdt::dsdt(board)));
    let fadt = layout.push_patched(fixed::fadt(&board.power, facs.offset, dsdt.offset));
    let madt = layout.push(&table(*b"APIC", 3, &madt::madt(board)));
    let waet = layout.push(&table(*b"WAET", 1, &fixed::waet()));
    let ssdt = layout.push_patched(table(*b"SSDT", 1, &vmgenid::ssdt()));
    let listed = [fadt, madt, waet, ssdt];
    let pointers: Vec<u8> = listed.iter().flat_map(|table| table.offset.to_le_bytes()).collect();
    let rsdt = layout.push_patched(table(*b"RSDT", 1, &pointers));
    let script = script(fadt, ssdt, rsdt, listed.len());
    let files = vec![
        Blob::new(RSDP, fixed::rsdp(rsdt.offset)),
        Blob::new(vmgenid::FILE, vmgenid::file(board.identity.generation)),
        Blob::new(TABLES, layout.bytes),
    ];
    Tables { files, script }
}

/// What the loader does, inside out: a table's pointers before its checksum.
fn script(fadt: Placed, ssdt: Placed, rsdt: Placed, listed: usize) -> Vec<u8> {
    let mut script = Script::default();
    script.allocate(RSDP, RSDP_ALIGN, ZONE_F_SEGMENT);
    script.allocate(vmgenid::FILE, vmgenid::ALIGN, ZONE_HIGH);
    script.allocate(TABLES, ALIGN, ZONE_HIGH);
    for field in [FADT_FIRMWARE_CTRL, FADT_DSDT] {
        script.add_pointer(TABLES, fadt.offset + field, TABLES);
    }
    script.add_checksum(TABLES, fadt.offset + CHECKSUM, fadt.offset, fadt.length);
    script.add_pointer(TABLES, ssdt.offset + HEADER + vmgenid::POINTER, vmgenid::FILE);
    script.add_checksum(TABLES, ssdt.offset + CHECKSUM, ssdt.offset, ssdt.length);
    for pointer in (rsdt.offset + HEADER..).step_by(4).take(listed) {
        script.add_pointer(TABLES, pointer, TABLES);
    }
    script.add_checksum(TABLES, rsdt.offset + CHECKSUM, rsdt.offset, rsdt.length);
    script.add_pointer(RSDP, RSDP_RSDT, TABLES);
    script.add_checksum(RSDP, RSDP_CHECKSUM, 0, fixed::RSDP_LENGTH);
    script.into_bytes()
}

#[cfg(test)]
#[path = "tables_test.rs"]
mod tests;
