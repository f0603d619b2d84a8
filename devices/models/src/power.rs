//! ACPI fixed hardware: PM1 events and control, the power-management timer (ACPI 6.5, section 4.8.3).
//!
//! Modelled: power button, sleep type 0 as soft off (S5), the free-running 24-bit timer. SMI_CMD is 0 in the
//! tables, so ACPI mode is always on and SCI_EN reads 1. Left out: the timer's overflow interrupt (no stock guest
//! enables it), general-purpose events, S3 and S4; and what a PIIX4 has behind the timer (processor control, traps
//! of devices, general-purpose pins), which the tables do not name: it reads as zero and takes nothing, and so does a
//! word that is written at an odd port.

use crate::bus::{Access, Device, Effect, Width};
use crate::irq::Line;
use crate::stages::{Stage, Stages};
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

const POWER_BUTTON: u16 = 1 << 8;
const SCI_ENABLED: u16 = 1;
const SLEEP_ENABLE: u16 = 1 << 13;
const SLEEP_TYPE: u16 = 7 << 10;
/// Hertz of the PM timer (ACPI 6.5, 4.8.3.3).
const TIMER_HERTZ: u128 = 3_579_545;

/// The PM1 registers.
#[derive(Debug, Default, Clone)]
pub struct Pm {
    status: u16,
    enabled: u16,
    control: u16,
}

impl Pm {
    #[must_use]
    pub fn interrupt(&self) -> bool {
        self.status & self.enabled != 0
    }

    pub fn press_power_button(&mut self) {
        self.status |= POWER_BUTTON;
    }

    /// Whether the guest would notice the power button now.
    #[must_use]
    pub fn listens(&self) -> bool {
        self.enabled & POWER_BUTTON != 0
    }

    fn register(&self, offset: u64) -> u16 {
        match offset {
            0 => self.status,
            2 => self.enabled,
            4 => self.control | SCI_ENABLED,
            _ => 0,
        }
    }

    /// Reads up to 32 bits from the byte at `offset` on.
    #[must_use]
    pub fn read(&self, offset: u64) -> u32 {
        let (low, high) = (self.register(offset & !1), self.register((offset & !1).wrapping_add(2)));
        (u32::from(low) | u32::from(high) << 16) >> ((offset & 1) << 3)
    }

    /// Writes one 16-bit register; narrower writes come with the other byte kept.
    pub fn write(&mut self, offset: u64, value: u16) -> Effect {
        match offset {
            0 => self.status &= !value,
            2 => self.enabled = value,
            4 => {
                self.control = value & !(SLEEP_ENABLE | SCI_ENABLED);
                if value & SLEEP_ENABLE != 0 && value & SLEEP_TYPE == 0 {
                    return Effect::PowerOff;
                }
            }
            _ => (),
        }
        Effect::None
    }
}

/// The block at its ports, with the machine's clock and the SCI.
#[derive(Debug)]
pub struct PowerBlock {
    pm: Mutex<Pm>,
    sci: Line,
    start: Instant,
    stages: Arc<Stages>,
}

impl PowerBlock {
    /// Ports that the block takes.
    pub const LEN: u64 = 64;

    #[must_use]
    pub fn new(sci: Line) -> PowerBlock {
        PowerBlock { pm: Mutex::default(), sci, start: Instant::now(), stages: Arc::default() }
    }

    /// The same, which tells there that an operating system uses it.
    #[must_use]
    pub fn watched(self, stages: &Arc<Stages>) -> PowerBlock {
        PowerBlock { stages: Arc::clone(stages), ..self }
    }

    /// Presses the power button; says whether the guest listens to it now.
    pub fn press_power_button(&self) -> bool {
        self.with(|pm| {
            pm.press_power_button();
            pm.listens()
        })
    }

    fn with<T>(&self, f: impl FnOnce(&mut Pm) -> T) -> T {
        let mut pm = self.pm.lock();
        let before = pm.interrupt();
        let result = f(&mut pm);
        let after = pm.interrupt();
        drop(pm);
        if before != after {
            self.sci.follow(before, || self.pm.lock().interrupt());
        }
        result
    }

    fn timer(&self) -> u64 {
        let ticks = self.start.elapsed().as_nanos().saturating_mul(TIMER_HERTZ) / 1_000_000_000;
        u64::try_from(ticks & 0x00ff_ffff).unwrap_or(0)
    }
}

impl Device for PowerBlock {
    fn read(&self, at: Access) -> u64 {
        match at.offset {
            // Firmware reads the timer millions of times: no lock.
            8..12 => self.timer() >> ((at.offset & 3) << 3) & at.width.ones(),
            0..8 => u64::from(self.pm.lock().read(at.offset)) & at.width.ones(),
            _ => 0,
        }
    }

    fn write(&self, at: Access, value: u64) -> Effect {
        let [v0, v1, v2, v3, ..] = value.to_le_bytes();
        // Firmware only ever writes the control register, to switch off.
        if at.offset < 4 {
            self.stages.reach(Stage::PowerManaged);
        }
        self.with(|pm| match at.width {
            Width::Byte if at.offset & 1 == 0 => {
                // The other byte of a status register must not be written back: ones clear bits there.
                let high = if at.offset == 0 { 0 } else { pm.read(at.offset).to_le_bytes()[1] };
                pm.write(at.offset, u16::from_le_bytes([v0, high]))
            }
            Width::Byte => {
                let register = at.offset & !1;
                let low = if register == 0 { 0 } else { pm.read(register).to_le_bytes()[0] };
                pm.write(register, u16::from_le_bytes([low, v0]))
            }
            Width::Word => pm.write(at.offset, u16::from_le_bytes([v0, v1])),
            Width::Dword | Width::Qword => {
                let first = pm.write(at.offset, u16::from_le_bytes([v0, v1]));
                let second = pm.write(at.offset.wrapping_add(2), u16::from_le_bytes([v2, v3]));
                if first == Effect::None { second } else { first }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irq::{Lines, fake::Recorder};

    #[test]
    fn the_button_interrupts_until_its_status_is_cleared() {
        let recorder = Arc::new(Recorder::default());
        let block = PowerBlock::new(Line::new(Arc::new(Lines::new(recorder.clone())), 9));
        assert!(!block.press_power_button(), "nobody listens yet");
        block.write(Access::new(2, Width::Word), u64::from(POWER_BUTTON));
        assert_eq!(*recorder.lines.lock(), [(9, true)]);
        assert_eq!(block.read(Access::new(1, Width::Byte)), 1);
        block.write(Access::new(0, Width::Byte), 0xff);
        assert_eq!(
            block.read(Access::new(0, Width::Dword)),
            0x0100_0100,
            "a byte write leaves the other byte"
        );
        block.write(Access::new(1, Width::Byte), 0x01);
        assert_eq!(*recorder.lines.lock(), [(9, true), (9, false)]);
        assert!(block.press_power_button());
    }

    #[test]
    fn who_writes_to_the_events_is_an_operating_system() {
        let line = Line::new(Arc::new(Lines::new(Arc::new(Recorder::default()))), 9);
        let stages = Arc::default();
        let block = PowerBlock::new(line).watched(&stages);
        // What firmware does: it reads the timer, and writes the control register.
        block.read(Access::new(8, Width::Dword));
        block.write(Access::new(4, Width::Word), 0);
        assert_eq!(stages.reached().kernel(), None);
        block.write(Access::new(2, Width::Word), 0);
        assert!(stages.reached().at(Stage::PowerManaged).is_some());
    }

    #[test]
    fn sleep_type_0_is_off_and_sleep_enable_reads_0() {
        let mut pm = Pm::default();
        assert_eq!(pm.write(4, 0), Effect::None);
        assert_eq!(pm.write(4, SLEEP_ENABLE | 5 << 10), Effect::None, "no S3");
        assert_eq!(pm.read(4), u32::from(5u16 << 10 | SCI_ENABLED));
        assert_eq!(pm.write(4, SLEEP_ENABLE), Effect::PowerOff);
    }

    #[test]
    fn the_timer_runs_and_has_24_bits() {
        let block = PowerBlock::new(Line::new(Arc::new(Lines::new(Arc::new(Recorder::default()))), 9));
        let first = block.read(Access::new(8, Width::Dword));
        while block.read(Access::new(8, Width::Dword)) == first {}
        assert!(block.read(Access::new(8, Width::Dword)) < 1 << 24);
        while block.read(Access::new(9, Width::Byte)) == 0 {}
        assert_eq!([11, 12, 0x30].map(|offset| block.read(Access::new(offset, Width::Byte))), [0; 3]);
    }
}
