//! virtio-rng as a driver sees it, kind and hostile.

use super::Rng;
use super::driver::{DATA, Descriptor, Guest, HEADER, NEEDS_RESET, NEXT, Options, PLAIN, RAM, WRITE};
use crate::bus::Width;
use crate::irq::fake::wait_until;
use crate::pci::Function;
use ami_run_memory::Gpa;

const QUEUE: Options = Options { size: 8, ..PLAIN };
const MARK: u8 = 0xee;

fn started() -> Guest {
    let mut guest = Guest::with(Box::new(Rng));
    guest.start(QUEUE);
    guest
}

/// Marks the data area, offers these pieces of it (distance, length) for random bytes, and gives the used length
/// and the area.
fn ask(guest: &mut Guest, pieces: &[(u64, u32)]) -> (u32, Vec<u8>) {
    const AREA: usize = 0x5_0000;
    guest.memory.write(Gpa(DATA), &vec![MARK; AREA]).unwrap();
    let chain: Vec<Descriptor> =
        pieces.iter().map(|(at, len)| Descriptor(DATA + at, *len, WRITE, 0)).collect();
    guest.send(&chain);
    let (head, written) = guest.take_used();
    assert_eq!(head, 0);
    (written, guest.data(AREA))
}

/// Different values among the bytes.
fn values(bytes: &[u8]) -> usize {
    (0..=255).filter(|value| bytes.contains(value)).count()
}

fn assert_works(guest: &mut Guest) {
    let (written, data) = ask(guest, &[(0, 4096)]);
    // 256 values in 4,096 draws: fewer than 240 of them come up less than once in 10^20.
    assert!((written, values(&data[..4096]) > 240) == (4096, true));
}

#[test]
fn a_driver_finds_an_entropy_source() {
    let guest = Guest::with(Box::new(Rng));
    assert_eq!(guest.device.config_read(0, Width::Dword), 0x1044_1af4);
    assert_eq!(guest.device.config_read(8, Width::Dword), 0x00ff_0001);
    assert_eq!((guest.read(18, Width::Word), guest.read(24, Width::Word)), (1, 8), "one queue of 8");
    assert_eq!(guest.read(0x2000, Width::Qword), 0, "no configuration");
    guest.write(0, Width::Dword, 0);
    assert_eq!(guest.read(4, Width::Dword), 1 << 29 | 1 << 28, "what every device offers and nothing more");
}

#[test]
fn random_bytes_fill_what_was_offered_and_nothing_else() {
    let mut guest = started();
    let pieces = [(0x100, 1), (0x200, 1000), (0x1000, 5000), (0x3000, 0), (0x3001, 3)];
    let (written, data) = ask(&mut guest, &pieces);
    assert_eq!(written, 6004);
    let mut rest = data.clone();
    for (at, len) in pieces {
        let (at, len) = (usize::try_from(at).unwrap(), usize::try_from(len).unwrap());
        rest[at..at + len].fill(MARK);
    }
    assert!(rest.iter().all(|byte| *byte == MARK), "bytes beside the buffers changed");
    assert!(values(&data[0x200..0x200 + 1000]) > 200 && values(&data[0x1000..0x1000 + 5000]) > 240);
    assert_ne!(data[0x1000..0x1100], data[0x1100..0x1200]);
    let (_, again) = ask(&mut guest, &pieces);
    assert_ne!(data[0x200..0x210], again[0x200..0x210], "two requests are alike");
}

#[test]
fn a_long_request_is_answered_short() {
    let mut guest = started();
    for pieces in [&[(0, 0x4_0000)][..], &[(0, 0xffff), (0xffff, 0x1_0000)], &[(0, 0x1_0001)]] {
        let (written, data) = ask(&mut guest, pieces);
        assert_eq!(written, 0x1_0000, "{pieces:?}");
        assert!(values(&data[0xff00..0x1_0000]) > 100, "{pieces:?}");
        assert!(data[0x1_0000..].iter().all(|byte| *byte == MARK), "{pieces:?}");
    }
    let (written, _) = ask(&mut guest, &[(0, 0x1_0000)]);
    assert_eq!(written, 0x1_0000);
}

#[test]
fn what_is_offered_to_be_read_is_passed_over() {
    let mut guest = started();
    guest.memory.write(Gpa(HEADER), &[7; 16]).unwrap();
    guest.send(&[Descriptor(HEADER, 16, 0, 0), Descriptor(DATA, 32, WRITE, 0)]);
    assert_eq!(guest.take_used(), (0, 32));
    let mut header = [0; 16];
    guest.memory.read(Gpa(HEADER), &mut header).unwrap();
    assert_eq!(header, [7; 16]);
    assert!(values(&guest.data(32)) > 8);
}

#[test]
fn a_full_queue_wraps_round_and_every_request_is_its_own() {
    for event_index in [false, true] {
        let mut guest = Guest::with(Box::new(Rng));
        guest.start(Options { event_index, ..QUEUE });
        let mut seen = Vec::new();
        for _ in 0..5 {
            for index in 0..8 {
                guest.describe(index, Descriptor(DATA + u64::from(index) * 16, 16, WRITE, 0));
                guest.offer(index);
            }
            guest.kick();
            (0..8).for_each(|_| assert_eq!(guest.take_used().1, 16));
            seen.extend(guest.data(128).chunks(16).map(<[u8]>::to_vec));
        }
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), 40);
    }
}

#[test]
fn a_driver_that_breaks_the_rules_gets_a_reset_and_nobody_else_feels_it() {
    let (mut guest, mut other) = (started(), started());
    let good = Descriptor(DATA, 32, WRITE, 0);
    let chains: [(&str, &[Descriptor]); 10] = [
        ("nothing to write to", &[Descriptor(HEADER, 16, 0, 0)]),
        ("an empty buffer", &[Descriptor(DATA, 0, WRITE, 0)]),
        ("readable after writable", &[Descriptor(DATA, 32, WRITE | NEXT, 1), Descriptor(HEADER, 16, 0, 0)]),
        ("a loop of one", &[Descriptor(DATA, 32, WRITE | NEXT, 0)]),
        ("a loop of two", &[Descriptor(DATA, 32, WRITE | NEXT, 1), Descriptor(DATA, 32, WRITE | NEXT, 0)]),
        ("next out of the table", &[Descriptor(DATA, 32, WRITE | NEXT, 8)]),
        ("behind memory", &[Descriptor(RAM, 32, WRITE, 0)]),
        ("out of memory", &[Descriptor(RAM - 16, 32, WRITE, 0)]),
        ("round the address space", &[Descriptor(u64::MAX - 15, 32, WRITE, 0)]),
        ("4 GiB", &[Descriptor(DATA, u32::MAX, WRITE, 0)]),
    ];
    for (what, chain) in chains {
        guest.start(QUEUE);
        for (index, descriptor) in (0..).zip(chain) {
            guest.describe(index, *descriptor);
        }
        guest.offer(0);
        guest.kick();
        wait_until(what, || guest.status() & NEEDS_RESET != 0);
        assert_eq!(guest.used_index(), 0, "{what}");
        assert_works(&mut other);
        guest.start(QUEUE);
        guest.send(&[good]);
        assert_eq!(guest.take_used(), (0, 32), "{what}");
    }
    for head in [8, 0xffff] {
        guest.start(QUEUE);
        guest.offer(head);
        guest.kick();
        wait_until("a head out of the table", || guest.status() & NEEDS_RESET != 0);
    }
    guest.start(QUEUE);
    assert_works(&mut guest);
}

#[test]
fn a_reset_with_requests_in_the_ring_leaves_a_device_that_works() {
    let mut guest = started();
    for _ in 0..50 {
        for index in 0..8 {
            guest.describe(index, Descriptor(DATA, 0x1_0000, WRITE, 0));
            guest.offer(index);
        }
        guest.kick();
        guest.reset();
        guest.start(QUEUE);
        assert_works(&mut guest);
    }
}
