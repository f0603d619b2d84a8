//! Sockets on the host, and which of its addresses the guest may reach.

use crate::epoll::{Epoll, Token};
use crate::subnet::Guest;
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use rustix::process::{Resource, getrlimit};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd as _, OwnedFd};

/// Where a packet to this address goes; none: nowhere. The host's loopback is its router's address, if it is anywhere.
pub(crate) fn beyond(guest: &Guest, address: Ipv4Addr, host_loopback: bool) -> Option<Ipv4Addr> {
    if address == guest.router() {
        return host_loopback.then_some(Ipv4Addr::LOCALHOST);
    }
    // Link-local addresses would be the host's own: its metadata service, where it is an instance itself.
    let nowhere = guest.is_in_subnet(address)
        || address.octets()[0] == 0
        || address.is_loopback()
        || address.is_link_local()
        || address.octets()[0] >= 224;
    (!nowhere).then_some(address)
}

/// A socket that is or will be connected, in the set. TCP's is not connected yet.
pub(crate) fn connect(
    epoll: &Epoll,
    kind: SocketType,
    to: SocketAddr,
    token: Token,
) -> Result<OwnedFd, Errno> {
    let fd = open(kind, to)?;
    match rustix::net::connect(&fd, &to) {
        Ok(()) | Err(Errno::INPROGRESS) => {}
        Err(cause) => return Err(cause),
    }
    prepare(epoll, &fd, kind, token)?;
    Ok(fd)
}

fn open(kind: SocketType, to: SocketAddr) -> Result<OwnedFd, Errno> {
    let family = if to.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let fd = rustix::net::socket_with(family, kind, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
    if is_scarce(&fd) { Err(Errno::MFILE) } else { Ok(fd) }
}

/// Whether a new descriptor is one of the last that this process may have, of which the guest gets none: its disks, its
/// record and whoever controls it need some.
pub(crate) fn is_scarce(fd: &OwnedFd) -> bool {
    const LEFT: u64 = 64;
    // A new one is the lowest that is free.
    let number = u64::try_from(fd.as_raw_fd()).unwrap_or(0);
    let limit = getrlimit(Resource::Nofile).current;
    limit.is_some_and(|limit| number >= limit.saturating_sub(LEFT.min(limit / 4)))
}

/// Puts a connection into the set. The guest's TCP has decided already what is worth a packet.
pub(crate) fn prepare(epoll: &Epoll, fd: &OwnedFd, kind: SocketType, token: Token) -> Result<(), Errno> {
    if kind == SocketType::STREAM {
        sockopt::set_tcp_nodelay(fd, true)?;
        sockopt::set_socket_oobinline(fd, true)?;
    }
    epoll.add(fd, token)
}

/// A socket that others send or connect to.
pub(crate) fn listen(
    epoll: &Epoll,
    kind: SocketType,
    at: SocketAddr,
    token: Token,
) -> Result<OwnedFd, Errno> {
    const BACKLOG: i32 = 128;
    let fd = open(kind, at)?;
    if kind == SocketType::STREAM {
        // Connections of a former run that have ended keep nobody from the port.
        sockopt::set_socket_reuseaddr(&fd, true)?;
    }
    rustix::net::bind(&fd, &at)?;
    if kind == SocketType::STREAM {
        rustix::net::listen(&fd, BACKLOG)?;
    }
    epoll.add(&fd, token)?;
    Ok(fd)
}

/// How a connection to the guest is accepted.
pub(crate) fn accepted_flags() -> SocketFlags {
    SocketFlags::NONBLOCK | SocketFlags::CLOEXEC
}

/// Whether a call failed because this process has too many sockets.
pub(crate) fn is_too_many(cause: Errno) -> bool {
    matches!(cause, Errno::MFILE | Errno::NFILE | Errno::NOBUFS | Errno::NOMEM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_s_own_addresses_are_out_of_reach() {
        let guest = Guest {
            mac: [2; 6],
            address: Ipv4Addr::new(172, 31, 4, 66),
            prefix: 20,
            ipv6: None,
            host_name: String::new(),
            domain: String::new(),
        };
        for (address, to) in [
            ([8, 8, 8, 8], Some([8, 8, 8, 8])),
            ([172, 31, 16, 1], Some([172, 31, 16, 1])),
            ([172, 31, 0, 1], None),
            ([172, 31, 4, 67], None),
            ([127, 0, 0, 1], None),
            ([127, 1, 2, 3], None),
            ([0, 0, 0, 0], None),
            ([0, 1, 2, 3], None),
            ([169, 254, 169, 254], None),
            ([224, 0, 0, 1], None),
            ([255, 255, 255, 255], None),
        ] {
            assert_eq!(beyond(&guest, address.into(), false), to.map(Ipv4Addr::from), "{address:?}");
        }
        assert_eq!(beyond(&guest, guest.router(), true), Some(Ipv4Addr::LOCALHOST));
        assert_eq!(beyond(&guest, Ipv4Addr::new(127, 0, 0, 1), true), None);
    }
}
