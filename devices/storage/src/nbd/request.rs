//! Requests: from 28 bytes to what is to be done, or to why it is not. Every number is the client's until it was
//! judged here.

use super::spec::{REQUEST_MAGIC, RequestHead, kind, with};
use super::{MAX_PAYLOAD, Session, Violation};
use crate::SECTOR;
use crate::top::layout::GRANULE;
use zerocopy::FromBytes as _;

/// The bytes of a request's head.
pub const HEAD: usize = size_of::<RequestHead>();

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Job {
    Read {
        /// The client takes the data in one chunk only.
        whole: bool,
    },
    Write,
    Flush,
    Trim,
    WriteZeroes {
        unmap: bool,
    },
    /// Read ahead, to no one.
    Cache,
    BlockStatus {
        /// The client takes one run only.
        one: bool,
    },
    Disconnect,
}

/// A request as the client made it, and what it comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Request {
    pub cookie: u64,
    pub offset: u64,
    pub len: u32,
    /// Answer only when it is on stable storage.
    pub durable: bool,
    /// How many bytes follow the head, also where it is refused.
    pub payload: u32,
    pub job: Result<Job, Refusal>,
}

/// A request that is not carried out, in the protocol's numbers (proto.md, "Error values").
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Refusal {
    pub error: Error,
    pub why: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    NotPermitted,
    Io,
    Invalid,
    NoSpace,
    TooLarge,
    NotSupported,
}

impl Error {
    #[must_use]
    pub fn number(self) -> u32 {
        match self {
            Error::NotPermitted => 1,
            Error::Io => 5,
            Error::Invalid => 22,
            Error::NoSpace => 28,
            Error::TooLarge => 75,
            Error::NotSupported => 95,
        }
    }
}

impl Request {
    /// Reads the head at the front of `input`. None: it is not whole yet.
    pub fn parse(input: &[u8], session: &Session) -> Result<Option<Request>, Violation> {
        let Ok((head, _)) = RequestHead::read_from_prefix(input) else { return Ok(None) };
        if head.magic != REQUEST_MAGIC {
            return Err(Violation::Magic);
        }
        let payload = if head.kind == kind::WRITE { head.len.get() } else { 0 };
        if payload > MAX_PAYLOAD {
            return Err(Violation::PayloadTooLong(payload));
        }
        Ok(Some(Request {
            cookie: head.cookie.get(),
            offset: head.offset.get(),
            len: head.len.get(),
            durable: head.flags.get() & with::FUA != 0,
            payload,
            job: judge(&head, session),
        }))
    }
}

fn judge(head: &RequestHead, session: &Session) -> Result<Job, Refusal> {
    let flags = head.flags.get();
    let (job, allowed) = job(head.kind.get(), flags)?;
    if flags & !(allowed | with::FUA) != 0 {
        return refuse(Error::Invalid, "this command does not take this flag");
    }
    let changes = matches!(job, Job::Write | Job::Trim | Job::WriteZeroes { .. });
    if changes && session.read_only {
        return refuse(Error::NotPermitted, "this export is read-only");
    }
    if matches!(job, Job::Flush | Job::Disconnect) {
        return match (head.offset.get(), head.len.get()) {
            (0, 0) => Ok(job),
            _ if job == Job::Disconnect => Ok(job),
            _ => refuse(Error::Invalid, "a flush takes no range"),
        };
    }
    in_volume(head, session, job)?;
    let most = u64::from(head.len.get()) > u64::from(MAX_PAYLOAD);
    match job {
        Job::Read { .. } if most && session.structured => {
            refuse(Error::TooLarge, "more than 32 MiB in one read")
        }
        Job::Read { .. } if most => refuse(Error::Invalid, "more than 32 MiB in one read"),
        Job::BlockStatus { .. } if !session.allocation => {
            refuse(Error::Invalid, "block status was not negotiated")
        }
        Job::WriteZeroes { .. } if flags & with::FAST_ZERO != 0 && !has_granule(head) => {
            refuse(Error::NotSupported, "zeroes in a part of a granule of 4 KiB are written")
        }
        _ => Ok(job),
    }
}

/// What a command is, and which flags it takes besides FUA, which means nothing to those that change nothing.
fn job(kind: u16, flags: u16) -> Result<(Job, u16), Refusal> {
    Ok(match kind {
        kind::READ => (Job::Read { whole: flags & with::DONT_FRAGMENT != 0 }, with::DONT_FRAGMENT),
        kind::WRITE => (Job::Write, 0),
        kind::DISCONNECT => (Job::Disconnect, 0),
        kind::FLUSH => (Job::Flush, 0),
        kind::TRIM => (Job::Trim, 0),
        kind::CACHE => (Job::Cache, 0),
        kind::WRITE_ZEROES => {
            (Job::WriteZeroes { unmap: flags & with::NO_HOLE == 0 }, with::NO_HOLE | with::FAST_ZERO)
        }
        kind::BLOCK_STATUS => (Job::BlockStatus { one: flags & with::ONE_EXTENT != 0 }, with::ONE_EXTENT),
        _ => return refuse(Error::Invalid, "no such command"),
    })
}

fn in_volume(head: &RequestHead, session: &Session, job: Job) -> Result<(), Refusal> {
    let (offset, len) = (head.offset.get(), u64::from(head.len.get()));
    if len == 0 {
        return refuse(Error::Invalid, "an empty range");
    }
    if !offset.is_multiple_of(SECTOR) || !len.is_multiple_of(SECTOR) {
        return refuse(Error::Invalid, "offset and length must be multiples of 512");
    }
    match offset.checked_add(len) {
        Some(end) if end <= session.size => Ok(()),
        _ if matches!(job, Job::Write | Job::WriteZeroes { .. }) => {
            refuse(Error::NoSpace, "beyond the end of the export")
        }
        _ => refuse(Error::Invalid, "beyond the end of the export"),
    }
}

/// Whole granules become zero by a change of the map; the parts of two others, at most, are written.
fn has_granule(head: &RequestHead) -> bool {
    let (start, len) = (head.offset.get(), u64::from(head.len.get()));
    let first = start.checked_next_multiple_of(GRANULE);
    first.is_some_and(|first| start.saturating_add(len).saturating_sub(first) >= GRANULE)
}

fn refuse<T>(error: Error, why: &'static str) -> Result<T, Refusal> {
    Err(Refusal { error, why })
}
