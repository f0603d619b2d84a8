//! NBD: a volume as a disk for other programs of this computer, by a socket (protocol: doc/proto.md of
//! github.com/NetworkBlockDevice/nbd).
//!
//! [`Handshake`], [`Request`] and [`Replies`] are the protocol as bytes in, bytes out; one thread a connection moves
//! them between the socket and a queue of the volume's. Many requests of a connection are in flight at once and are
//! answered in the order in which they finish.
//!
//! What a client can take is bounded: connections, requests in flight, their bytes, replies that it does not read, and
//! the time that it takes for the handshake or to read. Left out: TLS, networks, several exports, extended headers.

mod arena;
mod connection;
mod handshake;
mod output;
mod reply;
mod request;
mod server;
mod socket;
mod spec;
mod status;
mod transmission;

#[cfg(test)]
mod protocol_test;
#[cfg(test)]
mod server_test;

pub use handshake::{About, Handshake, Session, Step};
pub use reply::{Known, Replies, Run};
pub use request::{Error, HEAD, Job, Refusal, Request};
pub use server::{Export, Server};

/// The most bytes of one read or write; clients are told.
pub const MAX_PAYLOAD: u32 = 32 << 20;

/// What a client has done that it cannot be answered: the connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Violation {
    #[error("a message does not begin as the protocol's do")]
    Magic,
    #[error("the client does not speak the fixed newstyle protocol (its flags are {0:#x})")]
    ClientFlags(u32),
    #[error("an option with {0} bytes of data")]
    OptionTooLong(u32),
    #[error("too many options")]
    TooManyOptions,
    #[error("a write of {0} bytes, where 32 MiB are the most")]
    PayloadTooLong(u32),
}
