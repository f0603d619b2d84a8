//! One thread's way to a volume: requests in, completions out, in whatever order they finish. The engine decides, under
//! a lock that is never held over I/O; here its I/O is begun and brought back to it.
//!
//! What one queue's request waited for may be carried out by the thread that ended the wait: so a queue is idle only when
//! its I/O for others is done as well. A queue belongs to the thread that uses it first.

use crate::engine::{Completion, Fault, Io, Owner, QueueId, Request, Work};
use crate::plain;
use crate::ring::Ring;
use crate::volume::Shared;
use crate::waker::Waker;
use std::io;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long what was written may stay unflushed, when nobody asks: it bounds what a crash can take.
const BEHIND: Duration = Duration::from_secs(2);

/// A ring costs as much as some hundred small reads: what is hardly used does without.
const FEW: u32 = 16;

/// How often who never sleeps looks after what a sleep sees to.
const LOOK: Duration = Duration::from_millis(1);

/// I/O that came back.
type Came = (Owner, Io, io::Result<()>);

#[derive(Debug)]
enum Backend {
    /// So much I/O was done, by pread and pwrite.
    New(u32),
    Ring(Box<Ring>),
    Plain,
}

#[derive(Debug)]
pub struct Queue {
    volume: Arc<Shared>,
    number: QueueId,
    /// None: the host gives nothing to sleep on, so every request fails.
    waker: Option<Arc<Waker>>,
    backend: Backend,
    /// Requests that were submitted and not reaped.
    open: usize,
    finished: Vec<Completion>,
    came: Vec<Came>,
    work: Vec<Work>,
    /// I/O on blocks of the base that are not there yet.
    parked: Vec<(Owner, Io)>,
    /// Since when something is unflushed, as far as this queue has seen.
    behind: Option<Instant>,
    /// What was begun is left to the next wait, which takes it to the kernel.
    left: bool,
    /// When this was looked at last: what is parked, and what is unflushed.
    looked: Instant,
    /// When the last fault was logged: a guest that fails at will must not fill the log.
    logged: Option<Instant>,
}

impl Queue {
    pub(crate) fn new(volume: Arc<Shared>) -> Queue {
        let waker = Waker::new().map(Arc::new);
        let waker =
            waker.inspect_err(|cause| log::error!("volume {}: a queue fails: {cause}", volume.name())).ok();
        let number = volume.join(waker.as_ref());
        Queue {
            volume,
            number,
            waker,
            backend: Backend::New(0),
            open: 0,
            finished: Vec::new(),
            came: Vec::new(),
            work: Vec::new(),
            parked: Vec::new(),
            behind: None,
            left: false,
            looked: Instant::now(),
            logged: None,
        }
    }

    /// Takes all requests out of `batch`. Each comes back by [`Queue::reap`], once. They reach the kernel by the next
    /// [`Queue::wait`], in one system call with it, or by [`Queue::reap`] if its caller does not seem to wait.
    pub fn submit(&mut self, batch: &mut Vec<Request>) {
        self.open = self.open.saturating_add(batch.len());
        if self.waker.is_none() {
            let failed = |request: Request| Completion { id: request.id, result: Err(Fault::Io) };
            self.finished.extend(batch.drain(..).map(failed));
            return;
        }
        for request in batch.drain(..) {
            // For each anew: a discard of much takes its time, and others want to go on.
            self.volume.engine().submit(self.number, request, &mut self.work);
        }
        self.go_on();
    }

    /// Adds to `done` what has finished by now. Never waits.
    pub fn reap(&mut self, done: &mut Vec<Completion>) {
        self.collect();
        // Who is given nothing will wait. Who is given something has that to do first, and who comes a second time
        // does not wait.
        let will_wait = self.finished.is_empty() && !self.left;
        if !will_wait {
            self.look_after();
            self.hand_over();
        }
        self.left = will_wait;
        self.open = self.open.saturating_sub(self.finished.len());
        done.append(&mut self.finished);
    }

    /// True while nothing is at work here: neither a request that was submitted and not reaped, nor anything that
    /// another queue waits for.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.open == 0 && self.at_work() == 0
    }

    fn at_work(&self) -> usize {
        let begun = if let Backend::Ring(ring) = &self.backend { ring.at_work() } else { 0 };
        begun.saturating_add(self.parked.len()).saturating_add(self.came.len())
    }

    /// Sleeps until something may have finished or `bell` is readable; true: it is. The bell is the caller's to
    /// read, and is the same one in every call.
    pub fn wait(&mut self, bell: BorrowedFd<'_>) -> io::Result<bool> {
        self.sleep(Some(bell))
    }

    /// Sleeps until every request has finished, and adds them to `done`.
    pub fn run_out(&mut self, done: &mut Vec<Completion>) -> io::Result<()> {
        self.reap(done);
        while !self.is_idle() {
            self.sleep(None)?;
            self.reap(done);
        }
        Ok(())
    }

    fn sleep(&mut self, bell: Option<BorrowedFd<'_>>) -> io::Result<bool> {
        self.left = false;
        if matches!(&self.backend, Backend::Ring(ring) if ring.is_behind()) {
            self.hand_over();
        }
        let most = if self.finished.is_empty() { self.time_to_epoch() } else { Some(Duration::ZERO) };
        let waker = self.waker.clone();
        let fds = [bell, waker.as_ref().map(|waker| waker.as_fd())];
        let [rung, woken] = match &mut self.backend {
            Backend::Ring(ring) => ring.wait(fds, most)?,
            _ => plain::sleep(fds, most)?,
        };
        if let (true, Some(waker)) = (woken, waker) {
            waker.take();
            self.retry();
        }
        self.collect();
        self.begin_epoch();
        Ok(rung)
    }

    /// Brings back what has come, from the ring and from other threads.
    fn collect(&mut self) {
        if let Backend::Ring(ring) = &mut self.backend {
            ring.reap(&mut self.came);
        }
        self.go_on();
        self.volume.take_mail(self.number, &mut self.finished);
    }

    /// Blocks of the base have come: what waits for them may begin.
    fn retry(&mut self) {
        for (owner, io) in std::mem::take(&mut self.parked) {
            self.begin(owner, io);
        }
    }

    /// What [`Queue::sleep`] sees to, for who is given so much to do that it never sleeps.
    fn look_after(&mut self) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        self.retry();
        self.time_to_epoch();
        self.begin_epoch();
        self.go_on();
    }

    /// Does what the engine wants until it wants no more.
    fn go_on(&mut self) {
        loop {
            let mut todo = std::mem::take(&mut self.work);
            for work in todo.drain(..) {
                self.carry_out(work);
            }
            // Nothing above wants more work, so its room is used again.
            self.work = todo;
            if self.came.is_empty() {
                return;
            }
            let mut engine = self.volume.engine();
            for (owner, io, result) in self.came.drain(..) {
                engine.finished(owner, io, result, &mut self.work);
            }
        }
    }

    /// Gives the kernel what was begun, now.
    fn hand_over(&mut self) {
        if let Backend::Ring(ring) = &mut self.backend {
            ring.submit(&mut self.came);
        }
        if !self.came.is_empty() {
            self.go_on();
        }
    }

    fn carry_out(&mut self, work: Work) {
        match work {
            Work::Begin(owner, io) => self.begin(owner, io),
            Work::Done { queue, id, op, bytes, result } => {
                if let Err(cause) = &result {
                    let len = bytes.end.saturating_sub(bytes.start);
                    self.log(&format_args!("{op:?} of {len} bytes at {}: {cause}", bytes.start));
                }
                self.answer(queue, Completion { id, result: result.map_err(|cause| cause.fault()) });
            }
            Work::Failed(cause) => log::error!(
                "volume {}: a flush failed, so it takes no more writes until it is opened again: {cause}",
                self.volume.name()
            ),
        }
    }

    fn answer(&mut self, queue: QueueId, completion: Completion) {
        if queue == self.number {
            self.finished.push(completion);
        } else {
            self.volume.send(queue, completion);
        }
    }

    fn begin(&mut self, owner: Owner, mut io: Io) {
        match self.prepare(&io) {
            Ok(true) => {}
            Ok(false) => return self.parked.push((owner, io)),
            Err(cause) => return self.came.push((owner, io, Err(cause))),
        }
        // What only concerns memory takes no detour.
        if !matches!(io, Io::Zero(_)) {
            self.choose_backend();
            if let Backend::Ring(ring) = &mut self.backend {
                return ring.begin(owner, io, &mut self.came);
            }
        }
        let result = plain::carry_out(&self.volume.files, &mut io);
        self.came.push((owner, io, result));
    }

    /// Whether the part of the base that is to be read is there.
    fn prepare(&self, io: &Io) -> io::Result<bool> {
        let Some(waker) = &self.waker else { return Ok(true) };
        let (offset, len) = match io {
            Io::ReadBase(piece, offset) => (*offset, piece.len),
            Io::ReadGranule(merge, len) => (merge.offset, *len as u64),
            _ => return Ok(true),
        };
        self.volume.files.base.prepare(offset..offset.saturating_add(len), waker)
    }

    fn choose_backend(&mut self) {
        let Backend::New(done) = &mut self.backend else { return };
        if *done < FEW {
            *done = done.saturating_add(1);
            return;
        }
        self.backend = match Ring::new(Arc::clone(&self.volume)) {
            Ok(ring) => Backend::Ring(Box::new(ring)),
            Err(cause) => {
                log::debug!("no io_uring, so disks go by pread and pwrite: {cause}");
                Backend::Plain
            }
        };
    }

    fn time_to_epoch(&mut self) -> Option<Duration> {
        if !self.volume.engine().wants_epoch() {
            self.behind = None;
            return None;
        }
        let since = *self.behind.get_or_insert_with(Instant::now);
        Some(BEHIND.saturating_sub(since.elapsed()))
    }

    fn begin_epoch(&mut self) {
        if self.behind.is_some_and(|since| since.elapsed() >= BEHIND) {
            self.behind = None;
            self.volume.engine().begin_epoch(&mut self.work);
            self.go_on();
        }
    }

    /// Logs a fault, at most one a second.
    fn log(&mut self, what: &std::fmt::Arguments<'_>) {
        if self.logged.is_none_or(|last| last.elapsed() >= Duration::from_secs(1)) {
            self.logged = Some(Instant::now());
            log::warn!("volume {}: {what}", self.volume.name());
        }
    }
}

/// Waits for what is at work: memory is lent to it, and others may wait for it.
impl Drop for Queue {
    fn drop(&mut self) {
        while self.at_work() > 0 {
            if let Err(cause) = self.sleep(None) {
                log::error!("volume {}: a queue cannot be waited for: {cause}", self.volume.name());
                break;
            }
            self.collect();
        }
        self.volume.leave(self.number);
    }
}
