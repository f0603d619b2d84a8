//! The 16550A chip (National Semiconductor PC16550D data sheet, section 8).
//!
//! Modelled: the receive FIFO with its time-out, the transmitter as one that is always empty, interrupts by
//! priority, divisor latch, loop-back, scratch. vm-superio's Serial was not taken: it has no FIFO control, FIFO
//! ids or modem lines, which firmware and other operating systems' drivers probe for.
//! Left out: baud rate (bytes pass at once), parity, break, DMA mode, transmit FIFO timing, and writing the two
//! status registers (5 and 6), which is for factory tests.

use super::Chip;
use std::collections::VecDeque;

const FIFO: usize = 16;

// Interrupt enable register.
const IER_RECEIVED: u8 = 0x01;
const IER_EMPTY: u8 = 0x02;
const IER_LINE: u8 = 0x04;
// Interrupt identification register.
const IIR_NONE: u8 = 0x01;
const IIR_EMPTY: u8 = 0x02;
const IIR_RECEIVED: u8 = 0x04;
const IIR_LINE: u8 = 0x06;
const IIR_TIMEOUT: u8 = 0x0c;
const IIR_FIFO: u8 = 0xc0;
// FIFO control register.
const FCR_ENABLE: u8 = 0x01;
const FCR_CLEAR_RECEIVE: u8 = 0x02;
// Line control register.
const LCR_DIVISOR: u8 = 0x80;
// Modem control register.
const MCR_LOOP: u8 = 0x10;
// Line status register.
const LSR_READY: u8 = 0x01;
const LSR_OVERRUN: u8 = 0x02;
const LSR_EMPTY: u8 = 0x60;
/// CTS, DSR and DCD: a terminal is there (OVMF wants them).
const MSR_PRESENT: u8 = 0xb0;

#[derive(Debug, Clone)]
pub struct Uart {
    enabled: u8,
    fifo_control: u8,
    line_control: u8,
    modem_control: u8,
    scratch: u8,
    divisor: u16,
    overrun: bool,
    /// The transmitter-empty interrupt waits to be seen.
    empty_pending: bool,
    received: VecDeque<u8>,
}

impl Default for Uart {
    fn default() -> Uart {
        Uart {
            enabled: 0,
            fifo_control: 0,
            line_control: 0x03,
            modem_control: 0x08,
            scratch: 0,
            divisor: 1,
            overrun: false,
            empty_pending: false,
            received: VecDeque::new(),
        }
    }
}

impl Chip for Uart {
    fn has_room(&self) -> bool {
        self.modem_control & MCR_LOOP == 0 && self.received.len() < self.depth()
    }

    fn receive(&mut self, byte: u8) {
        if self.received.len() < self.depth() {
            self.received.push_back(byte);
        } else {
            self.overrun = true;
        }
    }

    fn interrupt(&self) -> bool {
        self.identification() != IIR_NONE
    }
}

impl Uart {
    fn depth(&self) -> usize {
        if self.fifo_control & FCR_ENABLE == 0 { 1 } else { FIFO }
    }

    fn identification(&self) -> u8 {
        let trigger = match self.fifo_control >> 6 {
            _ if self.fifo_control & FCR_ENABLE == 0 => 1,
            0 => 1,
            1 => 4,
            2 => 8,
            _ => 14,
        };
        if self.enabled & IER_LINE != 0 && self.overrun {
            IIR_LINE
        } else if self.enabled & IER_RECEIVED != 0 && !self.received.is_empty() {
            // Nothing more comes while the guest waits, so below the trigger level it is the time-out at once.
            if self.received.len() >= trigger { IIR_RECEIVED } else { IIR_TIMEOUT }
        } else if self.enabled & IER_EMPTY != 0 && self.empty_pending {
            IIR_EMPTY
        } else {
            IIR_NONE
        }
    }

    fn divisor_latch(&self) -> bool {
        self.line_control & LCR_DIVISOR != 0
    }

    pub fn read(&mut self, register: u8) -> u8 {
        let [low, high] = self.divisor.to_le_bytes();
        match register {
            0 if self.divisor_latch() => low,
            1 if self.divisor_latch() => high,
            0 => self.received.pop_front().unwrap_or(0),
            1 => self.enabled,
            2 => {
                let which = self.identification();
                if which == IIR_EMPTY {
                    self.empty_pending = false;
                }
                which | if self.fifo_control & FCR_ENABLE == 0 { 0 } else { IIR_FIFO }
            }
            3 => self.line_control,
            4 => self.modem_control,
            5 => {
                let overrun = if std::mem::take(&mut self.overrun) { LSR_OVERRUN } else { 0 };
                let ready = if self.received.is_empty() { 0 } else { LSR_READY };
                LSR_EMPTY | overrun | ready
            }
            6 if self.modem_control & MCR_LOOP != 0 => loop_back(self.modem_control),
            6 => MSR_PRESENT,
            7 => self.scratch,
            _ => 0xff,
        }
    }

    /// Writes a register; returns the byte that leaves the port, if one does.
    pub fn write(&mut self, register: u8, value: u8) -> Option<u8> {
        let [low, high] = self.divisor.to_le_bytes();
        match register {
            0 if self.divisor_latch() => self.divisor = u16::from_le_bytes([value, high]),
            1 if self.divisor_latch() => self.divisor = u16::from_le_bytes([low, value]),
            0 => {
                self.empty_pending = true;
                if self.modem_control & MCR_LOOP == 0 {
                    return Some(value);
                }
                self.receive(value);
            }
            1 => {
                // The empty transmitter interrupts each time that it is enabled (Linux's driver tests for it).
                if value & !self.enabled & IER_EMPTY != 0 {
                    self.empty_pending = true;
                }
                self.enabled = value & 0x0f;
            }
            2 => {
                if (value ^ self.fifo_control) & FCR_ENABLE != 0 || value & FCR_CLEAR_RECEIVE != 0 {
                    self.received.clear();
                }
                self.fifo_control = value & 0xc9;
            }
            3 => self.line_control = value,
            4 => self.modem_control = value & 0x1f,
            7 => self.scratch = value,
            _ => (),
        }
        None
    }
}

/// Modem status in loop-back: the outputs DTR, RTS, OUT1, OUT2 come in as DSR, CTS, RI, DCD.
fn loop_back(control: u8) -> u8 {
    let wires = [(0x01, 0x20), (0x02, 0x10), (0x04, 0x40), (0x08, 0x80)];
    wires.iter().filter(|(output, _)| control & output != 0).fold(0, |status, (_, input)| status | input)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_leave_at_once_and_the_empty_interrupt_follows_each() {
        let mut uart = Uart::default();
        assert_eq!(uart.write(0, b'x'), Some(b'x'));
        assert!(!uart.interrupt(), "not enabled");
        uart.write(1, IER_EMPTY);
        assert_eq!(uart.read(2), IIR_EMPTY);
        assert!(!uart.interrupt(), "reading IIR clears it");
        uart.write(0, b'y');
        assert!(uart.interrupt());
        uart.write(1, 0);
        assert!(!uart.interrupt());
        uart.write(1, IER_EMPTY);
        assert!(uart.interrupt(), "enabling again interrupts again");
        assert_eq!(uart.read(5), LSR_EMPTY);
    }

    #[test]
    fn seabios_and_ovmf_find_a_port() {
        let mut uart = Uart::default();
        uart.write(1, 0x02);
        assert_eq!((uart.read(1), uart.read(2) & 0x3f), (0x02, 0x02));
        for value in [0xaa, 0x55] {
            uart.write(7, value);
            assert_eq!(uart.read(7), value);
        }
        assert_eq!(uart.read(6) & 0xb0, 0xb0);
        uart.write(4, 0x1a);
        assert_eq!(uart.read(6) & 0xf0, 0x90);
    }

    #[test]
    fn the_receive_fifo_has_sixteen_places() {
        let mut uart = Uart::default();
        uart.receive(1);
        assert!(!uart.has_room(), "one place without FIFO");
        uart.write(2, FCR_ENABLE | 0x40);
        uart.write(1, IER_RECEIVED | IER_LINE);
        assert_eq!(uart.read(5), LSR_EMPTY, "turning the FIFO on empties it");
        for byte in 0..16 {
            assert!(uart.has_room());
            uart.receive(byte);
        }
        assert_eq!(uart.read(2), IIR_FIFO | IIR_RECEIVED);
        uart.receive(99);
        assert_eq!(uart.read(2), IIR_FIFO | IIR_LINE);
        assert_eq!(uart.read(5), LSR_EMPTY | LSR_OVERRUN | LSR_READY);
        for byte in 0..16 {
            assert_eq!(uart.read(0), byte);
        }
        assert!(!uart.interrupt());
        uart.receive(3);
        assert_eq!(uart.read(2), IIR_FIFO | IIR_TIMEOUT);
    }

    #[test]
    fn loop_back_and_divisor_stay_inside() {
        let mut uart = Uart::default();
        uart.write(4, MCR_LOOP);
        for _ in 0..1000 {
            assert_eq!(uart.write(0, 5), None);
        }
        assert_eq!((uart.read(0), uart.read(0)), (5, 0));
        uart.write(3, LCR_DIVISOR);
        assert_eq!(uart.write(0, 0x34), None);
        uart.write(1, 0x12);
        assert_eq!((uart.read(0), uart.read(1)), (0x34, 0x12));
    }
}
