//! The host's sockets in one epoll set, and the tokens by which it tells of them.

use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustix::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Events that are taken at once.
const BATCH: usize = 64;

/// Whose socket it is. An index may have gone to another since the event; the generation has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Tcp,
    Udp,
    TcpForward,
    UdpForward,
    Dialer,
    Tap,
    Inside,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Token {
    pub(crate) owner: Owner,
    pub(crate) index: usize,
    pub(crate) generation: u32,
}

/// Bits of an index.
const INDEX: u32 = 29;
const OWNER: u32 = 32 + INDEX;

impl Token {
    pub(crate) fn tcp(index: usize, generation: u32) -> Token {
        Token { owner: Owner::Tcp, index, generation }
    }

    pub(crate) fn udp(index: usize, generation: u32) -> Token {
        Token { owner: Owner::Udp, index, generation }
    }

    fn pack(self) -> u64 {
        let owner = match self.owner {
            Owner::Tcp => 0,
            Owner::Udp => 1,
            Owner::TcpForward => 2,
            Owner::UdpForward => 3,
            Owner::Dialer => 4,
            Owner::Tap => 5,
            Owner::Inside => 6,
        };
        let index = u64::try_from(self.index).unwrap_or(0);
        owner << OWNER | (index & ((1 << INDEX) - 1)) << 32 | u64::from(self.generation)
    }

    fn unpack(packed: u64) -> Token {
        let owner = match packed >> OWNER {
            0 => Owner::Tcp,
            1 => Owner::Udp,
            2 => Owner::TcpForward,
            3 => Owner::UdpForward,
            4 => Owner::Dialer,
            5 => Owner::Tap,
            _ => Owner::Inside,
        };
        let index = usize::try_from(packed >> 32 & ((1 << INDEX) - 1)).unwrap_or(0);
        Token { owner, index, generation: u32::try_from(packed & u64::from(u32::MAX)).unwrap_or(0) }
    }
}

#[derive(Debug)]
pub(crate) struct Epoll(OwnedFd);

impl Epoll {
    pub(crate) fn new() -> io::Result<Epoll> {
        epoll::create(CreateFlags::CLOEXEC).map(Epoll)
    }

    /// Each change of the socket is told once; it leaves the set when it is closed.
    pub(crate) fn add(&self, socket: impl AsFd, token: Token) -> io::Result<()> {
        let told = EventFlags::IN | EventFlags::PRI | EventFlags::OUT | EventFlags::RDHUP;
        let flags = told | EventFlags::ET;
        epoll::add(&self.0, socket, EventData::new_u64(token.pack()), flags)
    }

    /// What has changed, up to a bound, without waiting.
    pub(crate) fn changes(&self) -> Vec<(Token, EventFlags)> {
        let mut events = [const { MaybeUninit::<Event>::uninit() }; BATCH];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        match epoll::wait(&self.0, &mut events, Some(&now)) {
            Ok((events, _)) => {
                events.iter().map(|event| (Token::unpack(event.data.u64()), event.flags)).collect()
            }
            Err(cause) => {
                log::debug!("what the host's sockets do cannot be told: {cause}");
                Vec::new()
            }
        }
    }
}

impl AsFd for Epoll {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_comes_back_as_it_was() {
        for owner in [
            Owner::Tcp,
            Owner::Udp,
            Owner::TcpForward,
            Owner::UdpForward,
            Owner::Dialer,
            Owner::Tap,
            Owner::Inside,
        ] {
            for token in
                [Token { owner, index: 0, generation: u32::MAX }, Token { owner, index: 4095, generation: 0 }]
            {
                assert_eq!(Token::unpack(token.pack()), token);
            }
        }
    }
}
