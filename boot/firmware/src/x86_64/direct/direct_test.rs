//! Direct boot of kernels made for the test: what is loaded where, and what is said of bad files.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "the numbers are the test's own"
)]

use super::spec::{Module, NOTE_NAME, NOTE_PHYS32_ENTRY, ProgramHeader, SETUP_HEADER, StartInfo};
use super::*;
use crate::board::sample as boards;
use crate::kernel::sample::{self, INTERESTING, Random, file, put, read};
use zerocopy::IntoBytes;

const MIB: u64 = 1 << 20;
const CODE: &[u8] = b"\xb0A\xba\xf8\x03\0\0\xee\xf4";

fn segment(kind: u32, address: u64, offset: u64, file: u64, memory: u64) -> Vec<u8> {
    let header = ProgramHeader {
        kind: kind.into(),
        flags: 7.into(),
        offset: offset.into(),
        virtual_address: address.into(),
        address: address.into(),
        file_size: file.into(),
        memory_size: memory.into(),
        align: 4.into(),
    };
    header.as_bytes().to_vec()
}

/// Code at 1 MiB, and a PVH note after another note.
fn elf(pvh: bool) -> Vec<u8> {
    let mut bytes = vec![0; 0x200];
    put(&mut bytes, 0, b"\x7fELF\x02\x01\x01");
    put(&mut bytes, 16, &[2, 0, 62, 0, 1, 0, 0, 0]);
    put(&mut bytes, 24, &MIB.to_le_bytes());
    put(&mut bytes, 32, &64u64.to_le_bytes());
    put(&mut bytes, 52, &[64, 0, 56, 0, 3, 0]);
    let mut notes = [[3u32, 1, 5].map(u32::to_le_bytes).concat(), b"Xe\0\0x\0\0\0".to_vec()].concat();
    if pvh {
        let header = [NOTE_NAME.len() as u32, 4, NOTE_PHYS32_ENTRY].map(u32::to_le_bytes).concat();
        notes.extend([&header[..], NOTE_NAME, &(MIB as u32 + 2).to_le_bytes()].concat());
    }
    put(&mut bytes, 64, &segment(spec::SEGMENT_LOAD, MIB, 0x1c0, 9, 0x3000));
    put(&mut bytes, 120, &segment(spec::SEGMENT_NOTE, 0, 0x180, notes.len() as u64, notes.len() as u64));
    put(&mut bytes, 176, &segment(spec::SEGMENT_NOTE, 0, 0x180, 20, 20));
    put(&mut bytes, 0x180, &notes);
    put(&mut bytes, 0x1c0, CODE);
    bytes
}

/// A bzImage that unpacks to 16 MiB and needs 8 MiB there.
fn bzimage() -> Vec<u8> {
    let mut bytes = vec![0; 3 * 512 + 4096];
    let mut header = bzimage::minimal_header();
    header.setup_sects = 2;
    header.code32_start = (MIB as u32).into();
    header.initrd_addr_max = 0x7fff_ffff.into();
    header.kernel_alignment = 0x20_0000.into();
    header.relocatable_kernel = 1;
    header.cmdline_size = 2047.into();
    header.payload_offset = 64.into();
    header.payload_length = 4000.into();
    header.pref_address = (16 * MIB).into();
    header.init_size = (8 * MIB as u32).into();
    put(&mut bytes, SETUP_HEADER, header.as_bytes());
    put(&mut bytes, 3 * 512, CODE);
    bytes
}

fn board(mib: u64) -> Board {
    Board { ram: vec![Range::new(0, mib * MIB)], ..boards::board() }
}

fn boot(kernel: &[u8], initrd: Option<&[u8]>, mib: u64) -> Result<(Memory, Entry), FirmwareError> {
    let (kernel, initrd) = (file(kernel), initrd.map(file));
    let board = board(mib);
    let memory = Memory::new(&board.ram).unwrap();
    let direct = open(kernel.path(), initrd.as_ref().map(|file| file.path()), "console=ttyS0")?;
    Ok((memory.clone(), direct.load(&memory, &board)?))
}

fn number(memory: &Memory, address: u64) -> u64 {
    u64::from(memory.read_record::<u32>(Gpa(address)).unwrap())
}

#[test]
fn a_pvh_kernel_gets_start_info_initrd_and_tables() {
    let (memory, entry) = boot(&elf(true), Some(b"cpio"), 64).unwrap();
    assert_eq!(entry.protocol, Protocol::Pvh);
    assert_eq!((entry.registers.rip, entry.registers.rflags), (MIB + 2, 2));
    assert_eq!((entry.registers.cr0 & 1, entry.registers.cr0 >> 31, entry.registers.efer), (1, 0, 0));
    assert_eq!((entry.code.db, entry.code.l), (1, 0));
    assert_eq!(read(&memory, MIB, 9), CODE);

    let info: StartInfo = memory.read_record(Gpa(entry.registers.rbx)).unwrap();
    assert_eq!((info.magic.get(), info.version.get(), info.modules.get()), (0x336e_c578, 1, 1));
    assert_eq!(read(&memory, info.command_line.get(), 14), b"console=ttyS0\0");
    assert_eq!(read(&memory, info.rsdp.get(), 8), b"RSD PTR ");
    let module: Module = memory.read_record(Gpa(info.module_list.get())).unwrap();
    assert_eq!(read(&memory, module.address.get(), 4), b"cpio");
    assert_eq!((module.size.get(), module.address.get() % 4096), (4, 0));
    assert_eq!(info.memory_map_entries.get(), 5);
    assert_eq!(read(&memory, 0xf_8000, 4), b"_SM_");
    assert_eq!(read(&memory, number(&memory, 0xf_8018) + 24, 11), b"Amazon EC2\0");
    let rsdt = number(&memory, info.rsdp.get() + 16);
    assert_eq!(read(&memory, rsdt, 4), b"RSDT");
    assert!(module.address.get() + 4096 <= rsdt && rsdt < 64 * MIB);
}

#[test]
fn an_elf_kernel_without_the_note_starts_in_64_bit_mode() {
    let (memory, entry) = boot(&elf(false), None, 64).unwrap();
    assert_eq!((entry.protocol, entry.registers.rip), (Protocol::Linux64, MIB));
    assert_eq!((entry.code.db, entry.code.l, entry.registers.efer), (0, 1, 0x500));
    assert_eq!(read(&memory, entry.registers.rsi + 0x202, 4), b"HdrS");
    assert_eq!(number(&memory, entry.registers.rsi + 0x218), 0, "no initrd");
}

#[test]
fn a_bzimage_gets_a_zero_page() {
    let (memory, entry) = boot(&bzimage(), Some(&[7; 5000]), 64).unwrap();
    assert_eq!((entry.protocol, entry.registers.rip), (Protocol::Linux32, MIB));
    assert_eq!(read(&memory, MIB, 9), CODE);
    let page = entry.registers.rsi;
    assert_eq!(read(&memory, page + 0x1e8, 1), [5], "memory map entries");
    assert_eq!(read(&memory, page + 0x210, 1), [0xff], "type of loader");
    assert_eq!(read(&memory, number(&memory, page + 0x228), 14), b"console=ttyS0\0");
    let (initrd, size) = (number(&memory, page + 0x218), number(&memory, page + 0x21c));
    assert_eq!(size, 5000);
    assert_eq!(read(&memory, initrd, 5001), [vec![7; 5000], vec![0]].concat());
    assert!(initrd % 4096 == 0 && initrd > 60 * MIB);
    assert_eq!(read(&memory, number(&memory, page + 0x70), 8), b"RSD PTR ");
}

#[test]
fn a_second_load_after_a_reset_is_the_same() {
    let kernel = file(&bzimage());
    let board = board(64);
    let memory = Memory::new(&board.ram).unwrap();
    let direct = open(kernel.path(), None, "").unwrap();
    let first = direct.load(&memory, &board).unwrap();
    let page = read(&memory, first.registers.rsi, 4096);
    memory.clear();
    assert_eq!(direct.load(&memory, &board).unwrap(), first);
    assert_eq!(read(&memory, first.registers.rsi, 4096), page);
}

#[test]
fn the_initrd_stays_below_what_the_kernel_can_reach() {
    let mut kernel = bzimage();
    put(&mut kernel, 0x22c, &(0x37f_ffffu32).to_le_bytes());
    let (memory, entry) = boot(&kernel, Some(&[7; 5000]), 128).unwrap();
    assert_eq!(number(&memory, entry.registers.rsi + 0x218), 56 * MIB - 8192);
    put(&mut kernel, 0x22c, &(0x180_0fffu32).to_le_bytes());
    let error = boot(&kernel, Some(&[7; 5000]), 128).unwrap_err().to_string();
    assert!(error.contains("can take 0 MiB of it at most"), "{error}");
}

#[test]
fn too_little_memory_says_how_much_is_needed() {
    let kernel = boot(&bzimage(), None, 16).unwrap_err().to_string();
    assert!(
        kernel.contains("kernel") && kernel.contains("needs 25 MiB") && kernel.contains("has 16"),
        "{kernel}"
    );
    boot(&bzimage(), None, 25).unwrap();
    let initrd = boot(&bzimage(), Some(&vec![1; 2 * MIB as usize]), 25).unwrap_err().to_string();
    assert!(initrd.contains("initrd") && initrd.contains("needs 27 MiB"), "{initrd}");
    boot(&bzimage(), Some(&vec![1; 2 * MIB as usize]), 27).unwrap();
}

#[test]
fn the_command_line_has_a_limit_and_no_nul() {
    sample::the_command_line_has_a_limit_and_no_nul(&bzimage(), open);
}

#[test]
fn files_that_are_no_kernels_are_told_apart() {
    let with = |offset: usize, magic: &[u8]| {
        let mut bytes = vec![0; 1024];
        put(&mut bytes, offset, magic);
        bytes
    };
    let pe = |machine: &[u8]| {
        let mut bytes = with(0, b"MZ");
        put(&mut bytes, 0x3c, &[0x80, 0, 0, 0]);
        put(&mut bytes, 0x80, &[b"PE\0\0", machine].concat());
        bytes
    };
    let changed = |offset: usize, value: &[u8]| {
        let mut bytes = elf(true);
        put(&mut bytes, offset, value);
        bytes
    };
    let mut old = bzimage();
    put(&mut old, 0x206, &[2, 2]);
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "it is an empty file"),
        (b"#!/bin/sh\n".to_vec(), "neither of the known kinds"),
        (with(0x38, b"ARM\x64"), "made for arm64"),
        (with(0x38, b"RSC\x05"), "made for riscv64"),
        (pe(&[0x64, 0xaa]), "made for arm64"),
        (pe(&[0x64, 0x86]), "an EFI program"),
        (with(0, b"\x1f\x8b"), "unpack it with gunzip"),
        (with(0, b"\x28\xb5\x2f\xfd"), "unpack it with unzstd"),
        (with(0x1fe, b"\x55\xaa"), "a boot sector or a disk"),
        (changed(18, &[183, 0]), "made for arm64"),
        (changed(18, &[99, 0]), "another CPU (ELF machine 99)"),
        (changed(4, &[1]), "made for 32-bit x86"),
        (changed(16, &[1, 0]), "an ELF file that cannot be run"),
        (old, "an old kernel (boot protocol 2.02)"),
    ];
    for (bytes, expected) in cases {
        let file = file(&bytes);
        let text = open(file.path(), None, "").unwrap_err().to_string();
        assert!(text.contains(expected) && text.contains(&file.path().display().to_string()), "{text}");
    }
}

#[test]
fn damaged_headers_are_told() {
    let elf_with = |offset: usize, value: u64| {
        let mut bytes = elf(true);
        put(&mut bytes, offset, &value.to_le_bytes());
        bytes
    };
    let cases = [
        (elf(true)[..100].to_vec(), "ends before its program headers do"),
        (elf(true)[..0x1c4].to_vec(), "ends within one of its segments"),
        (elf_with(64 + 8, u64::MAX), "ends within one of its segments"),
        (elf_with(64 + 24, 0x1000), "not between 1 MiB and 2 GiB"),
        (elf_with(64 + 40, u64::MAX - 5), "not between 1 MiB and 2 GiB"),
        (elf_with(64 + 40, 4), "more bytes in the file than in memory"),
        (elf_with(64 + 24, 0x20_0000), "entry point 0x100002 is in none of its segments"),
        (elf_with(32, 5), "lie within its file header"),
        (bzimage()[..0x210].to_vec(), "ends within its header"),
        (bzimage()[..3 * 512].to_vec(), "ends before its 32-bit code"),
        (bzimage()[..3 * 512 + 4000].to_vec(), "ends within the compressed kernel"),
    ];
    for (bytes, expected) in cases {
        let text = open(file(&bytes).path(), None, "").unwrap_err().to_string();
        assert!(text.contains(expected), "{text}, not {expected}");
    }
}

#[test]
fn paths_that_are_no_files_are_told() {
    sample::paths_that_are_no_files_are_told(&bzimage(), open);
}

#[test]
fn ten_thousand_mutated_kernels_are_answered() {
    let board = board(32);
    let memory = Memory::new(&board.ram).unwrap();
    let kernels = [elf(true), elf(false), bzimage()];
    let kernel = |round: usize, random: &mut Random| {
        let mut bytes = kernels[round % 3].clone();
        let header = if round % 3 == 2 { SETUP_HEADER..SETUP_HEADER + 123 } else { 0..0x1c0 };
        for _ in 0..=random.below(6) {
            let at = header.start + random.below(header.len());
            bytes[at] = match random.below(3) {
                0 => random.below(256) as u8,
                _ => INTERESTING[random.below(INTERESTING.len())],
            };
        }
        bytes
    };
    sample::ten_thousand_are_answered(kernel, |path| {
        open(path, None, "").is_ok_and(|direct| direct.load(&memory, &board).is_ok())
    });
}
