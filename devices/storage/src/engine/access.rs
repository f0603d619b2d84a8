//! Reads, writes, zeroes and discards: which granules lie where, and what I/O that comes to.

use super::rules::Rule;
use super::{Cause, Engine, Granule, Io, Merge, Op, Owner, Piece, Work, granules};
use crate::map::State;
use crate::top::layout::GRANULE;
use ami_run_memory::Buffers;
use std::ops::Range;
use std::sync::Arc;

/// A read of more pieces goes on when these are there: a guest may ask for any number at once.
const MOST_PIECES: usize = 128;

// Offsets below are inside the volume: the engine has checked each request, so saturating sums are exact sums.
impl Engine {
    fn parts(&mut self, number: u32) -> Option<(Range<u64>, Option<Arc<Buffers>>)> {
        self.jobs.get_mut(number).map(|job| (job.bytes.clone(), job.buffers.clone()))
    }

    fn refuse(&mut self, number: u32, cause: Cause, work: &mut Vec<Work>) {
        if let Some(job) = self.jobs.get_mut(number) {
            job.failed = Some(cause);
        }
        self.conclude(number, work);
    }

    pub(super) fn read(&mut self, number: u32, work: &mut Vec<Work>) {
        let Some((bytes, Some(buffers))) = self.parts(number) else { return };
        let Some(next) = self.jobs.get_mut(number).map(|job| job.next) else { return };
        let (mut at, from) = (next, work.len());
        while at < bytes.end && work.len().saturating_sub(from) < MOST_PIECES {
            let (state, mut end) = self.state(at..bytes.end);
            if state == State::Base && at < self.base {
                end = end.min(self.base);
            }
            let start = at.saturating_sub(bytes.start);
            let piece = Piece { buffers: Arc::clone(&buffers), start, len: end.saturating_sub(at) };
            let io = match state {
                State::Base if at < self.base => Io::ReadBase(piece, at),
                State::Base | State::Zero => Io::Zero(piece),
                State::Top => Io::ReadTop(piece, at),
                State::Lost => {
                    work.truncate(from);
                    return self.refuse(number, Cause::Damaged, work);
                }
            };
            work.push(Work::Begin(Owner::Job(number), io));
            at = end;
        }
        if let Some(job) = self.jobs.get_mut(number) {
            job.next = at;
        }
        let count = work.len().saturating_sub(from);
        self.expect(number, count, work);
    }

    pub(super) fn write(&mut self, number: u32, work: &mut Vec<Work>) {
        let Some((bytes, Some(buffers))) = self.parts(number) else { return };
        let piece = |range: &Range<u64>| Piece {
            buffers: Arc::clone(&buffers),
            start: range.start.saturating_sub(bytes.start),
            len: length(range),
        };
        if self.state(bytes.clone()) == (State::Top, bytes.end) {
            let write = Io::Write(piece(&bytes), bytes.start);
            work.push(Work::Begin(Owner::Job(number), write));
            return self.expect(number, 1, work);
        }
        let Some((head, tail)) = self.take(number, &bytes, work) else { return };
        self.flushes.keep(&granules(&bytes));
        // Granules that are covered in part are merged with what was there; all between goes in one piece.
        let (mut all, mut whole) = (Vec::new(), bytes.clone());
        for edge in [&head, &tail].into_iter().flatten() {
            let state = self.state(edge.clone()).0;
            if state == State::Top {
                continue;
            }
            all.push(self.merge(state, edge, Some(piece(edge))));
            if edge.start == whole.start {
                whole.start = edge.end;
            } else {
                whole.end = edge.start;
            }
        }
        if !whole.is_empty() {
            all.push(Io::Write(piece(&whole), whole.start));
        }
        self.start(number, all, work);
    }

    /// Holds the granules of a range that will change. None: the job waits for them, or has been refused. Gives the
    /// parts of the range that cover a granule only in part.
    fn take(&mut self, number: u32, bytes: &Range<u64>, work: &mut Vec<Work>) -> Option<Edges> {
        let mut at = bytes.start;
        while at < bytes.end {
            let (state, end) = self.state(at..bytes.end);
            if state == State::Lost {
                self.refuse(number, Cause::Damaged, work);
                return None;
            }
            at = end;
        }
        if !self.breaks(Rule::MergesHold) && !self.hold(number, granules(bytes)) {
            return None;
        }
        let size = self.size;
        if let Some(job) = self.jobs.get_mut(number) {
            job.remaps = Some(size);
        }
        Some(edges(bytes, size))
    }

    /// Brings a granule that is not in the top there, with a part of it new.
    fn merge(&self, state: State, part: &Range<u64>, with: Option<Piece>) -> Io {
        let offset = floor(part.start);
        let place = |at: u64| usize::try_from(at.saturating_sub(offset)).unwrap_or(usize::MAX);
        let end = offset.saturating_add(GRANULE).min(self.size);
        let merge = Merge {
            granule: Granule::zeroes(),
            offset,
            written: 0..place(end),
            part: place(part.start)..place(part.end),
            with,
        };
        match state {
            State::Base if offset < self.base => Io::ReadGranule(merge, place(end.min(self.base))),
            _ => Io::WriteGranule(merge),
        }
    }

    pub(super) fn zero(&mut self, number: u32, work: &mut Vec<Work>) {
        let Some((bytes, _)) = self.parts(number) else { return };
        let Some((head, tail)) = self.take(number, &bytes, work) else { return };
        let mut all = Vec::new();
        for edge in [&head, &tail].into_iter().flatten() {
            match self.state(edge.clone()).0 {
                State::Zero | State::Lost => {}
                State::Base if floor(edge.start) >= self.base => {}
                State::Base => all.push(self.merge(State::Base, edge, None)),
                // Only these bytes: another queue may be writing the granule's others at this moment.
                State::Top => {
                    let Io::WriteGranule(mut merge) = self.merge(State::Top, edge, None) else { continue };
                    merge.written = merge.part.clone();
                    all.push(Io::WriteGranule(merge));
                }
            }
        }
        self.start(number, all, work);
    }

    /// The guest has said that it doesn't need the range: whole granules read as zeroes, parts of granules stay.
    pub(super) fn discard(&mut self, number: u32, work: &mut Vec<Work>) {
        let Some((bytes, _)) = self.parts(number) else { return };
        if self.take(number, &bytes, work).is_some() {
            self.start(number, Vec::new(), work);
        }
    }

    /// The map follows what a job has done.
    pub(super) fn remap(&mut self, op: Op, bytes: &Range<u64>, size: u64) {
        match op {
            Op::Write => self.map.set(granules(bytes), State::Top),
            Op::WriteZeroes { unmap } => {
                let (head, tail) = edges(bytes, size);
                for edge in [&head, &tail].into_iter().flatten() {
                    if self.state(edge.clone()).0 == State::Base && floor(edge.start) < self.base {
                        self.map.set(granules(edge), State::Top);
                    }
                }
                self.forget(bytes, size, unmap);
            }
            Op::Discard => self.forget(bytes, size, true),
            Op::Read | Op::Flush => {}
        }
    }

    /// Maps the granules that lie wholly in the range to zero. What the top holds of them can be given back later.
    fn forget(&mut self, bytes: &Range<u64>, size: u64, free: bool) {
        let (head, tail) = edges(bytes, size);
        let start = head.map_or(bytes.start, |edge| edge.end);
        let end = tail.map_or(bytes.end, |edge| edge.start);
        let mut at = start;
        while at < end {
            let (state, to) = self.state(at..end);
            let run = at..to;
            match state {
                // Zero already, as far as anybody can see.
                State::Base if run.start >= self.base => {}
                State::Zero | State::Lost => {}
                State::Base => self.map.set(granules(&run), State::Zero),
                State::Top => {
                    self.map.set(granules(&run), State::Zero);
                    if free {
                        self.flushes.zeroed(granules(&run));
                    }
                }
            }
            at = to;
        }
    }
}

type Edges = (Option<Range<u64>>, Option<Range<u64>>);

fn length(bytes: &Range<u64>) -> u64 {
    bytes.end.saturating_sub(bytes.start)
}

/// Where the granule of this byte begins.
fn floor(offset: u64) -> u64 {
    offset & !(GRANULE - 1)
}

/// The parts of the range that cover a granule only in part, at its start and at its end. A range within one
/// granule is all head. The volume's last granule may be short: it ends where the volume does.
fn edges(bytes: &Range<u64>, size: u64) -> Edges {
    let first_end = (bytes.start / GRANULE).saturating_add(1).saturating_mul(GRANULE).min(size);
    let last_start = floor(bytes.end);
    let head_end = first_end.min(bytes.end);
    let starts_inside = !bytes.start.is_multiple_of(GRANULE);
    let head = (starts_inside || bytes.end < first_end).then_some(bytes.start..head_end);
    let ends_inside = bytes.end != last_start && bytes.end != size;
    let tail = (ends_inside && last_start >= head_end).then_some(last_start..bytes.end);
    (head, tail)
}
