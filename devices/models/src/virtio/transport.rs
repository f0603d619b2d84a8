//! The PCI transport (virtio 1.2, section 4.1): a function with four structures in BAR 0 and MSI-X in BAR 1. What
//! lies behind a structure in its page reads as zero and is dropped.

use super::notifier::Notifier;
use super::registers::{Ask, DRIVER_OK, NEEDS_RESET, QueueRegisters, Registers};
use super::{EVENT_INDEX, Kind, LiveQueue, Ring, Setup};
use crate::bus::{Access, Effect, Width};
use crate::irq::{Bell, Doorbells};
use crate::pci::{Address, Config, Function, Identity, Msix, Wiring};
use crate::stages::Stage;
use crate::worker::Worker;
use ami_run_memory::Range;
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

// BAR 0: one page a structure, so that doorbells share their page with nothing.
const BAR_SIZE: u32 = 0x4000;
const COMMON: u32 = 0;
const ISR: u32 = 0x1000;
const DEVICE: u32 = 0x2000;
const NOTIFY: u32 = 0x3000;
const NOTIFY_STEP: usize = 4;
const MSIX_BAR_SIZE: u32 = 0x1000;
const VENDOR_CAPABILITY: u8 = 9;

#[derive(Debug)]
pub struct Transport {
    name: String,
    kind: Box<dyn Kind>,
    wiring: Wiring,
    config: Mutex<Config>,
    msix_control: u8,
    /// The window of PCI_CFG (4.1.4.9): its capability's offset.
    window: u8,
    registers: Arc<Mutex<Registers>>,
    msix: Arc<Msix>,
    notifier: Notifier,
    /// What the thread sleeps on; every queue's doorbell rings it.
    kick: Arc<Bell>,
    /// The log knows of a broken queue. A guest can break one as often as it likes: once is enough.
    told: Arc<AtomicBool>,
    /// The thread, while the driver uses the device; held while it is started and stopped.
    worker: Mutex<Option<Worker>>,
    bells: Doorbells,
}

impl Transport {
    pub fn new(
        name: &str,
        place: Address,
        kind: Box<dyn Kind>,
        wiring: Wiring,
    ) -> std::io::Result<Arc<Transport>> {
        let queues = kind.queues().len();
        let vectors = u16::try_from(queues).unwrap_or(u16::MAX).saturating_add(1);
        let msix = Arc::new(Msix::new(vectors, place, Arc::clone(&wiring.hypervisor), wiring.trace.clone()));
        let (config, msix_control, window) = config_space(&*kind, &msix);
        let notifier = Notifier {
            msix: Arc::clone(&msix),
            isr: Arc::new(AtomicU8::new(0)),
            quiet: Arc::new(AtomicBool::new(false)),
            lines: Arc::clone(&wiring.lines),
            slot: place.slot,
        };
        let kick = Arc::new(Bell::new()?);
        let registers = Registers::new(kind.features(), kind.queues(), vectors);
        let bells = Doorbells::new(name, Arc::clone(&wiring.hypervisor));
        Ok(Arc::new(Transport {
            name: name.to_owned(),
            kind,
            wiring,
            config: Mutex::new(config),
            msix_control,
            window,
            registers: Arc::new(Mutex::new(registers)),
            msix,
            notifier,
            kick,
            told: Arc::default(),
            worker: Mutex::default(),
            bells,
        }))
    }

    fn start(&self) {
        let mut worker = self.worker.lock();
        // Two vCPUs can ask for it with a reset between: a device has one thread all the same.
        if worker.is_some() {
            return;
        }
        let registers = self.registers.lock().clone();
        let live = |(index, queue): (usize, &QueueRegisters)| {
            if queue.enabled { self.live(index, queue, registers.accepted).map(Some) } else { Some(None) }
        };
        match registers.queues.iter().enumerate().map(live).collect() {
            Some(queues) => *worker = self.worker(queues, registers.accepted),
            None => broken(&self.registers, &self.notifier),
        }
        drop(worker);
        self.hang_bells();
    }

    /// A queue as the driver describes it, if its ring lies in guest memory.
    fn live(&self, index: usize, queue: &QueueRegisters, accepted: u64) -> Option<LiveQueue> {
        let QueueRegisters { max_size, size, vector, descriptors, driver, device, .. } = *queue;
        let event_index = accepted & EVENT_INDEX != 0;
        let setup = Setup { max_size, size, descriptors, driver, device, event_index };
        let (registers, notifier) = (Arc::clone(&self.registers), self.notifier.clone());
        let (name, told, own) = (self.name.clone(), Arc::clone(&self.told), self.notifier.clone());
        Some(LiveQueue {
            ring: Ring::new(&setup, self.wiring.memory.clone())?,
            interrupt: Box::new(move || own.queue(vector)),
            broken: Box::new(move |cause| {
                if !told.swap(true, Ordering::Relaxed) {
                    log::warn!("{name}: the driver broke queue {index}: {cause}");
                }
                broken(&registers, &notifier);
            }),
        })
    }

    fn worker(&self, queues: Vec<Option<LiveQueue>>, accepted: u64) -> Option<Worker> {
        let work = self.kind.work(queues, accepted)?;
        let started = Worker::start(self.name.clone(), Arc::clone(&self.kick), work, &self.wiring.gate);
        match started {
            Ok(worker) => Some(worker),
            Err(cause) => {
                log::error!("{}: no thread for its queues: {cause}", self.name);
                broken(&self.registers, &self.notifier);
                None
            }
        }
    }

    fn reset(&self) {
        let mut worker = self.worker.lock();
        drop(worker.take());
        let mut registers = self.registers.lock();
        let in_use = registers.status & DRIVER_OK != 0;
        registers.reset();
        drop(registers);
        if in_use && let Some(stages) = &self.wiring.stages {
            stages.reach(Stage::Released);
        }
        drop(worker);
        self.notifier.take_isr();
        self.hang_bells();
    }

    /// Lets the hypervisor answer the doorbells of a device in use, where they are now.
    fn hang_bells(&self) {
        let bells = || {
            let registers = self.registers.lock();
            if registers.status & DRIVER_OK == 0 {
                return Vec::new();
            }
            let places = (u64::from(NOTIFY)..).step_by(NOTIFY_STEP);
            let bells = places.zip(&registers.queues).filter(|(_, queue)| queue.enabled);
            bells.map(|(place, _)| (place, Arc::clone(&self.kick))).collect()
        };
        self.bells.hang(|| self.config.lock().bar(0), bells);
    }

    fn kick(&self, offset: u32) {
        let index = usize::try_from(offset).unwrap_or(usize::MAX) / NOTIFY_STEP;
        if index < self.kind.queues().len() {
            self.kick.ring();
        }
    }

    fn structures_read(&self, offset: u32, width: Width) -> u64 {
        match offset & 0xf000 {
            COMMON => match width {
                Width::Qword => {
                    let registers = self.registers.lock();
                    let at = u64::from(offset);
                    u64::from(registers.read(at)) | u64::from(registers.read(at.saturating_add(4))) << 32
                }
                _ => u64::from(self.registers.lock().read(u64::from(offset))) & width.ones(),
            },
            ISR if offset == ISR => u64::from(self.notifier.take_isr()),
            DEVICE => {
                let config = self.kind.config();
                let from = usize::try_from(offset & 0xfff).unwrap_or(usize::MAX);
                let bytes = config.get(from..).unwrap_or_default();
                let count = bytes.len().min(usize::from(width.bytes()));
                crate::bus::little_endian(bytes.get(..count).unwrap_or_default())
            }
            _ => 0,
        }
    }

    fn structures_write(&self, offset: u32, width: Width, value: u64) {
        let [v0, v1, v2, v3, v4, v5, v6, v7] = value.to_le_bytes();
        let (low, high) = (u32::from_le_bytes([v0, v1, v2, v3]), u32::from_le_bytes([v4, v5, v6, v7]));
        match offset & 0xf000 {
            COMMON => {
                self.common_write(offset, low);
                if width == Width::Qword {
                    self.common_write(offset.saturating_add(4), high);
                }
            }
            NOTIFY => self.kick(offset & 0xfff),
            _ => (),
        }
    }

    fn common_write(&self, offset: u32, value: u32) {
        let ask = self.registers.lock().write(u64::from(offset), value);
        match ask {
            Ask::Nothing => (),
            Ask::Reset => self.reset(),
            Ask::Start => self.start(),
        }
    }

    /// The access that PCI_CFG's fields describe: BAR, offset, width.
    fn window_access(&self) -> Option<(u8, Access)> {
        let config = self.config.lock();
        let bar = config.byte(self.window.wrapping_add(4));
        let offset = u64::from(config.dword(self.window.wrapping_add(8)));
        let len = usize::try_from(config.dword(self.window.wrapping_add(12))).ok()?;
        let width = Width::of(len).filter(|width| *width != Width::Qword)?;
        Some((bar, Access { offset, width }))
    }

    fn window_data(&self, offset: u8) -> bool {
        offset & !3 == self.window.wrapping_add(16)
    }
}

/// The driver did what it must not: the device says that it needs a reset (2.1.2).
fn broken(registers: &Mutex<Registers>, notifier: &Notifier) {
    let mut registers = registers.lock();
    registers.status |= NEEDS_RESET;
    let vector = registers.config_vector;
    drop(registers);
    notifier.config(vector);
}

/// The configuration space: identity, BARs, capabilities. Returns the offsets of MSI-X's control and of PCI_CFG.
fn config_space(kind: &dyn Kind, msix: &Msix) -> (Config, u8, u8) {
    let (device, class) = kind.identity();
    let mut config = Config::new(Identity {
        vendor: 0x1af4,
        device: device.saturating_add(0x1040),
        revision: 1,
        class,
        subsystem_vendor: 0x1af4,
        subsystem: device.saturating_add(0x1040),
    });
    config.set_interrupt_pin_a();
    config.set_bar(0, BAR_SIZE);
    config.set_bar(1, MSIX_BAR_SIZE);
    let msix_at = config.add_capability(crate::pci::MSIX_CAPABILITY, &msix.capability(1));
    config.allow(msix_at.wrapping_add(3), &[0xc0]);
    let structure = |len: u8, which: u8, offset: u32, size: u32| {
        let mut body = vec![len, which, 0, 0, 0, 0];
        body.extend(offset.to_le_bytes());
        body.extend(size.to_le_bytes());
        body
    };
    config.add_capability(VENDOR_CAPABILITY, &structure(16, 1, COMMON, 56));
    config.add_capability(VENDOR_CAPABILITY, &structure(16, 3, ISR, 1));
    config.add_capability(VENDOR_CAPABILITY, &structure(16, 4, DEVICE, 0x1000));
    let mut notify = structure(20, 2, NOTIFY, 0x1000);
    notify.extend(4u32.to_le_bytes());
    config.add_capability(VENDOR_CAPABILITY, &notify);
    let mut window = structure(20, 5, 0, 0);
    window.extend([0; 4]);
    let window_at = config.add_capability(VENDOR_CAPABILITY, &window);
    config.allow(window_at.wrapping_add(4), &[0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0]);
    (config, msix_at.wrapping_add(2), window_at)
}

impl Function for Transport {
    fn config_read(&self, offset: u8, width: Width) -> u32 {
        if self.window_data(offset) {
            return match self.window_access() {
                Some((bar, at)) => u32::try_from(self.bar_read(bar, at) & 0xffff_ffff).unwrap_or(0),
                None => 0,
            };
        }
        self.config.lock().read(offset, width)
    }

    fn config_write(&self, offset: u8, width: Width, value: u32) {
        if self.window_data(offset) {
            if let Some((bar, at)) = self.window_access() {
                self.bar_write(bar, at, u64::from(value));
            }
            return;
        }
        let mut config = self.config.lock();
        config.write(offset, width, value);
        let control = u16::try_from(config.read(self.msix_control, Width::Word)).unwrap_or(0);
        let intx_off = config.intx_off();
        drop(config);
        if offset & !3 == self.msix_control & !3 {
            self.msix.set_control(control);
        }
        self.notifier.set_quiet(intx_off || self.msix.enabled());
        if offset < 0x28 {
            self.hang_bells();
        }
    }

    fn bar(&self, index: u8) -> Option<Range> {
        self.config.lock().bar(index)
    }

    fn bar_read(&self, index: u8, at: Access) -> u64 {
        let Ok(offset) = u32::try_from(at.offset) else { return at.width.ones() };
        match index {
            0 if offset < BAR_SIZE => self.structures_read(offset, at.width),
            1 => self.msix.read(at),
            _ => at.width.ones(),
        }
    }

    fn bar_write(&self, index: u8, at: Access, value: u64) -> Effect {
        let Ok(offset) = u32::try_from(at.offset) else { return Effect::None };
        match index {
            0 if offset < BAR_SIZE => self.structures_write(offset, at.width, value),
            1 => self.msix.write(at, value),
            _ => (),
        }
        Effect::None
    }
}
