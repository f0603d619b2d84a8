//! What a network card's thread works on: frames of the guest's, frames for it, and the link itself, each in turn.

use super::Net;
use super::receive::Receiver;
use super::spec::{GUEST_CSUM, GUEST_TSO4};
use super::transmit::Transmitter;
use crate::irq::Bell;
use crate::virtio::{LiveQueue, Work};
use ami_run_network::{Link, Now, Takes};
use parking_lot::Mutex;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Instant;

#[derive(Debug)]
pub(super) struct Card {
    link: Arc<Mutex<dyn Link>>,
    news: Arc<OwnedFd>,
    receiver: Option<Receiver>,
    transmitter: Option<Transmitter>,
    takes: Takes,
    /// The link knows that there is a new driver.
    begun: bool,
    /// The link is to be polled: its descriptor was readable, its deadline has come, or time has passed at work.
    due: bool,
    deadline: Option<Instant>,
    is_broken: bool,
}

impl Card {
    pub(super) fn new(
        net: &Net,
        receive: Option<LiveQueue>,
        transmit: Option<LiveQueue>,
        features: u64,
    ) -> Card {
        let checksum = features & GUEST_CSUM != 0;
        Card {
            link: Arc::clone(&net.link),
            news: Arc::clone(&net.news),
            receiver: receive.map(|queue| Receiver::new(queue, features)),
            transmitter: transmit.map(|queue| Transmitter::new(queue, features)),
            takes: Takes { checksum, segments: checksum && features & GUEST_TSO4 != 0 },
            begun: false,
            due: true,
            deadline: None,
            is_broken: false,
        }
    }

    /// What the guest sends goes out first: the answers may be there at once. `None`: the driver has broken a queue.
    fn round(&mut self) -> Option<bool> {
        let now = Now::read();
        let link = &mut *self.link.lock();
        if !std::mem::replace(&mut self.begun, true) {
            link.begin(self.takes);
        }
        // A bell that rings without end keeps the deadline from being seen asleep.
        self.due |= self.deadline.is_some_and(|at| at <= now.instant);
        let mut more = self.due && link.poll(now);
        if let Some(transmitter) = &mut self.transmitter {
            more |= transmitter.serve(link, now)?;
        }
        if let Some(receiver) = &mut self.receiver {
            more |= receiver.serve(link, now)?;
        }
        // Only who has nothing else to do asks the driver to ring.
        if !more && let Some(transmitter) = &mut self.transmitter {
            more = transmitter.listen()?;
        }
        self.due = more;
        self.deadline = link.deadline();
        Some(more)
    }
}

impl Work for Card {
    /// A batch of frames each way. A chain is given back in the round that it is used in, but for those that are too
    /// few for the next frame: they, and the frame, wait for the driver to offer more.
    fn serve(&mut self, take: bool) -> bool {
        if !take || self.is_broken {
            return false;
        }
        self.round().unwrap_or_else(|| {
            self.is_broken = true;
            false
        })
    }

    /// Whatever there is, a frame begins and ends in one round.
    fn is_idle(&self) -> bool {
        true
    }

    fn wait(&mut self, bell: &Bell) -> io::Result<bool> {
        if self.is_broken {
            return bell.wait();
        }
        let left = self.deadline.map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = left.and_then(|left| Timespec::try_from(left).ok());
        let mut fds = [PollFd::new(bell, PollFlags::IN), PollFd::new(&*self.news, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(ready) => {
                let [rings, news] = fds.map(|fd| !fd.revents().is_empty());
                self.due |= news || ready == 0;
                Ok(rings)
            }
            Err(Errno::INTR) => Ok(false),
            Err(cause) => Err(cause.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::rig::{MAC, Rig};
    use super::*;

    #[test]
    fn a_guest_that_rings_without_end_does_not_stop_the_link_s_clock() {
        let (_rig, script) = Rig::scripted();
        let link = Arc::clone(&script);
        let mut card = Card::new(&Net::new(MAC, link).unwrap(), None, None, 0);
        assert!(!card.serve(true));
        let (polls, bell) = (script.lock().polls, Bell::new().unwrap());
        script.lock().deadline = Some(Instant::now());
        for _ in 0..2 {
            bell.ring();
            assert!(card.wait(&bell).unwrap() && !card.serve(true));
        }
        let script = script.lock();
        assert_eq!((script.polls, script.deadline), (polls + 1, None));
    }
}
