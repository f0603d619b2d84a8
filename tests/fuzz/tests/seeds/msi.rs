//! What drivers do with MSI-X: set it up, mask, move, and ask again.

use super::{DWORD, Seed, WORD};

const NVME: u8 = 0;
const RNG: u8 = 8;

const ON: u16 = 0x8000;
const ALL_MASKED: u16 = 0xc000;

fn control(function: u8, value: u16) -> Vec<u8> {
    [&[1 | function | WORD << 4 | 2 << 6][..], &value.to_le_bytes()].concat()
}

/// An entry's message and mask.
fn open(function: u8, entry: u8, data: u16) -> Vec<u8> {
    [&[6 | function, entry][..], &data.to_le_bytes()].concat()
}

fn mask(function: u8, entry: u16, value: u32) -> Vec<u8> {
    [&[function | DWORD << 4][..], &(entry * 16 + 12).to_le_bytes(), &value.to_le_bytes()].concat()
}

/// A driver that starts the virtio device with a queue that cannot be, and asks to be told by this vector.
fn broken(vector: u8) -> Vec<u8> {
    vec![4 | RNG, vector]
}

fn command(function: u8, value: u16) -> Vec<u8> {
    [&[2 | function][..], &value.to_le_bytes()].concat()
}

fn bar(function: u8, bar: u8, place: u8) -> Vec<u8> {
    vec![3 | function | bar << 4, place]
}

const NVME_COMMAND: u8 = 4 | NVME;

pub(super) fn all() -> Vec<(&'static str, Vec<Seed>)> {
    let driver = [
        control(NVME, ALL_MASKED),
        open(NVME, 0, 0x2000),
        control(NVME, ON),
        vec![NVME_COMMAND, NVME_COMMAND],
        control(RNG, ON),
        [open(RNG, 0, 0x2010), open(RNG, 1, 0x2011)].concat(),
        [broken(0), broken(1), broken(2)].concat(),
    ];
    let masks = [
        control(RNG, ON),
        open(RNG, 1, 1),
        mask(RNG, 1, 1),
        [broken(1), broken(1)].concat(),
        vec![7 | RNG | DWORD << 4, 0, 8],
        mask(RNG, 1, 0),
        [control(RNG, ALL_MASKED), broken(1), control(RNG, ON)].concat(),
        [control(RNG, 0), broken(1), command(RNG, 0x406), broken(1), control(RNG, ON)].concat(),
        [vec![NVME_COMMAND], control(NVME, ALL_MASKED), vec![NVME_COMMAND]].concat(),
        [open(NVME, 0, 2), control(NVME, ON)].concat(),
        // A byte, a whole entry's end, a word that is none, one behind the table.
        vec![
            0, 12, 0, 1, 0x30, 8, 0, 3, 0, 0, 0, 0, 0, 0, 0, 0x20, 2, 0, 9, 9, 9, 9, 0x20, 0x10, 1, 1, 1, 1,
            1,
        ],
    ];
    let moves = [
        [control(RNG, ON), open(RNG, 0, 7), bar(RNG, 0, 3), bar(RNG, 1, 5), broken(0)].concat(),
        [command(RNG, 0), broken(0), command(RNG, 6)].concat(),
        [bar(NVME, 0, 9), open(NVME, 0, 8), control(NVME, ON), vec![NVME_COMMAND]].concat(),
    ];
    let (refuse, agree) = (|function: u8| vec![5 | function], |function: u8| vec![0x15 | function]);
    let refused = [
        [refuse(RNG), control(RNG, ON), open(RNG, 0, 1), open(RNG, 0, 2), open(RNG, 0, 3)].concat(),
        [broken(0), agree(RNG)].concat(),
        [control(NVME, ON), open(NVME, 0, 4), refuse(NVME), open(NVME, 0, 5), open(NVME, 0, 4)].concat(),
        [vec![NVME_COMMAND, NVME_COMMAND], agree(NVME)].concat(),
    ];
    let seeds = [("driver", driver.concat()), ("masks", masks.concat()), ("moves", moves.concat())];
    vec![("msi", seeds.into_iter().chain([("refused", refused.concat())]).collect())]
}
