//! The chip: 128 bytes behind an index, most of them memory.

use super::calendar::Fields;
use super::events::{Alarm, SECOND, next_second, next_tick, period, ticks};
use crate::clock::Chip;

// Registers.
const A: u8 = 0x0a;
const B: u8 = 0x0b;
const C: u8 = 0x0c;
const D: u8 = 0x0d;
const CENTURY: u8 = 0x32;
/// Number of CPUs less one. SeaBIOS waits for as many as it or fw_cfg says, without time-out, so it must not read
/// as 0xff.
const CPUS: u8 = 0x5f;
// Register B.
const B_HOLD: u8 = 0x80;
const B_BINARY: u8 = 0x04;
const B_24_HOURS: u8 = 0x02;
// Events: their flags in register C, and what lets them interrupt in register B.
const PERIODIC: u8 = 0x40;
const ALARM: u8 = 0x20;
const UPDATE: u8 = 0x10;
const EVENTS: u8 = PERIODIC | ALARM | UPDATE;
const C_INTERRUPT: u8 = 0x80;
/// An alarm's byte from here on is for every second, minute or hour.
const ANY: u8 = 0xc0;
/// 9999-12-31 23:59:59. Times are cut to what lies between 1970 and then.
const LAST: i64 = 253_402_300_799 * SECOND;

/// The chip. Time comes in as microseconds since 1970 with every access; should it go back, nothing happens until
/// it goes on.
#[derive(Debug, Clone)]
pub struct Cmos {
    index: u8,
    bytes: [u8; 128],
    /// What the guest has set its clock ahead of ours, in seconds.
    ahead: i64,
    /// The guest's time while it holds the clock to set it.
    held: Option<i64>,
    /// Flags of register C, and until when they are right.
    flags: u8,
    since: i64,
}

impl Chip for Cmos {
    fn interrupt(&self) -> bool {
        self.flags & self.byte(B) & EVENTS != 0
    }

    fn interrupts_are_on(&self) -> bool {
        self.byte(B) & EVENTS != 0
    }

    fn advance(&mut self, now: i64) {
        let now = now.clamp(0, LAST);
        let since = std::mem::replace(&mut self.since, now);
        if now <= since {
            return;
        }
        if period(self.byte(A)).is_some_and(|period| ticks(now, period) > ticks(since, period)) {
            self.flags |= PERIODIC;
        }
        if self.held.is_some() {
            return;
        }
        let (before, after) = (since.div_euclid(SECOND), now.div_euclid(SECOND));
        if after > before {
            self.flags |= UPDATE;
        }
        let first = self.alarm().and_then(|alarm| alarm.next(before.saturating_add(self.ahead)));
        if first.is_some_and(|first| first <= after.saturating_add(self.ahead)) {
            self.flags |= ALARM;
        }
    }

    fn next_interrupt(&self, now: i64) -> Option<i64> {
        let now = now.clamp(0, LAST);
        let on = |event| self.byte(B) & event != 0;
        if self.interrupt() {
            return None;
        }
        let tick = period(self.byte(A)).filter(|_| on(PERIODIC)).map(|period| next_tick(now, period));
        if self.held.is_some() {
            return tick;
        }
        let update = on(UPDATE).then(|| next_second(now));
        let alarm = self.alarm().filter(|_| on(ALARM));
        let alarm = alarm.and_then(|alarm| alarm.next(self.seconds(now)));
        let alarm = alarm.map(|at| at.saturating_sub(self.ahead).saturating_mul(SECOND));
        [tick, update, alarm].into_iter().flatten().min()
    }
}

impl Cmos {
    #[must_use]
    pub fn new(cpus: u8) -> Cmos {
        let mut cmos = Cmos { index: 0, bytes: [0; 128], ahead: 0, held: None, flags: 0, since: i64::MAX };
        for (index, value) in [(A, 0x26), (B, B_24_HOURS), (D, 0x80), (CPUS, cpus.wrapping_sub(1))] {
            cmos.select(index);
            cmos.store(value);
        }
        cmos.select(0);
        cmos
    }

    pub fn select(&mut self, value: u8) {
        self.index = value & 0x7f;
    }

    fn byte(&self, index: u8) -> u8 {
        self.bytes.get(usize::from(index)).copied().unwrap_or(0xff)
    }

    fn seconds(&self, now: i64) -> i64 {
        self.held.unwrap_or_else(|| now.div_euclid(SECOND).saturating_add(self.ahead))
    }

    /// The alarm, if its bytes are a time of day as register B codes it. They are compared with those of the time.
    fn alarm(&self) -> Option<Alarm> {
        let field = |at: u8, count: u8, code: &dyn Fn(u8) -> u8| match self.byte(at) {
            ANY.. => Some(None),
            byte => (0..count).find(|value| code(*value) == byte).map(Some),
        };
        Some(Alarm {
            second: field(1, 60, &|second| self.coded(second))?,
            minute: field(3, 60, &|minute| self.coded(minute))?,
            hour: field(5, 24, &|hour| self.coded_hour(hour))?,
        })
    }

    pub fn read(&mut self, now: i64) -> u8 {
        let now = now.clamp(0, LAST);
        let fields = Fields::of(self.seconds(now));
        match self.index {
            0 => self.coded(fields.second),
            2 => self.coded(fields.minute),
            4 => self.coded_hour(fields.hour),
            6 => fields.weekday,
            7 => self.coded(fields.day),
            8 => self.coded(fields.month),
            9 => self.coded(fields.year),
            CENTURY => self.coded(fields.century),
            // The update flag is up for the last 244 microseconds of a second.
            A if self.held.is_none() && now.rem_euclid(SECOND) >= 999_756 => self.byte(A) | 0x80,
            C => self.take_flags(now),
            other => self.byte(other),
        }
    }

    /// Reading the flags clears them, and lets the line go.
    fn take_flags(&mut self, now: i64) -> u8 {
        self.advance(now);
        let line = if self.interrupt() { C_INTERRUPT } else { 0 };
        std::mem::take(&mut self.flags) | line
    }

    pub fn write(&mut self, value: u8, now: i64) {
        let now = now.clamp(0, LAST);
        // What has happened until now did so by the old bytes.
        self.advance(now);
        match self.index {
            0 | 2 | 4 | 6..=9 | CENTURY => self.set_time(value, now),
            A => self.store(value & 0x7f),
            B => self.control(value, now),
            C | D => (),
            _ => self.store(value),
        }
    }

    fn control(&mut self, value: u8, now: i64) {
        if value & B_HOLD == 0 {
            self.store(value);
            if let Some(seconds) = self.held.take() {
                self.ahead = seconds.saturating_sub(now.div_euclid(SECOND));
            }
            return;
        }
        // A clock that is held has no updates, and forgets that the guest wants to be told of them.
        self.store(value & !UPDATE);
        if self.held.is_none() {
            self.held = Some(self.seconds(now));
        }
    }

    fn store(&mut self, value: u8) {
        if let Some(byte) = self.bytes.get_mut(usize::from(self.index)) {
            *byte = value;
        }
    }

    fn set_time(&mut self, value: u8, now: i64) {
        let mut fields = Fields::of(self.seconds(now));
        let plain = self.decoded(value);
        match self.index {
            0 => fields.second = plain.min(59),
            2 => fields.minute = plain.min(59),
            4 => fields.hour = self.decoded_hour(value).min(23),
            7 => fields.day = plain.clamp(1, 31),
            8 => fields.month = plain.clamp(1, 12),
            9 => fields.year = plain.min(99),
            CENTURY => fields.century = plain.clamp(19, 99),
            _ => (),
        }
        let seconds = fields.seconds();
        if self.held.is_some() {
            self.held = Some(seconds);
        } else {
            self.ahead = seconds.saturating_sub(now.div_euclid(SECOND));
        }
    }

    fn coded(&self, value: u8) -> u8 {
        if self.byte(B) & B_BINARY != 0 { value } else { ((value / 10) << 4) | (value % 10) }
    }

    fn decoded(&self, value: u8) -> u8 {
        if self.byte(B) & B_BINARY != 0 {
            value
        } else {
            (value >> 4).saturating_mul(10).saturating_add(value & 0xf)
        }
    }

    fn coded_hour(&self, hour: u8) -> u8 {
        if self.byte(B) & B_24_HOURS != 0 {
            return self.coded(hour);
        }
        let twelve = match hour % 12 {
            0 => 12,
            other => other,
        };
        self.coded(twelve) | if hour >= 12 { 0x80 } else { 0 }
    }

    fn decoded_hour(&self, value: u8) -> u8 {
        if self.byte(B) & B_24_HOURS != 0 {
            return self.decoded(value);
        }
        let hour = self.decoded(value & 0x7f) % 12;
        if value & 0x80 != 0 { hour.saturating_add(12) } else { hour }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2024-02-29 23:59:58 UTC, a Thursday (date -u -d 2024-02-29T23:59:58 +%s).
    const LEAP: i64 = 1_709_251_198_000_000;

    fn all(cmos: &mut Cmos, now: i64) -> [u8; 8] {
        [CENTURY, 9, 8, 7, 4, 2, 0, 6].map(|index| {
            cmos.select(index);
            cmos.read(now)
        })
    }

    #[test]
    fn time_reads_in_bcd() {
        let mut cmos = Cmos::new(2);
        assert_eq!(all(&mut cmos, LEAP), [0x20, 0x24, 0x02, 0x29, 0x23, 0x59, 0x58, 5]);
        assert_eq!(all(&mut cmos, LEAP + 2_000_000), [0x20, 0x24, 0x03, 0x01, 0, 0, 0, 6]);
    }

    #[test]
    fn binary_and_twelve_hours_as_register_b_says() {
        let mut cmos = Cmos::new(1);
        cmos.select(B);
        cmos.write(B_BINARY, LEAP);
        assert_eq!(all(&mut cmos, LEAP), [20, 24, 2, 29, 0x80 | 11, 59, 58, 5]);
    }

    #[test]
    fn a_held_clock_is_set_and_goes_on() {
        let mut cmos = Cmos::new(1);
        cmos.select(B);
        cmos.write(B_HOLD | B_24_HOURS, LEAP);
        for (index, value) in [(9, 0x30), (8, 0x12), (7, 0x31), (4, 0x07), (2, 0x08), (0, 0x09)] {
            cmos.select(index);
            cmos.write(value, LEAP + 500_000);
        }
        cmos.select(B);
        cmos.write(B_24_HOURS, LEAP);
        assert_eq!(all(&mut cmos, LEAP + 1_000_000)[..7], [0x20, 0x30, 0x12, 0x31, 0x07, 0x08, 0x10]);
    }

    #[test]
    fn firmware_finds_what_it_waits_for() {
        let mut cmos = Cmos::new(2);
        for (index, expected) in [(CPUS, 1), (0x0f, 0), (D, 0x80), (A, 0x26)] {
            cmos.select(0x80 | index);
            assert_eq!(cmos.read(LEAP), expected);
        }
        cmos.select(A);
        assert_eq!(cmos.read(LEAP + 999_800), 0xa6, "an update is in progress");
        cmos.select(C);
        cmos.read(LEAP);
        assert_eq!((cmos.read(LEAP + 1_000_000), cmos.read(LEAP + 1_000_001)), (0x50, 0));
    }
}
