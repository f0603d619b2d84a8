//! Why there is no machine, in words for those who wanted one.

use crate::arch::MOST_FIRMWARE;
use ami_run_firmware::FirmwareError;
use ami_run_memory::MemoryError;
use ami_run_models::bus::Conflict;

#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("this host has no /dev/kvm")]
    NoKvm,
    #[error("no permission to use /dev/kvm")]
    KvmPermission,
    #[error("/dev/kvm cannot be used")]
    Kvm(#[source] std::io::Error),
    #[error("this host's KVM lacks {0}")]
    Capability(&'static str),
    #[error("{0} vCPUs: from 1 to {max} are possible here", max = .1)]
    Cpus(u32, u32),
    #[error("{0} disks: the board has slots for 26 volumes, and for 27 disks with instance store")]
    Disks(usize),
    #[error("{0} bytes of memory: at least 2 MiB in whole 4 KiB pages are needed")]
    MemorySize(u64),
    #[error("guest memory cannot be set up")]
    Memory(#[from] MemoryError),
    #[error("{what} failed")]
    Call {
        what: &'static str,
        #[source]
        cause: std::io::Error,
    },
    #[error(
        "a firmware image of {0} bytes: 64 KiB to {most} MiB in whole 4 KiB pages are possible",
        most = MOST_FIRMWARE >> 20
    )]
    FirmwareSize(usize),
    #[error("the kernel cannot be started")]
    Kernel(#[source] FirmwareError),
    #[error("the firmware cannot be told of the machine")]
    Firmware(#[source] FirmwareError),
    #[error("a BIOS cannot start on this computer: arm64 machines start by UEFI")]
    NoBios,
    #[error("the guest's memory needs {needed} bits of address, and this host's KVM has {most}")]
    AddressBits { needed: u32, most: u32 },
    #[error("{0}")]
    Bug(String),
}

/// Two devices at one address of a board.
impl From<Conflict> for MachineError {
    fn from(conflict: Conflict) -> MachineError {
        MachineError::Bug(conflict.to_string())
    }
}

/// Whose fault an error is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ErrorKind {
    /// The image or the configuration.
    Image,
    /// This computer.
    Host,
    /// This program.
    Bug,
}

impl MachineError {
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        match self {
            MachineError::Cpus(..)
            | MachineError::Disks(_)
            | MachineError::MemorySize(_)
            | MachineError::Kernel(_)
            | MachineError::NoBios
            | MachineError::FirmwareSize(_) => ErrorKind::Image,
            MachineError::Bug(_) => ErrorKind::Bug,
            _ => ErrorKind::Host,
        }
    }

    pub(crate) fn call(what: &'static str) -> impl FnOnce(kvm_ioctls::Error) -> MachineError {
        move |cause| MachineError::Call { what, cause: cause.into() }
    }
}
