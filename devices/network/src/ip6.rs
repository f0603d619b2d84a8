//! What the link says over IPv6 of itself: that it is the router and where the link's own addresses are (RFC 4861),
//! answers to echoes, and that nothing else can be reached (RFC 4443).
//!
//! The addresses are EC2's. As there, the router offers no prefix to make an address from: the guest's one address is
//! given by DHCPv6. Frames to all nodes go to the guest's own station, the only one there is (RFC 6085).
//!
//! Left out: headers between a packet's own and its payload's, and fragments. What has some is not heard.

use crate::subnet::{Guest, ROUTER_MAC, TTL};
use crate::wire::{ETHERNET, Packet, Route};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

/// The router's link-local address: its station's, as RFC 4291 makes it one (appendix A).
pub const ROUTER: Ipv6Addr = Ipv6Addr::new(0xfe80, 0, 0, 0, 0x0c0a, 0x4dff, 0xfe49, 0x5201);
pub(crate) const RESOLVER: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x253);
pub(crate) const CLOCK: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x123);
pub(crate) const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
/// What stations of groups begin with (RFC 2464, 7).
pub(crate) const MULTICAST_MAC: [u8; 2] = [0x33, 0x33];
/// How often the router says unasked that it is there; what it said holds six times as long.
pub(crate) const ADVERTISES: Duration = Duration::from_secs(300);
const LIFETIME: u16 = 1800;

pub(crate) const UNREACHABLE: u8 = 1;
pub(crate) const NO_ROUTE: u8 = 0;
pub(crate) const NO_PORT: u8 = 4;
const ECHO_REQUEST: u8 = 128;
const ECHO_REPLY: u8 = 129;
const ROUTER_SOLICITATION: u8 = 133;
const ROUTER_ADVERTISEMENT: u8 = 134;
const NEIGHBOUR_SOLICITATION: u8 = 135;
const NEIGHBOUR_ADVERTISEMENT: u8 = 136;

/// Neighbours' messages come with this, so that none comes from afar (RFC 4861, 3.1).
const MAX_HOPS: u8 = 255;
/// Their options: a station, the sender's or the one that was asked for, of eight bytes.
const SOURCE_STATION: [u8; 2] = [1, 1];
const TARGET_STATION: [u8; 2] = [2, 1];
/// So much of a packet is repeated in what tells of its fate: the smallest packet that IPv6 always carries (RFC 4443,
/// 2.4), without the two headers before it.
const QUOTED: usize = 1280 - 40 - 8;

/// Answers a message of ICMPv6; `serves` names the services' addresses.
pub(crate) fn control(
    guest: &Guest,
    packet: &Packet<'_>,
    serves: impl Fn(IpAddr) -> bool,
) -> Option<Vec<u8>> {
    let message = packet.payload;
    let is_here = |address| guest.is_ours(address) || serves(address);
    if packet.pseudo(message.len()).add(message).finish() != 0 {
        return None;
    }
    let own = guest.is_own(packet.source);
    let unnamed = packet.source.is_unspecified();
    match message {
        [ECHO_REQUEST, 0, _, _, rest @ ..] if own && guest.is_ours(packet.destination) => {
            let reply = [&[ECHO_REPLY, 0, 0, 0], rest].concat();
            Some(packet.back(guest.macs(), TTL).icmp(&reply))
        }
        [ECHO_REQUEST, ..] if own && !is_here(packet.destination) && !packet.destination.is_multicast() => {
            Some(no_route(guest, packet))
        }
        [ROUTER_SOLICITATION, 0, _, _, _, _, _, _, options @ ..]
            if packet.ttl == MAX_HOPS && (own || unnamed) && are_options(options) =>
        {
            let to = if unnamed { ALL_NODES.into() } else { packet.source };
            Some(advertisement(guest, to))
        }
        [NEIGHBOUR_SOLICITATION, 0, _, _, _, _, _, _, rest @ ..]
            if packet.ttl == MAX_HOPS && (own || unnamed) =>
        {
            let (target, options) = rest.split_first_chunk::<16>()?;
            let target = Ipv6Addr::from(*target);
            let answers = is_here(target.into()) && are_options(options);
            answers.then(|| neighbour(guest, packet, target))
        }
        _ => None,
    }
}

/// Answers who asks for a neighbour that is ours: to know it, or to see that it is still there. Who asks without an
/// address wants the address for itself, and is told that it is taken (RFC 4862, 5.4).
fn neighbour(guest: &Guest, packet: &Packet<'_>, target: Ipv6Addr) -> Vec<u8> {
    const IS_ROUTER: u8 = 0x80;
    const SOLICITED: u8 = 0x40;
    const OVERRIDE: u8 = 0x20;
    let (to, solicited) = match packet.source {
        source if source.is_unspecified() => (ALL_NODES.into(), 0),
        source => (source, SOLICITED),
    };
    let flags = [IS_ROUTER | solicited | OVERRIDE, 0, 0, 0];
    let route = Route { macs: guest.macs(), source: target.into(), destination: to, ttl: MAX_HOPS };
    let head = [NEIGHBOUR_ADVERTISEMENT, 0, 0, 0];
    route.icmp(&[&head[..], &flags, &target.octets(), &TARGET_STATION, &ROUTER_MAC].concat())
}

/// Whether options fill what is there: each says its length, in units of eight bytes and never none.
fn are_options(mut options: &[u8]) -> bool {
    while let [_, len, ..] = options {
        match options.get(usize::from(*len).saturating_mul(8)..) {
            Some(rest) if *len > 0 => options = rest,
            _ => return false,
        }
    }
    options.is_empty()
}

/// Says that the router is there, and that addresses are given by DHCPv6.
pub(crate) fn advertisement(guest: &Guest, to: impl Into<IpAddr>) -> Vec<u8> {
    const ADDRESSES_ARE_GIVEN: u8 = 0x80;
    let [high, low] = LIFETIME.to_be_bytes();
    let head = [ROUTER_ADVERTISEMENT, 0, 0, 0, TTL, ADDRESSES_ARE_GIVEN, high, low];
    let route = Route { macs: guest.macs(), source: ROUTER.into(), destination: to.into(), ttl: MAX_HOPS };
    // How long neighbours count as there is the guest's to say.
    route.icmp(&[&head[..], &[0; 8], &SOURCE_STATION, &ROUTER_MAC].concat())
}

/// Says that a packet of the guest's leads nowhere.
pub(crate) fn no_route(guest: &Guest, packet: &Packet<'_>) -> Vec<u8> {
    let macs = guest.macs();
    let sent = Route { macs, source: packet.source, destination: packet.destination, ttl: packet.ttl };
    let headers = sent.headers(packet.protocol, packet.payload.len());
    let header = headers.as_slice().get(ETHERNET..).unwrap_or_default();
    let quoted = [header, packet.payload].concat();
    let quoted = quoted.get(..QUOTED).unwrap_or(&quoted);
    let route = Route { macs, source: ROUTER.into(), destination: packet.source, ttl: TTL };
    route.icmp(&[&[UNREACHABLE, NO_ROUTE, 0, 0, 0, 0, 0, 0], quoted].concat())
}
