//! The clock as EDK II and Linux' rtc-pl031 use it, by a time that the test makes; then with the host's.

use super::*;
use crate::bus::Width;
use crate::irq::fake::{Recorder, wait_until};
use crate::irq::{Line, Lines};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// 2024-02-29 23:59:58 UTC and some (date -u -d 2024-02-29T23:59:58 +%s).
const START: i64 = 1_709_251_198 * SECOND + 123_456;
const AT: u32 = 1_709_251_198;

fn started() -> Pl031 {
    let mut chip = Pl031::default();
    chip.advance(START);
    chip
}

#[test]
fn the_time_is_the_host_s_until_the_guest_sets_it() {
    let mut chip = started();
    assert_eq!((chip.read(DR, START), chip.read(CR, START), chip.read(LR, START)), (AT, 1, 0));
    chip.write(LR, 1000, START);
    assert_eq!((chip.read(DR, START + 5 * SECOND), chip.read(LR, START)), (1005, 1000));
    chip.write(CR, 0, START);
    chip.write(DR, 7, START);
    assert_eq!(
        chip.read(DR, START + 6 * SECOND),
        1006,
        "nothing stops it, and its time is not written there"
    );
    // After 2106 there are no more bits.
    let mut chip = Pl031::default();
    assert_eq!(chip.read(DR, (1 << 32) * SECOND), 0);
    assert_eq!(chip.read(DR, i64::MAX), chip.read(DR, LAST));
    assert_eq!(chip.read(DR, i64::MIN), 0);
}

#[test]
fn edk_ii_reads_its_identity_byte_by_byte() {
    let mut chip = started();
    let ids: Vec<u32> = (0xfe0..0x1000).step_by(4).map(|at| chip.read(at, START)).collect();
    assert_eq!(ids, [0x31, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1]);
}

#[test]
fn an_alarm_rings_at_its_second_and_once() {
    let mut chip = started();
    chip.write(MR, AT + 10, START);
    assert_eq!(chip.next_interrupt(START), None, "it is not on");
    chip.write(IMSC, 1, START);
    let at = chip.next_interrupt(START).unwrap();
    assert_eq!(at - START, 10 * SECOND - 123_456);
    chip.advance(at - 1);
    assert!(!chip.interrupt());
    chip.advance(at);
    assert!(chip.interrupt() && chip.next_interrupt(at).is_none());
    assert_eq!((chip.read(RIS, at), chip.read(MIS, at)), (1, 1));
    chip.write(ICR, 0, at);
    assert!(chip.interrupt(), "zero clears nothing");
    chip.write(ICR, 1, at);
    assert!(!chip.interrupt());
    chip.advance(at + 1000 * SECOND);
    assert!(!chip.interrupt(), "it has rung");
    assert_eq!(chip.next_interrupt(at), Some(at + (1 << 32) * SECOND), "until the seconds come round");
}

#[test]
fn what_rang_unheard_is_heard_when_it_is_turned_on() {
    let mut chip = started();
    chip.write(MR, AT + 1, START);
    let later = START + 2 * SECOND;
    assert_eq!((chip.read(RIS, later), chip.read(MIS, later), chip.interrupt()), (1, 0, false));
    chip.write(IMSC, u32::MAX, later);
    assert_eq!((chip.read(IMSC, later), chip.interrupt()), (1, true));
    chip.write(IMSC, 0, later);
    assert!(!chip.interrupt());
}

#[test]
fn being_set_to_the_alarm_rings_and_past_it_does_not() {
    let mut chip = started();
    chip.write(IMSC, 1, START);
    chip.write(MR, 5000, START);
    chip.write(LR, 6000, START);
    assert!(!chip.interrupt(), "set past it");
    chip.write(LR, 5000, START);
    assert!(chip.interrupt());
    chip.write(ICR, 1, START);
    chip.write(LR, 4990, START);
    assert_eq!(chip.next_interrupt(START).unwrap() - START, 10 * SECOND - 123_456);
    // The host's clock is set back: no event, and the rest is as long as it was.
    let back = START - 3600 * SECOND;
    chip.advance(back);
    assert!(!chip.interrupt());
    assert_eq!(chip.next_interrupt(back).unwrap() - back, 3610 * SECOND - 123_456);
}

/// What a guest may do to any byte of the page, at any width and time.
#[test]
fn no_register_and_no_time_does_harm() {
    let mut chip = Pl031::default();
    for now in [i64::MIN, -1, 0, START, LAST, i64::MAX, START] {
        for register in (0..0x1002).chain([u64::MAX]) {
            for value in [0, 1, AT, u32::MAX] {
                chip.write(register, value, now);
                chip.read(register, now);
                assert!(chip.next_interrupt(now).is_none_or(|at| at > now.clamp(0, LAST)));
            }
        }
    }
}

#[test]
fn the_clock_rings_by_the_host_s_time() {
    let recorder = Arc::new(Recorder::default());
    let line = Line::new(Arc::new(Lines::new(recorder.clone())), 2);
    let clock = Rtc::new(Pl031::default(), line, &Arc::default());
    let read = |register| clock.read(Access::new(register, Width::Dword));
    let write = |register, value: u64| clock.write(Access::new(register, Width::Dword), value);
    let host = || SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    let before = host();
    let now = read(DR);
    assert!((before..=host()).contains(&now), "{now}");
    assert_eq!(clock.read(Access::new(0xfe4, Width::Byte)), 0x10);
    assert_eq!(clock.threads(), 0, "nothing is on");
    write(MR, read(DR) + 1);
    write(IMSC, 1);
    wait_until("the alarm", || recorder.level(2));
    write(ICR, 1);
    write(IMSC, 0);
    assert!(!recorder.level(2));
    wait_until("the thread's end", || clock.threads() == 0);
}
