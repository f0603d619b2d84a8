//! Seeds of the flash's targets: what firmware tells the chip, and logs of some changes.

use super::Seed;

/// The chips are told these, one after the other, at this offset.
fn tell(offset: u16, commands: &[u8]) -> Vec<u8> {
    let [low, high] = offset.to_le_bytes();
    commands.iter().flat_map(|command| [2, low, high, *command]).collect()
}

fn read(offset: u16, width: u8) -> Vec<u8> {
    let [low, high] = offset.to_le_bytes();
    vec![width << 2, low, high]
}

/// A word of two chips.
fn word(offset: u16, value: u32) -> Vec<u8> {
    [&[2 << 2 | 1][..], &offset.to_le_bytes(), &value.to_le_bytes()].concat()
}

fn commands() -> Vec<Seed> {
    let probe = [tell(0x10, &[0x50]), read(0x10, 0), tell(0x10, &[0x70]), read(0x10, 0)].concat();
    let change = [
        tell(0x1010, &[0x10, 0xa4, 0x70, 0x50]),
        tell(0x1fff, &[0x40, 0x00, 0xff]),
        tell(0x1234, &[0x20, 0xd0, 0xff]),
        tell(0x1100, &[0xe8, 1, 0x11, 0x22, 0xd0, 0xff]),
        read(0x1100, 3),
        tell(0, &[0x98]),
        read(0x27, 2),
        vec![3, 0, 0],
    ]
    .concat();
    let ovmf = [&[0][..], &probe, &change].concat();
    let aavmf = [
        vec![1],
        tell(0x1000, &[0x90]),
        read(0x1008, 2),
        tell(0x1000, &[0x60, 0xd0, 0x50, 0xe8, 1]),
        word(0x1084, 0x1234_5678),
        word(0x1088, 0),
        tell(0x1000, &[0xd0, 0x70, 0x40]),
        word(0x1000, 0x00f0_0f00),
        tell(0x1000, &[0x20, 0xd0, 0xff, 0xe8, 40]),
        read(0x1000, 0),
    ];
    // Chips that are told different things: as commands, as a confirmation, as a count; data may differ. Then accesses
    // of other widths and at odd places.
    let at = |offset: u16, width: u8, value: u64| {
        let bytes = value.to_le_bytes();
        [&[width << 2 | 1][..], &offset.to_le_bytes(), &bytes[..1 << width]].concat()
    };
    let apart = [
        vec![1],
        [word(0x1000, 0x0070_0090), word(0x1000, 0x0020_0010), read(0x1000, 2)].concat(),
        [tell(0x1000, &[0x20]), word(0x1000, 0x00ff_00d0), read(0x1000, 2), tell(0x1000, &[0x50])].concat(),
        [tell(0x1000, &[0xe8]), word(0x1000, 0x0001_0002), read(0x1002, 1), tell(0x1000, &[0x50])].concat(),
        [tell(0x1000, &[0x40]), word(0x1000, 0x1234_5678), read(0x1000, 2)].concat(),
        [at(0x1000, 0, 0x70), at(0x1002, 1, 0x70), at(0x1001, 2, 0x0070_0070)].concat(),
        [at(0x1000, 3, 0x0070_0070_0070_0070), at(0x2000, 2, 0x0070_0070)].concat(),
        [tell(0x1000, &[0x20, 0xd0]), read(0x1002, 2), read(0x1000, 0), read(0x1000, 3)].concat(),
    ];
    let full = [vec![0], vec![7, 0, 0], tell(0, &[0x10, 0]), read(0, 0), tell(0, &[0x10, 0])];
    vec![
        ("aavmf", aavmf.concat()),
        ("apart", apart.concat()),
        ("full", full.concat()),
        ("ovmf", ovmf),
        ("protected", [&[2][..], &probe, &change].concat()),
    ]
}

/// Cut and damaged at these bytes.
fn log(cut: u16, place: u16, mask: u8, second: u16) -> Vec<u8> {
    let changes = [
        [&[5, 0, 0][..], b"first"].concat(),
        [&[0][..], &second.to_le_bytes(), &0x1000u16.to_le_bytes()].concat(),
        vec![1, 0xff, 0x1f, 0x7f],
    ];
    [&cut.to_le_bytes()[..], &place.to_le_bytes(), &[mask], &changes.concat()].concat()
}

fn logs() -> Vec<Seed> {
    // A head of 32 bytes, records of 16 bytes and what they carry: they end at 53, 69 and 86.
    vec![
        ("cut", log(68, 0, 0, 0x1000)),
        ("damaged", log(0xffff, 85, 1, 0x1000)),
        ("head", log(0xffff, 9, 1, 0x1000)),
        ("outside", log(0xffff, 0, 0, 0x1001)),
        ("torn", log(20, 0, 0, 0x1000)),
        ("whole", log(0xffff, 0, 0, 0x1000)),
    ]
}

pub(super) fn all() -> Vec<(&'static str, Vec<Seed>)> {
    vec![("flash_commands", commands()), ("flash_log", logs())]
}
