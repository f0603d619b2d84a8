//! Frames of the guest's: out of the transmit queue, to the link. One that cannot be so is dropped, as a wire would.

use super::spec::{HEADER, Header};
use super::{BATCH, frame};
use crate::virtio::{Broken, Chain, LiveQueue, Used};
use ami_run_memory::Buffers;
use ami_run_network::{Frame, Link, Now, Offload};
use zerocopy::FromBytes as _;

/// The two addresses and the type, without which there is no frame.
const ETHERNET: usize = 14;

#[derive(Debug)]
pub(super) struct Transmitter {
    queue: LiveQueue,
    features: u64,
    /// The frame at hand: the guest could still change its own copy.
    frame: Box<Frame>,
    chains: Vec<Chain>,
    used: Vec<Used>,
}

impl Transmitter {
    pub(super) fn new(queue: LiveQueue, features: u64) -> Transmitter {
        Transmitter { queue, features, frame: frame(), chains: Vec::new(), used: Vec::new() }
    }

    /// Sends what is there, a batch at most; true: there was something. `None`: the driver has broken the queue.
    pub(super) fn serve(&mut self, link: &mut dyn Link, now: Now) -> Option<bool> {
        let served = self.send(link, now);
        self.queue.told(served)
    }

    /// Asks the driver to ring for the next frame; true: there is one already.
    pub(super) fn listen(&mut self) -> Option<bool> {
        let listens = self.queue.ring.listen();
        self.queue.told(listens)
    }

    fn send(&mut self, link: &mut dyn Link, now: Now) -> Result<bool, Broken> {
        self.queue.ring.take(BATCH, &mut self.chains)?;
        for chain in self.chains.drain(..) {
            if let Some((bytes, offload)) = read(&chain.readable, &mut self.frame, self.features) {
                link.send(bytes, offload, now);
            }
            self.used.push(Used { head: chain.head, written: 0 });
        }
        let sent = !self.used.is_empty();
        self.queue.give(&mut self.used)?;
        Ok(sent)
    }
}

/// Copies a frame out of guest memory, and says what is left to do with it.
fn read<'a>(chain: &Buffers, frame: &'a mut Frame, features: u64) -> Option<(&'a [u8], Offload)> {
    let mut header = [0; HEADER];
    chain.get(0, &mut header).ok()?;
    let len = usize::try_from(chain.len()).ok()?.checked_sub(HEADER)?;
    let bytes = frame.get_mut(..len).filter(|bytes| bytes.len() >= ETHERNET)?;
    chain.get(HEADER as u64, bytes).ok()?;
    let offload = Header::read_from_bytes(&header).ok()?.offload(bytes, features)?;
    Some((bytes, offload))
}
