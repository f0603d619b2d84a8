//! The arm64 machine's firmware interface: what AAVMF is handed in memory (a device tree) and through fw_cfg (tables
//! for the operating system), and the device tree of a kernel that is started without firmware.
//!
//! It compiles everywhere, so that its tests run everywhere.

mod acpi;
mod board;
mod boot_order;
pub mod direct;
mod fdt;
mod smbios;

use crate::Blob;
pub use board::{Board, Chip, Flash, Gic, Pci};
pub use fdt::{Reader, Seed, device_tree};

/// fw_cfg's numbered items (QEMU's include/standard-headers/linux/qemu_fw_cfg.h).
const KEY_CPUS: u16 = 0x05;
const KEY_BOOT_MENU: u16 = 0x0e;
const KEY_MAX_CPUS: u16 = 0x0f;

/// The memory that AAVMF takes for granted (ArmVirtPkg/Library/QemuVirtMemInfoLib): with less it stops and says
/// nothing.
pub const MIN_MEMORY: u64 = 128 << 20;

/// The named files that the firmware is given, sorted by name.
#[must_use]
pub fn files(board: &Board) -> Vec<Blob> {
    let tables = acpi::tables(board);
    // EC2 starts nobody from the network.
    let mut files: Vec<Blob> = ["IPv4PXESupport", "IPv6PXESupport"]
        .map(|what| Blob::new(&format!("opt/org.tianocore/{what}"), b"n".to_vec()))
        .into();
    let smbios = crate::smbios::tables(board);
    files.push(Blob::new("etc/table-loader", tables.script));
    // Firmware puts the address in, and corrects the checksum.
    files.push(Blob::new("etc/smbios/smbios-anchor", smbios.anchor(0)));
    files.push(Blob::new("etc/smbios/smbios-tables", smbios.bytes));
    files.extend(tables.files);
    // What is not on the list would be struck from the order in the machine's variables.
    if !board.boot_order.is_empty() {
        files.push(Blob::new("bootorder", boot_order::boot_order(board)));
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

/// The numbered items that the firmware is given.
#[must_use]
pub fn keys(board: &Board) -> Vec<(u16, Vec<u8>)> {
    let cpus = u16::try_from(board.cpus.len()).unwrap_or(u16::MAX).to_le_bytes().to_vec();
    vec![(KEY_CPUS, cpus.clone()), (KEY_BOOT_MENU, 0u16.to_le_bytes().to_vec()), (KEY_MAX_CPUS, cpus)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::PciAddress;

    #[test]
    fn the_firmware_s_files_are_sorted_and_a_boot_order_is_there_if_it_is_wanted() {
        let mut board = board::sample::board();
        let names = |board: &Board| files(board).into_iter().map(|file| file.name).collect::<Vec<_>>();
        let expected = [
            "etc/acpi/rsdp",
            "etc/acpi/tables",
            "etc/smbios/smbios-anchor",
            "etc/smbios/smbios-tables",
            "etc/table-loader",
            "etc/vmgenid_guid",
            "opt/org.tianocore/IPv4PXESupport",
            "opt/org.tianocore/IPv6PXESupport",
        ];
        assert_eq!(names(&board), expected);
        board.boot_order = vec![PciAddress { slot: 4, function: 0 }];
        assert_eq!(names(&board)[0], "bootorder");
    }

    #[test]
    fn cpus_are_counted() {
        let board = Board { cpus: vec![0, 1, 0x100], ..board::sample::board() };
        assert_eq!(keys(&board), [(5, vec![3, 0]), (14, vec![0, 0]), (15, vec![3, 0])]);
    }
}
