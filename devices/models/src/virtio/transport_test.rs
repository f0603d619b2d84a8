//! The PCI transport as a driver sees it: start and reset, interrupts, doorbells, the window in configuration space.

use super::driver::{BAR, DATA, Descriptor, Guest, HEADER, NEXT, Options, PLAIN, QUEUE, STATUS, WRITE};
use crate::bus::{Access, Width};
use crate::irq::fake::wait_until;
use crate::pci::Function;
use ami_run_memory::Gpa;

const BELL: u64 = BAR + 0x3000;

#[test]
fn a_driver_finds_its_device_and_its_features() {
    let guest = Guest::new();
    assert_eq!(guest.device.config_read(0, Width::Dword), 0x1042_1af4);
    for (which, offset) in [(1, 0), (3, 0x1000), (4, 0x2000), (2, 0x3000)] {
        let at = guest.structure(which);
        assert_eq!((guest.config_byte(at + 4), guest.device.config_read(at + 8, Width::Dword)), (0, offset));
    }
    guest.write(0, Width::Dword, 0);
    assert_eq!(
        guest.read(4, Width::Dword),
        1 << 29 | 1 << 28 | 1 << 14 | 1 << 13 | 1 << 10 | 1 << 9 | 1 << 6 | 4
    );
    guest.write(0, Width::Dword, 1);
    assert_eq!(guest.read(4, Width::Dword), 1);
    guest.write(0, Width::Dword, 2);
    assert_eq!(guest.read(4, Width::Dword), 0);
}

#[test]
fn a_message_comes_with_each_answer() {
    let mut guest = Guest::new();
    guest.start(PLAIN);
    for _ in 0..3 {
        guest.assert_works();
        let mut messages = 0;
        wait_until("the message", || {
            messages += guest.host.messages(QUEUE);
            messages != 0
        });
        assert_eq!(messages, 1);
    }
    assert_eq!(guest.read(0x1000, Width::Byte), 0, "the ISR is not used with MSI-X");
}

#[test]
fn without_msix_the_line_goes_up_and_reading_the_isr_takes_it_down() {
    let mut guest = Guest::new();
    guest.start(Options { msix: false, ..PLAIN });
    for _ in 0..50 {
        guest.assert_works();
        wait_until("the line", || guest.line());
        assert_eq!(guest.read(0x1000, Width::Byte), 1);
        assert!(!guest.line(), "the line stays up");
        assert_eq!(guest.read(0x1000, Width::Byte), 0);
    }
    guest.assert_works();
    wait_until("the line", || guest.line());
    guest.device.config_write(4, Width::Word, 0x406);
    assert!(!guest.line(), "the command register turns the pin off");
    guest.device.config_write(4, Width::Word, 6);
    assert!(guest.line());
    guest.reset();
    assert!(!guest.line());
}

// The index of the chain whose return shall interrupt stands behind the available ring; the index of the chain whose
// offer shall be told, behind the used ring: the device writes it when it goes to sleep.
const USED_EVENT: Gpa = Gpa(PLAIN.rings[1] + 4 + 2 * 256);
const AVAILABLE_EVENT: Gpa = Gpa(PLAIN.rings[2] + 4 + 8 * 256);

fn wait_for_sleep(guest: &Guest, offered: u16) {
    wait_until("the device sleeps", || guest.memory.read_record::<u16>(AVAILABLE_EVENT).unwrap() == offered);
}

#[test]
fn no_interrupt_is_lost_when_the_isr_is_read_meanwhile() {
    let mut guest = Guest::new();
    guest.start(Options { msix: false, event_index: true, ..PLAIN });
    for round in 0..2000u16 {
        guest.memory.write_record(USED_EVENT, &round).unwrap();
        guest.header(4, 0);
        guest.send(&[Descriptor(HEADER, 16, 0, 0), Descriptor(STATUS, 1, WRITE, 0)]);
        while guest.used_index() == round {}
        let early = guest.read(0x1000, Width::Byte);
        guest.take_used();
        wait_for_sleep(&guest, round + 1);
        let line = guest.line();
        let late = guest.read(0x1000, Width::Byte);
        assert_eq!((early | late, late != 0), (1, line), "the ISR and its line");
    }
}

#[test]
fn with_event_indices_only_what_was_asked_for_interrupts() {
    let mut guest = Guest::new();
    guest.start(Options { event_index: true, ..PLAIN });
    guest.memory.write_record(USED_EVENT, &3u16).unwrap();
    for _ in 0..3 {
        guest.assert_works();
    }
    wait_for_sleep(&guest, 3);
    assert_eq!(guest.host.messages(QUEUE), 0);
    guest.assert_works();
    wait_until("the message", || guest.host.messages(QUEUE) == 1);
}

#[test]
fn doorbells_hang_while_the_driver_uses_the_device_and_move_with_bar_0() {
    let mut guest = Guest::new();
    assert_eq!(guest.host.bells(), [0u64; 0]);
    guest.start(PLAIN);
    assert_eq!(guest.host.bells(), [BELL]);
    guest.assert_works();
    guest.place_bars(BAR + 0x10000);
    assert_eq!(guest.host.bells(), [BELL + 0x10000]);
    guest.assert_works();
    guest.device.config_write(4, Width::Word, 0);
    assert_eq!(guest.host.bells(), [0u64; 0], "memory decoding is off");
    guest.place_bars(BAR);
    guest.assert_works();
    guest.write(20, Width::Byte, 0);
    assert_eq!((guest.host.bells(), guest.status()), (vec![], 0));
}

#[test]
fn a_reset_in_the_middle_of_work_ends_it_and_the_device_starts_again() {
    let mut guest = Guest::new();
    for round in 0..40u8 {
        guest.start(Options { msix: round % 2 == 0, ..PLAIN });
        guest.memory.write(Gpa(DATA), &[round; 0x8000]).unwrap();
        guest.header(1, 0);
        guest.describe(0, Descriptor(HEADER, 16, NEXT, 1));
        guest.describe(1, Descriptor(DATA, 0x8000, NEXT, 2));
        guest.describe(2, Descriptor(STATUS, 1, WRITE, 0));
        (0..256).for_each(|_| guest.offer(0));
        guest.kick();
        if round % 3 == 0 {
            guest.take_used();
        }
        guest.reset();
        let (used, sectors) = (guest.used_index(), guest.data(16));
        assert_eq!(guest.host.bells(), [0u64; 0]);
        guest.kick();
        assert_eq!((guest.used_index(), guest.data(16)), (used, sectors), "nothing moves after a reset");
        guest.start(PLAIN);
        guest.assert_works_at(400);
    }
}

#[test]
fn pci_cfg_reaches_the_structures_without_a_bar() {
    let mut guest = Guest::new();
    guest.device.config_write(4, Width::Word, 0);
    let at = guest.structure(5);
    let access = |offset: u32, len: u32| {
        guest.device.config_write(at + 4, Width::Byte, 0);
        guest.device.config_write(at + 8, Width::Dword, offset);
        guest.device.config_write(at + 12, Width::Dword, len);
    };
    access(0x2000, 4);
    assert_eq!(guest.device.config_read(at + 16, Width::Dword), 512, "sectors");
    access(20, 1);
    guest.device.config_write(at + 16, Width::Byte, 3);
    assert_eq!((guest.status(), guest.device.config_read(at + 16, Width::Byte)), (3, 3));
    access(22, 2);
    guest.device.config_write(at + 16, Width::Word, 5);
    assert_eq!(guest.read(22, Width::Word), 5);
    for (offset, len) in [(0x2000, 0), (0x2000, 3), (0x2000, 8), (0x4000, 4), (u32::MAX, 4)] {
        access(offset, len);
        let all = guest.device.config_read(at + 16, Width::Dword);
        assert!(all == 0 || all == u32::MAX, "{offset:#x} {len}: {all:#x}");
        guest.device.config_write(at + 16, Width::Dword, 0);
    }
    guest.device.config_write(at + 4, Width::Byte, 9);
    assert_eq!(guest.device.config_read(at + 16, Width::Dword), u32::MAX, "no BAR 9");
    guest.place_bars(BAR);
    guest.start(PLAIN);
    guest.assert_works();
}

#[test]
fn a_64_bit_store_is_two_of_32_bits() {
    let mut guest = Guest::new();
    guest.reset();
    guest.write(32, Width::Qword, 0x1122_3344_5566_7788);
    assert_eq!(guest.read(32, Width::Dword), 0x5566_7788);
    assert_eq!(guest.read(32, Width::Qword), 0x1122_3344_5566_7788);
    guest.start(PLAIN);
    guest.write(16, Width::Qword, 0xffff);
    assert_eq!((guest.status(), guest.host.bells()), (0, vec![]), "its high half was a reset");
}

#[test]
fn any_access_anywhere_is_answered() {
    let guest = Guest::new();
    for bar in [0, 1, 2, 5, 255] {
        for offset in (0..0x5000).chain([u64::MAX, 1 << 32]) {
            for width in [Width::Byte, Width::Word, Width::Dword, Width::Qword] {
                let at = Access::new(offset, width);
                guest.device.bar_read(bar, at);
                guest.device.bar_write(bar, at, u64::MAX);
                assert!(guest.device.bar_read(bar, at) <= width.ones(), "{bar} {offset:#x} {width:?}");
            }
        }
    }
}
