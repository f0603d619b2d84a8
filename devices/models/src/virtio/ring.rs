//! A queue in guest memory with what serves it: one batch at a time, in the thread of whoever calls.

use super::{Broken, Chain, Handler, Used};
use ami_run_memory::{GuestAddress, Memory};
use virtio_queue::{Queue, QueueOwnedT, QueueT};

/// What a driver says of a queue when it starts the device.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub max_size: u16,
    pub size: u16,
    pub descriptors: u64,
    pub driver: u64,
    pub device: u64,
    /// VIRTIO_F_EVENT_IDX was negotiated.
    pub event_index: bool,
}

#[derive(Debug)]
pub struct Ring {
    queue: Queue,
    memory: Memory,
    handler: Box<dyn Handler>,
    chains: Vec<Chain>,
    used: Vec<Used>,
}

impl Ring {
    /// The ring that the driver describes, if all of it lies in guest memory.
    #[must_use]
    pub fn new(setup: &Setup, memory: Memory, handler: Box<dyn Handler>) -> Option<Ring> {
        let mut queue = Queue::new(setup.max_size).ok()?;
        queue.try_set_size(setup.size).ok()?;
        queue.try_set_desc_table_address(GuestAddress(setup.descriptors)).ok()?;
        queue.try_set_avail_ring_address(GuestAddress(setup.driver)).ok()?;
        queue.try_set_used_ring_address(GuestAddress(setup.device)).ok()?;
        queue.set_event_idx(setup.event_index);
        queue.set_ready(true);
        let valid = queue.is_valid(memory.ram());
        valid.then_some(Ring { queue, memory, handler, chains: Vec::new(), used: Vec::new() })
    }

    /// Serves what is available, at most one queue's length of it, and calls `interrupt` if the driver wants to
    /// know. Says whether there may be more; if not, the driver will ring its doorbell for the next chain.
    pub fn serve(&mut self, interrupt: impl FnOnce()) -> Result<bool, Broken> {
        let ram = self.memory.ram();
        self.queue.disable_notification(ram)?;
        self.chains.clear();
        let batch = usize::from(self.queue.size());
        for chain in self.queue.iter(ram)?.take(batch) {
            self.chains.push(Chain::take(&self.memory, chain)?);
        }
        if self.chains.is_empty() {
            return Ok(self.queue.enable_notification(ram)?);
        }
        self.handler.handle(&mut self.chains, &mut self.used)?;
        for Used { head, written } in self.used.drain(..) {
            self.queue.add_used(ram, head, written)?;
        }
        if self.queue.needs_notification(ram)? {
            interrupt();
        }
        Ok(true)
    }
}
