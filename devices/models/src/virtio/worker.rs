//! A queue's thread: sleeps on the doorbell, takes what is available, hands it over, gives it back.

use super::{Chain, Handler, Used};
use crate::irq::Lines;
use crate::pci::{Msix, NO_VECTOR};
use ami_run_memory::Memory;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::thread::JoinHandle;
use virtio_queue::{Queue, QueueOwnedT, QueueT};
use vmm_sys_util::eventfd::EventFd;

/// Bits of the ISR register (virtio 1.2, 4.1.4.5).
const ISR_QUEUE: u8 = 1;
const ISR_CONFIG: u8 = 2;

/// How a device interrupts its driver: by a message where MSI-X is on, else by ISR and INTA.
#[derive(Clone, Debug)]
pub(super) struct Notifier {
    pub(super) msix: Arc<Msix>,
    pub(super) isr: Arc<AtomicU8>,
    pub(super) lines: Arc<Lines>,
    pub(super) slot: u8,
}

impl Notifier {
    fn notify(&self, vector: u16, isr: u8) {
        if !self.msix.enabled() {
            self.isr.fetch_or(isr, Ordering::AcqRel);
            self.lines.set_intx(self.slot, true);
        } else if vector != NO_VECTOR {
            self.msix.signal(vector);
        }
    }

    pub(super) fn queue(&self, vector: u16) {
        self.notify(vector, ISR_QUEUE);
    }

    pub(super) fn config(&self, vector: u16) {
        self.notify(vector, ISR_CONFIG);
    }

    /// The driver reads the ISR register: it and the line go down.
    pub(super) fn take_isr(&self) -> u8 {
        let isr = self.isr.swap(0, Ordering::AcqRel);
        self.lines.set_intx(self.slot, false);
        isr
    }
}

/// What a thread is started with.
pub(super) struct Start {
    pub(super) name: String,
    pub(super) queue: Queue,
    pub(super) memory: Memory,
    pub(super) kick: Arc<EventFd>,
    pub(super) notifier: Notifier,
    pub(super) vector: u16,
    pub(super) handler: Box<dyn Handler>,
    /// Called once when the driver has broken the ring; the thread then only waits for its end.
    pub(super) broken: Box<dyn Fn() + Send>,
}

#[derive(Debug)]
pub(super) struct Worker {
    stop: Arc<AtomicBool>,
    kick: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Worker {
    pub(super) fn start(start: Start) -> io::Result<Worker> {
        let stop = Arc::new(AtomicBool::new(false));
        let kick = Arc::clone(&start.kick);
        let name = start.name.clone();
        let flag = Arc::clone(&stop);
        let thread = std::thread::Builder::new().name(name).spawn(move || run(start, &flag))?;
        Ok(Worker { stop, kick, thread: Some(thread) })
    }
}

/// Ends the thread, after the requests that it has begun.
impl Drop for Worker {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Err(cause) = self.kick.write(1) {
            log::error!("cannot wake a queue's thread: {cause}");
        }
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("a queue's thread ended by a bug");
        }
    }
}

fn run(mut start: Start, stop: &AtomicBool) {
    let mut sound = true;
    while !stop.load(Ordering::Acquire) {
        if sound && let Err(cause) = drain(&mut start, stop) {
            log::warn!("{}: the driver broke its queue: {cause}", start.name);
            sound = false;
            (start.broken)();
        }
        if let Err(cause) = start.kick.read() {
            log::error!("{}: {cause}", start.name);
            return;
        }
    }
}

/// Serves the queue until it is empty.
fn drain(start: &mut Start, stop: &AtomicBool) -> Result<(), virtio_queue::Error> {
    let shared = start.memory.shared();
    let ram = &*shared;
    let (mut chains, mut used) = (Vec::new(), Vec::new());
    loop {
        start.queue.disable_notification(ram)?;
        loop {
            let batch = usize::from(start.queue.size());
            let memory = &start.memory;
            chains.extend(start.queue.iter(ram)?.take(batch).map(|chain| Chain::take(memory, chain)));
            if chains.is_empty() {
                break;
            }
            start.handler.handle(&mut chains, &mut used);
            for Used { head, written } in used.drain(..) {
                start.queue.add_used(ram, head, written)?;
            }
            if start.queue.needs_notification(ram)? {
                start.notifier.queue(start.vector);
            }
            if stop.load(Ordering::Acquire) {
                return Ok(());
            }
        }
        if !start.queue.enable_notification(ram)? {
            return Ok(());
        }
    }
}
