//! A session over a connection that an `ssh -M` keeps: OpenSSH's multiplexing protocol, version 4 (PROTOCOL.mux), as
//! far as one command needs it.
//!
//! It is spoken here because it tells a command's own status apart from a connection that broke, which `ssh`'s exit
//! code 255 does not. No crate that is kept speaks it.

use super::wait::wait;
use rustix::event::PollFlags;
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use std::ffi::OsStr;
use std::io::{self, ErrorKind, IoSlice, Read as _, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

const VERSION: u32 = 4;
const HELLO: u32 = 0x0000_0001;
const NEW_SESSION: u32 = 0x1000_0002;
const ALIVE_CHECK: u32 = 0x1000_0004;
const PERMISSION_DENIED: u32 = 0x8000_0002;
const FAILURE: u32 = 0x8000_0003;
const EXIT_MESSAGE: u32 = 0x8000_0004;
const ALIVE: u32 = 0x8000_0005;
const SESSION_OPENED: u32 = 0x8000_0006;

/// A session without an escape character.
const NO_ESCAPE: u32 = u32::MAX;
/// The longest message that the master may send: reasons are a line of text.
const MAX_MESSAGE: usize = 64 << 10;

/// What a session ended with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// The command's status.
    Exited(u32),
    /// The session is over, and no status was told.
    Closed,
    Refused(String),
    Stopped,
}

/// A connection to the master.
#[derive(Debug)]
pub(super) struct Mux<'s> {
    stream: UnixStream,
    /// Ready when nobody waits for an answer any more.
    stop: BorrowedFd<'s>,
}

/// A message: its number and what follows it.
type Message = (u32, Vec<u8>);

impl<'s> Mux<'s> {
    /// Connects, and exchanges versions.
    pub(super) fn connect(socket: &Path, stop: BorrowedFd<'s>) -> io::Result<Mux<'s>> {
        let mut mux = Mux { stream: UnixStream::connect(socket)?, stop };
        mux.send(HELLO, &[&number(VERSION)])?;
        match mux.receive()? {
            Some((HELLO, body)) if number_at(&body, 0) == Some(VERSION) => Ok(mux),
            _ => Err(io::Error::new(ErrorKind::InvalidData, "ssh speaks no multiplexing of version 4")),
        }
    }

    /// Whether the master answers.
    pub(super) fn is_alive(&mut self) -> io::Result<bool> {
        self.send(ALIVE_CHECK, &[&number(0)])?;
        Ok(matches!(self.receive()?, Some((ALIVE, _))))
    }

    /// Runs a command by the login shell, with these for standard input, output and error, until it ends.
    pub(super) fn run(&mut self, command: &OsStr, files: [BorrowedFd<'_>; 3]) -> io::Result<End> {
        let flags = [0_u32; 4].map(u32::to_be_bytes).concat();
        let body = [
            // The request, and a member that is reserved.
            number(0),
            text(b"")?,
            // No terminal, no X11, no agent, no subsystem.
            flags,
            number(NO_ESCAPE),
            // The terminal's type.
            text(b"")?,
            text(command.as_bytes())?,
        ];
        self.send(NEW_SESSION, &body.each_ref().map(Vec::as_slice))?;
        for file in files {
            self.pass(file)?;
        }
        let mut status = None;
        loop {
            match self.receive() {
                Ok(Some((SESSION_OPENED, _))) => {}
                Ok(Some((EXIT_MESSAGE, body))) => status = number_at(&body, 4),
                Ok(Some((FAILURE | PERMISSION_DENIED, body))) => return Ok(End::Refused(reason(&body))),
                Ok(Some((other, _))) => log::debug!("ssh's master says {other:#x}"),
                // It ends when all that the command said was passed on.
                Err(cause) if is_end(&cause) => return Ok(status.map_or(End::Closed, End::Exited)),
                Ok(None) => return Ok(End::Stopped),
                Err(cause) => return Err(cause),
            }
        }
    }

    fn send(&mut self, kind: u32, body: &[&[u8]]) -> io::Result<()> {
        let message = [&number(kind), body.concat().as_slice()].concat();
        self.stream.write_all(&text(&message)?)
    }

    /// Each file goes with one byte (mm_send_fd).
    fn pass(&self, file: BorrowedFd<'_>) -> io::Result<()> {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let files = [file];
        if !ancillary.push(SendAncillaryMessage::ScmRights(&files)) {
            return Err(ErrorKind::OutOfMemory.into());
        }
        sendmsg(&self.stream, &[IoSlice::new(&[0])], &mut ancillary, SendFlags::NOSIGNAL)?;
        Ok(())
    }

    /// The next message; None: nobody waits for it any more.
    fn receive(&mut self) -> io::Result<Option<Message>> {
        let Some(length) = self.exactly(4)? else { return Ok(None) };
        let length =
            number_at(&length, 0).and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
        if !(4..=MAX_MESSAGE).contains(&length) {
            return Err(io::Error::new(ErrorKind::InvalidData, "ssh sent a message of an odd length"));
        }
        let Some(message) = self.exactly(length)? else { return Ok(None) };
        let kind = number_at(&message, 0).unwrap_or_default();
        Ok(Some((kind, message.get(4..).unwrap_or_default().to_owned())))
    }

    fn exactly(&mut self, count: usize) -> io::Result<Option<Vec<u8>>> {
        let mut bytes = vec![0; count];
        let mut left = bytes.as_mut_slice();
        while !left.is_empty() {
            if wait(&[(self.stop, PollFlags::IN), (self.stream.as_fd(), PollFlags::IN)], None)? == Some(0) {
                return Ok(None);
            }
            match self.stream.read(left) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => left = left.get_mut(count..).unwrap_or_default(),
                Err(cause) if cause.kind() == ErrorKind::Interrupted => {}
                Err(cause) => return Err(cause),
            }
        }
        Ok(Some(bytes))
    }
}

/// The master has closed the connection.
fn is_end(cause: &io::Error) -> bool {
    matches!(cause.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset)
}

fn number(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

/// A string, with its length before it.
fn text(bytes: &[u8]) -> io::Result<Vec<u8>> {
    let length = u32::try_from(bytes.len()).map_err(io::Error::other)?;
    Ok([&length.to_be_bytes(), bytes].concat())
}

fn number_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().map(|bytes| u32::from_be_bytes(*bytes))
}

/// Behind the request's number.
fn reason(body: &[u8]) -> String {
    String::from_utf8_lossy(body.get(8..).unwrap_or_default()).into_owned()
}
