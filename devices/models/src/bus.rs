//! A bus: address ranges and the devices behind them, for I/O ports and for memory-mapped registers alike.

use ami_run_memory::Range;
use std::fmt;
use std::slice;
use std::sync::Arc;

/// How wide one access is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Width {
    Byte,
    Word,
    Dword,
    Qword,
}

impl Width {
    #[must_use]
    pub fn bytes(self) -> u8 {
        match self {
            Width::Byte => 1,
            Width::Word => 2,
            Width::Dword => 4,
            Width::Qword => 8,
        }
    }

    /// All bits of this width set: what nobody's answer reads as.
    #[must_use]
    pub fn ones(self) -> u64 {
        match self {
            Width::Byte => 0xff,
            Width::Word => 0xffff,
            Width::Dword => 0xffff_ffff,
            Width::Qword => u64::MAX,
        }
    }

    #[must_use]
    pub fn of(len: usize) -> Option<Width> {
        match len {
            1 => Some(Width::Byte),
            2 => Some(Width::Word),
            4 => Some(Width::Dword),
            8 => Some(Width::Qword),
            _ => None,
        }
    }
}

/// Where in a device, and how wide.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Access {
    pub offset: u64,
    pub width: Width,
}

impl Access {
    #[must_use]
    pub fn new(offset: u64, width: Width) -> Access {
        Access { offset, width }
    }
}

/// What an access does to the machine as a whole; carried out by the vCPU loop, with no lock held.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Effect {
    #[default]
    None,
    PowerOff,
    Reset,
}

/// A device on a bus, seen by vCPU threads.
pub trait Device: Send + Sync + fmt::Debug {
    fn read(&self, at: Access) -> u64;
    fn write(&self, at: Access, value: u64) -> Effect;
    /// Whether something is at this offset: behind a window onto another bus there may be nothing.
    fn answers(&self, _offset: u64) -> bool {
        true
    }
    /// Whether it has eight data lines, as the old cards of the ISA bus: that bus breaks a wider access into bytes,
    /// each at an address of its own.
    fn eight_bits(&self) -> bool {
        false
    }
}

/// Devices by address. It is complete before the guest runs and does not change then.
#[derive(Debug, Default)]
pub struct Bus {
    devices: Vec<(Range, Arc<dyn Device>)>,
}

/// Two devices claim the same address: a mistake in a parts list.
#[derive(Debug, thiserror::Error)]
#[error("two devices at {0:#x}")]
pub struct Conflict(u64);

impl Bus {
    pub fn add(&mut self, range: Range, device: Arc<dyn Device>) -> Result<(), Conflict> {
        if self.devices.iter().any(|(other, _)| other.overlaps(range)) {
            return Err(Conflict(range.start));
        }
        let place = self.devices.partition_point(|(other, _)| other.start < range.start);
        self.devices.insert(place, (range, device));
        Ok(())
    }

    fn find(&self, address: u64) -> Option<(u64, &dyn Device)> {
        let after = self.devices.partition_point(|(range, _)| range.start <= address);
        let (range, device) = self.devices.get(after.checked_sub(1)?)?;
        range.contains(address).then(|| (address.wrapping_sub(range.start), device.as_ref()))
    }

    /// Whether something is at this address.
    #[must_use]
    pub fn answers(&self, address: u64) -> bool {
        self.find(address).is_some_and(|(offset, device)| device.answers(offset))
    }

    /// Reads `into.len()` bytes; what nobody answers reads as all ones.
    pub fn read(&self, address: u64, into: &mut [u8]) {
        let Some((offset, device)) = self.find(address) else { return into.fill(0xff) };
        if let Some(width) = whole(device, into.len()) {
            let value = device.read(Access { offset, width }).to_le_bytes();
            into.iter_mut().zip(value).for_each(|(to, from)| *to = from);
        } else {
            (address..).zip(into).for_each(|(at, byte)| self.read(at, slice::from_mut(byte)));
        }
    }

    /// Writes `from`; nothing comes of it when nobody is there.
    pub fn write(&self, address: u64, from: &[u8]) -> Effect {
        let Some((offset, device)) = self.find(address) else { return Effect::None };
        if let Some(width) = whole(device, from.len()) {
            return device.write(Access { offset, width }, little_endian(from));
        }
        let each = (address..).zip(from).map(|(at, byte)| self.write(at, slice::from_ref(byte)));
        each.fold(Effect::None, |before, effect| if effect == Effect::None { before } else { effect })
    }
}

/// The width of an access that reaches the device in one piece.
fn whole(device: &dyn Device, len: usize) -> Option<Width> {
    Width::of(len).filter(|width| *width == Width::Byte || !device.eight_bits())
}

/// The number in up to eight bytes, lowest first.
#[must_use]
pub fn little_endian(bytes: &[u8]) -> u64 {
    bytes.iter().rev().take(8).fold(0, |value, byte| (value << 8) | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    #[derive(Debug, Default)]
    struct Recorder {
        writes: Mutex<Vec<(Access, u64)>>,
        eight_bits: bool,
    }

    impl Device for Recorder {
        fn read(&self, at: Access) -> u64 {
            0x8877_6655_4433_2211 >> (at.offset * 8)
        }
        fn write(&self, at: Access, value: u64) -> Effect {
            self.writes.lock().push((at, value));
            Effect::Reset
        }
        fn eight_bits(&self) -> bool {
            self.eight_bits
        }
    }

    #[test]
    fn an_access_reaches_the_device_that_holds_its_address() {
        let device = Arc::new(Recorder::default());
        let mut bus = Bus::default();
        bus.add(Range::new(0x100, 8), device.clone()).unwrap();
        bus.add(Range::new(0x10, 4), Arc::new(Recorder::default())).unwrap();
        assert!(bus.add(Range::new(0x107, 1), device.clone()).is_err());
        let mut bytes = [0; 4];
        bus.read(0x102, &mut bytes);
        assert_eq!((bytes, bus.answers(0x102)), ([0x33, 0x44, 0x55, 0x66], true));
        bus.read(0x108, &mut bytes);
        assert_eq!((bytes, bus.answers(0x108)), ([0xff; 4], false));
        let mut odd = [0; 3];
        bus.read(0x100, &mut odd);
        assert_eq!(odd, [0x11, 0x22, 0x33]);
        assert_eq!(bus.write(0x104, &[1, 2]), Effect::Reset);
        assert_eq!(bus.write(0x20, &[1]), Effect::None);
        assert_eq!(*device.writes.lock(), [(Access::new(4, Width::Word), 0x201)]);
    }

    #[test]
    fn a_wide_access_to_an_eight_bit_device_is_one_for_each_byte() {
        let device = Arc::new(Recorder { eight_bits: true, ..Recorder::default() });
        let next = Arc::new(Recorder::default());
        let mut bus = Bus::default();
        bus.add(Range::new(0x70, 2), device.clone()).unwrap();
        bus.add(Range::new(0x72, 2), next.clone()).unwrap();
        let mut bytes = [0; 8];
        bus.read(0x70, &mut bytes);
        assert_eq!(bytes, [0x11, 0x22, 0x11, 0x22, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(bus.write(0x71, &[1, 2]), Effect::Reset);
        assert_eq!(*device.writes.lock(), [(Access::new(1, Width::Byte), 1)]);
        assert_eq!(*next.writes.lock(), [(Access::new(0, Width::Byte), 2)]);
    }
}
