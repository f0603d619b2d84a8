//! The real-time clock and its CMOS memory (Motorola MC146818; ports 0x70 and 0x71).
//!
//! Modelled: time of day in UTC, BCD or binary, 12 or 24 hours, with century; setting it shifts the guest's clock
//! only; the update flag; the battery-backed bytes that firmware reads. Left out: interrupt line 8, so that an alarm
//! or an update interrupt that a guest waits for never comes. The flags of register C tell update events to a guest
//! that polls.

use crate::bus::{Access, Device, Effect};
use parking_lot::Mutex;
use std::time::{SystemTime, UNIX_EPOCH};

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
const DAY: i64 = 86_400;

/// The chip. Time comes in as microseconds since 1970 with every access.
#[derive(Debug, Clone)]
pub struct Cmos {
    index: u8,
    bytes: [u8; 128],
    /// What the guest has set its clock ahead of ours, in seconds.
    ahead: i64,
    /// The guest's time while it holds the clock to set it.
    held: Option<i64>,
    /// When register C was read last.
    flags_since: i64,
}

impl Cmos {
    #[must_use]
    pub fn new(cpus: u8) -> Cmos {
        let mut cmos = Cmos { index: 0, bytes: [0; 128], ahead: 0, held: None, flags_since: 0 };
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
        self.held.unwrap_or_else(|| now.div_euclid(1_000_000).saturating_add(self.ahead))
    }

    pub fn read(&mut self, now: i64) -> u8 {
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
            A if self.held.is_none() && now.rem_euclid(1_000_000) >= 999_756 => self.byte(A) | 0x80,
            C => self.take_flags(now),
            other => self.byte(other),
        }
    }

    fn take_flags(&mut self, now: i64) -> u8 {
        let since = std::mem::replace(&mut self.flags_since, now);
        let updated = now.div_euclid(1_000_000) > since.div_euclid(1_000_000) && self.held.is_none();
        if updated { 0x10 } else { 0 }
    }

    pub fn write(&mut self, value: u8, now: i64) {
        match self.index {
            0 | 2 | 4 | 6..=9 | CENTURY => self.set_time(value, now),
            A => self.store(value & 0x7f),
            B => {
                self.store(value);
                if value & B_HOLD == 0 {
                    if let Some(seconds) = self.held.take() {
                        self.ahead = seconds.saturating_sub(now.div_euclid(1_000_000));
                    }
                } else if self.held.is_none() {
                    self.held = Some(self.seconds(now));
                }
            }
            C | D => (),
            _ => self.store(value),
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
            self.ahead = seconds.saturating_sub(now.div_euclid(1_000_000));
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

/// A point in time, taken apart.
#[derive(Debug, Clone, Copy)]
struct Fields {
    second: u8,
    minute: u8,
    hour: u8,
    weekday: u8,
    day: u8,
    month: u8,
    year: u8,
    century: u8,
}

impl Fields {
    #[expect(
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the time is cut to the years 1970 to 9999, whose days and seconds fit"
    )]
    fn of(seconds: i64) -> Fields {
        let seconds = seconds.clamp(0, 253_402_300_799);
        let (days, rest) = (seconds / DAY, seconds % DAY);
        // Howard Hinnant's civil_from_days: eras of 400 years that begin in March.
        let shifted = days + 719_468;
        let era = shifted / 146_097;
        let day_of_era = shifted % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Fields {
            second: (rest % 60) as u8,
            minute: (rest / 60 % 60) as u8,
            hour: (rest / 3600) as u8,
            weekday: ((days + 4) % 7 + 1) as u8,
            day: (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u8,
            month: month as u8,
            year: (year % 100) as u8,
            century: (year / 100) as u8,
        }
    }

    #[expect(clippy::arithmetic_side_effects, reason = "every field is below 100")]
    fn seconds(self) -> i64 {
        let (month, day) = (i64::from(self.month), i64::from(self.day));
        let year = i64::from(self.century) * 100 + i64::from(self.year) - i64::from(month <= 2);
        let (era, year_of_era) = (year / 400, year % 400);
        let shifted_month = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * shifted_month + 2) / 5 + day - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        let days = era * 146_097 + day_of_era - 719_468;
        days * DAY + i64::from(self.hour) * 3600 + i64::from(self.minute) * 60 + i64::from(self.second)
    }
}

/// The chip at its two ports, with the host's clock.
#[derive(Debug)]
pub struct Clock(Mutex<Cmos>);

impl Clock {
    #[must_use]
    pub fn new(cmos: Cmos) -> Clock {
        Clock(Mutex::new(cmos))
    }
}

fn host_microseconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

impl Device for Clock {
    fn read(&self, at: Access) -> u64 {
        match at.offset {
            1 => u64::from(self.0.lock().read(host_microseconds())),
            _ => at.width.ones(),
        }
    }

    fn write(&self, at: Access, value: u64) -> Effect {
        let [byte, ..] = value.to_le_bytes();
        match at.offset {
            0 => self.0.lock().select(byte),
            _ => self.0.lock().write(byte, host_microseconds()),
        }
        Effect::None
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
    fn every_day_survives_taking_apart_and_putting_together() {
        for day in (0..60_000).step_by(13) {
            let seconds = day * DAY + 12_345;
            assert_eq!(Fields::of(seconds).seconds(), seconds);
        }
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
        assert_eq!((cmos.read(LEAP + 1_000_000), cmos.read(LEAP + 1_000_001)), (0x10, 0));
    }
}
