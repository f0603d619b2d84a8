//! The device in memory, as Arm's boards have it (QEMU's docs/specs/fw_cfg.rst): data at 0, the selector at 8, DMA at
//! 16. All registers are big-endian, so what is read at the data register has its bytes in the item's order.

use super::FwCfg;
use crate::bus::{Access, Device, Effect, Width};

/// Where DMA's register is here, less where it is among the ports.
const DMA: u64 = 16 - 4;

#[derive(Debug)]
pub struct Mapped(FwCfg);

impl Mapped {
    /// Bytes that the device takes.
    pub const LEN: u64 = 24;

    #[must_use]
    pub fn new(device: FwCfg) -> Mapped {
        Mapped(device)
    }
}

impl Device for Mapped {
    fn read(&self, at: Access) -> u64 {
        match at.offset {
            0 => {
                let mut chip = self.0.chip.lock();
                let mut bytes = [0; 8];
                let wanted = bytes.iter_mut().take(at.width.bytes().into());
                wanted.for_each(|byte| *byte = chip.next(&self.0.items));
                u64::from_le_bytes(bytes)
            }
            16..24 => self.0.read(Access::new(at.offset.wrapping_sub(DMA), at.width)),
            _ => 0,
        }
    }

    fn write(&self, at: Access, value: u64) -> Effect {
        match (at.offset, at.width) {
            (8, Width::Word) => {
                let [high, low, ..] = value.to_le_bytes();
                let key = u16::from_be_bytes([high, low]);
                self.0.chip.lock().select(key);
                self.0.selected(key);
                Effect::None
            }
            (16..24, _) => self.0.write(Access::new(at.offset.wrapping_sub(DMA), at.width), value),
            _ => Effect::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fw_cfg::Items;
    use ami_run_memory::{Gpa, Memory, Range};

    fn device() -> (Mapped, Memory) {
        let memory = Memory::new(&[Range::new(0x4000_0000, 0x10000)]).unwrap();
        let items = Items::new([], vec![("etc/a".to_owned(), (1..=20).collect())]);
        (Mapped::new(FwCfg::new(items, memory.clone(), None)), memory)
    }

    fn select(device: &Mapped, key: u16) {
        device.write(Access::new(8, Width::Word), key.swap_bytes().into());
    }

    #[test]
    fn edk_ii_reads_an_item_at_every_width_in_its_order() {
        let (device, _) = device();
        select(&device, 0);
        let signature = device.read(Access::new(0, Width::Dword));
        assert_eq!(signature.to_le_bytes(), *b"QEMU\0\0\0\0");
        select(&device, 0x20);
        let widths = [Width::Qword, Width::Word, Width::Byte, Width::Dword, Width::Qword];
        let read = widths.map(|width| device.read(Access::new(0, width)));
        assert_eq!(read, [0x0807_0605_0403_0201, 0x0a09, 0x0b, 0x0f0e_0d0c, 0x14_1312_1110]);
        select(&device, 0x20);
        assert_eq!(device.read(Access::new(4, Width::Dword)), 0, "only at the register's start");
        device.write(Access::new(8, Width::Dword), 0);
        device.write(Access::new(9, Width::Word), 0);
        device.write(Access::new(0, Width::Word), 0);
        assert_eq!(device.read(Access::new(0, Width::Byte)), 1, "the selection is as it was");
    }

    #[test]
    fn dma_starts_with_one_store_or_two() {
        let (device, memory) = device();
        assert_eq!(device.read(Access::new(16, Width::Qword)).to_le_bytes(), *b"QEMU CFG");
        let at = 0x4000_0100u64;
        let halves = |device: &Mapped| {
            let bytes = at.to_be_bytes();
            let ([high, low], []) = bytes.as_chunks::<4>() else { panic!("eight bytes") };
            device.write(Access::new(16, Width::Dword), u32::from_le_bytes(*high).into());
            device.write(Access::new(20, Width::Dword), u32::from_le_bytes(*low).into())
        };
        let whole = |device: &Mapped| device.write(Access::new(16, Width::Qword), at.swap_bytes());
        let starts: [&dyn Fn(&Mapped) -> Effect; 2] = [&halves, &whole];
        for start in starts {
            let words = [0x0020_000au32, 5, 0, 0x4000_0200].map(u32::to_be_bytes);
            memory.write(Gpa(at), &words.concat()).unwrap();
            memory.write(Gpa(0x4000_0200), &[0; 6]).unwrap();
            assert_eq!(start(&device), Effect::None);
            assert_eq!(memory.read_record::<[u8; 6]>(Gpa(0x4000_0200)).unwrap(), [1, 2, 3, 4, 5, 0]);
            assert_eq!(memory.read_record::<[u8; 4]>(Gpa(at)).unwrap(), [0; 4]);
        }
    }
}
