//! ACPI tables of the arm64 board (ACPI 6.3 and the Base Boot Requirements for Arm servers): hardware-reduced, with
//! the ids that EC2's tables carry. All tables lie in one file; the loader script ties them together. The SSDT has
//! what the loader must patch, so that the DSDT needs no patching.
//!
//! Left out: DBG2 (nobody debugs a kernel by it here), PPTT and SRAT (one socket, one node), FACS (no sleep states).

mod dsdt;
mod fixed;
mod iort;
mod madt;
mod spcr;

use super::Board;
use crate::Blob;
use crate::acpi::{
    ALIGN, CHECKSUM, HEADER, Layout, Placed, RSDP, RSDP_ALIGN, RSDP_CHECKSUM, TABLES, Tables, table, vmgenid,
};
use crate::table_loader::{Script, ZONE_F_SEGMENT, ZONE_HIGH};

const FADT_X_DSDT: u32 = 140;
const RSDP_XSDT: u32 = 24;
const RSDP_EXTENDED_CHECKSUM: u32 = 32;
/// What the first of the RSDP's checksums is of.
const RSDP_FIRST_PART: u32 = 20;

pub(crate) fn tables(board: &Board) -> Tables {
    let mut layout = Layout::default();
    let dsdt = layout.push(&table(*b"DSDT", 2, &dsdt::dsdt(board)));
    let fadt = layout.push_patched(fixed::fadt(dsdt.offset));
    let ssdt = layout.push_patched(table(*b"SSDT", 2, &vmgenid::ssdt()));
    let listed = [
        fadt,
        layout.push(&table(*b"APIC", madt::REVISION, &madt::madt(board))),
        layout.push(&table(*b"GTDT", fixed::GTDT_REVISION, &fixed::gtdt())),
        layout.push(&table(*b"MCFG", fixed::MCFG_REVISION, &fixed::mcfg(&board.pci))),
        layout.push(&table(*b"IORT", iort::REVISION, &iort::iort())),
        layout.push(&table(*b"SPCR", spcr::REVISION, &spcr::spcr(board))),
        ssdt,
    ];
    let pointers: Vec<u8> = listed.iter().flat_map(|table| u64::from(table.offset).to_le_bytes()).collect();
    let xsdt = layout.push_patched(table(*b"XSDT", 1, &pointers));
    let script = script(fadt, ssdt, xsdt, listed.len());
    let files = vec![
        Blob::new(RSDP, fixed::rsdp(xsdt.offset)),
        Blob::new(vmgenid::FILE, vmgenid::file(board.identity.generation)),
        Blob::new(TABLES, layout.bytes),
    ];
    Tables { files, script }
}

/// What the loader does, inside out: a table's pointers before its checksum.
fn script(fadt: Placed, ssdt: Placed, xsdt: Placed, listed: usize) -> Vec<u8> {
    let mut script = Script::default();
    script.allocate(RSDP, RSDP_ALIGN, ZONE_F_SEGMENT);
    script.allocate(vmgenid::FILE, vmgenid::ALIGN, ZONE_HIGH);
    script.allocate(TABLES, ALIGN, ZONE_HIGH);
    script.add_wide_pointer(TABLES, fadt.offset + FADT_X_DSDT, TABLES);
    script.add_checksum(TABLES, fadt.offset + CHECKSUM, fadt.offset, fadt.length);
    script.add_pointer(TABLES, ssdt.offset + HEADER + vmgenid::POINTER, vmgenid::FILE);
    script.add_checksum(TABLES, ssdt.offset + CHECKSUM, ssdt.offset, ssdt.length);
    for pointer in (xsdt.offset + HEADER..).step_by(8).take(listed) {
        script.add_wide_pointer(TABLES, pointer, TABLES);
    }
    script.add_checksum(TABLES, xsdt.offset + CHECKSUM, xsdt.offset, xsdt.length);
    script.add_wide_pointer(RSDP, RSDP_XSDT, TABLES);
    script.add_checksum(RSDP, RSDP_CHECKSUM, 0, RSDP_FIRST_PART);
    script.add_checksum(RSDP, RSDP_EXTENDED_CHECKSUM, 0, fixed::RSDP_LENGTH);
    script.into_bytes()
}

#[cfg(test)]
#[path = "tables_test.rs"]
mod tests;
