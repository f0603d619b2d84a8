//! Frames for the guest: from the link, into the receive queue. A frame that finds no room waits, and nothing more is
//! taken from the link meanwhile; one for which there can be no room is dropped.

use super::spec::{HEADER, Header, MRG_RXBUF};
use super::{BATCH, frame};
use crate::virtio::{Broken, Chain, LiveQueue, Used};
use ami_run_network::{Frame, Link, Now, Offload};
use zerocopy::IntoBytes as _;

#[derive(Debug)]
pub(super) struct Receiver {
    queue: LiveQueue,
    /// A frame may lie in several chains.
    merges: bool,
    frame: Box<Frame>,
    /// The length of the frame that waits, and what is left to do with it.
    waiting: Option<(usize, Offload)>,
    /// Chains that were taken for it, or for one before it that was dropped.
    chains: Vec<Chain>,
    /// Chains that are filled and not given back yet.
    used: Vec<Used>,
}

/// What has come of the frame that waits.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Outcome {
    /// It is in its chains, or dropped.
    Gone,
    Waits,
}

impl Receiver {
    pub(super) fn new(queue: LiveQueue, features: u64) -> Receiver {
        let merges = features & MRG_RXBUF != 0;
        Receiver { queue, merges, frame: frame(), waiting: None, chains: Vec::new(), used: Vec::new() }
    }

    /// Receives what is there, a batch at most; true: there may be more to do at once. `None`: the driver has broken the
    /// queue.
    pub(super) fn serve(&mut self, link: &mut dyn Link, now: Now) -> Option<bool> {
        let served = self.receive(link, now);
        self.queue.told(served)
    }

    fn receive(&mut self, link: &mut dyn Link, now: Now) -> Result<bool, Broken> {
        for _ in 0..BATCH {
            let Some((len, offload)) = self.waiting.or_else(|| link.receive(&mut self.frame, now)) else {
                self.queue.give(&mut self.used)?;
                return Ok(false);
            };
            self.waiting = Some((len, offload));
            if self.place(len, offload)? == Outcome::Waits {
                self.queue.give(&mut self.used)?;
                return self.queue.ring.listen();
            }
            self.waiting = None;
        }
        self.queue.give(&mut self.used)?;
        Ok(true)
    }

    /// Takes chains until there are enough for the frame, and writes it over them.
    fn place(&mut self, len: usize, offload: Offload) -> Result<Outcome, Broken> {
        let needed = len.saturating_add(HEADER) as u64;
        let (mut count, mut room) = (0usize, 0u64);
        loop {
            if room >= needed {
                self.write(len, offload, count)?;
                return Ok(Outcome::Gone);
            }
            let is_last = count > 0 && !self.merges;
            if let Some(chain) = self.chains.get(count).filter(|_| !is_last) {
                count = count.saturating_add(1);
                room = room.saturating_add(chain.writable.len());
                continue;
            }
            let has_all = self.queue.ring.room() == 0 && self.used.is_empty();
            if is_last || has_all {
                log::debug!("a frame of {len} bytes finds no room in the buffers of the guest");
                return Ok(Outcome::Gone);
            }
            if self.queue.ring.take(1, &mut self.chains)? == 0 {
                return Ok(Outcome::Waits);
            }
            // Each must have room for the header at least (5.1.6.3.1).
            if let Some(chain) = self.chains.last().filter(|chain| chain.writable.len() < HEADER as u64) {
                return Err(Broken::NoAnswer(chain.head));
            }
        }
    }

    fn write(&mut self, len: usize, offload: Offload, count: usize) -> Result<(), Broken> {
        let mut rest = self.frame.get(..len).unwrap_or_default();
        let header = Header::received(rest, offload, u16::try_from(count).unwrap_or(u16::MAX));
        let mut head = header.as_bytes();
        for chain in self.chains.drain(..count) {
            let Chain { head: number, writable, .. } = &chain;
            let room = usize::try_from(writable.len()).unwrap_or(usize::MAX).saturating_sub(head.len());
            let (here, after) = rest.split_at(room.min(rest.len()));
            let put = writable.put(0, head).and_then(|()| writable.put(head.len() as u64, here));
            put.map_err(|_| Broken::Outside(*number))?;
            let written = u32::try_from(head.len().saturating_add(here.len())).unwrap_or(u32::MAX);
            self.used.push(Used { head: *number, written });
            (head, rest) = (&[], after);
        }
        Ok(())
    }
}
