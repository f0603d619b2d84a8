//! Virtio 1.2 devices over PCI, modern only.
//!
//! [`Transport`] is the PCI function and its registers; a [`Kind`] is what sits behind it (a disk, random numbers); each queue
//! is served by a thread of its own that exists only while the driver uses the device. Left out: legacy and
//! transitional interfaces, packed rings, in-order use, notification data, queue reset, shared memory.

mod block;
mod chain;
mod registers;
mod ring;
mod rng;
mod transport;
mod worker;

#[cfg(test)]
mod block_test;
#[cfg(test)]
mod driver;
#[cfg(test)]
mod flight_test;
#[cfg(test)]
mod hostile_test;
#[cfg(test)]
mod rng_test;
#[cfg(test)]
mod transport_test;

pub use block::Block;
pub use chain::Chain;
pub use ring::{Ring, Setup};
pub use rng::Rng;
pub use transport::Transport;

use crate::irq::Bell;
use std::{fmt, io};

/// VIRTIO_F_VERSION_1 and the ring features that every device here offers.
const VERSION_1: u64 = 1 << 32;
const INDIRECT: u64 = 1 << 28;
const EVENT_INDEX: u64 = 1 << 29;
const COMMON_FEATURES: u64 = VERSION_1 | INDIRECT | EVENT_INDEX;

/// What a device is, behind its transport.
pub trait Kind: Send + Sync + fmt::Debug {
    /// The virtio device type (section 5) and the PCI class.
    fn identity(&self) -> (u16, u32);
    /// Offered beside the features of ring and transport.
    fn features(&self) -> u64;
    /// The largest size of each queue, a power of two.
    fn queues(&self) -> &[u16];
    /// The device-specific configuration.
    fn config(&self) -> Vec<u8>;
    /// Makes the side of a queue that works; the queue's thread calls it.
    fn handler(&self, queue: usize) -> Box<dyn Handler>;
}

/// Works on requests of one queue. What answers each at once has only [`Handler::handle`].
pub trait Handler: Send + fmt::Debug {
    /// Takes every chain from `chains` and begins it. The head of what is answered already, with the bytes written
    /// to it, goes into `used`. A chain that has no place for an answer breaks the queue.
    fn handle(&mut self, chains: &mut Vec<Chain>, used: &mut Vec<Used>) -> Result<(), Broken>;

    /// Puts into `used` what was finished since, in any order. Never waits.
    fn reap(&mut self, _used: &mut Vec<Used>) -> Result<(), Broken> {
        Ok(())
    }

    /// Nothing that was begun is unfinished.
    fn is_idle(&self) -> bool {
        true
    }

    /// Sleeps until something that was begun may be finished, or the bell rings; true: it does.
    fn wait(&mut self, bell: &Bell) -> io::Result<bool> {
        bell.wait()
    }
}

/// A chain that the driver gets back.
#[derive(Clone, Copy, Debug)]
pub struct Used {
    pub head: u16,
    pub written: u32,
}

/// How a driver broke its queue. What can't be answered must not be passed over: the device asks for a reset
/// (2.1.2). Chains are named by their heads.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("its ring: {0}")]
    Ring(#[from] virtio_queue::Error),
    #[error("chain {0} does not end in its descriptor table")]
    Endless(u16),
    #[error("chain {0} has a buffer that is not in guest memory")]
    Outside(u16),
    #[error("chain {0} has a readable buffer after a writable one")]
    Order(u16),
    #[error("chain {0} has no room for the answer")]
    NoAnswer(u16),
}
