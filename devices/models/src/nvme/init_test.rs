//! The controller as SeaBIOS, OVMF and Linux bring it up.

use super::Identity;
use super::driver_test::{ADMIN, BAR, CC_ON, DATA, Guest, LIST, SECTORS, data, read, write};
use super::spec::Sqe;
use crate::bus::{Access, Width};
use crate::irq::fake::wait_until;
use crate::pci::Function;
use crate::stages::{Stage, Stages};
use ami_run_memory::Gpa;
use std::sync::Arc;

const LIMITED_RETRY: u32 = 1 << 31;

fn features(opcode: u8, id: u32, value: u32) -> Sqe {
    Sqe { opcode, cdw10: id.into(), cdw11: value.into(), ..Sqe::default() }
}

#[test]
fn the_function_is_ec2_s() {
    let guest = Guest::new();
    let config = |at| guest.device.config_read(at, Width::Dword);
    assert_eq!(config(0), 0x8061_1d0f);
    assert_eq!(config(8), 0x0108_0200);
    assert_eq!(config(0x2c) & 0xffff, 0x1d0f);
    assert_eq!(config(0x3c) >> 8 & 0xff, 1, "pin A");
    let msix = u8::try_from(config(0x34) & 0xff).unwrap();
    assert_eq!(config(msix) >> 16 & 0x7ff, 16, "17 vectors");
    assert_eq!((config(msix + 4), config(msix + 8)), (0x2000, 0x2800));
    assert_eq!(guest.device.bar(0).unwrap().len, 0x4000);
    let store = Guest::with(Identity::instance_store("AWS24BBF51AF55097008", "ephemeral0:sdb"));
    assert_eq!(store.device.config_read(0, Width::Dword), 0xcd01_1d0f);
}

#[test]
fn seabios_reads_with_one_polled_queue() {
    let mut guest = Guest::new();
    assert_eq!(guest.read(0) & 0xffff, 1023);
    assert_eq!(guest.read(4) & 0x20, 0x20);
    assert_eq!(guest.enable(64, 256), 1);
    let (status, page) = guest.identify(1, 0);
    assert_eq!((status, page[516], page[77]), (0, 1, 7));
    guest.create_with(1, 256, 256, 1);
    let (status, page) = guest.identify(0, 1);
    assert_eq!((status, &page[..8], page[130]), (0, &SECTORS.to_le_bytes()[..], 9));
    // 64 KiB by a list of 15 pages.
    let pages: Vec<u8> = (1..16u64).flat_map(|page| (DATA + page * 4096).to_le_bytes()).collect();
    guest.memory.write(Gpa(LIST), &pages).unwrap();
    for start in [0, 128, 256] {
        let mut command = read(start, 128);
        command.prp2 = LIST.into();
        command.cdw12 = (127 | LIMITED_RETRY).into();
        assert_eq!(guest.run(1, command), (0, 0));
        let sectors: Vec<u8> = guest.data(65536).chunks(512).map(|sector| sector[511]).collect();
        let expected: Vec<u8> = (start..start + 128).map(|sector| sector.to_le_bytes()[0]).collect();
        assert_eq!(sectors, expected);
    }
    // The operating system finds it enabled.
    assert_eq!(guest.enable(32, 32), 1);
}

#[test]
fn ovmf_s_smallest_queues_work() {
    let mut guest = Guest::new();
    assert_eq!(guest.enable(2, 2), 1);
    for _ in 0..5 {
        assert_eq!(guest.identify(0, 1).0, 0);
    }
    guest.create_with(1, 2, 2, 1);
    guest.create_with(2, 64, 256, 1);
    for _ in 0..300 {
        guest.assert_works(1);
        guest.assert_works(2);
    }
    // ResetSystem: a normal shutdown, which is complete when it reads as such.
    guest.write(0x14, CC_ON | 1 << 14);
    assert_eq!(guest.read(0x1c), 9);
}

#[test]
fn linux_probes_and_is_told_of_a_changed_size() {
    let mut guest = Guest::started();
    guest.turn_msix_on();
    assert_eq!(guest.identify(1, 0).0, 0);
    assert_eq!(guest.identify(6, 0).0, 0x4002, "no command set of its own");
    assert_eq!(guest.admin(features(9, 7, 0x0001_0001)), (0, 0x000f_000f));
    guest.create(1, 1024, 1024);
    guest.create(2, 1024, 1024);
    guest.share_doorbells();
    assert_eq!(guest.admin(features(9, 0x0b, 0x100)), (0, 0));
    let event = guest.offer(ADMIN, Sqe { opcode: 0x0c, ..Sqe::default() });
    guest.ring_tail(ADMIN);
    assert_eq!(guest.identify(2, 0).1[..8], [1, 0, 0, 0, 0, 0, 0, 0]);
    assert_eq!(guest.identify(3, 1), (0, vec![0; 4096]));
    assert_eq!(guest.identify(0, 1).0, 0);
    for _ in 0..1100 {
        guest.assert_works(1);
        guest.assert_works(2);
    }
    guest.host.messages(100);
    for _ in 0..3 {
        guest.device.volume_changed();
    }
    let told = guest.take(ADMIN);
    assert_eq!((told.cid.get(), told.status.get() >> 1, told.result.get()), (event, 0, 0x0004_0002));
    assert!(guest.host.messages(100) > 0);
    guest.offer(ADMIN, Sqe { opcode: 0x0c, ..Sqe::default() });
    guest.ring_tail(ADMIN);
    assert!(guest.peek(ADMIN).is_none(), "once until the log is read");
    let (status, page) = guest.log_page(4, 4096);
    assert_eq!((status, &page[..8]), (0, &[1, 0, 0, 0, 0, 0, 0, 0][..]));
    assert_eq!(guest.log_page(4, 4096).1[..4], [0; 4]);
    guest.device.volume_changed();
    assert_eq!(guest.take(ADMIN).result.get(), 0x0004_0002);
}

#[test]
fn msix_vectors_are_signalled_by_their_queues_alone() {
    let mut guest = Guest::with_queues(3);
    guest.host.messages(100);
    guest.assert_works(2);
    wait_until("the message of queue 2", || guest.host.messages(102) > 0);
    assert_eq!((guest.host.messages(101), guest.host.messages(103)), (0, 0));
    assert!(!guest.line(), "INTA is off while MSI-X is on");
    // Masked, it is kept.
    guest.write(0x2000 + 3 * 16 + 12, 1);
    guest.assert_works(3);
    wait_until("the pending bit", || guest.read(0x2800) == 8);
    guest.write(0x2000 + 3 * 16 + 12, 0);
    assert_eq!((guest.host.messages(103), guest.read(0x2800)), (1, 0));
}

#[test]
fn a_driver_without_msix_has_the_line() {
    for shared in [false, true] {
        let mut guest = Guest::started();
        assert!(!guest.line());
        guest.create_with(1, 4, 4, 3);
        assert!(!guest.line(), "all admin completions are taken");
        if shared {
            guest.share_doorbells();
        }
        for _ in 0..10 {
            guest.offer(1, read(1, 1));
            guest.ring_tail(1);
            wait_until("the line", || guest.line());
            guest.write(0x0c, 1);
            assert!(!guest.line(), "masked");
            assert_eq!(guest.read(0x10), 1);
            guest.write(0x10, 1);
            assert!(guest.line());
            guest.take(1);
            wait_until("the line down", || !guest.line());
        }
        guest.offer(1, read(1, 1));
        guest.ring_tail(1);
        wait_until("the line", || guest.line());
        guest.write(0x14, 0);
        assert!(!guest.line(), "after a reset");
    }
}

#[test]
fn doorbells_hang_where_the_bar_is_once_they_are_shared() {
    let mut guest = Guest::with_queues(2);
    assert!(guest.host.bells().is_empty(), "the device must see the values");
    guest.share_doorbells();
    assert_eq!(guest.host.bells(), [BAR + 0x1008, BAR + 0x1010]);
    guest.create(3, 8, 8);
    assert_eq!(guest.host.bells(), [BAR + 0x1008, BAR + 0x1010, BAR + 0x1018]);
    guest.assert_works(3);
    guest.device.config_write(4, Width::Word, 0);
    assert!(guest.host.bells().is_empty());
    guest.place_bar(BAR + 0x10_0000);
    assert_eq!(guest.host.bells().len(), 3);
    assert_eq!(guest.host.bells()[0], BAR + 0x10_1008);
    guest.place_bar(BAR);
    let delete = Sqe { opcode: 0, cdw10: 1.into(), ..Sqe::default() };
    assert_eq!(guest.admin(delete), (0, 0));
    assert_eq!(guest.host.bells(), [BAR + 0x1010, BAR + 0x1018]);
    guest.assert_works(2);
    guest.write(0x14, 0);
    assert!(guest.host.bells().is_empty());
}

#[test]
fn doorbells_can_be_shared_by_queues_that_were_used_before() {
    let mut guest = Guest::with_queues(1);
    for _ in 0..2 {
        (0..70).for_each(|_| guest.assert_works(1));
        guest.share_doorbells();
        (0..70).for_each(|_| guest.assert_works(1));
        assert!(guest.peek(1).is_none(), "no command is served again");
    }
}

#[test]
fn features_and_logs_are_as_set_and_counted() {
    let mut guest = Guest::with_queues(1);
    assert_eq!(guest.admin(features(0x0a, 6, 0)), (0, 1), "the write cache is on");
    assert_eq!(guest.admin(features(9, 6, 0)), (0, 0));
    assert_eq!(guest.admin(features(0x0a, 6, 0)), (0, 0));
    assert_eq!(guest.admin(features(9, 0x8000_0006, 1)).0, 0x410d, "not saveable");
    assert_eq!(guest.admin(features(9, 0x10, 0)).0, 0x4002);
    for _ in 0..3 {
        assert_eq!(guest.run(1, read(0, 8)), (0, 0));
    }
    for _ in 0..2 {
        assert_eq!(guest.run(1, write(0, 2)), (0, 0));
    }
    assert_eq!(guest.run(1, read(SECTORS, 1)).0, 0x4080);
    // As the EBS tools ask: one dword more than a page.
    let command = Sqe { opcode: 2, nsid: 1.into(), cdw10: (0xd0 | 1024 << 16).into(), ..Sqe::default() };
    guest.memory.write(Gpa(DATA + 4096), &[0xee; 16]).unwrap();
    assert_eq!(guest.admin(Sqe { prp2: 0.into(), ..data(command) }), (0, 0));
    let page = guest.data(4100);
    assert_eq!(page[4096..], [0xee; 4], "nothing is written behind the page");
    let number = |at: usize| u64::from_le_bytes(page[at..at + 8].try_into().unwrap());
    assert_eq!(page[..4], [0x10, 0xb5, 0x23, 0x3c]);
    assert_eq!([8, 16, 24, 32, 88].map(number), [3, 2, 3 * 4096, 2 * 1024, 0]);
    let (status, page) = guest.log_page(2, 512);
    assert_eq!((status, page[0], page[32], page[48], page[64], page[80]), (0, 0, 1, 1, 3, 2));
    assert_eq!(guest.log_page(3, 512).1[..11], *b"\x01\0\0\0\0\0\0\x001.0");
    assert_eq!(guest.log_page(1, 64), (0, vec![0; 64]));
    for id in [0, 5, 6, 0x80, 0xc0, 0xd1, 0xff] {
        assert_eq!(guest.log_page(id, 512).0, 0x4109, "{id:#x}");
    }
}

#[test]
fn a_reset_in_the_middle_drops_everything_but_the_admin_queues_places() {
    let mut guest = Guest::new();
    for round in 0..20 {
        assert_eq!(guest.enable(32, 32), 1);
        if round % 2 == 1 {
            guest.turn_msix_on();
        }
        guest.create(1, 64, 64);
        guest.create(2, 64, 64);
        if round % 4 > 1 {
            guest.share_doorbells();
        }
        guest.offer(ADMIN, Sqe { opcode: 0x0c, ..Sqe::default() });
        guest.ring_tail(ADMIN);
        for id in [1, 2] {
            for at in 0..63 {
                guest.offer(id, write(at, 16));
            }
            guest.ring_tail(id);
        }
        let places = [0x24, 0x28, 0x2c, 0x30, 0x34].map(|at| guest.read(at));
        guest.write(0x14, 0);
        assert_eq!(guest.read(0x1c), 0);
        assert_eq!([0x24, 0x28, 0x2c, 0x30, 0x34].map(|at| guest.read(at)), places);
        // Nothing is written to the guest's memory any more.
        guest.memory.clear();
        for id in [0, 1, 2] {
            guest.ring_tail(id);
            assert!(guest.peek(id).is_none());
        }
    }
    assert_eq!(guest.enable(32, 32), 1);
    guest.create(1, 64, 64);
    assert_eq!(guest.run(1, read(100, 1)), (0, 0));
}

#[test]
fn registers_are_read_at_every_width() {
    let mut guest = Guest::new();
    guest.enable(32, 32);
    let read = |offset, width| guest.device.bar_read(0, Access::new(offset, width));
    assert_eq!(read(0, Width::Qword), 0x20_1401_03ff);
    assert_eq!(
        (read(8, Width::Dword), read(0x14, Width::Byte), read(0x16, Width::Word)),
        (0x1_0400, 1, 0x46)
    );
    assert_eq!(read(0x1000, Width::Dword), 0);
    // A write of both halves at once, as 64-bit drivers do it.
    guest.device.bar_write(0, Access::new(0x14, Width::Dword), 0);
    guest.device.bar_write(0, Access::new(0x28, Width::Qword), 0x1_2345_6000);
    assert_eq!(guest.device.bar_read(0, Access::new(0x28, Width::Qword)), 0x1_2345_6000);
}

/// As firmware uses it, and then Linux.
#[test]
fn how_far_a_start_has_come_is_told_by_the_boot_disk() {
    let stages: Arc<Stages> = Arc::default();
    let marks = |stage| stages.reached().at(stage).is_some();
    let mut guest = Guest::watched(&stages);
    assert_eq!(guest.enable(64, 256), 1);
    guest.create_with(1, 256, 256, 1);
    assert_eq!(guest.run(1, write(3, 1)), (0, 0));
    assert_eq!((stages.reached().blocks, marks(Stage::Released)), (0, false));
    assert_eq!(guest.run(1, read(0, 1)), (0, 0));
    assert!(marks(Stage::FirstBlockRead) && !marks(Stage::FurtherBlockRead));
    assert_eq!(guest.run(1, read(64, 4)), (0, 0));
    assert_eq!((stages.reached().blocks, stages.reached().last_block), (5, 67));
    assert!(marks(Stage::FurtherBlockRead) && stages.reached().kernel().is_none());
    guest.write(0x14, 0);
    assert!(marks(Stage::Released) && !marks(Stage::DiskTaken));
    assert_eq!(guest.enable(32, 32), 1);
    assert!(marks(Stage::DiskTaken));
}
