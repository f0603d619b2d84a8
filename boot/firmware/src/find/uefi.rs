//! OVMF: code and a template of its variables, in two files or one behind the other in one.
//!
//! Together they fill the top of the first 4 GiB: the code ends there, and finds its variables before itself
//! (OvmfPkg/Include/Fdf/OvmfPkgDefines.fdf.inc).

use super::descriptions::{self, Flash};
use super::{Firmware, Places, Uefi, bios, first, smm};
use crate::FirmwareError;
use crate::file::Source;
use crate::uefi::{Store, volume_at};
use std::path::{Path, PathBuf};

/// Code and variables where no description names them: Debian and Ubuntu (package ovmf), and its older releases;
/// Fedora (edk2-ovmf); Arch (edk2-ovmf); openSUSE (qemu-ovmf-x86_64); QEMU's own builds, where a distribution or its
/// user has installed them; NixOS.
const KNOWN_PATHS: [(&str, &str); 8] = [
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
    ("/usr/share/edk2/x64/OVMF_CODE.4m.fd", "/usr/share/edk2/x64/OVMF_VARS.4m.fd"),
    ("/usr/share/qemu/ovmf-x86_64-code.bin", "/usr/share/qemu/ovmf-x86_64-vars.bin"),
    ("/usr/share/qemu/edk2-x86_64-code.fd", "/usr/share/qemu/edk2-i386-vars.fd"),
    ("/usr/local/share/qemu/edk2-x86_64-code.fd", "/usr/local/share/qemu/edk2-i386-vars.fd"),
    (
        "/run/current-system/sw/share/qemu/edk2-x86_64-code.fd",
        "/run/current-system/sw/share/qemu/edk2-i386-vars.fd",
    ),
];

/// Of code and variables together.
const SIZES: [u64; 2] = [2 << 20, 4 << 20];
/// Of a page: both parts are mapped.
const PAGE: u64 = 4096;
/// Of a firmware volume's header.
const HEADER: usize = 128;
/// From the end: what EDK II's reset vector for x86 has before the CPU's first instruction
/// (UefiCpuPkg/ResetVector/Vtf0, OvmfPkg/ResetVector).
const VECTOR: u64 = 20;
const VECTOR_SIGNATURE: &[u8] = b"VTF\0";

const WANTED: &str = "UEFI firmware (OVMF_CODE_4M.fd)";
const WANTED_VARIABLES: &str = "a UEFI variable store (OVMF_VARS_4M.fd)";

pub(super) fn find(places: &Places, explicit: Option<&Path>) -> Result<Uefi, FirmwareError> {
    match explicit {
        Some(code) => named(places, code),
        None => discover(places),
    }
}

/// What a description says it does not need SMM is believed.
#[derive(Debug)]
struct Candidate {
    code: PathBuf,
    variables: PathBuf,
    fit: bool,
}

fn discover(places: &Places) -> Result<Uefi, FirmwareError> {
    let fits = |flash: &Flash| flash.ours && !flash.needs_smm && !flash.has_keys;
    let described = flashes(places).into_iter().filter(fits);
    let described = described.map(|Flash { code, variables, .. }| Candidate { code, variables, fit: true });
    let known = KNOWN_PATHS.map(|(code, variables)| Candidate {
        code: places.system(code),
        variables: places.system(variables),
        fit: false,
    });
    let found = first(
        described.chain(known),
        |candidate| &candidate.code,
        |Candidate { code, variables, fit }| {
            let source = open(code)?;
            if !fit {
                check_smm(&source, 0)?;
            }
            split(source, variables)
        },
    );
    found?.ok_or(FirmwareError::UefiNotInstalled)
}

fn flashes(places: &Places) -> Vec<Flash> {
    descriptions::read(places).iter().filter_map(|description| description.uefi(places)).collect()
}

fn named(places: &Places, code: &Path) -> Result<Uefi, FirmwareError> {
    let source = open(code)?;
    if let Some(variables) = variables_before(&source)? {
        check_smm(&source, variables)?;
        return combined(source, variables);
    }
    let same = |path: &Path| path == code || path.canonicalize().ok() == code.canonicalize().ok();
    let described: Vec<Flash> = flashes(places).into_iter().filter(|flash| same(&flash.code)).collect();
    if described.iter().any(|flash| flash.needs_smm) {
        return Err(FirmwareError::NeedsSmm { path: source.path });
    }
    // A build may be described with and without somebody's keys.
    let without_keys = described.iter().find(|flash| !flash.has_keys);
    if let Some(flash) = without_keys.or(described.first()) {
        return split(source, &flash.variables);
    }
    check_smm(&source, 0)?;
    let beside = beside(code);
    if !beside.exists() {
        return Err(FirmwareError::NoVariables { code: code.to_owned(), wanted: beside });
    }
    split(source, &beside)
}

/// The variables' file as every distribution names it beside the code's.
fn beside(code: &Path) -> PathBuf {
    let name = code.file_name().unwrap_or_default().to_string_lossy();
    let named = name.replace("CODE", "VARS").replace("code", "vars");
    code.with_file_name(if named == name { "OVMF_VARS_4M.fd".to_owned() } else { named })
}

/// Opens what seems to be code, alone or behind variables.
fn open(path: &Path) -> Result<Source, FirmwareError> {
    let source = Source::open(path, WANTED)?;
    let not = |found: String| Err(FirmwareError::NotUefi { path: path.to_owned(), found });
    if bios::is_bios(&source)? {
        return Err(FirmwareError::BiosForUefi { path: source.path });
    }
    let header = source.read(0, HEADER)?;
    if header.starts_with(b"QFI\xfb") {
        return not(
            "a qcow2 file (qemu-img convert -O raw makes raw ones, of the code and of the variables)"
                .to_owned(),
        );
    }
    let size = source.length;
    match volume_at(&header) {
        None => return not("without a firmware volume at its beginning".to_owned()),
        Some((length, true)) if length >= size => return not("variables alone, without code".to_owned()),
        Some(_) => {}
    }
    let most = SIZES.iter().max().copied().unwrap_or_default();
    if size > most || !size.is_multiple_of(PAGE) {
        return not(format!("{size} bytes long, and OVMF has 2 or 4 MiB, variables included"));
    }
    let signature = source.read(size.saturating_sub(VECTOR), VECTOR_SIGNATURE.len())?;
    if signature != VECTOR_SIGNATURE {
        return not("without EDK II's reset vector for x86 at its end".to_owned());
    }
    Ok(source)
}

/// The length of the variables that are before the code in its file, if they are.
fn variables_before(source: &Source) -> Result<Option<u64>, FirmwareError> {
    let variables = volume_at(&source.read(0, HEADER)?).filter(|(_, variables)| *variables);
    let Some((length, _)) = variables else { return Ok(None) };
    let not = |found: String| Err(FirmwareError::NotUefi { path: source.path.clone(), found });
    if !SIZES.contains(&source.length) {
        return not(format!("{} bytes long, and OVMF has 2 or 4 MiB, variables included", source.length));
    }
    if !length.is_multiple_of(PAGE) || volume_at(&source.read(length, HEADER)?).is_none() {
        return not("without a firmware volume behind its variables".to_owned());
    }
    Ok(Some(length))
}

fn check_smm(source: &Source, offset: u64) -> Result<(), FirmwareError> {
    if smm::is_needed(source, offset)? {
        return Err(FirmwareError::NeedsSmm { path: source.path.clone() });
    }
    Ok(())
}

fn combined(source: Source, code_offset: u64) -> Result<Uefi, FirmwareError> {
    let bytes = source.read(0, usize::try_from(code_offset).unwrap_or(usize::MAX))?;
    let variables = checked(Firmware { path: source.path.clone(), bytes })?;
    let code_size = source.length.saturating_sub(code_offset);
    Ok(Uefi { code: source.path, code_offset, code_size, variables })
}

fn split(code: Source, variables: &Path) -> Result<Uefi, FirmwareError> {
    let mut rests = SIZES.iter().filter_map(|all| all.checked_sub(code.length)).filter(|rest| *rest != 0);
    let Some(needed) = rests.next() else {
        let found = format!("{} bytes long, which leaves no room for variables below it", code.length);
        return Err(FirmwareError::NotUefi { path: code.path, found });
    };
    let source = Source::open(variables, WANTED_VARIABLES)?;
    let (path, size) = (variables.to_owned(), source.length);
    if size != needed {
        return Err(FirmwareError::VariablesSize { path, code: code.path, size, needed });
    }
    let bytes = source.read(0, usize::try_from(size).unwrap_or(usize::MAX))?;
    let variables = checked(Firmware { path, bytes })?;
    Ok(Uefi { code: code.path, code_offset: 0, code_size: code.length, variables })
}

/// Variables that can be read.
fn checked(variables: Firmware) -> Result<Firmware, FirmwareError> {
    match Store::parse(&variables.bytes) {
        Ok(_) => Ok(variables),
        Err(problem) => Err(FirmwareError::Variables { path: variables.path, problem }),
    }
}

#[cfg(test)]
#[path = "uefi_test.rs"]
pub(super) mod tests;
