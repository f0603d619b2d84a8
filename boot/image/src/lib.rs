//! Images: what `aws ec2 describe-images` says about an AMI, and what a launch makes of it.
//!
//! Pure: bytes in, a [`LaunchPlan`] or an [`ImageError`] out. Which disk file holds a snapshot is the caller's to
//! find.
//!
//! Left out in this first form: merging the caller's mappings, instance types, UEFI, EC2's launch checks.
#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "every number here came from somebody else's file"
)]

mod describe;
mod error;
mod parse;
mod plan;

pub use describe::{BlockDeviceMapping, EbsBlockDevice, Image};
pub use error::ImageError;
pub use parse::parse;
pub use plan::{Architecture, BootMode, Interface, LaunchPlan, PlannedVolume, Shape, plan};
