//! What a queue's thread sleeps on.

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// An event of the kernel's: rung by the hypervisor for a guest that writes to a doorbell, by the device, or by the
/// gate. However often it is rung, it is heard once.
#[derive(Debug)]
pub struct Bell(OwnedFd);

impl Bell {
    pub fn new() -> io::Result<Bell> {
        Ok(Bell(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?))
    }

    pub fn ring(&self) {
        // It cannot fail but where nobody has heard 2^64 rings, and then it rings still.
        rustix::io::write(&self.0, &1u64.to_ne_bytes()).unwrap_or_default();
    }

    /// Stops its ringing, and says whether it rang. Never waits.
    pub fn take(&self) -> bool {
        rustix::io::read(&self.0, &mut [0; 8]).is_ok()
    }

    /// Sleeps until it rings; true: it does.
    pub fn wait(&self) -> io::Result<bool> {
        let mut fds = [PollFd::new(&self.0, PollFlags::IN)];
        match poll(&mut fds, None) {
            Ok(rings) => Ok(rings != 0),
            Err(Errno::INTR) => Ok(false),
            Err(cause) => Err(cause.into()),
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
