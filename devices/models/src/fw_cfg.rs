//! QEMU's firmware configuration device, as SeaBIOS and EDK II read it (QEMU's docs/specs/fw_cfg.rst; ports
//! 0x510 to 0x51b).
//!
//! Modelled: selector, data port, DMA read, skip and select, the file directory. Left out: writing to items
//! (nothing here is for the guest to change). arm64 has it in memory: [`Mapped`]. An item that is not there is empty,
//! and empty items read as zero: so SeaBIOS takes its legacy keys for unset. Any other access reads as zero and is
//! dropped.

mod mapped;

use crate::bus::{Access, Device, Effect, Width};
use crate::stages::{Stage, Stages};
use crate::trace::{Kinds, Trace};
use ami_run_memory::{Gpa, Memory};
pub use mapped::Mapped;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

const SIGNATURE: u16 = 0x00;
const ID: u16 = 0x01;
const DIRECTORY: u16 = 0x19;
const FIRST_FILE: u16 = 0x20;
const NAME: usize = 56;
/// What reading the DMA register gives: "QEMU CFG".
const DMA_SIGNATURE: u64 = 0x5145_4d55_2043_4647;

// Bits of the control word of a DMA descriptor.
const ERROR: u32 = 1;
const READ: u32 = 2;
const SKIP: u32 = 4;
const SELECT: u32 = 8;
const WRITE: u32 = 16;

/// What firmware reads ACPI's tables by.
const TABLES: [&str; 2] = ["etc/table-loader", "etc/acpi/tables"];

/// What firmware is given: numbered items, and files by name.
#[derive(Debug, Clone, Default)]
pub struct Items {
    items: BTreeMap<u16, Vec<u8>>,
    names: Vec<(String, u16)>,
}

impl Items {
    /// Items of these numbers, and these files. Names are cut at 55 bytes.
    #[must_use]
    pub fn new(keys: impl IntoIterator<Item = (u16, Vec<u8>)>, files: Vec<(String, Vec<u8>)>) -> Items {
        let mut items: BTreeMap<u16, Vec<u8>> = keys.into_iter().collect();
        items.insert(SIGNATURE, b"QEMU".to_vec());
        items.insert(ID, 3u32.to_le_bytes().to_vec());
        let mut files = files;
        files.sort();
        let mut names = Vec::new();
        let mut directory = u32::try_from(files.len()).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        for (key, (name, content)) in (FIRST_FILE..).zip(files) {
            directory.extend(u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes());
            directory.extend(key.to_be_bytes());
            directory.extend([0; 2]);
            let mut padded: Vec<u8> = name.bytes().take(NAME.saturating_sub(1)).collect();
            padded.resize(NAME, 0);
            directory.extend(padded);
            items.insert(key, content);
            names.push((name, key));
        }
        items.insert(DIRECTORY, directory);
        Items { items, names }
    }

    fn name(&self, key: u16) -> &str {
        self.names.iter().find(|(_, other)| *other == key).map_or("", |(name, _)| name)
    }
}

/// The registers.
#[derive(Debug, Default)]
struct Chip {
    key: u16,
    offset: usize,
    /// The high half of the descriptor's address; back to zero after each use, because SeaBIOS never writes it.
    address_high: u32,
}

impl Chip {
    fn select(&mut self, key: u16) {
        self.key = key;
        self.offset = 0;
    }

    /// The rest of the selected item, from the current offset.
    fn rest<'a>(&self, items: &'a Items) -> &'a [u8] {
        items.items.get(&self.key).and_then(|item| item.get(self.offset..)).unwrap_or_default()
    }

    fn next(&mut self, items: &Items) -> u8 {
        let byte = self.rest(items).first().copied().unwrap_or(0);
        self.offset = self.offset.saturating_add(1);
        byte
    }
}

#[derive(Debug)]
pub struct FwCfg {
    items: Items,
    chip: Mutex<Chip>,
    memory: Memory,
    trace: Option<Arc<Trace>>,
    stages: Arc<Stages>,
}

impl FwCfg {
    #[must_use]
    pub fn new(items: Items, memory: Memory, trace: Option<Arc<Trace>>) -> FwCfg {
        FwCfg { items, chip: Mutex::default(), memory, trace, stages: Arc::default() }
    }

    /// The same, which tells there what was asked for.
    #[must_use]
    pub fn watched(self, stages: &Arc<Stages>) -> FwCfg {
        FwCfg { stages: Arc::clone(stages), ..self }
    }

    fn selected(&self, key: u16) {
        self.stages.reach(Stage::FirmwareBegan);
        if TABLES.contains(&self.items.name(key)) {
            self.stages.reach(Stage::TablesRead);
        }
        if let Some(trace) = &self.trace {
            trace.line(Kinds::FW_CFG, format_args!("select {key:#06x} {}", self.items.name(key)));
        }
    }

    /// Carries out the descriptor at `at` and stores what came of it.
    fn dma(&self, at: Gpa) {
        let Ok(descriptor) = self.memory.read_record::<[u8; 16]>(at) else { return };
        let [c0, c1, c2, c3, l0, l1, l2, l3, address @ ..] = descriptor;
        let control = u32::from_be_bytes([c0, c1, c2, c3]);
        let length = u32::from_be_bytes([l0, l1, l2, l3]);
        let result = self.transfer(control, length, Gpa(u64::from_be_bytes(address)));
        let word = if result { 0 } else { ERROR };
        // The descriptor was read from there, so it can be written, unless the guest has no memory there.
        if self.memory.write(at, &word.to_be_bytes()).is_err() {
            log::debug!("fw_cfg: a DMA descriptor at {at:?} cannot be written");
        }
    }

    fn transfer(&self, control: u32, length: u32, to: Gpa) -> bool {
        let mut chip = self.chip.lock();
        if control & SELECT != 0 {
            let [high, low, ..] = control.to_be_bytes();
            let key = u16::from_be_bytes([high, low]);
            chip.select(key);
            self.selected(key);
        }
        let Ok(length) = usize::try_from(length) else { return false };
        if control & READ != 0 {
            let rest = chip.rest(&self.items);
            let bytes = rest.get(..length).unwrap_or(rest);
            if self.memory.write(to, bytes).is_err() || !self.zero(to, bytes.len(), length) {
                return false;
            }
        } else if control & WRITE != 0 {
            return false;
        } else if control & SKIP == 0 {
            return true;
        }
        chip.offset = chip.offset.saturating_add(length);
        true
    }

    /// What is asked for past the end of an item reads as zero.
    fn zero(&self, to: Gpa, from: usize, length: usize) -> bool {
        const PAGE: [u8; 4096] = [0; 4096];
        let mut at = from;
        while at < length {
            let n = length.saturating_sub(at).min(PAGE.len());
            let Some(gpa) = to.checked_add(at as u64) else { return false };
            if self.memory.write(gpa, PAGE.get(..n).unwrap_or(&PAGE)).is_err() {
                return false;
            }
            at = at.saturating_add(n);
        }
        true
    }
}

impl Device for FwCfg {
    fn read(&self, at: Access) -> u64 {
        match (at.offset, at.width) {
            (1, Width::Byte) => u64::from(self.chip.lock().next(&self.items)),
            (4, Width::Qword) => DMA_SIGNATURE.swap_bytes(),
            (4, Width::Dword) => (DMA_SIGNATURE >> 32).to_le().swap_bytes() >> 32,
            (8, Width::Dword) => (DMA_SIGNATURE & 0xffff_ffff).swap_bytes() >> 32,
            (4..=11, Width::Byte) => {
                let bytes = DMA_SIGNATURE.to_be_bytes();
                let index = usize::try_from(at.offset.wrapping_sub(4)).unwrap_or(0);
                u64::from(bytes.get(index).copied().unwrap_or(0xff))
            }
            _ => 0,
        }
    }

    fn write(&self, at: Access, value: u64) -> Effect {
        let [v0, v1, v2, v3, ..] = value.to_le_bytes();
        match (at.offset, at.width) {
            (0, Width::Word) => {
                let key = u16::from_le_bytes([v0, v1]);
                self.chip.lock().select(key);
                self.selected(key);
            }
            (4, Width::Dword) => self.chip.lock().address_high = u32::from_be_bytes([v0, v1, v2, v3]),
            (8, Width::Dword) => {
                let high = std::mem::take(&mut self.chip.lock().address_high);
                let low = u32::from_be_bytes([v0, v1, v2, v3]);
                self.dma(Gpa(u64::from(high) << 32 | u64::from(low)));
            }
            (4, Width::Qword) => self.dma(Gpa(value.swap_bytes())),
            _ => (),
        }
        Effect::None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ami_run_memory::Range;

    fn device() -> (FwCfg, Memory) {
        let memory = Memory::new(&[Range::new(0, 0x10000)]).unwrap();
        let files = vec![("etc/b".to_owned(), vec![9; 10]), ("etc/a".to_owned(), vec![1, 2, 3])];
        let items = Items::new([(5, vec![2, 0])], files);
        (FwCfg::new(items, memory.clone(), None), memory)
    }

    fn data(device: &FwCfg, key: u16, n: usize) -> Vec<u8> {
        device.write(Access::new(0, Width::Word), key.into());
        (0..n).map(|_| device.read(Access::new(1, Width::Byte)).to_le_bytes()[0]).collect()
    }

    /// A DMA command with its descriptor at 0x100; returns the control word afterwards.
    fn dma(device: &FwCfg, memory: &Memory, control: u32, length: u32, to: u64) -> u32 {
        let mut descriptor = [control.to_be_bytes(), length.to_be_bytes()].concat();
        descriptor.extend(to.to_be_bytes());
        memory.write(Gpa(0x100), &descriptor).unwrap();
        device.write(Access::new(8, Width::Dword), u64::from(0x100u32.swap_bytes()));
        u32::from_be_bytes(memory.read_record(Gpa(0x100)).unwrap())
    }

    #[test]
    fn firmware_recognises_it_and_its_sorted_directory() {
        let (device, _) = device();
        assert_eq!(data(&device, 0, 6), b"QEMU\0\0");
        assert_eq!(data(&device, 1, 4), [3, 0, 0, 0]);
        assert_eq!(data(&device, 5, 2), [2, 0]);
        let directory = data(&device, 0x19, 4 + 2 * 64);
        assert_eq!(directory[..14], [0, 0, 0, 2, 0, 0, 0, 3, 0, 0x20, 0, 0, b'e', b't']);
        assert_eq!(&directory[12..18], b"etc/a\0");
        assert_eq!(directory[68..76], [0, 0, 0, 10, 0, 0x21, 0, 0]);
        assert_eq!(device.read(Access::new(4, Width::Dword)).to_le_bytes()[..4], *b"QEMU");
        assert_eq!(device.read(Access::new(8, Width::Dword)).to_le_bytes()[..4], *b" CFG");
    }

    #[test]
    fn who_asks_for_the_tables_has_come_so_far() {
        let files = vec![("etc/e820".to_owned(), vec![0; 20]), ("etc/table-loader".to_owned(), vec![1; 128])];
        let (_, memory) = device();
        let stages = Arc::default();
        let device = FwCfg::new(Items::new([], files), memory.clone(), None).watched(&stages);
        let marks = |stage| stages.reached().at(stage).is_some();
        assert!(!marks(Stage::FirmwareBegan));
        assert_eq!(data(&device, 0x20, 1), [0]);
        assert!(marks(Stage::FirmwareBegan) && !marks(Stage::TablesRead));
        assert_eq!(dma(&device, &memory, 0x21 << 16 | SELECT | READ, 1, 0x200), 0);
        assert!(marks(Stage::TablesRead));
    }

    #[test]
    fn dma_reads_skip_and_pad_with_zero() {
        let (device, memory) = device();
        memory.write(Gpa(0x200), &[0xff; 8]).unwrap();
        assert_eq!(dma(&device, &memory, 0x20 << 16 | SELECT | SKIP, 1, 0), 0);
        assert_eq!(dma(&device, &memory, READ, 4, 0x200), 0);
        assert_eq!(memory.read_record::<[u8; 5]>(Gpa(0x200)).unwrap(), [2, 3, 0, 0, 0xff]);
    }

    #[test]
    fn a_bad_descriptor_is_answered_with_the_error_bit() {
        let (device, memory) = device();
        for (control, length, to) in [
            (0x21 << 16 | SELECT | READ, 10, 0x20000),
            (0x21 << 16 | SELECT | READ, u32::MAX, 0x200),
            (0x21 << 16 | SELECT | READ, 10, u64::MAX),
            (0x21 << 16 | SELECT | WRITE, 10, 0x200),
        ] {
            assert_eq!(dma(&device, &memory, control, length, to), ERROR);
        }
        device.write(Access::new(4, Width::Dword), u64::MAX);
        device.write(Access::new(8, Width::Dword), u64::MAX);
        assert_eq!(dma(&device, &memory, 0, 0, 0), 0, "the high half is zero again after each command");
    }
}
