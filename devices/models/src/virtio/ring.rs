//! A queue in guest memory, in the thread of whoever calls: chains are taken as they come, and given back in any order.
//!
//! virtio-queue walks the rings. What it lacks is here: chains that come back together are seen together, for a frame
//! may fill several of them (5.1.6.4.1), and so the interrupt is decided here too.

use super::{Broken, Chain, Used};
use ami_run_memory::{Gpa, GuestAddress, Memory};
use std::sync::atomic::{Ordering, fence};
use virtio_queue::{Error, Queue, QueueOwnedT, QueueT};

/// VIRTQ_AVAIL_F_NO_INTERRUPT (2.7.6).
const NO_INTERRUPT: u16 = 1;

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
    /// Chains that were taken and not given back. A driver can offer one again and again: no more than the queue's
    /// size are taken.
    open: u16,
    /// The used index at which the driver's wish for an interrupt was looked at last.
    told: u16,
}

impl Ring {
    /// The ring that the driver describes, if all of it lies in guest memory.
    #[must_use]
    pub fn new(setup: &Setup, memory: Memory) -> Option<Ring> {
        let mut queue = Queue::new(setup.max_size).ok()?;
        queue.try_set_size(setup.size).ok()?;
        queue.try_set_desc_table_address(GuestAddress(setup.descriptors)).ok()?;
        queue.try_set_avail_ring_address(GuestAddress(setup.driver)).ok()?;
        queue.try_set_used_ring_address(GuestAddress(setup.device)).ok()?;
        queue.set_event_idx(setup.event_index);
        queue.set_ready(true);
        let valid = queue.is_valid(memory.ram());
        valid.then_some(Ring { queue, memory, open: 0, told: 0 })
    }

    /// How many chains more can be taken.
    pub(super) fn room(&self) -> u16 {
        self.queue.size().saturating_sub(self.open)
    }

    /// Takes what is available, so many chains at most, and asks the driver not to ring for more. Says how many.
    pub(super) fn take(&mut self, most: u16, chains: &mut Vec<Chain>) -> Result<u16, Broken> {
        let (most, before) = (most.min(self.room()), self.open);
        if most == 0 {
            return Ok(0);
        }
        let ram = self.memory.ram();
        self.queue.disable_notification(ram)?;
        for chain in self.queue.iter(ram)?.take(usize::from(most)) {
            chains.push(Chain::take(&self.memory, chain)?);
            self.open = self.open.saturating_add(1);
        }
        Ok(self.open.saturating_sub(before))
    }

    /// Gives chains back, all at once. Says whether the driver wants to know.
    pub(super) fn give(&mut self, used: &mut Vec<Used>) -> Result<bool, Broken> {
        let Some(last) = used.pop() else { return Ok(false) };
        let first = self.queue.next_used();
        for (place, one) in used.drain(..).enumerate() {
            let place = u16::try_from(place).unwrap_or(u16::MAX);
            self.write_used(first.wrapping_add(place), one)?;
            self.queue.set_next_used(first.wrapping_add(place).wrapping_add(1));
        }
        // This one moves the index over all of them.
        self.queue.add_used(self.memory.ram(), last.head, last.written)?;
        let given = self.queue.next_used().wrapping_sub(first);
        self.open = self.open.saturating_sub(given);
        self.wants_interrupt()
    }

    /// Asks the driver to ring for the next chain. Says whether there is one already.
    pub(super) fn listen(&mut self) -> Result<bool, Broken> {
        Ok(self.queue.enable_notification(self.memory.ram())?)
    }

    /// An element of the used ring (2.7.8) that the index does not reach yet.
    fn write_used(&self, index: u16, used: Used) -> Result<(), Broken> {
        let place = index.checked_rem(self.queue.size()).unwrap_or(0);
        let distance = u64::from(place).saturating_mul(8).saturating_add(4);
        let at = Gpa(self.queue.used_ring()).checked_add(distance).ok_or(Error::AddressOverflow)?;
        let element = [u32::from(used.head).to_le_bytes(), used.written.to_le_bytes()];
        Ok(self.memory.write_record(at, &element).map_err(|_| Error::AddressOverflow)?)
    }

    /// 2.7.7.2, and 2.7.10 with event indices.
    fn wants_interrupt(&mut self) -> Result<bool, Broken> {
        // The driver sees the used index, or this sees its wish.
        fence(Ordering::SeqCst);
        let new = self.queue.next_used();
        let old = std::mem::replace(&mut self.told, new);
        if !self.queue.event_idx_enabled() {
            return Ok(self.available_word(0)? & NO_INTERRUPT == 0);
        }
        let event = self.available_word(u64::from(self.queue.size()).saturating_mul(2).saturating_add(4))?;
        Ok(new.wrapping_sub(event).wrapping_sub(1) < new.wrapping_sub(old))
    }

    /// A field of the available ring (2.7.6).
    fn available_word(&self, distance: u64) -> Result<u16, Broken> {
        let at = Gpa(self.queue.avail_ring()).checked_add(distance).ok_or(Error::AddressOverflow)?;
        Ok(self.memory.read_record(at).map(u16::from_le).map_err(|_| Error::AddressOverflow)?)
    }
}
