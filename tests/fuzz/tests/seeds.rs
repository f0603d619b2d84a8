//! The corpus is made here, by what firmware and drivers do. With AMI_RUN_FUZZ_WRITE_SEEDS set it is written, else it
//! is compared, so that it cannot grow stale. Finds of a fuzzer may lie beside it.
#![expect(clippy::unwrap_used, reason = "a test: what does not fit fails it")]

#[path = "seeds/arm.rs"]
mod arm;
#[path = "seeds/control.rs"]
mod control;
#[path = "seeds/disk.rs"]
mod disk;
#[path = "seeds/file.rs"]
mod file;
#[path = "seeds/flash.rs"]
mod flash;
#[path = "seeds/metadata.rs"]
mod metadata;
#[path = "seeds/msi.rs"]
mod msi;
#[path = "seeds/nbd.rs"]
mod nbd;
#[path = "seeds/network.rs"]
mod network;
#[path = "seeds/uefi.rs"]
mod uefi;
#[path = "seeds/virtio_net.rs"]
mod virtio_net;

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

fn virtio_rng() -> Vec<Seed> {
    let offer = |head| vec![1, head, 3];
    let requests = [
        vec![3],
        [descriptor(0, 0x5000, 64, 2, 0), offer(0)].concat(),
        [descriptor(1, 0x4000, 0x1000, 3, 2), descriptor(2, 0x6000, 0x1000, 2, 0), offer(1)].concat(),
        [descriptor(3, 0x4000, 16, 1, 4), descriptor(4, 0x5001, 1512, 2, 0), offer(3)].concat(),
    ];
    let long: Vec<u8> = [(0, 1), (1, 2), (2, 3), (3, 4)]
        .into_iter()
        .flat_map(|(index, next)| descriptor(index, 0x4000, 0x4000, if next == 4 { 2 } else { 3 }, next))
        .collect();
    let event_index = [vec![0x43], descriptor(0, 0x5000, 32, 2, 0), offer(0), offer(0), offer(0)];
    let no_place = [vec![3], descriptor(0, 0x5000, 32, 0, 0), offer(0)];
    vec![
        ("event_index", event_index.concat()),
        ("long", [vec![3], long, offer(0)].concat()),
        ("no_place", no_place.concat()),
        ("requests", requests.concat()),
    ]
}

/// An NVMe command in queue `queue`: opcode, where its data is, three dwords.
fn command(queue: u8, opcode: u8, places: u8, dwords: [u32; 3]) -> Vec<u8> {
    let mut step = vec![2 | queue << 3, opcode, places];
    dwords.into_iter().for_each(|dword| step.extend(dword.to_le_bytes()));
    step
}

/// The same, left in its queue without a ring.
fn unrung(queue: u8, opcode: u8, places: u8, dwords: [u32; 3]) -> Vec<u8> {
    let mut step = command(queue, opcode, places, dwords);
    step[0] |= 1 << 5;
    step
}

fn create(queue: u8) -> Vec<u8> {
    let id = u32::from(queue);
    let completions = command(0, 5, 3, [63 << 16 | id, id << 16 | 3, 0]);
    [completions, command(0, 1, 2, [63 << 16 | id, id << 16 | 1, 0])].concat()
}

fn delete(queue: u8) -> Vec<u8> {
    let id = u32::from(queue);
    [command(0, 0, 0, [id, 0, 0]), command(0, 4, 0, [id, 0, 0])].concat()
}

/// Takes the completions of a queue.
fn take(queue: u8) -> Vec<u8> {
    vec![7 | queue << 3]
}

const ENABLE: u8 = 4;
const DISABLE: u8 = 5;
const SHUT_DOWN: u8 = 0x25;
const VOLUME_CHANGED: u8 = 0x27;
/// Places of the two pages of shadow doorbells.
const SHADOWS: u8 = 0x24;

fn nvme_admin() -> Vec<Seed> {
    let register =
        |offset: u16, value: u32| [&[0x41][..], &offset.to_le_bytes(), &value.to_le_bytes()].concat();
    let start = [
        vec![ENABLE],
        command(0, 6, 0, [1, 0, 0]),
        command(0, 6, 0, [0, 0, 0]),
        command(0, 6, 0, [2, 0, 0]),
        command(0, 9, 0, [7, 0x000f_000f, 0]),
        command(0, 10, 0, [6, 0, 0]),
        command(0, 9, 0, [0x0b, 0x100, 0]),
        command(0, 2, 0, [127 << 16 | 2, 0, 0]),
        command(0, 2, 8, [1023 << 16 | 0xd0, 0, 0]),
        create(2),
        command(0, 0x7c, SHADOWS, [0, 0, 0]),
        command(0, 0x0c, 0, [0, 0, 0]),
        vec![VOLUME_CHANGED],
        command(0, 2, 0, [1023 << 16 | 4, 0, 0]),
        command(0, 8, 0, [1 << 16, 0, 0]),
        command(2, 2, 0, [9, 0, 0]),
        vec![6, 5, 1],
        delete(2),
        vec![SHUT_DOWN, DISABLE],
    ];
    let again = [
        vec![ENABLE],
        create(1),
        unrung(1, 2, 0, [1, 0, 7]),
        command(1, 1, 8, [1, 0, 31]),
        vec![DISABLE],
        command(1, 2, 0, [1, 0, 0]),
        vec![ENABLE],
        create(1),
        command(1, 2, 0, [1, 0, 0]),
        vec![ENABLE],
        create(3),
    ];
    let registers = [
        vec![0x60, 0, 0],
        register(0x24, 0x001f_001f),
        register(0x28, 0x1000),
        register(0x30, 0x5000),
        register(0x0c, 1),
        register(0x14, 0x0046_0001),
        vec![0x40, 0x1c, 0],
        register(0x1000, 1),
        register(0x10, 1),
        register(0x14, 0x0046_4001),
        register(0x2000, 0xfee0_0000),
        register(0x200c, 0),
        register(0x14, 0),
    ];
    vec![("again", again.concat()), ("registers", registers.concat()), ("start", start.concat())]
}

fn nvme_io() -> Vec<Seed> {
    let mut range = vec![16 << 3 | 3, 0, 0xc0];
    range.extend([0, 0, 0, 0, 8, 0, 0, 0, 16, 0, 0, 0, 0, 0, 0, 0]);
    let transfers = [
        command(1, 2, 0, [9, 0, 0]),
        command(1, 1, 0, [8, 0, 7]),
        command(1, 2, 1, [0, 0, 7]),
        command(1, 1, 0, [511, 0, 1 << 30]),
        command(1, 0, 0x80, [0, 0, 0]),
        command(1, 8, 0, [100, 0, 1 << 25 | 15]),
        command(1, 8, 0, [100, 0, 15]),
        range,
        command(1, 9, 0, [0, 4, 0]),
        take(1),
        unrung(1, 2, 0, [1, 0, 0]),
        command(1, 2, 0, [u32::MAX, u32::MAX, 7]),
        // Bad ones, like that: past the end, an odd address, out of memory, flags, no such command.
        command(1, 2, 0, [512, 0, 0]),
        command(1, 2, 5, [0, 0, 0]),
        command(1, 2, 0x28, [0, 0, 15]),
        command(1, 0x55, 0, [0, 0, 0]),
        [&[0x8a][..], &command(1, 2, 0, [0, 0, 0])[1..]].concat(),
    ];
    let shadows = [
        command(0, 0x7c, SHADOWS, [0, 0, 0]),
        command(1, 2, 0, [0, 0, 0]),
        command(1, 1, 0, [0, 0, 0]),
        create(2),
        command(2, 2, 0, [0, 0, 0]),
        take(2),
        vec![3 | 4 << 3, 8, 0x90, 0xff, 0xff, 0, 0],
        vec![0x26, 2, 0xff, 0xff, 0xff, 0xff],
        command(1, 0, 0, [0, 0, 0]),
    ];
    let lists = [
        command(1, 2, 8, [0, 0, 31]),
        command(1, 1, 8, [0, 0, 255]),
        take(1),
        // A list in the last place of its page: its one entry says where it goes on.
        command(1, 2, 0x10, [0, 0, 63]),
        command(1, 1, 9, [3, 0, 40]),
        command(1, 2, 0x20, [0, 0, 31]),
        command(1, 2, 0x30, [0, 0, 31]),
        command(1, 2, 8, [0, 0, 0xffff]),
    ];
    let queues = [
        create(2),
        // A second submission queue of the same completion queue, one of none, one too large, one twice.
        command(0, 1, 2, [63 << 16 | 3, 2 << 16 | 1, 0]),
        command(0, 1, 2, [63 << 16 | 4, 9 << 16 | 1, 0]),
        command(0, 5, 3, [0xffff << 16 | 5, 3, 0]),
        command(0, 5, 3, [63 << 16 | 2, 3, 0]),
        command(2, 2, 0, [0, 0, 0]),
        take(2),
        command(3, 2, 0, [0, 0, 0]),
        command(0, 4, 0, [2, 0, 0]),
        vec![0x26, 2, 64, 0, 0, 0, 0x26, 5, 9, 0, 0, 0],
        command(0, 8, 0, [1, 0, 0]),
        command(0, 0, 0, [3, 0, 0]),
        delete(2),
        command(2, 2, 0, [0, 0, 0]),
        delete(1),
    ];
    vec![
        ("lists", lists.concat()),
        ("queues", queues.concat()),
        ("shadows", shadows.concat()),
        ("transfers", transfers.concat()),
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
    let mut alarm = vec![3, 0x40, 0x42, 0x0f, 0, 0, 0, 5, 0, 6];
    for (register, value) in [(0x0b, 0x02), (5, 0x07), (3, 0x59), (1, 0xff), (0x0b, 0x22)] {
        alarm.extend([0, register, 2, value]);
    }
    alarm.extend([6, 7, 6, 7, 4, 0xff, 0xff, 6, 0, 0x0b, 2, 0x02, 5]);
    let mut events = vec![3, 0x40, 0x42, 0x0f, 0, 0, 0, 5, 0];
    for (rate, on) in [(0x26, 0x42), (0x2f, 0x72), (0x23, 0x12), (0x20, 0x42)] {
        events.extend([0, 0x0a, 2, rate, 0, 0x0b, 2, on, 6, 7, 6, 7, 5, 0x84, 0xff, 0xff, 6]);
    }
    events.extend([0, 0x0b, 2, 0xd2, 7, 0, 4, 2, 0x12, 0, 0x0b, 2, 0x30, 7, 6]);
    let power = vec![
        0x05, 2, 0, 1, 0x03, 0, 0x04, 0, 0x05, 0, 0, 1, 0x08, 8, 0x05, 4, 0, 0x20, 0x01, 0x80, 1, 0x01, 0xc0,
        0xfe,
    ];
    vec![
        ("cmos", vec![("alarm", alarm), ("events", events), ("set", cmos)]),
        ("power", vec![("button", power)]),
        ("serial", vec![("driver", serial)]),
    ]
}

#[test]
fn the_corpus_is_what_is_written_here() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let write = std::env::var_os("AMI_RUN_FUZZ_WRITE_SEEDS").is_some();
    let mut all = chips();
    all.extend(arm::all());
    all.extend(msi::all());
    all.extend(disk::all());
    all.extend(file::all());
    all.extend(flash::all());
    all.extend([("control", control::all()), ("metadata_http", metadata::all()), ("nbd", nbd::all())]);
    all.extend(uefi::all());
    all.push(("net_frames", network::all()));
    all.extend([("fw_cfg", fw_cfg()), ("pci_config", pci_config())]);
    all.extend([("nvme_admin", nvme_admin()), ("nvme_io", nvme_io())]);
    all.extend([("virtio_block", virtio_block()), ("virtio_rng", virtio_rng())]);
    all.push(("virtio_net", virtio_net::all()));
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
