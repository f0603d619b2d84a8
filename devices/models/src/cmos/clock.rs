//! The chip at its two ports.

use super::Cmos;
use crate::bus::{Access, Device, Effect};

pub type Clock = crate::clock::Clock<Cmos>;

impl Device for Clock {
    fn read(&self, at: Access) -> u64 {
        match at.offset {
            1 => u64::from(self.with(Cmos::read)),
            _ => at.width.ones(),
        }
    }

    fn write(&self, at: Access, value: u64) -> Effect {
        let [byte, ..] = value.to_le_bytes();
        match at.offset {
            0 => self.aside(|chip| chip.select(byte)),
            _ => self.set(|chip, now| chip.write(byte, now)),
        }
        Effect::None
    }

    fn eight_bits(&self) -> bool {
        true
    }
}
