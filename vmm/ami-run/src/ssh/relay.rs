//! A pipe that `ssh` writes into, and a thread that passes on what it writes. `ssh` makes what it writes to
//! non-blocking, for all who share it: so our own standard output is not given to it.

use super::pass::pass;
use super::wait::{Event, wait};
use rustix::event::PollFlags;
use std::fs::File;
use std::io::{self, PipeWriter};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Relay {
    input: PipeWriter,
    done: Arc<Event>,
}

impl Relay {
    /// Passes on to `to`. The thread ends with the last writer, or when nobody reads any more.
    pub(super) fn start(to: File) -> io::Result<Relay> {
        let (from, input) = io::pipe()?;
        let done = Arc::new(Event::new()?);
        let of_thread = Arc::clone(&done);
        std::thread::Builder::new().name("exec-output".to_owned()).spawn(move || {
            if let Err(cause) = pass(&from, &to) {
                log::info!("the command's output is not passed on any more: {cause}");
            }
            of_thread.happen();
        })?;
        Ok(Relay { input, done })
    }

    /// What is to be written into.
    pub(super) fn input(&self) -> BorrowedFd<'_> {
        self.input.as_fd()
    }

    /// Waits until all was passed on; false: until `stop`. All other writers are gone.
    pub(super) fn finish(self, stop: BorrowedFd<'_>) -> io::Result<bool> {
        let Relay { input, done } = self;
        drop(input);
        let ready = wait(&[(stop, PollFlags::IN), (done.as_fd(), PollFlags::IN)], None)?;
        Ok(ready != Some(0))
    }
}
