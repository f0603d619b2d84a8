//! The x86_64 machine's firmware interface: what SeaBIOS is handed through fw_cfg (QEMU's docs/specs/fw_cfg.rst
//! and SeaBIOS's src/fw/paravirt.c), and the direct kernel boot.

mod acpi;
mod boot_order;
pub mod direct;
mod memory_map;
pub(crate) mod smbios;

use crate::Blob;
use crate::board::{Board, FirmwareKind};

/// fw_cfg's numbered items (QEMU's include/standard-headers/linux/qemu_fw_cfg.h).
const KEY_NO_GRAPHIC: u16 = 0x04;
const KEY_CPUS: u16 = 0x05;
const KEY_NUMA: u16 = 0x0d;
const KEY_BOOT_MENU: u16 = 0x0e;
const KEY_MAX_CPUS: u16 = 0x0f;
const KEY_IRQ0_OVERRIDE: u16 = 0x8002;

/// SeaBIOS stops at "No bootable device." instead of resetting after a minute.
const WAIT_FOREVER: u32 = u32::MAX;

/// The named files that the firmware is given, sorted by name.
#[must_use]
pub fn files(board: &Board) -> Vec<Blob> {
    let tables = acpi::tables(board);
    let smbios = crate::smbios::tables(board);
    let mut files = vec![
        Blob::new("etc/table-loader", tables.script),
        Blob::new("etc/e820", memory_map::bytes(&memory_map::for_firmware(board))),
        // Firmware puts the address in, and corrects the checksums.
        Blob::new("etc/smbios/smbios-anchor", smbios.anchor(0)),
        Blob::new("etc/smbios/smbios-tables", smbios.bytes),
    ];
    files.extend(tables.files);
    files.extend(match board.firmware {
        FirmwareKind::Bios => for_bios(board),
        FirmwareKind::Uefi => for_uefi(board),
    });
    files.sort_by(|a, b| a.name.cmp(&b.name));
    files
}

fn for_bios(board: &Board) -> Vec<Blob> {
    let mut files = vec![
        Blob::new("bootorder", boot_order::boot_order(board)),
        Blob::new("etc/boot-fail-wait", WAIT_FOREVER.to_le_bytes().to_vec()),
    ];
    // Without a screen, what the firmware and real-mode loaders print goes to the first serial port.
    if let Some(serial) = board.serial.first() {
        files.push(Blob::new("etc/sercon-port", serial.port.to_le_bytes().to_vec()));
    }
    files
}

/// EC2 starts nobody from the network (edk2: OvmfPkg, QemuFwCfgSimpleParser's users).
fn for_uefi(board: &Board) -> Vec<Blob> {
    let mut files: Vec<Blob> = ["IPv4PXESupport", "IPv6PXESupport"]
        .map(|what| Blob::new(&format!("opt/org.tianocore/{what}"), b"n".to_vec()))
        .into();
    // What is not on the list would be struck from the order in the machine's variables.
    if !board.boot_order.is_empty() {
        files.push(Blob::new("bootorder", boot_order::boot_order(board)));
    }
    files
}

/// The numbered items that the firmware is given.
#[must_use]
pub fn keys(board: &Board) -> Vec<(u16, Vec<u8>)> {
    let cpus = u16::try_from(board.cpus.len()).unwrap_or(u16::MAX);
    // An upper bound of APIC ids, not a count: firmware sizes its bitmap of ids by it.
    let ids = board.cpus.iter().max().map_or(0, |id| id.saturating_add(1));
    let ids = u16::try_from(ids).unwrap_or(u16::MAX);
    vec![
        (KEY_NO_GRAPHIC, 0u16.to_le_bytes().to_vec()),
        (KEY_CPUS, cpus.to_le_bytes().to_vec()),
        (KEY_NUMA, 0u64.to_le_bytes().to_vec()),
        (KEY_BOOT_MENU, 0u16.to_le_bytes().to_vec()),
        (KEY_MAX_CPUS, ids.to_le_bytes().to_vec()),
        (KEY_IRQ0_OVERRIDE, vec![1]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::board::sample;

    #[test]
    fn the_firmware_s_files_are_sorted_and_its_numbers_little_endian() {
        let files = files(&sample::board());
        let names: Vec<&str> = files.iter().map(|file| file.name.as_str()).collect();
        let expected = [
            "bootorder",
            "etc/acpi/rsdp",
            "etc/acpi/tables",
            "etc/boot-fail-wait",
            "etc/e820",
            "etc/sercon-port",
            "etc/smbios/smbios-anchor",
            "etc/smbios/smbios-tables",
            "etc/table-loader",
            "etc/vmgenid_guid",
        ];
        assert_eq!(names, expected);
        let content = |name| files.iter().find(|file| file.name == name).unwrap().bytes.clone();
        assert_eq!(content("etc/sercon-port"), [0xf8, 3]);
        assert_eq!(content("etc/boot-fail-wait"), [0xff; 4]);
        assert_eq!(content("etc/acpi/rsdp").len(), 20);
    }

    #[test]
    fn cpus_are_counted_and_their_ids_bounded() {
        let board = Board { cpus: vec![0, 1, 4, 5], ..sample::board() };
        let keys = keys(&board);
        let content = |key| keys.iter().find(|(number, _)| *number == key).unwrap().1.clone();
        assert_eq!(content(KEY_CPUS), [4, 0]);
        assert_eq!(content(KEY_MAX_CPUS), [6, 0]);
        assert_eq!(content(KEY_IRQ0_OVERRIDE), [1]);
    }
}
