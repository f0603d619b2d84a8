//! The chip alone, as drivers use it; then the port with its line and console.

use super::*;
use crate::bus::{Access, Device, Width};
use crate::console::Console;
use crate::irq::fake::Recorder;
use crate::irq::{Line, Lines};
use crate::serial::{ArmPort, Port};
use std::sync::Arc;

const ON: u32 = 0x301;

/// What Linux and EDK II set up: FIFOs, eight bits; UART, transmitter and receiver on.
fn started() -> Pl011 {
    let mut uart = Pl011::default();
    uart.write(LCR_H, 0x70);
    uart.write(CR, ON);
    uart
}

#[test]
fn firmware_finds_an_idle_terminal() {
    let mut uart = Pl011::default();
    assert!(!uart.has_room(), "nobody has turned it on");
    assert_eq!((uart.read(CR), uart.read(IFLS), uart.read(FR)), (0x300, 0x12, 0x97));
    for (register, value) in [(IBRD, 13), (FBRD, 1), (LCR_H, 0x70), (CR, ON), (IFLS, 0x09), (DMACR, 5)] {
        uart.write(register, value);
        assert_eq!(uart.read(register), value);
    }
    assert!(uart.has_room());
    let ids: Vec<u32> = (0xfe0..0x1000).step_by(4).map(|at| uart.read(at)).collect();
    assert_eq!(ids, [0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1]);
}

#[test]
fn a_byte_leaves_at_once_and_interrupts_when_it_may() {
    let mut uart = started();
    assert_eq!(uart.write(DR, 0x1ff), Some(0xff));
    assert_eq!((uart.read(RIS), uart.read(MIS), uart.interrupt()), (SENT, 0, false));
    uart.write(IMSC, SENT);
    assert!(uart.interrupt() && uart.read(FR) & 0x28 == 0, "neither full nor busy");
    uart.write(ICR, SENT);
    assert!(!uart.interrupt(), "until the next byte");
    uart.write(DR, 1);
    assert!(uart.interrupt());
}

#[test]
fn the_trigger_level_and_the_time_out_interrupt_until_they_are_read_away() {
    let mut uart = started();
    uart.write(IMSC, RECEIVED | TIMEOUT);
    uart.receive(7);
    assert_eq!(uart.read(MIS), TIMEOUT, "one byte is below a half of the FIFO");
    (1..8).for_each(|byte| uart.receive(byte));
    assert_eq!(uart.read(MIS), TIMEOUT | RECEIVED);
    assert_eq!((uart.read(DR), uart.read(MIS)), (7, TIMEOUT));
    for byte in 1..8 {
        assert!(uart.interrupt() && uart.read(FR) & FR_RECEIVE_EMPTY == 0);
        assert_eq!(uart.read(DR), byte);
    }
    assert_eq!((uart.interrupt(), uart.read(FR) & FR_RECEIVE_EMPTY, uart.read(DR)), (false, 0x10, 0));
    for (levels, trigger) in [(0, 2), (1, 4), (2, 8), (3, 12), (4, 14), (7, 14)] {
        let mut uart = started();
        uart.write(IFLS, levels << 3);
        let bytes = (1..=16).find(|_| {
            uart.receive(0);
            uart.read(RIS) & RECEIVED != 0
        });
        assert_eq!(bytes, Some(trigger));
    }
}

#[test]
fn sixteen_bytes_wait_and_the_seventeenth_is_told_to_be_lost() {
    let mut uart = started();
    for byte in 0..16 {
        assert!(uart.has_room());
        uart.receive(byte);
    }
    assert!(!uart.has_room() && uart.read(FR) & FR_RECEIVE_FULL != 0);
    uart.write(IMSC, OVERRUN);
    uart.receive(99);
    assert_eq!((uart.read(RSR), uart.read(MIS)), (RSR_OVERRUN, OVERRUN));
    assert_eq!((uart.read(DR), uart.read(DR)), (DR_OVERRUN, 1), "told once");
    uart.write(RSR, 0);
    uart.write(ICR, OVERRUN);
    assert_eq!((uart.read(RSR), uart.read(MIS)), (0, 0));
    uart.write(LCR_H, 0x60);
    assert_eq!((uart.read(FR) & FR_RECEIVE_EMPTY, uart.read(RIS)), (0x10, 0), "without FIFO it is empty");
    uart.receive(5);
    assert_eq!((uart.has_room(), uart.read(RIS), uart.read(DR)), (false, RECEIVED, 5));
}

#[test]
fn loop_back_stays_inside() {
    let mut uart = started();
    uart.write(CR, ON | u32::from(CR_LOOP));
    assert_eq!(uart.read(FR) & 0x107, 0, "no output is set");
    for _ in 0..1000 {
        assert_eq!(uart.write(DR, 5), None);
    }
    assert!(!uart.has_room(), "nothing comes from outside");
    assert_eq!((uart.read(DR) & 0xff, uart.received.len()), (5, 15));
    for (output, input) in LOOPS {
        uart.write(CR, ON | u32::from(CR_LOOP | output));
        assert_eq!(uart.read(FR) & 0x107, input);
    }
}

/// What a guest may do to any byte of the page, at any width.
#[test]
fn no_register_and_no_width_does_harm() {
    let (recorder, console) = (Arc::new(Recorder::default()), Arc::new(Console::new().unwrap()));
    let port = ArmPort::new(Line::new(Arc::new(Lines::new(recorder)), 1), &console);
    for width in [Width::Byte, Width::Word, Width::Dword, Width::Qword] {
        for offset in (0..0x1002).chain([u64::MAX - 3, u64::MAX]) {
            for value in [0, 0x5555_5555_5555_5555, u64::MAX] {
                port.write(Access::new(offset, width), value);
                console.send(b"x");
                assert!(port.read(Access::new(offset, width)) <= width.ones().min(0xffff), "{offset:#x}");
            }
        }
        assert_eq!(port.read(Access::new(0xfe4, width)), 0x10);
        assert_eq!(port.read(Access::new(0xfe1, width)), 0, "between registers");
    }
}

#[test]
fn the_line_follows_the_chip() {
    let (recorder, console) = (Arc::new(Recorder::default()), Arc::new(Console::new().unwrap()));
    let port = ArmPort::new(Line::new(Arc::new(Lines::new(recorder.clone())), 1), &console);
    let write = |register, value: u32| port.write(Access::new(register, Width::Word), value.into());
    console.send(b"early");
    assert_eq!(port.read(Access::new(RIS, Width::Dword)), 0, "it waits until the receiver is on");
    write(LCR_H, 0x70);
    write(IMSC, TIMEOUT | RECEIVED);
    write(CR, 0x301);
    let read: Vec<u8> = (0..5).map(|_| port.read(Access::new(DR, Width::Byte)).to_le_bytes()[0]).collect();
    assert_eq!((&*read, &**recorder.lines.lock()), (&b"early"[..], &[(1, true), (1, false)][..]));
}

/// AAVMF speaks through one, and a kernel that was told to through the other.
#[test]
fn two_ports_are_one_console() {
    let (recorder, console) = (Arc::new(Recorder::default()), Arc::new(Console::new().unwrap()));
    let lines = Arc::new(Lines::new(recorder));
    let firmware = ArmPort::new(Line::new(lines.clone(), 1), &console);
    let kernel = Port::new(Line::new(lines, 8), &console);
    firmware.write(Access::new(CR, Width::Dword), ON.into());
    firmware.write(Access::new(DR, Width::Dword), b'F'.into());
    console.send(b"1");
    assert_eq!(firmware.read(Access::new(DR, Width::Dword)), u64::from(b'1'));
    // What was typed while the firmware did not look is the kernel's once it speaks.
    console.send(b"23");
    kernel.write(Access::new(0, Width::Byte), b'K'.into());
    assert_eq!(kernel.read(Access::new(0, Width::Byte)), u64::from(b'3'));
    let mut all = Vec::new();
    console.take(&mut all);
    assert_eq!(all, b"FK");
}
