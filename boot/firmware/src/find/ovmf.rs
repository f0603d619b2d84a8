//! OVMF: code and a template of its variables, in two files or one behind the other in one.
//!
//! Together they fill the top of the first 4 GiB: the code ends there, and finds its variables before itself
//! (OvmfPkg/Include/Fdf/OvmfPkgDefines.fdf.inc).

use super::descriptions::{self, Flash, PC};
use super::{Firmware, Places, Uefi, aavmf, bios, checked, first, is_qcow2, smm};
use crate::FirmwareError;
use crate::file::Source;
use crate::uefi::volume_at;
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

const EXAMPLE: &str = "OVMF_CODE_4M.fd";
const TEMPLATE: &str = "OVMF_VARS file";
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
    let described = descriptions::flashes(places, PC).into_iter().filter(fits);
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

fn named(places: &Places, code: &Path) -> Result<Uefi, FirmwareError> {
    let source = open(code)?;
    if let Some(variables) = variables_before(&source)? {
        check_smm(&source, variables)?;
        return combined(source, variables);
    }
    let described = descriptions::flashes_of(places, PC, code);
    if described.iter().any(|flash| flash.needs_smm) {
        return Err(FirmwareError::NeedsSmm { path: source.path });
    }
    if let Some(flash) = descriptions::without_keys(&described) {
        return split(source, &flash.variables);
    }
    check_smm(&source, 0)?;
    let beside = beside(code);
    if !beside.exists() {
        let code = code.to_owned();
        return Err(FirmwareError::NoVariables { code, wanted: beside, template: TEMPLATE });
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
    let not = |found: String| Err(not_uefi(&source, found));
    if bios::is_bios(&source)? {
        return Err(FirmwareError::BiosForUefi { path: source.path });
    }
    let header = source.read(0, HEADER)?;
    if is_qcow2(&header) {
        return not(
            "a qcow2 file (qemu-img convert -O raw makes raw ones, of the code and of the variables)"
                .to_owned(),
        );
    }
    let size = source.length;
    match volume_at(&header) {
        _ if aavmf::is_code(&source)? => return not("made for arm64".to_owned()),
        None => return not("without a firmware volume at its beginning".to_owned()),
        Some((length, true)) if length >= size => return not("variables alone, without code".to_owned()),
        Some(_) => {}
    }
    let most = SIZES.iter().max().copied().unwrap_or_default();
    if size > most || !size.is_multiple_of(PAGE) {
        return not(format!("{size} bytes long, and OVMF has 2 or 4 MiB, variables included"));
    }
    if !has_vector(&source)? {
        return not("without EDK II's reset vector for x86 at its end".to_owned());
    }
    Ok(source)
}

/// Whether it ends as UEFI firmware for x86 does.
pub(super) fn has_vector(source: &Source) -> Result<bool, FirmwareError> {
    let signature = source.read(source.length.saturating_sub(VECTOR), VECTOR_SIGNATURE.len())?;
    Ok(signature == VECTOR_SIGNATURE)
}

fn not_uefi(source: &Source, found: String) -> FirmwareError {
    FirmwareError::NotUefi { path: source.path.clone(), found, example: EXAMPLE }
}

/// The length of the variables that are before the code in its file, if they are.
fn variables_before(source: &Source) -> Result<Option<u64>, FirmwareError> {
    let variables = volume_at(&source.read(0, HEADER)?).filter(|(_, variables)| *variables);
    let Some((length, _)) = variables else { return Ok(None) };
    let not = |found: String| Err(not_uefi(source, found));
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
        return Err(not_uefi(&code, found));
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

#[cfg(test)]
#[path = "ovmf_test.rs"]
pub(super) mod tests;
