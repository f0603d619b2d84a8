//! The far end of a connection: a socket of the host's, or a service inside of the link. Either is the queue of what
//! goes to the guest: it is looked at without being taken, and taken when the guest has it.

use crate::service::{Answer, Session};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvFlags, SendFlags, Shutdown, sockopt};
use std::io::IoSliceMut;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Duration;

/// As much as may be under way to the guest on one connection: three large segments. Every look at a socket's queue
/// begins at its front and copies what is under way once more, so that more makes it slower (tests/bench/network).
pub(crate) const MAX_UNDER_WAY: usize = 192 << 10;
/// As long as an answer has more than this, a service is told nothing new.
const MAX_ANSWER: usize = 64 << 10;
/// It is told no more than this at a time: every question may have a long answer.
const PIECE: usize = 512;

pub(crate) enum Far {
    Host(Socket),
    Service { session: Session, answer: Answer },
}

#[derive(Debug)]
pub(crate) struct Socket {
    pub(crate) fd: OwnedFd,
    /// What epoll has told, until a call says otherwise.
    readable: bool,
    writable: bool,
    /// The peer says no more than what is in the queue.
    ended: bool,
    /// Some of what the peer says is urgent: a look that began before it ends there, though there is more.
    urgent: bool,
    broken: bool,
}

/// What a look at the queue found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Bytes(usize),
    Nothing,
    End,
    Broken,
}

/// The connection is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Broken;

impl Far {
    pub(crate) fn host(fd: OwnedFd) -> Far {
        let (readable, writable, ended, urgent, broken) = Default::default();
        Far::Host(Socket { fd, readable, writable, ended, urgent, broken })
    }

    pub(crate) fn service(session: Session) -> Far {
        Far::Service { session, answer: Answer { bytes: Vec::new(), ttl: crate::subnet::TTL, end: false } }
    }

    /// Takes what epoll says.
    pub(crate) fn event(&mut self, flags: EventFlags) {
        if let Far::Host(socket) = self {
            let over = EventFlags::HUP | EventFlags::ERR;
            socket.broken |= flags.contains(EventFlags::ERR);
            socket.urgent |= flags.contains(EventFlags::PRI);
            socket.ended |= flags.intersects(EventFlags::RDHUP | over);
            socket.readable |= flags.intersects(EventFlags::IN | EventFlags::RDHUP | over);
            socket.writable |= flags.intersects(EventFlags::OUT | over);
        }
    }

    /// The host's network has ended the connection.
    pub(crate) fn is_broken(&self) -> bool {
        matches!(self, Far::Host(socket) if socket.broken)
    }

    /// Whether a socket's connection came about; none: that is not known yet.
    pub(crate) fn connected(&self) -> Option<Result<(), Errno>> {
        match self {
            Far::Host(socket) if !socket.writable => None,
            Far::Host(socket) => Some(sockopt::socket_error(&socket.fd).and_then(|outcome| outcome)),
            Far::Service { .. } => Some(Ok(())),
        }
    }

    /// Copies what is in the queue behind its first `skip` bytes.
    pub(crate) fn look(&mut self, skip: usize, scratch: &mut [u8], into: &mut [u8]) -> Found {
        match self {
            Far::Host(socket) => socket.look(skip, scratch, into),
            Far::Service { answer, .. } => {
                let rest = answer.bytes.get(skip..).unwrap_or_default();
                if rest.is_empty() {
                    return if answer.end { Found::End } else { Found::Nothing };
                }
                let count = rest.len().min(into.len());
                for (to, from) in into.iter_mut().zip(rest) {
                    *to = *from;
                }
                Found::Bytes(count)
            }
        }
    }

    /// What was under way is to be looked at again.
    pub(crate) fn look_again(&mut self) {
        if let Far::Host(socket) = self {
            socket.readable = true;
        }
    }

    /// Takes from the queue what the guest has.
    pub(crate) fn discard(&mut self, count: usize, scratch: &mut [u8]) {
        match self {
            Far::Host(socket) => socket.discard(count, scratch),
            Far::Service { answer, .. } => {
                answer.bytes.drain(..count.min(answer.bytes.len()));
                if answer.bytes.is_empty() {
                    answer.bytes = Vec::new();
                }
            }
        }
    }

    /// Gives the far end what it takes of these bytes.
    pub(crate) fn write(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        match self {
            Far::Host(socket) => socket.write(bytes),
            Far::Service { session, answer } => {
                let mut taken: usize = 0;
                for piece in bytes.chunks(PIECE) {
                    if !answer.end && answer.bytes.len() > MAX_ANSWER {
                        break;
                    }
                    if !answer.end {
                        session(piece, answer);
                    }
                    taken = taken.saturating_add(piece.len());
                }
                Ok(taken)
            }
        }
    }

    /// What it keeps of its answer.
    pub(crate) fn kept(&self) -> usize {
        match self {
            Far::Host(_) => 0,
            Far::Service { answer, .. } => answer.bytes.capacity(),
        }
    }

    /// The guest says no more.
    pub(crate) fn shut(&mut self) -> Result<(), Broken> {
        match self {
            Far::Host(socket) => rustix::net::shutdown(&socket.fd, Shutdown::Write).map_err(|_| Broken),
            Far::Service { answer, .. } => {
                answer.end = true;
                Ok(())
            }
        }
    }

    /// Closing it will tell the peer that the connection broke.
    pub(crate) fn reset(&self) {
        if let Far::Host(socket) = self {
            // Without it the peer sees an end of the data: nothing better can be done then.
            sockopt::set_socket_linger(&socket.fd, Some(Duration::ZERO)).unwrap_or_default();
        }
    }

    /// Over how many hops its packets go.
    pub(crate) fn ttl(&self) -> u8 {
        match self {
            Far::Host(_) => crate::subnet::TTL,
            Far::Service { answer, .. } => answer.ttl,
        }
    }
}

impl Socket {
    fn look(&mut self, skip: usize, scratch: &mut [u8], into: &mut [u8]) -> Found {
        // What came before it broke is in the queue still.
        if !self.readable && !self.broken {
            return Found::Nothing;
        }
        let Some(skipped) = scratch.get_mut(..skip) else { return Found::Nothing };
        let room = into.len();
        let both = &mut [IoSliceMut::new(skipped), IoSliceMut::new(into)];
        let parts = if skip == 0 { both.get_mut(1..) } else { Some(&mut both[..]) };
        let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
        let got = rustix::net::recvmsg(
            self.fd.as_fd(),
            parts.unwrap_or_default(),
            &mut RecvAncillaryBuffer::default(),
            flags,
        );
        match got.map(|got| got.bytes.saturating_sub(skip)) {
            Ok(0) => {
                // An empty queue says that it has ended; one that is not says it by epoll alone.
                self.readable = self.urgent && skip > 0;
                if self.broken {
                    return if skip == 0 { Found::Broken } else { Found::Nothing };
                }
                if skip == 0 || (self.ended && !self.urgent) { Found::End } else { Found::Nothing }
            }
            Ok(count) => {
                // Whatever comes now is told of anew.
                self.readable = count == room || self.ended || self.urgent;
                Found::Bytes(count)
            }
            Err(Errno::AGAIN) => {
                self.readable = false;
                Found::Nothing
            }
            Err(_) => Found::Broken,
        }
    }

    fn discard(&mut self, mut count: usize, scratch: &mut [u8]) {
        while count > 0 {
            let len = count.min(scratch.len());
            let Some(part) = scratch.get_mut(..len) else { return };
            // TCP copies nothing that is cut off; a Unix socket takes no notice of the flag.
            match rustix::net::recv(self.fd.as_fd(), part, RecvFlags::TRUNC | RecvFlags::DONTWAIT) {
                Ok((_, taken)) if taken > 0 => count = count.saturating_sub(taken),
                _ => return,
            }
        }
    }

    fn write(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        if !self.writable {
            return Ok(0);
        }
        match rustix::net::send(self.fd.as_fd(), bytes, SendFlags::NOSIGNAL | SendFlags::DONTWAIT) {
            Ok(count) => {
                self.writable = count == bytes.len();
                Ok(count)
            }
            Err(Errno::AGAIN) => {
                self.writable = false;
                Ok(0)
            }
            // Nobody hears it. The guest is told when it has what was said before.
            Err(_) => {
                self.broken = true;
                Ok(bytes.len())
            }
        }
    }
}
