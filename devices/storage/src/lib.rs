//! Volumes: what an instance sees as a disk. A volume is a base (a disk file, never written) and a top (what this
//! instance wrote since), told apart by a map of 4 KiB granules.
//!
//! A top is kept in a file of its own, or is private and vanishes with the process however it ends. The engine (engine)
//! decides what is read and written in which order; queues carry it out (ring, plain). Disk files that are not raw are
//! read through a cache that all processes share (source, cache). What a flash chip holds is kept here, too (flash).
//!
//! Left out: the store of snapshots, more than one top on a base.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "every offset and length here came from the guest, every file from somebody else"
)]

mod base;
mod cache;
#[cfg(test)]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "the tests' own numbers"
)]
mod crash;
mod engine;
pub mod flash;
mod identity;
#[cfg(test)]
mod kept_test;
mod map;
pub mod nbd;
mod open;
mod plain;
mod queue;
mod ranges;
mod ring;
mod slab;
pub mod source;
mod synchronous;
mod top;
mod volume;
#[cfg(test)]
mod volume_test;
mod waker;

pub use base::{Base, BaseReader};
pub use cache::{CacheFolder, Progress};
pub use engine::{Completion, Fault, Op, Request, Status};
pub use identity::{Changed, Identity};
pub use open::{Opened, open};
pub use queue::Queue;
pub use synchronous::VolumeReader;
pub use top::header::is_volume;
pub use volume::Volume;

use std::io;
use std::path::PathBuf;

/// What a disk's sizes and addresses are multiples of.
pub const SECTOR: u64 = 512;

/// Why a volume cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is {what}, not a disk file: give a raw disk file or a block device", path.display())]
    NotADisk { path: PathBuf, what: &'static str },
    #[error("disk file {} is empty: a raw disk has at least one sector of 512 bytes", path.display())]
    Empty { path: PathBuf },
    #[error(
        "disk file {} has {size} bytes, not a multiple of 512, so it is cut short or not a raw disk: \
         fetch it again, or see what it is with `qemu-img info`",
        path.display()
    )]
    OddSize { path: PathBuf, size: u64 },
    #[error("{} is {format}, not a raw disk: {advice}", path.display())]
    NotRaw { path: PathBuf, format: &'static str, advice: &'static str },
    #[error("{} is {what}, which cannot be used here: {advice}", path.display())]
    Refused { path: PathBuf, what: String, advice: &'static str },
    #[error("{} is {format} that is damaged: {what}: fetch it or make it again", path.display())]
    Damaged { path: PathBuf, format: &'static str, what: String },
    #[error("{} has {name:?} as its {role}, which cannot be opened: put that file beside it", path.display())]
    Missing { path: PathBuf, role: String, name: String, source: io::Error },
    #[error("{} is in use: another process serves it or runs on it", path.display())]
    Busy { path: PathBuf },
    #[error("{} is not a volume: `ami-run volume create` makes one", path.display())]
    NotAVolume { path: PathBuf },
    #[error("volume {} is damaged: its header cannot be read", path.display())]
    DamagedVolume { path: PathBuf },
    #[error(
        "volume {} is cut short: it has {has} bytes, and its disk goes to {needs}: take it from where it was copied",
        path.display()
    )]
    CutShort { path: PathBuf, has: u64, needs: u64 },
    #[error("volume {} was written by a newer ami-run (format {version}): use that one", path.display())]
    NewerVolume { path: PathBuf, version: u32 },
    #[error("{changed}")]
    BaseChanged { volume: PathBuf, changed: Changed },
    #[error(
        "{} has {new} bytes, and volume {} {}",
        base.display(), path.display(), stands_on(*.old)
    )]
    OtherBase { path: PathBuf, base: PathBuf, old: u64, new: u64 },
    #[error("cannot write volume {} of {size} bytes", path.display())]
    Create { path: PathBuf, size: u64, source: io::Error },
    #[error("cannot make volume {name} {size} bytes large")]
    Grow { name: String, size: u64, source: io::Error },
    // EC2's words, with a disk file where it would name a snapshot.
    #[error(
        "Volume of size {} is smaller than snapshot '{}', expect size >= {}",
        gigabytes(*.size, false), path.display(), gigabytes(*.base, true)
    )]
    TooSmall { path: PathBuf, size: u64, base: u64 },
    #[error("a volume of {size} bytes is not a multiple of 512: give a whole number of sectors")]
    OddVolume { size: u64 },
    #[error(
        "cannot make a volume's private file of {size} bytes in {}: give a folder that can be written to, \
         on a file system that takes files of this size",
        folder.display()
    )]
    Top { folder: PathBuf, size: u64, source: io::Error },
    #[error(
        "cannot use the cache in {}: it must be a folder that can be written to, on a file system that has locks and \
         takes sparse files of the disk's size",
        folder.display()
    )]
    Cache { folder: PathBuf, source: io::Error },
    #[error(
        "there is no room for the disk in {}: the cache in {} took {} MiB of it, and {} MiB are free there without it",
        path.display(), folder.display(), taken >> 20, free >> 20
    )]
    CacheFull { path: PathBuf, folder: PathBuf, taken: u64, free: u64 },
}

/// What a volume stands on, by the bytes of it.
fn stands_on(base: u64) -> String {
    match base {
        0 => "stands on no disk file: only one with `--from` can be rebased".to_owned(),
        _ => format!("stands on one of {base}: it is not the same disk"),
    }
}

/// A size in the unit of EC2's messages; a disk that does not end on a gibibyte needs the next one up.
fn gigabytes(size: u64, up: bool) -> String {
    const GIB: u64 = 1 << 30;
    format!("{}GB", if up { size.div_ceil(GIB) } else { size / GIB })
}
