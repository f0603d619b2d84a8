//! virtio-rng (virtio 1.2, section 5.4): random numbers of the host's kernel, for a guest that has none yet.

use super::{Broken, Chain, Handler, Kind, LiveQueue, Requests, Used, Work};
use ami_run_memory::Buffers;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

/// A driver needs one buffer at a time.
const QUEUE_SIZE: u16 = 8;
/// The most bytes that one request is answered with; the used length tells a driver that asked for more (5.4.6.2).
const MAX_BYTES: u64 = 64 << 10;
/// What is held of them outside guest memory.
const CHUNK: usize = 4096;

/// Every machine's, whatever its instance: it has no state.
#[derive(Debug)]
pub struct Rng;

impl Rng {
    /// The side of it that works.
    #[must_use]
    pub fn handler(&self) -> Box<dyn Handler> {
        Box::new(Server { failed: false })
    }
}

impl Kind for Rng {
    fn identity(&self) -> (u16, u32) {
        (4, 0x00_ff00)
    }

    fn features(&self) -> u64 {
        0
    }

    fn queues(&self) -> &[u16] {
        &[QUEUE_SIZE]
    }

    fn config(&self) -> Vec<u8> {
        Vec::new()
    }

    fn work(&self, mut queues: Vec<Option<LiveQueue>>, _: u64) -> Option<Box<dyn Work>> {
        let queue = queues.pop().flatten()?;
        Some(Box::new(Requests::new(queue, self.handler())))
    }
}

/// The working side of the queue.
#[derive(Debug)]
struct Server {
    /// The log knows that the host has no random numbers. Once is enough.
    failed: bool,
}

impl Handler for Server {
    /// What a driver offers to be read is passed over. One that offers nothing to be written has no place for the
    /// random byte that there must be (5.4.6.2).
    fn handle(&mut self, chains: &mut Vec<Chain>, used: &mut Vec<Used>) -> Result<(), Broken> {
        for chain in chains.drain(..) {
            if chain.writable.is_empty() {
                return Err(Broken::NoAnswer(chain.head));
            }
            used.push(Used { head: chain.head, written: self.fill(&chain.writable) });
        }
        Ok(())
    }
}

impl Server {
    /// Fills the buffers, as far as a request may and the host has random numbers. Says how far.
    fn fill(&mut self, buffers: &Buffers) -> u32 {
        let (len, mut done) = (buffers.len().min(MAX_BYTES), 0u64);
        let mut chunk = [0; CHUNK];
        while done < len {
            let want = usize::try_from(len.saturating_sub(done)).unwrap_or(CHUNK).min(CHUNK);
            let got = match getrandom(chunk.get_mut(..want).unwrap_or_default(), GetRandomFlags::empty()) {
                Ok(got) => got,
                Err(Errno::INTR) => continue,
                Err(cause) => {
                    if !std::mem::replace(&mut self.failed, true) {
                        log::error!("the host gives no random numbers to the guest: {cause}");
                    }
                    break;
                }
            };
            let bytes = chunk.get(..got).unwrap_or_default();
            if buffers.put(done, bytes).is_err() {
                break;
            }
            done = done.saturating_add(u64::try_from(got).unwrap_or(0));
        }
        u32::try_from(done).unwrap_or(0)
    }
}
