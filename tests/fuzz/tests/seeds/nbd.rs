//! Seeds of the NBD target: what libnbd, QEMU and the kernel's client say.

use super::Seed;

fn option(option: u32, data: &[u8]) -> Vec<u8> {
    let len = u32::try_from(data.len()).unwrap();
    [b"IHAVEOPT".as_slice(), &option.to_be_bytes(), &len.to_be_bytes(), data].concat()
}

fn request(kind: u8, flags: u8, offset: u64, len: u32, data: &[u8]) -> Vec<u8> {
    let head = [0x25, 0x60, 0x95, 0x13, 0, flags, 0, kind];
    [&head[..], b"cookies!", &offset.to_be_bytes(), &len.to_be_bytes(), data].concat()
}

pub(super) fn all() -> Vec<Seed> {
    const FLAGS: [u8; 4] = [0, 0, 0, 3];
    let go = option(7, b"\0\0\0\0\0\x01\0\x03");
    let contexts = option(10, b"\0\0\0\0\0\0\0\x01\0\0\0\x0fbase:allocation");
    let structured = [FLAGS.to_vec(), option(8, b""), contexts, go.clone()].concat();
    let every = [
        request(0, 4, 0, 4096, &[]),
        request(1, 1, 512, 512, &[7; 512]),
        request(3, 0, 0, 0, &[]),
        request(4, 0, 4096, 8192, &[]),
        request(5, 0, 0, 1 << 20, &[]),
        request(6, 0x12, 0, 4096, &[]),
        request(7, 8, 0, 1 << 30, &[]),
        request(9, 0, 0, 512, &[]),
        request(2, 0, 0, 0, &[]),
    ];
    let asking = [
        FLAGS.to_vec(),
        option(5, b""),
        option(3, b""),
        option(9, b"\0\0\0\0\0\0\0\0"),
        option(6, b"\0\0\0\0\0\x02\0\x01\0\x02"),
        option(11, b""),
        option(2, b""),
    ];
    let old = [vec![0, 0, 0, 1], option(1, b""), request(0, 0, 0, 512, &[])];
    let read_only = [&[0, 0, 0, 3], go.as_slice(), &request(1, 0, 0, 512, &[1; 512])];
    vec![
        ("structured", [vec![0], structured.clone(), every.concat()].concat()),
        ("pieces", [vec![2 | 12 << 2], structured, every.concat()].concat()),
        ("asking", [vec![0], asking.concat()].concat()),
        ("old", [vec![0], old.concat()].concat()),
        ("read_only", [&[1], read_only.concat().as_slice()].concat()),
    ]
}
