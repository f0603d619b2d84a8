//! UEFI variables: EDK II's variable store, which the guest's firmware keeps in flash, and EC2's UefiData, which an
//! image carries. Both are read and written here, from bytes to [`Variable`]s and back.
//!
//! A store is written by a guest and UefiData by anybody: sizes are allegations, and what is unpacked is bounded.
//! Left out: signatures. Whether a variable may be changed is the firmware's to judge; who writes a store from
//! outside, as here and on EC2, is the owner of the machine.

pub mod aws;
mod blank;
mod certificates;
mod error;
mod fault_tolerant;
mod packed;
#[cfg(test)]
pub(crate) mod sample;
mod spec;
mod store;
mod volume;

pub use blank::AAVMF_STORE;
pub(crate) use blank::aavmf_store;
pub use error::{StoreError, UefiDataError};
pub use store::Store;
pub(crate) use volume::volume_at;

/// Of [`Variable::attributes`] (UEFI 2.10 §8.2.1): it lasts.
pub const NON_VOLATILE: u32 = 0x01;
/// Of [`Variable::attributes`]: it is changed only by who can sign a later time, and has an [`Authentication`].
pub const TIME_BASED_AUTHENTICATED: u32 = 0x20;

/// The vendor of the variables that the specification defines (UEFI 2.10 §3.3), as it lies in memory.
const GLOBAL_VARIABLE: [u8; 16] =
    [0x61, 0xdf, 0xe4, 0x8b, 0xca, 0x93, 0xd2, 0x11, 0xaa, 0x0d, 0x00, 0xe0, 0x98, 0x03, 0x2b, 0x8c];

/// One variable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Variable {
    pub name: String,
    /// The GUID of who gave the name, as it lies in memory.
    pub vendor: [u8; 16],
    pub attributes: u32,
    pub data: Vec<u8>,
    /// Of a variable that is [`TIME_BASED_AUTHENTICATED`], and of no other.
    pub authentication: Option<Authentication>,
}

/// What the next change of an authenticated variable is measured by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Authentication {
    /// When it was signed: an EFI_TIME. Zeros: never.
    pub timestamp: [u8; 16],
    /// Of the certificates that signed it. Zeros: none, as for Secure Boot's own variables, which other keys guard.
    pub digest: Vec<u8>,
}

impl Authentication {
    /// Neither time nor signer.
    fn none() -> Authentication {
        Authentication { timestamp: [0; 16], digest: vec![0; 32] }
    }

    fn has_signer(&self) -> bool {
        self.digest.iter().any(|byte| *byte != 0)
    }
}

impl Variable {
    /// Whether this is the order in which boot entries are tried (UEFI 2.10 §3.3).
    #[must_use]
    pub fn is_boot_order(&self) -> bool {
        self.name == "BootOrder" && self.vendor == GLOBAL_VARIABLE
    }

    fn is_authenticated(&self) -> bool {
        self.attributes & TIME_BASED_AUTHENTICATED != 0
    }
}
