//! virtio-net (virtio 1.2, section 5.1): a network card before a [`Link`]. One thread serves both queues and runs the
//! link.
//!
//! Left out: the control queue, without which a guest hears all frames that the link has for it, several pairs of
//! queues, and offloads of IPv6 and UDP: no link has them.

mod receive;
mod spec;
mod transmit;
mod work;

#[cfg(test)]
mod hostile_test;
#[cfg(test)]
mod rig;
#[cfg(test)]
mod test;
#[cfg(test)]
mod user_test;

use super::{Kind, LiveQueue, Work};
use ami_run_network::{Frame, Link, MAX_FRAME};
use parking_lot::Mutex;
use spec::{Config, RECEIVE, TRANSMIT};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use zerocopy::IntoBytes as _;

const QUEUE_SIZE: u16 = 256;
/// Chains of one queue that are worked on before the other has its turn.
const BATCH: u16 = 64;
const LINK_UP: u16 = 1;

#[derive(Debug)]
pub struct Net {
    mac: [u8; 6],
    mtu: u16,
    link: Arc<Mutex<dyn Link>>,
    /// The link's descriptor, to sleep on without its lock.
    news: Arc<OwnedFd>,
}

impl Net {
    /// A card with this address. Nobody else may hold the link's lock for long while a driver uses the card.
    pub fn new(mac: [u8; 6], link: Arc<Mutex<dyn Link>>) -> io::Result<Net> {
        let held = link.lock();
        let (mtu, news) = (held.mtu(), Arc::new(held.as_fd().try_clone_to_owned()?));
        drop(held);
        Ok(Net { mac, mtu, link, news })
    }
}

impl Kind for Net {
    fn identity(&self) -> (u16, u32) {
        (1, 0x02_0000)
    }

    fn features(&self) -> u64 {
        let sends = spec::CSUM | spec::HOST_TSO4;
        let receives = spec::GUEST_CSUM | spec::GUEST_TSO4 | spec::MRG_RXBUF;
        spec::MAC | spec::STATUS | spec::MTU | sends | receives
    }

    fn queues(&self) -> &[u16] {
        &[QUEUE_SIZE; 2]
    }

    fn config(&self) -> Vec<u8> {
        let (status, mtu) = (LINK_UP.into(), self.mtu.into());
        let config = Config { mac: self.mac, status, max_queue_pairs: 0.into(), mtu };
        config.as_bytes().to_vec()
    }

    fn work(&self, mut queues: Vec<Option<LiveQueue>>, features: u64) -> Option<Box<dyn Work>> {
        let mut take = |index| queues.get_mut(index).and_then(Option::take);
        let (receive, transmit) = (take(RECEIVE), take(TRANSMIT));
        if receive.is_none() && transmit.is_none() {
            return None;
        }
        Some(Box::new(work::Card::new(self, receive, transmit, features)))
    }
}

/// Room for one frame.
fn frame() -> Box<Frame> {
    let bytes: Box<[u8]> = vec![0; MAX_FRAME].into();
    // It is as long as it was just made.
    bytes.try_into().unwrap_or_else(|_| Box::new([0; MAX_FRAME]))
}
