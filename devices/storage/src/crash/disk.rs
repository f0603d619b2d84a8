//! A disk with a volatile cache. What was written can be read at once; what was not synced may be lost in a crash, or
//! reach the disk in part, sector by sector.

use super::Random;
use crate::top::store::Store;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;

const SECTOR: u64 = 512;
type Sector = [u8; 512];

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Punch(Range<u64>),
    Size(u64),
}

/// A file, and its name in a folder.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk {
    durable: BTreeMap<u64, Sector>,
    current: BTreeMap<u64, Sector>,
    durable_size: u64,
    size: u64,
    /// What is not on stable storage, and when it was done.
    pending: Vec<(u64, Change)>,
    clock: u64,
    named: bool,
    named_durably: bool,
}

impl Disk {
    pub(super) fn write(&mut self, offset: u64, bytes: &[u8]) {
        self.change(Change::Write(offset / SECTOR, bytes.to_vec()));
    }

    pub(super) fn punch(&mut self, bytes: Range<u64>) {
        self.change(Change::Punch(bytes.start / SECTOR..bytes.end / SECTOR));
    }

    fn change(&mut self, change: Change) {
        self.clock += 1;
        let sectors = sectors_of(&change);
        apply(&change, sectors, &mut self.current, &mut self.size);
        self.pending.push((self.clock, change));
    }

    pub(super) fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        if offset + bytes.len() as u64 > self.size {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, chunk) in (offset / SECTOR..).zip(bytes.chunks_mut(512)) {
            match self.current.get(&number) {
                Some(sector) => chunk.copy_from_slice(&sector[..chunk.len()]),
                None => chunk.fill(0),
            }
        }
        Ok(())
    }

    /// What a sync that begins now will cover.
    pub(super) fn now(&self) -> u64 {
        self.clock
    }

    /// Everything that was done until `until` is on stable storage.
    pub(super) fn sync(&mut self, until: u64) {
        for (_, change) in self.pending.extract_if(.., |(at, _)| *at <= until) {
            apply(&change, sectors_of(&change), &mut self.durable, &mut self.durable_size);
        }
    }

    /// A sync that fails: some of it reached the disk, and nobody will try the rest again.
    pub(super) fn fail_sync(&mut self, random: &mut Random) {
        for (_, change) in std::mem::take(&mut self.pending) {
            if random.one_in(2) {
                apply(&change, sectors_of(&change), &mut self.durable, &mut self.durable_size);
            }
        }
    }

    /// The power goes. Each change is lost, kept or torn.
    pub(super) fn crash(&mut self, random: &mut Random) {
        for (_, change) in std::mem::take(&mut self.pending) {
            let fate = random.below(3);
            for sector in sectors_of(&change) {
                if fate == 1 || (fate == 2 && random.one_in(2)) {
                    apply(&change, sector..sector + 1, &mut self.durable, &mut self.durable_size);
                }
            }
        }
        self.named = self.named_durably || (self.named && random.one_in(2));
        self.named_durably = self.named;
        self.restart();
    }

    /// The power goes, and of the pending changes those with their bit in `kept` stay.
    pub(super) fn crash_keeping(&mut self, kept: u64) {
        for (number, (_, change)) in std::mem::take(&mut self.pending).into_iter().enumerate() {
            if kept >> number & 1 == 1 {
                apply(&change, sectors_of(&change), &mut self.durable, &mut self.durable_size);
            }
        }
        self.restart();
    }

    fn restart(&mut self) {
        self.current = self.durable.clone();
        self.size = self.durable_size;
    }

    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    pub(super) fn has_name(&self) -> bool {
        self.named
    }
}

fn sectors_of(change: &Change) -> Range<u64> {
    match change {
        Change::Write(first, bytes) => *first..*first + (bytes.len() as u64).div_ceil(SECTOR),
        Change::Punch(sectors) => sectors.clone(),
        Change::Size(_) => 0..1,
    }
}

/// Carries out a change on these of its sectors.
fn apply(change: &Change, sectors: Range<u64>, content: &mut BTreeMap<u64, Sector>, size: &mut u64) {
    match change {
        Change::Write(first, bytes) => {
            for number in sectors {
                let from = ((number - first) * SECTOR) as usize;
                let mut sector = [0; 512];
                let part = &bytes[from..bytes.len().min(from + 512)];
                sector[..part.len()].copy_from_slice(part);
                content.insert(number, sector);
            }
        }
        Change::Punch(_) => {
            content.retain(|number, _| !sectors.contains(number));
        }
        Change::Size(new) => *size = *new,
    }
}

/// The disk as that on which a top is made. The power may go between two steps.
pub(super) struct Steps<'a> {
    pub(super) disk: &'a RefCell<Disk>,
    /// Steps that are left before the power goes.
    pub(super) left: RefCell<u64>,
    pub(super) folder_sync: bool,
}

impl Steps<'_> {
    fn step(&self) -> io::Result<()> {
        let mut left = self.left.borrow_mut();
        *left = left.checked_sub(1).ok_or_else(|| io::Error::other("the power is gone"))?;
        Ok(())
    }
}

impl Store for Steps<'_> {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.disk.borrow().read(offset, bytes)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        self.disk.borrow_mut().write(offset, bytes);
        Ok(())
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        self.step()?;
        let size = crate::top::layout::data(size.next_multiple_of(4096));
        self.disk.borrow_mut().change(Change::Size(size));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.step()?;
        let now = self.disk.borrow().now();
        self.disk.borrow_mut().sync(now);
        Ok(())
    }

    fn publish(&self) -> io::Result<()> {
        self.step()?;
        self.disk.borrow_mut().named = true;
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        self.step()?;
        let mut disk = self.disk.borrow_mut();
        disk.named_durably |= self.folder_sync && disk.named;
        Ok(())
    }
}
