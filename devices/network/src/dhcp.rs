//! The DHCP server (RFC 2131, 2132): one guest, one address, and the options of a lease as EC2 gives it.

use crate::subnet::Guest;
use crate::wire::{BROADCAST, Macs, Route};
use std::net::Ipv4Addr;

pub(crate) const SERVER_PORT: u16 = 67;
const CLIENT_PORT: u16 = 68;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
const LEASE: u32 = 3600;
/// EC2's jumbo frames.
pub const MTU: u16 = 9001;
/// The fixed part, with the cookie.
const FIXED: usize = 240;
/// Every client must take a message of 576 bytes, headers and all; this is what of it older ones want to see.
const LEAST: usize = 300;

const DISCOVER: u8 = 1;
const OFFER: u8 = 2;
const REQUEST: u8 = 3;
const ACK: u8 = 5;
const NAK: u8 = 6;
const INFORM: u8 = 8;

mod option {
    pub(super) const MASK: u8 = 1;
    pub(super) const ROUTER: u8 = 3;
    pub(super) const RESOLVER: u8 = 6;
    pub(super) const HOST_NAME: u8 = 12;
    pub(super) const DOMAIN: u8 = 15;
    pub(super) const MTU: u8 = 26;
    pub(super) const BROADCAST: u8 = 28;
    pub(super) const REQUESTED: u8 = 50;
    pub(super) const LEASE: u8 = 51;
    pub(super) const KIND: u8 = 53;
    pub(super) const SERVER: u8 = 54;
    pub(super) const END: u8 = 255;
}

/// What of a client's message matters.
struct Message<'a> {
    /// As it came: its transaction and addresses go back.
    fixed: &'a [u8; FIXED],
    kind: u8,
    requested: Option<Ipv4Addr>,
    server: Option<Ipv4Addr>,
}

impl<'a> Message<'a> {
    fn parse(bytes: &'a [u8]) -> Option<Message<'a>> {
        let (fixed, mut options) = bytes.split_first_chunk::<FIXED>()?;
        // A request of Ethernet's, with DHCP's options.
        if fixed[..3] != [1, 1, 6] || fixed[236..] != COOKIE {
            return None;
        }
        let (mut kind, mut requested, mut server) = (None, None, None);
        while let [code, rest @ ..] = options {
            options = match (*code, rest) {
                (0, _) => rest,
                (option::END, _) | (_, []) => break,
                (code, [len, rest @ ..]) => {
                    let (value, rest) = rest.split_at_checked(usize::from(*len))?;
                    let address = || <[u8; 4]>::try_from(value).ok().map(Ipv4Addr::from);
                    match code {
                        option::KIND => kind = value.first().copied(),
                        option::REQUESTED => requested = address(),
                        option::SERVER => server = address(),
                        _ => {}
                    }
                    rest
                }
            };
        }
        Some(Message { fixed, kind: kind?, requested, server })
    }

    /// The address that it has already, or none.
    fn own(&self) -> Option<Ipv4Addr> {
        let own = Ipv4Addr::new(self.fixed[12], self.fixed[13], self.fixed[14], self.fixed[15]);
        (!own.is_unspecified()).then_some(own)
    }
}

/// The frame that answers a client's message, if one does.
pub(crate) fn answer(guest: &Guest, bytes: &[u8]) -> Option<Vec<u8>> {
    let message = Message::parse(bytes)?;
    let for_another = message.server.is_some_and(|server| server != guest.router());
    if for_another || message.fixed[28..34] != guest.mac {
        return None;
    }
    let kind = match message.kind {
        DISCOVER => OFFER,
        REQUEST if message.requested.or(message.own()) == Some(guest.address) => ACK,
        REQUEST => NAK,
        INFORM => ACK,
        _ => return None,
    };
    let mut reply = vec![2, 1, 6, 0];
    reply.extend_from_slice(&message.fixed[4..8]);
    reply.extend_from_slice(&[0, 0, message.fixed[10], message.fixed[11]]);
    let informs = message.kind == INFORM;
    let [own, given] = match message.own() {
        Some(own) if kind == ACK => [own, if informs { Ipv4Addr::UNSPECIFIED } else { guest.address }],
        _ if kind == NAK => [Ipv4Addr::UNSPECIFIED; 2],
        _ => [Ipv4Addr::UNSPECIFIED, guest.address],
    };
    for address in [own, given, Ipv4Addr::UNSPECIFIED, Ipv4Addr::UNSPECIFIED] {
        reply.extend_from_slice(&address.octets());
    }
    // The client's address as it came; no server's name, no file.
    reply.extend_from_slice(&message.fixed[28..44]);
    reply.resize(FIXED.saturating_sub(COOKIE.len()), 0);
    reply.extend_from_slice(&COOKIE);
    options(guest, kind, informs, &mut reply);
    reply.resize(reply.len().max(LEAST), 0);

    // A client without an address hears what is sent to everybody, whatever it can.
    let to_all = kind == NAK || message.own().is_none();
    let macs = if to_all { Macs { guest: BROADCAST, ..guest.macs() } } else { guest.macs() };
    let destination = if to_all { Ipv4Addr::BROADCAST } else { own };
    let (source, destination) = (guest.router().into(), destination.into());
    let route = Route { macs, source, destination, ttl: crate::subnet::TTL };
    Some(route.datagram((SERVER_PORT, CLIENT_PORT), &reply))
}

fn options(guest: &Guest, kind: u8, informs: bool, reply: &mut Vec<u8>) {
    let mut add = |code: u8, value: &[u8]| {
        // Names are bounded by DNS to less than this.
        let value = value.get(..255).unwrap_or(value);
        reply.extend_from_slice(&[code, u8::try_from(value.len()).unwrap_or(u8::MAX)]);
        reply.extend_from_slice(value);
    };
    add(option::KIND, &[kind]);
    add(option::SERVER, &guest.router().octets());
    if kind != NAK {
        if !informs {
            add(option::LEASE, &LEASE.to_be_bytes());
        }
        add(option::MASK, &guest.mask().to_be_bytes());
        add(option::ROUTER, &guest.router().octets());
        add(option::RESOLVER, &guest.resolver().octets());
        add(option::HOST_NAME, guest.host_name.as_bytes());
        add(option::DOMAIN, guest.domain.as_bytes());
        add(option::MTU, &MTU.to_be_bytes());
        add(option::BROADCAST, &guest.broadcast().octets());
    }
    reply.push(option::END);
}

#[cfg(test)]
#[path = "dhcp_test.rs"]
mod tests;
