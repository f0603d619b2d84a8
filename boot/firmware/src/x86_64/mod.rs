//! The x86_64 machine's firmware interface: what SeaBIOS is handed through fw_cfg (QEMU's docs/specs/fw_cfg.rst
//! and SeaBIOS's src/fw/paravirt.c), and the direct kernel boot.

mod acpi;
mod boot_order;
pub mod direct;
mod memory_map;

use crate::Blob;
use crate::board::Board;

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
    let mut files = vec![
        Blob::new(acpi::RSDP, tables.rsdp),
        Blob::new(acpi::TABLES, tables.tables),
        Blob::new("etc/table-loader", tables.script),
        Blob::new("etc/e820", memory_map::bytes(&memory_map::for_firmware(board))),
        Blob::new("bootorder", boot_order::boot_order(board)),
        Blob::new("etc/boot-fail-wait", WAIT_FOREVER.to_le_bytes().to_vec()),
    ];
    // Without a screen, what the firmware and real-mode loaders print goes to the first serial port.
    if let Some(serial) = board.serial.first() {
        files.push(Blob::new("etc/sercon-port", serial.port.to_le_bytes().to_vec()));
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
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
