//! Guest memory: the RAM of one machine, and the only crate that names vm-memory.
//!
//! A guest address is an allegation ([`Gpa`]): it becomes bytes only through [`Memory`], which checks it, and
//! what is judged is copied out first. [`Buffers`] are pieces of RAM handed to a disk or a link for the time of
//! one request: they keep the mapping alive and are the one place where the host kernel writes into RAM.
//!
//! Left out: hot-plug, ballooning, huge-page pools, shared memory for other processes.
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_possible_wrap,
    reason = "every number here came from the guest"
)]

mod buffers;
mod gpa;
mod ram;
mod stream;

pub use buffers::Buffers;
pub use gpa::{Gpa, Range};
pub use ram::{Memory, Ram, Rom, Slot};
/// vm-memory's guest address, for the crates of that family.
pub use vm_memory::GuestAddress;

/// The type of dirty bitmap that every view of guest memory carries; none yet. It stands here once because it is
/// part of the type of every queue and slice.
pub type Bitmap = ();

#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    #[error("cannot reserve {size} MiB of address space for guest memory: {cause}")]
    Reserve { size: u64, cause: String },
    #[error("guest address {:#x}+{len:#x} is not in guest memory", gpa.0)]
    OutOfRange { gpa: Gpa, len: u64 },
    #[error("a firmware image of {0} bytes is not a multiple of 4096")]
    RomSize(usize),
}
