//! virtio-blk as a driver sees it: every request, through rings in guest memory.

use super::driver::{DATA, Descriptor, Guest, HEADER, INDIRECT, Options, PLAIN, STATUS, TABLE_FLAG, WRITE};
use crate::bus::Width;
use crate::stages::Stage;

const OK: u8 = 0;
const IO_ERROR: u8 = 1;
const UNSUPPORTED: u8 = 2;

fn started() -> Guest {
    let mut guest = Guest::new();
    guest.start(PLAIN);
    guest
}

fn segment(sector: u64, count: u32, flags: u32) -> Vec<u8> {
    let mut bytes = sector.to_le_bytes().to_vec();
    bytes.extend(count.to_le_bytes());
    bytes.extend(flags.to_le_bytes());
    bytes
}

#[test]
fn what_is_written_is_read_and_the_rest_is_the_disk_file_s() {
    let mut guest = started();
    assert_eq!(guest.request(1, 3, &[0xa5; 1024], 0), (OK, 1));
    assert_eq!(guest.request(4, 0, &[], 0), (OK, 1));
    assert_eq!(guest.request(0, 2, &[], 2048), (OK, 2049));
    let data = guest.data(2048);
    assert_eq!(
        (&data[..512], &data[512..1536], &data[1536..]),
        (&[2; 512][..], &[0xa5; 1024][..], &[5; 512][..])
    );
}

#[test]
fn the_serial_number_is_twenty_bytes() {
    let mut guest = started();
    assert_eq!(guest.request(8, 0, &[], 20), (OK, 21));
    assert_eq!(guest.data(21), b"vol-0123456789abcdef\0");
    assert_eq!(guest.request(8, 0, &[], 19), (IO_ERROR, 1));
}

#[test]
fn ranges_are_discarded_and_zeroed() {
    let mut guest = started();
    assert_eq!(guest.request(13, 0, &segment(1, 2, 0), 0), (OK, 1));
    assert_eq!(guest.request(13, 0, &segment(4, 1, 1), 0), (OK, 1));
    assert_eq!(guest.request(11, 0, &segment(8, 8, 0), 0), (OK, 1));
    assert_eq!(guest.request(0, 0, &[], 17 * 512), (OK, 17 * 512 + 1));
    let first: Vec<u8> = guest.data(17 * 512).chunks(512).map(|sector| sector[0]).collect();
    assert_eq!(first, [0, 0, 0, 3, 0, 5, 6, 7, 0, 0, 0, 0, 0, 0, 0, 0, 16]);
    for (kind, out, answer) in [
        (11, segment(0, 1, 1), UNSUPPORTED),
        (13, segment(0, 1, 2), UNSUPPORTED),
        (13, segment(u64::MAX, 1, 0), IO_ERROR),
        (13, segment(u64::MAX / 512, u32::MAX, 0), IO_ERROR),
        (11, segment(511, 2, 0), IO_ERROR),
        (13, [segment(0, 1, 0), segment(2, 1, 0)].concat(), IO_ERROR),
        (13, vec![0; 15], IO_ERROR),
    ] {
        assert_eq!(guest.request(kind, 0, &out, 0), (answer, 1), "{kind} {out:?}");
    }
    guest.assert_works();
}

#[test]
fn a_range_has_at_most_two_gibibytes() {
    let mut guest = Guest::sized(Some(3 << 30));
    guest.start(PLAIN);
    for kind in [11, 13] {
        assert_eq!(guest.request(kind, 0, &segment(600, (1 << 22) + 1, 0), 0), (IO_ERROR, 1));
        assert_eq!(guest.request(kind, 0, &segment(600, 1 << 22, 0), 0), (OK, 1));
    }
}

#[test]
fn wrong_requests_are_answered_with_an_error() {
    let mut guest = started();
    for (kind, sector, out, into, answer) in [
        (99, 0, 0, 0, UNSUPPORTED),
        (u32::MAX, 0, 512, 512, UNSUPPORTED),
        (0, u64::MAX, 0, 512, IO_ERROR),
        (0, u64::MAX / 512, 0, 512, IO_ERROR),
        (0, 1 << 55, 0, 512, IO_ERROR),
        (1, u64::MAX, 512, 0, IO_ERROR),
        (0, 511, 0, 1024, IO_ERROR),
        (0, 512, 0, 512, IO_ERROR),
        (0, 0, 0, 511, IO_ERROR),
        (0, 0, 0, 0, IO_ERROR),
        (1, 0, 513, 0, IO_ERROR),
        (1, 0, 0, 0, IO_ERROR),
        (1, 511, 1024, 0, IO_ERROR),
    ] {
        let got = guest.request(kind, sector, &vec![1; out], into);
        assert_eq!(got, (answer, 1), "request {kind} at {sector}, {out} out, {into} in");
    }
    guest.assert_works();
}

#[test]
fn pieces_and_indirect_tables_of_any_cut_are_one_request() {
    let mut guest = started();
    guest.header(0, 9);
    let mut chain: Vec<Descriptor> = (0..16).map(|at| Descriptor(HEADER + at, 1, 0, 0)).collect();
    chain.extend([(0, 1), (1, 200), (201, 823)].map(|(at, len)| Descriptor(DATA + at, len, WRITE, 0)));
    chain.push(Descriptor(STATUS, 1, WRITE, 0));
    guest.send(&chain);
    assert_eq!((guest.take_used(), guest.answer()), ((0, 1025), OK));
    assert_eq!(guest.data(1024), [[9; 512], [10; 512]].concat());

    guest.header(0, 20);
    for (index, Descriptor(gpa, len, flags, _)) in (0..).zip(&chain) {
        let more = u16::from(usize::from(index) + 1 < chain.len());
        guest.describe_at(INDIRECT + 8, index, Descriptor(*gpa, *len, flags | more, index + 1));
    }
    let len = u32::try_from(chain.len()).unwrap() * 16;
    guest.send(&[Descriptor(INDIRECT + 8, len, TABLE_FLAG, 0)]);
    assert_eq!((guest.take_used(), guest.answer()), ((0, 1025), OK));
    assert_eq!(guest.data(1024), [[20; 512], [21; 512]].concat());
}

#[test]
fn a_status_byte_may_be_the_last_of_the_data_s_buffer() {
    let mut guest = started();
    guest.header(0, 3);
    guest.send(&[Descriptor(HEADER, 16, 0, 0), Descriptor(DATA, 513, WRITE, 0)]);
    assert_eq!(guest.take_used(), (0, 513));
    assert_eq!(guest.data(513), [&[3; 512][..], &[OK]].concat());
}

#[test]
fn a_full_queue_of_any_size_wraps_round() {
    let mut guest = Guest::new();
    for size in [4, 16, 256] {
        guest.start(Options { size, ..PLAIN });
        assert_eq!(guest.read(24, Width::Word), u64::from(size));
        for round in 0..5u64 {
            guest.header(0, round);
            guest.describe(0, Descriptor(HEADER, 16, 1, 1));
            guest.describe(1, Descriptor(DATA, 513, WRITE, 0));
            (0..size).for_each(|_| guest.offer(0));
            guest.kick();
            (0..size).for_each(|_| assert_eq!(guest.take_used(), (0, 513)));
            assert_eq!(u64::from(guest.data(1)[0]), round);
        }
    }
}

#[test]
fn the_configuration_reads_alike_at_every_width() {
    let guest = Guest::new();
    let byte = |at: u64| guest.read(0x2000 + at, Width::Byte);
    for at in 0..72 {
        let expected = (0..8).rev().fold(0, |value, i| value << 8 | byte(at + i));
        assert_eq!(guest.read(0x2000 + at, Width::Word), expected & 0xffff);
        assert_eq!(guest.read(0x2000 + at, Width::Dword), expected & 0xffff_ffff);
        assert_eq!(guest.read(0x2000 + at, Width::Qword), expected);
    }
    assert_eq!(guest.read(0x2000, Width::Qword), 512, "sectors");
    assert_eq!(guest.read(0x200c, Width::Dword), 254, "segments");
    assert_eq!(guest.read(0x2014, Width::Dword), 512, "block size");
    for at in 0..0x1000 {
        guest.write(0x2000 + at, Width::Dword, u64::MAX);
    }
    assert_eq!(guest.read(0x2000, Width::Qword), 512, "nothing there is for the driver to write");
}

/// As SeaBIOS uses it, and then Linux.
#[test]
fn how_far_a_start_has_come_is_told_by_the_boot_disk() {
    let (mut guest, stages) = Guest::watched();
    let marks = |stage| stages.reached().at(stage).is_some();
    guest.start(PLAIN);
    assert_eq!(guest.request(1, 5, &[1; 512], 0), (OK, 1));
    assert_eq!((stages.reached().blocks, marks(Stage::FirstBlockRead)), (0, false), "nothing was read");
    assert_eq!(guest.request(0, 0, &[], 512), (OK, 513));
    assert!(marks(Stage::FirstBlockRead) && !marks(Stage::FurtherBlockRead));
    assert_eq!(guest.request(0, 7, &[], 1024), (OK, 1025));
    assert_eq!((stages.reached().blocks, stages.reached().last_block), (3, 8));
    assert!(marks(Stage::FurtherBlockRead) && stages.reached().kernel().is_none());
    guest.reset();
    assert!(marks(Stage::Released) && !marks(Stage::DiskTaken));
    guest.start(PLAIN);
    assert!(marks(Stage::DiskTaken));
    assert_eq!(guest.request(0, 0, &[], 512), (OK, 513));
    assert_eq!(stages.reached().blocks, 3, "the kernel's own reads are not counted");
    stages.begin_anew();
    guest.reset();
    assert!(marks(Stage::Released), "by a driver that used it");
    stages.begin_anew();
    guest.reset();
    assert!(!marks(Stage::Released), "nobody used it");
}
