//! Which format a disk file has, told by what it starts and ends with; and of those that are not read, what to do.

use super::read::{CONVERT, all_zero};
use crate::top::header::MAGIC;
use std::path::Path;

/// A format that is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Format {
    Raw,
    Qcow2,
    Vmdk,
    VhdFixed,
    VhdDynamic,
    Gzip,
    Xz,
    Zstd,
}

impl Format {
    /// What such a file is, for messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Format::Raw => "a raw disk",
            Format::Qcow2 => "a qcow2 file",
            Format::Vmdk => "a VMDK file",
            Format::VhdFixed | Format::VhdDynamic => "a VHD file",
            Format::Gzip => "a gzip file",
            Format::Xz => "an xz file",
            Format::Zstd => "a zstd file",
        }
    }
}

/// A format that is not read, and how its user gets a raw disk out of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Foreign {
    pub(crate) format: &'static str,
    pub(crate) advice: &'static str,
}

/// How much of a file's start tells its format.
pub(super) const HEAD: usize = 4096;

const ARCHIVE: &str = "unpack it, and give the disk file that is in it";
const BUNDLE: &str =
    "AWS's AMI tools (`ec2-unbundle --manifest FILE --privatekey KEY`) make a raw disk of a bundle";
const VOLUME: &str = "launch it by its name, or take a disk file of it: `ami-run volume serve FILE --socket PATH`, \
                      then `nbdcopy 'nbd+unix:///?socket=PATH' NEW.raw`";
const STORED: &str = "only EC2 reads it: restore it there with `aws ec2 create-restore-image-task`, \
                      then fetch the image's snapshots";

/// What a file has at an offset, and then is.
const MAGICS: &[(usize, &[u8], Format)] = &[
    (0, b"QFI\xfb", Format::Qcow2),
    (0, b"KDMV", Format::Vmdk),
    (0, b"conectix", Format::VhdDynamic),
    (0, b"\x1f\x8b\x08", Format::Gzip),
    (0, b"\xfd7zXZ\0", Format::Xz),
    (0, b"\x28\xb5\x2f\xfd", Format::Zstd),
];

const FOREIGN: &[(usize, &[u8], &str, &str)] = &[
    (0, &MAGIC, "a volume", VOLUME),
    (0, b"COWD", "a VMDK file of ESX (COWD)", CONVERT),
    (0, b"\xbe\xba\xfe\xca\0\0\0\0", "a VMDK file of ESXi (seSparse)", CONVERT),
    (0, b"# Disk DescriptorFile", "a VMDK descriptor, whose data is in other files", CONVERT),
    (0, b"vhdxfile", "a VHDX file", CONVERT),
    // The signature behind 64 bytes of any text, and a version of 1.1 (VirtualBox, VDICore.h).
    (64, b"\x7f\x10\xda\xbe\x01\0\x01\0", "a VDI file", CONVERT),
    (0, b"QED\0", "a QED file", CONVERT),
    (0, b"WithoutFreeSpace", "a Parallels file", CONVERT),
    (0, b"WithouFreSpacExt", "a Parallels file", CONVERT),
    (0, b"BZh", "a bzip2 file", "unpack it with `bzip2 -dc FILE >NEW.raw`"),
    (0, b"LZIP", "an lzip file", "unpack it with `lzip -dc FILE >NEW.raw`"),
    (0, b"\x04\x22\x4d\x18", "an lz4 file", "unpack it with `lz4 -dc FILE >NEW.raw`"),
    (0, b"AFF10\r\n\0", "an AFF file", "convert it with `affconvert -r FILE`"),
    (0, b"EVF\x09\x0d\x0a\xff\0", "an EWF file", "convert it with `ewfexport -f raw -t NEW FILE`"),
    (0, b"PK\x03\x04", "a zip archive", ARCHIVE),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive", ARCHIVE),
    (257, b"ustar", "a tar archive (so is an OVA)", ARCHIVE),
];

/// The cookie of a VHD's footer.
const VHD: &[u8] = b"conectix";

/// Tells a format by a file's first 4096 bytes and its last 512 (less where the file is shorter).
pub(super) fn tell(head: &[u8], tail: &[u8]) -> Result<Format, Foreign> {
    let starts = |at: usize, magic: &[u8]| head.get(at..).is_some_and(|rest| rest.starts_with(magic));
    if let Some((.., format)) = MAGICS.iter().find(|(at, magic, _)| starts(*at, magic)) {
        return Ok(*format);
    }
    if let Some((.., format, advice)) = FOREIGN.iter().find(|(at, magic, ..)| starts(*at, magic)) {
        return Err(Foreign { format, advice });
    }
    if is_manifest(head) {
        return Err(Foreign { format: "the manifest of an instance-store bundle", advice: BUNDLE });
    }
    // A fixed VHD is the raw disk with a footer behind it, which a guest must not see as 512 bytes of disk. Old tools
    // wrote one of 511 bytes.
    if tail.starts_with(VHD) || tail.get(1..).is_some_and(|tail| tail.starts_with(VHD)) {
        return Ok(Format::VhdFixed);
    }
    Ok(Format::Raw)
}

/// XML that says how an instance-store image was cut into encrypted parts.
fn is_manifest(head: &[u8]) -> bool {
    let text = String::from_utf8_lossy(head);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    text.starts_with('<') && text.contains("<manifest>") && text.contains("<bundler>")
}

/// What nothing in the bytes tells: EC2's own containers are compressed or encrypted. They are known by the names
/// that EC2 gives them, and refused only where the bytes look like no disk either.
pub(super) fn container(path: &Path, head: &[u8]) -> Option<Foreign> {
    let name = path.file_name()?.to_str()?;
    if head.get(510..512) == Some(b"\x55\xaa") || all_zero(head) {
        return None;
    }
    let id = name.strip_prefix("ami-").and_then(|rest| rest.strip_suffix(".bin"));
    if id.is_some_and(|id| id.len() >= 8 && id.bytes().all(|byte| byte.is_ascii_hexdigit())) {
        return Some(Foreign { format: "an image as CreateStoreImageTask stores it", advice: STORED });
    }
    let (stem, number) = name.rsplit_once(".part.")?;
    let manifest = path.with_file_name(format!("{stem}.manifest.xml"));
    (number.bytes().all(|byte| byte.is_ascii_digit()) && manifest.exists())
        .then_some(Foreign { format: "a part of an instance-store bundle", advice: BUNDLE })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boot_sector_is_raw_and_the_others_are_told() {
        let name = |head: &[u8], tail: &[u8]| match tell(head, tail) {
            Ok(format) => format.name(),
            Err(foreign) => foreign.format,
        };
        assert_eq!(name(b"\xeb\x63\x90", b""), "a raw disk");
        assert_eq!(name(b"", b""), "a raw disk");
        assert_eq!(name(b"QFI\xfb\0\0\0\x03", b""), "a qcow2 file");
        assert_eq!(name(&[0; 512], b"conectix\0"), "a VHD file");
        assert_eq!(name(&[0; 512], b"\0conectix\0"), "a VHD file");
        assert_eq!(name(&[0; 512], b"\0\0conectix\0"), "a raw disk");
        for (at, magic, format) in MAGICS {
            assert_eq!(tell(&[&vec![0; *at], *magic].concat(), b"").unwrap(), *format);
        }
        for (at, magic, format, _) in FOREIGN {
            assert_eq!(name(&[&vec![0; *at], *magic].concat(), b""), *format);
        }
        let manifest = b"\xef\xbb\xbf<?xml version=\"1.0\"?><manifest><version>2007-10-10</version><bundler>";
        assert_eq!(name(manifest, b""), "the manifest of an instance-store bundle");
        assert_eq!(name(b"<manifest><else>", b""), "a raw disk");
    }

    #[test]
    fn ec2s_containers_are_known_by_name_unless_they_look_like_a_disk() {
        let folder = tempfile::tempdir().unwrap();
        let of =
            |name: &str, head: &[u8]| container(&folder.path().join(name), head).map(|found| found.format);
        let mut disk = [1; 512];
        disk[510..].copy_from_slice(b"\x55\xaa");
        let stored = Some("an image as CreateStoreImageTask stores it");
        assert_eq!(of("ami-0123456789abcdef0.bin", &[1; 512]), stored);
        assert_eq!(of("ami-0123456789abcdef0.bin", &disk), None);
        assert_eq!(of("ami-debian.bin", &[1; 512]), None);
        assert_eq!(of("ami-0123456789abcdef0.raw", &[1; 512]), None);
        assert_eq!(of("image.part.07", &[1; 512]), None);
        std::fs::write(folder.path().join("image.manifest.xml"), "").unwrap();
        assert_eq!(of("image.part.07", &[1; 512]), Some("a part of an instance-store bundle"));
        assert_eq!(of("image.part.seven", &[1; 512]), None);
        assert_eq!(of("image.part.07", &[0; 512]), None);
    }
}
