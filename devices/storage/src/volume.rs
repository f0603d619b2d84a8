//! One volume: base, top and the map between them.
//!
//! Order, so that no queue ever sees a half-made granule: data reaches the top before the map says so, and a hole
//! is punched after the map says zero. Reads, and writes where all granules are in the top already, take no lock
//! over their I/O. Whatever changes the map is done by one queue at a time. (A write in place that overlaps a discard
//! by another queue may reach a granule that is zero by then: its bytes are never seen, as if it had come first.)

use crate::base::Base;
use crate::map::{GRANULE, Map, State};
use crate::queue::Queue;
use crate::top::Top;
use crate::{SECTOR, StorageError};
use ami_run_memory::Buffers;
use parking_lot::{Mutex, RwLock};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

/// Room for one granule, to merge a smaller write with what was there.
type Granule = [u8; 4096];

/// One disk of one instance. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Volume {
    pub(crate) shared: Arc<Shared>,
}

#[derive(Debug)]
pub(crate) struct Shared {
    base: Base,
    top: Top,
    size: u64,
    map: RwLock<Map>,
    /// Held for the whole of every request that changes the map.
    changing: Mutex<Granule>,
}

impl Volume {
    /// A volume with an empty private top, in a file without a name in `folder`. A `size` above the base's gives
    /// zeroes after it.
    pub fn temporary(base: Base, size: Option<u64>, folder: &Path) -> Result<Volume, StorageError> {
        let size = size.unwrap_or(base.size());
        if size < base.size() {
            return Err(StorageError::TooSmall { path: base.path().to_owned(), size, base: base.size() });
        }
        if !size.is_multiple_of(SECTOR) {
            return Err(StorageError::OddVolume { size });
        }
        let top = Top::temporary(folder, size)?;
        let map = RwLock::new(Map::default());
        let changing = Mutex::new([0; 4096]);
        Ok(Volume { shared: Arc::new(Shared { base, top, size, map, changing }) })
    }

    /// In bytes, a multiple of 512.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shared.size
    }

    /// A way to submit requests, one for each thread that does.
    #[must_use]
    pub fn queue(&self) -> Queue {
        Queue::new(Arc::clone(&self.shared))
    }
}

// Offsets below are inside the volume: the queue has checked each request, so saturating sums are exact sums.
impl Shared {
    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn path(&self) -> &Path {
        self.base.path()
    }

    pub(crate) fn top(&self) -> &Top {
        &self.top
    }

    pub(crate) fn read(&self, bytes: &Range<u64>, buffers: &Buffers) -> io::Result<()> {
        let mut at = bytes.start;
        while at < bytes.end {
            let (state, end) = self.run(at..bytes.end);
            let (start, len) = (at.saturating_sub(bytes.start), end.saturating_sub(at));
            match state {
                State::Base => self.base.read(buffers, start, len, at)?,
                State::Top => buffers.fill_from(start, len, self.top.file(), at)?,
                State::Zero => buffers.zero(start, len)?,
            }
            at = end;
        }
        Ok(())
    }

    pub(crate) fn write(&self, bytes: &Range<u64>, buffers: &Buffers) -> io::Result<()> {
        if self.run(bytes.clone()) == (State::Top, bytes.end) {
            buffers.drain_to(0, length(bytes), self.top.file(), bytes.start)?;
        } else {
            self.first_touch(bytes, buffers)?;
        }
        self.top.changed();
        Ok(())
    }

    /// A write with granules that are not in the top yet. Those that it covers in part are merged with what was
    /// there; all between goes to the top in one piece.
    fn first_touch(&self, bytes: &Range<u64>, buffers: &Buffers) -> io::Result<()> {
        let mut scratch = self.changing.lock();
        let (head, tail) = edges(bytes, self.size);
        let mut whole = bytes.clone();
        for edge in [&head, &tail].into_iter().flatten() {
            if self.state(edge.start) == State::Top {
                continue;
            }
            self.merge(&mut scratch, edge, |part| buffers.get(edge.start.saturating_sub(bytes.start), part))?;
            if edge.start == whole.start {
                whole.start = edge.end;
            } else {
                whole.end = edge.start;
            }
        }
        if !whole.is_empty() {
            let start = whole.start.saturating_sub(bytes.start);
            buffers.drain_to(start, length(&whole), self.top.file(), whole.start)?;
        }
        self.map.write().set(granules(bytes), State::Top);
        Ok(())
    }

    /// Takes a granule into the top that is not there yet: `part` of it as `fill` says, the rest as it was.
    fn merge(
        &self,
        scratch: &mut Granule,
        part: &Range<u64>,
        fill: impl FnOnce(&mut [u8]) -> io::Result<()>,
    ) -> io::Result<()> {
        let start = floor(part.start);
        if self.state(start) == State::Base {
            self.base.read_bytes(scratch, start)?;
        } else {
            scratch.fill(0);
        }
        let place = |at: u64| usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
        fill(scratch.get_mut(place(part.start)..place(part.end)).unwrap_or_default())?;
        let end = place(self.size).min(scratch.len());
        self.top.file().write_all_at(scratch.get(..end).unwrap_or_default(), start)
    }

    /// Makes the range read as zeroes; with `free` its space in the top is given back.
    pub(crate) fn zero(&self, bytes: &Range<u64>, free: bool) -> io::Result<()> {
        let mut scratch = self.changing.lock();
        let (head, tail) = edges(bytes, self.size);
        for edge in [&head, &tail].into_iter().flatten() {
            match self.state(edge.start) {
                State::Zero => {}
                State::Base => {
                    self.merge(&mut scratch, edge, |part| {
                        part.fill(0);
                        Ok(())
                    })?;
                    self.map.write().set(granules(edge), State::Top);
                }
                // Only these bytes: another queue may be writing the granule's others at this moment.
                State::Top => {
                    let zeroes = vec![0; usize::try_from(length(edge)).unwrap_or_default()];
                    self.top.file().write_all_at(&zeroes, edge.start)?;
                }
            }
        }
        self.forget(bytes, free);
        self.top.changed();
        Ok(())
    }

    /// Makes the granules that lie wholly in the range read as zeroes and gives their space back. The guest has
    /// said that it does not need them: parts of granules stay as they are.
    pub(crate) fn discard(&self, bytes: &Range<u64>) {
        let _one_at_a_time = self.changing.lock();
        self.forget(bytes, true);
        self.top.changed();
    }

    /// Maps the granules that lie wholly in the range to zero.
    fn forget(&self, bytes: &Range<u64>, free: bool) {
        let (head, tail) = edges(bytes, self.size);
        let start = head.map_or(bytes.start, |edge| edge.end);
        let end = tail.map_or(bytes.end, |edge| edge.start);
        if start >= end {
            return;
        }
        let held = free && self.holds_top(start..end);
        self.map.write().set(granules(&(start..end)), State::Zero);
        if held {
            self.top.punch(start, length(&(start..end)));
        }
    }

    fn holds_top(&self, bytes: Range<u64>) -> bool {
        let mut at = bytes.start;
        while at < bytes.end {
            let (state, end) = self.run(at..bytes.end);
            if state == State::Top {
                return true;
            }
            at = end;
        }
        false
    }

    fn state(&self, offset: u64) -> State {
        self.run(offset..offset.saturating_add(1)).0
    }

    /// The state of the first byte, and where in the range bytes in this state end.
    fn run(&self, bytes: Range<u64>) -> (State, u64) {
        let (state, end) = self.map.read().run(granules(&bytes));
        (state, end.saturating_mul(GRANULE).min(bytes.end))
    }
}

fn length(bytes: &Range<u64>) -> u64 {
    bytes.end.saturating_sub(bytes.start)
}

/// Where the granule of this byte begins.
fn floor(offset: u64) -> u64 {
    offset & !(GRANULE - 1)
}

/// The granules that a range touches.
fn granules(bytes: &Range<u64>) -> Range<u64> {
    bytes.start / GRANULE..bytes.end.div_ceil(GRANULE)
}

/// The parts of the range that cover a granule only in part, at its start and at its end. A range within one
/// granule is all head. The volume's last granule may be short: it ends where the volume does.
fn edges(bytes: &Range<u64>, size: u64) -> (Option<Range<u64>>, Option<Range<u64>>) {
    let first_end = (bytes.start / GRANULE).saturating_add(1).saturating_mul(GRANULE).min(size);
    let last_start = floor(bytes.end);
    let head_end = first_end.min(bytes.end);
    let starts_inside = !bytes.start.is_multiple_of(GRANULE);
    let head = (starts_inside || bytes.end < first_end).then_some(bytes.start..head_end);
    let ends_inside = bytes.end != last_start && bytes.end != size;
    let tail = (ends_inside && last_start >= head_end).then_some(last_start..bytes.end);
    (head, tail)
}
