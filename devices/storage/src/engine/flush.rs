//! Flushes, by epochs: data sync, then the map's sectors that changed, then their sync. One epoch runs at a time, and
//! everybody who asks meanwhile is answered by the next. What is written of the map is what it said when the epoch
//! began: an entry that changes after that may stand for data that this sync did not cover.
//!
//! Behind an epoch comes what may be done only then: punching out what is zero on disk now.

use super::rules::Rule;
use super::{Cause, Engine, Io, Owner, QueueId, Work, is_full};
use crate::map::WORDS;
use crate::ranges::Ranges;
use crate::top::layout::GRANULE;
use crate::top::sector;
use std::io;
use std::ops::Range;

/// The most granules that are punched at once: they are held meanwhile.
const PUNCH: u64 = (16 << 20) / GRANULE;

#[derive(Debug, Default)]
pub(super) struct Flushes {
    /// Counts finished changes, so that a flush knows whether there is anything to flush.
    changes: u64,
    /// How many of them are on stable storage.
    synced: u64,
    epoch: Option<Epoch>,
    /// Jobs that the next epoch answers.
    next: Vec<u32>,
    failed: bool,
    /// Granules that the top holds for nothing: the map in memory says zero,
    zeroed: Ranges,
    /// and so does the map on disk.
    punchable: Ranges,
    punching: Option<Range<u64>>,
    /// The queue that changed something last.
    changed_by: Option<QueueId>,
}

#[derive(Debug)]
struct Epoch {
    /// Jobs that it answers.
    jobs: Vec<u32>,
    /// The count of changes when it began.
    covers: u64,
    step: Step,
    /// Sectors of the map as they were when it began.
    sectors: Vec<(u64, [u64; WORDS])>,
    zeroed: Ranges,
    /// Sectors that are being written.
    pending: usize,
    failed: Option<io::Error>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Step {
    Data,
    Map,
    MapSync,
}

impl Flushes {
    pub(super) fn failed(&self) -> bool {
        self.failed
    }

    pub(super) fn changed(&mut self, queue: QueueId) {
        self.changes = self.changes.saturating_add(1);
        self.changed_by = Some(queue);
    }

    pub(super) fn zeroed(&mut self, granules: Range<u64>) {
        self.zeroed.insert(granules);
    }

    /// These granules are written to: they are not to be punched any more.
    pub(super) fn keep(&mut self, granules: &Range<u64>) {
        self.zeroed.remove(granules);
        self.punchable.remove(granules);
        if let Some(epoch) = &mut self.epoch {
            epoch.zeroed.remove(granules);
        }
    }

    /// For the test that breaks this order.
    pub(super) fn forget_order(&mut self) {
        self.punchable.append(&mut self.zeroed);
    }

    /// Something is not on stable storage, and no epoch is at it.
    pub(super) fn behind(&self) -> bool {
        self.epoch.is_none() && !self.failed && self.changes != self.synced
    }
}

impl Engine {
    /// Something was written that nobody has flushed.
    pub(crate) fn wants_epoch(&self) -> bool {
        self.flushes.behind()
    }

    /// A sync has failed elsewhere: no flush succeeds any more.
    pub(crate) fn fail(&mut self) {
        self.flushes.failed = true;
    }

    /// Begins an epoch that nobody waits for: it bounds what a crash can take, and frees what was discarded.
    pub(crate) fn begin_epoch(&mut self, work: &mut Vec<Work>) {
        if self.wants_epoch() {
            self.flush(None, work);
        }
    }

    pub(super) fn flush(&mut self, asked: Option<(u32, QueueId)>, work: &mut Vec<Work>) {
        if self.flushes.failed && !self.breaks(Rule::FailureStays) {
            return self.answer_all(asked.map(|(number, _)| number), true, work);
        }
        let flushes = &mut self.flushes;
        if flushes.epoch.is_some() {
            flushes.next.extend(asked.map(|(number, _)| number));
            return;
        }
        let nothing = flushes.changes == flushes.synced && !self.map.has_changed();
        if nothing || asked.is_some_and(|(_, queue)| self.ignores_others(queue)) {
            return self.answer_all(asked.map(|(number, _)| number), false, work);
        }
        self.start_epoch(asked.map(|(number, _)| number).into_iter().collect(), work);
    }

    fn ignores_others(&self, queue: QueueId) -> bool {
        self.breaks(Rule::FlushOfAllQueues) && self.flushes.changed_by != Some(queue)
    }

    fn start_epoch(&mut self, jobs: Vec<u32>, work: &mut Vec<Work>) {
        let changed = self.map.take_changed();
        let sectors: Vec<_> = changed.into_iter().map(|number| (number, self.map.words(number))).collect();
        let skips_data = !sectors.is_empty() && self.breaks(Rule::DataBeforeMap);
        let flushes = &mut self.flushes;
        let (covers, zeroed) = (flushes.changes, std::mem::take(&mut flushes.zeroed));
        let (step, pending, failed) = (Step::Data, 0, None);
        flushes.epoch = Some(Epoch { jobs, covers, step, sectors, zeroed, pending, failed });
        if skips_data {
            return self.write_map(work);
        }
        work.push(Work::Begin(Owner::Epoch, Io::Sync));
    }

    pub(super) fn epoch_went_on(&mut self, io: &Io, result: io::Result<()>, work: &mut Vec<Work>) {
        let Some(epoch) = &mut self.flushes.epoch else { return };
        match (epoch.step, result) {
            (Step::Map, result) => {
                epoch.pending = epoch.pending.saturating_sub(1);
                if let Err(cause) = result {
                    epoch.failed.get_or_insert(cause);
                    let Io::WriteMap(first, bytes) = io else { return };
                    let count = u64::try_from(bytes.len() / 512).unwrap_or(0);
                    (*first..first.saturating_add(count)).for_each(|number| self.map.changed_again(number));
                }
                if epoch.pending == 0 {
                    match epoch.failed.take() {
                        None => {
                            epoch.step = Step::MapSync;
                            work.push(Work::Begin(Owner::Epoch, Io::Sync));
                        }
                        Some(cause) => self.end_epoch(Err(cause), work),
                    }
                }
            }
            (Step::Data, Ok(())) if !epoch.sectors.is_empty() => self.write_map(work),
            (_, result) => self.end_epoch(result, work),
        }
    }

    /// Writes the epoch's sectors of the map, neighbours together.
    fn write_map(&mut self, work: &mut Vec<Work>) {
        let live = self.breaks(Rule::CopiedWords);
        let Some(epoch) = &mut self.flushes.epoch else { return };
        let mut runs: Vec<(u64, Vec<u8>)> = Vec::new();
        let mut next = None;
        for (number, words) in &epoch.sectors {
            let words = if live { &self.map.words(*number) } else { words };
            let bytes = sector::encode(*number, self.mark, words);
            match runs.last_mut() {
                Some((_, run)) if next == Some(*number) => run.extend(bytes),
                _ => runs.push((*number, bytes.to_vec())),
            }
            next = number.checked_add(1);
        }
        epoch.step = Step::Map;
        epoch.pending = runs.len();
        work.extend(
            runs.into_iter().map(|(first, bytes)| Work::Begin(Owner::Epoch, Io::WriteMap(first, bytes))),
        );
    }

    fn end_epoch(&mut self, result: io::Result<()>, work: &mut Vec<Work>) {
        let Some(mut epoch) = self.flushes.epoch.take() else { return };
        match result {
            Ok(()) => {
                self.flushes.synced = epoch.covers;
                self.flushes.punchable.append(&mut epoch.zeroed);
                self.answer_all(epoch.jobs, false, work);
                self.punch(work);
            }
            // The map found no room, and says so: what was flushed before is as it was, and this can be tried again.
            Err(cause) if epoch.step == Step::Map && is_full(&cause) => {
                self.flushes.zeroed.append(&mut epoch.zeroed);
                epoch.sectors.iter().for_each(|(number, _)| self.map.changed_again(*number));
                for number in epoch.jobs {
                    self.answer(number, Some(Cause::Io(cause.kind().into())), work);
                }
            }
            // The kernel reports a lost page once and then forgets it: a second try would claim success.
            Err(cause) => {
                self.flushes.failed = true;
                work.push(Work::Failed(cause));
                epoch.sectors.iter().for_each(|(number, _)| self.map.changed_again(*number));
                self.answer_all(epoch.jobs, true, work);
            }
        }
        let next = std::mem::take(&mut self.flushes.next);
        self.ready.extend(&next);
        self.restart(&next);
    }

    /// Those who came too late for the epoch that has ended ask again, as flushes.
    fn restart(&mut self, jobs: &[u32]) {
        for number in jobs {
            if let Some(job) = self.jobs.get_mut(*number) {
                job.op = super::Op::Flush;
                job.bytes = 0..0;
            }
        }
    }

    fn answer_all(&mut self, jobs: impl IntoIterator<Item = u32>, broken: bool, work: &mut Vec<Work>) {
        for number in jobs {
            self.answer(number, broken.then_some(Cause::Broken), work);
        }
    }

    /// Gives back what can be, a piece at a time.
    pub(super) fn punch(&mut self, work: &mut Vec<Work>) {
        if self.flushes.punching.is_some() {
            return;
        }
        if let Some(range) = self.flushes.punchable.take_first(PUNCH) {
            if !self.breaks(Rule::PunchAfterMap) {
                if self.held.overlaps(&range) {
                    // Whoever holds it zeroes it once more. The next epoch comes back to it.
                    self.flushes.punchable.insert(range);
                    return;
                }
                self.held.insert(range.clone());
            }
            self.flushes.punching = Some(range.clone());
            let bytes = range.start.saturating_mul(GRANULE)..range.end.saturating_mul(GRANULE).min(self.size);
            work.push(Work::Begin(Owner::Punch, Io::Punch(bytes)));
        }
    }

    pub(super) fn punched(&mut self, work: &mut Vec<Work>) {
        if let Some(range) = self.flushes.punching.take() {
            self.release(&range);
        }
        self.punch(work);
    }
}
