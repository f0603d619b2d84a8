//! Commands in flight: a volume that answers late and in any order, under a driver, a gate and resets.

use super::driver_test::{ADMIN, CC_ON, DATA, Guest, data, read, write};
use super::spec::Sqe;
use crate::bus::{Access, Width};
use crate::irq::fake::{spawn, wait_until};
use crate::pci::Function;
use ami_run_memory::Gpa;
use ami_run_storage::{Fault, Op};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const CSTS: u64 = 0x1c;
const CC: u64 = 0x14;

fn held(entries: u16, completions: u16) -> Guest {
    let mut guest = Guest::with_queues(0);
    guest.create(1, entries, completions);
    guest.hold.close();
    guest
}

/// Sends so many reads of one sector each, from sector 100 on, which are held back. The number of the one of sector
/// 100 + n is n + 1.
fn fly(guest: &mut Guest, count: u16) {
    send(guest, count);
    guest.hold.wait_for(usize::from(count));
}

fn send(guest: &mut Guest, count: u16) {
    (0..u64::from(count)).for_each(|n| {
        let command = Sqe { prp1: (DATA + n * 4096).into(), ..read(100 + n, 1) };
        guest.offer(1, command);
    });
    guest.ring_tail(1);
}

/// Writes a register in a thread of its own.
fn write_aside(guest: &Guest, offset: u64, value: u64) -> JoinHandle<()> {
    let device = Arc::clone(&guest.device);
    spawn(move || {
        device.bar_write(0, Access::new(offset, Width::Dword), value);
    })
}

#[test]
fn each_command_of_a_batch_is_answered_once_when_it_is_finished() {
    for shared in [false, true] {
        let mut guest = held(64, 64);
        if shared {
            guest.share_doorbells();
        }
        fly(&mut guest, 32);
        for left in (1..=32u16).rev() {
            let place = usize::from(left * 7 % 32) % usize::from(left);
            let n = guest.hold.parked()[place].offset / 512 - 100;
            assert!(guest.peek(1).is_none());
            let (result, status) = if left % 8 == 0 { (Err(Fault::Io), 0x281) } else { (Ok(()), 0) };
            guest.hold.give_as(place, result);
            let cqe = guest.take(1);
            assert_eq!((u64::from(cqe.cid.get()), cqe.status.get() >> 1), (n + 1, status));
            assert_eq!(
                cqe.sq_head.get(),
                32,
                "all were taken out of the queue before the first was answered"
            );
            let mut bytes = [0; 512];
            guest.memory.read(Gpa(DATA + n * 4096), &mut bytes).unwrap();
            assert_eq!(bytes, [(100 + n).to_le_bytes()[0]; 512]);
        }
        guest.hold.open();
        guest.assert_works(1);
    }
}

#[test]
fn a_gate_closes_when_what_was_begun_is_answered_and_nothing_else() {
    let mut guest = held(128, 128);
    fly(&mut guest, 64);
    let (pass, _recall) = guest.gate.admit(|| ());
    let gate = Arc::clone(&guest.gate);
    let closing = spawn(move || gate.close(|| ()));
    wait_until("the gate begins to close", || !pass.is_good());
    drop(pass);
    for n in 0..32 {
        guest.hold.give(5);
        guest.take(1);
        guest.offer(1, data(read(n, 1)));
        guest.ring_tail(1);
    }
    assert!(!closing.is_finished() && guest.hold.parked().len() == 32);
    guest.hold.open();
    closing.join().unwrap();
    (0..32).for_each(|_| assert!(guest.take(1).cid.get() <= 64));
    assert!(guest.peek(1).is_none(), "the others were left in the queue");
    guest.gate.open();
    (65..97).for_each(|cid| assert_eq!(guest.take(1).cid.get(), cid));
}

#[test]
fn a_controller_reset_is_answered_when_what_was_begun_is() {
    let mut guest = Guest::with_queues(2);
    guest.hold.close();
    for n in 0..32 {
        guest.offer(1 + n % 2, data(read(n.into(), 1)));
    }
    (1..=2).for_each(|id| guest.ring_tail(id));
    guest.hold.wait_for(32);
    let reset = write_aside(&guest, CC, 0);
    guest.hold.give(3);
    std::thread::sleep(Duration::from_millis(5));
    assert!(!reset.is_finished());
    assert_eq!(guest.read(CSTS) & 1, 1, "it has not happened, and who looks does not wait");
    guest.hold.open();
    reset.join().unwrap();
    assert_eq!(guest.read(CSTS), 0);
    for id in [1, 2] {
        (0..16).for_each(|_| assert_eq!(guest.take(id).status.get() >> 1, 0));
        assert!(guest.peek(id).is_none());
    }
    assert_eq!(guest.enable(32, 32), 1);
    guest.create(1, 8, 8);
    guest.assert_works(1);
}

#[test]
fn a_queue_is_deleted_when_its_commands_are_answered_and_another_goes_on() {
    let mut guest = held(64, 64);
    guest.create(2, 8, 8);
    fly(&mut guest, 16);
    let delete = guest.offer(ADMIN, Sqe { opcode: 0, cdw10: 1.into(), ..Sqe::default() });
    let (hold, tail) = (Arc::clone(&guest.hold), guest.tail(ADMIN));
    let deleted = write_aside(&guest, 0x1000, tail.into());
    guest.offer(2, data(read(3, 1)));
    guest.ring_tail(2);
    hold.wait_for(17);
    let other = hold.parked().iter().position(|parked| parked.offset == 3 * 512).unwrap();
    hold.give(other);
    assert_eq!(guest.take(2).status.get() >> 1, 0);
    std::thread::sleep(Duration::from_millis(5));
    assert!(!deleted.is_finished() && guest.peek(ADMIN).is_none());
    hold.open();
    deleted.join().unwrap();
    (0..16).for_each(|_| assert_eq!(guest.take(1).status.get() >> 1, 0));
    assert_eq!(guest.take(ADMIN).cid.get(), delete);
}

#[test]
fn what_is_at_work_has_a_bound_and_a_place_for_its_answer() {
    for (entries, completions, most) in [(1024, 1024, 64), (256, 4, 3)] {
        let mut guest = held(entries, completions);
        send(&mut guest, 200);
        for given in 1..=40 {
            guest.hold.wait_for(most);
            std::thread::sleep(Duration::from_micros(100));
            guest.hold.wait_for(most);
            guest.hold.give(given % most);
            assert_eq!(guest.take(1).status.get() >> 1, 0);
        }
        guest.hold.open();
        (0..160).for_each(|_| assert_eq!(guest.take(1).status.get() >> 1, 0));
        assert!(guest.peek(1).is_none());
    }
}

#[test]
fn a_command_of_several_ranges_ends_with_the_last_and_fails_with_any() {
    let mut guest = held(8, 8);
    let range = |start: u64| [&[0; 4], &8u32.to_le_bytes()[..], &start.to_le_bytes()].concat();
    guest.memory.write(Gpa(DATA), &[range(8), range(32), range(64)].concat()).unwrap();
    let dsm = Sqe { opcode: 9, nsid: 1.into(), cdw10: 2.into(), cdw11: 4.into(), ..Sqe::default() };
    for fails in [0, 1, 2, 9] {
        let cid = guest.offer(1, data(dsm));
        guest.ring_tail(1);
        guest.hold.wait_for(3);
        for given in 0..3 {
            assert!(guest.peek(1).is_none());
            guest.hold.give_as(0, if given == fails { Err(Fault::Io) } else { Ok(()) });
        }
        let cqe = guest.take(1);
        assert_eq!((cqe.cid.get(), cqe.status.get() >> 1), (cid, if fails < 3 { 6 } else { 0 }));
    }
    assert!(guest.peek(1).is_none());
}

#[test]
fn a_volume_that_has_failed_answers_with_errors() {
    let mut guest = held(8, 8);
    let flush = Sqe { opcode: 0, nsid: 1.into(), ..Sqe::default() };
    let zeroes = Sqe { opcode: 8, ..write(9, 1) };
    for (command, fault, status) in [
        (read(3, 1), Fault::Io, 0x281),
        (write(3, 1), Fault::Io, 0x280),
        (write(3, 1), Fault::NoSpace, 0x4081),
        (zeroes, Fault::Io, 0x280),
        (flush, Fault::Io, 6),
    ] {
        let cid = guest.offer(1, command);
        guest.ring_tail(1);
        guest.hold.wait_for(1);
        guest.hold.give_as(0, Err(fault));
        let cqe = guest.take(1);
        assert_eq!((cqe.cid.get(), cqe.status.get() >> 1), (cid, status));
    }
}

#[test]
fn each_command_is_counted_with_its_own_time() {
    let mut guest = held(8, 8);
    let number = |page: &[u8], at: usize| u64::from_le_bytes(page[at..at + 8].try_into().unwrap());
    let since = Instant::now();
    fly(&mut guest, 2);
    guest.hold.give(1);
    guest.take(1);
    let (_, page) = guest.log_page(0xd0, 4096);
    let (micros, first) = (number(&page, 40), since.elapsed());
    assert_eq!((number(&page, 8), number(&page, 24), number(&page, 88)), (1, 512, 1), "one is at work still");
    assert!(u128::from(micros) <= first.as_micros());
    std::thread::sleep(Duration::from_millis(20));
    guest.hold.give(0);
    guest.take(1);
    let (_, page) = guest.log_page(0xd0, 4096);
    assert_eq!((number(&page, 8), number(&page, 24), number(&page, 88)), (2, 1024, 0));
    assert!(number(&page, 40) >= micros + 20_000);
}

#[test]
fn a_shutdown_is_done_when_the_volume_is_flushed_or_never() {
    for (result, status) in [(Ok(()), 9), (Err(Fault::Io), 2)] {
        let guest = held(8, 8);
        let shutdown = write_aside(&guest, CC, CC_ON | 1 << 14);
        guest.hold.wait_for(1);
        assert_eq!(guest.hold.parked()[0].op, Op::Flush);
        assert_eq!((guest.read(CSTS), shutdown.is_finished()), (1, false));
        guest.hold.give_as(0, result);
        shutdown.join().unwrap();
        assert_eq!(guest.read(CSTS), status);
    }
}

#[test]
fn a_driver_that_rings_only_when_asked_never_waits_in_vain() {
    let mut guest = Guest::with_queues(1);
    guest.share_doorbells();
    for round in 0..100_000u32 {
        guest.offer(1, read(9, 1));
        guest.ring_tail(1);
        (0..round % 977).for_each(|_| std::hint::spin_loop());
        while u32::from(guest.outstanding(1)) > u32::from(round % 8 == 0) {
            let start = Instant::now();
            while guest.peek(1).is_none() {
                assert!(start.elapsed() < Duration::from_secs(120), "a doorbell was lost");
                std::hint::spin_loop();
            }
            assert_eq!(guest.take(1).status.get() >> 1, 0);
        }
    }
}
