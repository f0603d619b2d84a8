//! A type-0 configuration space (PCI Local Bus Specification 3.0, section 6.1): bytes, which of their bits can be
//! written, BAR sizing, the list of capabilities. All other registers are reserved: they read as zero and writes to
//! them are dropped, as that section asks for.

use crate::bus::Width;
use ami_run_memory::Range;

const COMMAND: u8 = 0x04;
const STATUS: u8 = 0x06;
const CACHE_LINE: u8 = 0x0c;
const HEADER: u8 = 0x0e;
const BAR0: u8 = 0x10;
const SUBSYSTEM: u8 = 0x2c;
const CAPABILITIES: u8 = 0x34;
const INTERRUPT_LINE: u8 = 0x3c;
const INTERRUPT_PIN: u8 = 0x3d;
const COMMAND_MEMORY: u8 = 2;
/// In the second byte of the command register.
const COMMAND_INTX_OFF: u8 = 4;

/// What a function is.
#[derive(Clone, Copy, Debug, Default)]
pub struct Identity {
    pub vendor: u16,
    pub device: u16,
    pub revision: u8,
    /// Class, subclass and programming interface: 0x010802 for NVMe.
    pub class: u32,
    pub subsystem_vendor: u16,
    pub subsystem: u16,
}

#[derive(Clone, Debug)]
pub struct Config {
    bytes: [u8; 256],
    writable: [u8; 256],
    bar_sizes: [u32; 6],
    /// The last capability, for the next one's link.
    last: u8,
    /// Where the next capability goes.
    free: u8,
}

impl Config {
    #[must_use]
    pub fn new(identity: Identity) -> Config {
        let mut config =
            Config { bytes: [0; 256], writable: [0; 256], bar_sizes: [0; 6], last: 0, free: 0x40 };
        config.set(0x00, &identity.vendor.to_le_bytes());
        config.set(0x02, &identity.device.to_le_bytes());
        let [interface, subclass, class, _] = identity.class.to_le_bytes();
        config.set(0x08, &[identity.revision, interface, subclass, class]);
        config.set(SUBSYSTEM, &identity.subsystem_vendor.to_le_bytes());
        config.set(SUBSYSTEM + 2, &identity.subsystem.to_le_bytes());
        // I/O, memory, master, parity, SERR; interrupt disable.
        config.allow(COMMAND, &[0x47, 0x05]);
        config.allow(CACHE_LINE, &[0xff, 0xff]);
        config.allow(INTERRUPT_LINE, &[0xff]);
        config
    }

    /// Sets bytes, whether the guest may write them or not.
    pub fn set(&mut self, offset: u8, bytes: &[u8]) {
        for (place, byte) in self.bytes.iter_mut().skip(usize::from(offset)).zip(bytes) {
            *place = *byte;
        }
    }

    /// Lets the guest write these bits.
    pub fn allow(&mut self, offset: u8, masks: &[u8]) {
        for (place, mask) in self.writable.iter_mut().skip(usize::from(offset)).zip(masks) {
            *place = *mask;
        }
    }

    pub fn set_multi_function(&mut self) {
        self.set(HEADER, &[0x80]);
    }

    pub fn set_interrupt_pin_a(&mut self) {
        self.set(INTERRUPT_PIN, &[1]);
    }

    /// Makes BAR `index` a 32-bit memory BAR of `size` bytes, a power of two of at least 4096.
    pub fn set_bar(&mut self, index: u8, size: u32) {
        if let Some(place) = self.bar_sizes.get_mut(usize::from(index)) {
            *place = size;
        }
        let mask = !size.wrapping_sub(1);
        self.allow(bar_offset(index), &mask.to_le_bytes());
    }

    /// Appends a capability (without its first two bytes); returns its offset.
    pub fn add_capability(&mut self, id: u8, body: &[u8]) -> u8 {
        let offset = self.free;
        self.set(offset, &[id, 0]);
        self.set(offset.wrapping_add(2), body);
        let link = if self.last == 0 { CAPABILITIES } else { self.last.wrapping_add(1) };
        self.set(link, &[offset]);
        self.set(STATUS, &[0x10]);
        self.last = offset;
        let len = u8::try_from(body.len().saturating_add(2)).unwrap_or(u8::MAX);
        self.free = offset.saturating_add(len).saturating_add(3) & !3;
        offset
    }

    #[must_use]
    pub fn byte(&self, offset: u8) -> u8 {
        self.bytes.get(usize::from(offset)).copied().unwrap_or(0xff)
    }

    #[must_use]
    pub fn dword(&self, offset: u8) -> u32 {
        self.read(offset & !3, Width::Dword)
    }

    #[must_use]
    pub fn read(&self, offset: u8, width: Width) -> u32 {
        let count = width.bytes().min(4);
        (0..count).rev().fold(0, |value, i| value << 8 | u32::from(self.byte(offset.wrapping_add(i))))
    }

    pub fn write(&mut self, offset: u8, width: Width, value: u32) {
        let start = usize::from(offset);
        let count = usize::from(width.bytes().min(4));
        let places = self.bytes.iter_mut().zip(self.writable).skip(start).take(count);
        for ((place, mask), new) in places.zip(value.to_le_bytes()) {
            *place = (*place & !mask) | (new & mask);
        }
    }

    /// Where a BAR is decoded now.
    #[must_use]
    pub fn bar(&self, index: u8) -> Option<Range> {
        let size = self.bar_sizes.get(usize::from(index)).copied().filter(|size| *size != 0)?;
        let base = self.dword(bar_offset(index));
        let decoded = self.byte(COMMAND) & COMMAND_MEMORY != 0 && base != 0;
        decoded.then(|| Range::new(u64::from(base), u64::from(size)))
    }

    /// Whether the guest turned the interrupt pin off.
    #[must_use]
    pub fn intx_off(&self) -> bool {
        self.byte(COMMAND.wrapping_add(1)) & COMMAND_INTX_OFF != 0
    }
}

fn bar_offset(index: u8) -> u8 {
    BAR0.wrapping_add(index.wrapping_mul(4))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Config {
        let identity = Identity { vendor: 0x1af4, device: 0x1042, class: 0x01_0000, ..Identity::default() };
        let mut config = Config::new(identity);
        config.set_bar(1, 0x4000);
        config
    }

    #[test]
    fn a_bar_is_sized_and_decoded_as_the_specification_says() {
        let mut config = sample();
        config.write(0x14, Width::Dword, 0xffff_ffff);
        assert_eq!(config.dword(0x14), 0xffff_c000);
        assert_eq!(config.dword(0x10), 0, "no BAR 0");
        config.write(0x14, Width::Word, 0x1234);
        config.write(0x16, Width::Word, 0xfebf);
        assert_eq!(config.bar(1), None, "decoding is off");
        config.write(COMMAND, Width::Byte, 2);
        assert_eq!(config.bar(1), Some(Range::new(0xfebf_0000, 0x4000)));
    }

    #[test]
    fn what_is_not_writable_stays() {
        let mut config = sample();
        for offset in 0..=255 {
            config.write(offset, Width::Byte, 0xff);
        }
        assert_eq!(config.dword(0), 0x1042_1af4);
        assert_eq!(config.read(COMMAND, Width::Word), 0x0547);
        assert_eq!(config.dword(8), 0x0100_0000);
    }

    #[test]
    fn capabilities_are_linked_in_order() {
        let mut config = sample();
        let first = config.add_capability(0x11, &[0; 10]);
        let second = config.add_capability(0x09, &[0; 18]);
        assert_eq!(
            (config.byte(CAPABILITIES), config.byte(first), config.byte(first + 1)),
            (first, 0x11, second)
        );
        assert_eq!((config.byte(second), config.byte(second + 1)), (0x09, 0));
        assert_eq!(config.byte(STATUS) & 0x10, 0x10);
    }
}
