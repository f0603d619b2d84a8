//! DNS (RFC 1035): the names that EC2's resolver knows by itself, and which of the host's resolvers all others go to.
//!
//! Left out: answers of its own over TCP. A stub resolver takes TCP for what UDP had no place for, and these have.

use crate::subnet::Guest;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::SystemTime;

pub(crate) const PORT: u16 = 53;
const HEADER: usize = 12;
const A: u16 = 1;
const PTR: u16 = 12;
const ANY: u16 = 255;
const INTERNET: u16 = 1;
const TTL: u32 = 60;
const MAX_NAME: usize = 253;

const NO_ERROR: u16 = 0;
const SERVER_FAILURE: u16 = 2;

/// A query's only question.
struct Question<'a> {
    id: [u8; 2],
    recursion: u16,
    /// As it stands in the message, to be repeated.
    bytes: &'a [u8],
    /// In lower case, without the last dot.
    name: String,
    kind: u16,
}

impl<'a> Question<'a> {
    fn parse(message: &'a [u8]) -> Option<Question<'a>> {
        let (header, rest) = message.split_first_chunk::<HEADER>()?;
        let flags = u16::from_be_bytes([header[2], header[3]]);
        // A standard query, with one question and no answer.
        if flags & 0xf800 != 0 || header[4..8] != [0, 1, 0, 0] {
            return None;
        }
        let (mut name, mut left) = (String::new(), rest);
        loop {
            let (len, more) = left.split_first()?;
            if *len == 0 {
                left = more;
                break;
            }
            // Longer ones would be pointers, which no question has.
            if *len > 63 || name.len().saturating_add(usize::from(*len)) > MAX_NAME {
                return None;
            }
            let (label, more) = more.split_at_checked(usize::from(*len))?;
            if !name.is_empty() {
                name.push('.');
            }
            name.extend(label.iter().map(|byte| char::from(byte.to_ascii_lowercase())));
            left = more;
        }
        let (end, left) = left.split_first_chunk::<4>()?;
        let bytes = rest.get(..rest.len().checked_sub(left.len())?)?;
        let is_internet = u16::from_be_bytes([end[2], end[3]]) == INTERNET;
        is_internet.then_some(Question {
            id: [header[0], header[1]],
            recursion: flags & 0x0100,
            bytes,
            name,
            kind: u16::from_be_bytes([end[0], end[1]]),
        })
    }

    fn answer(&self, code: u16, data: Option<(u16, &[u8])>) -> Vec<u8> {
        // A response, with recursion available.
        let flags = 0x8080 | self.recursion | code;
        let mut reply = self.id.to_vec();
        for word in [flags, 1, u16::from(data.is_some()), 0, 0] {
            reply.extend_from_slice(&word.to_be_bytes());
        }
        reply.extend_from_slice(self.bytes);
        if let Some((kind, data)) = data {
            // The question's name, by a pointer to it.
            reply.extend_from_slice(&[0xc0, 12]);
            reply.extend_from_slice(&kind.to_be_bytes());
            reply.extend_from_slice(&INTERNET.to_be_bytes());
            reply.extend_from_slice(&TTL.to_be_bytes());
            reply.extend_from_slice(&u16::try_from(data.len()).unwrap_or(0).to_be_bytes());
            reply.extend_from_slice(data);
        }
        reply
    }
}

/// Answers what the subnet's resolver knows by itself: the names and addresses of instances in the subnet.
pub(crate) fn own_answer(guest: &Guest, message: &[u8]) -> Option<Vec<u8>> {
    let question = Question::parse(message)?;
    if let Some(reversed) = question.name.strip_suffix(".in-addr.arpa") {
        let address = reversed_address(reversed).filter(|address| guest.is_in_subnet(*address))?;
        let name = labels(&format!("{}.{}", ip_name(address), guest.domain));
        let data = [PTR, ANY].contains(&question.kind).then_some((PTR, name.as_slice()));
        return Some(question.answer(NO_ERROR, data));
    }
    let host = question.name.strip_suffix(&guest.domain.to_ascii_lowercase())?.strip_suffix('.')?;
    let address = if host == guest.host_name.to_ascii_lowercase() {
        guest.address
    } else {
        named_address(host).filter(|address| guest.is_in_subnet(*address))?
    };
    let octets = address.octets();
    Some(question.answer(NO_ERROR, [A, ANY].contains(&question.kind).then_some((A, &octets))))
}

/// What to say where no resolver can be asked.
pub(crate) fn failure(message: &[u8]) -> Option<Vec<u8>> {
    Question::parse(message).map(|question| question.answer(SERVER_FAILURE, None))
}

/// The private name that EC2 makes of an address.
fn ip_name(address: Ipv4Addr) -> String {
    let [a, b, c, d] = address.octets();
    format!("ip-{a}-{b}-{c}-{d}")
}

fn named_address(host: &str) -> Option<Ipv4Addr> {
    let address = host.strip_prefix("ip-")?.replace('-', ".").parse().ok()?;
    (ip_name(address) == host).then_some(address)
}

fn reversed_address(reversed: &str) -> Option<Ipv4Addr> {
    let [d, c, b, a] = reversed.parse::<Ipv4Addr>().ok()?.octets();
    Some(Ipv4Addr::new(a, b, c, d))
}

/// A name as messages hold it.
fn labels(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').map(str::as_bytes) {
        let label = label.get(..63).unwrap_or(label);
        bytes.push(u8::try_from(label.len()).unwrap_or(0));
        bytes.extend_from_slice(label);
    }
    bytes.push(0);
    bytes
}

/// Whom the guest's queries go to.
#[derive(Clone, Debug)]
pub enum Resolvers {
    /// Those that a file of resolv.conf(5)'s form names, read again when it changes.
    File(PathBuf),
    These(Vec<SocketAddr>),
}

impl Resolvers {
    /// Nobody can be asked, as it stands.
    #[must_use]
    pub fn are_none(&self) -> bool {
        Directory::new(self.clone()).server().is_none()
    }
}

/// Knows whose turn it is.
#[derive(Debug)]
pub(crate) struct Directory {
    from: Resolvers,
    read: Option<SystemTime>,
    servers: Vec<SocketAddr>,
    turn: usize,
}

impl Directory {
    pub(crate) fn new(from: Resolvers) -> Directory {
        let servers = match &from {
            Resolvers::These(servers) => servers.clone(),
            Resolvers::File(_) => Vec::new(),
        };
        Directory { from, read: None, servers, turn: 0 }
    }

    /// The resolver to ask next.
    pub(crate) fn server(&mut self) -> Option<SocketAddr> {
        if let Resolvers::File(path) = &self.from {
            // One that cannot be read names nobody, until it can be.
            let changed = std::fs::metadata(path).and_then(|file| file.modified()).ok();
            if changed != self.read || changed.is_none() {
                self.servers =
                    std::fs::read_to_string(path).map(|text| name_servers(&text)).unwrap_or_default();
                (self.read, self.turn) = (changed, 0);
            }
        }
        self.servers.get(self.turn.checked_rem(self.servers.len())?).copied()
    }

    /// One did not answer: the next is asked from now on.
    pub(crate) fn silent(&mut self, server: SocketAddr) {
        if self.server() == Some(server) {
            self.turn = self.turn.wrapping_add(1);
        }
    }
}

/// The resolvers that a resolv.conf names; three at most, as in libc.
fn name_servers(text: &str) -> Vec<SocketAddr> {
    let lines = text.lines().map(|line| line.split_whitespace());
    let addresses = lines.filter_map(|mut words| {
        (words.next() == Some("nameserver")).then(|| words.next()?.parse::<IpAddr>().ok()).flatten()
    });
    addresses.map(|address| SocketAddr::new(address, PORT)).take(3).collect()
}

#[cfg(test)]
#[path = "dns_test.rs"]
mod tests;
