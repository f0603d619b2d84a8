//! The records and numbers of the NBD protocol (github.com/NetworkBlockDevice/nbd, doc/proto.md): fixed newstyle,
//! structured replies, base:allocation. Everything on the wire is big-endian.

use zerocopy::big_endian::{U16, U32, U64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

/// `NBDMAGIC`, then `IHAVEOPT`, then the handshake flags.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Greeting {
    pub(super) magic: U64,
    pub(super) options: U64,
    pub(super) flags: U16,
}

pub(super) const NBD_MAGIC: u64 = 0x4e42_444d_4147_4943;
pub(super) const OPTION_MAGIC: u64 = 0x4948_4156_454f_5054;
/// Of both sides' handshake flags.
pub(super) const FIXED_NEWSTYLE: u16 = 1;
pub(super) const NO_ZEROES: u16 = 2;

/// What the client asks for during the handshake; `len` bytes of data follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct OptionHead {
    pub(super) magic: U64,
    pub(super) option: U32,
    pub(super) len: U32,
}
const _: () = assert!(size_of::<OptionHead>() == 16);

pub(super) mod option {
    pub(in crate::nbd) const EXPORT_NAME: u32 = 1;
    pub(in crate::nbd) const ABORT: u32 = 2;
    pub(in crate::nbd) const LIST: u32 = 3;
    pub(in crate::nbd) const INFO: u32 = 6;
    pub(in crate::nbd) const GO: u32 = 7;
    pub(in crate::nbd) const STRUCTURED_REPLY: u32 = 8;
    pub(in crate::nbd) const LIST_META_CONTEXT: u32 = 9;
    pub(in crate::nbd) const SET_META_CONTEXT: u32 = 10;
}

/// The server's answer to an option; `len` bytes of data follow.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct OptionReply {
    pub(super) magic: U64,
    pub(super) option: U32,
    pub(super) kind: U32,
    pub(super) len: U32,
}

pub(super) const OPTION_REPLY_MAGIC: u64 = 0x0003_e889_0455_65a9;

pub(super) mod answer {
    pub(in crate::nbd) const ACK: u32 = 1;
    pub(in crate::nbd) const SERVER: u32 = 2;
    pub(in crate::nbd) const INFO: u32 = 3;
    pub(in crate::nbd) const META_CONTEXT: u32 = 4;
    pub(in crate::nbd) const UNSUPPORTED: u32 = 0x8000_0001;
    pub(in crate::nbd) const INVALID: u32 = 0x8000_0003;
    pub(in crate::nbd) const UNKNOWN: u32 = 0x8000_0006;
}

/// What GO and INFO tell about an export.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct ExportInfo {
    pub(super) kind: U16,
    pub(super) size: U64,
    pub(super) flags: U16,
}

#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct BlockSizeInfo {
    pub(super) kind: U16,
    pub(super) least: U32,
    pub(super) preferred: U32,
    pub(super) most: U32,
}

/// EXPORT_NAME's answer, which 124 zeroes follow unless both sides said NO_ZEROES.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct OldInfo {
    pub(super) size: U64,
    pub(super) flags: U16,
}

pub(super) mod info {
    pub(in crate::nbd) const EXPORT: u16 = 0;
    pub(in crate::nbd) const NAME: u16 = 1;
    pub(in crate::nbd) const DESCRIPTION: u16 = 2;
    pub(in crate::nbd) const BLOCK_SIZE: u16 = 3;
}

/// Transmission flags: what an export can do.
pub(super) mod can {
    pub(in crate::nbd) const HAS_FLAGS: u16 = 1;
    pub(in crate::nbd) const READ_ONLY: u16 = 1 << 1;
    pub(in crate::nbd) const FLUSH: u16 = 1 << 2;
    pub(in crate::nbd) const FUA: u16 = 1 << 3;
    pub(in crate::nbd) const TRIM: u16 = 1 << 5;
    pub(in crate::nbd) const WRITE_ZEROES: u16 = 1 << 6;
    pub(in crate::nbd) const DONT_FRAGMENT: u16 = 1 << 7;
    pub(in crate::nbd) const MULTI_CONN: u16 = 1 << 8;
    pub(in crate::nbd) const CACHE: u16 = 1 << 10;
    pub(in crate::nbd) const FAST_ZERO: u16 = 1 << 11;
}

/// A request; a write's bytes follow.
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(super) struct RequestHead {
    pub(super) magic: U32,
    pub(super) flags: U16,
    pub(super) kind: U16,
    pub(super) cookie: U64,
    pub(super) offset: U64,
    pub(super) len: U32,
}
const _: () = assert!(size_of::<RequestHead>() == 28);

pub(super) const REQUEST_MAGIC: u32 = 0x2560_9513;

pub(super) mod kind {
    pub(in crate::nbd) const READ: u16 = 0;
    pub(in crate::nbd) const WRITE: u16 = 1;
    pub(in crate::nbd) const DISCONNECT: u16 = 2;
    pub(in crate::nbd) const FLUSH: u16 = 3;
    pub(in crate::nbd) const TRIM: u16 = 4;
    pub(in crate::nbd) const CACHE: u16 = 5;
    pub(in crate::nbd) const WRITE_ZEROES: u16 = 6;
    pub(in crate::nbd) const BLOCK_STATUS: u16 = 7;
}

/// Command flags.
pub(super) mod with {
    pub(in crate::nbd) const FUA: u16 = 1;
    pub(in crate::nbd) const NO_HOLE: u16 = 1 << 1;
    pub(in crate::nbd) const DONT_FRAGMENT: u16 = 1 << 2;
    pub(in crate::nbd) const ONE_EXTENT: u16 = 1 << 3;
    pub(in crate::nbd) const FAST_ZERO: u16 = 1 << 4;
}

#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct SimpleReply {
    pub(super) magic: U32,
    pub(super) error: U32,
    pub(super) cookie: U64,
}

pub(super) const SIMPLE_REPLY_MAGIC: u32 = 0x6744_6698;

/// The head of a part of a structured reply; `len` bytes follow.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Chunk {
    pub(super) magic: U32,
    pub(super) flags: U16,
    pub(super) kind: U16,
    pub(super) cookie: U64,
    pub(super) len: U32,
}

pub(super) const CHUNK_MAGIC: u32 = 0x668e_33ef;
/// Flag of the last chunk of a reply.
pub(super) const DONE: u16 = 1;

pub(super) mod chunk {
    pub(in crate::nbd) const NONE: u16 = 0;
    pub(in crate::nbd) const DATA: u16 = 1;
    pub(in crate::nbd) const HOLE: u16 = 2;
    pub(in crate::nbd) const STATUS: u16 = 5;
    pub(in crate::nbd) const ERROR: u16 = 0x8001;
}

#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Hole {
    pub(super) offset: U64,
    pub(super) len: U32,
}

/// One run of base:allocation.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Extent {
    pub(super) len: U32,
    pub(super) status: U32,
}

pub(super) const STATUS_HOLE: u32 = 1;
pub(super) const STATUS_ZERO: u32 = 2;

/// An error chunk's payload; `len` bytes of text follow.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct ErrorText {
    pub(super) error: U32,
    pub(super) len: U16,
}
