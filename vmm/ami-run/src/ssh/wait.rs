//! Waiting for one of several descriptors, with an end.

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

/// Which of these is ready, the first of them; None: `until` has come. A descriptor that is waited for with no flags
/// is ready when its other side has gone.
pub(super) fn wait(
    sources: &[(BorrowedFd<'_>, PollFlags)],
    until: Option<Instant>,
) -> io::Result<Option<usize>> {
    loop {
        let mut polled: Vec<_> = sources.iter().map(|(fd, flags)| PollFd::new(fd, *flags)).collect();
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        match poll(&mut polled, left.and_then(|left| Timespec::try_from(left).ok()).as_ref()) {
            Ok(0) => return Ok(None),
            Ok(_) => return Ok(polled.iter().position(|polled| !polled.revents().is_empty())),
            Err(Errno::INTR) => {}
            Err(cause) => return Err(cause.into()),
        }
    }
}

/// Something that happens once, and is ready to be read from then on.
#[derive(Debug)]
pub(super) struct Event(OwnedFd);

impl Event {
    pub(super) fn new() -> io::Result<Event> {
        Ok(Event(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?))
    }

    pub(super) fn happen(&self) {
        if let Err(cause) = rustix::io::write(&self.0, &1_u64.to_ne_bytes()) {
            log::error!("an event cannot be told: {cause}");
        }
    }
}

impl AsFd for Event {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
