//! A small virtio driver for tests, with the requests of virtio-blk: rings in guest memory, registers by BAR and configuration space, doorbells
//! as the hypervisor would answer them.

use super::{Block, Kind, Transport};
use crate::bus::{Access, Width};
use crate::disk::{Hold, Volume};
use crate::gate::Gate;
use crate::irq::fake::{LINE, Machine, PLACE, Recorder, wait_until};
use crate::pci::{Function, Wiring};
use crate::stages::Stages;
use ami_run_memory::{Gpa, Memory};
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

pub(super) const RAM: u64 = 2 << 20;
pub(super) const BAR: u64 = 0xc010_0000;
pub(super) const MSIX_BAR: u64 = 0xc020_0000;
pub(super) const SECTORS: u64 = 512;
pub(super) const TABLE: u64 = 0x1000;
pub(super) const AVAILABLE: u64 = 0x2000;
pub(super) const USED: u64 = 0x3000;
pub(super) const INDIRECT: u64 = 0x4000;
pub(super) const HEADER: u64 = 0x8000;
pub(super) const STATUS: u64 = 0x9000;
pub(super) const DATA: u64 = 0x10000;
/// The data of the messages of the configuration and of the queue.
pub(super) const CONFIG: u32 = 0x40;
pub(super) const QUEUE: u32 = 0x41;
pub(super) const NEXT: u16 = 1;
pub(super) const WRITE: u16 = 2;
pub(super) const TABLE_FLAG: u16 = 4;
pub(super) const NEEDS_RESET: u64 = 64;

#[derive(Clone, Copy, Debug)]
pub(super) struct Descriptor(pub(super) u64, pub(super) u32, pub(super) u16, pub(super) u16);

#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    pub(super) size: u16,
    pub(super) event_index: bool,
    pub(super) msix: bool,
    pub(super) rings: [u64; 3],
}

pub(super) const PLAIN: Options =
    Options { size: 256, event_index: false, msix: true, rings: [TABLE, AVAILABLE, USED] };

pub(super) struct Guest {
    pub(super) memory: Memory,
    pub(super) device: Arc<Transport>,
    pub(super) host: Arc<Recorder>,
    pub(super) gate: Arc<Gate>,
    /// What holds the disk's answers back.
    pub(super) hold: Arc<Hold>,
    pub(super) options: Options,
    offered: u16,
    seen: u16,
}

/// A test that fails ends: the device waits for what it has begun.
impl Drop for Guest {
    fn drop(&mut self) {
        self.hold.open();
    }
}

impl Guest {
    /// A machine with one disk whose sector n is full of the byte n, its BARs placed, and nobody driving it.
    pub(super) fn new() -> Guest {
        Guest::sized(None)
    }

    /// The same with zeroes behind, up to this size.
    pub(super) fn sized(size: Option<u64>) -> Guest {
        let volume = Volume::new(SECTORS, size);
        let hold = Arc::clone(&volume.hold);
        let mut guest = Guest::with(Box::new(Block::new(volume, "vol-0123456789abcdef0")));
        guest.hold = hold;
        guest
    }

    /// A machine whose disk is the one to boot from, and what is told of its use.
    pub(super) fn watched() -> (Guest, Arc<Stages>) {
        let stages: Arc<Stages> = Arc::default();
        let block = Block::new(Volume::new(SECTORS, None), "vol-0").watched(Some(Arc::clone(&stages)));
        (Guest::wired(Box::new(block), Some(Arc::clone(&stages))), stages)
    }

    /// A machine with this device, its BARs placed, and nobody driving it.
    pub(super) fn with(kind: Box<dyn Kind>) -> Guest {
        Guest::wired(kind, None)
    }

    fn wired(kind: Box<dyn Kind>, stages: Option<Arc<Stages>>) -> Guest {
        let Machine { memory, host, gate, wiring } = Machine::new(RAM);
        let device = Transport::new("device", PLACE, kind, Wiring { stages, ..wiring }).unwrap();
        let hold = Arc::default();
        let guest = Guest { memory, device, host, gate, hold, options: PLAIN, offered: 0, seen: 0 };
        guest.place_bars(BAR);
        guest
    }

    pub(super) fn place_bars(&self, bar: u64) {
        for (at, value) in [(0x10, bar), (0x14, MSIX_BAR), (4, 6)] {
            self.device.config_write(at, Width::Dword, u32::try_from(value).unwrap());
        }
    }

    pub(super) fn read(&self, offset: u64, width: Width) -> u64 {
        self.device.bar_read(0, Access::new(offset, width))
    }

    pub(super) fn write(&self, offset: u64, width: Width, value: u64) {
        self.device.bar_write(0, Access::new(offset, width), value);
    }

    /// The level of the device's interrupt line.
    pub(super) fn line(&self) -> bool {
        self.host.level(LINE)
    }

    pub(super) fn status(&self) -> u64 {
        self.read(20, Width::Byte)
    }

    pub(super) fn reset(&mut self) {
        self.write(20, Width::Byte, 0);
        assert_eq!(self.status(), 0);
        (self.offered, self.seen) = (0, 0);
    }

    pub(super) fn negotiate(&self, low: u64, high: u64) {
        for status in [0, 1, 3] {
            self.write(20, Width::Byte, status);
        }
        for (select, half) in [(0, low), (1, high)] {
            self.write(8, Width::Dword, select);
            self.write(12, Width::Dword, half);
        }
        self.write(20, Width::Byte, 0x0b);
    }

    /// Off to driver-ok, as the specification's section 3.1.1 has it.
    pub(super) fn start(&mut self, options: Options) {
        self.reset();
        self.memory.clear();
        self.options = options;
        let event_index = if options.event_index { 1 << 29 } else { 0 };
        self.write(0, Width::Dword, 0);
        let offered = self.read(4, Width::Dword);
        self.negotiate(offered & (1 << 9 | 1 << 28 | event_index), 1);
        self.set_up_queue();
        self.write(20, Width::Byte, 0x0f);
    }

    pub(super) fn set_up_queue(&self) {
        let control = if self.options.msix { 0x8000_0000 } else { 0 };
        let msix = self.capability(0x11);
        self.device.config_write(msix, Width::Dword, control);
        for (vector, data) in [(0, CONFIG), (1, QUEUE)] {
            for (at, value) in [(0, 0xfee0_0000), (4, 0), (8, data.into()), (12, 0)] {
                self.device.bar_write(1, Access::new(vector * 16 + at, Width::Dword), value);
            }
        }
        self.write(16, Width::Word, 0);
        self.write(22, Width::Word, 0);
        self.write(24, Width::Word, self.options.size.into());
        self.write(26, Width::Word, 1);
        for (at, address) in [32, 40, 48].into_iter().zip(self.options.rings) {
            self.write(at, Width::Dword, address & 0xffff_ffff);
            self.write(at + 4, Width::Dword, address >> 32);
        }
        self.write(28, Width::Word, 1);
    }

    /// The offset of the first capability of this kind; for vendor capabilities see [`Guest::structure`].
    pub(super) fn capability(&self, id: u8) -> u8 {
        self.capabilities().into_iter().find(|at| self.config_byte(*at) == id).unwrap()
    }

    pub(super) fn structure(&self, which: u8) -> u8 {
        let found = |at: &u8| self.config_byte(*at) == 9 && self.config_byte(at + 3) == which;
        self.capabilities().into_iter().find(found).unwrap()
    }

    fn capabilities(&self) -> Vec<u8> {
        let first = self.config_byte(0x34);
        let next = |at: &u8| Some(self.config_byte(at + 1)).filter(|next| *next != 0);
        std::iter::successors(Some(first), next).take(48).collect()
    }

    pub(super) fn config_byte(&self, at: u8) -> u8 {
        u8::try_from(self.device.config_read(at, Width::Byte)).unwrap()
    }

    pub(super) fn describe_at(&self, table: u64, index: u16, descriptor: Descriptor) {
        let Descriptor(gpa, len, flags, next) = descriptor;
        let mut bytes = gpa.to_le_bytes().to_vec();
        bytes.extend(len.to_le_bytes());
        bytes.extend(flags.to_le_bytes());
        bytes.extend(next.to_le_bytes());
        self.memory.write(Gpa(table + u64::from(index) * 16), &bytes).unwrap();
    }

    pub(super) fn describe(&self, index: u16, descriptor: Descriptor) {
        self.describe_at(self.options.rings[0], index, descriptor);
    }

    /// Puts a chain into the available ring, without ringing.
    pub(super) fn offer(&mut self, head: u16) {
        let ring = self.options.rings[1];
        let place = ring + 4 + u64::from(self.offered % self.options.size) * 2;
        self.memory.write_record(Gpa(place), &head).unwrap();
        self.offered = self.offered.wrapping_add(1);
        self.memory.write_record(Gpa(ring + 2), &self.offered).unwrap();
    }

    /// Whether the device wants to be told of the chains that were offered since there were `before` of them.
    pub(super) fn wants_kick(&self, before: u16) -> bool {
        fence(Ordering::SeqCst);
        let used = self.options.rings[2];
        if self.options.event_index {
            let event: u16 =
                self.memory.read_record(Gpa(used + 4 + 8 * u64::from(self.options.size))).unwrap();
            let new = self.offered;
            return new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(before);
        }
        self.memory.read_record::<u16>(Gpa(used)).unwrap() & 1 == 0
    }

    /// Chains that were offered since the start.
    pub(super) fn offered(&self) -> u16 {
        self.offered
    }

    /// Rings the doorbell: the hypervisor answers it if it hangs there, else the device does.
    pub(super) fn kick(&self) {
        if !self.host.ring(BAR + 0x3000) {
            self.write(0x3000, Width::Word, 0);
        }
    }

    /// A doorbell with nothing offered.
    pub(super) fn kick_only(&mut self) {
        self.kick();
    }

    pub(super) fn used_index(&self) -> u16 {
        self.memory.read_record(Gpa(self.options.rings[2] + 2)).unwrap()
    }

    /// A chain has come back and was not taken.
    pub(super) fn has_used(&self) -> bool {
        self.used_index() != self.seen
    }

    /// Waits for the next chain that comes back: its head, and the bytes written to it.
    pub(super) fn take_used(&mut self) -> (u32, u32) {
        wait_until("a used chain", || self.has_used());
        let place = self.options.rings[2] + 4 + u64::from(self.seen % self.options.size) * 8;
        self.seen = self.seen.wrapping_add(1);
        let element: [u32; 2] = self.memory.read_record(Gpa(place)).unwrap();
        (element[0], element[1])
    }

    pub(super) fn header(&self, kind: u32, sector: u64) {
        self.memory.write(Gpa(HEADER), &[kind.to_le_bytes(), [0; 4]].concat()).unwrap();
        self.memory.write_record(Gpa(HEADER + 8), &sector).unwrap();
        self.memory.write_record(Gpa(STATUS), &0xeeu8).unwrap();
    }

    pub(super) fn answer(&self) -> u8 {
        self.memory.read_record(Gpa(STATUS)).unwrap()
    }

    /// Offers these descriptors as one chain in their order, from index 0 of the table on, and rings.
    pub(super) fn send(&mut self, descriptors: &[Descriptor]) {
        for (index, descriptor) in (0..).zip(descriptors) {
            let last = usize::from(index) + 1 == descriptors.len();
            let Descriptor(gpa, len, flags, _) = *descriptor;
            let flags = if last { flags } else { flags | NEXT };
            self.describe(index, Descriptor(gpa, len, flags, index + 1));
        }
        self.offer(0);
        self.kick();
    }

    /// A whole request: header, `out` for the device, `into` bytes from it, status. Gives the status and the bytes
    /// written.
    pub(super) fn request(&mut self, kind: u32, sector: u64, out: &[u8], into: u32) -> (u8, u32) {
        self.header(kind, sector);
        let mut chain = vec![Descriptor(HEADER, 16, 0, 0)];
        if !out.is_empty() {
            self.memory.write(Gpa(DATA), out).unwrap();
            chain.push(Descriptor(DATA, u32::try_from(out.len()).unwrap(), 0, 0));
        }
        if into != 0 {
            chain.push(Descriptor(DATA, into, WRITE, 0));
        }
        chain.push(Descriptor(STATUS, 1, WRITE, 0));
        self.send(&chain);
        let (head, written) = self.take_used();
        assert_eq!(head, 0);
        (self.answer(), written)
    }

    pub(super) fn data(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read(Gpa(DATA), &mut bytes).unwrap();
        bytes
    }

    /// The device works: reads a sector right.
    pub(super) fn assert_works(&mut self) {
        self.assert_works_at(7);
    }

    pub(super) fn assert_works_at(&mut self, sector: u64) {
        assert_eq!(self.request(0, sector, &[], 512), (0, 513));
        assert_eq!(self.data(512), [sector.to_le_bytes()[0]; 512]);
    }
}
