//! The content of a flash chip that lasts: one file in the instance's folder, written as the guest writes.
//!
//! The file begins with an image, which is all of it after a clean end, so that other programs for UEFI variables can
//! read it. While the machine runs, a log of the guest's writes grows behind the image ([`records`]). What survives is
//! always a prefix of what the guest wrote: a write is in the file before the guest goes on, so that a killed process
//! loses nothing; and it is on stable storage 100 ms later, so that a power cut loses no more than that. A log that
//! has grown large, or is to end, is compacted: a new file takes the old one's name.
//!
//! It lives here and not beside the chip because this crate owns the files that must survive. Left out: a lock (the
//! instance's own is held), what the bytes mean.

mod file;
pub mod records;
mod syncer;

#[cfg(test)]
mod flash_test;

pub use file::{FlashError, FlashFile};
pub use records::Change;
