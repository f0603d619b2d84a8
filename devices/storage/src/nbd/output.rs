//! Replies on their way to a client, in order. Small data is copied behind its head, so that many replies go by one
//! system call; large data is sent from where the queue has put it.

use super::arena::{Arena, Piece};
use super::socket::Socket;
use ami_run_memory::{Gpa, MemoryError};
use std::collections::VecDeque;

/// Up to here a copy is cheaper than a system call.
const SMALL: u64 = 32 << 10;
/// Where the next string of bytes begins.
const LONG: usize = 256 << 10;

#[derive(Debug)]
enum Part {
    Bytes(Vec<u8>),
    Data {
        at: u64,
        len: u64,
    },
    /// All of it was sent.
    Free(Piece),
}

#[derive(Debug, Default)]
pub(super) struct Output {
    parts: VecDeque<Part>,
    /// How much of the first part was sent.
    sent: usize,
    /// The sum of all bytes that wait here.
    held: usize,
}

impl Output {
    pub(super) fn is_empty(&self) -> bool {
        self.parts.is_empty()
    }

    /// What waits besides pieces of the arena.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn write<R>(&mut self, f: impl FnOnce(&mut Vec<u8>) -> R) -> R {
        if !matches!(self.parts.back(), Some(Part::Bytes(bytes)) if bytes.len() < LONG) {
            self.parts.push_back(Part::Bytes(Vec::new()));
        }
        let mut none = Vec::new();
        let bytes = match self.parts.back_mut() {
            Some(Part::Bytes(bytes)) => bytes,
            _ => &mut none,
        };
        let before = bytes.len();
        let result = f(bytes);
        self.held = self.held.saturating_add(bytes.len().saturating_sub(before));
        result
    }

    /// Adds `len` bytes of the arena at `at`. They must stay until [`Output::free`].
    pub(super) fn data(&mut self, arena: &Arena, at: u64, len: u64) -> Result<(), MemoryError> {
        if len > SMALL {
            self.parts.push_back(Part::Data { at, len });
            return Ok(());
        }
        self.write(|bytes| {
            let before = bytes.len();
            bytes.resize(before.saturating_add(usize::try_from(len).unwrap_or_default()), 0);
            arena.memory().read(Gpa(at), bytes.get_mut(before..).unwrap_or_default())
        })
    }

    /// Gives a piece back when all before it was sent.
    pub(super) fn free(&mut self, piece: Piece, arena: &mut Arena) {
        if self.parts.iter().any(|part| matches!(part, Part::Data { .. })) {
            self.parts.push_back(Part::Free(piece));
        } else {
            arena.give_back(piece);
        }
    }

    /// Sends what the socket takes; true: it took something.
    pub(super) fn send(&mut self, socket: &mut Socket, arena: &mut Arena) -> bool {
        let mut any = false;
        while let Some(part) = self.parts.pop_front() {
            let (len, sent) = match &part {
                Part::Bytes(bytes) => (bytes.len(), socket.send(bytes.get(self.sent..).unwrap_or_default())),
                Part::Data { at, len } => {
                    let sent = self.sent as u64;
                    let count =
                        socket.send_from(arena.memory(), at.saturating_add(sent), len.saturating_sub(sent));
                    (usize::try_from(*len).unwrap_or(usize::MAX), usize::try_from(count).unwrap_or_default())
                }
                Part::Free(_) => (0, 0),
            };
            any |= sent > 0;
            self.sent = self.sent.saturating_add(sent);
            if self.sent < len {
                self.parts.push_front(part);
                break;
            }
            self.sent = 0;
            match part {
                Part::Bytes(_) => self.held = self.held.saturating_sub(len),
                Part::Data { .. } => {}
                Part::Free(piece) => arena.give_back(piece),
            }
        }
        any
    }
}
