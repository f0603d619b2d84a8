//! The threads that fetch.

use super::Fetchers;
use super::entry::Entry;
use super::present::Present;
use super::work::{Class, Outcome, Step, Work};
use crate::identity::Identity;
use crate::source::{BLOCK, Content, Fetch};
use parking_lot::{Condvar, Mutex};
use rustix::fs::{FallocateFlags, fallocate, fstatvfs};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// How many blocks, and for how long, may be there without the sidecar saying so for good.
const UNSAID: usize = 128;
const UNSAID_FOR: Duration = Duration::from_secs(3);
/// After how long a block that another process is fetching is fetched here, too: it may stand still.
const PATIENCE: Duration = Duration::from_secs(30);
/// What nobody waits for is fetched only while this much, or an eighth of its file system, is left to others.
const SPARE: u64 = 1 << 30;
/// How often it is tried to say so, while others do.
const TRIES: u32 = 100;

/// What the threads and their readers share.
pub(super) struct Shared {
    pub(super) entry: Entry,
    pub(super) present: Present,
    pub(super) identity: Identity,
    pub(super) size: u64,
    pub(super) folder: PathBuf,
    pub(super) fetchers: Fetchers,
    pub(super) state: Mutex<State>,
    /// Rings when there is work for a thread that waits.
    pub(super) bell: Condvar,
    /// Those of threads that have gone.
    pub(super) spare: Mutex<Vec<Box<dyn Fetch>>>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) work: Work,
    pub(super) threads: usize,
    /// How many of them wait.
    pub(super) idle: usize,
    /// What the sidecar doesn't say for good yet, and since when.
    unsaid: Vec<u64>,
    since: Option<Instant>,
}

/// What a thread does next.
enum Task {
    Fetch(u64, Class, Option<Instant>),
    Commit(Vec<u64>),
    End,
}

impl Shared {
    pub(super) fn stop(&self) {
        self.state.lock().work.stop();
        self.bell.notify_all();
    }

    /// One thread, while there is something to do.
    pub(super) fn run(&self) {
        let mut fetcher = None;
        let mut buffer = vec![0; usize::try_from(BLOCK).unwrap_or_default()];
        loop {
            match self.next() {
                Task::Fetch(block, class, since) => {
                    let outcome = if class != Class::Demand && !self.has_room() {
                        self.state.lock().work.leave_rest();
                        Outcome::Elsewhere
                    } else {
                        self.obtain(block, since, &mut fetcher, &mut buffer)
                            .unwrap_or_else(|cause| self.failed(cause))
                    };
                    let now = Instant::now();
                    let wakers = self.state.lock().work.finish(block, since, outcome, now, &self.present);
                    wakers.iter().for_each(|waker| waker.wake());
                }
                Task::Commit(blocks) => self.commit(blocks),
                Task::End => break,
            }
        }
        self.spare.lock().extend(fetcher);
    }

    fn next(&self) -> Task {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            let waited = state.since.map(|since| now.saturating_duration_since(since));
            if state.unsaid.len() >= UNSAID || waited.is_some_and(|waited| waited >= UNSAID_FOR) {
                return Task::Commit(state.take_unsaid());
            }
            match state.work.next(now, &self.present) {
                Step::Fetch { block, class, since } => return Task::Fetch(block, class, since),
                // One that waits is enough.
                Step::Wait(time) if state.idle == 0 => {
                    let time = waited.map_or(time, |waited| time.min(UNSAID_FOR.saturating_sub(waited)));
                    state.idle = state.idle.saturating_add(1);
                    self.bell.wait_for(&mut state, time);
                    state.idle = state.idle.saturating_sub(1);
                }
                Step::Done | Step::Wait(_) if state.unsaid.is_empty() => {
                    state.threads = state.threads.saturating_sub(1);
                    return Task::End;
                }
                Step::Done | Step::Wait(_) => return Task::Commit(state.take_unsaid()),
            }
        }
    }

    /// Sees to it that a block is there.
    fn obtain(
        &self,
        block: u64,
        since: Option<Instant>,
        fetcher: &mut Option<Box<dyn Fetch>>,
        buffer: &mut [u8],
    ) -> io::Result<Outcome> {
        let held = self.entry.sidecar.lock_block(block)?;
        self.absorb(block)?;
        if self.present.has(block) {
            return Ok(Outcome::Present);
        }
        if held.is_none() && since.is_none_or(|since| since.elapsed() < PATIENCE) {
            return Ok(Outcome::Elsewhere);
        }
        let offset = block.saturating_mul(BLOCK);
        let len = usize::try_from(self.size.saturating_sub(offset).min(BLOCK)).map_err(io::Error::other)?;
        let bytes = buffer.get_mut(..len).unwrap_or_default();
        let spare = || self.spare.lock().pop();
        let mut taken = fetcher.take().or_else(spare).unwrap_or_else(|| (self.fetchers)());
        // Parsers of others' formats by others: should one panic, its reader gets an error.
        let fetch = AssertUnwindSafe(|| taken.fetch(offset, bytes));
        let content = catch_unwind(fetch).map_err(|_| io::Error::other("its reader failed by a bug"))??;
        *fetcher = Some(taken);
        if content == Content::Data && bytes.iter().any(|byte| *byte != 0) {
            self.entry.data.write_all_at(bytes, offset).inspect_err(|_| self.punch(offset, len))?;
        }
        self.entry.sidecar.set_live(block, self.present.count(), true)?;
        self.arrived(block);
        Ok(Outcome::Present)
    }

    /// Takes note of what other processes have fetched.
    fn absorb(&self, block: u64) -> io::Result<()> {
        self.entry.sidecar.live_near(block, self.present.count(), |block| self.arrived(block))
    }

    fn arrived(&self, block: u64) {
        if self.present.set(block) {
            let mut state = self.state.lock();
            state.unsaid.push(block);
            state.since.get_or_insert_with(Instant::now);
        }
    }

    /// What was written of a block before the disk was full helps nobody.
    fn punch(&self, offset: u64, len: usize) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let len = u64::try_from(len).unwrap_or_default();
        fallocate(&self.entry.data, flags, offset, len).unwrap_or_default();
    }

    /// False: what nobody waits for would take the space that others need.
    fn has_room(&self) -> bool {
        fstatvfs(&self.entry.data).is_ok_and(|about| {
            let [free, all] =
                [about.f_bavail, about.f_blocks].map(|count| count.saturating_mul(about.f_frsize));
            free >= SPARE.min(all / 8).max(BLOCK.saturating_mul(4))
        })
    }

    /// Says for good that blocks are there, once they are.
    fn commit(&self, mut blocks: Vec<u64>) {
        let data = &self.entry.data;
        if let Err(cause) = data.sync_data() {
            // The kernel forgets what it could not write: none of it may be taken for right.
            log::warn!("the cache of {} lost blocks, which are fetched again: {cause}", self.name());
            for block in blocks {
                self.entry.sidecar.set_live(block, self.present.count(), false).unwrap_or_default();
                self.present.clear(block);
            }
            return;
        }
        // What was fetched since may be of another disk; its identity's name is never asked for again.
        if !self.identity.is_untouched() {
            return;
        }
        for _ in 0..TRIES {
            match self.entry.sidecar.set_bits(&mut blocks) {
                Ok(true) => return,
                // Another process is saying something.
                Ok(false) => sleep(Duration::from_millis(5)),
                Err(cause) => {
                    log::debug!("what was fetched of {} will be fetched again: {cause}", self.name());
                    return;
                }
            }
        }
    }

    /// A full host is its reader's I/O error, and no sign that the reader's own disk is full.
    fn failed(&self, cause: io::Error) -> Outcome {
        Outcome::Failed(match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                io::Error::other(format!("the cache has no room in {}: {cause}", self.folder.display()))
            }
            _ => cause,
        })
    }

    fn name(&self) -> String {
        self.identity.paths().next().unwrap_or_default().display().to_string()
    }
}

impl State {
    fn take_unsaid(&mut self) -> Vec<u64> {
        self.since = None;
        std::mem::take(&mut self.unsaid)
    }
}
