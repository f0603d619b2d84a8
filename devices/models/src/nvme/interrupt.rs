//! How the controller interrupts its driver (NVMe 1.4, section 7.5): by messages where MSI-X is on, else by INTA.

use crate::irq::Lines;
use crate::pci::Msix;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

/// Pin-based interrupts have one vector.
const PIN: u32 = 1;

#[derive(Debug)]
pub(super) struct Interrupts {
    msix: Arc<Msix>,
    lines: Arc<Lines>,
    slot: u8,
    /// Completion queues with interrupts on that hold completions which the driver has not taken, a bit each.
    waiting: AtomicU32,
    /// INTMS and INTMC.
    mask: AtomicU32,
    /// INTA is off: by the command register, or because MSI-X is on.
    quiet: AtomicBool,
}

impl Interrupts {
    pub(super) fn new(msix: Arc<Msix>, lines: Arc<Lines>, slot: u8) -> Interrupts {
        let (waiting, mask, quiet) = (AtomicU32::new(0), AtomicU32::new(0), AtomicBool::new(false));
        Interrupts { msix, lines, slot, waiting, mask, quiet }
    }

    pub(super) fn by_pin(&self) -> bool {
        !self.msix.enabled()
    }

    /// A queue has completions to take, or has none any more. Its lock is held, so that the last word is right.
    pub(super) fn set_waiting(&self, queue: u16, waiting: bool) {
        let bit = 1 << (queue & 31);
        if waiting {
            self.waiting.fetch_or(bit, Ordering::SeqCst);
        } else {
            self.waiting.fetch_and(!bit, Ordering::SeqCst);
        }
    }

    /// Completions were posted to a queue that is marked as waiting.
    pub(super) fn signal(&self, vector: u16) {
        if self.by_pin() { self.settle() } else { self.msix.signal(vector) }
    }

    fn level(&self) -> bool {
        let up = self.waiting.load(Ordering::SeqCst) != 0 && self.mask.load(Ordering::SeqCst) & PIN == 0;
        up && !self.quiet.load(Ordering::SeqCst)
    }

    /// Lets the line follow what is waiting. Whoever was overtaken by another thread on the way sets it once more,
    /// so that the last level wins without a lock over the call.
    pub(super) fn settle(&self) {
        loop {
            let level = self.level();
            self.lines.set_intx(self.slot, level);
            if self.level() == level {
                return;
            }
        }
    }

    pub(super) fn set_mask(&self, set: u32, clear: u32) {
        self.mask.fetch_or(set, Ordering::SeqCst);
        self.mask.fetch_and(!clear, Ordering::SeqCst);
        self.settle();
    }

    pub(super) fn set_quiet(&self, quiet: bool) {
        self.quiet.store(quiet, Ordering::SeqCst);
        self.settle();
    }

    pub(super) fn reset(&self) {
        self.waiting.store(0, Ordering::SeqCst);
        self.mask.store(0, Ordering::SeqCst);
        self.settle();
    }
}
