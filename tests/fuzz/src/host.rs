//! The host's side of the devices: a hypervisor that answers doorbells, and one small disk for all plays.

use ami_run_memory::{Memory, Range};
use ami_run_models::irq::{Doorbell, Hypervisor, Lines, Message, Vector};
use ami_run_storage::{Base, Volume};
use parking_lot::Mutex;
use std::io::{self, Write};
use std::sync::{Arc, OnceLock};
use vmm_sys_util::eventfd::{EFD_NONBLOCK, EventFd};

/// The disk's bytes: few, so that no play is slow by what it reads.
const DISK: usize = 256 << 10;

#[derive(Debug, Default)]
pub(crate) struct Host {
    bells: Mutex<Vec<Doorbell>>,
}

impl Host {
    /// Whether no doorbell hangs.
    pub(crate) fn is_silent(&self) -> bool {
        self.bells.lock().is_empty()
    }

    /// Answers the doorbell at this address. False: none hangs there.
    pub(crate) fn ring(&self, address: u64) -> bool {
        let bells = self.bells.lock();
        let bell = bells.iter().find(|bell| bell.address == address);
        bell.inspect(|bell| bell.bell.ring()).is_some()
    }
}

impl Hypervisor for Host {
    fn set_line(&self, _: u32, _: bool) {}
    fn new_vector(&self) -> io::Result<Vector> {
        Ok(Vector { gsi: 24, event: EventFd::new(EFD_NONBLOCK)? })
    }
    fn set_message(&self, _: u32, _: Message) -> io::Result<()> {
        Ok(())
    }
    fn attach_doorbell(&self, bell: &Doorbell) -> io::Result<()> {
        let mut bells = self.bells.lock();
        // As KVM does.
        if bells.iter().any(|other| other.address == bell.address) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        bells.push(bell.clone());
        Ok(())
    }
    fn detach_doorbell(&self, bell: &Doorbell) -> io::Result<()> {
        let mut bells = self.bells.lock();
        let place = bells.iter().position(|other| other.address == bell.address);
        bells.remove(place.expect("a doorbell that hangs"));
        Ok(())
    }
}

pub(crate) fn hypervisor() -> Arc<dyn Hypervisor> {
    Arc::new(Host::default())
}

pub(crate) fn lines() -> Arc<Lines> {
    Arc::new(Lines::new(hypervisor()))
}

/// RAM of this many bytes at 0.
pub(crate) fn ram(len: u64) -> Memory {
    Memory::new(&[Range::new(0, len)]).expect("memory for a small guest")
}

/// A disk whose content depends on what was played before; no play judges it.
pub(crate) fn volume() -> Volume {
    static VOLUME: OnceLock<Volume> = OnceLock::new();
    let make = || {
        let mut file = tempfile::NamedTempFile::new().expect("a temporary file");
        file.write_all(&[0x5a; DISK]).expect("room in a temporary file");
        Volume::temporary(Base::open(file.path()).expect("a disk"), None, &std::env::temp_dir())
            .expect("a small volume")
    };
    VOLUME.get_or_init(make).clone()
}
