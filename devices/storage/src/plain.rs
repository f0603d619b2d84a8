//! Carries out I/O by pread and pwrite, one after the other in the thread that asks: for hosts that refuse io_uring, as
//! many containers do.

use crate::engine::{Granule, Io, Merge, Piece};
use crate::top::layout;
use crate::volume::Files;
use ami_run_memory::Buffers;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FallocateFlags, fallocate};
use rustix::io::Errno;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::fs::FileExt;
use std::time::Duration;
use zerocopy::IntoBytes;

/// What O_DIRECT takes: memory and lengths that are multiples of a sector.
pub(crate) const ALIGN: usize = 512;
/// The most that is copied at once where memory is not aligned.
pub(crate) const BOUNCE: u64 = 1 << 20;

/// Carries out all of it.
pub(crate) fn carry_out(files: &Files, io: &mut Io) -> io::Result<()> {
    match io {
        Io::ReadBase(piece, offset) => files.base.read(&piece.buffers, piece.start, piece.len, *offset),
        Io::ReadTop(piece, offset) => read_top(files, piece, *offset),
        Io::Zero(piece) => piece.buffers.zero(piece.start, piece.len),
        Io::Write(piece, offset) => write(files, piece, *offset),
        Io::ReadGranule(merge, len) => {
            let part = merge.granule.0.get_mut(..*len).unwrap_or_default();
            files.base.read_bytes(part, merge.offset)
        }
        Io::WriteGranule(merge) => {
            fill(merge)?;
            let at = merge.offset.saturating_add(merge.written.start as u64);
            files.top.data().write_all_at(merge.granule.part(&merge.written), layout::data(at))
        }
        Io::Sync if files.top.needs_sync() => files.top.cached().sync_data(),
        Io::ReadMap(page, granule) => {
            let first = page.saturating_mul(layout::PAGE_SECTORS);
            files.top.cached().read_exact_at(&mut granule.0, layout::map_sector(first))
        }
        Io::WriteMap(first, bytes) if files.top.keeps_map() => {
            files.top.cached().write_all_at(bytes, layout::map_sector(*first))
        }
        Io::Sync | Io::WriteMap(..) => Ok(()),
        Io::Punch(bytes) => {
            let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
            let len = bytes.end.saturating_sub(bytes.start);
            Ok(fallocate(files.top.cached(), flags, layout::data(bytes.start), len)?)
        }
    }
}

/// Puts the new part into a granule.
pub(crate) fn fill(merge: &mut Merge) -> io::Result<()> {
    let part = merge.granule.part_mut(&merge.part);
    match &merge.with {
        Some(piece) => piece.buffers.get(piece.start, part),
        None => {
            part.fill(0);
            Ok(())
        }
    }
}

/// Room for `len` bytes of which O_DIRECT approves.
pub(crate) fn bounce(len: u64) -> Vec<Granule> {
    let count = usize::try_from(len.div_ceil(4096)).unwrap_or(usize::MAX);
    vec![Granule([0; 4096]); count]
}

fn read_top(files: &Files, piece: &Piece, offset: u64) -> io::Result<()> {
    let Piece { buffers, start, len } = piece;
    if can_go_directly(files, buffers, *start, *len) {
        return buffers.fill_from(*start, *len, files.top.data(), layout::data(offset));
    }
    in_parts(*len, |done, part| {
        let mut pages = bounce(part);
        let bytes = bytes_of(&mut pages, part);
        files.top.data().read_exact_at(bytes, layout::data(offset.saturating_add(done)))?;
        buffers.put(start.saturating_add(done), bytes)
    })
}

fn write(files: &Files, piece: &Piece, offset: u64) -> io::Result<()> {
    let Piece { buffers, start, len } = piece;
    if can_go_directly(files, buffers, *start, *len) {
        return buffers.drain_to(*start, *len, files.top.data(), layout::data(offset));
    }
    in_parts(*len, |done, part| {
        let mut pages = bounce(part);
        let bytes = bytes_of(&mut pages, part);
        buffers.get(start.saturating_add(done), bytes)?;
        files.top.data().write_all_at(bytes, layout::data(offset.saturating_add(done)))
    })
}

fn can_go_directly(files: &Files, buffers: &Buffers, start: u64, len: u64) -> bool {
    !files.top.is_direct() || buffers.are_aligned(start, len, ALIGN)
}

/// The first `len` bytes of these pages.
pub(crate) fn bytes_of(pages: &mut [Granule], len: u64) -> &mut [u8] {
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    pages.as_mut_bytes().get_mut(..len).unwrap_or_default()
}

fn in_parts(len: u64, mut each: impl FnMut(u64, u64) -> io::Result<()>) -> io::Result<()> {
    let mut done = 0u64;
    while done < len {
        let part = len.saturating_sub(done).min(BOUNCE);
        each(done, part)?;
        done = done.saturating_add(part);
    }
    Ok(())
}

/// Sleeps until one of these is readable, or so long. Says which are.
pub(crate) fn sleep(fds: [Option<BorrowedFd<'_>>; 2], most: Option<Duration>) -> io::Result<[bool; 2]> {
    let timeout = most.and_then(|most| Timespec::try_from(most).ok());
    let mut polled: Vec<_> =
        fds.iter().flatten().map(|fd| PollFd::from_borrowed_fd(*fd, PollFlags::IN)).collect();
    match poll(&mut polled, timeout.as_ref()) {
        Ok(_) => {}
        Err(Errno::INTR) => return Ok([false, false]),
        Err(cause) => return Err(cause.into()),
    }
    let mut told = polled.iter().map(|fd| !fd.revents().is_empty());
    Ok(fds.map(|fd| fd.is_some() && told.next().unwrap_or(false)))
}
