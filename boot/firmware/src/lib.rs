//! What a machine must be handed before its first instruction: the firmware image, and what that firmware is told
//! of the machine (ACPI tables, memory map, boot order) as named fw_cfg files; or, without firmware, a kernel in
//! memory and the registers to start it with.
//!
//! Everything is made from one plain value, [`board::Board`]: plain data in, plain data out. Left out: devices,
//! KVM and fw_cfg itself (they carry what is made here), because tables that know only a `Board` can be tested
//! without a machine and cannot disagree with it. The one thing read from outside is files: firmware images,
//! QEMU's descriptions of them, kernels and initrds. What firmware keeps between starts, its variables, is read and
//! written here too, from bytes to bytes.
#![forbid(unsafe_code)]

pub mod aarch64;
mod acpi;
pub mod board;
mod error;
mod file;
pub mod find;
mod kernel;
#[cfg(any(test, target_arch = "x86_64"))]
mod placement;
mod smbios;
mod table_loader;
#[cfg_attr(
    not(test),
    deny(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_possible_wrap,
        reason = "a guest wrote the store, and anybody the UefiData"
    )
)]
pub mod uefi;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "aarch64")]
pub use aarch64::{direct, files, keys};
pub use error::FirmwareError;
#[cfg(target_arch = "x86_64")]
pub use x86_64::{direct, files, keys};

/// One named fw_cfg file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    pub name: String,
    pub bytes: Vec<u8>,
}

impl Blob {
    #[must_use]
    pub fn new(name: &str, bytes: Vec<u8>) -> Blob {
        Blob { name: name.to_owned(), bytes }
    }
}
