//! A hypervisor for tests: it writes down what it is told, and gives events as it would deliver them.

use super::{Doorbell, Hypervisor, Lines, Message, Vector};
use crate::gate::Gate;
use crate::pci::{Address, Wiring};
use ami_run_memory::{Memory, Range};
use parking_lot::Mutex;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// The first GSI of messages.
const FIRST: usize = 24;

/// Where the one device of a test is, and the interrupt that its INTA, link D, is wired to.
pub(crate) const PLACE: Address = Address { slot: 4, function: 0 };
pub(crate) const LINE: u32 = 11;

/// A machine for one device.
pub(crate) struct Machine {
    pub(crate) memory: Memory,
    pub(crate) host: Arc<Recorder>,
    pub(crate) gate: Arc<Gate>,
    pub(crate) wiring: Wiring,
}

impl Machine {
    pub(crate) fn new(ram: u64) -> Machine {
        let (memory, host) = (Memory::new(&[Range::new(0, ram)]).unwrap(), Arc::new(Recorder::default()));
        let hypervisor: Arc<dyn Hypervisor> = host.clone();
        let link_d = u8::try_from(LINE).unwrap();
        let lines = Arc::new(Lines::wired(Arc::clone(&hypervisor), [3, 4, 5, link_d]));
        let gate: Arc<Gate> = Arc::default();
        let shared = Arc::clone(&gate);
        let wiring =
            Wiring { memory: memory.clone(), hypervisor, lines, gate: shared, trace: None, stages: None };
        Machine { memory, host, gate, wiring }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Recorder {
    /// Every change of a line, in order.
    pub(crate) lines: Mutex<Vec<(u32, bool)>>,
    vectors: Mutex<Vec<(EventFd, Option<Message>)>>,
    bells: Mutex<Vec<Doorbell>>,
}

impl Recorder {
    /// The level of the one line that this test's device may move.
    pub(crate) fn level(&self, gsi: u32) -> bool {
        self.lines.lock().last().is_some_and(|(other, level)| {
            assert_eq!(*other, gsi, "another line moved");
            *level
        })
    }

    /// What each vector delivers, in the order in which they were made.
    pub(crate) fn told(&self) -> Vec<Option<Message>> {
        self.vectors.lock().iter().map(|(_, message)| *message).collect()
    }

    /// How many messages with this data came since the last look.
    pub(crate) fn messages(&self, data: u32) -> u64 {
        let vectors = self.vectors.lock();
        let with_data = vectors.iter().filter(|(_, told)| told.is_some_and(|message| message.data == data));
        with_data.map(|(event, _)| event.read().unwrap_or(0)).sum()
    }

    /// Where doorbells hang, lowest first.
    pub(crate) fn bells(&self) -> Vec<u64> {
        let mut addresses: Vec<u64> = self.bells.lock().iter().map(|bell| bell.address).collect();
        addresses.sort_unstable();
        addresses
    }

    /// A guest's write at this address. False: no doorbell hangs there, the write goes to the device.
    pub(crate) fn ring(&self, address: u64) -> bool {
        let bells = self.bells.lock();
        let bell = bells.iter().find(|bell| bell.address == address);
        bell.inspect(|bell| bell.bell.ring()).is_some()
    }
}

impl Hypervisor for Recorder {
    fn set_line(&self, gsi: u32, level: bool) {
        self.lines.lock().push((gsi, level));
    }
    fn new_vector(&self) -> io::Result<Vector> {
        let event = EventFd::new(EFD_NONBLOCK)?;
        let mut vectors = self.vectors.lock();
        let gsi = u32::try_from(FIRST + vectors.len()).unwrap();
        vectors.push((event.try_clone()?, None));
        Ok(Vector { gsi, event })
    }
    fn set_message(&self, gsi: u32, message: Message) -> io::Result<()> {
        self.vectors.lock()[usize::try_from(gsi).unwrap() - FIRST].1 = Some(message);
        Ok(())
    }
    fn attach_doorbell(&self, bell: &Doorbell) -> io::Result<()> {
        let mut bells = self.bells.lock();
        assert!(bells.iter().all(|other| other.address != bell.address), "two bells at one place");
        bells.push(bell.clone());
        Ok(())
    }
    fn detach_doorbell(&self, bell: &Doorbell) -> io::Result<()> {
        self.bells.lock().retain(|other| other.address != bell.address);
        Ok(())
    }
}

/// A thread beside the test's.
pub(crate) fn spawn(work: impl FnOnce() + Send + 'static) -> JoinHandle<()> {
    std::thread::Builder::new().name("test".to_owned()).spawn(work).unwrap()
}

/// Waits for what another thread does, for as long as the slowest machine takes.
pub(crate) fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(120), "waited in vain: {what}");
        std::thread::sleep(Duration::from_micros(100));
    }
}
