//! SeaBIOS: one file, which fills a ROM to its last byte.

use super::{Firmware, Places, descriptions, first};
use crate::FirmwareError;
use crate::file::Source;
use crate::uefi::volume_at;
use std::path::{Path, PathBuf};

/// Where distributions put SeaBIOS when no description names it: Debian, Ubuntu, Fedora and Alpine; Arch and
/// openSUSE; RHEL; a QEMU that was built from source; NixOS.
const KNOWN_PATHS: [&str; 5] = [
    "/usr/share/seabios/bios-256k.bin",
    "/usr/share/qemu/bios-256k.bin",
    "/usr/share/qemu-kvm/bios-256k.bin",
    "/usr/local/share/qemu/bios-256k.bin",
    "/run/current-system/sw/share/qemu/bios-256k.bin",
];

/// SeaBIOS is built to fill one of these, whole.
const SIZES: [u64; 2] = [128 << 10, 256 << 10];
/// From the end: where the CPU starts.
const RESET_VECTOR: u64 = 16;
/// JMP ptr16:16.
const FAR_JUMP: u8 = 0xea;
/// Of a firmware volume's header.
const HEADER: usize = 128;
const WANTED: &str = "a SeaBIOS image (bios-256k.bin)";

pub(super) fn find(places: &Places, explicit: Option<&Path>) -> Result<Firmware, FirmwareError> {
    match explicit {
        Some(path) => load(path),
        None => discover(places),
    }
}

fn discover(places: &Places) -> Result<Firmware, FirmwareError> {
    let described = descriptions::read(places).into_iter().filter_map(|description| description.bios(places));
    let known = KNOWN_PATHS.into_iter().map(|path| places.system(path));
    let found = first(described.chain(known), PathBuf::as_path, |path| load(path))?;
    found.ok_or(FirmwareError::NotInstalled)
}

fn load(path: &Path) -> Result<Firmware, FirmwareError> {
    let source = Source::open(path, WANTED)?;
    if volume_at(&source.read(0, HEADER)?).is_some() {
        return Err(FirmwareError::UefiForBios { path: source.path });
    }
    if !SIZES.contains(&source.length) {
        return Err(FirmwareError::BiosSize { path: source.path, size: source.length });
    }
    if !is_bios(&source)? {
        return Err(FirmwareError::BiosEntry { path: source.path });
    }
    let bytes = source.read(0, usize::try_from(source.length).unwrap_or(usize::MAX))?;
    Ok(Firmware { path: source.path, bytes })
}

/// Whether it looks like a BIOS of any make.
pub(super) fn is_bios(source: &Source) -> Result<bool, FirmwareError> {
    let entry = source.read(source.length.saturating_sub(RESET_VECTOR), 1)?;
    Ok(SIZES.contains(&source.length) && entry == [FAR_JUMP])
}

#[cfg(test)]
#[path = "bios_test.rs"]
pub(super) mod tests;
