//! Arm's real-time clock PL031 (Arm DDI 0224B, chapter 3): seconds since 1970 in 32 bits, and an alarm.
//!
//! Modelled: the time in UTC; setting it shifts the guest's clock only; the alarm with its interrupt; the
//! identification registers, which EDK II reads byte by byte. It runs from the start, as if firmware had started it;
//! once it runs nothing but a reset stops it, so its control register reads 1 and takes nothing. Registers are 32
//! bits wide and answer at their first byte. Left out: the test registers.

use crate::bus::{Access, Device, Effect};
use crate::clock::{Chip, Clock};
use crate::serial::identification;

// Registers (table 3-1).
const DR: u64 = 0x00;
const MR: u64 = 0x04;
const LR: u64 = 0x08;
const CR: u64 = 0x0c;
const IMSC: u64 = 0x10;
const RIS: u64 = 0x14;
const MIS: u64 = 0x18;
const ICR: u64 = 0x1c;

/// Part 0x031 of Arm; then the cell id of every PrimeCell.
const IDS: [u8; 8] = [0x31, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

const SECOND: i64 = 1_000_000;
/// 9999-12-31 23:59:59. Times are cut to what lies between 1970 and then.
const LAST: i64 = 253_402_300_799 * SECOND;

/// The chip. Time comes in as microseconds since 1970 with every access; should it go back, nothing happens until
/// it goes on.
#[derive(Debug, Clone)]
pub struct Pl031 {
    /// What the guest has set its clock ahead of ours, in seconds.
    ahead: u32,
    /// When the alarm rings, by the guest's clock, and the last time that was written to it.
    alarm: u32,
    loaded: u32,
    /// The alarm reaches the line.
    on: bool,
    rung: bool,
    /// Until when `rung` is right.
    since: i64,
}

impl Default for Pl031 {
    fn default() -> Pl031 {
        Pl031 { ahead: 0, alarm: 0, loaded: 0, on: false, rung: false, since: LAST }
    }
}

/// Seconds that fit into the chip, from those that do not.
fn seconds(now: i64) -> u32 {
    let [b0, b1, b2, b3, ..] = now.div_euclid(SECOND).to_le_bytes();
    u32::from_le_bytes([b0, b1, b2, b3])
}

impl Chip for Pl031 {
    fn interrupt(&self) -> bool {
        self.on && self.rung
    }

    fn interrupts_are_on(&self) -> bool {
        self.on
    }

    /// The alarm rings when the clock comes to its second.
    fn advance(&mut self, now: i64) {
        let now = now.clamp(0, LAST);
        let since = std::mem::replace(&mut self.since, now);
        if now <= since {
            return;
        }
        let passed = now.div_euclid(SECOND).saturating_sub(since.div_euclid(SECOND));
        if passed >= self.until_alarm(since) {
            self.rung = true;
        }
    }

    fn next_interrupt(&self, now: i64) -> Option<i64> {
        if !self.on || self.rung {
            return None;
        }
        let now = now.clamp(0, LAST);
        let at = now.div_euclid(SECOND).saturating_add(self.until_alarm(now));
        Some(at.saturating_mul(SECOND))
    }
}

impl Pl031 {
    fn time(&self, now: i64) -> u32 {
        seconds(now).wrapping_add(self.ahead)
    }

    /// Seconds until the clock comes to the alarm's: all of them, if it is there.
    fn until_alarm(&self, now: i64) -> i64 {
        match self.alarm.wrapping_sub(self.time(now)) {
            0 => 1 << 32,
            left => i64::from(left),
        }
    }

    pub fn read(&mut self, register: u64, now: i64) -> u32 {
        self.advance(now);
        match register {
            DR => self.time(now.clamp(0, LAST)),
            MR => self.alarm,
            LR => self.loaded,
            CR => 1,
            IMSC => self.on.into(),
            RIS => self.rung.into(),
            MIS => self.interrupt().into(),
            _ => identification(IDS, register),
        }
    }

    pub fn write(&mut self, register: u64, value: u32, now: i64) {
        // What has happened until now did so by the old time.
        self.advance(now);
        let now = now.clamp(0, LAST);
        match register {
            MR => self.alarm = value,
            LR => {
                self.loaded = value;
                self.ahead = value.wrapping_sub(seconds(now));
            }
            IMSC => self.on = value & 1 != 0,
            ICR if value & 1 != 0 => self.rung = false,
            _ => (),
        }
        // The two are compared all the time: a match by being set is one too.
        if matches!(register, MR | LR) && self.alarm == self.time(now) {
            self.rung = true;
        }
    }
}

/// The clock at its address.
pub type Rtc = Clock<Pl031>;

/// A narrow access has the low bits of its register.
impl Device for Rtc {
    fn read(&self, at: Access) -> u64 {
        u64::from(self.with(|chip, now| chip.read(at.offset, now))) & at.width.ones()
    }

    fn write(&self, at: Access, value: u64) -> Effect {
        let [v0, v1, v2, v3, ..] = value.to_le_bytes();
        self.set(|chip, now| chip.write(at.offset, u32::from_le_bytes([v0, v1, v2, v3]), now));
        Effect::None
    }
}

#[cfg(test)]
#[path = "pl031_test.rs"]
mod tests;
