//! A client's socket, and all that a connection's thread sleeps on besides its queue: the socket, the server's end,
//! and a timer for clients that do nothing.
//!
//! One epoll descriptor stands for all of them, edge-triggered: it is readable only when something new has happened,
//! so that a thread which cannot take more for now does not spin.

use ami_run_memory::{Gpa, Memory};
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::Duration;

const SOCKET: u64 = 0;
const STOP: u64 = 1;
const TIMER: u64 = 2;

/// How long a client may take to read its replies once the server ends.
const LAST_PATIENCE: Duration = Duration::from_secs(2);

#[derive(Debug)]
pub(super) struct Socket {
    stream: UnixStream,
    bell: OwnedFd,
    timer: OwnedFd,
    readable: bool,
    writable: bool,
    /// Nothing more is taken from the client; what was begun is still answered.
    ending: bool,
    /// Nobody reads any more.
    gone: bool,
    stopping: bool,
}

impl Socket {
    /// `stop` becomes readable when the server ends.
    pub(super) fn new(stream: UnixStream, stop: BorrowedFd<'_>) -> io::Result<Socket> {
        stream.set_nonblocking(true)?;
        let bell = epoll::create(CreateFlags::CLOEXEC)?;
        let timer =
            timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        let both = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&bell, &stream, EventData::new_u64(SOCKET), both)?;
        epoll::add(&bell, stop, EventData::new_u64(STOP), EventFlags::IN | EventFlags::ET)?;
        epoll::add(&bell, &timer, EventData::new_u64(TIMER), EventFlags::IN | EventFlags::ET)?;
        Ok(Socket {
            stream,
            bell,
            timer,
            readable: true,
            writable: true,
            ending: false,
            gone: false,
            stopping: false,
        })
    }

    /// Readable when [`Socket::look`] has something to tell.
    pub(super) fn bell(&self) -> BorrowedFd<'_> {
        self.bell.as_fd()
    }

    /// Takes note of what has happened.
    pub(super) fn look(&mut self) -> io::Result<()> {
        let nothing = Event { flags: EventFlags::empty(), data: EventData::new_u64(u64::MAX) };
        let mut events = [nothing; 4];
        let count = match epoll::wait(&self.bell, &mut events, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) {
            Ok(count) => count,
            Err(rustix::io::Errno::INTR) => 0,
            Err(cause) => return Err(cause.into()),
        };
        for event in events.iter().take(count) {
            // The records are packed.
            let (data, flags) = (event.data, event.flags);
            match data.u64() {
                SOCKET => {
                    let closed = flags.intersects(EventFlags::HUP | EventFlags::ERR);
                    self.readable |= closed || flags.intersects(EventFlags::IN | EventFlags::RDHUP);
                    self.writable |= closed || flags.contains(EventFlags::OUT);
                }
                STOP if !self.stopping => {
                    self.end();
                    self.set_timer(Some(LAST_PATIENCE))?;
                    self.stopping = true;
                }
                TIMER => {
                    log::info!("closing an NBD connection: the client does not go on");
                    self.gone = true;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Waits until something has happened here; for who waits for nothing else.
    pub(super) fn sleep(&mut self) -> io::Result<()> {
        // Interrupted is as good as nothing new.
        poll(&mut [PollFd::new(&self.bell, PollFlags::IN)], None).unwrap_or_default();
        self.look()
    }

    /// Gives the client so long; none: for ever. Once the server ends, it has what it had then.
    pub(super) fn set_timer(&self, patience: Option<Duration>) -> io::Result<()> {
        if self.stopping {
            return Ok(());
        }
        let patience = patience.unwrap_or_default();
        let tv_sec = i64::try_from(patience.as_secs()).unwrap_or(i64::MAX);
        let it_value = Timespec { tv_sec, tv_nsec: patience.subsec_nanos().into() };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value };
        timerfd_settime(&self.timer, TimerfdTimerFlags::empty(), &once)?;
        Ok(())
    }

    pub(super) fn end(&mut self) {
        self.ending = true;
    }

    pub(super) fn abandon(&mut self) {
        self.gone = true;
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone
    }

    /// True if what the client sends is still wanted.
    pub(super) fn is_open(&self) -> bool {
        !self.ending && !self.gone
    }

    /// Reads once; none came: 0.
    pub(super) fn receive(&mut self, into: &mut [u8]) -> usize {
        if !self.readable || !self.is_open() || into.is_empty() {
            return 0;
        }
        let result = self.stream.read(into);
        self.received(result, into.len())
    }

    /// Reads once into a connection's memory.
    pub(super) fn receive_into(&mut self, memory: &Memory, at: u64, len: u64) -> u64 {
        if !self.readable || !self.is_open() || len == 0 {
            return 0;
        }
        let result = memory.receive(Gpa(at), len, self.stream.as_fd());
        self.received(result, usize::try_from(len).unwrap_or(usize::MAX)) as u64
    }

    fn received(&mut self, result: io::Result<usize>, wanted: usize) -> usize {
        match result {
            Ok(0) => {
                // A client that closes one direction may still read.
                self.end();
                0
            }
            // What a stream gives less than was asked for was all of it (epoll(7)).
            Ok(count) => {
                self.readable = count >= wanted;
                count
            }
            Err(cause) => {
                match cause.kind() {
                    io::ErrorKind::WouldBlock => self.readable = false,
                    io::ErrorKind::Interrupted => {}
                    _ => self.gone = true,
                }
                0
            }
        }
    }

    /// Writes once; none went: 0.
    pub(super) fn send(&mut self, bytes: &[u8]) -> usize {
        if !self.writable || self.gone {
            return 0;
        }
        let result = self.stream.write(bytes);
        self.sent(result)
    }

    /// Writes once from a connection's memory.
    pub(super) fn send_from(&mut self, memory: &Memory, at: u64, len: u64) -> u64 {
        if !self.writable || self.gone {
            return 0;
        }
        let result = memory.send(Gpa(at), len, self.stream.as_fd());
        self.sent(result) as u64
    }

    fn sent(&mut self, result: io::Result<usize>) -> usize {
        result.unwrap_or_else(|cause| {
            match cause.kind() {
                io::ErrorKind::WouldBlock => self.writable = false,
                io::ErrorKind::Interrupted => {}
                _ => self.gone = true,
            }
            0
        })
    }
}
