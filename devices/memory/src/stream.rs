//! Bytes between memory and a stream (a socket), in one system call and without a copy of our own. Left out: waiting
//! for the stream, and carrying on where it took less.

use crate::{Gpa, Memory, MemoryError};
use std::io;
use std::os::fd::BorrowedFd;
use vm_memory::{GuestAddress, GuestMemoryBackend as _, ReadVolatile as _, WriteVolatile as _};
use vm_memory::{VolatileMemoryError, VolatileSlice};

impl Memory {
    /// Reads once, up to `len` bytes into `gpa`. Gives how many came; none: the stream has ended.
    pub fn receive(&self, gpa: Gpa, len: u64, mut from: BorrowedFd<'_>) -> io::Result<usize> {
        from.read_volatile(&mut self.piece(gpa, len)?).map_err(cause)
    }

    /// Writes once, up to `len` bytes from `gpa`. Gives how many went.
    pub fn send(&self, gpa: Gpa, len: u64, mut to: BorrowedFd<'_>) -> io::Result<usize> {
        to.write_volatile(&self.piece(gpa, len)?).map_err(cause)
    }

    fn piece(&self, gpa: Gpa, len: u64) -> io::Result<VolatileSlice<'_, crate::Bitmap>> {
        let wrong = || io::Error::other(MemoryError::OutOfRange { gpa, len });
        let len = usize::try_from(len).map_err(|_| wrong())?;
        self.ram().get_slice(GuestAddress(gpa.0), len).map_err(|_| wrong())
    }
}

fn cause(error: VolatileMemoryError) -> io::Error {
    match error {
        VolatileMemoryError::IOError(cause) => cause,
        other => io::Error::other(other),
    }
}
