//! Connections to the guest's ports that this process itself makes: somebody else's thread hands a connected socket in,
//! the link's thread takes it, and the guest sees somebody who calls. No port of the host's is needed for it.

use crate::epoll::{Epoll, Owner, Token};
use rustix::event::{EventfdFlags, eventfd};
use rustix::io::Errno;
use std::io::{Error, ErrorKind};
use std::ops::RangeInclusive;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

/// Sockets that wait for the link's thread; it takes as many at a time.
pub(crate) const MAX_DIALS: usize = 64;
/// Timeouts after which a guest that does not answer counts as not there: 12.4 s.
pub(crate) const PATIENCE: u8 = 4;
/// Where those who dial seem to come from, each from another than the last, so that the guest's memory of a connection
/// that has ended is in nobody's way (RFC 6335, 6).
const PORTS: RangeInclusive<u16> = 49152..=65535;

/// Somebody's socket, and the guest's port that it is for.
#[derive(Debug)]
pub(crate) struct Dial {
    pub(crate) socket: OwnedFd,
    pub(crate) port: u16,
}

/// Connects to the guest's ports, from any thread, for as long as the link is there.
#[derive(Clone, Debug)]
pub struct Dialer {
    queue: SyncSender<Dial>,
    bell: Arc<OwnedFd>,
}

impl Dialer {
    /// Hands a connected Unix stream socket to the link, which connects to a TCP port of the guest's and carries bytes
    /// both ways. Nothing here waits: where the guest refuses, or does not answer, the socket is closed. Nobody closes it
    /// while nobody polls the link.
    pub fn dial(&self, socket: OwnedFd, port: u16) -> Result<(), Error> {
        self.queue.try_send(Dial { socket, port }).map_err(|cause| match cause {
            TrySendError::Full(_) => Error::new(
                ErrorKind::WouldBlock,
                format!("{MAX_DIALS} connections to the guest wait already; try again"),
            ),
            TrySendError::Disconnected(_) => {
                Error::new(ErrorKind::BrokenPipe, "the guest's network has ended")
            }
        })?;
        match rustix::io::write(&*self.bell, &1u64.to_ne_bytes()) {
            // A counter that is full has rung.
            Ok(_) | Err(Errno::AGAIN) => Ok(()),
            Err(cause) => Err(cause.into()),
        }
    }
}

/// The link's side.
#[derive(Debug)]
pub(crate) struct Dials {
    /// Kept, so that the queue is there while nobody dials.
    dialer: Dialer,
    queue: Receiver<Dial>,
    port: u16,
}

impl Dials {
    pub(crate) fn new(epoll: &Epoll) -> Result<Dials, Errno> {
        let bell = Arc::new(eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?);
        // Each ring is told once, so that nobody reads the counter.
        epoll.add(&bell, Token { owner: Owner::Dialer, index: 0, generation: 0 })?;
        let (sender, queue) = sync_channel(MAX_DIALS);
        Ok(Dials { dialer: Dialer { queue: sender, bell }, queue, port: *PORTS.end() })
    }

    pub(crate) fn dialer(&self) -> Dialer {
        self.dialer.clone()
    }

    pub(crate) fn next(&self) -> Option<Dial> {
        self.queue.try_recv().ok()
    }

    /// The port of the next who dials.
    pub(crate) fn port(&mut self) -> u16 {
        self.port = self.port.checked_add(1).unwrap_or(*PORTS.start());
        self.port
    }
}
