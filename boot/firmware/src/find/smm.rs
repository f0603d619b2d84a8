//! Whether UEFI code needs System Management Mode, told by what is in it: a build with Secure Boot (SMM_REQUIRE)
//! begins with a module that looks for q35's SMRAM, and where there is none stops for ever without a word.
//!
//! Left out: code that is not packed as OVMF's is, which is taken for fit.

use crate::FirmwareError;
use crate::file::Source;
use lzma_rust2::LzmaReader;
use std::io::Read as _;

/// The FILE_GUID of OvmfPkg/SmmAccess/SmmAccessPei.inf. OvmfPkgX64.fdf has it if SMM_REQUIRE.
const SMM_ACCESS: [u8; 16] =
    [0xb4, 0x75, 0x0e, 0x6c, 0xb9, 0xb0, 0xd1, 0x44, 0x82, 0x10, 0x33, 0x77, 0xd7, 0xb4, 0xe0, 0x66];
/// A section's definition, by which it is packed: LzmaCustomDecompressGuid of EDK II's
/// MdeModulePkg/Include/Guid/LzmaDecompress.h.
const LZMA: [u8; 16] =
    [0x98, 0x58, 0x4e, 0xee, 0x14, 0x39, 0x59, 0x42, 0x9d, 0x6e, 0xdc, 0x7b, 0xd7, 0x94, 0x03, 0xcf];

/// EFI_GUID_DEFINED_SECTION (PI 1.8 volume 3 §3.2.5.7): 24 bits of size, a type, the definition, the data's offset.
const HEADER: usize = 4;
/// Sections and files lie at such offsets.
const ALIGN: usize = 4;
/// The packed section is the code's first: it begins within these.
const BEGINNING: usize = 4096;
/// Of what is unpacked: OVMF's volume of early modules, which comes first, has 896 KiB.
const EARLY: u64 = 1 << 20;
/// LZMA's dictionary. OVMF's has 16 MiB.
const MEMORY_KIB: u32 = 64 << 10;

/// `offset`: where the code begins in its file.
pub(super) fn is_needed(source: &Source, offset: u64) -> Result<bool, FirmwareError> {
    let Some(start) = packed(&source.read(offset, BEGINNING)?) else { return Ok(false) };
    let start = offset.saturating_add(start as u64);
    let packed = source.read(start, usize::try_from(source.length).unwrap_or(usize::MAX))?;
    let early = unpacked(&packed);
    let mut places = (0..early.len()).step_by(ALIGN);
    Ok(places.any(|at| early.get(at..).is_some_and(|rest| rest.starts_with(&SMM_ACCESS))))
}

/// Where the packed bytes begin.
fn packed(beginning: &[u8]) -> Option<usize> {
    let mut places = (HEADER..beginning.len()).step_by(ALIGN);
    let definition = places.find(|at| beginning.get(*at..).is_some_and(|rest| rest.starts_with(&LZMA)))?;
    let behind = definition.checked_add(LZMA.len())?;
    let offset = beginning.get(behind..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))?;
    definition.checked_sub(HEADER)?.checked_add(usize::from(offset))
}

/// The beginning, as much as can be had.
fn unpacked(packed: &[u8]) -> Vec<u8> {
    let mut early = Vec::new();
    if let Ok(reader) = LzmaReader::new_mem_limit(packed, MEMORY_KIB, None) {
        // What is damaged may still be told by what comes before.
        reader.take(EARLY).read_to_end(&mut early).map(drop).unwrap_or_default();
    }
    early
}

#[cfg(test)]
#[path = "smm_test.rs"]
pub(super) mod tests;
