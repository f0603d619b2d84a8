//! Seeds of UEFI variables: records in all states, an interrupted rewrite, a table of signers; UefiData as text,
//! packed and unpacked.

use crate::Seed;
use crate::disk::at;
use ami_run_firmware::uefi::{Authentication, Variable};

const START: u32 = 100;
const WORK: u32 = 800;
const SPARE: u32 = 1024;

/// A record and its padding.
fn record(state: u8, attributes: u32, name: &str, data: &[u8], vendor: &[u8; 16]) -> Vec<u8> {
    let name: Vec<u8> = name.encode_utf16().chain([0]).flat_map(u16::to_le_bytes).collect();
    let size = |length: usize| u32::try_from(length).unwrap().to_le_bytes();
    let head = [&[0xaa, 0x55, state, 0][..], &attributes.to_le_bytes(), &[0; 28]].concat();
    let mut record = [&head[..], &size(name.len()), &size(data.len()), vendor, &name, data].concat();
    record.resize(record.len().next_multiple_of(4), 0xff);
    record
}

/// Records behind each other. A step is of less than 256 bytes.
fn records(start: u32, all: &[Vec<u8>]) -> Vec<u8> {
    let bytes = all.concat();
    let pieces = (start..).step_by(128).zip(bytes.chunks(128));
    [vec![0], pieces.flat_map(|(offset, piece)| at(offset, piece)).collect()].concat()
}

const VENDOR: [u8; 16] = [0x61; 16];
const CERTIFICATES: [u8; 16] = *b"\x6e\xe5\xbe\xd9\xdc\x75\xd9\x49\xb4\xd7\xb5\x34\x21\x0f\x63\x7a";

fn stores() -> Vec<Seed> {
    let states: Vec<Vec<u8>> = [(0x3c, "gone"), (0x3e, "old."), (0x7f, "torn"), (0x3f, "new.")]
        .iter()
        .map(|(state, data)| record(*state, 7, "Boot", data.as_bytes(), &VENDOR))
        .collect();
    let table =
        [&[66, 0, 0, 0][..], &VENDOR, &[62, 0, 0, 0, 1, 0, 0, 0, 32, 0, 0, 0], b"S\0", &[5; 32]].concat();
    let signers =
        [record(0x3f, 0x27, "certdb", &table, &CERTIFICATES), record(0x3f, 0x27, "S", b"signed", &VENDOR)];
    // One write of 768 bytes from the start, whole in the spare area: a header, and its copy there.
    let writes = [&[0xf8][..], &[0xff; 23], &[1, 0, 0, 0, 0, 0, 0, 0], &[0; 8]].concat();
    let open = [&[0xfc][..], &writes[1..]].concat();
    let write = |flags: u8| {
        let numbers: Vec<u8> =
            [0i64, 72, 696, -1024].iter().flat_map(|number| number.to_le_bytes()).collect();
        [vec![flags], vec![0xff; 7], numbers].concat()
    };
    let rewrite = [
        records(SPARE + START, &[record(0x3f, 7, "Boot", b"spare", &VENDOR)]),
        at(SPARE + 72, b"\x78\x2c\xf3\xaa\x7b\x94\x9a\x43\xa1\x80\x2e\x14\x4e\xc3\x77\x92"),
        at(SPARE + 88, &[0xb8, 2, 0, 0, 0x5a, 0xfe, 0, 0, 0, 0, 0, 0]),
        at(SPARE, &[0; 16]),
        at(SPARE + 16, b"\x8d\x2b\xf1\xff\x96\x76\x8b\x4c\xa9\x85\x27\x47\x07\x5b\x4f\x50"),
        at(SPARE + 32, b"\0\x08\0\0\0\0\0\0_FVH\xff\xfe\x04\0\x48\0\x33\0\0\0\0\x02"),
        at(SPARE + 56, &[8, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        at(WORK, &writes),
        at(WORK + 40, &write(0xf9)),
        at(WORK + 80, &open),
        at(WORK + 120, &write(0xfd)),
    ]
    .concat();
    let lost = [&rewrite[..], &at(0, &[0xff; 100])].concat();
    let odd = [record(0x3f, 7, "", b"", &VENDOR), record(0x3f, 6, "\u{1d11e}", b"volatile", &VENDOR)];
    vec![
        ("states", records(START, &states)),
        ("signers", records(START, &signers)),
        ("rewrite", rewrite),
        ("lost_header", [&[1], &lost[1..]].concat()),
        ("odd_names", records(START, &odd)),
        ("checksum", [vec![1], at(50, &[0])].concat()),
    ]
}

fn data() -> Vec<Seed> {
    let plain = Variable {
        name: "BootOrder".to_owned(),
        vendor: VENDOR,
        attributes: 7,
        data: vec![1, 0],
        authentication: None,
    };
    let authentication = Authentication { timestamp: [7; 16], digest: vec![8; 32] };
    let signed = Variable {
        name: "S".to_owned(),
        attributes: 0x27,
        authentication: Some(authentication),
        ..plain.clone()
    };
    // No variables, stored: what a packer makes may change with its version.
    let text = "QU1aTlVFRkn/z4YVAAAAAHgBAQgA9/8AAAAAAAAAAAAIAAE=";
    let sized = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat();
    let one = |it: &Variable| {
        let body = [sized(it.name.as_bytes()), sized(&it.data), it.vendor.to_vec()].concat();
        let signature =
            it.authentication.iter().flat_map(|it| [it.timestamp.to_vec(), sized(&it.digest)].concat());
        [&body[..], &it.attributes.to_le_bytes(), &signature.collect::<Vec<u8>>()].concat()
    };
    let unpacked = [&[2][..], &2u64.to_le_bytes(), &one(&plain), &one(&signed)].concat();
    vec![
        ("text", [b"\0", text.as_bytes()].concat()),
        (
            "packed",
            [b"\x01\x78\xf9\x6b\xb7\xd9\xf7\x01\x08\0\xf7\xff".as_slice(), &[0; 8], b"\0\x08\0\x01"].concat(),
        ),
        ("unpacked", unpacked),
    ]
}

pub(crate) fn all() -> [(&'static str, Vec<Seed>); 2] {
    [("uefi_data", data()), ("uefi_store", stores())]
}
