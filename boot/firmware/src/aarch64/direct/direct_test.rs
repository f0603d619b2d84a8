//! Direct boot of kernels made for the test: what is loaded where, and what is said of bad files.
#![expect(clippy::arithmetic_side_effects, reason = "the numbers are the test's own")]

use super::*;
use crate::aarch64::board::sample as boards;
use crate::kernel::sample::{self, INTERESTING, Random, file, put, read};

const MIB: u64 = 1 << 20;
const RAM: u64 = 0x4000_0000;
const LENGTH: usize = 0x3000;
const SEED: Seed = [0x5e; _];

/// A kernel with EFI's sections that needs 3 MiB.
fn image() -> Vec<u8> {
    let mut bytes = vec![0xa5; LENGTH];
    bytes[..0x200].fill(0);
    put(&mut bytes, 0, b"MZ\x40\xfa");
    put(&mut bytes, 16, &(3 * MIB).to_le_bytes());
    put(&mut bytes, 24, &0xau64.to_le_bytes());
    put(&mut bytes, 0x38, b"ARM\x64");
    put(&mut bytes, 0x3c, &0x40u32.to_le_bytes());
    // Two sections, behind an optional header of 0xa0 bytes.
    put(&mut bytes, 0x40, b"PE\0\0\x64\xaa\x02\0");
    put(&mut bytes, 0x54, &[0xa0, 0]);
    for (at, start, length) in [(0xf8, 0x1000u32, 0x1000u32), (0x120, 0x2000, 0x1000)] {
        put(&mut bytes, at + 16, &[length, start].map(u32::to_le_bytes).concat());
    }
    bytes
}

fn image_with(offset: usize, value: u64) -> Vec<u8> {
    let mut bytes = image();
    put(&mut bytes, offset, &value.to_le_bytes());
    bytes
}

fn board(mib: u64) -> Board {
    Board { ram: vec![Range::new(RAM, mib * MIB)], flash: None, ..boards::board() }
}

fn boot(kernel: &[u8], initrd: Option<&[u8]>, mib: u64) -> Result<(Memory, Entry), FirmwareError> {
    let (kernel, initrd) = (file(kernel), initrd.map(file));
    let board = board(mib);
    let memory = Memory::new(&board.ram).unwrap();
    let direct = open(kernel.path(), initrd.as_ref().map(|file| file.path()), "console=ttyS0")?;
    Ok((memory.clone(), direct.load_with(&SEED, &memory, &board)?))
}

/// The device tree at x0.
fn tree(memory: &Memory, entry: Entry) -> Vec<u8> {
    let head = read(memory, entry.x0, 8);
    assert_eq!(head[..4], [0xd0, 0x0d, 0xfe, 0xed]);
    let size = u32::from_be_bytes(*head[4..].first_chunk().unwrap());
    read(memory, entry.x0, usize::try_from(size).unwrap())
}

#[test]
fn the_kernel_is_at_the_beginning_and_its_device_tree_behind_it() {
    let (memory, entry) = boot(&image(), None, 64).unwrap();
    assert_eq!(entry, Entry { pc: RAM, x0: RAM + 4 * MIB });
    assert_eq!(read(&memory, RAM, LENGTH + 1), [&image()[..], &[0]].concat());
    let board = board(64);
    let expected =
        device_tree(&board, Reader::Kernel { command_line: "console=ttyS0", initrd: None, seed: &SEED });
    assert_eq!(tree(&memory, entry), expected.unwrap());
}

#[test]
fn the_initrd_is_at_the_end_and_the_device_tree_says_where() {
    let (memory, entry) = boot(&image(), Some(&[7; 5000]), 64).unwrap();
    let start = RAM + 64 * MIB - 2 * 4096;
    assert_eq!(read(&memory, start, 5001), [vec![7; 5000], vec![0]].concat());
    let initrd = Some(Range::new(start, 5000));
    let expected =
        device_tree(&board(64), Reader::Kernel { command_line: "console=ttyS0", initrd, seed: &SEED });
    assert_eq!(tree(&memory, entry), expected.unwrap());
}

#[test]
fn an_older_kernel_has_an_offset_of_its_own() {
    let (memory, entry) = boot(&image_with(8, 0x8_0000), None, 64).unwrap();
    assert_eq!(entry, Entry { pc: RAM + 0x8_0000, x0: RAM + 4 * MIB });
    assert_eq!(read(&memory, entry.pc, LENGTH), image_with(8, 0x8_0000));
    // What is left of the last 2 MiB may be nothing.
    let (_, entry) = boot(&image_with(8, 0x10_0000), None, 64).unwrap();
    assert_eq!(entry.x0, RAM + 4 * MIB);
}

#[test]
fn a_file_that_is_longer_than_the_kernel_says_is_not_overwritten() {
    let mut kernel = image_with(16, 0x3000);
    kernel.resize(usize::try_from(2 * MIB).unwrap() + 1, 9);
    let (memory, entry) = boot(&kernel, None, 64).unwrap();
    assert_eq!(entry.x0, RAM + 4 * MIB);
    assert_eq!(read(&memory, RAM + 2 * MIB, 2), [9, 0]);
}

#[test]
fn a_second_load_after_a_reset_is_the_same_but_for_its_seed() {
    let kernel = file(&image());
    let board = board(64);
    let memory = Memory::new(&board.ram).unwrap();
    let direct = open(kernel.path(), None, "").unwrap();
    let first = direct.load(&memory, &board).unwrap();
    let bytes = tree(&memory, first);
    memory.clear();
    assert_eq!(direct.load(&memory, &board).unwrap(), first);
    let again = tree(&memory, first);
    let differ = (0..bytes.len()).filter(|at| bytes[*at] != again[*at]).collect::<Vec<_>>();
    // Forty random bytes seldom have many in common; between the two properties are only a length and a name.
    assert!(again.len() == bytes.len() && (30..=40).contains(&differ.len()), "{differ:?}");
    assert!(differ[differ.len() - 1] - differ[0] < 52, "{differ:?}");
    assert_eq!(read(&memory, first.pc, LENGTH), image());
}

#[test]
fn too_little_memory_says_how_much_is_needed() {
    let kernel = boot(&image(), None, 5).unwrap_err().to_string();
    assert!(
        kernel.contains("kernel") && kernel.contains("needs 6 MiB") && kernel.contains("has 5"),
        "{kernel}"
    );
    boot(&image(), None, 6).unwrap();
    let content = vec![1; usize::try_from(2 * MIB).unwrap()];
    let initrd = boot(&image(), Some(&content), 7).unwrap_err().to_string();
    assert!(initrd.contains("initrd") && initrd.contains("needs 8 MiB"), "{initrd}");
    boot(&image(), Some(&content), 8).unwrap();
}

#[test]
fn an_initrd_that_no_window_holds_is_too_big() {
    let initrd = file(&[1]);
    let place = |length: u64, end: u64| {
        let source = Source { length, ..Source::open(initrd.path(), "").unwrap() };
        let ram = Range::new(RAM, end - RAM);
        place_initrd(&source, RAM + 6 * MIB, ram, &board(64))
    };
    // The window ends 32 GiB above the first GiB.
    let gib = 1u64 << 30;
    assert_eq!(place(4096, 40 * gib).unwrap(), Range::new(33 * gib - 4096, 4096));
    assert_eq!(place(32 * gib - 6 * MIB, 40 * gib).unwrap().start, RAM + 6 * MIB);
    let error = place(32 * gib - 6 * MIB + 1, 40 * gib).unwrap_err().to_string();
    assert!(error.contains("has 32763 MiB, and the kernel can take 32762 MiB"), "{error}");
}

#[test]
fn the_command_line_has_a_limit_and_no_nul() {
    sample::the_command_line_has_a_limit_and_no_nul(&image(), open);
}

#[test]
fn files_that_are_no_kernels_are_told_apart() {
    let with = |offset: usize, magic: &[u8]| {
        let mut bytes = vec![0; 1024];
        put(&mut bytes, offset, magic);
        bytes
    };
    let pe = |machine: &[u8], zboot: &[u8]| {
        let mut bytes = with(0, b"MZ");
        put(&mut bytes, 4, zboot);
        put(&mut bytes, 0x3c, &[0x80, 0, 0, 0]);
        put(&mut bytes, 0x80, &[b"PE\0\0", machine].concat());
        bytes
    };
    let elf = |machine: u8| [b"\x7fELF\x02\x01\x01", &[0; 9][..], &[2, 0, machine, 0]].concat();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "it is an empty file; name an Image"),
        (b"#!/bin/sh\n".to_vec(), "neither of the known kinds; name an Image"),
        (with(0x202, b"HdrS"), "made for x86; name one that is made for arm64"),
        (elf(62), "made for x86_64; name one that is made for arm64"),
        (elf(183), "an ELF file (a vmlinux), which no arm64 machine starts; name an Image"),
        (elf(99), "another CPU (ELF machine 99)"),
        (with(0x38, b"RSC\x05"), "made for riscv64"),
        (pe(&[0x64, 0x86], b""), "made for x86_64"),
        (pe(&[0x64, 0xaa], b""), "an EFI program (a unified"),
        (pe(&[0x64, 0xaa], b"zimg"), "an EFI program that unpacks its kernel by itself (zboot)"),
        (pe(&[0x64, 0x50], b"zimg"), "made for riscv64"),
        (with(0, b"\x1f\x8b"), "unpack it with gunzip"),
        (with(0, b"\x28\xb5\x2f\xfd"), "unpack it with unzstd"),
        (with(0x1fe, b"\x55\xaa"), "a boot sector or a disk"),
        (image_with(16, 0), "an old kernel (from before Linux 3.17)"),
    ];
    for (bytes, expected) in cases {
        let file = file(&bytes);
        let text = open(file.path(), None, "").unwrap_err().to_string();
        let path = file.path().display().to_string();
        assert!(text.contains(expected) && text.contains(&path), "{text}, not {expected}");
    }
}

#[test]
fn damaged_headers_are_told() {
    let impossible = "asks for an impossible place in memory";
    let cases = [
        (image()[..0x3e].to_vec(), "ends within its header"),
        (image()[..LENGTH - 1].to_vec(), "ends within the section that begins at 0x2000"),
        (image()[..0x1800].to_vec(), "ends within the section that begins at 0x1000"),
        (image()[..0x100].to_vec(), "ends within its header"),
        (image_with(8, 2 * MIB), impossible),
        (image_with(8, u64::MAX), impossible),
        (image_with(16, u64::MAX), impossible),
        (image_with(16, 510 * MIB + 1), impossible),
    ];
    for (bytes, expected) in cases {
        let text = open(file(&bytes).path(), None, "").unwrap_err().to_string();
        assert!(text.contains(expected) && text.contains("copy or build it again"), "{text}, not {expected}");
    }
    open(file(&image_with(16, 510 * MIB)).path(), None, "").unwrap();
    // A kernel without the EFI stub has no sections.
    let mut plain = image_with(0x3c, 0);
    plain.truncate(0x1000);
    open(file(&plain).path(), None, "").unwrap();
}

#[test]
fn paths_that_are_no_files_are_told() {
    sample::paths_that_are_no_files_are_told(&image(), open);
}

#[test]
fn ten_thousand_mutated_kernels_are_answered() {
    let board = board(32);
    let memory = Memory::new(&board.ram).unwrap();
    let kernel = |_, random: &mut Random| {
        let mut bytes = image();
        for _ in 0..=random.below(6) {
            bytes[random.below(0x150)] = INTERESTING[random.below(INTERESTING.len())];
        }
        bytes
    };
    sample::ten_thousand_are_answered(kernel, |path| {
        open(path, None, "").is_ok_and(|direct| direct.load(&memory, &board).is_ok())
    });
}
