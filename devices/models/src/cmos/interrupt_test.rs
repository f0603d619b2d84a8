//! The clock's interrupts: the chip by a time that the test makes, as Linux' rtc-cmos uses it; then with the host's
//! time, a line and a thread.

use super::{Clock, Cmos};
use crate::bus::{Access, Device, Width};
use crate::clock::Chip;
use crate::gate::Gate;
use crate::irq::fake::{Recorder, wait_until};
use crate::irq::{Line, Lines};
use std::sync::Arc;

const A: u8 = 0x0a;
const B: u8 = 0x0b;
const C: u8 = 0x0c;
const ALARM: [u8; 3] = [5, 3, 1];
const PLAIN: u8 = 0x02;
const PIE: u8 = 0x40;
const AIE: u8 = 0x20;
const UIE: u8 = 0x10;
const SECOND: i64 = 1_000_000;
/// 2024-02-29 23:59:58 UTC and some (date -u -d 2024-02-29T23:59:58 +%s).
const START: i64 = 1_709_251_198 * SECOND + 123_456;

struct Bench {
    chip: Cmos,
    now: i64,
}

impl Bench {
    fn new() -> Bench {
        let mut bench = Bench { chip: Cmos::new(1), now: START };
        bench.get(C);
        bench
    }

    fn set(&mut self, index: u8, value: u8) {
        self.chip.select(index);
        self.chip.write(value, self.now);
    }

    fn get(&mut self, index: u8) -> u8 {
        self.chip.select(index);
        self.chip.read(self.now)
    }

    /// As rtc-cmos writes register B: what is in C from before is read away.
    fn control(&mut self, value: u8) -> u8 {
        self.set(B, value);
        self.get(C)
    }

    fn alarm(&mut self, bytes: [u8; 3]) {
        ALARM.into_iter().zip(bytes).for_each(|(index, byte)| self.set(index, byte));
    }

    /// Lets the time pass until the line goes up, and says how long that took.
    fn wait(&mut self) -> i64 {
        let at = self.chip.next_interrupt(self.now).expect("an interrupt to come");
        assert!(at > self.now);
        self.chip.advance(at - 1);
        assert!(!self.chip.interrupt(), "too early");
        self.chip.advance(at);
        assert!(self.chip.interrupt(), "too late");
        assert_eq!(self.chip.next_interrupt(at), None, "while the line is up");
        at - std::mem::replace(&mut self.now, at)
    }
}

#[test]
fn an_alarm_rings_once_a_day_at_its_time() {
    let mut bench = Bench::new();
    bench.control(PLAIN);
    bench.alarm([0x00, 0x01, 0x30]);
    assert_eq!(bench.chip.next_interrupt(bench.now), None, "it is not on");
    assert_eq!(bench.control(PLAIN | AIE) & 0x80, 0);
    // From 23:59:58.123456 to 00:01:30.
    assert_eq!(bench.wait(), 92 * SECOND - 123_456);
    assert_eq!(bench.get(C) & (0x80 | AIE), 0x80 | AIE);
    assert_eq!((bench.get(C) & (0x80 | AIE), bench.chip.interrupt()), (0, false), "reading clears");
    assert_eq!(bench.wait(), 86_400 * SECOND);
    bench.control(PLAIN);
    assert_eq!((bench.chip.next_interrupt(bench.now), bench.chip.interrupts_are_on()), (None, false));
}

#[test]
fn an_alarm_s_bytes_may_say_every_and_follow_the_clock_s_code() {
    // 23:59:58 in register B's code, and the seconds until the alarm.
    for (mode, bytes, wait) in [
        (PLAIN, [0xff, 0xff, 0xff], 1),
        (PLAIN, [0xc0, 0xd5, 0x05], 7),
        (PLAIN, [0xff, 0x10, 0xff], 602),
        (PLAIN, [0x23, 0x59, 0x59], 1),
        (PLAIN, [0x23, 0x59, 0x58], 86_400),
        (PLAIN | 4, [23, 59, 59], 1),
        (PLAIN | 4, [1, 0, 0], 3602),
        (4, [0x80 | 11, 59, 59], 1),
        (0, [0x91, 0x59, 0x59], 1),
        (0, [0x12, 0x00, 0x00], 2),
        (0, [0x92, 0x00, 0x00], 43_202),
    ] {
        let mut bench = Bench::new();
        bench.now -= 123_456;
        bench.set(B, mode);
        bench.alarm(bytes);
        bench.control(mode | AIE);
        assert_eq!(bench.wait(), wait * SECOND, "{mode:#x} {bytes:x?}");
    }
    for (mode, bytes) in [
        (PLAIN, [0x24, 0, 0]),
        (PLAIN, [0, 0x60, 0]),
        (PLAIN, [0, 0, 0x0a]),
        (PLAIN | 4, [24, 0, 0]),
        (0, [0x13, 0, 0]),
        (0, [0, 0, 0]),
    ] {
        let mut bench = Bench::new();
        bench.set(B, mode | AIE);
        bench.alarm(bytes);
        assert_eq!(bench.chip.next_interrupt(bench.now), None, "no such time: {bytes:x?}");
        bench.chip.advance(bench.now + 2 * 86_400 * SECOND);
        assert!(!bench.chip.interrupt());
    }
}

#[test]
fn an_alarm_goes_by_the_guest_s_clock_and_not_by_its_being_set() {
    let mut bench = Bench::new();
    bench.control(PLAIN);
    bench.alarm([0x07, 0x00, 0x00]);
    bench.control(PLAIN | AIE);
    // Linux sets the clock: to 06:59:50, over midnight and with no alarm on the way.
    bench.set(B, PLAIN | AIE | 0x80);
    bench.now += SECOND;
    for (index, value) in [(4, 0x06), (2, 0x59), (0, 0x50)] {
        bench.set(index, value);
    }
    assert_eq!(bench.chip.next_interrupt(bench.now), None, "the clock is held");
    bench.now += 30 * SECOND;
    bench.set(B, PLAIN | AIE);
    assert_eq!((bench.get(0), bench.chip.interrupt()), (0x50, false));
    assert_eq!(bench.wait(), 10 * SECOND - 123_456);
    // Past it by a jump: not rung.
    bench.control(PLAIN | AIE);
    bench.set(4, 0x08);
    assert_eq!(bench.control(PLAIN | AIE) & AIE, 0);
}

#[test]
fn updates_interrupt_every_second_and_a_held_clock_has_none() {
    let mut bench = Bench::new();
    assert_eq!(bench.control(PLAIN | UIE) & 0x80, 0);
    assert_eq!(bench.wait(), SECOND - 123_456);
    assert_eq!(bench.get(0), 0x59);
    assert_eq!(bench.get(C) & 0x90, 0x90);
    for _ in 0..5 {
        assert_eq!(bench.wait(), SECOND);
        bench.get(C);
    }
    // Nobody reads C: the flag stays as it is.
    bench.wait();
    bench.chip.advance(bench.now + 100 * SECOND);
    bench.now += 100 * SECOND;
    assert_eq!((bench.get(C) & 0x90, bench.get(C) & 0x90), (0x90, 0));
    bench.set(B, PLAIN | UIE | 0x80);
    assert_eq!(bench.get(B), PLAIN | 0x80, "holding the clock turns its update interrupt off");
    bench.now += 10 * SECOND;
    assert_eq!((bench.get(C) & 0x90, bench.chip.next_interrupt(bench.now)), (0, None));
}

#[test]
fn the_update_flag_is_up_before_each_second_and_only_then() {
    let mut bench = Bench::new();
    bench.now = START - 123_456;
    let ups: Vec<i64> = (0..2 * SECOND)
        .step_by(61)
        .filter(|at| {
            bench.now = START - 123_456 + at;
            bench.get(A) & 0x80 != 0
        })
        .collect();
    assert!(!ups.is_empty() && ups.iter().all(|at| SECOND - at % SECOND <= 244), "{ups:?}");
}

#[test]
fn periodic_interrupts_come_at_the_rate_of_register_a() {
    for (rate, hertz) in [(0x26, 1024), (0x23, 8192), (0x2f, 2), (0x2a, 64), (0x21, 256)] {
        let mut bench = Bench::new();
        bench.set(A, rate);
        bench.control(PLAIN | PIE);
        let end = bench.now + SECOND;
        let mut count = 0;
        while bench.chip.next_interrupt(bench.now).unwrap() <= end {
            bench.wait();
            assert_eq!(bench.get(C) & (0x80 | PIE), 0x80 | PIE);
            count += 1;
        }
        assert_eq!(count, hertz);
        // Held or not.
        bench.set(B, PLAIN | PIE | 0x80);
        assert!(bench.wait() <= SECOND / 2 + 1);
    }
    let mut bench = Bench::new();
    bench.set(A, 0x20);
    bench.control(PLAIN | PIE);
    assert_eq!(bench.chip.next_interrupt(bench.now), None, "rate 0 is none");
}

#[test]
fn a_flag_from_before_interrupts_when_it_is_let_to() {
    let mut bench = Bench::new();
    bench.now += SECOND;
    bench.set(B, PLAIN | UIE);
    assert!(bench.chip.interrupt());
    bench.set(B, PLAIN);
    assert!(!bench.chip.interrupt(), "the line goes with what lets it");
    assert_eq!(bench.get(C), PIE | UIE, "no interrupt, but its flags");
}

#[test]
fn a_host_s_clock_that_is_set_back_makes_no_events_and_goes_on() {
    let mut bench = Bench::new();
    bench.control(PLAIN | UIE | AIE);
    bench.now -= 3600 * SECOND;
    assert_eq!(bench.get(C), 0);
    assert_eq!(bench.wait(), SECOND - 123_456);
}

/// A clock on line 8, and what the hypervisor hears of it.
fn wired() -> (Clock, Arc<Recorder>) {
    wired_behind(&Arc::default())
}

fn wired_behind(gate: &Arc<Gate>) -> (Clock, Arc<Recorder>) {
    let recorder = Arc::new(Recorder::default());
    let lines = Arc::new(Lines::new(recorder.clone()));
    (Clock::new(Cmos::new(1), Line::new(lines, 8), gate), recorder)
}

fn set(clock: &Clock, index: u8, value: u8) {
    clock.write(Access::new(0, Width::Byte), index.into());
    clock.write(Access::new(1, Width::Byte), value.into());
}

fn flags(clock: &Clock) -> u64 {
    clock.write(Access::new(0, Width::Byte), C.into());
    clock.read(Access::new(1, Width::Byte))
}

fn rises(recorder: &Recorder) -> usize {
    recorder.lines.lock().iter().filter(|(_, level)| *level).count()
}

#[test]
fn each_interrupt_is_an_edge_and_the_thread_goes_with_the_last() {
    let (clock, recorder) = wired();
    assert_eq!(clock.threads(), 0, "nothing is on");
    set(&clock, A, 0x26);
    for on in [PIE, PIE | AIE | UIE, UIE] {
        set(&clock, B, PLAIN | on);
        assert_eq!(clock.threads(), 1);
        for _ in 0..2 {
            wait_until("an interrupt", || recorder.level(8));
            let before = rises(&recorder);
            assert_eq!(flags(&clock) & 0x80, 0x80);
            wait_until("the next edge", || rises(&recorder) > before);
        }
        set(&clock, B, PLAIN);
        assert!(!recorder.level(8), "the line stays up");
        wait_until("the thread's end", || clock.threads() == 0);
    }
    let lines = recorder.lines.lock();
    assert!(lines.iter().zip((0..).map(|n| n % 2 == 0)).all(|((_, level), up)| *level == up), "no edge");
}

#[test]
fn no_interrupt_is_lost_when_several_cpus_read_the_flags() {
    let (clock, recorder) = wired();
    set(&clock, A, 0x23);
    set(&clock, B, PLAIN | PIE);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                for _ in 0..20_000 {
                    flags(&clock);
                }
            });
        }
    });
    for _ in 0..50 {
        wait_until("the line", || recorder.level(8));
        flags(&clock);
    }
}

#[test]
fn turning_interrupts_on_and_off_makes_no_crowd_of_threads() {
    let (clock, _) = wired();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for round in 0..2000u32 {
                    set(&clock, A, 0x23);
                    set(&clock, B, PLAIN | PIE);
                    assert!(clock.threads() <= 1, "{} threads in round {round}", clock.threads());
                    set(&clock, B, PLAIN);
                }
            });
        }
    });
    // The two have written to each other's registers.
    set(&clock, B, PLAIN);
    wait_until("the thread's end", || clock.threads() == 0);
    set(&clock, B, PLAIN | UIE);
    wait_until("an interrupt all the same", || flags(&clock) & 0x80 != 0);
}

#[test]
fn a_clock_that_goes_takes_its_thread_along() {
    for on in [AIE, PIE, UIE] {
        let (clock, recorder) = wired();
        set(&clock, B, PLAIN | on);
        assert_eq!(clock.threads(), 1);
        drop(clock);
        assert_eq!(Arc::strong_count(&recorder), 1, "something still holds the line");
    }
}

#[test]
fn a_thread_that_sleeps_for_long_comes_to_the_gate() {
    let gate: Arc<Gate> = Arc::default();
    let (clock, recorder) = wired_behind(&gate);
    set(&clock, B, PLAIN | AIE);
    for _ in 0..200 {
        gate.close(|| ());
        gate.open();
    }
    set(&clock, B, PLAIN | UIE);
    wait_until("an interrupt all the same", || recorder.level(8));
    gate.end(|| ());
    wait_until("the thread's end", || clock.threads() == 0);
}
