//! One client's connection: gathers the bytes of a request, and gives one answer after the other.

use crate::answer::{Answer, Reply, Status};
use crate::request;
use crate::service::{Now, Service};
use std::time::{Duration, Instant};

/// The longest head of a request. Nothing behind it is kept.
pub const MAX_HEAD: usize = 8 << 10;

/// How long a client may take for a head or for its last answer, and how long it may say nothing.
const FOR_HEAD: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(60);

/// One connection. Whoever owns its socket passes on what comes, sends what is answered before it takes more, and
/// closes the socket after an answer that closes or at the deadline.
#[derive(Debug)]
pub struct Connection {
    bytes: Vec<u8>,
    /// When the head that has begun must be there, or the next one have begun.
    deadline: Instant,
    closed: bool,
}

impl Connection {
    #[must_use]
    pub fn new(now: Instant) -> Connection {
        Connection { bytes: Vec::new(), deadline: later(now, IDLE), closed: false }
    }

    /// Takes what it has room for, and says how many bytes that were. What comes after the last answer is swallowed.
    pub fn take(&mut self, bytes: &[u8], now: Instant) -> usize {
        if self.closed {
            return bytes.len();
        }
        if self.bytes.is_empty() && !bytes.is_empty() {
            self.deadline = later(now, FOR_HEAD);
        }
        let room = MAX_HEAD.saturating_sub(self.bytes.len());
        let taken = bytes.get(..room).unwrap_or(bytes);
        self.bytes.extend(taken);
        taken.len()
    }

    /// The next answer, if a request is all there.
    pub fn answer(&mut self, service: &mut Service, now: Now) -> Option<Answer> {
        let answer = match request::parse(&self.bytes) {
            _ if self.closed || self.bytes.is_empty() => return None,
            Ok(None) if self.bytes.len() < MAX_HEAD => return None,
            Ok(Some((request, length))) => {
                self.bytes.drain(..length.min(self.bytes.len()));
                service.answer(&request, now)
            }
            Ok(None) | Err(_) => Reply::error(Status::BadRequest).write(now, false, false),
        };
        let idle = self.bytes.is_empty() && !answer.close;
        self.deadline = later(now.instant, if idle { IDLE } else { FOR_HEAD });
        if answer.close {
            self.closed = true;
            self.bytes = Vec::new();
        }
        Some(answer)
    }

    /// When it is to be closed if nothing has come until then.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }
}

fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or(now)
}
