//! A serial port: the 16550 chip, its interrupt line and its end of the console.

mod uart;

use crate::bus::{Access, Device, Effect};
use crate::console::Console;
use crate::irq::Line;
use parking_lot::Mutex;
use std::sync::Arc;
pub use uart::Uart;

#[derive(Debug)]
pub struct Port {
    uart: Mutex<Uart>,
    line: Line,
    console: Arc<Console>,
}

impl Port {
    #[must_use]
    pub fn new(line: Line, console: &Arc<Console>) -> Arc<Port> {
        let port = Arc::new(Port { uart: Mutex::default(), line, console: Arc::clone(console) });
        console.connect(&port);
        port.pump();
        port
    }

    /// Moves waiting input into the chip as far as it has room.
    pub fn pump(&self) {
        self.with(|_| ());
    }

    /// Works on the chip, then lets the line follow it.
    fn with<T>(&self, f: impl FnOnce(&mut Uart) -> T) -> T {
        let mut uart = self.uart.lock();
        let before = uart.interrupt();
        let result = f(&mut uart);
        while uart.has_room() {
            let Some(byte) = self.console.next_input() else { break };
            uart.receive(byte);
        }
        let after = uart.interrupt();
        drop(uart);
        if before != after {
            self.line.follow(before, || self.uart.lock().interrupt());
        }
        result
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
        if let Some(sent) = self.with(|uart| uart.write(register, byte)) {
            self.console.put(sent);
        }
        Effect::None
    }

    fn eight_bits(&self) -> bool {
        true
    }
}
