//! Replies as bytes: simple ones, or structured ones where the client wants them.

use super::handshake::ALLOCATION_ID;
use super::request::Refusal;
use super::spec::{
    CHUNK_MAGIC, Chunk, DONE, ErrorText, Extent, Hole, SIMPLE_REPLY_MAGIC, STATUS_HOLE, STATUS_ZERO,
    SimpleReply, chunk,
};
use zerocopy::IntoBytes as _;
use zerocopy::byteorder::big_endian::{U16, U32, U64};

/// What is known of a run of bytes without reading them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Known {
    Data,
    /// They read as zeroes and take no space.
    Zero,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    pub len: u32,
    pub known: Known,
}

/// One client's way of being answered.
#[derive(Clone, Copy, Debug)]
pub struct Replies {
    pub structured: bool,
}

impl Replies {
    /// To anything without a result, if it was done.
    pub fn done(self, cookie: u64, out: &mut Vec<u8>) {
        if self.structured {
            head(chunk::NONE, DONE, cookie, 0, out);
        } else {
            simple(0, cookie, out);
        }
    }

    pub fn refused(self, cookie: u64, refusal: Refusal, out: &mut Vec<u8>) {
        let Refusal { error, why } = refusal;
        if !self.structured {
            return simple(error.number(), cookie, out);
        }
        let text =
            ErrorText { error: error.number().into(), len: U16::new(u16::try_from(why.len()).unwrap_or(0)) };
        let len = size_of::<ErrorText>().saturating_add(why.len());
        head(chunk::ERROR, DONE, cookie, u32::try_from(len).unwrap_or(u32::MAX), out);
        out.extend_from_slice(text.as_bytes());
        out.extend_from_slice(why.as_bytes());
    }

    /// Before `len` bytes of data, which must follow.
    pub fn data(self, cookie: u64, offset: u64, len: u32, last: bool, out: &mut Vec<u8>) {
        if !self.structured {
            return simple(0, cookie, out);
        }
        let flags = if last { DONE } else { 0 };
        head(chunk::DATA, flags, cookie, len.saturating_add(8), out);
        out.extend_from_slice(U64::new(offset).as_bytes());
    }

    /// Data that is all zeroes; structured only.
    pub fn hole(self, cookie: u64, offset: u64, len: u32, last: bool, out: &mut Vec<u8>) {
        let flags = if last { DONE } else { 0 };
        head(chunk::HOLE, flags, cookie, 12, out);
        out.extend_from_slice(Hole { offset: offset.into(), len: len.into() }.as_bytes());
    }

    /// What is known of the runs, one after the other; structured only.
    pub fn status(self, cookie: u64, runs: &[Run], out: &mut Vec<u8>) {
        let bytes = size_of::<Extent>().saturating_mul(runs.len()).saturating_add(4);
        head(chunk::STATUS, DONE, cookie, u32::try_from(bytes).unwrap_or(u32::MAX), out);
        out.extend_from_slice(U32::new(ALLOCATION_ID).as_bytes());
        for run in runs {
            let status = match run.known {
                Known::Data => 0,
                Known::Zero => STATUS_HOLE | STATUS_ZERO,
            };
            out.extend_from_slice(Extent { len: run.len.into(), status: status.into() }.as_bytes());
        }
    }
}

fn simple(error: u32, cookie: u64, out: &mut Vec<u8>) {
    let reply = SimpleReply { magic: SIMPLE_REPLY_MAGIC.into(), error: error.into(), cookie: cookie.into() };
    out.extend_from_slice(reply.as_bytes());
}

fn head(kind: u16, flags: u16, cookie: u64, len: u32, out: &mut Vec<u8>) {
    let head = Chunk {
        magic: CHUNK_MAGIC.into(),
        flags: flags.into(),
        kind: kind.into(),
        cookie: cookie.into(),
        len: len.into(),
    };
    out.extend_from_slice(head.as_bytes());
}
