//! The generic event device's register (ACPI 6.5, section 5.6.9): what a machine without ACPI's fixed hardware tells
//! its guest, here that the power button was pressed. The DSDT's method for the interrupt reads it.
//!
//! One register of 32 bits: events that have happened, a bit each; reading clears them. Its layout and the button's
//! bit are those of QEMU's device (docs/specs/acpi_hw_reduced_hotplug.rst). Left out: all other events, and asking
//! whether the guest listens: this interface does not tell before the first event is read.

use crate::bus::{Access, Device, Effect, Width};
use crate::irq::Line;
use parking_lot::Mutex;

/// The power button's bit.
pub const POWER_BUTTON: u32 = 1 << 1;

/// The register.
#[derive(Debug, Default, Clone)]
pub struct Ged {
    events: u32,
}

impl Ged {
    pub fn press_power_button(&mut self) {
        self.events |= POWER_BUTTON;
    }

    /// Whether an event waits to be read.
    #[must_use]
    pub fn interrupt(&self) -> bool {
        self.events != 0
    }

    pub fn take(&mut self) -> u32 {
        std::mem::take(&mut self.events)
    }
}

/// The register at its address, with its interrupt. The line falls when the events are read: each press that a
/// guest has not seen yet is the same press.
#[derive(Debug)]
pub struct Events {
    ged: Mutex<Ged>,
    line: Line,
}

impl Events {
    /// Bytes that the device takes.
    pub const LEN: u64 = 4;

    #[must_use]
    pub fn new(line: Line) -> Events {
        Events { ged: Mutex::default(), line }
    }

    pub fn press_power_button(&self) {
        self.with(Ged::press_power_button);
    }

    /// Whether the guest has not looked since the last press.
    pub fn waits(&self) -> bool {
        self.ged.lock().interrupt()
    }

    fn with<T>(&self, f: impl FnOnce(&mut Ged) -> T) -> T {
        let mut ged = self.ged.lock();
        let before = ged.interrupt();
        let result = f(&mut ged);
        let after = ged.interrupt();
        drop(ged);
        if before != after {
            self.line.follow(before, || self.ged.lock().interrupt());
        }
        result
    }
}

impl Device for Events {
    /// Only a read of the whole register is one of it.
    fn read(&self, at: Access) -> u64 {
        match (at.offset, at.width) {
            (0, Width::Dword) => self.with(Ged::take).into(),
            _ => 0,
        }
    }

    fn write(&self, _: Access, _: u64) -> Effect {
        Effect::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irq::{Lines, fake::Recorder};
    use std::sync::Arc;

    #[test]
    fn a_press_is_an_edge_and_is_read_once() {
        let recorder = Arc::new(Recorder::default());
        let events = Events::new(Line::new(Arc::new(Lines::new(recorder.clone())), 9));
        let read = || events.read(Access::new(0, Width::Dword));
        assert_eq!((read(), events.waits()), (0, false));
        events.press_power_button();
        events.press_power_button();
        assert!(events.waits());
        for (offset, width) in [(0, Width::Byte), (1, Width::Byte), (0, Width::Qword), (4, Width::Dword)] {
            assert_eq!(events.read(Access::new(offset, width)), 0);
            assert_eq!(events.write(Access::new(offset, width), u64::MAX), Effect::None);
        }
        assert_eq!((read(), read(), events.waits()), (2, 0, false));
        events.press_power_button();
        let levels: Vec<(u32, bool)> = recorder.lines.lock().clone();
        assert_eq!(levels, [(9, true), (9, false), (9, true)]);
    }
}
