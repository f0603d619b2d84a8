//! A driver that breaks every rule: each time there is an error, or nothing, and the controller works afterwards.

use super::driver_test::{
    ADMIN, BAR, CC_ON, DATA, Guest, LIST, RAM, create_cq, create_sq, data, read, write,
};
use super::spec::Sqe;
use crate::bus::{Access, Width};
use crate::irq::fake::wait_until;
use crate::pci::Function;
use ami_run_memory::Gpa;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::TryRecvError;

const RING: u64 = 0x70_0000;

fn admin(opcode: u8, cdw10: u32, cdw11: u32) -> Sqe {
    data(Sqe { opcode, cdw10: cdw10.into(), cdw11: cdw11.into(), ..Sqe::default() })
}

#[test]
fn a_controller_without_sound_admin_queues_fails_and_can_be_reset() {
    let mut guest = Guest::new();
    let good = (0x001f_001f, 0x10_0000, 0x12_0000, CC_ON);
    let cases = [
        (0, good.1, good.2, good.3),
        (0x0000_001f, good.1, good.2, good.3),
        (0x001f_0000, good.1, good.2, good.3),
        (good.0, BAR, good.2, good.3),
        (good.0, good.1, RAM, good.3),
        (0x0fff_0fff, RAM - 4096, good.2, good.3),
        (good.0, 0xffff_f000, 0xffff_f000, good.3),
        (good.0, good.1, good.2, CC_ON | 1 << 7),
        (good.0, good.1, good.2, CC_ON | 7 << 4),
        (good.0, good.1, good.2, CC_ON | 1 << 11),
    ];
    for (aqa, asq, acq, cc) in cases {
        for (at, value) in [(0x24, aqa), (0x28, asq), (0x2c, 0), (0x30, acq), (0x34, 0), (0x14, cc)] {
            guest.write(at, value);
        }
        assert_eq!(guest.read(0x1c), 2, "{aqa:#x} {asq:#x} {acq:#x} {cc:#x}");
        for at in (0x1000..0x1100).step_by(4) {
            guest.write(at, 1);
        }
        guest.write(0x14, 0);
        assert_eq!(guest.read(0x1c), 0);
    }
    assert_eq!(guest.enable(32, 32), 1);
    guest.create(1, 8, 8);
    guest.assert_works(1);
}

#[test]
fn wrong_queues_are_refused() {
    let mut guest = Guest::with_queues(1);
    let cq = |id, size, base| create_cq(id, size, base, 3 | 1 << 16);
    let cases = [
        (cq(0, 8, RING), 0x4101),
        (cq(1, 8, RING), 0x4101),
        (cq(17, 8, RING), 0x4101),
        (cq(0xffff, 8, RING), 0x4101),
        (cq(2, 1, RING), 0x4102),
        (cq(2, 1025, RING), 0x4102),
        (cq(2, 0, RING), 0x4102),
        (cq(2, 8, RING + 8), 0x4013),
        (cq(2, 8, RAM), 0x4002),
        (cq(2, 1024, RAM - 4096), 0x4002),
        (cq(2, 8, u64::MAX - 4095), 0x4002),
        (create_cq(2, 8, RING, 2), 0x4002),
        (create_cq(2, 8, RING, 3 | 17 << 16), 0x4108),
        (create_cq(2, 8, RING, 3 | 0xffff << 16), 0x4108),
        (create_sq(0, 8, RING, 1), 0x4101),
        (create_sq(1, 8, RING, 1), 0x4101),
        (create_sq(2, 8, RING, 0), 0x4101),
        (create_sq(2, 8, RING, 17), 0x4101),
        (create_sq(2, 8, RING, 2), 0x4100),
        (create_sq(2, 1, RING, 1), 0x4102),
        (create_sq(2, 8, BAR, 1), 0x4002),
        (Sqe { cdw11: (1 << 16).into(), ..create_sq(2, 8, RING, 1) }, 0x4002),
        (admin(0, 2, 0), 0x4101),
        (admin(0, 0, 0), 0x4101),
        (admin(4, 0, 0), 0x4101),
        (admin(4, 9, 0), 0x4101),
        (admin(4, 1, 0), 0x410c),
        (admin(6, 0, 0), 0x400b),
        (admin(6, 4, 0), 0x4002),
        (Sqe { nsid: u32::MAX.into(), ..admin(6, 2, 0) }, 0x400b),
        (Sqe { prp1: RAM.into(), ..admin(6, 1, 0) }, 0x4004),
        (Sqe { prp1: 1.into(), ..admin(6, 1, 0) }, 0x4013),
        (Sqe { prp1: 8.into(), ..admin(0x7c, 0, 0) }, 0x4002),
        (Sqe { prp2: RAM.into(), ..admin(0x7c, 0, 0) }, 0x4002),
        (Sqe { flags: 0x80, ..admin(8, 0, 0) }, 0x4002),
        (Sqe { cdw12: 4096.into(), ..admin(2, 2, 0) }, 0x4002),
        (Sqe { cdw13: u32::MAX.into(), ..admin(2, 2, 0) }, 0x4002),
    ];
    for (command, status) in cases {
        assert_eq!(guest.admin(command), (status, 0), "{command:?}");
    }
    for opcode in (0..=255).filter(|opcode| ![0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 0x7c].contains(opcode)) {
        assert_eq!(guest.admin(admin(opcode, 0, 0)).0, 0x4001);
    }
    // A log page of more than its length, into whatever lies behind the last page.
    assert_eq!(guest.admin(Sqe { prp1: (RAM - 4096).into(), ..admin(2, 0xffff_0004, 0xffff) }), (0, 0));
    assert_eq!(guest.admin(admin(0, 1, 0)), (0, 0));
    assert_eq!(guest.admin(admin(4, 1, 0)), (0, 0));
    guest.create(1, 8, 8);
    guest.assert_works(1);
}

#[test]
fn entry_sizes_must_be_set_before_queues_are_made() {
    let mut guest = Guest::started();
    guest.write(0x14, 1);
    assert_eq!(guest.admin(create_cq(1, 8, RING, 1)).0, 0x4102);
    guest.write(0x14, CC_ON);
    guest.create(1, 8, 8);
    guest.assert_works(1);
}

#[test]
fn wrong_doorbells_are_told_once_and_change_nothing() {
    let mut guest = Guest::with_queues(1);
    for cid in 0..5 {
        guest.offer(ADMIN, admin(0x0c, cid, 0));
    }
    guest.ring_tail(ADMIN);
    assert_eq!(guest.take(ADMIN).status.get() >> 1, 0x4105, "the fifth is one too many");
    for (offset, value, told) in [
        (0x1000, 32, 0x0001_0100),
        (0x1000, 0xffff_ffff, 0x0001_0100),
        (0x1008, 64, 0x0001_0100),
        (0x100c, 63, 0x0001_0100),
    ] {
        for _ in 0..1000 {
            guest.write(offset, value);
        }
        let cqe = guest.take(ADMIN);
        assert_eq!((cqe.status.get() >> 1, cqe.result.get()), (0, told), "{offset:#x}");
        assert_eq!(guest.log_page(1, 64).0, 0);
    }
    for offset in [0x1010, 0x1014, 0x1ffc, 0x1800] {
        guest.write(offset, 0);
    }
    guest.offer(ADMIN, admin(0x0c, 0, 0));
    guest.ring_tail(ADMIN);
    assert_eq!(guest.take(ADMIN).result.get(), 0x0001_0000);
    for width in [Width::Byte, Width::Word, Width::Qword] {
        for offset in 0..0x4000 {
            if !(0x10..0x18).contains(&offset) {
                guest.device.bar_write(0, Access::new(offset, width), 0x3e);
                guest.device.bar_read(0, Access::new(offset, width));
            }
        }
    }
    guest.assert_works(1);
}

#[test]
fn a_full_completion_queue_holds_commands_back_and_loses_none() {
    for shared in [false, true] {
        let mut guest = Guest::started();
        guest.turn_msix_on();
        guest.create(1, 1024, 4);
        // A second submission queue of the same completion queue.
        assert_eq!(guest.admin(create_sq(2, 64, RING, 1)), (0, 0));
        if shared {
            guest.share_doorbells();
        }
        for round in 0..3 {
            (0..900).for_each(|at| {
                guest.offer(1, read(at, 1));
            });
            guest.ring_tail(1);
            // What is beside it goes on.
            wait_until("a first completion", || guest.peek(1).is_some());
            assert_eq!(guest.admin(admin(8, 1, 0)), (0, 1), "round {round}");
            for _ in 0..900 {
                assert_eq!(guest.take(1).status.get() >> 1, 0);
            }
            assert!(guest.peek(1).is_none());
        }
        // Left full, then deleted, then reset.
        (0..500).for_each(|at| {
            guest.offer(1, read(at, 1));
        });
        guest.ring_tail(1);
        assert_eq!(guest.admin(admin(0, 1, 0)), (0, 0));
        assert_eq!(guest.enable(32, 32), 1);
        guest.create(1, 8, 8);
        guest.assert_works(1);
    }
}

#[test]
fn an_admin_completion_queue_that_nobody_reads_stops_the_admin_queue_alone() {
    let mut guest = Guest::with_queues(1);
    assert_eq!(guest.enable(64, 2), 1);
    for _ in 0..63 {
        guest.offer(ADMIN, admin(8, 0, 0));
    }
    for _ in 0..1000 {
        guest.ring_tail(ADMIN);
        guest.device.volume_changed();
    }
    for _ in 0..63 {
        assert_eq!(guest.take(ADMIN).result.get(), 1);
    }
    guest.create(1, 8, 8);
    guest.assert_works(1);
}

#[test]
fn shadow_doorbells_with_nonsense_in_them_do_nothing() {
    let mut guest = Guest::with_queues(2);
    guest.share_doorbells();
    for value in [64, 65, 0xffff, 0x1_0000, u32::MAX] {
        for at in [0x8008, 0x800c, 0x8010, 0x8014] {
            guest.memory.store_u32(Gpa(at), value).unwrap();
        }
        for offset in [0x1008, 0x100c, 0x1010, 0x1014] {
            guest.ring_register(offset, 1);
        }
    }
    // Pages that are the queues themselves, and each other.
    for page in [0x13_0000u64, 0x15_0000, 0x8000] {
        let command = Sqe { prp1: page.into(), prp2: page.into(), ..admin(0x7c, 0, 0) };
        assert_eq!(guest.admin(command), (0, 0));
        for offset in [0x1008, 0x100c, 0x1010, 0x1014] {
            guest.ring_register(offset, 1);
        }
    }
    assert_eq!(guest.enable(32, 32), 1);
    guest.create(1, 8, 8);
    guest.share_doorbells();
    guest.assert_works(1);
}

#[test]
fn queues_that_lie_over_each_other_and_over_their_data_end_nothing() {
    let mut guest = Guest::with_queues(1);
    let other = Guest::with_queues(1);
    assert_eq!(guest.admin(create_cq(2, 64, RING, 1)), (0, 0));
    for id in [2, 3] {
        assert_eq!(guest.admin(create_sq(id, 64, RING, 2)), (0, 0));
    }
    let into_the_ring = Sqe { prp1: RING.into(), prp2: RING.into(), ..read(3, 8) };
    let bytes: Vec<u8> =
        (0..64).flat_map(|_| zerocopy::IntoBytes::as_bytes(&into_the_ring).to_vec()).collect();
    guest.memory.write(Gpa(RING), &bytes).unwrap();
    for round in 0..200 {
        for offset in [0x1010, 0x1018, 0x1014] {
            guest.write(offset, round % 64);
        }
        guest.assert_works(1);
    }
    let mut other = other;
    other.assert_works(1);
    guest.write(0x14, 0);
    assert_eq!(guest.enable(32, 32), 1);
    guest.create(1, 8, 8);
    guest.assert_works(1);
}

#[test]
fn several_vcpus_that_write_anything_anywhere_leave_a_controller_that_works() {
    let mut guest = Guest::with_queues(4);
    guest.share_doorbells();
    for command in [read(0, 8), write(0, 8), admin(8, 0, 0), admin(0, 1, 0), create_cq(3, 8, RING, 3)] {
        for id in 0..5 {
            guest.offer(id, command);
        }
    }
    std::thread::scope(|scope| {
        for thread in 1..=3u64 {
            let device = Arc::clone(&guest.device);
            scope.spawn(move || {
                let mut state = thread.wrapping_mul(0x9e37_79b9_7f4a_7c15);
                for _ in 0..20_000 {
                    state ^= state << 13;
                    state ^= state >> 7;
                    state ^= state << 17;
                    let offset = match state % 8 {
                        0..5 => 0x1000 + (state >> 8) % 0x30 * 4,
                        5 => 0x2000 + (state >> 8) % 0x400 * 4,
                        _ => (state >> 8) % 0x10 * 4,
                    };
                    let value = match offset {
                        0x14 => CC_ON ^ (state >> 32 & 1),
                        0x24 => 0x001f_001f,
                        0x28 => 0x10_0000,
                        0x30 => 0x12_0000,
                        0x1000.. => (state >> 40) % 40,
                        _ => state >> 40,
                    };
                    device.bar_write(0, Access::new(offset, Width::Dword), value);
                    device.bar_read(0, Access::new(offset, Width::Dword));
                }
            });
        }
    });
    assert_eq!(guest.enable(32, 32), 1);
    guest.turn_msix_on();
    guest.create(1, 64, 64);
    guest.assert_works(1);
}

/// A hundred thousand aborts, and some of everything else that leaves something lying.
fn flood_once(guest: &mut Guest) {
    for _ in 0..100_000 / 20 {
        for _ in 0..20 {
            guest.offer(ADMIN, admin(8, 1, 0));
        }
        guest.ring_tail(ADMIN);
        for _ in 0..20 {
            guest.take(ADMIN);
        }
    }
    for _ in 0..1000 {
        guest.offer(ADMIN, admin(0x0c, 0, 0));
        guest.ring_tail(ADMIN);
        if guest.peek(ADMIN).is_some() {
            guest.take(ADMIN);
        }
        guest.write(0x1ff8, 0);
        guest.device.volume_changed();
        assert_eq!(guest.admin_skipping_events(create_cq(2, 64, RING, 1)), 0);
        assert_eq!(guest.admin_skipping_events(admin(4, 2, 0)), 0);
        assert_eq!(guest.run(1, Sqe { prp2: LIST.into(), ..read(0, 1024) }).0, 0x4013);
    }
}

#[test]
#[ignore = "run by the next test, in a process of its own"]
fn flood() {
    let mut guest = Guest::with_queues(1);
    let mut other = Guest::with_queues(1);
    let list = [DATA.to_le_bytes(), (DATA + 4).to_le_bytes()].concat();
    guest.memory.write(Gpa(LIST), &list).unwrap();
    let (mut resident, served) = (Vec::new(), AtomicU64::new(0));
    // It closes with this test, however that ends.
    let (on, going) = std::sync::mpsc::channel::<()>();
    std::thread::scope(|scope| {
        let (on, served) = (on, &served);
        scope.spawn(move || {
            while going.try_recv() != Err(TryRecvError::Disconnected) {
                other.assert_works(1);
                served.fetch_add(1, Ordering::Relaxed);
            }
        });
        for _ in 0..10 {
            let goal = served.load(Ordering::Relaxed) + 10;
            let floods = (1..100).find(|_| {
                flood_once(&mut guest);
                served.load(Ordering::Relaxed) >= goal
            });
            assert!(floods.is_some(), "another volume stands still");
            resident.push(resident_pages());
        }
        drop(on);
    });
    // Eight bytes kept for each abort would be nearly as much.
    assert!(resident[9] < resident[0] + 1024, "{resident:?}");
}

fn resident_pages() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse().unwrap()
}

#[test]
fn a_million_commands_leave_memory_bounded_and_another_volume_served() {
    let output = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "nvme::hostile_test::flood", "--ignored", "--test-threads", "1"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}
