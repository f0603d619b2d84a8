//! A machine's life: build, run, reset, end.

use crate::board::Outside;
use crate::first::First;
use crate::kvm::{self, Vm};
use crate::vcpu::{Event, Shared, Vcpu};
use crate::{Boot, Console, Exit, MachineError, Spec, arch, disks};
use ami_run_memory::Memory;
use ami_run_models::gate::Gate;
use ami_run_models::ports::DebugText;
use ami_run_models::stages::{Reached, Stages};
use kvm_ioctls::Kvm;
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::fs::File;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use vmm_sys_util::signal::{Killable, SIGRTMIN, register_signal_handler};

const MIB: u64 = 1 << 20;
/// How long all threads may take to stand still: each finishes what it has begun with a disk of the host's.
const PAUSE_PATIENCE: Duration = Duration::from_secs(5);
/// Two triple faults within this time are a guest that cannot start.
const TRIPLE_FAULT_WINDOW: Duration = Duration::from_secs(60);

/// What others may do to a machine while it runs.
#[derive(Clone, Debug)]
pub struct Handle {
    pub(crate) console: Arc<Console>,
    pub(crate) debug_text: Arc<Mutex<DebugText>>,
    power: Arc<Mutex<Weak<arch::PowerButton>>>,
    restarts: Arc<AtomicBool>,
    pub(crate) stages: Arc<Stages>,
    events: Sender<Event>,
}

impl Handle {
    /// Presses the ACPI power button; says whether the guest listens to it now.
    pub fn press_power_button(&self) -> bool {
        let power = self.power.lock().upgrade();
        power.is_some_and(|power| power.press_power_button())
    }

    /// Whether the guest's next power-off is a reset instead of the end. Any reset takes it back.
    pub fn restart_on_power_off(&self, restarts: bool) {
        self.restarts.store(restarts, Ordering::Relaxed);
    }

    /// Resets the machine, whatever the guest does.
    pub fn reset(&self) {
        // The machine may have ended by itself.
        drop(self.events.send(Event::Reset));
    }

    /// Ends the machine, whatever the guest does.
    pub fn stop(&self) {
        // The machine may have ended by itself.
        drop(self.events.send(Event::Stop));
    }

    /// Makes every thread of the machine stand still; says whether it does. [`Handle::resume`] is owed then.
    pub fn pause(&self) -> bool {
        let (done, answer) = channel();
        // An error is a machine that has ended: it is still enough, but nothing to resume.
        self.events.send(Event::Pause(done)).is_ok() && answer.recv_timeout(PAUSE_PATIENCE).is_ok()
    }

    pub fn resume(&self) {
        // The machine may have ended.
        drop(self.events.send(Event::Resume));
    }

    #[must_use]
    pub fn console(&self) -> &Console {
        &self.console
    }

    /// How far the start has come since the last reset.
    #[must_use]
    pub fn reached(&self) -> Reached {
        self.stages.reached()
    }

    /// Whether the firmware said anything on its debug port.
    #[must_use]
    pub fn firmware_spoke(&self) -> bool {
        !self.debug_text.lock().is_empty()
    }

    /// From now on the firmware's debug text goes to this file, as it comes.
    pub fn keep_firmware_text(&self, file: File) {
        self.debug_text.lock().keep_in(file);
    }

    /// What the firmware said on its debug port.
    #[must_use]
    pub fn firmware_text(&self) -> String {
        self.debug_text.lock().text()
    }
}

/// A machine that has not run yet.
#[derive(Debug)]
pub struct Machine {
    kvm: Kvm,
    cpus: arch::Cpus,
    spec: Spec,
    ram: Memory,
    first: First,
    handle: Handle,
    events: Receiver<Event>,
}

impl Machine {
    pub fn new(spec: Spec, boot: Boot) -> Result<Machine, MachineError> {
        let kvm = kvm::open()?;
        let most = kvm::most_cpus(&kvm);
        if spec.cpus == 0 || spec.cpus > most {
            return Err(MachineError::Cpus(spec.cpus, most));
        }
        if disks::slots(&spec.disks).is_none() {
            return Err(MachineError::Disks(spec.disks.len()));
        }
        if spec.memory < 2 * MIB || !spec.memory.is_multiple_of(4096) {
            return Err(MachineError::MemorySize(spec.memory));
        }
        let cpus = arch::Cpus::ask(&kvm)?;
        let ram = Memory::new(&arch::ram(spec.memory))?;
        let first = First::new(boot)?;
        register_signal_handler(SIGRTMIN(), on_kick)
            .map_err(|cause| MachineError::Call { what: "setting a signal handler", cause: cause.into() })?;
        let console =
            Console::new().map_err(|cause| MachineError::Call { what: "making the console", cause })?;
        let (sender, events) = channel();
        let handle = Handle {
            console: Arc::new(console),
            debug_text: Arc::default(),
            power: Arc::default(),
            restarts: Arc::default(),
            stages: Arc::default(),
            events: sender,
        };
        Ok(Machine { kvm, cpus, spec, ram, first, handle, events })
    }

    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Runs until the guest has ended for good. The console is woken then.
    /// `runs` is called once, when its vCPUs have begun.
    pub fn run(self, runs: impl FnOnce()) -> Result<Exit, MachineError> {
        let result = self.run_to_the_end(runs);
        if let Some(trace) = &self.spec.trace {
            trace.flush();
        }
        self.first.finish();
        self.handle.debug_text.lock().flush();
        self.handle.console.wake();
        result
    }

    fn run_to_the_end(&self, runs: impl FnOnce()) -> Result<Exit, MachineError> {
        let mut runs = Some(runs);
        let mut last_fault: Option<Instant> = None;
        // What was asked for while the machine was built anew.
        let mut asked = VecDeque::new();
        loop {
            let running = self.start()?;
            if let Some(runs) = runs.take() {
                runs();
            }
            let event = self.follow(&running, &mut asked);
            drop(running);
            match event {
                Event::PowerOff if !self.handle.restarts.load(Ordering::Relaxed) => {
                    return Ok(Exit::PoweredOff);
                }
                Event::Stop => return Ok(Exit::Stopped),
                Event::Emulation(failure) => return Ok(Exit::Emulation(failure)),
                Event::Failed(what) => {
                    return Err(MachineError::Call { what: "KVM_RUN", cause: std::io::Error::other(what) });
                }
                Event::PowerOff | Event::Reset | Event::Pause(_) | Event::Resume => (),
                Event::TripleFault => {
                    let soon = last_fault.is_some_and(|before| before.elapsed() < TRIPLE_FAULT_WINDOW);
                    if soon || self.spec.fail_on_triple_fault {
                        return Ok(Exit::TripleFault);
                    }
                    last_fault = Some(Instant::now());
                }
            }
            // What somebody outside asked for meanwhile must not be lost; what the dead vCPUs still said must be.
            for event in self.events.try_iter() {
                match event {
                    Event::Stop => return Ok(Exit::Stopped),
                    Event::Pause(_) | Event::Resume => asked.push_back(event),
                    _ => (),
                }
            }
            log::info!("the machine is reset");
            self.handle.restart_on_power_off(false);
            self.handle.stages.begin_anew();
            self.handle.console.mark_reset();
            self.ram.clear();
        }
    }

    /// Lets the machine run, and pauses it when asked to, until something ends it.
    fn follow(&self, running: &Running, asked: &mut VecDeque<Event>) -> Event {
        let (mut is_paused, mut held) = (false, None);
        loop {
            // This machine's own handle is a sender, so there is always one.
            let next = asked.pop_front().or_else(|| self.events.recv().ok());
            match next.unwrap_or(Event::Stop) {
                Event::Stop => return Event::Stop,
                Event::Pause(done) => {
                    is_paused = true;
                    running.pause();
                    // Who asked may have lost patience.
                    done.send(()).unwrap_or_default();
                }
                Event::Resume => {
                    is_paused = false;
                    running.gate.open();
                    if let Some(event) = held.take() {
                        return event;
                    }
                }
                // A vCPU said it on its way to the gate: a machine that stands still is not reset either.
                event if is_paused => held = held.or(Some(event)),
                event => return event,
            }
        }
    }

    /// A new virtual machine in the state of a computer that is switched on.
    fn start(&self) -> Result<Running, MachineError> {
        let mut slots = arch::ram_slots(&self.ram);
        slots.extend(self.first.slots());
        let (vm, vcpus) = Vm::new(&self.kvm, &self.cpus, self.spec.cpus, &slots, self.spec.trace.clone())?;
        let vm = Arc::new(vm);
        let gate = Arc::new(Gate::default());
        let outside = Outside {
            vm: &vm,
            cpus: &vcpus.facts,
            spec: &self.spec,
            first: &self.first,
            variables_slot: u32::try_from(slots.len().saturating_sub(1)).unwrap_or(u32::MAX),
            ram: &self.ram,
            handle: &self.handle,
            gate: &gate,
        };
        let parts = arch::build(&outside)?;
        *self.handle.power.lock() = Arc::downgrade(&parts.power);
        let entry = self.first.prepare(&self.ram, &parts.board)?;
        if let (Some(boot_cpu), Some(entry)) = (vcpus.fds.first(), &entry) {
            arch::set_entry(boot_cpu, entry)?;
        }
        let run_size = vm.run_size();
        let shared = Arc::new(Shared {
            ports: parts.ports,
            memory: parts.memory,
            run_size,
            trace: self.spec.trace.clone(),
        });
        let mut running = Running { gate, threads: Vec::new(), _power: parts.power };
        for (id, fd) in (0..).zip(vcpus.fds) {
            // Nothing but a signal wakes a vCPU, and one may be missed: see `kick`.
            let (pass, _) = running.gate.admit(|| ());
            let vcpu = Vcpu { id, fd, shared: Arc::clone(&shared), events: self.handle.events.clone(), pass };
            let thread = std::thread::Builder::new().name(format!("vcpu{id}")).spawn(move || vcpu.run());
            let failed = |cause| MachineError::Call { what: "starting a vCPU's thread", cause };
            running.threads.push(thread.map_err(failed)?);
        }
        Ok(running)
    }
}

extern "C" fn on_kick(_: libc::c_int, _: *mut libc::siginfo_t, _: *mut libc::c_void) {}

/// All threads of a machine; dropping it ends them.
#[derive(Debug)]
struct Running {
    gate: Arc<Gate>,
    threads: Vec<JoinHandle<()>>,
    _power: Arc<arch::PowerButton>,
}

impl Running {
    fn pause(&self) {
        self.gate.close(|| self.kick());
    }

    /// Brings vCPUs out of the guest. A signal that comes just before KVM_RUN is lost: the gate calls this until
    /// all have come.
    fn kick(&self) {
        for thread in &self.threads {
            if let Err(cause) = thread.kill(SIGRTMIN()) {
                log::debug!("a vCPU's thread cannot be signalled: {cause}");
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.gate.end(|| self.kick());
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                log::error!("a vCPU's thread ended by a bug");
            }
        }
    }
}
