//! How a device interrupts its driver.

use crate::irq::Lines;
use crate::pci::{Msix, NO_VECTOR};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

/// Bits of the ISR register (virtio 1.2, 4.1.4.5).
const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 2;

/// How a device interrupts its driver: by a message where MSI-X is on, else by ISR and INTA.
#[derive(Clone, Debug)]
pub(super) struct Notifier {
    pub(super) msix: Arc<Msix>,
    pub(super) isr: Arc<AtomicU8>,
    /// INTA is off: by the command register, or because MSI-X is on.
    pub(super) quiet: Arc<AtomicBool>,
    pub(super) lines: Arc<Lines>,
    pub(super) slot: u8,
}

impl Notifier {
    fn notify(&self, vector: u16, isr: u8) {
        if !self.msix.enabled() {
            self.isr.fetch_or(isr, Ordering::SeqCst);
            self.settle();
        } else if vector != NO_VECTOR {
            self.msix.signal(vector);
        }
    }

    fn level(&self) -> bool {
        self.isr.load(Ordering::SeqCst) != 0 && !self.quiet.load(Ordering::SeqCst)
    }

    /// Lets the line follow the ISR. Whoever was overtaken by another thread on the way sets it once more, so that
    /// the last level wins without a lock over the call.
    fn settle(&self) {
        loop {
            let level = self.level();
            self.lines.set_intx(self.slot, level);
            if self.level() == level {
                return;
            }
        }
    }

    pub(super) fn set_quiet(&self, quiet: bool) {
        self.quiet.store(quiet, Ordering::SeqCst);
        self.settle();
    }

    pub(super) fn queue(&self, vector: u16) {
        self.notify(vector, ISR_QUEUE);
    }

    pub(super) fn config(&self, vector: u16) {
        self.notify(vector, ISR_CONFIG);
    }

    /// The driver reads the ISR register: it and the line go down.
    pub(super) fn take_isr(&self) -> u8 {
        let isr = self.isr.swap(0, Ordering::SeqCst);
        self.settle();
        isr
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irq::fake::{PLACE, Recorder};
    use std::sync::Barrier;

    #[test]
    fn an_interrupt_while_the_isr_is_read_keeps_its_line_up() {
        let recorder = Arc::new(Recorder::default());
        let lines = Arc::new(Lines::wired(recorder.clone(), [3, 4, 5, 6]));
        let msix = Arc::new(Msix::new(1, PLACE, recorder.clone(), None));
        let notifier = Notifier { msix, isr: Arc::default(), quiet: Arc::default(), lines, slot: PLACE.slot };
        let both = Barrier::new(2);
        let mut wrong = 0;
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for _ in 0..1000 {
                    both.wait();
                    (0..100).for_each(|_| notifier.queue(0));
                    both.wait();
                }
            });
            for _ in 0..1000 {
                both.wait();
                for _ in 0..100 {
                    notifier.take_isr();
                }
                both.wait();
                let line = recorder.lines.lock().last().is_some_and(|(_, level)| *level);
                wrong += u32::from((notifier.isr.load(Ordering::SeqCst) != 0) != line);
            }
        });
        assert_eq!(wrong, 0, "times that ISR and line did not agree");
    }
}
