//! The handshake: what a client says before its first request, and what it is told. Bytes in, bytes out.
//!
//! Fixed newstyle only, one export with an empty name. Left out: TLS (the socket's permissions say who may connect)
//! and whatever else `NBD_REP_ERR_UNSUP` is the protocol's own answer to.

use super::spec::{
    BlockSizeInfo, ExportInfo, FIXED_NEWSTYLE, Greeting, NBD_MAGIC, NO_ZEROES, OPTION_MAGIC,
    OPTION_REPLY_MAGIC, OldInfo, OptionHead, OptionReply, answer, can, info, option,
};
use super::{MAX_PAYLOAD, Violation};
use crate::SECTOR;
use crate::top::layout::GRANULE;
use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// The most data of one option: names have at most 4096 bytes (proto.md, "Values"), queries are few.
const MAX_OPTION: u32 = 32 << 10;
/// The most options of one handshake. Clients send five.
const MAX_OPTIONS: u32 = 1000;

/// The one metadata context, and the number that it has in replies.
const ALLOCATION: &str = "base:allocation";
pub(super) const ALLOCATION_ID: u32 = 1;

/// What clients are told about the export.
#[derive(Clone, Debug)]
pub struct About {
    /// In bytes, a multiple of 512.
    pub size: u64,
    pub read_only: bool,
    pub description: String,
}

/// What was agreed on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Session {
    pub size: u64,
    pub read_only: bool,
    pub structured: bool,
    /// The client may ask for block status.
    pub allocation: bool,
}

/// Where the handshake is after a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// More messages follow.
    Next,
    /// Requests follow.
    Begin(Session),
    /// The client wants no more, or something that can only be answered by closing.
    End,
}

#[derive(Debug)]
pub struct Handshake {
    about: About,
    /// The client's flags have come.
    flags: bool,
    no_zeroes: bool,
    structured: bool,
    allocation: bool,
    options: u32,
}

impl Handshake {
    #[must_use]
    pub fn new(about: About) -> Handshake {
        Handshake { about, flags: false, no_zeroes: false, structured: false, allocation: false, options: 0 }
    }

    /// What the server says first.
    pub fn greet(&self, out: &mut Vec<u8>) {
        let greeting = Greeting {
            magic: NBD_MAGIC.into(),
            options: OPTION_MAGIC.into(),
            flags: (FIXED_NEWSTYLE | NO_ZEROES).into(),
        };
        out.extend_from_slice(greeting.as_bytes());
    }

    /// Takes one message from the front of `input`, and adds the answer to `out`. Gives how many bytes it took; none:
    /// the message is not whole yet.
    pub fn step(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<Option<(usize, Step)>, Violation> {
        if !self.flags {
            let Ok((flags, _)) = U32::read_from_prefix(input) else { return Ok(None) };
            self.client_flags(flags.get())?;
            return Ok(Some((size_of::<U32>(), Step::Next)));
        }
        let Ok((head, rest)) = OptionHead::read_from_prefix(input) else { return Ok(None) };
        if head.magic != OPTION_MAGIC {
            return Err(Violation::Magic);
        }
        if head.len > MAX_OPTION {
            return Err(Violation::OptionTooLong(head.len.get()));
        }
        let Some(data) = usize::try_from(head.len.get()).ok().and_then(|len| rest.get(..len)) else {
            return Ok(None);
        };
        self.options = self.options.saturating_add(1);
        if self.options > MAX_OPTIONS {
            return Err(Violation::TooManyOptions);
        }
        let step = self.option(head.option.get(), data, out);
        Ok(Some((size_of::<OptionHead>().saturating_add(data.len()), step)))
    }

    fn client_flags(&mut self, flags: u32) -> Result<(), Violation> {
        let (fixed, no_zeroes) = (u32::from(FIXED_NEWSTYLE), u32::from(NO_ZEROES));
        if flags & fixed == 0 || flags & !(fixed | no_zeroes) != 0 {
            return Err(Violation::ClientFlags(flags));
        }
        (self.flags, self.no_zeroes) = (true, flags & no_zeroes != 0);
        Ok(())
    }

    fn option(&mut self, option: u32, data: &[u8], out: &mut Vec<u8>) -> Step {
        let mut reply = Replies { option, out };
        match option {
            option::EXPORT_NAME => return self.export_name(data, out),
            option::ABORT => {
                reply.add(answer::ACK, &[]);
                return Step::End;
            }
            option::LIST if !data.is_empty() => reply.refuse(answer::INVALID, "LIST takes no data"),
            option::LIST => {
                // The length of the name, which is empty; what follows it is the description.
                let text = [U32::new(0).as_bytes(), self.about.description.as_bytes()].concat();
                reply.add(answer::SERVER, &text);
                reply.add(answer::ACK, &[]);
            }
            option::INFO | option::GO => return self.go(data, &mut reply),
            option::STRUCTURED_REPLY if data.is_empty() => {
                self.structured = true;
                reply.add(answer::ACK, &[]);
            }
            option::STRUCTURED_REPLY => reply.refuse(answer::INVALID, "STRUCTURED_REPLY takes no data"),
            option::LIST_META_CONTEXT | option::SET_META_CONTEXT => self.contexts(data, &mut reply),
            _ => reply.refuse(answer::UNSUPPORTED, "this server does not have this option"),
        }
        Step::Next
    }

    /// It cannot be refused but by closing the connection.
    fn export_name(&self, name: &[u8], out: &mut Vec<u8>) -> Step {
        if !name.is_empty() {
            return Step::End;
        }
        let told = OldInfo { size: self.about.size.into(), flags: self.transmission_flags().into() };
        out.extend_from_slice(told.as_bytes());
        if !self.no_zeroes {
            out.extend_from_slice(&[0; 124]);
        }
        Step::Begin(self.session())
    }

    fn go(&self, data: &[u8], reply: &mut Replies<'_>) -> Step {
        let Some((name, wanted)) = string(data).and_then(|(name, rest)| Some((name, infos(rest)?))) else {
            reply.refuse(answer::INVALID, "the lengths in this option do not fit together");
            return Step::Next;
        };
        if !name.is_empty() {
            reply.refuse(answer::UNKNOWN, "there is no export of this name: the only one has an empty name");
            return Step::Next;
        }
        let (size, flags) = (self.about.size.into(), self.transmission_flags().into());
        reply.add(answer::INFO, ExportInfo { kind: info::EXPORT.into(), size, flags }.as_bytes());
        // Told to everybody, for that a client which did not ask may still look.
        let sizes = BlockSizeInfo {
            kind: info::BLOCK_SIZE.into(),
            least: U32::new(u32::try_from(SECTOR).unwrap_or(u32::MAX)),
            preferred: U32::new(u32::try_from(GRANULE).unwrap_or(u32::MAX)),
            most: MAX_PAYLOAD.into(),
        };
        reply.add(answer::INFO, sizes.as_bytes());
        for (kind, text) in [(info::NAME, ""), (info::DESCRIPTION, self.about.description.as_str())] {
            if wanted.iter().any(|one| *one == kind) {
                reply.add(answer::INFO, &[U16::new(kind).as_bytes(), text.as_bytes()].concat());
            }
        }
        reply.add(answer::ACK, &[]);
        if reply.option == option::GO { Step::Begin(self.session()) } else { Step::Next }
    }

    fn contexts(&mut self, data: &[u8], reply: &mut Replies<'_>) {
        let set = reply.option == option::SET_META_CONTEXT;
        if set {
            // Whatever it selected before, even if this one fails.
            self.allocation = false;
        }
        if !self.structured {
            return reply.refuse(answer::INVALID, "ask for STRUCTURED_REPLY first");
        }
        let Some((name, queries)) = string(data).and_then(|(name, rest)| Some((name, strings(rest)?))) else {
            return reply.refuse(answer::INVALID, "the lengths in this option do not fit together");
        };
        if !name.is_empty() {
            return reply
                .refuse(answer::UNKNOWN, "there is no export of this name: the only one has an empty name");
        }
        // `base:` alone is a wildcard of LIST, as is no query at all.
        let hit = |query: &&[u8]| *query == ALLOCATION.as_bytes() || (!set && *query == b"base:");
        if queries.iter().any(hit) || (!set && queries.is_empty()) {
            self.allocation |= set;
            let id = U32::new(if set { ALLOCATION_ID } else { 0 });
            reply.add(answer::META_CONTEXT, &[id.as_bytes(), ALLOCATION.as_bytes()].concat());
        }
        reply.add(answer::ACK, &[]);
    }

    fn session(&self) -> Session {
        let &Handshake { structured, allocation, .. } = self;
        let &About { size, read_only, description: _ } = &self.about;
        Session { size, read_only, structured, allocation }
    }

    fn transmission_flags(&self) -> u16 {
        // A flush covers what was answered on any connection: the volume has one, whatever queue asks for it.
        let mut flags = can::HAS_FLAGS | can::FLUSH | can::FUA | can::MULTI_CONN | can::CACHE;
        flags |= if self.about.read_only {
            can::READ_ONLY
        } else {
            can::TRIM | can::WRITE_ZEROES | can::FAST_ZERO
        };
        if self.structured { flags | can::DONT_FRAGMENT } else { flags }
    }
}

/// Answers to one option.
struct Replies<'a> {
    option: u32,
    out: &'a mut Vec<u8>,
}

impl Replies<'_> {
    fn add(&mut self, kind: u32, data: &[u8]) {
        let head = OptionReply {
            magic: OPTION_REPLY_MAGIC.into(),
            option: self.option.into(),
            kind: kind.into(),
            len: U32::new(u32::try_from(data.len()).unwrap_or(u32::MAX)),
        };
        self.out.extend_from_slice(head.as_bytes());
        self.out.extend_from_slice(data);
    }

    fn refuse(&mut self, kind: u32, why: &str) {
        self.add(kind, why.as_bytes());
    }
}

/// A string with its length before it, and what follows.
fn string(data: &[u8]) -> Option<(&[u8], &[u8])> {
    let (len, rest) = U32::read_from_prefix(data).ok()?;
    rest.split_at_checked(usize::try_from(len.get()).ok()?)
}

/// The kinds of information that a client asks for: their number, then as many, then nothing.
fn infos(data: &[u8]) -> Option<&[U16]> {
    let (count, rest) = U16::read_from_prefix(data).ok()?;
    <[U16]>::ref_from_bytes_with_elems(rest, usize::from(count.get())).ok()
}

/// As many strings as their number before them says, then nothing. Each takes four bytes at least, so that there are
/// no more than the data has room for.
fn strings(data: &[u8]) -> Option<Vec<&[u8]>> {
    let (count, mut rest) = U32::read_from_prefix(data).ok()?;
    let mut all = Vec::new();
    for _ in 0..count.get() {
        let (one, behind) = string(rest)?;
        all.push(one);
        rest = behind;
    }
    rest.is_empty().then_some(all)
}
