//! Disk-file formats told by content, as far as needed to refuse what is not a raw disk.

/// A format that is not raw, and how its user gets a raw disk out of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Foreign {
    pub(crate) format: &'static str,
    pub(crate) advice: &'static str,
}

const CONVERT: &str = "convert it with `qemu-img convert -O raw FILE NEW.raw`";

/// What a file starts with, and then is.
const HEADS: &[(&[u8], &str, &str)] = &[
    (b"QFI\xfb", "a qcow2 file", CONVERT),
    (b"KDMV", "a VMDK file", CONVERT),
    (b"COWD", "a VMDK file", CONVERT),
    (b"# Disk DescriptorFile", "a VMDK descriptor", CONVERT),
    (b"conectix", "a VHD file", CONVERT),
    (b"vhdxfile", "a VHDX file", CONVERT),
    (b"\x1f\x8b\x08", "a gzip file", "unpack it with `gzip -dc FILE >NEW.raw`"),
    (b"\xfd7zXZ\0", "an xz file", "unpack it with `xz -dc FILE >NEW.raw`"),
    (b"\x28\xb5\x2f\xfd", "a zstd file", "unpack it with `zstd -dc FILE >NEW.raw`"),
    (b"BZh", "a bzip2 file", "unpack it with `bzip2 -dc FILE >NEW.raw`"),
];

/// Tells a format by a file's first and last 512 bytes (less where the file is shorter). None: it may be raw.
pub(crate) fn foreign(head: &[u8], tail: &[u8]) -> Option<Foreign> {
    if let Some((_, format, advice)) = HEADS.iter().find(|(magic, ..)| head.starts_with(magic)) {
        return Some(Foreign { format, advice });
    }
    // A fixed VHD is the raw disk with a footer behind it, which a guest must not see as 512 bytes of disk.
    tail.starts_with(b"conectix").then_some(Foreign { format: "a VHD file", advice: CONVERT })
}

#[cfg(test)]
mod tests {
    use super::foreign;

    #[test]
    fn a_boot_sector_is_raw_and_the_others_are_told() {
        let name = |head: &[u8], tail: &[u8]| foreign(head, tail).map(|found| found.format);
        assert_eq!(name(b"\xeb\x63\x90", b""), None);
        assert_eq!(name(b"", b""), None);
        assert_eq!(name(b"QFI\xfb\0\0\0\x03", b""), Some("a qcow2 file"));
        assert_eq!(name(b"KDMV\x03", b""), Some("a VMDK file"));
        assert_eq!(name(b"\x1f\x8b\x08\0", b""), Some("a gzip file"));
        assert_eq!(name(&[0; 512], b"conectix\0"), Some("a VHD file"));
    }
}
