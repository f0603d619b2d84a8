//! Carries out I/O by an io_uring of the queue's own (one thread submits, completions are worked off when that thread
//! asks: SINGLE_ISSUER and DEFER_TASKRUN). Left out: registered buffers and files, polling for completions.
#![expect(unsafe_code, reason = "io_uring is given addresses")]

use crate::engine::{Granule, Io, Owner, Piece};
use crate::plain::{self, ALIGN, BOUNCE, bounce, bytes_of};
use crate::slab::Slab;
use crate::top::layout;
use crate::volume::{Files, Shared};
use io_uring::types::{Fd, FsyncFlags, SubmitArgs, Timespec};
use io_uring::{IoUring, opcode, squeue};
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

const ENTRIES: u32 = 128;
/// What allocates blocks of the top goes to a kernel thread each; no more of them than this.
const MOST_WORKERS: u32 = 8;
/// The most pieces of memory in one I/O: Linux's UIO_MAXIOV.
const MAX_PIECES: usize = 1024;
/// Completions that are no I/O: something to sleep on is readable.
const POLLS: [u64; 2] = [u64::MAX, u64::MAX - 1];

/// I/O that the kernel has, or will have soon.
struct Flight {
    owner: Owner,
    io: Io,
    /// What memory the kernel was given.
    vectors: Vec<libc::iovec>,
    /// That memory, where the request's own is not aligned.
    bounce: Vec<Granule>,
    /// Bytes that are done; short reads and writes go on there.
    done: u64,
    len: u64,
}

pub(crate) struct Ring {
    ring: IoUring,
    volume: Arc<Shared>,
    flights: Slab<Flight>,
    /// Flights that found the ring full.
    backlog: VecDeque<u32>,
    armed: [bool; 2],
    readable: [bool; 2],
    completions: Vec<(u64, i32)>,
}

impl std::fmt::Debug for Ring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ring").field("at_work", &self.flights.len()).finish_non_exhaustive()
    }
}

impl Ring {
    pub(crate) fn new(volume: Arc<Shared>) -> io::Result<Ring> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun().setup_taskrun_flag();
        // Linux 6.1 has these; before it, a plain ring does.
        let ring = builder.build(ENTRIES).or_else(|_| IoUring::new(ENTRIES))?;
        if !ring.params().is_feature_ext_arg() || !ring.params().is_feature_nodrop() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "this kernel's io_uring is too old"));
        }
        // An older kernel has as many as it likes.
        ring.submitter().register_iowq_max_workers(&mut [MOST_WORKERS, 0]).unwrap_or_default();
        Ok(Ring {
            ring,
            volume,
            flights: Slab::default(),
            backlog: VecDeque::new(),
            armed: [false; 2],
            readable: [false; 2],
            completions: Vec::new(),
        })
    }

    pub(crate) fn at_work(&self) -> usize {
        self.flights.len()
    }

    /// Takes I/O; it reaches the kernel with the next [`Ring::submit`] or [`Ring::wait`].
    pub(crate) fn begin(&mut self, owner: Owner, mut io: Io, came: &mut Vec<(Owner, Io, io::Result<()>)>) {
        let top = &self.volume.files.top;
        let filled = match &mut io {
            Io::Sync if !top.needs_sync() => return came.push((owner, io, Ok(()))),
            Io::WriteMap(..) if !top.keeps_map() => return came.push((owner, io, Ok(()))),
            Io::WriteGranule(merge) => plain::fill(merge),
            _ => Ok(()),
        };
        if let Err(cause) = filled {
            return came.push((owner, io, Err(cause)));
        }
        let len = match &io {
            Io::ReadBase(piece, _) | Io::ReadTop(piece, _) | Io::Write(piece, _) | Io::Zero(piece) => {
                piece.len
            }
            Io::ReadGranule(_, len) => *len as u64,
            Io::WriteGranule(merge) => merge.written.len() as u64,
            Io::ReadMap(..) => 4096,
            Io::WriteMap(_, bytes) => bytes.len() as u64,
            Io::Sync | Io::Punch(_) => 0,
        };
        let flight = Flight { owner, io, vectors: Vec::new(), bounce: Vec::new(), done: 0, len };
        let number = self.flights.insert(flight);
        self.push(number, came);
    }

    /// Hands a flight, or what is left of it, to the kernel.
    fn push(&mut self, number: u32, came: &mut Vec<(Owner, Io, io::Result<()>)>) {
        let Some(flight) = self.flights.get_mut(number) else { return };
        let entry = match flight.entry(&self.volume.files) {
            Ok(entry) => entry.user_data(u64::from(number)),
            Err(cause) => return self.land(number, Err(cause), came),
        };
        if !self.queue(&entry) {
            self.backlog.push_back(number);
        }
    }

    fn queue(&mut self, entry: &squeue::Entry) -> bool {
        for _ in 0..2 {
            // SAFETY: what the entry points to belongs to its flight, which is kept until its completion has come;
            // guest memory is kept alive by the flight's buffers, and the guest may change it at any time anyway.
            if unsafe { self.ring.submission().push(entry) }.is_ok() {
                return true;
            }
            if self.ring.submit().is_err() {
                break;
            }
        }
        false
    }

    /// Some of it found no place in the ring, so that [`Ring::wait`] will not take it along.
    pub(crate) fn is_behind(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Gives the kernel what it has not got.
    pub(crate) fn submit(&mut self, came: &mut Vec<(Owner, Io, io::Result<()>)>) {
        for number in std::mem::take(&mut self.backlog) {
            self.push(number, came);
        }
        if !self.ring.submission().is_empty() {
            // Should the kernel be out of memory now, the next wait tries again.
            self.ring.submit().map_or_else(|cause| log::debug!("io_uring: {cause}"), drop);
        }
    }

    /// Sleeps until I/O has come back, or one of these can be read, or so long.
    pub(crate) fn wait(
        &mut self,
        [bell, waker]: [Option<BorrowedFd<'_>>; 2],
        most: Option<Duration>,
    ) -> io::Result<[bool; 2]> {
        for (slot, fd) in [bell, waker].into_iter().enumerate() {
            let (Some(fd), Some(data), Some(false)) = (fd, POLLS.get(slot), self.armed.get(slot)) else {
                continue;
            };
            let readable = u32::try_from(libc::POLLIN).unwrap_or(1);
            let poll = opcode::PollAdd::new(Fd(fd.as_raw_fd()), readable).build().user_data(*data);
            if let (true, Some(armed)) = (self.queue(&poll), self.armed.get_mut(slot)) {
                *armed = true;
            }
        }
        let nothing_yet = self.ring.completion().is_empty() && self.readable == [false; 2];
        let args = most.map(Timespec::from);
        let args = args.as_ref().map_or(SubmitArgs::new(), |most| SubmitArgs::new().timespec(most));
        match self.ring.submitter().submit_with_args(usize::from(nothing_yet), &args) {
            Ok(_) => {}
            Err(cause) => match cause.raw_os_error() {
                // The time is over; a signal; too much at once.
                Some(libc::ETIME | libc::EINTR | libc::EBUSY | libc::EAGAIN) => {}
                _ => return Err(cause),
            },
        }
        self.completions.extend(self.ring.completion().map(|entry| (entry.user_data(), entry.result())));
        let (armed, readable) = (&mut self.armed, &mut self.readable);
        self.completions.retain(|(data, _)| {
            let Some(slot) = POLLS.iter().position(|poll| poll == data) else { return true };
            armed.iter_mut().skip(slot).take(1).for_each(|armed| *armed = false);
            readable.iter_mut().skip(slot).take(1).for_each(|readable| *readable = true);
            false
        });
        Ok(std::mem::take(&mut self.readable))
    }

    /// Takes back what has come.
    pub(crate) fn reap(&mut self, came: &mut Vec<(Owner, Io, io::Result<()>)>) {
        if self.ring.submission().taskrun() {
            self.ring.submit().map_or_else(|cause| log::debug!("io_uring: {cause}"), drop);
        }
        self.completions.extend(self.ring.completion().map(|entry| (entry.user_data(), entry.result())));
        let mut completions = std::mem::take(&mut self.completions);
        for (data, result) in completions.drain(..) {
            if let Some(slot) = POLLS.iter().position(|poll| *poll == data) {
                self.armed.iter_mut().skip(slot).take(1).for_each(|armed| *armed = false);
                self.readable.iter_mut().skip(slot).take(1).for_each(|readable| *readable = true);
                continue;
            }
            let Ok(number) = u32::try_from(data) else { continue };
            let Some(flight) = self.flights.get_mut(number) else { continue };
            match flight.came_back(result) {
                Ok(true) => self.push(number, came),
                Ok(false) => self.land(number, Ok(()), came),
                Err(cause) if cause.kind() == io::ErrorKind::WouldBlock => self.go_without(number, came),
                Err(cause) => self.land(number, Err(cause), came),
            }
        }
        self.completions = completions;
    }

    /// The kernel can't wait for this file in a ring: it is done here.
    fn go_without(&mut self, number: u32, came: &mut Vec<(Owner, Io, io::Result<()>)>) {
        if let Some(mut flight) = self.flights.remove(number) {
            let result = plain::carry_out(&self.volume.files, &mut flight.io);
            came.push((flight.owner, flight.io, result));
        }
    }

    fn land(&mut self, number: u32, result: io::Result<()>, came: &mut Vec<(Owner, Io, io::Result<()>)>) {
        if let Some(flight) = self.flights.remove(number) {
            came.push((flight.owner, flight.io, result));
        }
    }
}

impl Flight {
    /// What the kernel is to do next for it.
    fn entry(&mut self, files: &Files) -> io::Result<squeue::Entry> {
        let Flight { io, vectors, bounce, done, .. } = self;
        let none = || io::Error::from(io::ErrorKind::InvalidInput);
        let (cached, data, direct) = (files.top.cached(), files.top.data(), files.top.is_direct());
        let (file, start, reads) = match io {
            Io::Sync => {
                let sync = opcode::Fsync::new(Fd(cached.as_raw_fd()));
                return Ok(sync.flags(FsyncFlags::DATASYNC).build());
            }
            Io::Punch(bytes) => {
                let len = bytes.end.saturating_sub(bytes.start);
                let punch =
                    opcode::Fallocate::new(Fd(cached.as_raw_fd()), len).offset(layout::data(bytes.start));
                return Ok(punch.mode(libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE).build());
            }
            Io::Zero(_) => return Err(none()),
            Io::ReadBase(piece, offset) => {
                *vectors = piece.vectors(*done)?;
                (files.base.file().ok_or_else(none)?, *offset, true)
            }
            Io::ReadTop(piece, offset) => {
                *vectors = if direct { lend(piece, *done, bounce, false)? } else { piece.vectors(*done)? };
                (data, layout::data(*offset), true)
            }
            Io::Write(piece, offset) => {
                *vectors = if direct { lend(piece, *done, bounce, true)? } else { piece.vectors(*done)? };
                (data, layout::data(*offset), false)
            }
            Io::ReadGranule(merge, len) => {
                *vectors = one(merge.granule.part_mut(&(0..*len)), *done)?;
                (files.base.file().ok_or_else(none)?, merge.offset, true)
            }
            Io::WriteGranule(merge) => {
                let (written, at) = (merge.written.clone(), merge.written.start as u64);
                *vectors = one(merge.granule.part_mut(&written), *done)?;
                (data, layout::data(merge.offset.saturating_add(at)), false)
            }
            Io::ReadMap(page, granule) => {
                *vectors = one(&mut granule.0, *done)?;
                (cached, layout::map_sector(page.saturating_mul(layout::PAGE_SECTORS)), true)
            }
            Io::WriteMap(first, bytes) => {
                *vectors = one(bytes, *done)?;
                (cached, layout::map_sector(*first), false)
            }
        };
        let (file, at) = (Fd(file.as_raw_fd()), start.saturating_add(*done));
        // One piece needs no list, which the kernel would copy.
        if let [one] = vectors[..]
            && let Ok(len) = u32::try_from(one.iov_len)
        {
            return Ok(if reads {
                opcode::Read::new(file, one.iov_base.cast(), len).offset(at).build()
            } else {
                opcode::Write::new(file, one.iov_base.cast(), len).offset(at).build()
            });
        }
        let count = u32::try_from(vectors.len().min(MAX_PIECES)).unwrap_or(0);
        Ok(if reads {
            opcode::Readv::new(file, vectors.as_ptr(), count).offset(at).build()
        } else {
            opcode::Writev::new(file, vectors.as_ptr(), count).offset(at).build()
        })
    }

    /// Takes what the kernel says. True: there is more to do.
    fn came_back(&mut self, result: i32) -> io::Result<bool> {
        let count = match u64::try_from(result) {
            Ok(count) => count,
            Err(_) if result.saturating_neg() == libc::EINTR => return Ok(true),
            Err(_) => return Err(io::Error::from_raw_os_error(result.saturating_neg())),
        };
        if self.len == 0 {
            return Ok(false);
        }
        if count == 0 {
            let writes = matches!(self.io, Io::Write(..) | Io::WriteGranule(_) | Io::WriteMap(..));
            let kind = if writes { io::ErrorKind::WriteZero } else { io::ErrorKind::UnexpectedEof };
            return Err(kind.into());
        }
        if let (Io::ReadTop(piece, _), false) = (&self.io, self.bounce.is_empty()) {
            let start = piece.start.saturating_add(self.done);
            piece.buffers.put(start, bytes_of(&mut self.bounce, count))?;
        }
        self.done = self.done.saturating_add(count);
        Ok(self.done < self.len)
    }
}

impl Piece {
    /// The host's view of what is left after `done` bytes.
    fn vectors(&self, done: u64) -> io::Result<Vec<libc::iovec>> {
        self.buffers.vectors(self.start.saturating_add(done), self.len.saturating_sub(done))
    }
}

/// The memory of a request for O_DIRECT, or a copy of it where that is not aligned.
fn lend(piece: &Piece, done: u64, bounced: &mut Vec<Granule>, filled: bool) -> io::Result<Vec<libc::iovec>> {
    let (start, left) = (piece.start.saturating_add(done), piece.len.saturating_sub(done));
    bounced.clear();
    if piece.buffers.are_aligned(start, left, ALIGN) {
        return piece.vectors(done);
    }
    let part = left.min(BOUNCE);
    *bounced = bounce(part);
    let bytes = bytes_of(bounced, part);
    if filled {
        piece.buffers.get(start, bytes)?;
    }
    one(bytes, 0)
}

/// What is left of `bytes`.
fn one(bytes: &mut [u8], done: u64) -> io::Result<Vec<libc::iovec>> {
    let from = usize::try_from(done).unwrap_or(usize::MAX);
    let left = bytes.get_mut(from..).ok_or(io::ErrorKind::InvalidInput)?;
    Ok(vec![libc::iovec { iov_base: left.as_mut_ptr().cast(), iov_len: left.len() }])
}

// SAFETY: the addresses in a flight are those of its own memory, which moves nowhere with it.
unsafe impl Send for Flight {}

/// The kernel has addresses of the flights: they stay until it has given them back.
impl Drop for Ring {
    fn drop(&mut self) {
        let mut came = Vec::new();
        while self.flights.len() > 0 {
            self.submit(&mut came);
            if let Err(cause) = self.wait([None, None], None) {
                log::error!("io_uring cannot be waited for: {cause}");
                let flights = std::mem::take(&mut self.flights);
                Box::leak(Box::new(flights));
                return;
            }
            self.reap(&mut came);
        }
    }
}
