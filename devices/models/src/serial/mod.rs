//! A serial port: a UART chip, its interrupt line and its end of the console. There are two chips, the 16550 of
//! PCs and EC2's guests and Arm's PL011; a machine that has both puts them on one console.

mod pl011;
mod uart;

use crate::bus::{Access, Device, Effect};
use crate::console::{Console, Plug, Receiver};
use crate::irq::Line;
use parking_lot::Mutex;
pub use pl011::Pl011;
pub(crate) use pl011::identification;
use std::fmt;
use std::sync::Arc;
pub use uart::Uart;

/// What a port asks of its chip.
pub trait Chip: fmt::Debug + Default + Send + 'static {
    /// Whether a byte from outside would be kept.
    fn has_room(&self) -> bool;
    fn receive(&mut self, byte: u8);
    /// The level of the interrupt output.
    fn interrupt(&self) -> bool;
}

#[derive(Debug)]
pub struct Wired<C> {
    chip: Mutex<C>,
    line: Line,
    console: Arc<Console>,
    plug: Plug,
}

/// A port with a 16550.
pub type Port = Wired<Uart>;
/// A port with a PL011.
pub type ArmPort = Wired<Pl011>;

impl<C: Chip> Wired<C> {
    #[must_use]
    pub fn new(line: Line, console: &Arc<Console>) -> Arc<Wired<C>> {
        let port = Arc::new_cyclic(|port: &std::sync::Weak<Wired<C>>| {
            let plug = console.connect(port.clone());
            Wired { chip: Mutex::default(), line, console: Arc::clone(console), plug }
        });
        port.pump();
        port
    }

    /// Works on the chip, then lets the line follow it.
    fn with<T>(&self, f: impl FnOnce(&mut C) -> T) -> T {
        let mut chip = self.chip.lock();
        let before = chip.interrupt();
        let result = f(&mut chip);
        while chip.has_room() {
            let Some(byte) = self.console.next_input(self.plug) else { break };
            chip.receive(byte);
        }
        let after = chip.interrupt();
        drop(chip);
        if before != after {
            self.line.follow(before, || self.chip.lock().interrupt());
        }
        result
    }

    fn say(&self, sent: Option<u8>) -> Effect {
        if let Some(byte) = sent {
            self.console.put(self.plug, byte);
        }
        Effect::None
    }
}

impl<C: Chip> Receiver for Wired<C> {
    fn pump(&self) {
        self.with(|_| ());
    }
}

impl Device for Port {
    fn read(&self, at: Access) -> u64 {
        let Ok(register) = u8::try_from(at.offset) else { return at.width.ones() };
        u64::from(self.with(|uart| uart.read(register)))
    }

    fn write(&self, at: Access, value: u64) -> Effect {
        let Ok(register) = u8::try_from(at.offset) else { return Effect::None };
        let [byte, ..] = value.to_le_bytes();
        let sent = self.with(|uart| uart.write(register, byte));
        self.say(sent)
    }

    fn eight_bits(&self) -> bool {
        true
    }
}

/// A narrow access has the low bits of its register.
impl Device for ArmPort {
    fn read(&self, at: Access) -> u64 {
        u64::from(self.with(|uart| uart.read(at.offset))) & at.width.ones()
    }

    fn write(&self, at: Access, value: u64) -> Effect {
        let [v0, v1, v2, v3, ..] = value.to_le_bytes();
        let sent = self.with(|uart| uart.write(at.offset, u32::from_le_bytes([v0, v1, v2, v3])));
        self.say(sent)
    }
}
