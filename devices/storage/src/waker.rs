//! Wakes the thread of a queue, from any other thread.

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

#[derive(Debug)]
pub(crate) struct Waker(OwnedFd);

impl Waker {
    pub(crate) fn new() -> io::Result<Waker> {
        Ok(Waker(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
    }

    /// Makes it readable, until it is [taken](Waker::take).
    pub(crate) fn wake(&self) {
        // It cannot fail but by 2^64 wakes that nobody took, and then it is readable.
        rustix::io::write(&self.0, &1u64.to_ne_bytes()).unwrap_or_default();
    }

    pub(crate) fn take(&self) {
        // Nothing to take is fine.
        rustix::io::read(&self.0, &mut [0; 8]).unwrap_or_default();
    }

    /// Sleeps until it is readable, and takes it.
    pub(crate) fn wait(&self) -> io::Result<()> {
        match poll(&mut [PollFd::from_borrowed_fd(self.as_fd(), PollFlags::IN)], None) {
            Ok(_) | Err(Errno::INTR) => self.take(),
            Err(cause) => return Err(cause.into()),
        }
        Ok(())
    }
}

impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
