//! The common configuration structure (virtio 1.2, section 4.1.4.3) as plain data.
//!
//! A driver reaches each field at its own offset and width (4.1.3.1). An access of another width reaches only the
//! field that begins there; where none begins it reads as zero and is dropped. So do the registers of a queue that
//! is not there, but for its vector: a size of 0 tells the driver.

use super::COMMON_FEATURES;
use crate::pci::NO_VECTOR;

pub(super) const ACKNOWLEDGE_TO_FEATURES_OK: u8 = 0x0b;
pub(super) const FEATURES_OK: u8 = 8;
pub(super) const DRIVER_OK: u8 = 4;
pub(super) const NEEDS_RESET: u8 = 64;

/// Registers of one queue.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct QueueRegisters {
    pub(super) max_size: u16,
    pub(super) size: u16,
    pub(super) vector: u16,
    pub(super) enabled: bool,
    pub(super) descriptors: u64,
    pub(super) driver: u64,
    pub(super) device: u64,
}

impl QueueRegisters {
    fn new(max_size: u16) -> QueueRegisters {
        let (vector, enabled) = (NO_VECTOR, false);
        QueueRegisters { max_size, size: max_size, vector, enabled, descriptors: 0, driver: 0, device: 0 }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Registers {
    offered: u64,
    vectors: u16,
    device_select: u32,
    driver_select: u32,
    pub(super) accepted: u64,
    pub(super) config_vector: u16,
    pub(super) status: u8,
    queue_select: u16,
    pub(super) queues: Vec<QueueRegisters>,
}

/// What a write to the structure asks of the transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    Nothing,
    Reset,
    Start,
}

impl Registers {
    pub(super) fn new(features: u64, queues: &[u16], vectors: u16) -> Registers {
        Registers {
            offered: features | COMMON_FEATURES,
            vectors,
            device_select: 0,
            driver_select: 0,
            accepted: 0,
            config_vector: NO_VECTOR,
            status: 0,
            queue_select: 0,
            queues: queues.iter().map(|max_size| QueueRegisters::new(*max_size)).collect(),
        }
    }

    pub(super) fn reset(&mut self) {
        let Registers {
            offered: _,
            vectors: _,
            device_select,
            driver_select,
            accepted,
            config_vector,
            status,
            queue_select,
            queues,
        } = self;
        (*device_select, *driver_select, *accepted) = (0, 0, 0);
        (*config_vector, *status, *queue_select) = (NO_VECTOR, 0, 0);
        for queue in queues {
            *queue = QueueRegisters::new(queue.max_size);
        }
    }

    fn queue(&self) -> Option<&QueueRegisters> {
        self.queues.get(usize::from(self.queue_select))
    }

    /// Reads the field that begins at `offset`.
    pub(super) fn read(&self, offset: u64) -> u32 {
        let half = |value: u64, select: u32| match select {
            0 => low(value),
            1 => low(value >> 32),
            _ => 0,
        };
        let queue = |f: fn(&QueueRegisters) -> u32| self.queue().map_or(0, f);
        match offset {
            0 => self.device_select,
            4 => half(self.offered, self.device_select),
            8 => self.driver_select,
            12 => half(self.accepted, self.driver_select),
            16 => u32::from(self.config_vector),
            18 => u32::try_from(self.queues.len()).unwrap_or(0),
            20 => u32::from(self.status),
            22 => u32::from(self.queue_select),
            24 => queue(|queue| u32::from(queue.size)),
            26 => self.queue().map_or(u32::from(NO_VECTOR), |queue| u32::from(queue.vector)),
            28 => queue(|queue| u32::from(queue.enabled)),
            30 if self.queue().is_some() => u32::from(self.queue_select),
            32 => queue(|queue| low(queue.descriptors)),
            36 => queue(|queue| low(queue.descriptors >> 32)),
            40 => queue(|queue| low(queue.driver)),
            44 => queue(|queue| low(queue.driver >> 32)),
            48 => queue(|queue| low(queue.device)),
            52 => queue(|queue| low(queue.device >> 32)),
            // 21 is the configuration's generation: it never changes while a driver looks.
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, offset: u64, value: u32) -> Ask {
        let [v0, v1, ..] = value.to_le_bytes();
        let word = u16::from_le_bytes([v0, v1]);
        match offset {
            0 => self.device_select = value,
            8 => self.driver_select = value,
            12 if self.status & FEATURES_OK == 0 => match self.driver_select {
                0 => self.accepted = set_low(self.accepted, value),
                1 => self.accepted = set_high(self.accepted, value),
                _ => (),
            },
            16 => self.config_vector = self.checked(word),
            20 => return self.set_status(v0),
            22 => self.queue_select = word,
            _ => self.write_queue(offset, value, word),
        }
        Ask::Nothing
    }

    /// A vector that is not there reads back as "none": so the driver learns (4.1.5.1.2.1).
    fn checked(&self, vector: u16) -> u16 {
        if vector < self.vectors { vector } else { NO_VECTOR }
    }

    fn write_queue(&mut self, offset: u64, value: u32, word: u16) {
        let vector = self.checked(word);
        let started = self.status & DRIVER_OK != 0;
        let Some(queue) = self.queues.get_mut(usize::from(self.queue_select)) else { return };
        if offset == 26 {
            queue.vector = vector;
        }
        // The rest is fixed once the queue is on (4.1.4.3.2).
        if queue.enabled || started {
            return;
        }
        match offset {
            24 if word.is_power_of_two() && word <= queue.max_size => queue.size = word,
            28 => queue.enabled = word == 1,
            32 => queue.descriptors = set_low(queue.descriptors, value),
            36 => queue.descriptors = set_high(queue.descriptors, value),
            40 => queue.driver = set_low(queue.driver, value),
            44 => queue.driver = set_high(queue.driver, value),
            48 => queue.device = set_low(queue.device, value),
            52 => queue.device = set_high(queue.device, value),
            _ => (),
        }
    }

    fn set_status(&mut self, value: u8) -> Ask {
        if value == 0 {
            return Ask::Reset;
        }
        // Only a reset takes bits back (2.1.1), and only the device says that it needs one.
        let mut new = value & !NEEDS_RESET | self.status;
        let wrong = self.accepted & !self.offered != 0 || self.accepted & super::VERSION_1 == 0;
        if self.status & FEATURES_OK == 0 && wrong {
            new &= !FEATURES_OK;
        }
        if new & ACKNOWLEDGE_TO_FEATURES_OK != ACKNOWLEDGE_TO_FEATURES_OK {
            new &= !DRIVER_OK;
        }
        let started = new & DRIVER_OK != 0 && self.status & DRIVER_OK == 0;
        self.status = new;
        if started { Ask::Start } else { Ask::Nothing }
    }
}

fn low(value: u64) -> u32 {
    let [v0, v1, v2, v3, ..] = value.to_le_bytes();
    u32::from_le_bytes([v0, v1, v2, v3])
}

fn set_low(value: u64, low: u32) -> u64 {
    value & !0xffff_ffff | u64::from(low)
}

fn set_high(value: u64, high: u32) -> u64 {
    value & 0xffff_ffff | u64::from(high) << 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers() -> Registers {
        Registers::new(1 << 9, &[256, 64], 3)
    }

    #[test]
    fn features_are_refused_without_version_1_or_when_not_offered() {
        for (low, high, accepted) in [(1 << 9, 1, true), (1 << 9, 0, false), (1 << 10, 1, false)] {
            let mut registers = registers();
            for (select, value) in [(0, low), (1, high)] {
                registers.write(8, select);
                registers.write(12, value);
            }
            registers.write(20, 0x0b);
            assert_eq!(registers.read(20) & u32::from(FEATURES_OK) != 0, accepted, "{low:#x} {high:#x}");
            assert_eq!(registers.write(20, 0x0f) == Ask::Start, accepted);
        }
    }

    #[test]
    fn queue_registers_are_checked_and_fixed_when_enabled() {
        let mut registers = registers();
        assert_eq!((registers.read(18), registers.read(24)), (2, 256));
        for wrong in [0, 3, 512, 0xffff] {
            registers.write(24, wrong);
            assert_eq!(registers.read(24), 256);
        }
        registers.write(24, 128);
        registers.write(36, 7);
        registers.write(26, 2);
        registers.write(28, 1);
        registers.write(24, 64);
        assert_eq!([24, 36, 26, 28].map(|at| registers.read(at)), [128, 7, 2, 1]);
        registers.write(26, 3);
        assert_eq!(registers.read(26), 0xffff, "no such vector");
        registers.write(22, 9);
        assert_eq!([24, 26, 28, 30, 32].map(|at| registers.read(at)), [0, 0xffff, 0, 0, 0]);
        registers.write(28, 1);
        assert_eq!(registers.write(20, 0), Ask::Reset);
        registers.reset();
        assert_eq!([22, 24, 28, 36].map(|at| registers.read(at)), [0, 256, 0, 0]);
    }
}
