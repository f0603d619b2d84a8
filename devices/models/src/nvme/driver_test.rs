//! A small NVMe driver for tests: queues in guest memory, registers by BAR, doorbells as the hypervisor would
//! answer them, shadow doorbells as Linux writes them.

use super::spec::{Cqe, Sqe};
use super::{Identity, Nvme};
use crate::bus::{Access, Width};
use crate::disk::{Hold, Volume};
use crate::gate::Gate;
use crate::irq::fake::{LINE, Machine, PLACE, Recorder, wait_until};
use crate::pci::{Function, Wiring};
use crate::stages::Stages;
use ami_run_memory::{Gpa, Memory};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

pub(super) const RAM: u64 = 16 << 20;
pub(super) const BAR: u64 = 0xc010_0000;
/// Sector n of the disk is full of the byte n.
pub(super) const SECTORS: u64 = 8192;
const QUEUES: u64 = 0x10_0000;
pub(super) const LIST: u64 = 0x60_0000;
pub(super) const DATA: u64 = 0x80_0000;
const SHADOWS: u64 = 0x8000;
const EVENTS: u64 = 0x9000;
pub(super) const CC_ON: u64 = 0x0046_0001;
pub(super) const ADMIN: u16 = 0;

/// The driver's side of a submission queue and its completion queue.
#[derive(Clone, Copy, Debug)]
struct Pair {
    submissions: (u64, u16),
    completions: (u64, u16),
    tail: u16,
    head: u16,
    phase: u16,
    cid: u16,
    /// Commands without a completion yet.
    open: u16,
}

pub(super) struct Guest {
    pub(super) memory: Memory,
    pub(super) device: Arc<Nvme>,
    pub(super) host: Arc<Recorder>,
    pub(super) gate: Arc<Gate>,
    /// What holds the disk's answers back.
    pub(super) hold: Arc<Hold>,
    pairs: BTreeMap<u16, Pair>,
    shadows: bool,
}

/// A command's outcome: status and dword 0.
pub(super) type Outcome = (u16, u32);

/// A test that fails ends: the controller waits for what it has begun.
impl Drop for Guest {
    fn drop(&mut self) {
        self.hold.open();
    }
}

impl Guest {
    pub(super) fn new() -> Guest {
        Guest::with(Identity::ebs("vol-0546d3c3b0af0bf6d", "sda1"))
    }

    pub(super) fn with(identity: Identity) -> Guest {
        Guest::wired(identity, None)
    }

    /// The disk is the one to boot from, and its use is told there.
    pub(super) fn watched(stages: &Arc<Stages>) -> Guest {
        Guest::wired(Identity::ebs("vol-0546d3c3b0af0bf6d", "sda1"), Some(Arc::clone(stages)))
    }

    fn wired(identity: Identity, stages: Option<Arc<Stages>>) -> Guest {
        let volume = Volume::new(SECTORS, None);
        let hold = Arc::clone(&volume.hold);
        let Machine { memory, host, gate, wiring } = Machine::new(RAM);
        let wiring = Wiring { stages, ..wiring };
        let device = Nvme::new("nvme", PLACE, volume, identity, wiring).unwrap();
        let guest = Guest { memory, device, host, gate, hold, pairs: BTreeMap::new(), shadows: false };
        guest.place_bar(BAR);
        guest
    }

    pub(super) fn place_bar(&self, bar: u64) {
        self.device.config_write(0x10, Width::Dword, u32::try_from(bar).unwrap());
        self.device.config_write(4, Width::Dword, 6);
    }

    /// The level of the controller's interrupt line.
    pub(super) fn line(&self) -> bool {
        self.host.level(LINE)
    }

    pub(super) fn read(&self, offset: u64) -> u64 {
        self.device.bar_read(0, Access::new(offset, Width::Dword))
    }

    pub(super) fn write(&self, offset: u64, value: u64) {
        self.device.bar_write(0, Access::new(offset, Width::Dword), value);
    }

    /// Points the controller at admin queues of these sizes and enables it. Gives CSTS.
    pub(super) fn enable(&mut self, submissions: u16, completions: u16) -> u64 {
        self.write(0x14, 0);
        assert_eq!(self.read(0x1c), 0);
        self.memory.clear();
        self.pairs.clear();
        self.shadows = false;
        let pair = self.pair(ADMIN, submissions, completions);
        let sizes = u64::from(completions - 1) << 16 | u64::from(submissions - 1);
        let places = [(0x28, pair.submissions.0), (0x30, pair.completions.0)];
        self.write(0x24, sizes);
        for (at, place) in places {
            self.write(at, place & 0xffff_ffff);
            self.write(at + 4, place >> 32);
        }
        self.write(0x14, CC_ON);
        self.read(0x1c)
    }

    /// Enabled as Linux does it.
    pub(super) fn started() -> Guest {
        let mut guest = Guest::new();
        assert_eq!(guest.enable(32, 32), 1);
        guest
    }

    /// Started, with these I/O queue pairs of 64 entries, and a vector each.
    pub(super) fn with_queues(count: u16) -> Guest {
        let mut guest = Guest::started();
        guest.turn_msix_on();
        (1..=count).for_each(|id| guest.create(id, 64, 64));
        guest
    }

    fn pair(&mut self, id: u16, submissions: u16, completions: u16) -> Pair {
        let base = QUEUES + u64::from(id) * 0x3_0000;
        let pair = Pair {
            submissions: (base, submissions),
            completions: (base + 0x2_0000, completions),
            tail: 0,
            head: 0,
            phase: 1,
            cid: 0,
            open: 0,
        };
        self.pairs.insert(id, pair);
        pair
    }

    /// Creates an I/O queue pair whose interrupts go to the vector of its number.
    pub(super) fn create(&mut self, id: u16, submissions: u16, completions: u16) {
        self.create_with(id, submissions, completions, 3 | u32::from(id) << 16);
    }

    pub(super) fn create_with(&mut self, id: u16, submissions: u16, completions: u16, flags: u32) {
        let pair = self.pair(id, submissions, completions);
        let zeroes = vec![0; 0x3_0000];
        self.memory.write(Gpa(pair.submissions.0), &zeroes).unwrap();
        assert_eq!(self.admin(create_cq(id, completions, pair.completions.0, flags)), (0, 0));
        assert_eq!(self.admin(create_sq(id, submissions, pair.submissions.0, id)), (0, 0));
    }

    /// Turns shadow doorbells on, for the queues that are there and those to come.
    pub(super) fn share_doorbells(&mut self) {
        let command = Sqe { opcode: 0x7c, prp1: SHADOWS.into(), prp2: EVENTS.into(), ..Sqe::default() };
        assert_eq!(self.admin(command), (0, 0));
        self.shadows = true;
    }

    pub(super) fn turn_msix_on(&self) {
        for vector in 0..17 {
            for (at, value) in [(0, 0xfee0_0000), (4, 0), (8, 100 + vector), (12, 0)] {
                self.write(0x2000 + vector * 16 + at, value);
            }
        }
        let at = u8::try_from(self.device.config_read(0x34, Width::Byte)).unwrap();
        assert_eq!(self.device.config_read(at, Width::Byte), 0x11);
        self.device.config_write(at, Width::Dword, 0x8000_0000);
    }

    /// Puts a command into a queue, without ringing. Gives its number.
    pub(super) fn offer(&mut self, id: u16, mut command: Sqe) -> u16 {
        let pair = self.pairs.get_mut(&id).unwrap();
        pair.cid = pair.cid.wrapping_add(1);
        command.cid = pair.cid.into();
        let (base, size) = pair.submissions;
        self.memory.write_record(Gpa(base + u64::from(pair.tail) * 64), &command).unwrap();
        pair.tail = (pair.tail + 1) % size;
        pair.open += 1;
        pair.cid
    }

    pub(super) fn tail(&self, id: u16) -> u16 {
        self.pairs[&id].tail
    }

    pub(super) fn ring_tail(&self, id: u16) {
        self.ring(id, 0, self.tail(id));
    }

    fn ring(&self, id: u16, side: u64, value: u16) {
        let offset = u64::from(id) * 8 + side;
        if self.shadows && id != ADMIN {
            let old = self.memory.load_u32(Gpa(SHADOWS + offset)).unwrap().to_le_bytes();
            let old = u16::from_le_bytes([old[0], old[1]]);
            self.memory.store_u32(Gpa(SHADOWS + offset), value.into()).unwrap();
            fence(Ordering::SeqCst);
            let event = self.memory.load_u32(Gpa(EVENTS + offset)).unwrap().to_le_bytes();
            let event = u16::from_le_bytes([event[0], event[1]]);
            if value.wrapping_sub(event).wrapping_sub(1) >= value.wrapping_sub(old) {
                return;
            }
        }
        self.ring_register(0x1000 + offset, value.into());
    }

    /// The hypervisor answers a doorbell if it hangs there, else the device does.
    pub(super) fn ring_register(&self, offset: u64, value: u64) {
        if !self.host.ring(BAR + offset) {
            self.write(offset, value);
        }
    }

    /// The next completion, if it is there, left where it is.
    pub(super) fn peek(&self, id: u16) -> Option<Cqe> {
        let pair = &self.pairs[&id];
        let at = pair.completions.0 + u64::from(pair.head) * 16;
        let last = self.memory.load_u32(Gpa(at + 12)).unwrap();
        let there = (last >> 16 & 1) == u32::from(pair.phase);
        there.then(|| self.memory.read_record(Gpa(at)).unwrap())
    }

    /// Waits for the next completion and takes it.
    pub(super) fn take(&mut self, id: u16) -> Cqe {
        wait_until("a completion", || self.peek(id).is_some());
        let cqe = self.peek(id).unwrap();
        let pair = self.pairs.get_mut(&id).unwrap();
        pair.head = (pair.head + 1) % pair.completions.1;
        pair.phase ^= u16::from(pair.head == 0);
        pair.open -= 1;
        let head = pair.head;
        self.ring(id, 4, head);
        cqe
    }

    pub(super) fn outstanding(&self, id: u16) -> u16 {
        self.pairs[&id].open
    }

    pub(super) fn run(&mut self, id: u16, command: Sqe) -> Outcome {
        let cid = self.offer(id, command);
        self.ring_tail(id);
        let cqe = self.take(id);
        assert_eq!((cqe.cid.get(), cqe.sq_id.get(), cqe.sq_head.get()), (cid, id, self.pairs[&id].tail));
        (cqe.status.get() >> 1, cqe.result.get())
    }

    pub(super) fn admin(&mut self, command: Sqe) -> Outcome {
        self.run(ADMIN, command)
    }

    /// The status of an admin command, however many events are told meanwhile.
    pub(super) fn admin_skipping_events(&mut self, command: Sqe) -> u16 {
        let cid = self.offer(ADMIN, command);
        self.ring_tail(ADMIN);
        loop {
            let cqe = self.take(ADMIN);
            if cqe.cid.get() == cid {
                return cqe.status.get() >> 1;
            }
        }
    }

    /// Identify into the data area.
    pub(super) fn identify(&mut self, cns: u32, nsid: u32) -> (u16, Vec<u8>) {
        let command = data(Sqe { opcode: 6, nsid: nsid.into(), cdw10: cns.into(), ..Sqe::default() });
        (self.admin(command).0, self.data(4096))
    }

    pub(super) fn log_page(&mut self, id: u32, len: u32) -> (u16, Vec<u8>) {
        let cdw10 = (id | (len / 4 - 1) << 16).into();
        let command = data(Sqe { opcode: 2, nsid: u32::MAX.into(), cdw10, ..Sqe::default() });
        (self.admin(command).0, self.data(len.try_into().unwrap()))
    }

    pub(super) fn data(&self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.memory.read(Gpa(DATA), &mut bytes).unwrap();
        bytes
    }

    /// The controller and its first I/O queue work.
    pub(super) fn assert_works(&mut self, id: u16) {
        assert_eq!(self.run(id, read(9, 1)), (0, 0));
        assert_eq!(self.data(512), [9; 512]);
    }
}

pub(super) fn create_cq(id: u16, size: u16, base: u64, flags: u32) -> Sqe {
    let cdw10 = u32::from(id) | u32::from(size.wrapping_sub(1)) << 16;
    Sqe { opcode: 5, prp1: base.into(), cdw10: cdw10.into(), cdw11: flags.into(), ..Sqe::default() }
}

pub(super) fn create_sq(id: u16, size: u16, base: u64, completions: u16) -> Sqe {
    let flags = 1 | u32::from(completions) << 16;
    Sqe { opcode: 1, ..create_cq(id, size, base, flags) }
}

/// With the data area, as far as two pages go.
pub(super) fn data(command: Sqe) -> Sqe {
    Sqe { prp1: DATA.into(), prp2: (DATA + 4096).into(), ..command }
}

pub(super) fn transfer(opcode: u8, sector: u64, count: u32) -> Sqe {
    let [b0, b1, b2, b3, b4, b5, b6, b7] = sector.to_le_bytes();
    data(Sqe {
        opcode,
        nsid: 1.into(),
        cdw10: u32::from_le_bytes([b0, b1, b2, b3]).into(),
        cdw11: u32::from_le_bytes([b4, b5, b6, b7]).into(),
        cdw12: count.wrapping_sub(1).into(),
        ..Sqe::default()
    })
}

pub(super) fn read(sector: u64, count: u32) -> Sqe {
    transfer(2, sector, count)
}

pub(super) fn write(sector: u64, count: u32) -> Sqe {
    transfer(1, sector, count)
}
