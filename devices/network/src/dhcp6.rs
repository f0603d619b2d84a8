//! The DHCPv6 server (RFC 8415): one guest, one address, and the resolver.
//!
//! Left out: temporary addresses, prefixes, relays, reconfiguration, and more than one association of a client's: none
//! would have an address.

use crate::ip6::{RESOLVER, ROUTER};
use crate::subnet::{Guest, ROUTER_MAC, TTL};
use crate::wire::{Packet, Route};
use std::net::{IpAddr, Ipv6Addr};

/// All servers and relays of a link.
pub(crate) const SERVERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 1, 2);
pub(crate) const SERVER_PORT: u16 = 547;
const CLIENT_PORT: u16 = 546;
/// As long as a lease of DHCP's (dhcp), and when it is renewed, here and then anywhere.
const LEASE: u32 = 3600;
const RENEWED: u32 = 1800;
const REBOUND: u32 = 2880;
/// Who a client or server is takes no more (section 11.1).
const MAX_IDENTITY: usize = 130;

const SOLICIT: u8 = 1;
const ADVERTISE: u8 = 2;
const REQUEST: u8 = 3;
const CONFIRM: u8 = 4;
const RENEW: u8 = 5;
const REBIND: u8 = 6;
const REPLY: u8 = 7;
const RELEASE: u8 = 8;
const DECLINE: u8 = 9;
const INFORMATION_REQUEST: u8 = 11;

mod option {
    pub(super) const CLIENT: u16 = 1;
    pub(super) const SERVER: u16 = 2;
    /// An association of addresses.
    pub(super) const ASSOCIATION: u16 = 3;
    pub(super) const ADDRESS: u16 = 5;
    pub(super) const STATUS: u16 = 13;
    pub(super) const RAPID_COMMIT: u16 = 14;
    pub(super) const RESOLVERS: u16 = 23;
}

const SUCCESS: u16 = 0;
const NOT_ON_LINK: u16 = 4;

/// Who we are: a station on Ethernet (section 11.4).
fn identity() -> Vec<u8> {
    [&[0, 3, 0, 1][..], &ROUTER_MAC].concat()
}

/// The first option's code and value, and what follows it.
fn option(bytes: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let ([code @ .., high, low], rest) = bytes.split_first_chunk::<4>()?;
    let (value, rest) = rest.split_at_checked(u16::from_be_bytes([*high, *low]).into())?;
    Some((u16::from_be_bytes(*code), value, rest))
}

/// A client's only association, with the addresses that it believes to have.
#[derive(Clone, Copy, Debug)]
struct Association {
    id: [u8; 4],
    has_ours: bool,
    /// One that is not its own.
    other: Option<[u8; 16]>,
}

impl Association {
    fn parse(value: &[u8], ours: Ipv6Addr) -> Option<Association> {
        let ([a, b, c, d, ..], mut options) = value.split_first_chunk::<12>()?;
        let mut association = Association { id: [*a, *b, *c, *d], has_ours: false, other: None };
        while !options.is_empty() {
            let (code, value, rest) = option(options)?;
            if code == option::ADDRESS {
                // Behind it: its lifetimes, which are ours to say.
                let (address, _) = value.split_first_chunk::<24>()?.0.split_first_chunk::<16>()?;
                match *address == ours.octets() {
                    true => association.has_ours = true,
                    false => association.other = Some(*address),
                }
            }
            options = rest;
        }
        Some(association)
    }
}

/// What of a client's message matters.
struct Message<'a> {
    kind: u8,
    transaction: [u8; 3],
    client: Option<&'a [u8]>,
    server: Option<&'a [u8]>,
    association: Option<Association>,
    rapid: bool,
}

impl<'a> Message<'a> {
    fn parse(bytes: &'a [u8], ours: Ipv6Addr) -> Option<Message<'a>> {
        let ([kind, transaction @ ..], mut options) = bytes.split_first_chunk::<4>()?;
        let (kind, transaction) = (*kind, *transaction);
        let mut message =
            Message { kind, transaction, client: None, server: None, association: None, rapid: false };
        while !options.is_empty() {
            let (code, value, rest) = option(options)?;
            match code {
                option::CLIENT | option::SERVER if value.len() > MAX_IDENTITY => return None,
                option::CLIENT => message.client = Some(value),
                option::SERVER => message.server = Some(value),
                option::RAPID_COMMIT => message.rapid = true,
                option::ASSOCIATION if message.association.is_none() => {
                    message.association = Some(Association::parse(value, ours)?);
                }
                _ => {}
            }
            options = rest;
        }
        Some(message)
    }

    /// Whether a server is to answer it, and it is this one (section 16).
    fn is_for_us(&self) -> bool {
        let named = self.server.map(|server| server == identity());
        match self.kind {
            SOLICIT | CONFIRM | REBIND => named.is_none() && self.client.is_some(),
            REQUEST | RENEW | RELEASE | DECLINE => named == Some(true) && self.client.is_some(),
            INFORMATION_REQUEST => named != Some(false) && self.association.is_none(),
            _ => false,
        }
    }
}

/// The frame that answers a client's message, if one does.
pub(crate) fn answer(guest: &Guest, packet: &Packet<'_>, bytes: &[u8]) -> Option<Vec<u8>> {
    // Nobody else was told that it may write from another address.
    let IpAddr::V6(client) = packet.source else { return None };
    let ours = guest.ipv6.filter(|_| client.is_unicast_link_local())?;
    let message = Message::parse(bytes, ours).filter(Message::is_for_us)?;
    let rapid = message.kind == SOLICIT && message.rapid;
    let kind = if message.kind == SOLICIT && !rapid { ADVERTISE } else { REPLY };

    let mut reply = [&[kind][..], &message.transaction].concat();
    add(&mut reply, option::SERVER, &identity());
    if let Some(client) = message.client {
        add(&mut reply, option::CLIENT, client);
    }
    if rapid {
        add(&mut reply, option::RAPID_COMMIT, &[]);
    }
    match (message.kind, message.association) {
        (SOLICIT | REQUEST | RENEW | REBIND, association) => {
            let association = lease(association?, message.kind, ours);
            add(&mut reply, option::ASSOCIATION, &association);
        }
        (CONFIRM, Some(association)) if association.other.is_some() => status(&mut reply, NOT_ON_LINK),
        // There is nothing that it could have confirmed.
        (CONFIRM, association) if association.is_none_or(|association| !association.has_ours) => return None,
        (CONFIRM | RELEASE | DECLINE, _) => status(&mut reply, SUCCESS),
        _ => {}
    }
    if ![CONFIRM, RELEASE, DECLINE].contains(&message.kind) {
        add(&mut reply, option::RESOLVERS, &RESOLVER.octets());
    }
    let route = Route { macs: guest.macs(), source: ROUTER.into(), destination: packet.source, ttl: TTL };
    Some(route.datagram((SERVER_PORT, CLIENT_PORT), &reply))
}

/// The guest's address; one that it has from elsewhere ends (sections 18.3.4 and 18.3.5).
fn lease(association: Association, kind: u8, ours: Ipv6Addr) -> Vec<u8> {
    let mut value = association.id.to_vec();
    value.extend([RENEWED, REBOUND].map(u32::to_be_bytes).as_flattened());
    let mut address = |address: [u8; 16], lifetime: u32| {
        let lifetime = lifetime.to_be_bytes();
        add(&mut value, option::ADDRESS, &[&address[..], &lifetime, &lifetime].concat());
    };
    address(ours.octets(), LEASE);
    if let Some(other) = association.other.filter(|_| [RENEW, REBIND].contains(&kind)) {
        address(other, 0);
    }
    value
}

fn status(reply: &mut Vec<u8>, code: u16) {
    add(reply, option::STATUS, &code.to_be_bytes());
}

fn add(reply: &mut Vec<u8>, code: u16, value: &[u8]) {
    reply.extend_from_slice(&code.to_be_bytes());
    // What we say is short.
    reply.extend_from_slice(&u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
    reply.extend_from_slice(value);
}

#[cfg(test)]
#[path = "dhcp6_test.rs"]
mod tests;
