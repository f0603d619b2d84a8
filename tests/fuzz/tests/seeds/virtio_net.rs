//! Seeds of the network card's target: frames each way, in one buffer and in several.

use super::Seed;

const RX: u8 = 0;
const TX: u8 = 1;
const NEXT: u8 = 1;
const WRITE: u8 = 2;
const RING: u8 = 6;
/// All features; queues of eight.
const ALL: [u8; 2] = [3, 0x1f];

fn descriptor(queue: u8, index: u8, gpa: u16, len: u32, flags: u8, next: u8) -> Vec<u8> {
    [&[flags << 3 | queue, index][..], &gpa.to_le_bytes(), &len.to_le_bytes(), &[next]].concat()
}

fn offer(queue: u8, head: u8) -> Vec<u8> {
    vec![2 | queue, head]
}

/// A frame of IPv4 behind this header, from 0x4000 on.
fn frame(header: [u8; 12]) -> Vec<u8> {
    let at = |place: u16, bytes: &[u8]| {
        let [low, high] = place.to_le_bytes();
        [&[u8::try_from(bytes.len()).unwrap() << 3 | 4, low, high][..], bytes].concat()
    };
    [at(0x4000, &header), at(0x4000 + 12 + 12, &[8, 0, 0x45, 0])].concat()
}

fn says(len: u16, offload: u8) -> Vec<u8> {
    let [low, high] = len.to_le_bytes();
    vec![offload << 3 | 5, low, high]
}

/// A receive buffer of this number and length.
fn buffer(number: u8, len: u32) -> Vec<u8> {
    [descriptor(RX, number, 0x5000 + u16::from(number) * 0x200, len, WRITE, 0), offer(RX, number)].concat()
}

pub(super) fn all() -> Vec<Seed> {
    let large = frame([1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0, 0, 0]);
    let echo = [
        ALL.to_vec(),
        large,
        descriptor(TX, 0, 0x4000, 12, NEXT, 1),
        descriptor(TX, 1, 0x400c, 300, 0, 0),
        offer(TX, 0),
        buffer(0, 0x200),
        vec![RING],
    ];
    let event_index = [
        vec![0x43, 0x1f],
        says(60, 1),
        frame([0; 12]),
        descriptor(TX, 0, 0x4000, 72, 0, 0),
        offer(TX, 0),
        buffer(0, 100),
        vec![RING],
        buffer(1, 100),
        vec![RING],
    ];
    let merged = [
        ALL.to_vec(),
        buffer(0, 0x200),
        buffer(1, 0x200),
        says(1200, 3),
        vec![RING],
        buffer(2, 0x200),
        vec![RING],
    ];
    let alone = [vec![3, 0x0f], buffer(0, 0x200), says(1200, 0), says(60, 3), vec![RING], vec![RING]];
    let looped = [ALL.to_vec(), descriptor(TX, 0, 0x4000, 60, NEXT, 0), offer(TX, 0), vec![RING]];
    let wrong = [
        ALL.to_vec(),
        frame([1, 4, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0]),
        descriptor(TX, 0, 0x4000, 200, 0, 0),
        offer(TX, 0),
        buffer(0, 11),
        vec![RING],
        says(60, 0),
        vec![RING],
    ];
    vec![
        ("alone", alone.concat()),
        ("echo", echo.concat()),
        ("event_index", event_index.concat()),
        ("loop", looped.concat()),
        ("merged", merged.concat()),
        ("wrong", wrong.concat()),
    ]
}
