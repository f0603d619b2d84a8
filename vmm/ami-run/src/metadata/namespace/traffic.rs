//! Frames between the namespace's interface and the link, and signals for the command, until it ends.

use crate::session::{Sender, Signals};
use ami_run_network::{Frame, Link as _, MAX_FRAME, Now, Offload, Takes, UserLink};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use std::io;
use std::os::fd::OwnedFd;
use std::process::{Child, ExitStatus};
use std::time::Duration;

/// Frames that are carried one way before the other's turn comes.
const BATCH: usize = 64;

struct Road<'a> {
    /// None: the command has taken it away.
    tap: Option<OwnedFd>,
    link: &'a mut UserLink,
    frame: Box<Frame>,
}

/// Until the command ends.
pub(super) fn carry(
    tap: OwnedFd,
    link: &mut UserLink,
    child: &mut Child,
    signals: &mut Signals,
) -> io::Result<ExitStatus> {
    let command = Pid::from_child(child);
    let end = pidfd_open(command, PidfdFlags::empty())?;
    link.begin(Takes::default());
    let mut road = Road { tap: Some(tap), link, frame: Box::new([0; MAX_FRAME]) };
    loop {
        let more = road.go(Now::read());
        if road.wait(signals, &end, more)? {
            return child.wait();
        }
        while let Some((signal, sender)) = signals.next_of() {
            pass_on(signal, sender, command);
        }
    }
}

/// What the terminal sends, the command gets as well: it is of our process group. What somebody sends us is meant for it.
fn pass_on(signal: i32, sender: Sender, command: Pid) {
    if let (Sender::Process, Some(signal)) = (sender, Signal::from_named_raw(signal)) {
        // It may have ended.
        kill_process(command, signal).unwrap_or_default();
    }
    if signal == libc::SIGTSTP {
        kill_process(rustix::process::getpid(), Signal::STOP).unwrap_or_default();
    }
}

impl Road<'_> {
    /// Carries what is there, some of it each way. True: there may be more.
    fn go(&mut self, now: Now) -> bool {
        let mut more = self.out(now);
        more |= self.link.poll(now);
        more | self.into(now)
    }

    fn out(&mut self, now: Now) -> bool {
        for _ in 0..BATCH {
            let Some(tap) = &self.tap else { return false };
            match rustix::io::read(tap, &mut self.frame[..]) {
                Ok(length) => {
                    let frame = self.frame.get(..length).unwrap_or_default();
                    self.link.send(frame, Offload::default(), now);
                }
                Err(Errno::AGAIN | Errno::INTR) => return false,
                Err(cause) => {
                    log::warn!("the command's network interface is gone: {cause}");
                    self.tap = None;
                }
            }
        }
        true
    }

    fn into(&mut self, now: Now) -> bool {
        for _ in 0..BATCH {
            let Some((length, _)) = self.link.receive(&mut self.frame, now) else { return false };
            if let Some(tap) = &self.tap {
                // A frame that an interface does not take is lost, as on any network.
                let frame = self.frame.get(..length).unwrap_or_default();
                rustix::io::write(tap, frame).map(drop).unwrap_or_default();
            }
        }
        true
    }

    /// Until something can be done. True: the command has ended.
    fn wait(&self, signals: &Signals, end: &OwnedFd, more: bool) -> io::Result<bool> {
        let mut fds = vec![
            PollFd::new(end, PollFlags::IN),
            PollFd::new(signals, PollFlags::IN),
            PollFd::new(&*self.link, PollFlags::IN),
        ];
        fds.extend(self.tap.iter().map(|tap| PollFd::new(tap, PollFlags::IN)));
        let patience = match self.link.deadline() {
            _ if more => Some(Duration::ZERO),
            // A little late rather than many times too early.
            Some(deadline) => {
                Some(deadline.saturating_duration_since(Now::read().instant) + Duration::from_millis(1))
            }
            None => None,
        };
        let timeout = patience.map(Timespec::try_from).transpose().unwrap_or_default();
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => Ok(fds.first().is_some_and(|end| !end.revents().is_empty())),
            Err(Errno::INTR) => Ok(false),
            Err(cause) => Err(cause.into()),
        }
    }
}
