//! The tables as a guest finds them: placed by the loader script, walked from the RSDP; and compiled by iasl.

use super::*;
use crate::FirmwareError;
use crate::board::sample;
use crate::placement::{self, Zones};
use ami_run_memory::{Gpa, Memory, Range};
use std::process::Command;

const HIGH: Range = Range { start: 0x3f_0000, len: 0x1_0000 };
const F_SEGMENT: Range = Range { start: 0xf_0000, len: 0x1_0000 };

fn memory() -> Memory {
    Memory::new(&[Range::new(0, 0x40_0000)]).unwrap()
}

fn place(board: &Board, memory: &Memory, high: Range) -> Result<Gpa, FirmwareError> {
    let tables = tables(board);
    placement::run(&tables.script, &tables.files, Zones { high, f_segment: F_SEGMENT }, memory, RSDP)
}

fn read(memory: &Memory, address: u64, length: u32) -> Vec<u8> {
    let mut bytes = vec![0; length as usize];
    memory.read(Gpa(address), &mut bytes).unwrap();
    bytes
}

fn number(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(*bytes[offset..].first_chunk().unwrap())
}

fn adds_up(bytes: &[u8]) -> bool {
    bytes.iter().fold(0u8, |sum, byte| sum.wrapping_add(*byte)) == 0
}

/// A whole table, its checksum and ids verified.
fn table_at(memory: &Memory, address: u32) -> Vec<u8> {
    assert!(HIGH.contains(u64::from(address)), "{address:#x}");
    let length = number(&read(memory, u64::from(address), HEADER), 4);
    let bytes = read(memory, u64::from(address), length);
    assert!(adds_up(&bytes), "{}", String::from_utf8_lossy(&bytes[..4]));
    assert_eq!(&bytes[10..20], b"AMAZONAMZN");
    assert_eq!(&bytes[28..32], b"AMZN");
    bytes
}

/// All tables that the RSDP leads to, the RSDT first.
fn walk(memory: &Memory, rsdp: Gpa) -> Vec<Vec<u8>> {
    assert!(F_SEGMENT.contains(rsdp.0) && rsdp.0.is_multiple_of(16));
    let rsdp = read(memory, rsdp.0, fixed::RSDP_LENGTH);
    assert!(rsdp.starts_with(b"RSD PTR ") && adds_up(&rsdp));
    let rsdt = table_at(memory, number(&rsdp, 16));
    let pointers: Vec<u32> = rsdt[36..].chunks(4).map(|pointer| number(pointer, 0)).collect();
    let mut found = vec![rsdt];
    for pointer in pointers {
        found.push(table_at(memory, pointer));
    }
    found
}

fn named(tables: &[Vec<u8>], signature: &[u8]) -> Vec<u8> {
    tables.iter().find(|table| table.starts_with(signature)).unwrap().clone()
}

#[test]
fn every_table_is_reached_from_the_rsdp() {
    let (board, memory) = (sample::board(), memory());
    let tables = walk(&memory, place(&board, &memory, HIGH).unwrap());
    let names: Vec<&[u8]> = tables.iter().map(|table| &table[..4]).collect();
    assert_eq!(names, [b"RSDT", b"FACP", b"APIC", b"WAET", b"SSDT"]);

    let fadt = named(&tables, b"FACP");
    assert_eq!(fadt.len(), 244);
    let facs_address = number(&fadt, 36);
    let facs = read(&memory, u64::from(facs_address), 64);
    assert!(facs.starts_with(b"FACS") && number(&facs, 4) == 64 && facs_address.is_multiple_of(64));
    assert!(table_at(&memory, number(&fadt, 40)).starts_with(b"DSDT"));
    assert_eq!(number(&named(&tables, b"WAET"), 36), 2);
}

#[test]
fn the_fadt_describes_the_power_hardware() {
    let (mut board, memory) = (sample::board(), memory());
    board.power.pm_base = 0xb000;
    let fadt = named(&walk(&memory, place(&board, &memory, HIGH).unwrap()), b"FACP");
    assert_eq!(fadt[46], 9, "SCI");
    assert_eq!(number(&fadt, 48), 0, "SMI_CMD");
    assert_eq!((number(&fadt, 56), number(&fadt, 64), number(&fadt, 76)), (0xb000, 0xb004, 0xb008));
    assert_eq!((fadt[88], fadt[89], fadt[91]), (4, 2, 4));
    assert_eq!(number(&fadt, 112), 1 | 1 << 2 | 1 << 5 | 1 << 6 | 1 << 10);
    assert_eq!(fadt[116..129], [1, 8, 0, 1, 0xf9, 0x0c, 0, 0, 0, 0, 0, 0, 6]);
    assert_eq!(fadt[109..111], [4, 0], "IAPC_BOOT_ARCH");
}

/// The MADT's structures as (type, content).
fn structures(madt: &[u8]) -> Vec<(u8, Vec<u8>)> {
    let mut rest = &madt[44..];
    let mut found = Vec::new();
    while let [kind, length, ..] = rest {
        found.push((*kind, rest[2..usize::from(*length)].to_vec()));
        rest = &rest[usize::from(*length)..];
    }
    found
}

#[test]
fn the_madt_lists_cpus_and_interrupts() {
    let (board, memory) = (sample::board(), memory());
    let madt = named(&walk(&memory, place(&board, &memory, HIGH).unwrap()), b"APIC");
    assert_eq!((number(&madt, 36), number(&madt, 40)), (0xfee0_0000, 1));
    let expected = vec![
        (0, vec![0, 0, 1, 0, 0, 0]),
        (0, vec![1, 1, 1, 0, 0, 0]),
        (1, vec![0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0]),
        (2, vec![0, 0, 2, 0, 0, 0, 0, 0]),
        (2, vec![0, 9, 9, 0, 0, 0, 0x0d, 0]),
        (2, vec![0, 10, 10, 0, 0, 0, 0x0d, 0]),
        (2, vec![0, 11, 11, 0, 0, 0, 0x0d, 0]),
        (4, vec![0xff, 0, 0, 1]),
    ];
    assert_eq!(structures(&madt), expected);
}

#[test]
fn apic_ids_of_more_than_a_byte_get_x2apic_structures() {
    let (mut board, memory) = (sample::board(), memory());
    board.cpus = (0..300).collect();
    let madt = named(&walk(&memory, place(&board, &memory, HIGH).unwrap()), b"APIC");
    let count = |kind| structures(&madt).iter().filter(|(found, _)| *found == kind).count();
    assert_eq!((count(0), count(9), count(4), count(10)), (255, 45, 1, 1));
}

#[test]
fn the_generation_id_is_where_its_device_says() {
    let (board, memory) = (sample::board(), memory());
    let ssdt = named(&walk(&memory, place(&board, &memory, HIGH).unwrap()), b"SSDT");
    assert_eq!(&ssdt[36..42], b"\x08VGIA\x0c");
    let page = u64::from(number(&ssdt, 42));
    assert!(HIGH.contains(page) && page.is_multiple_of(4096), "{page:#x}");
    // edk2 must not take it for a table.
    assert_eq!(read(&memory, page, 40), [0; 40]);
    assert_eq!(read(&memory, page + 40, 16), board.identity.generation);
    assert_eq!(read(&memory, page + 56, 4096 - 56), [0; 4096 - 56]);
}

#[test]
fn a_zone_that_is_too_small_is_an_error() {
    let result = place(&sample::board(), &memory(), Range::new(0x3f_0000, 0x100));
    assert!(matches!(result, Err(FirmwareError::Tables(_))));
}

#[test]
fn a_wrong_script_is_an_error_whatever_it_says() {
    let (board, memory) = (sample::board(), memory());
    let good = tables(&board);
    let zones = Zones { high: HIGH, f_segment: F_SEGMENT };
    for length in (0..good.script.len()).step_by(31) {
        let cut = placement::run(&good.script[..length], &good.files, zones, &memory, RSDP);
        assert!(cut.is_err() || length % 128 == 0);
    }
    for position in 0..good.script.len() {
        for value in [0, 1, 0x7f, 0xff] {
            let mut script = good.script.clone();
            script[position] = value;
            // Any answer will do, as long as there is one.
            drop(placement::run(&script, &good.files, zones, &memory, RSDP));
        }
    }
}

/// iasl reads every table back, and finds nothing to warn of in the sources of DSDT and SSDT.
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
    let (mut board, memory) = (sample::board(), memory());
    board.cpus = (0..300).collect();
    let tables = walk(&memory, place(&board, &memory, HIGH).unwrap());
    let dsdt = table_at(&memory, number(&named(&tables, b"FACP"), 40));
    for table in tables.iter().chain([&dsdt]) {
        let name = String::from_utf8_lossy(&table[..4]).into_owned();
        std::fs::write(folder.path().join(format!("{name}.aml")), table).unwrap();
        let text = run("iasl", &["-d", &format!("{name}.aml")]);
        assert!(!text.contains("Warning") && !text.contains("Error"), "{text}");
    }
    for name in ["DSDT", "SSDT"] {
        let text = run("iasl", &["-p", "again", &format!("{name}.dsl")]);
        assert!(text.contains("0 Errors, 0 Warnings"), "{text}");
    }
    let source = |name| std::fs::read_to_string(folder.path().join(name)).unwrap();
    let clock =
        source("DSDT.dsl").split_once("PNP0B00").unwrap().1.split_once("Device (").unwrap().0.to_owned();
    let words: Vec<&str> = clock.split_whitespace().collect();
    let irq = [
        "Interrupt",
        "(ResourceConsumer,",
        "Edge,",
        "ActiveHigh,",
        "Exclusive,",
        ",,",
        ")",
        "{",
        "0x00000008,",
    ];
    assert!(clock.contains("0x0070") && words.windows(irq.len()).any(|words| words == irq), "{clock}");
    // ACPICA's interpreter, which is Linux's, calls ADDR.
    let text = run("acpiexec", &["-b", "execute \\_SB.VMGN.ADDR", "DSDT.aml", "SSDT.aml"]);
    let address = number(&named(&tables, b"SSDT"), 42) + 40;
    let expected = format!("[Integer] = {address:016X}\n    [Integer] = {:016X}\n", 0);
    assert!(text.contains(&expected), "{expected}: {text}");
    for (name, value) in [("_SUN", 5), ("_ADR", 0x5_0000)] {
        let text =
            run("acpiexec", &["-b", &format!("execute \\_SB.PCI0.SL05.{name}"), "DSDT.aml", "SSDT.aml"]);
        assert!(text.contains(&format!("[Integer] = {value:016X}")), "{name} of the network's slot: {text}");
    }
}
