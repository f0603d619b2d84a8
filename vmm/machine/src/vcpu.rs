//! A vCPU's thread: runs the guest, carries its accesses to the buses, and the effects to whoever runs the machine.

use crate::exit::{self, EmulationFailure, EmulationProblem, Stop};
use crate::{absent, arch};
use ami_run_models::bus::{Bus, Effect};
use ami_run_models::gate::{Pass, Turn};
use ami_run_models::trace::{Kinds, Trace};
use kvm_ioctls::VcpuFd;
use std::sync::Arc;
use std::sync::mpsc::Sender;

/// What is told to who runs the machine.
#[derive(Debug)]
pub(crate) enum Event {
    // By a vCPU, which after any of these only waits for its end; a reset also by somebody outside:
    PowerOff,
    Reset,
    TripleFault,
    Emulation(EmulationFailure),
    /// KVM refused to go on.
    Failed(String),
    // By somebody outside:
    Stop,
    /// Stand still; answered when all do.
    Pause(Sender<()>),
    Resume,
}

/// What all vCPUs of a machine share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) ports: Bus,
    pub(crate) memory: Bus,
    pub(crate) run_size: usize,
    pub(crate) trace: Option<Arc<Trace>>,
}

pub(crate) struct Vcpu {
    pub(crate) id: u32,
    pub(crate) fd: VcpuFd,
    pub(crate) shared: Arc<Shared>,
    pub(crate) events: Sender<Event>,
    pub(crate) pass: Pass,
}

impl Vcpu {
    pub(crate) fn run(mut self) {
        let shared = Arc::clone(&self.shared);
        loop {
            match self.pass.next() {
                Turn::End => return,
                Turn::Resume => arch::excuse_the_pause(&self.fd, self.id),
                Turn::Go => (),
            }
            let event = match exit::run(&mut self.fd, shared.run_size) {
                Ok(stop) => self_stop(&shared, self.id, stop),
                Err(cause) => Some(Event::Failed(format!("vCPU {}: {cause}", self.id))),
            };
            if let Some(event) = event {
                let event = self.with_address(event);
                // Who runs the machine is there until this thread has ended.
                drop(self.events.send(event));
                // What the guest does after it has asked for its end is of no consequence.
                return self.pass.wait_for_end();
            }
        }
    }

    fn with_address(&self, event: Event) -> Event {
        match (event, arch::instruction_address(&self.fd)) {
            (Event::Emulation(failure), Some(address)) => {
                Event::Emulation(EmulationFailure { address, ..failure })
            }
            (event, _) => event,
        }
    }
}

/// Answers one stop.
fn self_stop(shared: &Shared, id: u32, stop: Stop<'_>) -> Option<Event> {
    if let Some(trace) = shared.trace.as_deref().filter(|trace| trace.on(Kinds::EXITS)) {
        return traced(shared, trace, id, stop);
    }
    answer(shared, id, stop)
}

fn answer(shared: &Shared, id: u32, stop: Stop<'_>) -> Option<Event> {
    match stop {
        Stop::PortRead { port, size, data } => {
            for part in data.chunks_mut(size) {
                shared.ports.read(u64::from(port), part);
            }
            None
        }
        Stop::PortWrite { port, size, data } => {
            let mut event = None;
            for part in data.chunks(size) {
                event = event_of(shared.ports.write(u64::from(port), part)).or(event);
            }
            event
        }
        Stop::MemoryRead { address, data } => {
            shared.memory.read(address, data);
            None
        }
        Stop::MemoryWrite { address, data } => event_of(shared.memory.write(address, data)),
        Stop::Interrupted | Stop::Halted => None,
        Stop::Shutdown => Some(Event::TripleFault),
        Stop::PowerOff => Some(Event::PowerOff),
        Stop::Reset => Some(Event::Reset),
        Stop::Internal { code, instruction } => {
            let why = EmulationProblem::Internal(code);
            Some(Event::Emulation(EmulationFailure { cpu: id, address: 0, instruction, why }))
        }
        Stop::Undecoded { address } => {
            let why = EmulationProblem::Access(address);
            Some(Event::Emulation(EmulationFailure { cpu: id, address: 0, instruction: Vec::new(), why }))
        }
        Stop::FailedEntry { reason } => {
            Some(Event::Failed(format!("vCPU {id} cannot be entered: hardware reason {reason:#x}")))
        }
        Stop::Unknown(reason) => {
            Some(Event::Failed(format!("vCPU {id} stopped for unknown reason {reason}")))
        }
    }
}

fn event_of(effect: Effect) -> Option<Event> {
    match effect {
        Effect::None => None,
        Effect::PowerOff => Some(Event::PowerOff),
        Effect::Reset => Some(Event::Reset),
    }
}

/// Writes down the stop with its data, after it was answered where data is an answer.
fn traced(shared: &Shared, trace: &Trace, id: u32, stop: Stop<'_>) -> Option<Event> {
    let say = |what: std::fmt::Arguments<'_>| trace.line(Kinds::EXITS, format_args!("cpu{id} {what}"));
    match stop {
        Stop::PortRead { port, size, data } => {
            let who = absent::port(&shared.ports, port);
            for part in data.chunks_mut(size) {
                shared.ports.read(u64::from(port), part);
            }
            say(format_args!("in  {port:#06x} {size} {:02x?}{who}", Short(data)));
            None
        }
        Stop::PortWrite { port, size, data } => {
            let who = absent::port(&shared.ports, port);
            say(format_args!("out {port:#06x} {size} {:02x?}{who}", Short(data)));
            answer(shared, id, Stop::PortWrite { port, size, data })
        }
        Stop::MemoryRead { address, data } => {
            let who = absent::memory(&shared.memory, address);
            shared.memory.read(address, data);
            say(format_args!("get {address:#x} {:02x?}{who}", Short(data)));
            None
        }
        Stop::MemoryWrite { address, data } => {
            let who = absent::memory(&shared.memory, address);
            say(format_args!("put {address:#x} {:02x?}{who}", Short(data)));
            answer(shared, id, Stop::MemoryWrite { address, data })
        }
        other => {
            say(format_args!("{other:?}"));
            answer(shared, id, other)
        }
    }
}

/// The first bytes of a long transfer.
struct Short<'a>(&'a [u8]);

impl std::fmt::Debug for Short<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = self.0.get(..16).unwrap_or(self.0);
        for byte in shown {
            write!(f, "{byte:02x}")?;
        }
        if self.0.len() > 16 { write!(f, "… ({} bytes)", self.0.len()) } else { Ok(()) }
    }
}
