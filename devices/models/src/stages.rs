//! How far a start has come, told by what the guest touches: so that a guest that says nothing can be explained.
//!
//! Devices mark a stage when it is reached the first time; a reset of the machine begins them anew. Nothing here is
//! locked, and a stage that was reached before costs one load. Only what is honest is told: who reads a block is not
//! known, so blocks are counted, until a driver that is not the firmware's has the disk. EDK II resets its virtio devices
//! at ExitBootServices (VirtioRngDxe, VirtioBlkDxe) and leaves its NVMe controllers enabled; SeaBIOS leaves all as they
//! are.
//!
//! Left out: which program runs.

use ami_run_storage::{Op, Request, SECTOR};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Something asked fw_cfg for something: firmware runs.
    FirmwareBegan,
    /// It asked for the ACPI tables.
    TablesRead,
    /// The boot disk's block 0 was read.
    FirstBlockRead,
    /// Any other block of it.
    FurtherBlockRead,
    /// A device that was in use was reset: by firmware when it hands the machine over, or by a kernel's driver.
    Released,
    /// After that, a driver took the boot disk into use.
    DiskTaken,
    /// An operating system took ACPI's events into use, which firmware does not.
    PowerManaged,
}

const STAGES: usize = 7;

/// Who reads more than this (512 MiB) is a running system.
const MOST_BLOCKS: u64 = 1 << 20;

#[derive(Debug)]
pub struct Stages {
    origin: Instant,
    /// Nanoseconds from the origin to the last reset.
    since: AtomicU64,
    resets: AtomicU32,
    /// One more than the nanoseconds from the origin; 0 is never.
    reached: [AtomicU64; STAGES],
    last_read: AtomicU64,
    blocks: AtomicU64,
    last_block: AtomicU64,
    /// What is read now is nothing that a loader reads.
    is_loaded: AtomicBool,
}

/// The same at one time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reached {
    /// When the machine began to run, the last time.
    pub since: Instant,
    /// How often it was reset.
    pub resets: u32,
    at: [Option<Instant>; STAGES],
    /// When a block of the boot disk was read last.
    pub last_read: Option<Instant>,
    /// How many of them, and the last one; until the disk was taken.
    pub blocks: u64,
    pub last_block: u64,
}

impl Default for Stages {
    fn default() -> Stages {
        Stages {
            origin: Instant::now(),
            since: AtomicU64::new(0),
            resets: AtomicU32::new(0),
            reached: Default::default(),
            last_read: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
            last_block: AtomicU64::new(0),
            is_loaded: AtomicBool::new(false),
        }
    }
}

impl Stages {
    /// Marks the stage, if this is the first time.
    pub fn reach(&self, stage: Stage) {
        let Some(mark) = self.reached.get(stage as usize) else { return };
        if mark.load(Ordering::Relaxed) == 0 {
            // Another thread may have been quicker, and its time stands.
            mark.compare_exchange(0, self.now(), Ordering::Relaxed, Ordering::Relaxed).unwrap_or_default();
        }
    }

    /// A driver takes the boot disk into use.
    pub(crate) fn disk_started(&self) {
        if self.has(Stage::Released) {
            self.reach(Stage::DiskTaken);
            self.is_loaded.store(true, Ordering::Relaxed);
        }
    }

    /// What is asked of the boot disk.
    pub(crate) fn disk_asked(&self, batch: &[Request]) {
        if self.is_loaded.load(Ordering::Relaxed) {
            return;
        }
        for request in batch.iter().filter(|request| request.op == Op::Read && request.len > 0) {
            self.read(request.offset / SECTOR, request.len / SECTOR);
        }
    }

    fn read(&self, first: u64, count: u64) {
        let last = first.saturating_add(count).saturating_sub(1);
        if first == 0 {
            self.reach(Stage::FirstBlockRead);
        }
        if last > 0 {
            self.reach(Stage::FurtherBlockRead);
        }
        self.last_block.store(last, Ordering::Relaxed);
        self.last_read.store(self.now(), Ordering::Relaxed);
        let before = self.blocks.fetch_add(count, Ordering::Relaxed);
        if before.saturating_add(count) >= MOST_BLOCKS {
            self.is_loaded.store(true, Ordering::Relaxed);
        }
    }

    /// The machine is reset. None of its threads runs.
    pub fn begin_anew(&self) {
        self.resets.fetch_add(1, Ordering::Relaxed);
        self.since.store(self.now(), Ordering::Relaxed);
        let Stages { origin: _, since: _, resets: _, reached, last_read, blocks, last_block, is_loaded } =
            self;
        reached
            .iter()
            .chain([last_read, blocks, last_block])
            .for_each(|mark| mark.store(0, Ordering::Relaxed));
        is_loaded.store(false, Ordering::Relaxed);
    }

    #[must_use]
    pub fn reached(&self) -> Reached {
        let at = |mark: &AtomicU64| self.at(mark.load(Ordering::Relaxed));
        Reached {
            since: self.at(self.since.load(Ordering::Relaxed)).unwrap_or(self.origin),
            resets: self.resets.load(Ordering::Relaxed),
            at: self.reached.each_ref().map(at),
            last_read: at(&self.last_read),
            blocks: self.blocks.load(Ordering::Relaxed),
            last_block: self.last_block.load(Ordering::Relaxed),
        }
    }

    fn has(&self, stage: Stage) -> bool {
        self.reached.get(stage as usize).is_some_and(|mark| mark.load(Ordering::Relaxed) != 0)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX).saturating_add(1)
    }

    fn at(&self, mark: u64) -> Option<Instant> {
        self.origin.checked_add(Duration::from_nanos(mark.checked_sub(1)?))
    }
}

impl Reached {
    /// Nothing yet.
    #[must_use]
    pub fn nothing(since: Instant) -> Reached {
        Reached { since, resets: 0, at: [None; STAGES], last_read: None, blocks: 0, last_block: 0 }
    }

    /// When, if it was.
    #[must_use]
    pub fn at(&self, stage: Stage) -> Option<Instant> {
        self.at.get(stage as usize).copied().flatten()
    }

    /// The same with this stage.
    #[must_use]
    pub fn with(mut self, stage: Stage, at: Instant) -> Reached {
        if let Some(place) = self.at.get_mut(stage as usize) {
            *place = Some(at);
        }
        self
    }

    /// When a kernel was first seen: it had the devices released, its driver took the disk, or it manages power.
    #[must_use]
    pub fn kernel(&self) -> Option<Instant> {
        [Stage::Released, Stage::DiskTaken, Stage::PowerManaged]
            .into_iter()
            .filter_map(|stage| self.at(stage))
            .min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(op: Op, block: u64, blocks: u64) -> Request {
        Request { id: 0, op, offset: block * SECTOR, len: blocks * SECTOR, durable: false, buffers: None }
    }

    #[test]
    fn the_first_time_stands_until_a_reset() {
        let stages = Stages::default();
        stages.reach(Stage::TablesRead);
        let first = stages.reached();
        assert!(first.at(Stage::TablesRead).is_some() && first.at(Stage::FirmwareBegan).is_none());
        while stages.now() == 0 || stages.origin.elapsed() < Duration::from_millis(1) {}
        stages.reach(Stage::TablesRead);
        assert_eq!(stages.reached(), first);
        stages.begin_anew();
        let again = stages.reached();
        assert_eq!((again.resets, again.at(Stage::TablesRead)), (1, None));
        assert!(again.since > first.since);
    }

    #[test]
    fn blocks_are_counted_until_the_disk_is_taken_by_another_driver() {
        let stages = Stages::default();
        stages.disk_started();
        stages.disk_asked(&[request(Op::Write, 9, 1), request(Op::Read, 0, 1)]);
        let first = stages.reached();
        assert!(first.at(Stage::FirstBlockRead).is_some());
        assert_eq!((first.at(Stage::FurtherBlockRead), first.blocks, first.kernel()), (None, 1, None));
        stages.disk_asked(&[request(Op::Read, 2048, 128)]);
        let further = stages.reached();
        assert!(further.at(Stage::FurtherBlockRead).is_some() && further.last_read > first.last_read);
        assert_eq!((further.blocks, further.last_block), (129, 2175));
        // Firmware that takes it twice has not let go of it.
        stages.disk_started();
        assert_eq!(stages.reached().kernel(), None);
        stages.reach(Stage::Released);
        stages.disk_started();
        stages.disk_asked(&[request(Op::Read, 0, 8)]);
        let taken = stages.reached();
        assert_eq!((taken.blocks, taken.kernel()), (129, taken.at(Stage::Released)));
        assert!(taken.at(Stage::DiskTaken) >= taken.at(Stage::Released));
    }

    #[test]
    fn the_count_has_an_end_and_no_request_overflows_it() {
        let stages = Stages::default();
        stages.disk_asked(&[request(Op::Read, 0, MOST_BLOCKS)]);
        stages.disk_asked(&[request(Op::Read, 0, 1)]);
        assert_eq!(stages.reached().blocks, MOST_BLOCKS);
        let odd = Request { offset: u64::MAX, len: u64::MAX, ..request(Op::Read, 0, 0) };
        stages.begin_anew();
        stages.disk_asked(&[odd]);
        assert_eq!(stages.reached().last_block, u64::MAX / SECTOR * 2 - 1);
    }
}
