//! Virtio 1.2 devices over PCI, modern only.
//!
//! [`Transport`] is the PCI function and its registers; a [`Kind`] is what sits behind it (a disk, a network, random
//! numbers); its queues are served by a thread that exists only while the driver uses the device. Left out: legacy and
//! transitional interfaces, packed rings, in-order use, notification data, queue reset, shared memory.

mod block;
mod chain;
mod net;
mod notifier;
mod registers;
mod requests;
mod ring;
mod rng;
mod transport;

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

pub use crate::worker::Work;
pub use block::Block;
pub use chain::Chain;
pub use net::Net;
pub use requests::Requests;
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
    /// What the device's thread is to work on: the queues in their order, as far as the driver has set them up, with
    /// the features that it has accepted. None: nothing can come of these. Called by a vCPU: it never waits.
    fn work(&self, queues: Vec<Option<LiveQueue>>, features: u64) -> Option<Box<dyn Work>>;
}

/// A queue that the driver has set up, and how the driver hears of it.
pub struct LiveQueue {
    pub ring: Ring,
    /// Interrupts the driver.
    pub interrupt: Box<dyn Fn() + Send>,
    /// Called once when the driver has broken the ring. It must not own the device, which waits for this thread when
    /// it goes.
    pub broken: Box<dyn Fn(&Broken) + Send>,
}

impl LiveQueue {
    /// Gives chains back, all at once, and interrupts the driver if it wants to know.
    fn give(&mut self, used: &mut Vec<Used>) -> Result<(), Broken> {
        if self.ring.give(used)? {
            (self.interrupt)();
        }
        Ok(())
    }

    /// What came of work on the queue, if the driver has not broken it; else the device is told.
    fn told<T>(&self, result: Result<T, Broken>) -> Option<T> {
        result.inspect_err(|cause| (self.broken)(cause)).ok()
    }
}

impl fmt::Debug for LiveQueue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveQueue").field("ring", &self.ring).finish_non_exhaustive()
    }
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
