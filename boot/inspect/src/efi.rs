//! What lies below /EFI on a FAT: programs, and the lists of shim's fallback.

use crate::contents::Contents;
use crate::disk::{Disk, Fault};
use crate::files::FileSystem;
use crate::loader::{BootList, Loader};
use crate::program;

/// Folders below /EFI, and programs in one of them.
const MAX_VENDORS: usize = 32;
const MAX_PROGRAMS: usize = 32;
/// Programs of one disk: no disk that starts anything has nearly as many.
const MAX_LOADERS: usize = 256;
const MAX_LISTS: usize = 32;
const MAX_LIST: u64 = 64 << 10;
/// Programs that one list names.
const MAX_STARTS: usize = 32;

/// shim's fallback passes this folder over.
const REMOVABLE: &str = "BOOT";

pub(crate) fn read(
    disk: &mut Disk<'_>,
    partition: u32,
    files: &dyn FileSystem,
    found: &mut Contents,
) -> Result<(), Fault> {
    let root = files.list(disk, "/")?;
    let Some(efi) = root.into_iter().find(|name| name.eq_ignore_ascii_case("EFI")) else {
        return Ok(());
    };
    let mut vendors = files.list(disk, &efi)?;
    vendors.sort();
    let mut more = vendors.len() > MAX_VENDORS;
    for vendor in vendors.iter().take(MAX_VENDORS) {
        let folder = format!("/{efi}/{vendor}");
        let mut names = match files.list(disk, &folder) {
            Ok(names) => names,
            Err(Fault::Absent) => continue,
            Err(fault) => return Err(fault),
        };
        names.sort();
        if !vendor.eq_ignore_ascii_case(REMOVABLE) {
            lists(disk, partition, files, &folder, &names, &mut found.boot_lists)?;
        }
        names.retain(|name| name.to_ascii_lowercase().ends_with(".efi"));
        more |= names.len() > MAX_PROGRAMS;
        for name in names.iter().take(MAX_PROGRAMS) {
            let path = format!("{folder}/{name}");
            match files.find(disk, &path).and_then(|file| program::read(disk, &file, name)) {
                Ok(_) if found.loaders.len() >= MAX_LOADERS => return Err(Fault::TooMuch),
                Ok(program::Program { machine, kind, signed }) => {
                    found.loaders.push(Loader { partition, path, machine, kind, signed });
                }
                Err(Fault::Absent) => {}
                Err(fault) => return Err(fault),
            }
        }
    }
    // What was not looked at may be what is started.
    if more { Err(Fault::TooMuch) } else { Ok(()) }
}

/// The lists in one folder.
fn lists(
    disk: &mut Disk<'_>,
    partition: u32,
    files: &dyn FileSystem,
    folder: &str,
    names: &[String],
    found: &mut Vec<BootList>,
) -> Result<(), Fault> {
    let is_list = |name: &&String| {
        let name = name.to_ascii_uppercase();
        name.starts_with("BOOT") && name.ends_with(".CSV")
    };
    for name in names.iter().filter(is_list) {
        let path = format!("{folder}/{name}");
        match files.find(disk, &path).and_then(|file| file.read(disk, MAX_LIST)) {
            Ok(_) if found.len() >= MAX_LISTS => return Err(Fault::TooMuch),
            Ok(bytes) => found.push(BootList { partition, path, starts: starts(&bytes) }),
            Err(Fault::Absent) => {}
            Err(fault) => return Err(fault),
        }
    }
    Ok(())
}

/// The first column of UTF-16 lines: `shimx64.efi,Name,options,about`.
fn starts(bytes: &[u8]) -> Vec<String> {
    let units = bytes.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
    let text: String = char::decode_utf16(units.filter(|unit| *unit != 0xfeff))
        .map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect();
    let first = text.lines().filter_map(|line| line.split(',').next());
    first.map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).take(MAX_STARTS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_names_a_program_a_line() {
        let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
        let text = "\u{feff}shimx64.efi,Debian,,The first\r\n,,\nGrub.efi\n";
        assert_eq!(starts(&utf16(text)), ["shimx64.efi", "Grub.efi"]);
        assert_eq!(starts(&utf16(&"a,\n".repeat(1000))).len(), MAX_STARTS);
        // Half a character, and half a pair.
        assert_eq!(starts(&[0x41, 0, 0, 0xd8, 0x42]), ["A\u{fffd}"]);
        assert_eq!(starts(&[]), [""; 0]);
    }
}
