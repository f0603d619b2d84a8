//! What answers at an address of the link's own, inside this process: bytes in, bytes out.

use std::fmt;
use std::net::SocketAddr;

/// Something that answers TCP connections at an address and port.
pub struct Service {
    /// Of either family; an IPv6 one is reached where the guest has an IPv6 address.
    pub at: SocketAddr,
    /// Begins a connection.
    pub open: Box<dyn FnMut() -> Session + Send>,
}

/// One connection: is given what the guest says, 512 bytes at most at a time, and adds to the answer. It is not called
/// while the guest is 64 KiB of answers behind.
pub type Session = Box<dyn FnMut(&[u8], &mut Answer) + Send>;

/// What goes to the guest.
#[derive(Debug)]
pub struct Answer {
    /// To be added to; the link takes from its front what has arrived.
    pub bytes: Vec<u8>,
    /// Over how many hops it goes.
    pub ttl: u8,
    /// Nothing will be added: the connection is closed when all has arrived.
    pub end: bool,
}

impl fmt::Debug for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Service").field("at", &self.at).finish_non_exhaustive()
    }
}
