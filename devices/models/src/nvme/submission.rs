//! An I/O submission queue (NVMe 1.4, section 4.1): what the driver's doorbell says, shared with the thread that
//! takes commands out.

use super::completion::Completions;
use super::ring::{Ring, Shadow};
use super::spec::Sqe;
use crate::irq::Bell;
use ami_run_memory::Memory;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};

#[derive(Debug)]
pub(super) struct Submissions {
    pub(super) ring: Ring,
    pub(super) memory: Memory,
    pub(super) completions: Arc<Completions>,
    pub(super) completions_id: u16,
    /// Wakes the thread.
    pub(super) kick: Arc<Bell>,
    /// What the doorbell register was told last.
    pub(super) tail: AtomicU16,
    pub(super) shadow: Mutex<Option<Shadow>>,
}

impl Submissions {
    /// From now on the driver's doorbell is in its memory.
    pub(super) fn share(&self, new: Shadow) {
        let mut shadow = self.shadow.lock();
        if shadow.is_none() {
            new.seed(&self.memory, self.tail.load(Ordering::Acquire));
        }
        *shadow = Some(new);
        drop(shadow);
        self.kick.ring();
    }

    /// The doorbell register was written. Says whether its value can be.
    pub(super) fn ring(&self, value: u32) -> bool {
        let Some(tail) = self.ring.index(value) else { return false };
        self.tail.store(tail, Ordering::Release);
        self.kick.ring();
        true
    }

    /// How many commands lie there from `head` on. A doorbell in memory that is wrong says: none.
    pub(super) fn waiting(&self, head: u16) -> u16 {
        let tail = match *self.shadow.lock() {
            Some(shadow) => {
                shadow.load(&self.memory).and_then(|value| self.ring.index(value)).unwrap_or(head)
            }
            None => self.tail.load(Ordering::Acquire),
        };
        self.ring.distance(head, tail)
    }

    /// Asks to be woken for the next command after `head`. True if there is one already.
    pub(super) fn arm(&self, head: u16) -> bool {
        let shadow = *self.shadow.lock();
        if let Some(shadow) = shadow {
            shadow.set_event(&self.memory, head);
        }
        self.waiting(head) != 0
    }

    /// Copies the command at `head` out of guest memory.
    pub(super) fn command(&self, head: u16) -> Option<Sqe> {
        self.memory.read_record(self.ring.at(head)).ok()
    }
}
