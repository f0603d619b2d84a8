//! Headers as they stand in frames (RFC 826, 791, 792, 768, 9293), and the Internet checksum (RFC 1071).
//!
//! By hand: what is read here is little, and zerocopy checks every length.

use std::net::Ipv4Addr;
use zerocopy::byteorder::big_endian::{U16, U32};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

pub(crate) const ETHERNET: usize = 14;
pub(crate) const IP: usize = 20;
pub(crate) const UDP: usize = 8;
pub(crate) const TCP: usize = 20;

pub(crate) const BROADCAST: [u8; 6] = [0xff; 6];
pub(crate) const ETHERTYPE_IP: u16 = 0x0800;
pub(crate) const ETHERTYPE_ARP: u16 = 0x0806;
pub(crate) const PROTOCOL_ICMP: u8 = 1;
pub(crate) const PROTOCOL_TCP: u8 = 6;
pub(crate) const PROTOCOL_UDP: u8 = 17;

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

/// An IPv4 packet that is whole and whose header is right.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Packet<'a> {
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) protocol: u8,
    pub(crate) payload: &'a [u8],
}

impl<'a> Packet<'a> {
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
            payload,
        })
    }

    /// What the checksums of TCP and UDP begin with.
    pub(crate) fn pseudo(&self, len: usize) -> Sum {
        pseudo(self.source, self.destination, self.protocol, len)
    }
}

pub(crate) fn pseudo(source: Ipv4Addr, destination: Ipv4Addr, protocol: u8, len: usize) -> Sum {
    let len = u16::try_from(len).unwrap_or(u16::MAX);
    Sum::default()
        .add(&source.octets())
        .add(&destination.octets())
        .add(&[0, protocol])
        .add(&len.to_be_bytes())
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

/// Who speaks to whom in a packet of ours.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Route {
    pub(crate) macs: Macs,
    pub(crate) source: Ipv4Addr,
    pub(crate) destination: Ipv4Addr,
    pub(crate) ttl: u8,
}

/// The two stations on the link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Macs {
    pub(crate) guest: [u8; 6],
    pub(crate) router: [u8; 6],
}

impl Route {
    /// The first two headers of a packet whose transport header and payload have `len` bytes.
    pub(crate) fn headers(&self, protocol: u8, len: usize) -> [u8; ETHERNET + IP] {
        let ethernet =
            Ethernet { destination: self.macs.guest, source: self.macs.router, kind: ETHERTYPE_IP.into() };
        let mut ip = Ip {
            version: 0x45,
            service: 0,
            length: u16::try_from(len.saturating_add(IP)).unwrap_or(u16::MAX).into(),
            identification: 0.into(),
            fragment: DONT_FRAGMENT.into(),
            ttl: self.ttl,
            protocol,
            checksum: 0.into(),
            source: self.source.octets(),
            destination: self.destination.octets(),
        };
        ip.checksum = Sum::default().add(ip.as_bytes()).finish().into();
        let mut bytes = [0; ETHERNET + IP];
        bytes[..ETHERNET].copy_from_slice(ethernet.as_bytes());
        bytes[ETHERNET..].copy_from_slice(ip.as_bytes());
        bytes
    }

    /// A whole datagram with its checksums.
    pub(crate) fn datagram(&self, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![0; ETHERNET + IP + UDP];
        frame.extend_from_slice(payload);
        let headers = self.datagram_headers(ports, payload);
        if let Some(front) = frame.first_chunk_mut() {
            *front = headers;
        }
        frame
    }

    /// What stands before a datagram's payload.
    pub(crate) fn datagram_headers(
        &self,
        (source, destination): (u16, u16),
        payload: &[u8],
    ) -> [u8; ETHERNET + IP + UDP] {
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
        let mut bytes = [0; ETHERNET + IP + UDP];
        bytes[..ETHERNET + IP].copy_from_slice(&self.headers(PROTOCOL_UDP, len));
        bytes[ETHERNET + IP..].copy_from_slice(udp.as_bytes());
        bytes
    }

    /// A whole ICMP message; its checksum is filled in.
    pub(crate) fn icmp(&self, message: &[u8]) -> Vec<u8> {
        let mut frame = self.headers(PROTOCOL_ICMP, message.len()).to_vec();
        let sum = Sum::default().add(message).finish();
        frame.extend_from_slice(message);
        if let Some(field) = frame.get_mut(ETHERNET + IP + 2..ETHERNET + IP + 4) {
            field.copy_from_slice(&sum.to_be_bytes());
        }
        frame
    }
}
