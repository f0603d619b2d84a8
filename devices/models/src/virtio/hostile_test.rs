//! A driver that breaks every rule: each time the device answers with an error or asks for a reset, starts again
//! after it, and nothing else comes of it.

use super::driver::{
    AVAILABLE, BAR, CONFIG, DATA, Descriptor, Guest, HEADER, INDIRECT, NEEDS_RESET, NEXT, Options, PLAIN,
    RAM, STATUS, TABLE, TABLE_FLAG, USED, WRITE,
};
use crate::bus::Width;
use crate::irq::fake::wait_until;
use crate::pci::Function;
use ami_run_memory::Gpa;

const HEAD: Descriptor = Descriptor(HEADER, 16, NEXT, 1);
const ANSWER: Descriptor = Descriptor(STATUS, 1, WRITE, 0);

/// Two machines: what is done to one must not be felt by the other.
struct Pair {
    hostile: Guest,
    other: Guest,
}

impl Pair {
    fn new() -> Pair {
        let mut other = Guest::new();
        other.start(PLAIN);
        Pair { hostile: Guest::new(), other }
    }

    /// Starts the device, lets `act` work on it; it must ask for a reset, work after one, and leave the other alone.
    fn breaks(&mut self, what: &str, options: Options, act: impl FnOnce(&mut Guest)) {
        let guest = &mut self.hostile;
        guest.start(options);
        guest.header(0, 1);
        act(guest);
        wait_until(what, || guest.status() & NEEDS_RESET != 0);
        wait_until("the interrupt of the configuration", || guest.host.messages(CONFIG) != 0);
        guest.start(PLAIN);
        guest.assert_works();
        self.other.assert_works();
    }
}

#[test]
fn chains_that_do_not_end_break_the_queue() {
    let mut pair = Pair::new();
    let chains: [(&str, &[Descriptor]); 7] = [
        ("a loop of one", &[Descriptor(HEADER, 16, NEXT, 0)]),
        ("a loop of two", &[HEAD, Descriptor(DATA, 512, NEXT | WRITE, 1)]),
        ("a loop of empty buffers", &[HEAD, Descriptor(DATA, 0, NEXT | WRITE, 1)]),
        ("a loop to the head", &[HEAD, Descriptor(HEADER, 16, NEXT, 0)]),
        ("next out of the table", &[HEAD, Descriptor(DATA, 512, NEXT | WRITE, 256)]),
        ("next far out", &[HEAD, Descriptor(DATA, 512, NEXT | WRITE, 0xffff)]),
        ("over 4 GiB", &[HEAD, Descriptor(DATA, 4096, NEXT | WRITE, 2), Descriptor(0, u32::MAX, WRITE, 0)]),
    ];
    for (what, chain) in chains {
        pair.breaks(what, PLAIN, |guest| offer_as_is(guest, chain, 0));
    }
    for head in [256, 0xffff] {
        pair.breaks("a head out of the table", PLAIN, |guest| offer_as_is(guest, &[HEAD], head));
    }
}

/// Puts the descriptors into the table with their own links.
fn offer_as_is(guest: &mut Guest, chain: &[Descriptor], head: u16) {
    for (index, descriptor) in (0..).zip(chain) {
        guest.describe(index, *descriptor);
    }
    guest.offer(head);
    guest.kick();
}

#[test]
fn broken_indirect_tables_break_the_queue() {
    let mut pair = Pair::new();
    let nested = [Descriptor(INDIRECT + 0x100, 16, TABLE_FLAG, 0)];
    let late = [HEAD, Descriptor(INDIRECT + 0x100, 16, TABLE_FLAG, 0)];
    let looped = [HEAD, Descriptor(DATA, 1, NEXT | WRITE, 1)];
    let outside = [HEAD, Descriptor(DATA, 1, NEXT | WRITE, 64)];
    for (what, gpa, len, table) in [
        ("a table in a table", INDIRECT, 16, &nested[..]),
        ("a table behind a table's first", INDIRECT, 32, &late[..]),
        ("an indirect loop", INDIRECT, 32, &looped[..]),
        ("a loop in a huge table", INDIRECT, 0xf_fff0, &looped[..]),
        ("next out of the indirect table", INDIRECT, 1024, &outside[..]),
        ("a cut table", INDIRECT, 31, &late[..]),
        ("an empty table", INDIRECT, 0, &late[..]),
        ("a table over 64 Ki", INDIRECT, 0x10_0000, &late[..]),
        ("the largest table", INDIRECT, 0xffff_fff0, &late[..]),
        ("a table outside memory", RAM, 32, &late[..]),
        ("a table that leaves memory", RAM - 8, 32, &[]),
        ("a table at the end of addresses", u64::MAX - 7, 32, &[]),
    ] {
        pair.breaks(what, PLAIN, |guest| {
            for (index, descriptor) in (0..).zip(table).filter(|_| gpa == INDIRECT) {
                guest.describe_at(INDIRECT, index, *descriptor);
            }
            guest.send(&[Descriptor(gpa, len, TABLE_FLAG, 0)]);
        });
    }
}

#[test]
fn a_chain_of_more_pieces_than_the_host_takes_breaks_the_queue() {
    let mut pair = Pair::new();
    let fill = |guest: &Guest, count: u16| {
        guest.describe_at(DATA, 0, HEAD);
        (1..count - 1)
            .for_each(|at| guest.describe_at(DATA, at, Descriptor(0x80000, 1, NEXT | WRITE, at + 1)));
        guest.describe_at(DATA, count - 1, ANSWER);
    };
    pair.breaks("1,025 descriptors", PLAIN, |guest| {
        fill(guest, 1025);
        guest.send(&[Descriptor(DATA, 1025 * 16, TABLE_FLAG, 0)]);
    });
    pair.hostile.header(0, 1);
    fill(&pair.hostile, 514);
    pair.hostile.send(&[Descriptor(DATA, 514 * 16, TABLE_FLAG, 0)]);
    assert_eq!((pair.hostile.take_used(), pair.hostile.answer()), ((0, 513), 0), "longer than the queue");
}

#[test]
fn buffers_outside_memory_and_in_the_wrong_order_break_the_queue() {
    let mut pair = Pair::new();
    let data = |gpa, len| [HEAD, Descriptor(gpa, len, WRITE, 0), ANSWER];
    for (what, chain) in [
        ("data behind memory", data(RAM, 512)),
        ("data that leaves memory", data(RAM - 256, 512)),
        ("data that wraps the address space", data(u64::MAX - 255, 512)),
        ("data of 4 GiB", data(DATA, u32::MAX)),
        ("a header outside", [Descriptor(1 << 40, 16, 0, 0), Descriptor(DATA, 512, WRITE, 0), ANSWER]),
        ("a status outside", [HEAD, Descriptor(DATA, 512, WRITE, 0), Descriptor(RAM, 1, WRITE, 0)]),
        ("readable after writable", [HEAD, Descriptor(DATA, 512, WRITE, 0), Descriptor(DATA, 512, 0, 0)]),
        ("a header behind the data", [Descriptor(DATA, 512, WRITE, 0), HEAD, ANSWER]),
    ] {
        pair.breaks(what, PLAIN, |guest| guest.send(&chain));
    }
}

#[test]
fn a_request_without_room_for_its_answer_breaks_the_queue() {
    let mut pair = Pair::new();
    for (what, chain) in [
        ("no status", &[HEAD, Descriptor(DATA, 512, 0, 0)][..]),
        ("an empty status", &[HEAD, Descriptor(STATUS, 0, WRITE, 0)][..]),
        ("a read-only status", &[HEAD, Descriptor(STATUS, 1, 0, 0)][..]),
        ("a header alone", &[HEAD][..]),
        ("nothing", &[Descriptor(DATA, 0, 0, 0)][..]),
    ] {
        pair.breaks(what, PLAIN, |guest| guest.send(chain));
    }
}

#[test]
fn a_short_header_is_an_error_and_overlapping_buffers_are_served() {
    let mut guest = Guest::new();
    guest.start(PLAIN);
    for len in [0, 1, 8, 15] {
        guest.header(0, 0);
        guest.send(&[Descriptor(HEADER, len, 0, 0), Descriptor(DATA, 512, WRITE, 0), ANSWER]);
        assert_eq!((guest.take_used(), guest.answer()), ((0, 1), 1), "a header of {len}");
    }
    guest.send(&[ANSWER]);
    assert_eq!((guest.take_used(), guest.answer()), ((0, 1), 1), "no header");
    guest.header(0, 5);
    let twice = Descriptor(DATA, 512, WRITE, 0);
    guest.send(&[Descriptor(HEADER, 16, 0, 0), twice, twice, Descriptor(DATA, 1, WRITE, 0)]);
    assert_eq!((guest.take_used(), guest.data(2)), ((0, 1025), vec![0, 6]));
    guest.header(0, 5);
    guest.send(&[Descriptor(HEADER, 16, 0, 0), Descriptor(HEADER, 512, WRITE, 0), ANSWER]);
    assert_eq!((guest.take_used(), guest.answer()), ((0, 513), 0), "data over the header");
    guest.assert_works();
}

#[test]
fn an_available_index_that_jumps_breaks_the_queue() {
    let mut pair = Pair::new();
    for (size, jump) in [(256, 257u16), (256, 0xffff), (256, 0x8000), (4, 5)] {
        pair.breaks("a jump", Options { size, ..PLAIN }, |guest| {
            guest.memory.write_record(Gpa(AVAILABLE + 2), &jump).unwrap();
            guest.kick();
        });
    }
}

#[test]
fn rings_that_are_not_in_memory_break_the_queue() {
    let mut pair = Pair::new();
    for rings in [
        [RAM, AVAILABLE, USED],
        [TABLE, RAM, USED],
        [TABLE, AVAILABLE, RAM],
        [RAM - 16, AVAILABLE, USED],
        [TABLE, RAM - 4, USED],
        [TABLE, AVAILABLE, RAM - 8],
        [!15, AVAILABLE, USED],
        [TABLE, u64::MAX - 1, USED],
        [TABLE, AVAILABLE, u64::MAX - 3],
        [TABLE + 8, AVAILABLE, USED],
        [TABLE, AVAILABLE + 1, USED],
        [TABLE, AVAILABLE, USED + 2],
        [TABLE, 0, USED],
    ] {
        pair.breaks("rings outside", Options { rings, ..PLAIN }, Guest::kick_only);
    }
}

#[test]
fn rings_that_overlap_harm_nobody_else() {
    let mut pair = Pair::new();
    for rings in [[TABLE, AVAILABLE, TABLE], [TABLE, TABLE, USED], [TABLE; 3], [TABLE, AVAILABLE, AVAILABLE]]
    {
        for event_index in [false, true] {
            let guest = &mut pair.hostile;
            guest.start(Options { event_index, rings, ..PLAIN });
            guest.header(0, 1);
            guest.send(&[HEAD, Descriptor(DATA, 512, WRITE, 0), ANSWER]);
            guest.offer(0);
            guest.kick();
            pair.other.assert_works();
            pair.hostile.start(PLAIN);
            pair.hostile.assert_works();
        }
    }
}

#[test]
fn kicks_for_nothing_cost_nothing_but_time() {
    let mut guest = Guest::new();
    guest.start(PLAIN);
    for _ in 0..10_000 {
        guest.kick();
        guest.write(0x3000, Width::Dword, u64::MAX);
        guest.write(0x3004, Width::Word, 1);
        guest.write(0x3ffc, Width::Word, 1);
    }
    assert_eq!(guest.used_index(), 0);
    guest.assert_works();
    assert_eq!(guest.used_index(), 1);
}

#[test]
fn status_in_absurd_order_never_starts_a_device_twice_or_half() {
    let mut guest = Guest::new();
    for status in [4, 0x84, 7, 0x40, 0x0c] {
        guest.reset();
        guest.set_up_queue();
        guest.write(20, Width::Byte, status);
        assert_eq!(guest.status() & (4 | NEEDS_RESET), 0, "driver-ok by {status:#x} without the features");
        assert_eq!(guest.host.bells(), [0u64; 0]);
    }
    guest.start(PLAIN);
    for status in [0x0f, 0x0b, 0x0f, 0x03, 0x04, 0x0f, 0x80, 0x40, 1, 0x0f] {
        guest.write(20, Width::Byte, status);
        assert_eq!(guest.status() & 0x4f, 0x0f, "a status bit goes by reset alone");
        guest.assert_works();
    }
    for _ in 0..20 {
        guest.reset();
        guest.reset();
    }
    guest.start(PLAIN);
    guest.assert_works();
}

#[test]
fn queues_are_set_up_before_driver_ok_or_not_at_all() {
    let mut guest = Guest::new();
    guest.start(PLAIN);
    guest.reset();
    guest.negotiate(0, 1);
    guest.write(20, Width::Byte, 0x0f);
    guest.set_up_queue();
    assert_eq!((guest.read(28, Width::Word), guest.host.bells()), (0, vec![]), "enabled after driver-ok");
    guest.reset();
    for size in [0, 3, 257, 512, 0xffff] {
        guest.write(24, Width::Word, size);
        assert_eq!(guest.read(24, Width::Word), 256, "a size of {size}");
    }
    guest.start(Options { size: 1, ..PLAIN });
    guest.describe_at(INDIRECT, 0, HEAD);
    guest.describe_at(INDIRECT, 1, ANSWER);
    guest.header(4, 0);
    guest.send(&[Descriptor(INDIRECT, 32, TABLE_FLAG, 0)]);
    assert_eq!((guest.take_used(), guest.answer()), ((0, 1), 0), "a queue of one place");
}

#[test]
fn writes_over_all_configuration_space_leave_a_device_that_can_be_used() {
    let mut guest = Guest::new();
    guest.start(PLAIN);
    for value in [0xff, 0, 0xa5, 0x5a] {
        for at in (0..=255u8).rev().chain(0..=255) {
            for (width, step) in [(Width::Byte, 1), (Width::Word, 2), (Width::Dword, 4)] {
                if at % step == 0 {
                    guest.device.config_write(at, width, u32::from_le_bytes([value; 4]));
                    guest.device.config_read(at, width);
                }
            }
        }
        assert_eq!(guest.device.config_read(0, Width::Dword), 0x1042_1af4);
    }
    guest.place_bars(BAR);
    guest.start(PLAIN);
    guest.assert_works();
}

#[test]
fn a_bar_that_moves_all_the_time_stops_nothing() {
    let mut guest = Guest::new();
    guest.start(PLAIN);
    for round in 0..200u64 {
        guest.header(0, round % 64);
        guest.describe(0, HEAD);
        guest.describe(1, Descriptor(DATA, 513, WRITE, 0));
        guest.offer(0);
        guest.kick();
        guest.place_bars(BAR + 0x1_0000 * (round % 7));
        guest.place_bars(0xffff_f000);
        guest.take_used();
        assert_eq!(u64::from(guest.data(1)[0]), round % 64);
    }
}
