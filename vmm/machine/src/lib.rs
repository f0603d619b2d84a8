//! The machine: KVM, guest memory, vCPU threads, and the parts list of each board.
//!
//! What differs between architectures stands in a folder for each, behind the same names ([`arch`]): the parts list,
//! interrupt controllers, what a vCPU is set to, and what else is at an address.
//!
//! [`Machine::run`] is one launch: it builds the board, lets it run, builds it anew when the guest resets it, and
//! ends with the reason ([`Exit`]). A reset drops the whole virtual machine and makes a new one; RAM is zeroed, as
//! it is on EC2. Everything that the guest can do wrong is an exit or an answer, never an end of the program.
//!
//! Left out: live migration, memory snapshots, nested virtualization for the guest, system-management mode.

mod absent;
#[cfg_attr(target_arch = "aarch64", path = "aarch64/mod.rs")]
#[cfg_attr(target_arch = "x86_64", path = "x86_64/mod.rs")]
mod arch;
mod board;
mod disks;
mod error;
mod exit;
mod first;
mod flash;
mod kvm;
pub mod probe;
mod run;
mod vcpu;

pub use ami_run_firmware::board::Identity;
pub use ami_run_models::console::{Console, Taken};
pub use ami_run_models::stages::{Reached, Stage};
pub use ami_run_models::trace::{Kinds, Trace};
pub use disks::MAX_VOLUMES;
pub use error::{ErrorKind, MachineError};
pub use exit::{EmulationFailure, EmulationProblem, Exit};
pub use flash::Variables;
pub use run::{Handle, Machine};

use ami_run_firmware::direct::Direct;
use ami_run_network::Link;
use ami_run_storage::Volume;
use parking_lot::Mutex;
use std::fs::File;
use std::sync::Arc;

/// The most vCPUs that a machine can have.
pub const MAX_CPUS: u32 = 64;

/// What a machine is made of.
#[derive(Debug)]
pub struct Spec {
    /// What SMBIOS and ACPI call the machine; the same over resets.
    pub identity: Identity,
    pub cpus: u32,
    /// Bytes of RAM, a multiple of 4096.
    pub memory: u64,
    /// Disks in order; the first is the one to boot from.
    pub disks: Vec<Disk>,
    pub network: Option<Network>,
    pub trace: Option<Arc<Trace>>,
    /// Whether any triple fault ends the machine: else the first is a reset, and a second within a minute ends it.
    pub fail_on_triple_fault: bool,
}

#[derive(Debug, Clone)]
pub struct Disk {
    pub volume: Volume,
    pub interface: Interface,
}

/// What a disk looks like to the guest.
#[derive(Debug, Clone)]
pub enum Interface {
    Virtio {
        /// What the guest reads as its serial number.
        serial: String,
    },
    /// As EBS shows a volume on Nitro types.
    Nvme {
        /// `vol-…`.
        volume_id: String,
        /// The name in the block-device mapping, as EC2 tells it to the guest.
        mapping: String,
    },
    /// As EC2 shows what is the host's own and empty at every start.
    InstanceStore {
        /// `AWS` and 17 digits.
        serial: String,
        /// `ephemeral0:sdb`.
        mapping: String,
    },
}

/// A network card, and what it is connected to, which outlives resets.
#[derive(Clone, Debug)]
pub struct Network {
    pub mac: [u8; 6],
    pub link: Arc<Mutex<dyn Link>>,
}

/// UEFI firmware in two flash chips: the code, and the variables.
#[derive(Debug)]
pub struct Uefi {
    pub code: File,
    /// Where it begins in the file.
    pub code_offset: u64,
    pub code_size: usize,
    pub variables: Variables,
}

/// What runs first.
#[derive(Debug)]
pub enum Boot {
    /// An image of SeaBIOS: on x86_64.
    Firmware(Vec<u8>),
    Uefi(Uefi),
    /// A kernel, without firmware.
    Kernel(Box<Direct>),
}
