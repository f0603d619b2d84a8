//! Requests in flight: a disk that answers late and in any order, under a driver, a gate and a reset.

use super::driver::{DATA, Descriptor, Guest, HEADER, NEXT, Options, PLAIN, SECTORS, STATUS, WRITE};
use crate::bus::{Access, Width};
use crate::gate::Gate;
use crate::irq::fake::{spawn, wait_until};
use crate::pci::Function;
use ami_run_memory::Gpa;
use ami_run_storage::{Fault, Op};
use std::sync::Arc;
use std::time::{Duration, Instant};

const READ: u32 = 0;
const OUT: u32 = 1;
const FLUSH: u32 = 4;
const OK: u8 = 0;
const IO_ERROR: u8 = 1;

fn held(options: Options) -> Guest {
    let mut guest = Guest::new();
    guest.start(options);
    guest.hold.close();
    guest
}

/// Offers request `n`, of one sector, with a header, data and status of its own. Its head is 3 `n`.
fn offer(guest: &mut Guest, n: u16, kind: u32, sector: u64) {
    let (head, at) = (n * 3, u64::from(n));
    guest.memory.write(Gpa(HEADER + at * 16), &[kind.to_le_bytes(), [0; 4]].concat()).unwrap();
    guest.memory.write_record(Gpa(HEADER + at * 16 + 8), &sector).unwrap();
    guest.memory.write_record(Gpa(STATUS + at), &0xeeu8).unwrap();
    let flags = if kind == READ { NEXT | WRITE } else { NEXT };
    guest.describe(head, Descriptor(HEADER + at * 16, 16, NEXT, head + 1));
    guest.describe(head + 1, Descriptor(DATA + at * 512, 512, flags, head + 2));
    guest.describe(head + 2, Descriptor(STATUS + at, 1, WRITE, 0));
    guest.offer(head);
}

fn status(guest: &Guest, n: u16) -> u8 {
    guest.memory.read_record(Gpa(STATUS + u64::from(n))).unwrap()
}

/// Offers so many reads of the sectors from 100 on, which are held back.
fn fly(guest: &mut Guest, count: u16) {
    (0..count).for_each(|n| offer(guest, n, READ, 100 + u64::from(n)));
    guest.kick();
    guest.hold.wait_for(usize::from(count));
}

#[test]
fn each_request_of_a_batch_is_answered_once_when_it_is_finished() {
    for event_index in [false, true] {
        let mut guest = held(Options { event_index, ..PLAIN });
        fly(&mut guest, 32);
        for left in (1..=32u16).rev() {
            let place = usize::from(left * 7 % 32) % usize::from(left);
            let n = u16::try_from(guest.hold.parked()[place].offset / 512 - 100).unwrap();
            assert_eq!((guest.used_index(), status(&guest, n)), (32 - left, 0xee));
            let fails = left % 8 == 0;
            let (result, answer, written) =
                if fails { (Err(Fault::Io), IO_ERROR, 1) } else { (Ok(()), OK, 513) };
            guest.hold.give_as(place, result);
            assert_eq!((guest.take_used(), status(&guest, n)), ((u32::from(n) * 3, written), answer));
            let mut data = [0; 512];
            guest.memory.read(Gpa(DATA + u64::from(n) * 512), &mut data).unwrap();
            assert_eq!(data, [u8::try_from(100 + n).unwrap(); 512]);
        }
        assert_eq!(guest.used_index(), 32);
        guest.hold.open();
        guest.assert_works();
    }
}

#[test]
fn a_flush_is_answered_by_its_own_end() {
    let mut guest = held(PLAIN);
    offer(&mut guest, 0, OUT, 7);
    offer(&mut guest, 1, FLUSH, 0);
    offer(&mut guest, 2, OUT, 8);
    guest.kick();
    guest.hold.wait_for(3);
    for _ in 0..2 {
        let write = guest.hold.parked().iter().position(|parked| parked.op == Op::Write).unwrap();
        guest.hold.give(write);
        assert_ne!(guest.take_used().0, 3);
    }
    assert_eq!(status(&guest, 1), 0xee);
    guest.hold.give_as(0, Err(Fault::Io));
    assert_eq!((guest.take_used(), status(&guest, 1)), ((3, 1), IO_ERROR));
}

/// Closes the gate in a thread of its own. Returns when it is on its way.
fn close(gate: &Arc<Gate>) -> std::thread::JoinHandle<()> {
    let (pass, _recall) = gate.admit(|| ());
    let closed = Arc::clone(gate);
    let closing = spawn(move || closed.close(|| ()));
    wait_until("the gate begins to close", || !pass.is_good());
    closing
}

#[test]
fn a_gate_closes_when_what_was_begun_is_answered_and_nothing_else() {
    let mut guest = held(PLAIN);
    fly(&mut guest, 64);
    let closing = close(&guest.gate);
    offer(&mut guest, 64, READ, 5);
    guest.kick();
    for _ in 0..32 {
        guest.hold.give(5);
        guest.take_used();
        guest.kick();
    }
    assert!(!closing.is_finished() && guest.hold.parked().len() == 32);
    guest.hold.open();
    closing.join().unwrap();
    assert_eq!(guest.used_index(), 64, "the last one was left in the ring");
    guest.gate.open();
    (0..33).for_each(|_| assert_eq!(guest.take_used().1, 513));
    assert_eq!(status(&guest, 64), OK);
}

#[test]
fn a_reset_is_answered_when_what_was_begun_is() {
    let mut guest = held(PLAIN);
    for round in 0..10 {
        fly(&mut guest, 32);
        let device = Arc::clone(&guest.device);
        let reset = spawn(move || {
            device.bar_write(0, Access::new(20, Width::Byte), 0);
        });
        for _ in 0..round {
            guest.hold.give(3);
            guest.take_used();
        }
        std::thread::sleep(Duration::from_millis(5));
        assert!(!reset.is_finished());
        guest.hold.open();
        reset.join().unwrap();
        assert_eq!((guest.used_index(), guest.status()), (32, 0));
        guest.start(PLAIN);
        guest.assert_works();
        guest.start(PLAIN);
        guest.hold.close();
    }
}

#[test]
fn a_ring_that_breaks_with_requests_in_flight_gives_none_of_them_back() {
    let mut guest = held(PLAIN);
    fly(&mut guest, 32);
    guest.offer(256);
    guest.kick();
    wait_until("the device asks for a reset", || guest.status() & super::driver::NEEDS_RESET != 0);
    guest.hold.open();
    guest.reset();
    assert_eq!(guest.used_index(), 0);
    guest.start(PLAIN);
    guest.assert_works();
}

#[test]
fn no_more_is_begun_than_the_queue_holds_and_room_is_used_at_once() {
    let mut guest = held(Options { size: 4, ..PLAIN });
    guest.header(READ, 9);
    guest.describe(0, Descriptor(HEADER, 16, NEXT, 1));
    guest.describe(1, Descriptor(DATA, 513, WRITE, 0));
    for _ in 0..2 {
        (0..4).for_each(|_| guest.offer(0));
        guest.kick();
        guest.hold.wait_for(4);
    }
    for given in 1..=4 {
        std::thread::sleep(Duration::from_millis(1));
        guest.hold.wait_for(4);
        guest.hold.give(0);
        assert_eq!(guest.take_used(), (0, 513));
        assert_eq!(guest.used_index(), given);
    }
    guest.hold.wait_for(4);
    guest.hold.open();
    (0..4).for_each(|_| assert_eq!(guest.take_used(), (0, 513)));
}

/// Waits without sleeping, so that what is offered next comes at any moment of the device's work.
fn spin(rounds: u32, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    (0..rounds).for_each(|_| std::hint::spin_loop());
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(120), "a kick was lost");
        std::thread::yield_now();
    }
}

#[test]
fn a_driver_that_rings_only_when_asked_never_waits_in_vain() {
    const ROUNDS: u32 = 20_000;
    for event_index in [false, true] {
        let mut guest = Guest::new();
        guest.start(Options { event_index, ..PLAIN });
        guest.header(READ, SECTORS - 1);
        guest.describe(0, Descriptor(HEADER, 16, NEXT, 1));
        guest.describe(1, Descriptor(DATA, 513, WRITE, 0));
        let (start, mut open, mut quiet, mut round) = (Instant::now(), 0, 0, 0);
        // Who rings each time would show nothing: on a busy machine it takes more rounds to meet the device at work.
        while round < ROUNDS || (quiet == 0 && start.elapsed() < Duration::from_secs(120)) {
            let before = guest.offered();
            guest.offer(0);
            open += 1;
            if guest.wants_kick(before) {
                guest.kick();
            } else {
                quiet += 1;
            }
            spin(round % 977, || true);
            while open > round / 64 % 16 {
                spin(0, || guest.has_used());
                assert_eq!(guest.take_used(), (0, 513));
                open -= 1;
            }
            round += 1;
        }
        assert!(quiet > 0 && quiet < round, "{quiet} of {round} needed no doorbell");
    }
}
