//! One connection, from its greeting to its end, in a thread of its own: the handshake, then requests.

use super::handshake::{About, Handshake, Session, Step};
use super::output::Output;
use super::socket::Socket;
use super::transmission::Transmission;
use super::{Violation, arena::Arena};
use crate::Volume;
use std::io;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::time::Duration;

/// The whole handshake takes no longer.
const HANDSHAKE_PATIENCE: Duration = Duration::from_secs(30);
/// Replies to options that may wait to be read.
const MAX_REPLIES: usize = 64 << 10;
/// Room for an option with all its data, and for many requests.
const INPUT: usize = 64 << 10;

/// Bytes from the client that nobody has taken yet.
#[derive(Debug)]
pub(super) struct Input {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
}

impl Input {
    fn new() -> Input {
        Input { bytes: vec![0; INPUT].into_boxed_slice(), start: 0, end: 0 }
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.bytes.get(self.start..self.end).unwrap_or_default()
    }

    pub(super) fn take(&mut self, count: usize) {
        self.start = self.start.saturating_add(count).min(self.end);
    }

    /// Reads more behind what is there; false: nothing came.
    pub(super) fn fill(&mut self, socket: &mut Socket) -> bool {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.start > 0 {
            self.bytes.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end.saturating_sub(self.start));
        }
        let count = socket.receive(self.bytes.get_mut(self.end..).unwrap_or_default());
        self.end = self.end.saturating_add(count);
        count > 0
    }
}

/// Serves a client until it goes, is sent away, or the server ends.
pub(super) fn serve(
    stream: UnixStream,
    volume: &Volume,
    about: About,
    stop: BorrowedFd<'_>,
) -> io::Result<()> {
    let socket = Socket::new(stream, stop)?;
    socket.set_timer(Some(HANDSHAKE_PATIENCE))?;
    let arena = Arena::new().map_err(io::Error::other)?;
    let mut parts = Parts { socket, arena, input: Input::new(), output: Output::default() };
    let Some(session) = parts.handshake(about)? else { return Ok(()) };
    parts.socket.set_timer(None)?;
    Transmission::new(parts, volume, session).run()
}

/// What both halves of a connection use.
#[derive(Debug)]
pub(super) struct Parts {
    pub(super) socket: Socket,
    pub(super) arena: Arena,
    pub(super) input: Input,
    pub(super) output: Output,
}

impl Parts {
    /// Sends what the client takes; true: it took something.
    pub(super) fn send(&mut self) -> bool {
        self.output.send(&mut self.socket, &mut self.arena)
    }

    /// None: there is nothing to serve.
    fn handshake(&mut self, about: About) -> io::Result<Option<Session>> {
        let mut handshake = Handshake::new(about);
        self.output.write(|out| handshake.greet(out));
        let mut end = Step::Next;
        loop {
            let mut moved = self.send();
            if self.socket.is_gone() {
                return Ok(None);
            }
            match end {
                Step::Begin(session) => return Ok(Some(session)),
                Step::End if self.output.is_empty() => return Ok(None),
                Step::Next if !self.socket.is_open() => return Ok(None),
                Step::Next if self.output.held() < MAX_REPLIES => {
                    let taken = self.output.write(|out| handshake.step(self.input.bytes(), out));
                    match taken {
                        Ok(Some((count, step))) => {
                            self.input.take(count);
                            end = step;
                            moved = true;
                        }
                        Ok(None) => moved |= self.input.fill(&mut self.socket),
                        Err(violation) => {
                            refused(violation);
                            return Ok(None);
                        }
                    }
                }
                _ => {}
            }
            if !moved {
                self.socket.sleep()?;
            }
        }
    }
}

pub(super) fn refused(violation: Violation) {
    log::info!("closing an NBD connection: {violation}");
}
