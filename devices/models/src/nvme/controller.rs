//! The PCI function: registers, doorbells and MSI-X in one BAR; what starts and stops the rest.
//!
//! Registers are written by whole dwords in their places, doorbells by one (NVMe 1.4, section 3.1); other writes are
//! dropped. Doorbells, and the rest of the BAR, read as zero.

use super::admin::Live;
use super::events::BadDoorbell;
use super::features::VECTORS;
use super::identity::Identity;
use super::interrupt::Interrupts;
use super::registers::{Ask, Registers, Transition};
use super::shared::{Queues, Shared};
use crate::bus::{Access, Effect, Width};
use crate::disk::Volume;
use crate::irq::Doorbells;
use crate::pci::{Address, Config, Function, MSIX_CAPABILITY, Msix, Wiring};
use crate::stages::Stage;
use ami_run_memory::Range;
use ami_run_storage::{Completion, Op, Request};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

const BAR_SIZE: u32 = 0x4000;
const DOORBELLS: u64 = 0x1000;
const MSIX: u32 = 0x2000;

#[derive(Debug)]
pub struct Nvme {
    shared: Shared,
    config: Mutex<Config>,
    msix_control: u8,
    msix: Arc<Msix>,
    /// The enabled controller; held while admin commands are carried out and while it is started and stopped.
    live: Mutex<Option<Live>>,
    /// The admin queue, or what is to be told there, needs a look.
    wanted: AtomicBool,
    bells: Doorbells,
    /// The log knows that the driver could not be served. Once is enough.
    told: AtomicBool,
}

impl Nvme {
    /// A controller at `place` with the volume as its one namespace.
    pub fn new(
        name: &str,
        place: Address,
        volume: Volume,
        identity: Identity,
        wiring: Wiring,
    ) -> io::Result<Arc<Nvme>> {
        let msix = Arc::new(Msix::new(VECTORS, place, Arc::clone(&wiring.hypervisor), wiring.trace));
        let (config, msix_control) = config_space(&identity, &msix);
        let interrupts = Arc::new(Interrupts::new(Arc::clone(&msix), wiring.lines, place.slot));
        let shared = Shared {
            name: name.to_owned(),
            memory: wiring.memory,
            gate: wiring.gate,
            volume,
            identity,
            registers: Mutex::new(Registers::default()),
            interrupts,
            counters: Arc::default(),
            queues: Mutex::default(),
            admin_tail: 0.into(),
            write_through: Arc::default(),
            bad_doorbell: Mutex::new(None),
            changed: false.into(),
            stages: wiring.stages,
        };
        Ok(Arc::new(Nvme {
            shared,
            config: Mutex::new(config),
            msix_control,
            msix,
            live: Mutex::new(None),
            wanted: false.into(),
            bells: Doorbells::new(name, wiring.hypervisor),
            told: false.into(),
        }))
    }

    /// The volume has another size: the driver is told to look.
    pub fn volume_changed(&self) {
        self.shared.changed.store(true, Ordering::SeqCst);
        self.want_admin();
    }

    /// Has the admin queue looked at, by this thread or by the one that is at it.
    fn want_admin(&self) {
        self.wanted.store(true, Ordering::SeqCst);
        self.serve_admin();
    }

    /// Nobody waits for the lock: who doesn't get it leaves the work to its holder, who looks again afterwards.
    fn serve_admin(&self) {
        while self.wanted.load(Ordering::SeqCst) {
            let Some(mut live) = self.live.try_lock() else { return };
            self.wanted.store(false, Ordering::SeqCst);
            if let Some(live) = live.as_mut() {
                live.serve(&self.shared);
                if std::mem::take(&mut live.doorbells_moved) {
                    self.hang_bells();
                }
            }
        }
    }

    /// CC was written: one transition at a time.
    fn configure(&self, value: u32) {
        let mut live = self.live.lock();
        let transition = self.shared.registers.lock().configure(value);
        match transition {
            Transition::None => (),
            Transition::Enable => self.enable(&mut live),
            Transition::Disable => self.disable(&mut live),
            Transition::Shutdown => self.shut_down(),
        }
        drop(live);
        self.serve_admin();
    }

    fn enable(&self, live: &mut Option<Live>) {
        let queues = self.shared.registers.lock().admin_queues();
        let Some(made) = queues.and_then(|queues| Live::new(&self.shared, queues).ok()) else {
            if !self.told.swap(true, Ordering::Relaxed) {
                log::warn!(
                    "{}: the driver enabled the controller without sound admin queues",
                    self.shared.name
                );
            }
            return self.shared.registers.lock().set_fatal();
        };
        self.shared.admin_tail.store(0, Ordering::SeqCst);
        self.shared.changed.store(false, Ordering::SeqCst);
        *self.shared.bad_doorbell.lock() = None;
        let mut queues = self.shared.queues.lock();
        queues.admin_size = made.size();
        queues.completions.insert(0, made.completions());
        drop(queues);
        *live = Some(made);
        self.shared.registers.lock().set_ready();
        if let Some(stages) = &self.shared.stages {
            stages.disk_started();
        }
    }

    /// A controller reset (7.3.2): commands that were begun are ended, everything is forgotten.
    fn disable(&self, live: &mut Option<Live>) {
        *self.shared.queues.lock() = Queues::default();
        if let Some(live) = live.take() {
            live.end();
            if let Some(stages) = &self.shared.stages {
                stages.reach(Stage::Released);
            }
        }
        self.shared.write_through.store(false, Ordering::SeqCst);
        self.shared.interrupts.reset();
        self.hang_bells();
        self.shared.registers.lock().reset();
    }

    /// The driver is about to cut the power (7.6.2): what it wrote is made durable. If it cannot be, that is no
    /// shutdown, and there is no completion to say so.
    fn shut_down(&self) {
        let flushed = self.flush().unwrap_or_else(|cause| {
            log::error!("{}: cannot wait for its volume: {cause}", self.shared.name);
            false
        });
        let mut registers = self.shared.registers.lock();
        if flushed {
            registers.set_shut_down();
        } else {
            registers.set_fatal();
        }
    }

    /// Waits until what was written before is on stable storage; false: it is not.
    fn flush(&self) -> io::Result<bool> {
        let mut queue = self.shared.volume.queue();
        let mut done: Vec<Completion> = Vec::new();
        let flush = Request { id: 0, op: Op::Flush, offset: 0, len: 0, durable: false, buffers: None };
        queue.submit(&mut vec![flush]);
        queue.run_out(&mut done)?;
        Ok(done.iter().any(|Completion { result, .. }| result.is_ok()))
    }

    fn doorbell(&self, offset: u64, value: u32) {
        let id = u16::try_from(offset >> 3).unwrap_or(u16::MAX);
        let head = offset & 4 != 0;
        let queues = self.shared.queues.lock();
        let admin_size = queues.admin_size;
        if admin_size == 0 {
            return;
        }
        let submissions = queues.submissions.get(&id).filter(|_| !head).map(Arc::clone);
        let completions = queues.completions.get(&id).filter(|_| head).map(Arc::clone);
        drop(queues);
        let sound = match (submissions, completions) {
            (Some(queue), _) => Some(queue.ring(value)),
            (_, Some(queue)) => Some(queue.ring(value)),
            _ if id == 0 => Some(self.admin_doorbell(value, admin_size)),
            _ => None,
        };
        let complaint = match sound {
            None => Some(BadDoorbell::Register),
            Some(false) => Some(BadDoorbell::Value),
            Some(true) => None,
        };
        if complaint.is_some() {
            *self.shared.bad_doorbell.lock() = complaint;
        }
        if complaint.is_some() || id == 0 {
            self.want_admin();
        }
    }

    fn admin_doorbell(&self, value: u32, size: u16) -> bool {
        let tail = u16::try_from(value).ok().filter(|tail| *tail < size);
        if let Some(tail) = tail {
            self.shared.admin_tail.store(tail, Ordering::Release);
        }
        tail.is_some()
    }

    /// Lets the hypervisor answer the doorbells of submission queues whose values are in guest memory: it doesn't
    /// tell what was written.
    fn hang_bells(&self) {
        let bells = || {
            let queues = self.shared.queues.lock();
            let shared = queues.submissions.iter().filter(|_| queues.shadows);
            let place = |id: u16| DOORBELLS.saturating_add(u64::from(id) << 3);
            shared.map(|(id, queue)| (place(*id), Arc::clone(&queue.kick))).collect()
        };
        self.bells.hang(|| self.config.lock().bar(0), bells);
    }

    fn register_write(&self, offset: u64, value: u32) {
        let ask = self.shared.registers.lock().write(offset, value);
        match ask {
            Ask::Nothing => (),
            Ask::Mask { set, clear } => self.shared.interrupts.set_mask(set, clear),
            Ask::Configure(value) => self.configure(value),
        }
    }
}

/// The configuration space, and the offset of MSI-X's control in it.
fn config_space(identity: &Identity, msix: &Msix) -> (Config, u8) {
    let mut config = Config::new(identity.pci());
    config.set_interrupt_pin_a();
    config.set_bar(0, BAR_SIZE);
    let [s0, s1, t0, t1, t2, t3, p0, p1, p2, p3] = msix.capability(0);
    let mut body = vec![s0, s1];
    for place in [[t0, t1, t2, t3], [p0, p1, p2, p3]] {
        body.extend(u32::from_le_bytes(place).wrapping_add(MSIX).to_le_bytes());
    }
    let msix_at = config.add_capability(MSIX_CAPABILITY, &body);
    config.allow(msix_at.wrapping_add(3), &[0xc0]);
    (config, msix_at.wrapping_add(2))
}

impl Function for Nvme {
    fn config_read(&self, offset: u8, width: Width) -> u32 {
        self.config.lock().read(offset, width)
    }

    fn config_write(&self, offset: u8, width: Width, value: u32) {
        let mut config = self.config.lock();
        config.write(offset, width, value);
        let control = u16::try_from(config.read(self.msix_control, Width::Word)).unwrap_or(0);
        let intx_off = config.intx_off();
        drop(config);
        if offset & !3 == self.msix_control & !3 {
            self.msix.set_control(control);
        }
        self.shared.interrupts.set_quiet(intx_off || self.msix.enabled());
        if offset < 0x28 {
            self.hang_bells();
        }
    }

    fn bar(&self, index: u8) -> Option<Range> {
        self.config.lock().bar(index)
    }

    fn bar_read(&self, index: u8, at: Access) -> u64 {
        match (index, at.offset) {
            (0, ..DOORBELLS) => self.shared.registers.lock().read(at.offset, at.width),
            (0, 0x2000..0x3000) => self.msix.read(below(at, MSIX)),
            (0, _) => 0,
            _ => at.width.ones(),
        }
    }

    fn bar_write(&self, index: u8, at: Access, value: u64) -> Effect {
        let [v0, v1, v2, v3, v4, v5, v6, v7] = value.to_le_bytes();
        let (low, high) = (u32::from_le_bytes([v0, v1, v2, v3]), u32::from_le_bytes([v4, v5, v6, v7]));
        let whole = at.offset.is_multiple_of(4);
        match (index, at.offset, at.width) {
            (0, 0x2000..0x3000, _) => self.msix.write(below(at, MSIX), value),
            (0, ..DOORBELLS, Width::Dword) if whole => self.register_write(at.offset, low),
            (0, ..DOORBELLS, Width::Qword) if whole => {
                self.register_write(at.offset, low);
                self.register_write(at.offset.wrapping_add(4), high);
            }
            (0, DOORBELLS..0x2000, Width::Dword) if whole => {
                self.doorbell(at.offset.wrapping_sub(DOORBELLS), low);
            }
            _ => (),
        }
        Effect::None
    }
}

fn below(at: Access, start: u32) -> Access {
    Access { offset: at.offset.wrapping_sub(u64::from(start)), width: at.width }
}
