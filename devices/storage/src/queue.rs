//! A volume's queue: batches of requests in, completions out. Each request is an allegation of the guest's until it
//! was checked here against the volume's size and its own buffers.

use crate::volume::Shared;
use ami_run_memory::Buffers;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    Read,
    Write,
    /// Answered when every write that was answered before, by any queue, is on stable storage.
    Flush,
    /// `unmap`: the space may be given back to the host.
    WriteZeroes {
        unmap: bool,
    },
    /// The content is not needed any more. Whole granules of 4 KiB read as zeroes then; what is left of the range
    /// stays.
    Discard,
}

/// One request, in bytes of the volume. `Flush` takes no range, and only `Read` and `Write` take buffers, of at
/// least `len` bytes.
#[derive(Debug)]
pub struct Request {
    /// Comes back in the completion.
    pub id: u32,
    pub op: Op,
    pub offset: u64,
    pub len: u64,
    /// Answer only when this very request is on stable storage (FUA).
    pub durable: bool,
    pub buffers: Option<Buffers>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Completion {
    pub id: u32,
    pub result: Result<(), Fault>,
}

/// Why a request failed, as far as it is the guest's business. The cause is in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Not in the volume, or the buffers are shorter than the range.
    OutOfRange,
    /// The host has no space left for it.
    NoSpace,
    Io,
}

#[derive(Debug, thiserror::Error)]
enum Cause {
    #[error("it is not in the volume's {0} bytes")]
    OutsideVolume(u64),
    #[error("its buffers are too short")]
    OutsideBuffers,
    #[error("an earlier flush failed, so that what the volume holds is unknown")]
    Broken,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Cause {
    fn fault(&self) -> Fault {
        match self {
            Cause::OutsideVolume(_) | Cause::OutsideBuffers => Fault::OutOfRange,
            Cause::Io(cause) if is_full(cause) => Fault::NoSpace,
            Cause::Broken | Cause::Io(_) => Fault::Io,
        }
    }
}

fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// One thread's way to a volume: requests in, completions out, in whatever order they finish.
#[derive(Debug)]
pub struct Queue {
    volume: Arc<Shared>,
    done: Vec<Completion>,
    /// When the last fault was logged: a guest that fails at will must not fill the log.
    logged: Option<Instant>,
}

impl Queue {
    pub(crate) fn new(volume: Arc<Shared>) -> Queue {
        Queue { volume, done: Vec::new(), logged: None }
    }

    /// Takes all requests out of `batch` and begins them. Each comes back by [`Queue::reap`], once.
    pub fn submit(&mut self, batch: &mut Vec<Request>) {
        for request in batch.drain(..) {
            let result = carry_out(&self.volume, &request).map_err(|cause| self.told(&request, &cause));
            self.done.push(Completion { id: request.id, result });
        }
    }

    /// Adds to `done` what has finished by now. Never waits.
    pub fn reap(&mut self, done: &mut Vec<Completion>) {
        done.append(&mut self.done);
    }

    /// True while nothing is at work here: neither a request that was submitted, nor anything that another queue
    /// waits for.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.done.is_empty()
    }

    /// Sleeps until something may have finished or `bell` is readable; true: it is. The bell is the caller's to
    /// read, and is the same one in every call.
    pub fn wait(&mut self, bell: BorrowedFd<'_>) -> io::Result<bool> {
        let timeout = (!self.done.is_empty()).then_some(&Timespec { tv_sec: 0, tv_nsec: 0 });
        let mut fds = [PollFd::from_borrowed_fd(bell, PollFlags::IN)];
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::INTR) => Ok(fds.iter().any(|fd| !fd.revents().is_empty())),
            Err(cause) => Err(cause.into()),
        }
    }

    /// Logs a cause, at most one a second.
    fn told(&mut self, request: &Request, cause: &Cause) -> Fault {
        if self.logged.is_none_or(|last| last.elapsed() >= Duration::from_secs(1)) {
            self.logged = Some(Instant::now());
            let Request { op, offset, len, .. } = request;
            log::warn!(
                "volume on {}: {op:?} of {len} bytes at {offset}: {cause}",
                self.volume.path().display()
            );
        }
        cause.fault()
    }
}

fn carry_out(volume: &Shared, request: &Request) -> Result<(), Cause> {
    if request.op != Op::Read && volume.top().has_failed() {
        return Err(Cause::Broken);
    }
    if request.op == Op::Flush {
        return Ok(volume.top().flush()?);
    }
    let bytes = range(request, volume.size())?;
    if !bytes.is_empty() {
        match request.op {
            Op::Read => volume.read(&bytes, buffers(request)?)?,
            Op::Write => volume.write(&bytes, buffers(request)?)?,
            Op::WriteZeroes { unmap } => volume.zero(&bytes, unmap)?,
            Op::Discard => volume.discard(&bytes),
            Op::Flush => {}
        }
    }
    if request.durable && request.op != Op::Read {
        volume.top().flush()?;
    }
    Ok(())
}

fn range(request: &Request, size: u64) -> Result<Range<u64>, Cause> {
    match request.offset.checked_add(request.len) {
        Some(end) if end <= size => Ok(request.offset..end),
        _ => Err(Cause::OutsideVolume(size)),
    }
}

fn buffers(request: &Request) -> Result<&Buffers, Cause> {
    match &request.buffers {
        Some(held) if held.len() >= request.len => Ok(held),
        _ => Err(Cause::OutsideBuffers),
    }
}
