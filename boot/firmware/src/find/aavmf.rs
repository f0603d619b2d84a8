//! AAVMF: code and a template of its variables, in two files.
//!
//! Each has a flash chip of its own, of 64 MiB, and most packages pad both files to that; the code has 2 or 3 MiB, and
//! the variables 768 KiB (ArmVirtPkg/ArmVirtQemu.fdf, VarStore.fdf.inc). A template may be blank, and is here what
//! the firmware would make of it. A build with Secure Boot runs on every machine, and checks nothing as long as
//! nobody has put keys into its variables. Left out: builds whose variables have another size.

use super::descriptions::{self, VIRT};
use super::{Firmware, Places, Uefi, bios, checked, first, is_qcow2, ovmf};
use crate::FirmwareError;
use crate::file::Source;
use crate::uefi::{self, AAVMF_STORE, volume_at};
use std::path::{Path, PathBuf};

/// Code and variables where no description names them: Debian and Ubuntu (package qemu-efi-aarch64), and Fedora's
/// links; Fedora (edk2-aarch64), the silent build first; Arch (edk2-aarch64); openSUSE (qemu-uefi-aarch64); QEMU's own
/// builds, where a distribution or its user has installed them; NixOS.
const KNOWN_PATHS: [(&str, &str); 8] = [
    ("/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"),
    (
        "/usr/share/edk2/aarch64/QEMU_EFI-silent-pflash.raw",
        "/usr/share/edk2/aarch64/vars-template-pflash.raw",
    ),
    ("/usr/share/edk2/aarch64/QEMU_EFI-pflash.raw", "/usr/share/edk2/aarch64/vars-template-pflash.raw"),
    ("/usr/share/edk2/aarch64/QEMU_CODE.fd", "/usr/share/edk2/aarch64/QEMU_VARS.fd"),
    ("/usr/share/qemu/aavmf-aarch64-code.bin", "/usr/share/qemu/aavmf-aarch64-vars.bin"),
    ("/usr/share/qemu/edk2-aarch64-code.fd", "/usr/share/qemu/edk2-arm-vars.fd"),
    ("/usr/local/share/qemu/edk2-aarch64-code.fd", "/usr/local/share/qemu/edk2-arm-vars.fd"),
    (
        "/run/current-system/sw/share/qemu/edk2-aarch64-code.fd",
        "/run/current-system/sw/share/qemu/edk2-arm-vars.fd",
    ),
];
/// Of the variables' file, where it is not named after the code's.
const VARIABLES_NAMES: [&str; 4] =
    ["AAVMF_VARS.fd", "QEMU_VARS.fd", "vars-template-pflash.raw", "edk2-arm-vars.fd"];

/// Of the code's flash chip.
const MAX_CODE: u64 = 64 << 20;
/// The code is mapped.
const PAGE: u64 = 4096;
/// Of a firmware volume's header.
const HEADER: usize = 128;
/// Where the code's volume begins: not at the address 0, which UEFI takes for none. Older builds have it there.
const VOLUMES: [u64; 2] = [0x1000, 0];
/// How far to shift the code's first word, and what is left of a branch then: arm64's B (Arm ARM, C6.2), and 32-bit
/// arm's, always taken.
const BRANCH: (u32, u32) = (26, 0b00_0101);
const BRANCH_32: (u32, u32) = (24, 0xea);

const EXAMPLE: &str = "AAVMF_CODE.fd";
const TEMPLATE: &str = "AAVMF_VARS.fd";
const WANTED: &str = "UEFI firmware (AAVMF_CODE.fd)";
const WANTED_VARIABLES: &str = "a UEFI variable store (AAVMF_VARS.fd)";

pub(super) fn find(places: &Places, explicit: Option<&Path>) -> Result<Uefi, FirmwareError> {
    match explicit {
        Some(code) => named(places, code),
        None => discover(places),
    }
}

fn discover(places: &Places) -> Result<Uefi, FirmwareError> {
    let described = descriptions::flashes(places, VIRT).into_iter();
    let described = described.filter(|flash| flash.ours && !flash.has_keys);
    let described = described.map(|flash| (flash.code, flash.variables));
    let known = KNOWN_PATHS.map(|(code, variables)| (places.system(code), places.system(variables)));
    let found =
        first(described.chain(known), |(code, _)| code, |(code, variables)| load(open(code)?, variables));
    found?.ok_or(FirmwareError::AavmfNotInstalled)
}

fn named(places: &Places, code: &Path) -> Result<Uefi, FirmwareError> {
    let source = open(code)?;
    let described = descriptions::flashes_of(places, VIRT, code);
    if let Some(flash) = descriptions::without_keys(&described) {
        return load(source, &flash.variables);
    }
    let names = beside(code);
    match names.iter().find(|path| path.exists()) {
        Some(variables) => load(source, variables),
        None => {
            let wanted = names.into_iter().next().unwrap_or_default();
            Err(FirmwareError::NoVariables { code: code.to_owned(), wanted, template: TEMPLATE })
        }
    }
}

/// Where the variables of code that nobody describes may be, best first.
fn beside(code: &Path) -> Vec<PathBuf> {
    let name = code.file_name().unwrap_or_default().to_string_lossy();
    let renamed = name.replace("CODE", "VARS").replace("code", "vars");
    let renamed = (renamed != name).then_some(renamed.as_str());
    renamed.into_iter().chain(VARIABLES_NAMES).map(|name| code.with_file_name(name)).collect()
}

/// Opens what seems to be code.
fn open(path: &Path) -> Result<Source, FirmwareError> {
    let source = Source::open(path, WANTED)?;
    let not = |found: &str| {
        let (path, found) = (path.to_owned(), found.to_owned());
        Err(FirmwareError::NotUefi { path, found, example: EXAMPLE })
    };
    let header = source.read(0, HEADER)?;
    if is_qcow2(&header) {
        return not(
            "a qcow2 file (qemu-img convert -O raw makes raw ones, of the code and of the variables)",
        );
    }
    if bios::is_bios(&source)? {
        return not("a BIOS image, which is made for x86");
    }
    if ovmf::has_vector(&source)? {
        return not("made for x86_64");
    }
    if volume_at(&header).is_some_and(|(_, variables)| variables) {
        return not("variables alone, without code");
    }
    if begins_with(&header, BRANCH_32) {
        return not("made for 32-bit arm");
    }
    let Some(end) = code_end(&source)? else {
        return not("without arm64's first instruction and a firmware volume at its beginning");
    };
    let size = source.length;
    if size < end {
        return not(&format!("cut short: it has {size} bytes of {end}"));
    }
    if size > MAX_CODE || !size.is_multiple_of(PAGE) {
        return not(&format!("{size} bytes long, and AAVMF has whole pages and 64 MiB at most"));
    }
    Ok(source)
}

/// Whether this is firmware for arm64, whole or not.
pub(super) fn is_code(source: &Source) -> Result<bool, FirmwareError> {
    code_end(source).map(|end| end.is_some())
}

/// Where the code's volume ends, if it has one.
fn code_end(source: &Source) -> Result<Option<u64>, FirmwareError> {
    if !begins_with(&source.read(0, HEADER)?, BRANCH) {
        return Ok(None);
    }
    for start in VOLUMES {
        if let Some((length, false)) = volume_at(&source.read(start, HEADER)?) {
            return Ok(Some(start.saturating_add(length)));
        }
    }
    Ok(None)
}

fn begins_with(bytes: &[u8], (shift, upper): (u32, u32)) -> bool {
    bytes.first_chunk().is_some_and(|word| u32::from_le_bytes(*word).checked_shr(shift) == Some(upper))
}

fn load(code: Source, variables: &Path) -> Result<Uefi, FirmwareError> {
    let source = Source::open(variables, WANTED_VARIABLES)?;
    let mut bytes = source.read(0, AAVMF_STORE)?;
    let needed = AAVMF_STORE as u64;
    let wrong = |size| {
        let (path, code) = (variables.to_owned(), code.path.clone());
        Err(FirmwareError::VariablesSize { path, code, size, needed })
    };
    match volume_at(&bytes) {
        Some((length, true)) if length != needed => return wrong(length),
        None if is_blank(&bytes) && source.length < needed => return wrong(source.length),
        None if is_blank(&bytes) => bytes = uefi::aavmf_store(),
        _ => {}
    }
    let variables = checked(Firmware { path: variables.to_owned(), bytes })?;
    Ok(Uefi { code: code.path, code_offset: 0, code_size: code.length, variables })
}

/// Flash that was never written, or a file that was made to look like it.
fn is_blank(bytes: &[u8]) -> bool {
    let all = |value: u8| bytes.iter().all(|byte| *byte == value);
    !bytes.is_empty() && (all(0) || all(0xff))
}

#[cfg(test)]
#[path = "aavmf_test.rs"]
pub(super) mod tests;
