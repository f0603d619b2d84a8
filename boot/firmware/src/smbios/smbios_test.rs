//! The structures as a guest finds them, walked by the specification's rules and read by dmidecode.

use super::*;
use crate::FirmwareError;
use crate::board::{Board, sample};
use crate::x86_64::smbios::place;
use ami_run_memory::{Gpa, Memory};
use std::collections::BTreeSet;
use std::process::Command;

struct Structure {
    kind: u8,
    handle: u16,
    /// Header included, strings not.
    fields: Vec<u8>,
    strings: Vec<String>,
}

impl Structure {
    fn string(&self, offset: usize) -> &str {
        match self.fields[offset] {
            0 => "",
            number => &self.strings[usize::from(number) - 1],
        }
    }

    fn number(&self, offset: usize, size: usize) -> u64 {
        self.fields[offset..offset + size].iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }
}

/// §6.1.3: fields, then strings that end in NUL, then another NUL; two where there are no strings.
fn walk(table: &[u8]) -> Vec<Structure> {
    let mut rest = table;
    let mut found = Vec::new();
    while !rest.is_empty() {
        let (fields, tail) = rest.split_at(usize::from(rest[1]));
        let end = tail.windows(2).position(|pair| pair == [0, 0]).unwrap();
        let strings = tail[..end].split(|byte| *byte == 0).filter(|string| !string.is_empty());
        let strings = strings.map(|string| String::from_utf8(string.to_vec()).unwrap()).collect();
        let handle = u16::from_le_bytes([fields[2], fields[3]]);
        found.push(Structure { kind: fields[0], handle, fields: fields.to_vec(), strings });
        rest = &tail[end + 2..];
    }
    found
}

fn structures(board: &Board) -> Vec<Structure> {
    walk(&tables(board).bytes)
}

fn of_kind(structures: &[Structure], kind: u8) -> &Structure {
    structures.iter().find(|structure| structure.kind == kind).unwrap()
}

/// Offsets of the fields that are numbers of strings.
fn string_fields(kind: u8) -> &'static [usize] {
    match kind {
        0 => &[4, 5, 8],
        1 => &[4, 5, 6, 7, 25, 26],
        2 => &[4, 5, 6, 7, 8, 10],
        3 => &[4, 6, 7, 8, 21],
        4 => &[4, 7, 16, 32, 33, 34],
        17 => &[16, 17, 23, 24, 25, 26],
        _ => &[],
    }
}

#[test]
fn the_table_keeps_the_rules() {
    let mut board = sample::board();
    board.ram.push(Range::new(1 << 32, 1 << 30));
    let smbios = tables(&board);
    let found = walk(&smbios.bytes);
    let kinds: Vec<u8> = found.iter().map(|structure| structure.kind).collect();
    assert_eq!(kinds, [0, 1, 2, 3, 4, 16, 17, 19, 19, 32, 127]);
    assert_eq!(usize::from(smbios.structures), found.len());
    let handles: BTreeSet<u16> = found.iter().map(|structure| structure.handle).collect();
    assert_eq!(handles.len(), found.len());
    for structure in &found {
        let used: Vec<usize> = string_fields(structure.kind)
            .iter()
            .map(|offset| usize::from(structure.fields[*offset]))
            .filter(|number| *number != 0)
            .collect();
        let all: Vec<usize> = (1..=structure.strings.len()).collect();
        assert_eq!(used, all, "type {}", structure.kind);
    }
    let references = [(2, 11, 3), (17, 4, 16), (19, 12, 16)];
    for (from, offset, to) in references {
        assert_eq!(of_kind(&found, from).number(offset, 2), u64::from(of_kind(&found, to).handle));
    }
}

#[test]
fn the_anchor_adds_up_wherever_the_table_is() {
    let smbios = tables(&sample::board());
    for address in [0u32, 0xf_8020, 0xbfff_fff0] {
        let anchor = smbios.anchor(address);
        let sum = |bytes: &[u8]| bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte));
        assert_eq!((anchor.len(), sum(&anchor), sum(&anchor[16..])), (31, 0, 0));
        assert_eq!(
            (&anchor[..4], &anchor[5..8], &anchor[16..21]),
            (&b"_SM_"[..], &[31, 2, 7][..], &b"_DMI_"[..])
        );
        assert_eq!(anchor[22..24], u16::try_from(smbios.bytes.len()).unwrap().to_le_bytes());
        assert_eq!(anchor[24..28], address.to_le_bytes());
        let longest = walk(&smbios.bytes).iter().map(length).max().unwrap();
        assert_eq!(usize::from(u16::from_le_bytes([anchor[8], anchor[9]])), longest);
    }
}

fn uefi() -> Board {
    Board { firmware: FirmwareKind::Uefi, ..sample::board() }
}

/// §5.2.2, and the lengths that §7.5 and §7.18 have for version 3.0.
#[test]
fn uefi_has_the_64_bit_entry_point_and_structures_of_its_version() {
    let smbios = tables(&uefi());
    for address in [0u32, 0x7eed_0000] {
        let anchor = smbios.anchor(address);
        assert_eq!((anchor.len(), anchor.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte))), (24, 0));
        assert_eq!((&anchor[..5], &anchor[6..12]), (&b"_SM3_"[..], &[24, 3, 0, 0, 1, 0][..]));
        assert_eq!(anchor[12..16], u32::try_from(smbios.bytes.len()).unwrap().to_le_bytes());
        assert_eq!(anchor[16..24], u64::from(address).to_le_bytes());
    }
    let (new, old) = (walk(&smbios.bytes), structures(&sample::board()));
    for (new, old) in new.iter().zip(&old) {
        assert_eq!((new.kind, new.handle, &new.strings), (old.kind, old.handle, &old.strings));
        let longer = match new.kind {
            4 => 0x30,
            17 => 0x28,
            _ => old.fields.len(),
        };
        assert_eq!(new.fields.len(), longer, "type {}", new.kind);
        if new.kind != 0 {
            assert_eq!(new.fields[2..old.fields.len()], old.fields[2..], "type {}", new.kind);
        }
    }
    let bios = of_kind(&new, 0);
    assert_eq!((bios.number(6, 2), bios.fields[0x13]), (0, 0x18));
    let board = Board { cpus: (0..300).collect(), ..uefi() };
    let found = structures(&board);
    let processor = of_kind(&found, 4);
    let few: Vec<u64> = [0x23, 0x24, 0x25].map(|offset| processor.number(offset, 1)).into();
    let all: Vec<u64> = [0x2a, 0x2c, 0x2e].map(|offset| processor.number(offset, 2)).into();
    assert_eq!((few, all), (vec![0xff; 3], vec![300; 3]));
}

/// In the table, with its strings and what ends them.
fn length(structure: &Structure) -> usize {
    let strings: usize = structure.strings.iter().map(|string| string.len() + 1).sum();
    structure.fields.len() + strings.max(1) + 1
}

#[test]
fn the_strings_are_ec2_s() {
    let found = structures(&sample::board());
    let bios = of_kind(&found, 0);
    assert_eq!((bios.string(4), bios.string(5), bios.string(8)), ("Amazon EC2", "1.0", "10/16/2017"));
    let system = of_kind(&found, 1);
    let uuid = "ec2a0102-0304-0506-8708-090a0b0c0d0e";
    assert_eq!((system.string(4), system.string(5), system.string(7)), ("Amazon EC2", "t3.micro", uuid));
    assert_eq!(system.fields[8..16], [0x02, 0x01, 0x2a, 0xec, 0x04, 0x03, 0x06, 0x05]);
    assert_eq!(system.fields[16..24], [0x87, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e]);
    let (board, chassis) = (of_kind(&found, 2), of_kind(&found, 3));
    assert_eq!(
        (board.string(4), board.string(5), board.string(8)),
        ("Amazon EC2", "", "i-0123456789abcdef0")
    );
    assert_eq!((chassis.string(4), chassis.fields[5], chassis.string(8)), ("Amazon EC2", 1, "Amazon EC2"));
}

#[test]
fn memory_of_any_size_is_told() {
    const GIB: u64 = 1 << 30;
    let told = |ram: Vec<Range>| {
        let found = structures(&Board { ram, ..sample::board() });
        let (array, device) = (of_kind(&found, 16), of_kind(&found, 17));
        let mapped = found.iter().rfind(|structure| structure.kind == 19).unwrap();
        let array = (array.number(7, 4), array.number(15, 8));
        let device = (device.number(12, 2), device.number(28, 4));
        (
            array,
            device,
            (mapped.number(4, 4), mapped.number(8, 4), mapped.number(15, 8), mapped.number(23, 8)),
        )
    };
    let (array, device, mapped) = told(vec![Range::new(0, GIB)]);
    assert_eq!((array, device), ((1 << 20, 0), (1024, 0)));
    assert_eq!(mapped, (0, (1 << 20) - 1, 0, 0));
    let (array, device, mapped) = told(vec![Range::new(0, 3 * GIB), Range::new(4 * GIB, 765 * GIB)]);
    assert_eq!((array, device), ((768 << 20, 0), (0x7fff, 768 << 10)));
    assert_eq!(mapped, (4 << 20, (769 << 20) - 1, 0, 0));
    let (array, device, mapped) = told(vec![Range::new(4 * GIB, 6144 * GIB)]);
    assert_eq!((array, device), ((0x8000_0000, 6144 * GIB), (0x7fff, 6 << 20)));
    assert_eq!(mapped, (0xffff_ffff, 0xffff_ffff, 4 * GIB, 6148 * GIB - 1));
}

#[test]
fn whatever_a_name_holds_the_table_stays_whole() {
    let mut board = sample::board();
    for name in ["", "\0", "a\0b\n", "größe", &"long".repeat(1000)] {
        board.identity.instance_type = name.to_owned();
        board.identity.instance_id = name.to_owned();
        let found = structures(&board);
        assert_eq!(found.len(), 10);
        let product = of_kind(&found, 1).string(5);
        assert!(product.len() <= MAX_STRING && name.starts_with(product.get(..1).unwrap_or("")), "{product}");
    }
}

#[test]
fn a_place_that_is_too_small_is_an_error() {
    let memory = Memory::new(&[Range::new(0, 1 << 20)]).unwrap();
    let board = sample::board();
    let placed = place(&board, Range::new(0xf_8000, 100), &memory);
    assert!(matches!(placed, Err(FirmwareError::Tables(_))));
    place(&board, Range::new(0xf_8000, 0x8000), &memory).unwrap();
    let mut table = vec![0; tables(&board).bytes.len()];
    memory.read(Gpa(0xf_8020), &mut table).unwrap();
    assert_eq!(table, tables(&board).bytes);
}

#[test]
fn dmidecode_reads_the_table() {
    assert_read(&sample::board(), &["SMBIOS 2.7 present"]);
    assert_read(&uefi(), &["SMBIOS 3.0.0 present", "UEFI is supported", "Configured Voltage: Unknown"]);
}

/// In a file as `dmidecode --dump-bin` makes it: the entry point, and the table behind it.
fn assert_read(board: &Board, says: &[&str]) {
    if Command::new("dmidecode").arg("--version").output().is_err() {
        println!("skipped: SMBIOS by dmidecode: it is not installed (package dmidecode)");
        return;
    }
    let smbios = tables(board);
    let mut dump = smbios.anchor(32);
    dump.resize(32, 0);
    dump.extend_from_slice(&smbios.bytes);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dump");
    std::fs::write(&path, dump).unwrap();
    let run = |arguments: &[&str]| {
        let output =
            Command::new("dmidecode").arg("--from-dump").arg(&path).args(arguments).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{text}");
        text
    };
    let text = run(&[]);
    for wrong in ["<BAD INDEX>", "<OUT OF SPEC>", "Invalid", "Wrong", "truncated", "broken", "mismatch"] {
        assert!(!text.contains(wrong), "{wrong}: {text}");
    }
    let expected = [
        "System is a virtual machine",
        "Maximum Capacity: 1 GB",
        "Size: 1 GB",
        "Core Count: 2",
        "Range Size: 1 GB",
    ];
    for line in says.iter().copied().chain(expected).chain(["End Of Table"]) {
        assert!(text.contains(line), "{line}: {text}");
    }
    let uuid = "ec2a0102-0304-0506-8708-090a0b0c0d0e";
    let strings = [
        ("bios-vendor", "Amazon EC2"),
        ("bios-version", "1.0"),
        ("bios-release-date", "10/16/2017"),
        ("system-manufacturer", "Amazon EC2"),
        ("system-product-name", "t3.micro"),
        ("system-serial-number", uuid),
        ("system-uuid", uuid),
        ("baseboard-asset-tag", "i-0123456789abcdef0"),
        ("chassis-asset-tag", "Amazon EC2"),
        ("chassis-type", "Other"),
    ];
    for (keyword, value) in strings {
        assert_eq!(run(&["-s", keyword]).trim(), value, "{keyword}");
    }
}
