//! The addresses of the subnet that the guest believes it is in, and the frames that need nothing of the host to be
//! answered: ARP and ICMP (ec2.md: base+1 is the router and the DHCP server, base+2 the resolver).

use crate::wire::{
    Arp, BROADCAST, ETHERNET, ETHERTYPE_ARP, ETHERTYPE_IP, Ethernet, Macs, Packet, Route, Sum,
};
use crate::{ip6, tcp::Key};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::{FromBytes as _, IntoBytes as _};

/// Where the resolver answers in every subnet.
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 253);
/// Where the time is told.
pub(crate) const CLOCK: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 123);
/// The router's own station. EC2's are locally administered too.
pub(crate) const ROUTER_MAC: [u8; 6] = [0x0e, 0x0a, 0x4d, 0x49, 0x52, 0x01];
/// What the link says of itself, by how many hops an answer has left: no hop was taken.
pub(crate) const TTL: u8 = 64;
/// ICMP's destination unreachable (RFC 792).
const UNREACHABLE: u8 = 3;

/// What the guest is, as the subnet sees it.
#[derive(Clone, Debug)]
pub struct Guest {
    pub mac: [u8; 6],
    /// Its private address.
    pub address: Ipv4Addr,
    /// Of its subnet: 16 to 28 bits, as EC2 has them.
    pub prefix: u8,
    /// Its one IPv6 address, in a subnet of 64 bits. None: the link speaks no IPv6.
    pub ipv6: Option<Ipv6Addr>,
    /// Without its domain: `ip-172-31-4-66` or `i-…`.
    pub host_name: String,
    /// `ec2.internal`, or `REGION.compute.internal`.
    pub domain: String,
}

impl Guest {
    pub(crate) fn mask(&self) -> u32 {
        u32::MAX.checked_shl(32u32.saturating_sub(self.prefix.into())).unwrap_or(0)
    }

    pub(crate) fn is_in_subnet(&self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.address.to_bits()) & self.mask() == 0
    }

    fn base(&self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits((self.address.to_bits() & self.mask()) | number)
    }

    pub(crate) fn router(&self) -> Ipv4Addr {
        self.base(1)
    }

    pub(crate) fn resolver(&self) -> Ipv4Addr {
        self.base(2)
    }

    pub(crate) fn broadcast(&self) -> Ipv4Addr {
        self.base(!self.mask())
    }

    pub(crate) fn macs(&self) -> Macs {
        Macs { guest: self.mac, router: ROUTER_MAC }
    }

    pub(crate) fn is_resolver(&self, address: IpAddr) -> bool {
        address == RESOLVER || address == self.resolver() || address == ip6::RESOLVER
    }

    pub(crate) fn is_clock(&self, address: IpAddr) -> bool {
        address == CLOCK || address == ip6::CLOCK
    }

    /// Whether an address is the link's own: one that it answers for itself.
    pub(crate) fn is_ours(&self, address: IpAddr) -> bool {
        let is_router = address == self.router() || address == ip6::ROUTER;
        is_router || self.is_resolver(address) || self.is_clock(address)
    }

    /// Whether the guest may speak from an address.
    pub(crate) fn is_own(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => address == self.address,
            // Before its address is given to it the guest has one of its own making.
            IpAddr::V6(address) => self.ipv6 == Some(address) || address.is_unicast_link_local(),
        }
    }

    /// What the guest's port says to somebody at an address of IPv4, and back.
    pub(crate) fn key(&self, guest_port: u16, address: Ipv4Addr, port: u16) -> Key {
        Key { guest: self.address.into(), guest_port, address: address.into(), port }
    }

    /// The payload of an Ethernet frame that this station sent to us or to everybody, and its kind.
    pub(crate) fn heard<'a>(&self, frame: &'a [u8]) -> Option<(u16, &'a [u8])> {
        let (ethernet, payload) = Ethernet::ref_from_prefix(frame).ok()?;
        let to_all =
            ethernet.destination == BROADCAST || ethernet.destination.starts_with(&ip6::MULTICAST_MAC);
        let to_us = to_all || ethernet.destination == ROUTER_MAC;
        (to_us && ethernet.source == self.mac).then(|| (ethernet.kind.get(), payload))
    }

    /// Answers who has the router's address or one that `serves` names.
    pub(crate) fn arp(&self, payload: &[u8], serves: impl Fn(Ipv4Addr) -> bool) -> Option<Vec<u8>> {
        const REQUEST: u16 = 1;
        const REPLY: u16 = 2;
        let (arp, _) = Arp::ref_from_prefix(payload).ok()?;
        let target = Ipv4Addr::from(arp.target);
        let asked = arp.hardware.get() == 1
            && arp.protocol.get() == ETHERTYPE_IP
            && arp.lengths == [6, 4]
            && arp.operation.get() == REQUEST
            && arp.sender_mac == self.mac
            && (self.is_ours(target.into()) || serves(target));
        if !asked {
            return None;
        }
        let ethernet =
            Ethernet { destination: arp.sender_mac, source: ROUTER_MAC, kind: ETHERTYPE_ARP.into() };
        let reply = Arp {
            operation: REPLY.into(),
            sender_mac: ROUTER_MAC,
            sender: arp.target,
            target_mac: arp.sender_mac,
            target: arp.sender,
            ..*arp
        };
        Some([ethernet.as_bytes(), reply.as_bytes()].concat())
    }

    /// Answers an echo request to an address of the link's own.
    pub(crate) fn echo(&self, packet: &Packet<'_>) -> Option<Vec<u8>> {
        const ECHO_REQUEST: u8 = 8;
        let [ECHO_REQUEST, 0, _, _, rest @ ..] = packet.payload else { return None };
        if !self.is_ours(packet.destination) || Sum::default().add(packet.payload).finish() != 0 {
            return None;
        }
        let reply = [&[0; 4], rest].concat();
        Some(packet.back(self.macs(), TTL).icmp(&reply))
    }

    /// Tells the guest that nobody listens at a UDP port.
    pub(crate) fn port_unreachable(&self, key: &Key) -> Vec<u8> {
        const PORT: u8 = 3;
        let code = match key.address {
            IpAddr::V4(_) => [UNREACHABLE, PORT],
            IpAddr::V6(_) => [ip6::UNREACHABLE, ip6::NO_PORT],
        };
        self.unreachable(key, code)
    }

    /// Tells the guest that there is no way to an address, at the moment.
    pub(crate) fn net_unreachable(&self, key: &Key) -> Vec<u8> {
        const NET: u8 = 0;
        let code = match key.address {
            IpAddr::V4(_) => [UNREACHABLE, NET],
            IpAddr::V6(_) => [ip6::UNREACHABLE, ip6::NO_ROUTE],
        };
        self.unreachable(key, code)
    }

    /// With the datagram's headers as the guest sent them, as far as they matter (RFC 792).
    fn unreachable(&self, key: &Key, code: [u8; 2]) -> Vec<u8> {
        let sent = Route { macs: self.macs(), source: key.guest, destination: key.address, ttl: TTL };
        let datagram = sent.datagram((key.guest_port, key.port), &[]);
        let headers = datagram.get(ETHERNET..).unwrap_or_default();
        key.route(self.macs(), TTL).icmp(&[&code, &[0; 6][..], headers].concat())
    }
}

#[cfg(test)]
#[path = "subnet_test.rs"]
mod tests;
