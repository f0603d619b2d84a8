//! Headers as they stand in frames (RFC 826, 791, 792, 768, 8200, 9293), and the Internet checksum (RFC 1071). What is
//! carried is written in one way, whether IPv4 carries it or IPv6.
//!
//! By hand: what is read here is little, and zerocopy checks every length.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(crate) const ETHERNET: usize = 14;
pub(crate) const IP: usize = 20;
pub(crate) const IP6: usize = 40;
pub(crate) const UDP: usize = 8;
pub(crate) const TCP: usize = 20;

pub(crate) const BROADCAST: [u8; 6] = [0xff; 6];
pub(crate) const ETHERTYPE_IP: u16 = 0x0800;
pub(crate) const ETHERTYPE_ARP: u16 = 0x0806;
pub(crate) const ETHERTYPE_IP6: u16 = 0x86dd;
pub(crate) const PROTOCOL_ICMP: u8 = 1;
pub(crate) const PROTOCOL_TCP: u8 = 6;
pub(crate) const PROTOCOL_UDP: u8 = 17;
pub(crate) const PROTOCOL_ICMP6: u8 = 58;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Ethernet {
    pub(crate) destination: [u8; 6],
    pub(crate) source: [u8; 6],
    pub(crate) kind: U16,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Arp {
    pub(crate) hardware: U16,
    pub(crate) protocol: U16,
    pub(crate) lengths: [u8; 2],
    pub(crate) operation: U16,
    pub(crate) sender_mac: [u8; 6],
    pub(crate) sender: [u8; 4],
    pub(crate) target_mac: [u8; 6],
    pub(crate) target: [u8; 4],
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Ip {
    /// Four bits each: version, and the header's length in 32-bit words.
    pub(crate) version: u8,
    pub(crate) service: u8,
    pub(crate) length: U16,
    pub(crate) identification: U16,
    /// Three flags, and the fragment's offset in 8-byte units.
    pub(crate) fragment: U16,
    pub(crate) ttl: u8,
    pub(crate) protocol: u8,
    pub(crate) checksum: U16,
    pub(crate) source: [u8; 4],
    pub(crate) destination: [u8; 4],
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Ip6 {
    /// Four bits: the version; then the traffic's class and the flow's label.
    pub(crate) version: U32,
    /// Of what follows this header.
    pub(crate) length: U16,
    /// The next header. Ours is always the last.
    pub(crate) protocol: u8,
    pub(crate) hops: u8,
    pub(crate) source: [u8; 16],
    pub(crate) destination: [u8; 16],
}

pub(crate) const DONT_FRAGMENT: u16 = 0x4000;
const MORE_FRAGMENTS_AND_OFFSET: u16 = 0x3fff;

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Udp {
    pub(crate) source: U16,
    pub(crate) destination: U16,
    pub(crate) length: U16,
    pub(crate) checksum: U16,
}

#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
pub(crate) struct Tcp {
    pub(crate) source: U16,
    pub(crate) destination: U16,
    pub(crate) sequence: U32,
    pub(crate) acknowledged: U32,
    /// In its upper four bits: the header's length in 32-bit words.
    pub(crate) length: u8,
    pub(crate) flags: u8,
    pub(crate) window: U16,
    pub(crate) checksum: U16,
    pub(crate) urgent: U16,
}

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const PSH: u8 = 8;
pub(crate) const ACK: u8 = 16;

/// A packet that is whole and whose header is right. Both addresses are of one family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) protocol: u8,
    /// How many hops it has left.
    pub(crate) ttl: u8,
    pub(crate) payload: &'a [u8],
}

impl<'a> Packet<'a> {
    /// One of IPv4.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Packet<'a>> {
        let (ip, _) = Ip::ref_from_prefix(bytes).ok()?;
        let header = usize::from(ip.version & 15).wrapping_mul(4);
        let whole = bytes.get(..usize::from(ip.length.get()))?;
        let (head, payload) = whole.split_at_checked(header)?;
        let good = ip.version >> 4 == 4
            && header >= IP
            && ip.fragment.get() & MORE_FRAGMENTS_AND_OFFSET == 0
            && Sum::default().add(head).finish() == 0;
        good.then_some(Packet {
            source: ip.source.into(),
            destination: ip.destination.into(),
            protocol: ip.protocol,
            ttl: ip.ttl,
            payload,
        })
    }

    /// One of IPv6. Headers between its own and the payload's are nobody's protocol here.
    pub(crate) fn parse6(bytes: &'a [u8]) -> Option<Packet<'a>> {
        let (ip, rest) = Ip6::ref_from_prefix(bytes).ok()?;
        let payload = rest.get(..usize::from(ip.length.get()))?;
        (ip.version.get() >> 28 == 6).then_some(Packet {
            source: ip.source.into(),
            destination: ip.destination.into(),
            protocol: ip.protocol,
            ttl: ip.hops,
            payload,
        })
    }

    /// The way of an answer.
    pub(crate) fn back(&self, macs: Macs, ttl: u8) -> Route {
        Route { macs, source: self.destination, destination: self.source, ttl }
    }

    /// What the checksums of TCP and UDP begin with.
    pub(crate) fn pseudo(&self, len: usize) -> Sum {
        pseudo(self.source, self.destination, self.protocol, len)
    }
}

/// IPv6 has the same in wider fields (RFC 8200, 8.1), whose sum is the same.
pub(crate) fn pseudo(source: IpAddr, destination: IpAddr, protocol: u8, len: usize) -> Sum {
    let len = u16::try_from(len).unwrap_or(u16::MAX);
    Sum::default().address(source).address(destination).add(&[0, protocol]).add(&len.to_be_bytes())
}

/// How long the header is of a packet that goes to or from an address.
pub(crate) fn header(address: IpAddr) -> usize {
    if address.is_ipv4() { IP } else { IP6 }
}

/// Puts bytes into a frame, if it has a place for them.
pub(crate) fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    if let Some(space) = frame.get_mut(at..).and_then(|rest| rest.get_mut(..bytes.len())) {
        space.copy_from_slice(bytes);
    }
}

/// A checksum in the making. Every part but the last must be of even length.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Sum(u64);

impl Sum {
    pub(crate) fn add(self, bytes: &[u8]) -> Sum {
        let (words, rest) = bytes.as_chunks::<4>();
        let mut sum =
            words.iter().fold(self.0, |sum, word| sum.wrapping_add(u32::from_be_bytes(*word).into()));
        let mut last = [0; 4];
        for (to, from) in last.iter_mut().zip(rest) {
            *to = *from;
        }
        sum = sum.wrapping_add(u32::from_be_bytes(last).into());
        Sum(sum)
    }

    fn address(self, address: IpAddr) -> Sum {
        match address {
            IpAddr::V4(address) => self.add(&address.octets()),
            IpAddr::V6(address) => self.add(&address.octets()),
        }
    }

    /// The sum itself, as it stands where hardware is to complete it.
    pub(crate) fn folded(self) -> u16 {
        let mut sum = self.0;
        while sum > 0xffff {
            sum = (sum >> 16).wrapping_add(sum & 0xffff);
        }
        u16::try_from(sum).unwrap_or(0)
    }

    pub(crate) fn finish(self) -> u16 {
        !self.folded()
    }
}

/// Who speaks to whom in a packet of ours. Both addresses are of one family.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) macs: Macs,
    pub(crate) source: IpAddr,
    pub(crate) destination: IpAddr,
    pub(crate) ttl: u8,
}

/// The two stations on the link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Macs {
    pub(crate) guest: [u8; 6],
    pub(crate) router: [u8; 6],
}

/// The first two headers of a packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Headers {
    bytes: [u8; ETHERNET + IP6],
    len: usize,
}

impl Headers {
    pub(crate) fn as_slice(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl Route {
    /// The first two headers of a packet whose transport header and payload have `len` bytes.
    pub(crate) fn headers(&self, protocol: u8, len: usize) -> Headers {
        let mut bytes = [0; ETHERNET + IP6];
        let (kind, header) = match (self.source, self.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let ip = self.ip(protocol, len, source, destination);
                bytes[ETHERNET..ETHERNET + IP].copy_from_slice(ip.as_bytes());
                (ETHERTYPE_IP, IP)
            }
            (source, destination) => {
                let ip = self.ip6(protocol, len, sixteen(source), sixteen(destination));
                bytes[ETHERNET..].copy_from_slice(ip.as_bytes());
                (ETHERTYPE_IP6, IP6)
            }
        };
        let ethernet = Ethernet { destination: self.macs.guest, source: self.macs.router, kind: kind.into() };
        bytes[..ETHERNET].copy_from_slice(ethernet.as_bytes());
        Headers { bytes, len: ETHERNET.saturating_add(header) }
    }

    fn ip(&self, protocol: u8, len: usize, source: Ipv4Addr, destination: Ipv4Addr) -> Ip {
        let mut ip = Ip {
            version: 0x45,
            service: 0,
            length: u16::try_from(len.saturating_add(IP)).unwrap_or(u16::MAX).into(),
            identification: 0.into(),
            fragment: DONT_FRAGMENT.into(),
            ttl: self.ttl,
            protocol,
            checksum: 0.into(),
            source: source.octets(),
            destination: destination.octets(),
        };
        ip.checksum = Sum::default().add(ip.as_bytes()).finish().into();
        ip
    }

    fn ip6(&self, protocol: u8, len: usize, source: Ipv6Addr, destination: Ipv6Addr) -> Ip6 {
        Ip6 {
            version: (6 << 28).into(),
            length: u16::try_from(len).unwrap_or(u16::MAX).into(),
            protocol,
            hops: self.ttl,
            source: source.octets(),
            destination: destination.octets(),
        }
    }

    /// A whole datagram with its checksums.
    pub(crate) fn datagram(&self, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
        let (headers, udp) = self.datagram_headers(ports, payload);
        [headers.as_slice(), udp.as_bytes(), payload].concat()
    }

    /// What stands before a datagram's payload.
    pub(crate) fn datagram_headers(
        &self,
        (source, destination): (u16, u16),
        payload: &[u8],
    ) -> (Headers, Udp) {
        let len = payload.len().saturating_add(UDP);
        let mut udp = Udp {
            source: source.into(),
            destination: destination.into(),
            length: u16::try_from(len).unwrap_or(u16::MAX).into(),
            checksum: 0.into(),
        };
        let sum = pseudo(self.source, self.destination, PROTOCOL_UDP, len).add(udp.as_bytes()).add(payload);
        // Zero would say that there is none.
        udp.checksum = match sum.finish() {
            0 => 0xffff,
            sum => sum,
        }
        .into();
        (self.headers(PROTOCOL_UDP, len), udp)
    }

    /// A whole message of the family's ICMP; its checksum is filled in.
    pub(crate) fn icmp(&self, message: &[u8]) -> Vec<u8> {
        let (protocol, sum) = match self.source {
            IpAddr::V4(_) => (PROTOCOL_ICMP, Sum::default()),
            IpAddr::V6(_) => {
                (PROTOCOL_ICMP6, pseudo(self.source, self.destination, PROTOCOL_ICMP6, message.len()))
            }
        };
        let headers = self.headers(protocol, message.len());
        let mut frame = [headers.as_slice(), message].concat();
        put(&mut frame, headers.as_slice().len().saturating_add(2), &sum.add(message).finish().to_be_bytes());
        frame
    }
}

/// An address as IPv6 writes it.
fn sixteen(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}
