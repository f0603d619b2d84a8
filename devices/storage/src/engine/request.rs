//! What is asked of a volume, and what is answered.

use ami_run_memory::Buffers;
use std::io;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Op {
    Read,
    Write,
    /// Answered when every write that was answered before, by any queue, is on stable storage.
    Flush,
    /// `unmap`: the space may be given back to the host.
    WriteZeroes {
        unmap: bool,
    },
    /// The content is not needed any more. Whole granules of 4 KiB read as zeroes then; what is left of the range
    /// stays.
    Discard,
}

/// One request, in bytes of the volume. `Flush` takes no range, and only `Read` and `Write` take buffers, of at
/// least `len` bytes.
#[derive(Debug)]
pub struct Request {
    /// Comes back in the completion.
    pub id: u32,
    pub op: Op,
    pub offset: u64,
    pub len: u64,
    /// Answer only when this very request is on stable storage (FUA).
    pub durable: bool,
    pub buffers: Option<Buffers>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Completion {
    pub id: u32,
    pub result: Result<(), Fault>,
}

/// Why a request failed, as far as it is the guest's business. The cause is in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Not in the volume, or the buffers are shorter than the range.
    OutOfRange,
    /// The host has no space left for it.
    NoSpace,
    Io,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Cause {
    #[error("it is not in the volume's {0} bytes")]
    OutsideVolume(u64),
    #[error("it does not begin and end with a sector of 512 bytes")]
    OddRange,
    #[error("its buffers are too short")]
    OutsideBuffers,
    #[error("an earlier flush failed, so that what the volume holds is unknown until it is opened again")]
    Broken,
    #[error("the volume's map is damaged there")]
    Damaged,
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Cause {
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Cause::OutsideVolume(_) | Cause::OddRange | Cause::OutsideBuffers => Fault::OutOfRange,
            Cause::Io(cause) if is_full(cause) => Fault::NoSpace,
            Cause::Broken | Cause::Damaged | Cause::Io(_) => Fault::Io,
        }
    }
}

pub(crate) fn is_full(cause: &io::Error) -> bool {
    matches!(cause.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
