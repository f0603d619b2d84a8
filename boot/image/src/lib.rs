//! Images: what `aws ec2 describe-images` says about an AMI, and what a launch makes of it.
//!
//! Pure: bytes in, a [`LaunchPlan`] or an error out, decided as EC2's RunInstances decides. Which disk file holds a
//! snapshot is the caller's to find.
//!
//! Left out: what is on the disks; Mac, i386 and paravirtual images, which are refused; spot, placement and all that
//! needs an account.
#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "every number here came from somebody else's file"
)]

mod architecture;
mod boot_mode;
mod checks;
mod describe;
mod error;
mod ids;
mod instance_type;
mod mappings;
mod metadata;
mod parse;
mod plan;
mod recognise;
mod refusal;
#[cfg(test)]
mod schema_test;
mod show;
mod volume;
mod warning;

pub use architecture::Architecture;
pub use boot_mode::{BootMode, ImageBootMode};
pub use describe::{
    BlockDeviceMapping, EbsBlockDevice, Image, ImageWatermark, InstanceTypeSpecification, LaunchPermission,
    ProductCode, Snapshot, StateReason, Tag,
};
pub use error::ImageError;
pub use ids::{is_image_id, is_snapshot_id};
pub use instance_type::{Ena, Hypervisor, InstanceType, Store};
pub use mappings::limits::volume_sizes;
pub use mappings::merge::{is_device_name, is_same_device};
pub use mappings::option::parse_mappings;
pub use metadata::{MetadataChange, MetadataOptions};
pub use parse::parse;
pub use plan::{InstanceStore, LaunchPlan, Request, plan};
pub use recognise::{is_description, not_json};
pub use refusal::{Refusal, code};
pub use volume::{Interface, PlannedVolume};
pub use warning::Warning;
