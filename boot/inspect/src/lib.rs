//! What a disk holds, told without starting or mounting it: partition tables, what BIOS and UEFI would start, the
//! loaders' settings, kernels and their drivers. [`look`] finds facts, [`lint`] judges them against what an image
//! claims, [`guess`] says how a disk file without an image wants to be started.
//!
//! The disk is anybody's: everything it says is bounded before it is believed. What it can make us read is a multiple
//! of its size with a fixed end, what it can make us keep is some tens of megabytes (64 MiB more while an initrd is
//! unpacked). No I/O but through the reader that the caller gives.
//!
//! Left out, and said in [`Contents::unread`]: XFS, btrfs, LVM, LUKS, ZFS, NTFS and RAID, which no kept crate reads;
//! an ext file system's journal; Windows' and BSD's loaders beyond what firmware starts.
#![forbid(unsafe_code)]
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "every number here came from somebody else's disk"
)]

mod boot_code;
mod bytes;
mod chain;
mod contents;
mod disk;
mod efi;
mod files;
mod guess;
pub mod initrd;
mod lint;
mod loader;
mod login;
mod look;
mod pe;
mod program;
mod start;
mod system;
mod table;

pub use chain::starts;
pub use contents::{
    BootCode, BootCodeKind, BootEntry, Chain, CommandLine, Contents, Copy, Depth, Driver, Found, Gpt, GptMbr,
    Holds, Kernel, MayHold, Menu, Partition, Place, Role, System, Table, Unread,
};
pub use guess::{Guess, ROOT_DEVICE_NAME, guess};
pub use lint::{Claims, Code, Finding, Severity, lint, lint_claims};
pub use loader::{BootList, Loader, LoaderKind, Machine};
pub use login::login_user;
pub use look::look;
