//! What is on disk: instances and volumes, who may change them, and what a verb of EC2's makes of each state.
//!
//! The state folder holds `instances/i-…/` (instance.json, volumes/vol-…, uefi-vars, console.log, control.sock, lock,
//! reserve), `addresses/` (which instance has which), and `volumes/`, of no instance. Who holds an instance's lock is
//! the only one to write its record, and an instance is alive exactly while the process that runs its machine holds
//! it. What a killed process has left is told for what it is, and put in order by whoever comes next (settle); each
//! verb's steps are in such an order that this can be done wherever it was cut short (fault).
//!
//! Each verb takes and gives what EC2's action of that name does, with its errors. The command is one face of them.
//!
//! Left out: how a machine runs, which the command sees to; images and snapshots of the store, which come later.
#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "records are files, and anybody may have changed them"
)]

// Named as in tests/, which share what they make instances of.
#[cfg(test)]
extern crate self as ami_run_catalog;

mod addresses;
mod attach;
mod catalog;
pub mod control;
mod error;
pub mod fault;
mod files;
mod held;
pub mod ids;
mod lock;
mod metadata;
mod modify;
mod new;
mod record;
mod resize;
mod settle;
mod state;
mod store;
mod sweep;
#[cfg(test)]
mod testing;
pub mod time;
mod verbs;
mod volumes;

pub use catalog::Catalog;
pub use error::CatalogError;
pub use files::UEFI_VARS;
pub use held::{Held, Terminated};
pub use metadata::{changed_metadata, check_metadata_tag};
pub use modify::Change;
pub use new::{DEFAULT_ZONE, NewInstance, NewVolume};
pub use record::{
    Attachment, Behavior, CpuOptions, InstanceMapping, InstanceRecord, InstanceStoreDisk, Launch,
    MetadataOptions, Network, NetworkInterface, Placement, Reservation, SecurityGroup, Start, VolumeOrigin,
    VolumeRecord,
};
pub use resize::VolumeModification;
pub use state::{State, StateReason, Transition};
pub use sweep::Swept;
pub use verbs::{Step, check_reboot, check_start, check_stop, check_terminate};
pub use volumes::{DescribedVolume, VolumeAttachment, VolumeFile};
