//! The tables as a guest finds them: placed by the loader script, walked from the RSDP; and compiled by iasl.

use super::*;
use crate::aarch64::board::sample;
use crate::placement::{self, Zones};
use ami_run_memory::{Gpa, Memory, Range};
use std::process::Command;

const HIGH: Range = Range { start: 0x403f_0000, len: 0x1_0000 };
const FIRST: Range = Range { start: 0x4000_0000, len: 0x1000 };

fn walk(board: &Board) -> Vec<Vec<u8>> {
    let memory = Memory::new(&[Range::new(0x4000_0000, 0x40_0000)]).unwrap();
    let tables = tables(board);
    let zones = Zones { high: HIGH, f_segment: FIRST };
    let rsdp = placement::run(&tables.script, &tables.files, zones, &memory, RSDP).unwrap();
    let rsdp = read(&memory, rsdp.0, 36);
    assert!(rsdp.starts_with(b"RSD PTR ") && adds_up(&rsdp) && adds_up(&rsdp[..20]));
    assert_eq!((rsdp[15], number(&rsdp, 16), number(&rsdp, 20)), (2, 0, 36), "revision 2, no RSDT");
    let xsdt = table_at(&memory, wide(&rsdp, 24));
    let pointers: Vec<u64> = xsdt[36..].chunks(8).map(|pointer| wide(pointer, 0)).collect();
    let mut found = vec![xsdt];
    found.extend(pointers.iter().map(|pointer| table_at(&memory, *pointer)));
    let fadt = found.iter().find(|table| table.starts_with(b"FACP")).unwrap();
    let dsdt = table_at(&memory, wide(fadt, 140));
    let ssdt = found.iter().find(|table| table.starts_with(b"SSDT")).unwrap();
    let generation = u64::from(number(ssdt, 42));
    assert_eq!(read(&memory, generation + 40, 16), board.identity.generation);
    found.push(dsdt);
    found
}

fn read(memory: &Memory, address: u64, length: u32) -> Vec<u8> {
    let mut bytes = vec![0; length as usize];
    memory.read(Gpa(address), &mut bytes).unwrap();
    bytes
}

fn number(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(*bytes[offset..].first_chunk().unwrap())
}

fn wide(bytes: &[u8], offset: usize) -> u64 {
    u64::from_le_bytes(*bytes[offset..].first_chunk().unwrap())
}

fn adds_up(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

/// A whole table, its checksum and ids verified.
fn table_at(memory: &Memory, address: u64) -> Vec<u8> {
    assert!(HIGH.contains(address), "{address:#x}");
    let length = number(&read(memory, address, HEADER), 4);
    let bytes = read(memory, address, length);
    assert!(adds_up(&bytes), "{}", String::from_utf8_lossy(&bytes[..4]));
    assert_eq!(&bytes[10..20], b"AMAZONAMZN");
    assert_eq!(&bytes[28..32], b"AMZN");
    bytes
}

fn named(tables: &[Vec<u8>], signature: &[u8]) -> Vec<u8> {
    tables.iter().find(|table| table.starts_with(signature)).unwrap().clone()
}

#[test]
fn every_table_is_reached_from_the_rsdp() {
    let tables = walk(&sample::board());
    let names: Vec<&[u8]> = tables.iter().map(|table| &table[..4]).collect();
    assert_eq!(names, [b"XSDT", b"FACP", b"APIC", b"GTDT", b"MCFG", b"IORT", b"SPCR", b"SSDT", b"DSDT"]);
}

#[test]
fn the_fadt_leaves_all_to_psci() {
    let fadt = named(&walk(&sample::board()), b"FACP");
    assert_eq!((fadt.len(), fadt[8], fadt[131]), (276, 6, 3), "ACPI 6.3");
    assert_eq!(number(&fadt, 112), 1 << 20, "hardware-reduced");
    assert_eq!(fadt[129..131], [3, 0], "PSCI by HVC");
    assert_eq!((number(&fadt, 36), number(&fadt, 40), wide(&fadt, 132)), (0, 0, 0), "no FACS, one DSDT");
}

/// The MADT's structures as (type, content).
fn structures(madt: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut rest = &madt[44..];
    let mut found = Vec::new();
    while let [kind, length, ..] = rest {
        found.push((*kind, rest[..usize::from(*length)].to_vec()));
        rest = &rest[usize::from(*length)..];
    }
    found
}

#[test]
fn the_madt_lists_cpus_and_the_gic() {
    let mut board = sample::board();
    board.cpus = vec![0, 0x10f];
    let madt = named(&walk(&board), b"APIC");
    assert_eq!((madt[8], number(&madt, 36), number(&madt, 40)), (5, 0, 0));
    let found = structures(&madt);
    let kinds: Vec<(u8, usize)> = found.iter().map(|(kind, bytes)| (*kind, bytes.len())).collect();
    assert_eq!(kinds, [(0x0c, 24), (0x0b, 80), (0x0b, 80), (0x0e, 16), (0x0f, 20)]);
    let distributor = &found[0].1;
    assert_eq!((wide(distributor, 8), distributor[20]), (0x800_0000, 3));
    let cpu = &found[2].1;
    assert_eq!((number(cpu, 4), number(cpu, 8), number(cpu, 12), number(cpu, 20)), (1, 1, 1, 23));
    assert_eq!((wide(cpu, 60), wide(cpu, 68)), (0, 0x10f), "redistributor in its region; MPIDR");
    assert_eq!((wide(&found[3].1, 4), number(&found[3].1, 12)), (0x80a_0000, 0xf6_0000));
    assert_eq!((number(&found[4].1, 4), wide(&found[4].1, 8)), (0, 0x808_0000));
    board.pmu = false;
    assert_eq!(number(&structures(&named(&walk(&board), b"APIC"))[1].1, 20), 0);
}

#[test]
fn timers_configuration_space_and_messages_are_told() {
    let tables = walk(&sample::board());
    let gtdt = named(&tables, b"GTDT");
    assert_eq!((gtdt.len(), gtdt[8], wide(&gtdt, 36), wide(&gtdt, 80)), (104, 3, u64::MAX, u64::MAX));
    let timers: Vec<(u32, u32)> =
        (48..80).step_by(8).map(|at| (number(&gtdt, at), number(&gtdt, at + 4))).collect();
    assert_eq!(timers, [(29, 0), (30, 4), (27, 4), (26, 0)]);

    let mcfg = named(&tables, b"MCFG");
    assert_eq!((mcfg.len(), wide(&mcfg, 44), &mcfg[52..56]), (60, 0x3f00_0000, &[0, 0, 0, 15][..]));

    let iort = named(&tables, b"IORT");
    assert_eq!((number(&iort, 36), number(&iort, 40)), (2, 48));
    let (group, root) = (&iort[48..72], &iort[72..]);
    assert_eq!((group[0], group[1], number(group, 16), number(group, 20)), (0, 24, 1, 0));
    assert_eq!((root[0], usize::from(root[1]), number(root, 8), number(root, 12)), (2, root.len(), 1, 36));
    assert_eq!((number(root, 16), root[23], number(root, 28), root[32]), (1, 3, 0, 64));
    let mapping: Vec<u32> = (36..56).step_by(4).map(|at| number(root, at)).collect();
    assert_eq!(mapping, [0, 0xffff, 0, 48, 0], "every requester, as itself, to the ITS group");
}

#[test]
fn the_console_is_the_16550_or_else_the_pl011() {
    let mut board = sample::board();
    let spcr = named(&walk(&board), b"SPCR");
    assert_eq!(
        (spcr.len(), spcr[8], &spcr[36..44], wide(&spcr, 44)),
        (80, 2, &[0, 0, 0, 0, 0, 8, 0, 1][..], 0x90a_0000)
    );
    assert_eq!((spcr[52], number(&spcr, 54), spcr[58], number(&spcr, 64)), (8, 40, 7, u32::MAX));
    board.serial = None;
    let spcr = named(&walk(&board), b"SPCR");
    assert_eq!((&spcr[36..44], wide(&spcr, 44)), (&[3, 0, 0, 0, 0, 32, 0, 3][..], 0x900_0000));
    assert_eq!((spcr[52], number(&spcr, 54), spcr[58]), (8, 33, 0));
}

/// iasl reads every table back, and finds nothing to warn of in the sources of DSDT and SSDT; ACPICA's interpreter,
/// which is Linux's, finds what they say.
#[test]
fn iasl_accepts_the_tables() {
    if Command::new("iasl").arg("-v").output().is_err() {
        println!("skipped: iasl is not installed (package acpica-tools)");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let run = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).current_dir(folder.path()).output().unwrap();
        let text = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{text}");
        text
    };
    let source = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let mut board = sample::board();
    board.cpus = (0..123).collect();
    for serial in [None, board.serial] {
        board.serial = serial;
        for table in walk(&board) {
            let name = String::from_utf8_lossy(&table[..4]).into_owned();
            std::fs::write(folder.path().join(format!("{name}.aml")), table).unwrap();
            let text = run("iasl", &["-d", &format!("{name}.aml")]);
            assert!(!text.contains("Warning") && !text.contains("Error"), "{text}");
            let text = source(format!("{name}.dsl"));
            assert!(!text.contains("Unknown") && !text.contains("Invalid"), "{text}");
        }
        for name in ["DSDT", "SSDT"] {
            let text = run("iasl", &["-p", "again", &format!("{name}.dsl")]);
            assert!(text.contains("0 Errors, 0 Warnings"), "{text}");
        }
        let text = source("DSDT.dsl".to_owned());
        assert_eq!(
            (text.contains("PNP0501"), text.contains("ARMH0011")),
            (serial.is_some(), serial.is_none())
        );
    }
    let execute = |what: &str| run("acpiexec", &["-b", &format!("execute {what}"), "DSDT.aml", "SSDT.aml"]);
    for (name, value) in [("PCI0.SL05._SUN", 5), ("C07A._UID", 0x7a), ("PCI0._CCA", 1)] {
        let text = execute(&format!("\\_SB.{name}"));
        assert!(text.contains(&format!("[Integer] = {value:016X}")), "{name}: {text}");
    }
    // Slot 5's INTA is link A, which is the first of the four.
    let text = execute("\\_SB.PCI0._PRT");
    let entry = ["000000000005FFFF", "0000000000000000", "0000000000000000", "0000000000000023"];
    let numbers: Vec<&str> =
        text.lines().filter_map(|line| line.split_once("[Integer] = ")).map(|(_, n)| n.trim()).collect();
    assert!(numbers.windows(4).any(|four| four == entry), "{text}");
}
