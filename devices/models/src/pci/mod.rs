//! PCI: configuration space, the two ways to it, the bridges of an i440FX board, MSI-X.
//!
//! Every BAR is a 32-bit memory BAR: stock SeaBIOS moves 64-bit ones above 4 GiB, where its own NVMe driver
//! cannot reach them. Left out: I/O BARs, expansion ROMs, bridges to further buses, PCI Express.

mod bridges;
mod config;
mod ecam;
mod msix;
mod root;

pub use bridges::{HostBridge, IsaBridge, PowerManagement};
pub use config::{Config, Identity};
pub use ecam::Ecam;
pub(crate) use msix::CAPABILITY as MSIX_CAPABILITY;
pub use msix::{Msix, NO_VECTOR};
pub use root::{Root, Window};

use crate::bus::{Access, Effect, Width};
use crate::gate::Gate;
use crate::irq::{Hypervisor, Lines};
use crate::stages::Stages;
use crate::trace::Trace;
use ami_run_memory::{Memory, Range};
use std::fmt;
use std::sync::Arc;

/// A function's place on bus 0.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Address {
    pub slot: u8,
    pub function: u8,
}

impl Address {
    /// Bus, device and function as messages carry them.
    #[must_use]
    pub fn requester(self) -> u16 {
        u16::from(self.slot & 0x1f) << 3 | u16::from(self.function & 7)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00:{:02x}.{}", self.slot, self.function)
    }
}

/// What a function is connected to.
#[derive(Debug, Clone)]
pub struct Wiring {
    pub memory: Memory,
    pub hypervisor: Arc<dyn Hypervisor>,
    pub lines: Arc<Lines>,
    /// What a device's own threads pass.
    pub gate: Arc<Gate>,
    pub trace: Option<Arc<Trace>>,
    /// Of a device whose use tells how far a start has come.
    pub stages: Option<Arc<Stages>>,
}

/// One function of a PCI device. Configuration accesses lie within one dword.
pub trait Function: Send + Sync + fmt::Debug {
    fn config_read(&self, offset: u8, width: Width) -> u32;
    fn config_write(&self, offset: u8, width: Width, value: u32);
    /// Where BAR `index` is decoded now, if it is.
    fn bar(&self, index: u8) -> Option<Range>;
    fn bar_read(&self, _index: u8, at: Access) -> u64 {
        at.width.ones()
    }
    fn bar_write(&self, _index: u8, _at: Access, _value: u64) -> Effect {
        Effect::None
    }
}
