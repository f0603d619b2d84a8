//! The corpus is made here, by what firmware and drivers do. With AMI_RUN_FUZZ_WRITE_SEEDS set it is written, else it
//! is compared, so that it cannot grow stale. Finds of a fuzzer may lie beside it.
#![expect(clippy::unwrap_used, reason = "a test: what does not fit fails it")]

use std::path::Path;

type Seed = (&'static str, Vec<u8>);

/// Steps of the PCI target.
fn config_write(register: u8, width: u8, value: &[u8]) -> Vec<u8> {
    [&[0x80 | (4 + (register & 3)) << 4 | width << 2 | 1, register][..], value].concat()
}

fn config_read(register: u8, width: u8) -> Vec<u8> {
    vec![0x80 | (4 + (register & 3)) << 4 | width << 2, register]
}

fn window_write(offset: u32, width: u8, value: &[u8]) -> Vec<u8> {
    let [low, middle, high, _] = offset.to_le_bytes();
    [&[high << 4 | width << 2 | 3, low, middle][..], value].concat()
}

fn window_read(offset: u32, width: u8) -> Vec<u8> {
    let [low, middle, high, _] = offset.to_le_bytes();
    vec![high << 4 | width << 2 | 2, low, middle]
}

const BYTE: u8 = 0;
const WORD: u8 = 1;
const DWORD: u8 = 2;

fn dword_in_window(offset: u32, value: u32) -> Vec<u8> {
    window_write(offset, DWORD, &value.to_le_bytes())
}

fn pci_config() -> Vec<Seed> {
    let sizing = (0x10..0x28)
        .step_by(4)
        .flat_map(|bar| [config_write(bar, DWORD, &[0xff; 4]), config_read(bar, DWORD)].concat());
    let walk = (0..=252).step_by(4).flat_map(|register| config_read(register, DWORD));
    let bridges = [0x8000_0800u32, 0x8000_0860, 0x8000_0b40, 0x8000_0058]
        .into_iter()
        .flat_map(|address| [&[9][..], &address.to_le_bytes(), &[0x48], &[0x49, 10, 10, 11, 11]].concat());
    let mut start = config_write(0x10, DWORD, &0xc001_0000u32.to_le_bytes());
    start.extend(config_write(0x14, DWORD, &0xc002_0000u32.to_le_bytes()));
    start.extend(config_write(4, WORD, &[6, 0]));
    start.extend(config_write(0x42, WORD, &[0, 0x80]));
    for vector in [0, 16] {
        for (at, value) in [(0, 0xfee0_0000), (4, 0), (8, 0x41), (12, 0)] {
            start.extend(dword_in_window(0x2_0000 + vector + at, value));
        }
    }
    for status in [0, 1, 3] {
        start.extend(window_write(0x1_0014, BYTE, &[status]));
    }
    for (select, half) in [(0, 1 << 29 | 1 << 28 | 1 << 9), (1, 1)] {
        start.extend(dword_in_window(0x1_0008, select));
        start.extend(dword_in_window(0x1_000c, half));
    }
    start.extend(window_write(0x1_0014, BYTE, &[0x0b]));
    start.extend(window_write(0x1_001a, WORD, &[1, 0]));
    for (at, value) in [(32, 0x1000), (36, 0), (40, 0x2000), (44, 0), (48, 0x3000), (52, 0)] {
        start.extend(dword_in_window(0x1_0000 + at, value));
    }
    start.extend(window_write(0x1_001c, WORD, &[1, 0]));
    start.extend(window_write(0x1_0014, BYTE, &[0x0f]));
    start.extend(window_write(0x1_3000, WORD, &[0, 0]));
    start.extend(window_read(0x1_1000, BYTE));
    start.extend(window_read(0x1_2000, DWORD));
    start.extend(window_write(0x1_0014, BYTE, &[0]));
    vec![
        ("bridges", bridges.collect()),
        ("sizing", sizing.collect()),
        ("start", start),
        ("walk", walk.collect()),
    ]
}

fn fw_cfg() -> Vec<Seed> {
    let select = |key: u8| vec![0x05, key, 0];
    let read = |count: usize| vec![0x10; count];
    let dma = |control: u32, length: u32, to: u64| {
        let mut step = vec![3, 0, 1];
        step.extend(control.to_be_bytes());
        step.extend(length.to_be_bytes());
        step.extend(to.to_be_bytes());
        step
    };
    let ports = [select(0), read(6), select(0x19), read(80), select(0x20), read(5), vec![0x48, 0x88, 0x4c]];
    let transfers = [
        dma(0x19 << 16 | 10, 4, 0x400),
        dma(0x21 << 16 | 10, 9000, 0x1000),
        dma(4, 100, 0),
        dma(2, 10_000, 0x2000),
        dma(0x20 << 16 | 26, 3, 0x2000),
        vec![0x4d, 0, 0, 0, 0, 0, 0, 1, 0],
    ];
    vec![("dma", transfers.concat()), ("ports", ports.concat())]
}

/// A step of the block target that writes a descriptor.
fn descriptor(index: u8, gpa: u16, len: u32, flags: u8, next: u16) -> Vec<u8> {
    [&[flags << 3, index][..], &gpa.to_le_bytes(), &len.to_le_bytes(), &next.to_le_bytes()].concat()
}

fn bytes_at(gpa: u16, bytes: &[u8]) -> Vec<u8> {
    let count = u8::try_from(bytes.len()).unwrap();
    [&[count << 2 | 2][..], &gpa.to_le_bytes(), bytes].concat()
}

fn header(kind: u8, sector: u8) -> Vec<u8> {
    bytes_at(0x4000, &[kind, 0, 0, 0, 0, 0, 0, 0, sector, 0, 0, 0, 0, 0, 0, 0])
}

/// One request with `data` descriptors of 512 bytes between header and status.
fn request(kind: u8, sector: u8, data: &[(u32, u8)]) -> Vec<u8> {
    let mut steps = [header(kind, sector), descriptor(0, 0x4000, 16, 1, 1)].concat();
    for (index, (len, flags)) in (1u8..).zip(data) {
        steps.extend(descriptor(index, 0x5000, *len, flags | 1, u16::from(index) + 1));
    }
    let last = u8::try_from(data.len()).unwrap() + 1;
    steps.extend(descriptor(last, 0x4100, 1, 2, 0));
    steps.extend([1, 0, 3]);
    steps
}

fn virtio_block() -> Vec<Seed> {
    let range = |count| bytes_at(0x5000, &[1, 0, 0, 0, 0, 0, 0, 0, count, 0, 0, 0, 0, 0, 0, 0]);
    let requests = [
        vec![3],
        request(0, 1, &[(512, 2), (1024, 2)]),
        request(1, 2, &[(512, 0)]),
        request(4, 0, &[]),
        request(8, 0, &[(20, 2)]),
        [range(8), request(11, 0, &[(16, 0)])].concat(),
        [range(2), request(13, 0, &[(16, 0)])].concat(),
    ];
    let mut table = Vec::new();
    for (gpa, len, flags, next) in [(0x4000u64, 16u32, 1u16, 1u16), (0x5000, 513, 2, 0)] {
        table.extend(gpa.to_le_bytes());
        table.extend(len.to_le_bytes());
        table.extend(flags.to_le_bytes());
        table.extend(next.to_le_bytes());
    }
    let indirect =
        [vec![4], header(0, 0), bytes_at(0x6000, &table), descriptor(0, 0x6000, 32, 4, 0), vec![1, 0, 3]];
    let event_index = [vec![0x42], request(0, 0, &[(512, 2)]), request(4, 0, &[])];
    let mut raw = vec![0x80];
    [0x1000u64, 0x2000, 0x1000].into_iter().for_each(|ring| raw.extend(ring.to_le_bytes()));
    raw.extend(request(0, 0, &[(512, 2)]));
    let looped = [vec![7], header(0, 0), descriptor(0, 0x4000, 16, 1, 0), vec![1, 0, 3]];
    vec![
        ("event_index", event_index.concat()),
        ("indirect", indirect.concat()),
        ("loop", looped.concat()),
        ("overlap", raw),
        ("requests", requests.concat()),
    ]
}

fn chips() -> Vec<(&'static str, Vec<Seed>)> {
    let serial = vec![
        0x31, 0x80, 0x01, 1, 0x11, 0, 0x31, 3, 0x21, 0xc7, 0x41, 0x0b, 0x11, 0x0f, 0x01, b'x', 0x20, 0x50,
        0x0f, b'a', b'b', b'c', 0x50, 0x00, 0x00, 0x41, 0x1a, 0x01, 5, 0x60, 0x00,
    ];
    let mut cmos = vec![3, 0x40, 0x42, 0x0f, 0, 0, 0, 0, 0];
    for register in [0, 2, 4, 6, 7, 8, 9, 10, 11, 12, 13, 0x32, 0x5f] {
        cmos.extend([0, register, 1]);
    }
    cmos.extend([0, 0x0b, 2, 0x86, 0, 4, 2, 0x92, 0, 9, 2, 0x99, 0, 0x0b, 2, 0x02, 0, 9, 1]);
    let power = vec![
        0x05, 2, 0, 1, 0x03, 0, 0x04, 0, 0x05, 0, 0, 1, 0x08, 8, 0x05, 4, 0, 0x20, 0x01, 0x80, 1, 0x01, 0xc0,
        0xfe,
    ];
    vec![
        ("cmos", vec![("set", cmos)]),
        ("power", vec![("button", power)]),
        ("serial", vec![("driver", serial)]),
    ]
}

#[test]
fn the_corpus_is_what_is_written_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = std::env::var_os("AMI_RUN_FUZZ_WRITE_SEEDS").is_some();
    let mut all = chips();
    all.extend([("fw_cfg", fw_cfg()), ("pci_config", pci_config()), ("virtio_block", virtio_block())]);
    for (target, seeds) in all {
        for (name, bytes) in seeds {
            let path = folder.join(target).join(name);
            if write {
                std::fs::create_dir_all(folder.join(target)).unwrap();
                std::fs::write(&path, &bytes).unwrap();
            }
            let there = std::fs::read(&path).unwrap_or_default();
            assert_eq!(there, bytes, "{target}/{name}: write it again, with AMI_RUN_FUZZ_WRITE_SEEDS=1");
        }
    }
}
