//! The engine of a volume: decides what is read and written where, and in which order. It moves no bytes itself and
//! knows no clock, thread or file: it is given requests and finished I/O, and says what I/O is to begin and which
//! requests are done. So the same engine runs on io_uring, on pread and pwrite, and on a disk that is simulated.
//!
//! Order, so that no queue ever sees a half-made granule, and no crash shows one:
//! - data reaches the top before the map in memory says so, and is on stable storage before the map on disk says so;
//! - whatever changes the map holds its granules meanwhile; reads, and writes where all granules are in the top already,
//!   hold nothing. (A write in place that overlaps a discard by another queue may reach a granule that is zero by then:
//!   its bytes are never seen, as if it had come first.)
//! - what was discarded is punched out of the top when the map on disk says zero, while its granules are held.

mod access;
#[cfg(test)]
mod engine_test;
mod flush;
mod io;
mod request;
mod rules;
mod status;

pub(crate) use io::{Granule, Io, Merge, Piece};
pub(crate) use request::{Cause, is_full};
pub use request::{Completion, Fault, Op, Request};
pub use status::Status;

use crate::SECTOR;
use crate::map::{Map, State};
use crate::ranges::Ranges;
use crate::slab::Slab;
use crate::top::layout::{GRANULE, PAGE_SECTORS};
use crate::top::sector;
use ami_run_memory::Buffers;
use flush::Flushes;
pub(crate) use rules::Rule;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::sync::Arc;

/// Who asked: whose completion it will be.
pub(crate) type QueueId = u32;

/// What is to be done outside the engine.
#[derive(Debug)]
pub(crate) enum Work {
    /// Comes back by [`Engine::finished`], with what it says.
    Begin(Owner, Io),
    Done {
        queue: QueueId,
        id: u32,
        op: Op,
        bytes: Range<u64>,
        result: Result<(), Cause>,
    },
    /// The volume has failed for good; told once.
    Failed(std::io::Error),
}

/// Whose I/O it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Owner {
    Job(u32),
    Epoch,
    Punch,
    Map(u64),
}

/// A request at work.
#[derive(Debug)]
struct Job {
    queue: QueueId,
    id: u32,
    op: Op,
    bytes: Range<u64>,
    durable: bool,
    buffers: Option<Arc<Buffers>>,
    /// How far a read has been begun.
    next: u64,
    /// I/O that has not come back.
    pending: u32,
    failed: Option<Cause>,
    /// The granules that it holds.
    held: Option<Range<u64>>,
    /// It will change the map, and this was the volume's size when it began.
    remaps: Option<u64>,
}

#[derive(Debug)]
pub(crate) struct Engine {
    size: u64,
    /// Where the base ends; after it, the base is zeroes.
    base: u64,
    /// The volume's mark in the sectors of its map.
    mark: u64,
    map: Map,
    jobs: Slab<Job>,
    /// Jobs that can begin, or begin again.
    ready: VecDeque<u32>,
    held: Ranges,
    /// Jobs that wait for granules that are held.
    waiting: Vec<u32>,
    /// Jobs that wait for a page of the map.
    loading: BTreeMap<u64, Vec<u32>>,
    flushes: Flushes,
    #[cfg(test)]
    pub(crate) broken: Option<Rule>,
}

impl Engine {
    pub(crate) fn new(size: u64, base: u64, mark: u64, map: Map) -> Engine {
        Engine {
            size,
            base: base.min(size),
            mark,
            map,
            jobs: Slab::default(),
            ready: VecDeque::new(),
            held: Ranges::default(),
            waiting: Vec::new(),
            loading: BTreeMap::new(),
            flushes: Flushes::default(),
            #[cfg(test)]
            broken: None,
        }
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    /// The file is larger now, and says so.
    pub(crate) fn grow(&mut self, size: u64) {
        self.size = size.max(self.size);
    }

    /// Takes a request.
    pub(crate) fn submit(&mut self, queue: QueueId, request: Request, work: &mut Vec<Work>) {
        let Request { id, op, offset, len, durable, buffers } = request;
        let bytes = match self.check(op, offset, len, buffers.as_ref()) {
            Ok(bytes) => bytes,
            Err(cause) => {
                let bytes = offset..offset.saturating_add(len);
                work.push(Work::Done { queue, id, op, bytes, result: Err(cause) });
                return;
            }
        };
        let buffers = buffers.map(Arc::new);
        let (pending, failed, held, remaps) = (0, None, None, None);
        let next = bytes.start;
        let job = Job { queue, id, op, bytes, durable, buffers, next, pending, failed, held, remaps };
        let number = self.jobs.insert(job);
        self.ready.push_back(number);
        self.run(work);
    }

    /// The request's range, if the volume and the buffers have it.
    fn check(&self, op: Op, offset: u64, len: u64, buffers: Option<&Buffers>) -> Result<Range<u64>, Cause> {
        if op != Op::Read && self.flushes.failed() {
            return Err(Cause::Broken);
        }
        if op == Op::Flush {
            return Ok(0..0);
        }
        let end = offset.checked_add(len).filter(|end| *end <= self.size);
        let Some(end) = end else { return Err(Cause::OutsideVolume(self.size)) };
        if !offset.is_multiple_of(SECTOR) || !len.is_multiple_of(SECTOR) {
            return Err(Cause::OddRange);
        }
        let has_room = buffers.is_some_and(|buffers| buffers.len() >= len);
        if len > 0 && matches!(op, Op::Read | Op::Write) && !has_room {
            return Err(Cause::OutsideBuffers);
        }
        Ok(offset..end)
    }

    /// Begins every job that can.
    fn run(&mut self, work: &mut Vec<Work>) {
        while let Some(number) = self.ready.pop_front() {
            self.begin(number, work);
        }
    }

    fn begin(&mut self, number: u32, work: &mut Vec<Work>) {
        let Some(job) = self.jobs.get_mut(number) else { return };
        let (op, queue, bytes) = (job.op, job.queue, job.bytes.clone());
        if let Some(page) = self.map.unread_page(&granules(&bytes)) {
            self.read_map(page, number, work);
            return;
        }
        match op {
            Op::Flush => self.flush(Some((number, queue)), work),
            _ if bytes.is_empty() => self.conclude(number, work),
            Op::Read => self.read(number, work),
            Op::Write => self.write(number, work),
            Op::WriteZeroes { .. } => self.zero(number, work),
            Op::Discard => self.discard(number, work),
        }
    }

    fn read_map(&mut self, page: u64, number: u32, work: &mut Vec<Work>) {
        let waiting = self.loading.entry(page).or_default();
        if waiting.is_empty() {
            work.push(Work::Begin(Owner::Map(page), Io::ReadMap(page, Granule::zeroes())));
        }
        waiting.push(number);
    }

    /// Takes back I/O that came to an end.
    pub(crate) fn finished(
        &mut self,
        owner: Owner,
        io: Io,
        result: std::io::Result<()>,
        work: &mut Vec<Work>,
    ) {
        match owner {
            Owner::Job(number) => self.job_went_on(number, io, result, work),
            Owner::Epoch => self.epoch_went_on(&io, result, work),
            Owner::Punch => self.punched(work),
            Owner::Map(page) => self.map_came(page, &io, result),
        }
        self.run(work);
    }

    fn job_went_on(&mut self, number: u32, io: Io, result: std::io::Result<()>, work: &mut Vec<Work>) {
        let Some(job) = self.jobs.get_mut(number) else { return };
        match (io, result) {
            // The rest of the granule is there: now it can be written.
            (Io::ReadGranule(merge, _), Ok(())) => {
                work.push(Work::Begin(Owner::Job(number), Io::WriteGranule(merge)));
                return;
            }
            (_, Err(cause)) => {
                job.failed.get_or_insert(Cause::Io(cause));
            }
            (_, Ok(())) => {}
        }
        job.pending = job.pending.saturating_sub(1);
        if job.pending == 0 {
            if job.op == Op::Read && job.failed.is_none() && job.next < job.bytes.end {
                self.ready.push_back(number);
                return;
            }
            self.conclude(number, work);
        }
    }

    fn map_came(&mut self, page: u64, io: &Io, result: std::io::Result<()>) {
        let waiting = self.loading.remove(&page).unwrap_or_default();
        match (io, result) {
            (Io::ReadMap(_, bytes), Ok(())) => {
                let numbers = page.saturating_mul(PAGE_SECTORS)..;
                let sectors = numbers.zip(bytes.0.chunks(512));
                self.map.load(page, sectors.map(|(number, bytes)| sector::decode(number, self.mark, bytes)));
            }
            // Who comes next may have more luck.
            (_, Err(cause)) => {
                let kind = cause.kind();
                for number in &waiting {
                    if let Some(job) = self.jobs.get_mut(*number) {
                        job.bytes = 0..0;
                        job.failed = Some(Cause::Io(kind.into()));
                    }
                }
            }
            (_, Ok(())) => {}
        }
        self.ready.extend(waiting);
    }

    /// Starts a job's I/O.
    fn start(&mut self, number: u32, all: Vec<Io>, work: &mut Vec<Work>) {
        let count = all.len();
        work.extend(all.into_iter().map(|io| Work::Begin(Owner::Job(number), io)));
        self.expect(number, count, work);
    }

    /// So much I/O of a job is begun.
    fn expect(&mut self, number: u32, count: usize, work: &mut Vec<Work>) {
        if let Some(job) = self.jobs.get_mut(number) {
            job.pending = u32::try_from(count).unwrap_or(u32::MAX);
        }
        if count == 0 {
            self.conclude(number, work);
        }
    }

    /// All I/O of a job has come back: the map may say so now.
    fn conclude(&mut self, number: u32, work: &mut Vec<Work>) {
        let Some(job) = self.jobs.get_mut(number) else { return };
        let (op, bytes, queue) = (job.op, job.bytes.clone(), job.queue);
        let (failed, durable, held) = (job.failed.is_some(), job.durable, job.held.take());
        let remaps = job.remaps.take().filter(|_| !failed);
        if op != Op::Read && !bytes.is_empty() {
            if let Some(size) = remaps {
                self.remap(op, &bytes, size);
            }
            self.flushes.changed(queue);
        }
        if let Some(held) = held {
            self.release(&held);
        }
        if self.breaks(Rule::PunchAfterMap) {
            self.flushes.forget_order();
            self.punch(work);
        }
        // Also where nothing was written: what an earlier request left may be meant.
        if durable && !failed && op != Op::Read && op != Op::Flush {
            self.flush(Some((number, queue)), work);
        } else {
            self.answer(number, None, work);
        }
    }

    /// The last word on a job.
    fn answer(&mut self, number: u32, failed: Option<Cause>, work: &mut Vec<Work>) {
        let Some(job) = self.jobs.remove(number) else { return };
        let result = job.failed.or(failed).map_or(Ok(()), Err);
        work.push(Work::Done { queue: job.queue, id: job.id, op: job.op, bytes: job.bytes, result });
    }

    /// Holds granules for a job, or lets it wait for those that others hold.
    fn hold(&mut self, number: u32, wanted: Range<u64>) -> bool {
        if self.held.overlaps(&wanted) {
            self.waiting.push(number);
            return false;
        }
        self.held.insert(wanted.clone());
        if let Some(job) = self.jobs.get_mut(number) {
            job.held = Some(wanted);
        }
        true
    }

    fn release(&mut self, held: &Range<u64>) {
        self.held.remove(held);
        self.ready.extend(self.waiting.drain(..));
    }

    /// The state of the first byte, and where in the range bytes in this state end.
    fn state(&self, bytes: Range<u64>) -> (State, u64) {
        let (state, end) = self.map.run(granules(&bytes));
        (state, end.saturating_mul(GRANULE).min(bytes.end))
    }
}

/// The granules that a range touches.
fn granules(bytes: &Range<u64>) -> Range<u64> {
    bytes.start / GRANULE..bytes.end.div_ceil(GRANULE)
}
