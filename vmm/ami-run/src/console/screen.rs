//! Where the guest's console is shown: standard output, or standard error when the result goes to standard output.
//!
//! Nothing here ever waits: what the reader does not take stays in a bounded queue, and when that overflows, the
//! oldest is dropped and the gap is marked.

use crate::ui;
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// What is kept for a reader that does not read.
const MAX_PENDING: usize = 64 << 10;
/// What a pipe that is ready at all takes without waiting (PIPE_BUF).
const PIPE_CHUNK: usize = 4096;
/// What a terminal that is ready at all takes as good as always.
const TERMINAL_CHUNK: usize = 64;

/// The reader is gone.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Closed;

#[derive(Debug)]
pub(crate) struct Screen {
    to: OwnedFd,
    /// Status lines go to the same terminal, pipe or file.
    shared: bool,
    /// The most that is written at once.
    chunk: usize,
    pending: VecDeque<u8>,
    dropped: u64,
    /// The last attempt wrote less than there is.
    full: bool,
    /// The reader is gone. The descriptor stays open: an event loop may know it.
    closed: bool,
}

impl Screen {
    pub(crate) fn new(stream: BorrowedFd<'_>) -> io::Result<Screen> {
        let terminal = rustix::termios::isatty(stream);
        let (to, chunk) = match reopen(stream) {
            // O_NONBLOCK is the file description's, which the caller's own shell shares: so it is set on another
            // one of the same terminal.
            Some(own) if terminal => (own, PIPE_CHUNK),
            _ if terminal => (stream.try_clone_to_owned()?, TERMINAL_CHUNK),
            _ => (stream.try_clone_to_owned()?, PIPE_CHUNK),
        };
        let shared = is_standard_error(&to);
        Ok(Screen { to, shared, chunk, pending: VecDeque::new(), dropped: 0, full: false, closed: false })
    }

    /// Queues output, and drops the oldest that has no room.
    pub(crate) fn show(&mut self, bytes: &[u8]) {
        if self.closed {
            return;
        }
        self.pending.extend(bytes);
        let over = self.pending.len().saturating_sub(MAX_PENDING);
        self.pending.drain(..over);
        self.dropped = self.dropped.saturating_add(over as u64);
    }

    /// Marks a gap that somebody else left.
    pub(crate) fn lost(&mut self, bytes: u64) {
        self.dropped = self.dropped.saturating_add(bytes);
    }

    /// Writes what the reader takes now. That the reader is gone is told once.
    pub(crate) fn write(&mut self) -> Result<(), Closed> {
        while !self.pending.is_empty() {
            self.full = !self.ready(Duration::ZERO);
            if self.full {
                return Ok(());
            }
            self.mark_gap();
            let (front, _) = self.pending.as_slices();
            let piece = front.get(..self.chunk).unwrap_or(front);
            match rustix::io::write(&self.to, piece) {
                Ok(written) => self.written(written),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.full = true;
                    return Ok(());
                }
                Err(cause) => {
                    log::info!("the console is shown no more: {cause}");
                    self.closed = true;
                    self.pending.clear();
                    return Err(Closed);
                }
            }
        }
        self.full = false;
        Ok(())
    }

    /// Whether to wait for the reader.
    pub(crate) fn wants_event(&self) -> bool {
        self.full && !self.pending.is_empty()
    }

    pub(crate) fn fd(&self) -> RawFd {
        self.to.as_raw_fd()
    }

    /// Writes all that is left, for a bounded time.
    pub(crate) fn finish(&mut self, within: Duration) {
        let end = Instant::now() + within;
        while self.write().is_ok() && !self.pending.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() || !self.ready(left) {
                return;
            }
        }
    }

    fn ready(&self, within: Duration) -> bool {
        let mut polled = [PollFd::new(&self.to, PollFlags::OUT)];
        let timeout = Timespec::try_from(within).unwrap_or_default();
        // An error is ready too: the write that follows tells which it is.
        rustix::event::poll(&mut polled, Some(&timeout)).is_ok_and(|ready| ready > 0)
    }

    fn mark_gap(&mut self) {
        if self.dropped > 0 {
            let dropped = std::mem::take(&mut self.dropped);
            let mark =
                format!("\r\n[{dropped} bytes of console output dropped: they were not read in time]\r\n");
            mark.bytes().rev().for_each(|byte| self.pending.push_front(byte));
        }
    }

    fn written(&mut self, count: usize) {
        let last = self.pending.drain(..count.min(self.pending.len())).next_back();
        if let Some(last) = last.filter(|_| self.shared) {
            ui::console_showed(last);
        }
    }
}

impl AsFd for Screen {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.to.as_fd()
    }
}

/// Whether this is the very file, pipe or terminal that standard error is.
fn is_standard_error(stream: &OwnedFd) -> bool {
    let id = |of: io::Result<rustix::fs::Stat>| of.map(|it| (it.st_dev, it.st_ino)).ok();
    let stream = id(rustix::fs::fstat(stream).map_err(io::Error::from));
    stream.is_some() && stream == id(rustix::fs::fstat(rustix::stdio::stderr()).map_err(io::Error::from))
}

/// The same terminal, opened anew so that it may be non-blocking.
fn reopen(stream: BorrowedFd<'_>) -> Option<OwnedFd> {
    let path = format!("/proc/self/fd/{}", stream.as_raw_fd());
    let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    rustix::termios::isatty(stream).then(|| rustix::fs::open(path, flags, Mode::empty()).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn drain(from: &mut io::PipeReader, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        from.read_exact(&mut bytes).unwrap();
        bytes
    }

    #[test]
    fn a_reader_that_does_not_read_stops_nothing_and_finds_a_mark() {
        let (mut reader, writer) = io::pipe().unwrap();
        let mut screen = Screen::new(writer.as_fd()).unwrap();
        drop(writer);
        let mut total = 0;
        for _ in 0..100 {
            screen.show(&[b'x'; 5000]);
            assert_eq!(screen.write(), Ok(()));
            total += 5000;
            assert!(screen.pending.len() <= MAX_PENDING);
        }
        assert!(screen.wants_event());
        let in_pipe = total - screen.pending.len() - usize::try_from(screen.dropped).unwrap();
        drain(&mut reader, in_pipe);
        let dropped = screen.dropped;
        screen.finish(Duration::ZERO);
        assert!(!screen.wants_event() || screen.pending.len() < MAX_PENDING);
        let mark = format!("\r\n[{dropped} bytes of console output dropped");
        assert_eq!(drain(&mut reader, mark.len()), mark.as_bytes());
    }

    #[test]
    fn a_reader_that_is_gone_is_told() {
        let (reader, writer) = io::pipe().unwrap();
        let mut screen = Screen::new(writer.as_fd()).unwrap();
        drop(reader);
        screen.show(b"x");
        assert_eq!(screen.write(), Err(Closed));
    }

    #[test]
    fn a_regular_file_gets_all() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut screen = Screen::new(file.as_file().as_fd()).unwrap();
        screen.show(&[b'y'; 60000]);
        assert_eq!(screen.write(), Ok(()));
        assert!(!screen.wants_event());
        assert_eq!(std::fs::read(file.path()).unwrap().len(), 60000);
    }
}
