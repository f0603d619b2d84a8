//! What AAVMF and Linux do with the chips of Arm's board.

use super::{BYTE, DWORD, Seed, WORD};

const QWORD: u8 = 3;

fn pl011() -> Vec<Seed> {
    let write = |register: u8, value: u16| {
        let [low, high] = value.to_le_bytes();
        vec![1 | WORD << 2, register >> 2, low, high]
    };
    let read = |register: u8| vec![DWORD << 2, register >> 2];
    let typed = |text: &[u8]| [&[3 | u8::try_from(text.len()).unwrap() << 2], text].concat();
    let identity: Vec<u8> = (0x38..0x40).flat_map(|word| [BYTE << 2, word]).collect();
    let firmware = [
        identity,
        write(0x2c, 0),
        write(0x30, 0),
        write(0x24, 13),
        write(0x28, 1),
        write(0x04, 0),
        write(0x2c, 0x70),
        write(0x30, 0x301),
        read(0x18),
        write(0x00, u16::from(b'F')),
        typed(b"yes"),
        read(0x18),
        read(0x00),
    ];
    let kernel = [
        write(0x44, 0x7ff),
        write(0x34, 0x12),
        write(0x2c, 0x70),
        write(0x30, 0xf01),
        write(0x38, 0x50),
        typed(b"0123456789abcdefg"),
        read(0x40),
        [read(0x00), read(0x00), read(0x3c)].concat(),
        write(0x38, 0x70),
        write(0x00, u16::from(b'K')),
        write(0x44, 0x20),
        write(0x30, 0xf81),
        [write(0x00, 1), write(0x00, 2), read(0x00)].concat(),
        vec![2, b'x', 0x22, 1],
        write(0x2c, 0x60),
        read(0x18),
    ];
    vec![("firmware", firmware.concat()), ("kernel", kernel.concat())]
}

fn pl031() -> Vec<Seed> {
    let at = [&[2][..], &1_709_251_198_000_000u64.to_le_bytes()].concat();
    let write = |register: u8, value: u32| [&[1 | register][..], &value.to_le_bytes()].concat();
    let identity: Vec<u8> = (0x38..=0x3f).map(|word: u8| word << 2).collect();
    let alarm = [
        at.clone(),
        vec![0, 0x0c],
        write(0x04, 1_709_251_258),
        write(0x10, 1),
        vec![3, 0x14, 0x18],
        write(0x1c, 1),
        write(0x04, 1_709_251_260),
        vec![3],
        write(0x10, 0),
    ];
    let set = [
        identity,
        at,
        write(0x04, 5000),
        write(0x08, 4998),
        write(0x10, 1),
        vec![0, 8, 3, 6, 0xff, 0xff, 0, 3],
    ];
    vec![("alarm", alarm.concat()), ("set", set.concat())]
}

fn ecam() -> Vec<Seed> {
    let write = |register: u8, width: u8, value: &[u8]| [&[1 | width << 2, register][..], value].concat();
    let read = |register: u8, width: u8| vec![width << 2, register];
    let anywhere = |address: u32, width: u8| [&[0x80 | width << 2][..], &address.to_le_bytes()].concat();
    let window = |offset: u32, width: u8, value: &[u8]| {
        let [low, middle, high, _] = offset.to_le_bytes();
        [&[high << 4 | width << 2 | 3, low, middle][..], value].concat()
    };
    let scan = (0..32u32).flat_map(|slot| anywhere(slot << 15, DWORD));
    let odd = [
        anywhere(0x2_0100, DWORD),
        anywhere(0x12_0000, DWORD),
        anywhere(0x2_0003, WORD),
        anywhere(0x2_0000, QWORD),
        anywhere(0x2_1000, BYTE),
        anywhere(u32::MAX, BYTE),
    ];
    let start = [
        write(0x10, DWORD, &[0xff; 4]),
        read(0x10, DWORD),
        write(0x10, DWORD, &0x1001_0000u32.to_le_bytes()),
        write(0x14, DWORD, &0x1002_0000u32.to_le_bytes()),
        write(4, WORD, &[6, 0]),
        window(0x1_0014, BYTE, &[1]),
        window(0x1_0014, BYTE, &[3]),
        window(0x1_0008, DWORD, &[1, 0, 0, 0]),
        window(0x1_000c, DWORD, &[1, 0, 0, 0]),
        window(0x1_0014, BYTE, &[0x0b]),
        window(0x1_0014, BYTE, &[0]),
        write(4, WORD, &[0, 0]),
    ];
    vec![("odd", odd.concat()), ("scan", scan.collect()), ("start", start.concat())]
}

fn fw_cfg_mapped() -> Vec<Seed> {
    let select = |key: u16| [&[2][..], &key.to_le_bytes()].concat();
    let read = |width: u8, count: usize| vec![width << 2; count];
    let dma = |control: u32, length: u32, to: u64| {
        let mut step = vec![3, 0, 1];
        step.extend(control.to_be_bytes());
        step.extend(length.to_be_bytes());
        step.extend(to.to_be_bytes());
        step
    };
    let registers = [
        select(0),
        read(DWORD, 2),
        select(0x19),
        read(QWORD, 10),
        select(0x20),
        [read(BYTE, 1), read(WORD, 1), read(QWORD, 2)].concat(),
        vec![0x8c, 0x88, 0xa8],
        vec![0x89, 0, 0, 0, 0, 0xa9, 0, 0, 1, 0],
    ];
    let transfers = [
        dma(0x19 << 16 | 10, 4, 0x400),
        dma(0x21 << 16 | 10, 9000, 0x1000),
        dma(4, 100, 0),
        dma(2, 10_000, 0x2000),
        dma(0x20 << 16 | 26, 3, 0x2000),
        dma(0x21 << 16 | 10, u32::MAX, u64::MAX),
    ];
    vec![("dma", transfers.concat()), ("registers", registers.concat())]
}

pub(super) fn all() -> Vec<(&'static str, Vec<Seed>)> {
    vec![("ecam", ecam()), ("fw_cfg_mapped", fw_cfg_mapped()), ("pl011", pl011()), ("pl031", pl031())]
}
