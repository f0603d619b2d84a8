//! A queue in guest memory with what serves it, in the thread of whoever calls: chains are taken as they come, and
//! given back as they are finished, in any order.

use super::{Broken, Chain, Handler, Used};
use crate::irq::Bell;
use ami_run_memory::{GuestAddress, Memory};
use std::io;
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
    /// Chains that were taken and not given back. A driver can offer one again and again: no more than the queue's
    /// size are taken.
    open: u16,
    broken: bool,
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
        let (chains, used) = (Vec::new(), Vec::new());
        valid.then_some(Ring { queue, memory, handler, chains, used, open: 0, broken: false })
    }

    /// Gives back what is finished and, with `take`, begins what is available, as far as there is room; never waits.
    /// Calls `interrupt` if the driver wants to know. Says whether there may be more to do at once; if not, and
    /// there is room, the driver will ring its doorbell for the next chain.
    ///
    /// Once broken, it only lets what was begun end, and tells nobody.
    pub fn serve(&mut self, take: bool, interrupt: impl FnOnce()) -> Result<bool, Broken> {
        if self.broken {
            self.handler.reap(&mut self.used).unwrap_or_default();
            self.used.clear();
            return Ok(false);
        }
        let more = self.work(take, interrupt);
        self.broken = more.is_err();
        more
    }

    /// Nothing that was begun is unfinished.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.handler.is_idle()
    }

    /// Sleeps until something that was begun may be finished, or the bell rings; true: it does. Called when
    /// [`Ring::serve`] has nothing to do.
    pub fn wait(&mut self, bell: &Bell) -> io::Result<bool> {
        self.handler.wait(bell)
    }

    fn work(&mut self, take: bool, interrupt: impl FnOnce()) -> Result<bool, Broken> {
        let room = if take { self.queue.size().saturating_sub(self.open) } else { 0 };
        let taken = self.take(room)?;
        self.handler.reap(&mut self.used)?;
        let answered = !self.used.is_empty();
        if answered {
            self.answer(interrupt)?;
        }
        // The driver is asked to ring only when there is nothing else to do, and what it has offered before it could
        // see that is seen here. Without room its ring would be for nothing: an answer comes first.
        let idle = !taken && !answered;
        Ok(if idle && room > 0 { self.queue.enable_notification(self.memory.ram())? } else { !idle })
    }

    /// Begins at most so many chains. Says whether there was one.
    fn take(&mut self, room: u16) -> Result<bool, Broken> {
        if room == 0 {
            return Ok(false);
        }
        let ram = self.memory.ram();
        self.queue.disable_notification(ram)?;
        self.chains.clear();
        for chain in self.queue.iter(ram)?.take(usize::from(room)) {
            self.chains.push(Chain::take(&self.memory, chain)?);
            self.open = self.open.saturating_add(1);
        }
        let taken = !self.chains.is_empty();
        if taken {
            self.handler.handle(&mut self.chains, &mut self.used)?;
        }
        Ok(taken)
    }

    fn answer(&mut self, interrupt: impl FnOnce()) -> Result<(), Broken> {
        let ram = self.memory.ram();
        for Used { head, written } in self.used.drain(..) {
            self.queue.add_used(ram, head, written)?;
            self.open = self.open.saturating_sub(1);
        }
        if self.queue.needs_notification(ram)? {
            interrupt();
        }
        Ok(())
    }
}
