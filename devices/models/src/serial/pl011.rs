//! The PL011 chip (Arm DDI 0183G, chapter 3): the UART of Arm's boards, and the only one that AAVMF speaks through.
//!
//! Modelled: the receive FIFO with its trigger levels and time-out, the transmitter as one that is always empty,
//! interrupts, loop-back, the identification registers that Linux' AMBA bus matches. Registers are 32 bits wide and
//! answer at their first byte: drivers read them at 8, 16 and 32 bits, and what is between them reads as zero.
//! Left out: baud rate (bytes pass at once), parity, break, IrDA, DMA, the test registers, and interrupts of modem
//! lines, which never change. Bytes leave while the UART is off too: early consoles write before any driver turns
//! it on. Input waits until the guest has turned its receiver on.

use super::Chip;
use std::collections::VecDeque;

const FIFO: usize = 16;

// Registers (table 3-1).
const DR: u64 = 0x00;
const RSR: u64 = 0x04;
const FR: u64 = 0x18;
const ILPR: u64 = 0x20;
const IBRD: u64 = 0x24;
const FBRD: u64 = 0x28;
const LCR_H: u64 = 0x2c;
const CR: u64 = 0x30;
const IFLS: u64 = 0x34;
const IMSC: u64 = 0x38;
const RIS: u64 = 0x3c;
const MIS: u64 = 0x40;
const ICR: u64 = 0x44;
const DMACR: u64 = 0x48;
/// The first of the eight identification registers.
const ID: u64 = 0xfe0;

/// Part 0x011 of Arm, a revision whose FIFOs have 16 places; then the cell id of every PrimeCell.
const IDS: [u8; 8] = [0x11, 0x10, 0x14, 0x00, 0x0d, 0xf0, 0x05, 0xb1];

/// In the data register: bytes before this one were lost.
const DR_OVERRUN: u32 = 1 << 11;
const RSR_OVERRUN: u32 = 1 << 3;
// Flag register. CTS, DSR and DCD: a terminal is there.
const FR_PRESENT: u32 = 0x07;
const FR_RECEIVE_EMPTY: u32 = 1 << 4;
const FR_RECEIVE_FULL: u32 = 1 << 6;
const FR_SEND_EMPTY: u32 = 1 << 7;
const LCR_FIFO: u16 = 1 << 4;
const CR_UART: u16 = 1;
const CR_LOOP: u16 = 1 << 7;
const CR_RECEIVE: u16 = 1 << 9;
/// The modem outputs, and the inputs that they reach in loop-back: DTR, RTS, OUT1 and OUT2; DSR, CTS, DCD and RI.
const LOOPS: [(u16, u32); 4] = [(1 << 10, 1 << 1), (1 << 11, 1), (1 << 12, 1 << 2), (1 << 13, 1 << 8)];
// Interrupts.
const RECEIVED: u32 = 1 << 4;
const SENT: u32 = 1 << 5;
const TIMEOUT: u32 = 1 << 6;
const OVERRUN: u32 = 1 << 10;
const ALL: u32 = 0x7ff;

#[derive(Debug, Clone)]
pub struct Pl011 {
    line_control: u16,
    control: u16,
    /// Trigger levels: those of transmission make no difference.
    levels: u16,
    /// Interrupts that reach the line, and those that have happened.
    mask: u32,
    raw: u32,
    /// What only reads back: divisor and fraction, low-power divisor, DMA control.
    divisor: u16,
    fraction: u16,
    low_power: u16,
    dma: u16,
    /// Since the guest last cleared it.
    overrun: bool,
    /// Since the guest last read a byte.
    lost: bool,
    received: VecDeque<u8>,
}

impl Default for Pl011 {
    fn default() -> Pl011 {
        Pl011 {
            line_control: 0,
            control: 0x300,
            levels: 0x12,
            mask: 0,
            raw: 0,
            divisor: 0,
            fraction: 0,
            low_power: 0,
            dma: 0,
            overrun: false,
            lost: false,
            received: VecDeque::new(),
        }
    }
}

impl Chip for Pl011 {
    fn has_room(&self) -> bool {
        let on = CR_UART | CR_RECEIVE;
        self.control & (on | CR_LOOP) == on && self.received.len() < self.depth()
    }

    fn receive(&mut self, byte: u8) {
        if self.received.len() >= self.depth() {
            (self.overrun, self.lost) = (true, true);
            self.raw |= OVERRUN;
            return;
        }
        self.received.push_back(byte);
        if self.received.len() >= self.trigger() {
            self.raw |= RECEIVED;
        }
        // Nothing more comes while the guest waits, so the time-out is at once.
        if self.line_control & LCR_FIFO != 0 {
            self.raw |= TIMEOUT;
        }
    }

    fn interrupt(&self) -> bool {
        self.raw & self.mask != 0
    }
}

impl Pl011 {
    fn depth(&self) -> usize {
        if self.line_control & LCR_FIFO == 0 { 1 } else { FIFO }
    }

    /// How many bytes interrupt (section 3.3.11): of the FIFO an eighth, a quarter, a half, three or seven eighths.
    fn trigger(&self) -> usize {
        match self.levels >> 3 & 7 {
            _ if self.line_control & LCR_FIFO == 0 => 1,
            0 => 2,
            1 => 4,
            2 => 8,
            3 => 12,
            _ => 14,
        }
    }

    pub fn read(&mut self, register: u64) -> u32 {
        match register {
            DR => self.take(),
            RSR if self.overrun => RSR_OVERRUN,
            FR => self.flags(),
            ILPR => self.low_power.into(),
            IBRD => self.divisor.into(),
            FBRD => self.fraction.into(),
            LCR_H => self.line_control.into(),
            CR => self.control.into(),
            IFLS => self.levels.into(),
            IMSC => self.mask,
            RIS => self.raw,
            MIS => self.raw & self.mask,
            DMACR => self.dma.into(),
            _ => identification(IDS, register),
        }
    }

    /// The next byte. An empty FIFO gives zero.
    fn take(&mut self) -> u32 {
        let byte = self.received.pop_front().unwrap_or(0);
        if self.received.len() < self.trigger() {
            self.raw &= !RECEIVED;
        }
        if self.received.is_empty() {
            self.raw &= !TIMEOUT;
        }
        u32::from(byte) | if std::mem::take(&mut self.lost) { DR_OVERRUN } else { 0 }
    }

    fn flags(&self) -> u32 {
        let lines = if self.control & CR_LOOP == 0 {
            FR_PRESENT
        } else {
            let wired = LOOPS.iter().filter(|(output, _)| self.control & output != 0);
            wired.fold(0, |lines, (_, input)| lines | input)
        };
        let empty = if self.received.is_empty() { FR_RECEIVE_EMPTY } else { 0 };
        let full = if self.received.len() >= self.depth() { FR_RECEIVE_FULL } else { 0 };
        FR_SEND_EMPTY | lines | empty | full
    }

    /// Writes a register; returns the byte that leaves the port, if one does.
    pub fn write(&mut self, register: u64, value: u32) -> Option<u8> {
        let [byte, high, ..] = value.to_le_bytes();
        let half = u16::from_le_bytes([byte, high]);
        match register {
            DR => {
                // It is gone at once: the FIFO passes its trigger level each time.
                self.raw |= SENT;
                if self.control & CR_LOOP == 0 {
                    return Some(byte);
                }
                self.receive(byte);
            }
            RSR => self.overrun = false,
            ILPR => self.low_power = half & 0xff,
            IBRD => self.divisor = half,
            FBRD => self.fraction = half & 0x3f,
            LCR_H => {
                if (half ^ self.line_control) & LCR_FIFO != 0 {
                    self.received.clear();
                    self.raw &= !(RECEIVED | TIMEOUT);
                }
                self.line_control = half & 0xff;
            }
            CR => self.control = half & 0xff87,
            IFLS => self.levels = half & 0x3f,
            IMSC => self.mask = value & ALL,
            ICR => self.raw &= !value,
            DMACR => self.dma = half & 7,
            _ => (),
        }
        None
    }
}

/// What a PrimeCell's identification registers read: a byte each, from 0xfe0 on.
pub(crate) fn identification(ids: [u8; 8], register: u64) -> u32 {
    let at = register.checked_sub(ID).filter(|at| at & 3 == 0);
    let id = at.and_then(|at| ids.get(usize::try_from(at >> 2).ok()?));
    id.copied().map_or(0, u32::from)
}

#[cfg(test)]
#[path = "pl011_test.rs"]
mod tests;
