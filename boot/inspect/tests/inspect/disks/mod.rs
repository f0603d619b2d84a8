//! Makes disks for tests: tables, boot code, FAT, ext, EFI programs, initrds.

pub(crate) mod ext;

use std::io::{Cursor, Write};

pub(crate) const SECTOR: usize = 512;
/// The disks' size, but where a test says otherwise.
pub(crate) const SIZE: usize = 4 << 20;

pub(crate) const ESP: [u8; 16] =
    [0x28, 0x73, 0x2a, 0xc1, 0x1f, 0xf8, 0xd2, 0x11, 0xba, 0x4b, 0x00, 0xa0, 0xc9, 0x3e, 0xc9, 0x3b];
pub(crate) const XBOOTLDR: [u8; 16] =
    [0xff, 0xc2, 0x13, 0xbc, 0xe6, 0x59, 0x62, 0x42, 0xa3, 0x52, 0xb2, 0x75, 0xfd, 0x6f, 0x71, 0x72];
pub(crate) const BIOS_BOOT: [u8; 16] = *b"Hah!IdontNeedEFI";
pub(crate) const LINUX: [u8; 16] =
    [0xaf, 0x3d, 0xc6, 0x0f, 0x83, 0x84, 0x72, 0x47, 0x8e, 0x79, 0x3d, 0x69, 0xd8, 0x47, 0x7d, 0xe4];

/// A partition to be made: its type, its first sector, its content.
pub(crate) struct Part {
    pub(crate) kind: [u8; 16],
    pub(crate) start: usize,
    pub(crate) content: Vec<u8>,
}

pub(crate) fn part(kind: [u8; 16], start: usize, content: Vec<u8>) -> Part {
    Part { kind, start, content }
}

/// A disk with a protective MBR and both copies of a GPT, by gptman.
pub(crate) fn gpt(size: usize, parts: Vec<Part>) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; size]);
    let mut table = gptman::GPT::new_from(&mut disk, SECTOR as u64, [7; 16]).unwrap();
    for (number, part) in (1..).zip(&parts) {
        let last = part.start + part.content.len().div_ceil(SECTOR) - 1;
        table[number] = gptman::GPTPartitionEntry {
            partition_type_guid: part.kind,
            unique_partition_guid: [u8::try_from(number).unwrap(); 16],
            starting_lba: part.start as u64,
            ending_lba: last as u64,
            attribute_bits: 0,
            partition_name: "".into(),
        };
    }
    table.write_into(&mut disk).unwrap();
    gptman::GPT::write_protective_mbr_into(&mut disk, SECTOR as u64).unwrap();
    let mut disk = disk.into_inner();
    for part in parts {
        disk[part.start * SECTOR..][..part.content.len()].copy_from_slice(&part.content);
    }
    disk
}

/// An entry of an MBR: active or not, its type, its first sector and its length.
pub(crate) fn mbr_entry(disk: &mut [u8], record: usize, index: usize, entry: (u8, u8, u32, u32)) {
    let (active, kind, start, sectors) = entry;
    let at = record * SECTOR + 446 + index * 16;
    disk[at] = active;
    disk[at + 4] = kind;
    disk[at + 8..at + 12].copy_from_slice(&start.to_le_bytes());
    disk[at + 12..at + 16].copy_from_slice(&sectors.to_le_bytes());
    disk[record * SECTOR + 510..][..2].copy_from_slice(&[0x55, 0xaa]);
}

/// GRUB's first sector as its boot.img is, as far as anyone can tell it by; its core at this sector.
pub(crate) fn grub(disk: &mut [u8], core: usize) {
    disk[..2].copy_from_slice(&[0xeb, 0x63]);
    disk[0x5c..0x64].copy_from_slice(&(core as u64).to_le_bytes());
    disk[0x180..0x185].copy_from_slice(b"GRUB ");
    disk[core * SECTOR..][..4].copy_from_slice(&[0x52, 0xe8, 0x28, 0x01]);
}

/// A FAT of this size with these files, by fatfs.
pub(crate) fn fat(size: usize, files: &[(&str, &[u8])]) -> Vec<u8> {
    fat_of(fatfs::FatType::Fat12, size, files)
}

/// A FAT of this width, with clusters of one sector where it is wide.
pub(crate) fn fat_of(width: fatfs::FatType, size: usize, files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut disk = Cursor::new(vec![0; size]);
    let options = fatfs::FormatVolumeOptions::new().fat_type(width);
    let options = if width == fatfs::FatType::Fat12 { options } else { options.bytes_per_cluster(512) };
    fatfs::format_volume(&mut disk, options).unwrap();
    {
        disk.set_position(0);
        let files_there = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new()).unwrap();
        let root = files_there.root_dir();
        for (path, content) in files {
            for (at, _) in path.match_indices('/').filter(|(at, _)| *at > 0) {
                root.create_dir(path.split_at(at).0).unwrap();
            }
            root.create_file(path).unwrap().write_all(content).unwrap();
        }
    }
    disk.into_inner()
}

/// The shortest beginning of an EFI program: MZ, where the PE header is, and its machine.
pub(crate) fn program(machine: u16) -> Vec<u8> {
    let mut bytes = vec![0; 512];
    bytes[..2].copy_from_slice(b"MZ");
    bytes[0x3c] = 0x80;
    bytes[0x80..0x84].copy_from_slice(b"PE\0\0");
    bytes[0x84..0x86].copy_from_slice(&machine.to_le_bytes());
    bytes
}

/// A unified kernel image with these sections, each of 512 bytes at most.
pub(crate) fn unified(sections: &[(&str, &[u8])]) -> Vec<u8> {
    program_of(0x8664, sections)
}

/// An EFI program with these sections, each of 512 bytes at most.
pub(crate) fn program_of(machine: u16, sections: &[(&str, &[u8])]) -> Vec<u8> {
    let mut bytes = program(machine);
    bytes[0x86..0x88].copy_from_slice(&u16::try_from(sections.len()).unwrap().to_le_bytes());
    bytes.resize(1024 + sections.len() * 512, 0);
    for (index, (name, content)) in sections.iter().enumerate() {
        let (at, start) = (0x98 + index * 40, 1024 + index * 512);
        bytes[at..at + name.len()].copy_from_slice(name.as_bytes());
        for (offset, value) in [(8, content.len()), (16, 512), (20, start)] {
            bytes[at + offset..][..4].copy_from_slice(&u32::try_from(value).unwrap().to_le_bytes());
        }
        bytes[start..start + content.len()].copy_from_slice(content);
    }
    bytes
}

/// Shim, as far as anyone can tell it: a section whose name is too long for the table, in the strings behind the file.
pub(crate) fn shim(machine: u16) -> Vec<u8> {
    let mut bytes = program_of(machine, &[("/4", b"")]);
    let strings = u32::try_from(bytes.len()).unwrap();
    bytes[0x8c..0x90].copy_from_slice(&strings.to_le_bytes());
    bytes.extend(b"\x11\0\0\0.vendor_cert\0");
    bytes
}

/// A program whose SBAT names it so.
pub(crate) fn with_sbat(machine: u16, name: &str) -> Vec<u8> {
    program_of(
        machine,
        &[(".sbat", format!("sbat,1,SBAT Version,sbat,1,\n{name},4,Somebody,x,1,\n").as_bytes())],
    )
}

/// systemd-boot as it calls itself.
pub(crate) fn systemd_boot(machine: u16) -> Vec<u8> {
    program_of(machine, &[(".sdmagic", b"#### LoaderInfo: systemd-boot 252.39-1 ####\0")])
}

/// A list for shim's fallback, of these programs.
pub(crate) fn boot_list(names: &[&str]) -> Vec<u8> {
    let lines: String = names.iter().map(|name| format!("{name},Linux,,An entry\n")).collect();
    format!("\u{feff}{lines}").encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// A Linux kernel's first bytes: bzImage for x86_64 with its version, or an arm64 Image.
pub(crate) fn bzimage(version: &str) -> Vec<u8> {
    let mut bytes = vec![0; 2048];
    bytes[0x202..0x206].copy_from_slice(b"HdrS");
    bytes[0x20e..0x210].copy_from_slice(&0x300u16.to_le_bytes());
    bytes[0x500..0x500 + version.len()].copy_from_slice(version.as_bytes());
    bytes
}

pub(crate) fn arm64_image() -> Vec<u8> {
    let mut bytes = vec![0; 2048];
    bytes[0x38..0x3c].copy_from_slice(b"ARM\x64");
    bytes
}

/// A cpio archive of these files.
pub(crate) fn cpio(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, content) in files.iter().chain(&[("TRAILER!!!", &[][..])]) {
        let numbers = [1, 0o100_644, 0, 0, 1, 0, content.len(), 0, 0, 0, 0, name.len() + 1, 0];
        out.extend(b"070701");
        out.extend(numbers.iter().flat_map(|number| format!("{number:08x}").into_bytes()));
        out.extend(name.as_bytes());
        out.push(0);
        out.resize(out.len().next_multiple_of(4), 0);
        out.extend(*content);
        out.resize(out.len().next_multiple_of(4), 0);
    }
    out
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Makes both checksums of the GPT header at this sector right again.
pub(crate) fn checksums(disk: &mut [u8], sector: usize) {
    let number = |disk: &[u8], at: usize| u32::from_le_bytes(disk[at..at + 4].try_into().unwrap()) as usize;
    let crc = |bytes: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum().to_le_bytes()
    };
    let header = sector * SECTOR;
    let (array, count) = (number(disk, header + 72) * SECTOR, number(disk, header + 80));
    let bytes = count.saturating_mul(number(disk, header + 84));
    if let Some(entries) = disk.get(array..array.saturating_add(bytes)) {
        let sum = crc(entries);
        disk[header + 88..header + 92].copy_from_slice(&sum);
    }
    disk[header + 16..header + 20].fill(0);
    let sum = crc(&disk[header..header + 92]);
    disk[header + 16..header + 20].copy_from_slice(&sum);
}
