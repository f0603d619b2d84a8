//! Ports of the host that lead to the guest: `[ADDR:]HOST:GUEST[/udp]`, the host's loopback unless ADDR is given.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    Tcp,
    Udp,
}

/// One port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Forward {
    pub host: SocketAddr,
    pub guest: u16,
    pub protocol: Protocol,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no port to forward: {why}; give [ADDR:]HOST:GUEST[/udp], such as 2222:22")]
pub struct NoForward {
    text: String,
    why: &'static str,
}

impl FromStr for Forward {
    type Err = NoForward;

    fn from_str(text: &str) -> Result<Forward, NoForward> {
        let fail = |why| NoForward { text: text.to_owned(), why };
        let (ports, protocol) = match text.split_once('/') {
            None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
            Some((ports, "udp")) => (ports, Protocol::Udp),
            Some(_) => return Err(fail("what follows the / is neither tcp nor udp")),
        };
        let (rest, guest) = ports.rsplit_once(':').ok_or_else(|| fail("there is one port only"))?;
        let (address, host) = match rest.rsplit_once(':') {
            Some((address, host)) => (bare(address).parse().map_err(|_| fail("its address is none"))?, host),
            None => (IpAddr::V4(Ipv4Addr::LOCALHOST), rest),
        };
        let port = |text: &str| text.parse().ok().filter(|port| *port != 0);
        let host = port(host).ok_or_else(|| fail("the host's port is not in 1 to 65535"))?;
        let guest = port(guest).ok_or_else(|| fail("the guest's port is not in 1 to 65535"))?;
        Ok(Forward { host: SocketAddr::new(address, host), guest, protocol })
    }
}

/// Without the brackets that IPv6 needs beside a port.
fn bare(address: &str) -> &str {
    address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(address)
}

impl fmt::Display for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let protocol = if self.protocol == Protocol::Udp { "/udp" } else { "" };
        write!(f, "{}:{}{protocol}", self.host, self.guest)
    }
}

/// The address and port that the guest sees somebody at, who is at `peer` on the host's side: its own, where the guest
/// can answer to it, or else the router's; the port moves on while another has it.
pub(crate) fn seen_as(
    peer: SocketAddr,
    router: Ipv4Addr,
    reachable: impl Fn(Ipv4Addr) -> bool,
    is_free: impl Fn(Ipv4Addr, u16) -> bool,
) -> Option<(Ipv4Addr, u16)> {
    /// Ports that are tried; more would be somebody who takes them all.
    const TRIES: u16 = 64;
    let address = match peer.ip().to_canonical() {
        IpAddr::V4(address) if reachable(address) => address,
        _ => router,
    };
    let ports = (0..TRIES).map(|more| peer.port().wrapping_add(more)).filter(|port| *port != 0);
    ports.map(|port| (address, port)).find(|(address, port)| is_free(*address, *port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_as_people_write_them() {
        for (text, shown) in [
            ("2222:22", "127.0.0.1:2222:22"),
            ("2222:22/tcp", "127.0.0.1:2222:22"),
            ("0.0.0.0:80:8080", "0.0.0.0:80:8080"),
            ("[::1]:5353:53/udp", "[::1]:5353:53/udp"),
        ] {
            assert_eq!(text.parse::<Forward>().unwrap().to_string(), shown);
        }
        for text in ["", "22", "0:22", "22:0", "65536:1", "x:1:2", "1:2/sctp", "1:2:3:4", "-1:2", "1:2/"] {
            let told = text.parse::<Forward>().unwrap_err().to_string();
            assert!(told.contains(&format!("{text:?}")) && told.contains("2222:22"), "{told}");
        }
    }

    #[test]
    fn a_peer_that_the_guest_cannot_answer_to_is_the_router() {
        let router = Ipv4Addr::new(10, 0, 0, 1);
        let seen = |peer: &str, taken: u16| {
            let reachable = |address: Ipv4Addr| !address.is_loopback();
            seen_as(peer.parse().unwrap(), router, reachable, |_, port| port != taken)
        };
        assert_eq!(seen("127.0.0.1:5000", 0), Some((router, 5000)));
        assert_eq!(seen("127.0.0.1:5000", 5000), Some((router, 5001)));
        assert_eq!(seen("127.0.0.1:65535", 65535), Some((router, 1)));
        assert_eq!(seen("192.0.2.9:5000", 0), Some((Ipv4Addr::new(192, 0, 2, 9), 5000)));
        assert_eq!(seen("[2001:db8::1]:5000", 0), Some((router, 5000)));
        assert_eq!(seen_as("192.0.2.9:1".parse().unwrap(), router, |_| true, |_, _| false), None);
    }
}
