//! A volume for tests: a real one, whose queues' completions can be held back, given in any order, and turned into
//! faults.

use crate::irq::Bell;
use crate::irq::fake::wait_until;
use ami_run_storage::{Base, Completion, Fault, Op, Request};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, poll};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct Volume {
    inner: ami_run_storage::Volume,
    pub(crate) hold: Arc<Hold>,
}

impl Volume {
    /// Sector n of so many is full of the byte n; behind them are zeroes, up to `size`.
    pub(crate) fn new(sectors: u64, size: Option<u64>) -> Volume {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        let content: Vec<u8> = (0..sectors).flat_map(|sector| [sector.to_le_bytes()[0]; 512]).collect();
        file.write_all(&content).unwrap();
        let base = Base::open(file.path()).unwrap();
        let inner = ami_run_storage::Volume::temporary(base, size, &std::env::temp_dir()).unwrap();
        Volume { inner, hold: Arc::default() }
    }

    pub(crate) fn size(&self) -> u64 {
        self.inner.size()
    }

    pub(crate) fn queue(&self) -> Queue {
        let news = Arc::new(Bell::new().unwrap());
        let mut state = self.hold.0.lock();
        state.queues.push(Arc::clone(&news));
        let number = state.queues.len() - 1;
        Queue { inner: self.inner.queue(), hold: Arc::clone(&self.hold), number, news, open: Vec::new() }
    }
}

/// What holds the completions of a volume back.
#[derive(Debug, Default)]
pub(crate) struct Hold(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    closed: bool,
    parked: Vec<Parked>,
    given: Vec<(usize, Completion)>,
    queues: Vec<Arc<Bell>>,
}

/// A request that is finished and has not been told to be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Parked {
    queue: usize,
    pub(crate) op: Op,
    pub(crate) offset: u64,
    completion: Completion,
}

impl Hold {
    /// From now on nothing comes back.
    pub(crate) fn close(&self) {
        self.0.lock().closed = true;
    }

    /// From now on all comes back at once, and what was held does now.
    pub(crate) fn open(&self) {
        self.0.lock().closed = false;
        while !self.parked().is_empty() {
            self.give(0);
        }
    }

    /// What is held back now, in the order in which it was finished.
    pub(crate) fn parked(&self) -> Vec<Parked> {
        self.0.lock().parked.clone()
    }

    /// Waits until this many are held back.
    pub(crate) fn wait_for(&self, count: usize) {
        wait_until("requests at the disk", || self.parked().len() >= count);
        assert_eq!(self.parked().len(), count);
    }

    /// Gives one of them back.
    pub(crate) fn give(&self, place: usize) {
        let result = self.parked()[place].completion.result;
        self.give_as(place, result);
    }

    /// The same, with another result.
    pub(crate) fn give_as(&self, place: usize, result: Result<(), Fault>) {
        let mut state = self.0.lock();
        let Parked { queue, completion, .. } = state.parked.remove(place);
        state.given.push((queue, Completion { result, ..completion }));
        state.queues[queue].ring();
    }
}

#[derive(Debug)]
pub(crate) struct Queue {
    inner: ami_run_storage::Queue,
    hold: Arc<Hold>,
    number: usize,
    news: Arc<Bell>,
    /// What was submitted and is not finished.
    open: Vec<(u32, Op, u64)>,
}

impl Queue {
    pub(crate) fn submit(&mut self, batch: &mut Vec<Request>) {
        self.open.extend(batch.iter().map(|request| (request.id, request.op, request.offset)));
        self.inner.submit(batch);
    }

    pub(crate) fn reap(&mut self, done: &mut Vec<Completion>) {
        let mut finished = Vec::new();
        self.inner.reap(&mut finished);
        let mut state = self.hold.0.lock();
        for completion in finished {
            let place = self.open.iter().position(|(id, ..)| *id == completion.id).unwrap();
            let (_, op, offset) = self.open.remove(place);
            if state.closed {
                state.parked.push(Parked { queue: self.number, op, offset, completion });
            } else {
                done.push(completion);
            }
        }
        state.given.retain(|(queue, completion)| {
            if *queue == self.number {
                done.push(*completion);
            }
            *queue != self.number
        });
    }

    pub(crate) fn is_idle(&self) -> bool {
        let state = self.hold.0.lock();
        let held = state.parked.iter().map(|parked| parked.queue);
        let mut waiting = held.chain(state.given.iter().map(|(queue, _)| *queue));
        self.inner.is_idle() && !waiting.any(|queue| queue == self.number)
    }

    pub(crate) fn run_out(&mut self, done: &mut Vec<Completion>) -> io::Result<()> {
        let silence = Bell::new()?;
        self.reap(done);
        while !self.is_idle() {
            self.wait(silence.as_fd())?;
            self.reap(done);
        }
        Ok(())
    }

    pub(crate) fn wait(&mut self, bell: BorrowedFd<'_>) -> io::Result<bool> {
        if !self.inner.is_idle() {
            return self.inner.wait(bell);
        }
        let mut fds = [PollFd::new(&bell, PollFlags::IN), PollFd::new(&*self.news, PollFlags::IN)];
        poll(&mut fds, None)?;
        let [rung, news] = fds.map(|fd| !fd.revents().is_empty());
        if news {
            self.news.take();
        }
        Ok(rung)
    }
}
