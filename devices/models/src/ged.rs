//! The generic event device's register (ACPI 6.5, section 5.6.9): what a machine without ACPI's fixed hardware tells
//! its guest, here that the power button was pressed. The DSDT's method for the interrupt reads it.
//!
//! Two registers of 32 bits. One holds the events that have happened, a bit each; reading clears them. Its layout and
//! the button's bit are those of QEMU's device (docs/specs/acpi_hw_reduced_hotplug.rst). The other is this board's own:
//! the device's _INI method writes to it, so that it is known whether an operating system has come as far as its ACPI.
//! Left out: all other events.

use crate::bus::{Access, Device, Effect, Width};
use crate::irq::Line;
use crate::stages::{Stage, Stages};
use parking_lot::Mutex;
use std::sync::Arc;

/// The power button's bit.
pub const POWER_BUTTON: u32 = 1 << 1;

/// Registers.
const EVENTS: u64 = 0;
const LISTENS: u64 = 4;

/// The registers' state.
#[derive(Debug, Default, Clone)]
pub struct Ged {
    events: u32,
    listens: bool,
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

/// The registers at their address, with their interrupt. The line falls when the events are read, and before each
/// press: its edges count, and who was not there for the first is to see the next.
#[derive(Debug)]
pub struct Events {
    ged: Mutex<Ged>,
    line: Line,
    stages: Arc<Stages>,
}

impl Events {
    /// Bytes that the device takes.
    pub const LEN: u64 = 8;

    #[must_use]
    pub fn new(line: Line) -> Events {
        Events { ged: Mutex::default(), line, stages: Arc::default() }
    }

    /// The same, which tells there that an operating system uses it.
    #[must_use]
    pub fn watched(self, stages: &Arc<Stages>) -> Events {
        Events { stages: Arc::clone(stages), ..self }
    }

    /// Presses the power button; says whether the guest listens to it now.
    pub fn press_power_button(&self) -> bool {
        let mut ged = self.ged.lock();
        let (before, listens) = (ged.interrupt(), ged.listens);
        ged.press_power_button();
        drop(ged);
        self.follow(before);
        listens
    }

    fn take(&self) -> u32 {
        let events = self.ged.lock().take();
        if events != 0 {
            self.follow(true);
        }
        events
    }

    fn follow(&self, before: bool) {
        self.line.follow(before, || self.ged.lock().interrupt());
    }
}

impl Device for Events {
    /// Only an access to the whole register is one to it.
    fn read(&self, at: Access) -> u64 {
        match (at.offset, at.width) {
            (EVENTS, Width::Dword) => self.take().into(),
            _ => 0,
        }
    }

    fn write(&self, at: Access, _: u64) -> Effect {
        if (at.offset, at.width) == (LISTENS, Width::Dword) {
            self.ged.lock().listens = true;
            self.stages.reach(Stage::PowerManaged);
        }
        Effect::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irq::{Lines, fake::Recorder};

    #[test]
    fn each_press_is_an_edge_and_they_are_read_once() {
        let recorder = Arc::new(Recorder::default());
        let events = Events::new(Line::new(Arc::new(Lines::new(recorder.clone())), 9));
        let read = || events.read(Access::new(0, Width::Dword));
        assert_eq!(read(), 0);
        events.press_power_button();
        events.press_power_button();
        for (offset, width) in [(0, Width::Byte), (1, Width::Byte), (0, Width::Qword), (4, Width::Dword)] {
            assert_eq!(events.read(Access::new(offset, width)), 0);
        }
        assert_eq!((read(), read()), (2, 0));
        events.press_power_button();
        let levels: Vec<(u32, bool)> = recorder.lines.lock().clone();
        let edges = [(9, true), (9, false), (9, true), (9, false), (9, true)];
        assert_eq!(levels, edges, "two, read, and one more");
    }

    #[test]
    fn who_has_set_up_its_acpi_listens() {
        let stages = Arc::default();
        let recorder = Arc::new(Recorder::default());
        let events = Events::new(Line::new(Arc::new(Lines::new(recorder)), 9)).watched(&stages);
        let write = |offset, width| events.write(Access::new(offset, width), u64::MAX);
        for (offset, width) in [(0, Width::Dword), (4, Width::Byte), (6, Width::Dword), (0, Width::Qword)] {
            assert_eq!(write(offset, width), Effect::None);
            assert!(!events.press_power_button(), "a write of {width:?} at {offset} is none of it");
        }
        assert_eq!(stages.reached().at(Stage::PowerManaged), None);
        write(4, Width::Dword);
        assert!(events.press_power_button());
        assert!(stages.reached().at(Stage::PowerManaged).is_some());
    }
}
