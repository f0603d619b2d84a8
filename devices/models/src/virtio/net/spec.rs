//! Numbers and records of virtio-net (virtio 1.2, section 5.1), and what a frame's header means as an [`Offload`].

use ami_run_network::{Checksum, Offload};
use zerocopy::little_endian::U16;
use zerocopy::{FromBytes, Immutable, IntoBytes};

// Features (5.1.3).
pub(super) const CSUM: u64 = 1 << 0;
pub(super) const GUEST_CSUM: u64 = 1 << 1;
pub(super) const MTU: u64 = 1 << 3;
pub(super) const MAC: u64 = 1 << 5;
pub(super) const GUEST_TSO4: u64 = 1 << 7;
pub(super) const HOST_TSO4: u64 = 1 << 11;
pub(super) const MRG_RXBUF: u64 = 1 << 15;
pub(super) const STATUS: u64 = 1 << 16;

/// The driver's queues (5.1.2).
pub(super) const RECEIVE: usize = 0;
pub(super) const TRANSMIT: usize = 1;

const NEEDS_CSUM: u8 = 1;
const GSO_NONE: u8 = 0;
const GSO_TCPV4: u8 = 1;

/// Where a frame says what it carries.
const ETHERTYPE: usize = 12;
/// The shortest headers of a TCP segment over IPv4 in a frame.
const TCP_HEADERS: usize = 14 + 20 + 20;
/// Where TCP says how long its header is, in words: the upper half of this byte.
const TCP_OFFSET: usize = 12;

/// What stands before each frame (5.1.6). With VERSION_1 it has all its fields, whatever else was negotiated.
#[derive(Clone, Copy, Debug, Default, PartialEq, FromBytes, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Header {
    pub(super) flags: u8,
    pub(super) gso_type: u8,
    pub(super) hdr_len: U16,
    pub(super) gso_size: U16,
    pub(super) csum_start: U16,
    pub(super) csum_offset: U16,
    pub(super) num_buffers: U16,
}

pub(super) const HEADER: usize = 12;
const _: () = assert!(size_of::<Header>() == HEADER);

/// The device's configuration (5.1.4), up to its last field that was offered.
#[derive(Clone, Copy, Debug, IntoBytes, Immutable)]
#[repr(C)]
pub(super) struct Config {
    pub(super) mac: [u8; 6],
    pub(super) status: U16,
    /// There is one pair: not offered, and zero.
    pub(super) max_queue_pairs: U16,
    pub(super) mtu: U16,
}

impl Header {
    /// What a driver that has accepted `features` leaves to do with its frame. None: what it says cannot be so
    /// (5.1.6.2.1). Flags that are not known are ignored, and the length of the headers is never relied on (5.1.6.2.2).
    pub(super) fn offload(&self, frame: &[u8], features: u64) -> Option<Offload> {
        let checksum = if self.flags & NEEDS_CSUM == 0 {
            None
        } else {
            let (start, offset) = (self.csum_start.get(), self.csum_offset.get());
            let end = usize::from(start).checked_add(usize::from(offset))?.checked_add(2)?;
            if features & CSUM == 0 || end > frame.len() {
                return None;
            }
            Some(Checksum { start, offset })
        };
        let segment = match self.gso_type {
            GSO_NONE => None,
            GSO_TCPV4 => {
                let size = self.gso_size.get();
                // What a tag stands before is the link's to see.
                let is_ipv4 = matches!(frame.get(ETHERTYPE..), Some([8, 0, ..] | [0x81, 0, ..]));
                let fits = is_ipv4 && frame.len() > TCP_HEADERS && checksum.is_some();
                if !fits || size == 0 || features & HOST_TSO4 == 0 {
                    return None;
                }
                Some(size)
            }
            _ => return None,
        };
        Some(Offload { checksum, segment })
    }

    /// The header of a frame for the guest that lies in so many buffers (5.1.6.4.1).
    pub(super) fn received(frame: &[u8], offload: Offload, buffers: u16) -> Header {
        let mut header = Header { num_buffers: buffers.into(), ..Header::default() };
        if let Some(Checksum { start, offset }) = offload.checksum {
            header.flags = NEEDS_CSUM;
            header.csum_start = start.into();
            header.csum_offset = offset.into();
            if let Some(size) = offload.segment {
                let words =
                    frame.get(usize::from(start).saturating_add(TCP_OFFSET)).map_or(0, |byte| byte >> 4);
                header.gso_type = GSO_TCPV4;
                header.gso_size = size.into();
                header.hdr_len = start.saturating_add(u16::from(words).saturating_mul(4)).into();
            }
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: u64 = CSUM | HOST_TSO4;

    fn header(flags: u8, gso_type: u8, gso_size: u16, start: u16, offset: u16) -> Header {
        Header {
            flags,
            gso_type,
            gso_size: gso_size.into(),
            csum_start: start.into(),
            csum_offset: offset.into(),
            ..Header::default()
        }
    }

    fn means(header: Header, len: usize, features: u64) -> Option<Offload> {
        let mut frame = vec![0; len];
        frame[ETHERTYPE] = 8;
        header.offload(&frame, features)
    }

    #[test]
    fn a_header_is_what_is_left_to_do() {
        let checksum = Some(Checksum { start: 34, offset: 16 });
        let only = Some(Offload { checksum, segment: None });
        let both = Some(Offload { checksum, segment: Some(1460) });
        assert_eq!(means(Header::default(), 60, 0), Some(Offload::default()));
        assert_eq!(means(header(NEEDS_CSUM, GSO_NONE, 0, 34, 16), 60, CSUM), only);
        assert_eq!(means(header(NEEDS_CSUM, GSO_TCPV4, 1460, 34, 16), 3000, ALL), both);
        // Neither an unknown flag nor a size without segments says anything.
        assert_eq!(means(header(0xfe, GSO_NONE, 9, 9, 9), 60, ALL), Some(Offload::default()));
    }

    #[test]
    fn a_header_that_cannot_be_so_is_none() {
        for (what, header, len, features) in [
            ("not negotiated", header(NEEDS_CSUM, GSO_NONE, 0, 34, 16), 60, HOST_TSO4),
            ("over the end", header(NEEDS_CSUM, GSO_NONE, 0, 34, 16), 51, ALL),
            ("far over the end", header(NEEDS_CSUM, GSO_NONE, 0, 0xffff, 0xffff), 65549, ALL),
            ("segments without a checksum", header(0, GSO_TCPV4, 1460, 34, 16), 3000, ALL),
            ("segments that were not negotiated", header(NEEDS_CSUM, GSO_TCPV4, 1460, 34, 16), 3000, CSUM),
            ("segments of nothing", header(NEEDS_CSUM, GSO_TCPV4, 0, 34, 16), 3000, ALL),
            ("no place for TCP", header(NEEDS_CSUM, GSO_TCPV4, 1460, 34, 16), TCP_HEADERS, ALL),
            ("segments of IPv6", header(NEEDS_CSUM, 4, 1440, 54, 16), 3000, ALL),
            ("segments with ECN", header(NEEDS_CSUM, 0x81, 1460, 34, 16), 3000, ALL),
            ("datagrams", header(NEEDS_CSUM, 3, 1460, 34, 6), 3000, ALL),
            ("nothing known", header(NEEDS_CSUM, 0xff, 1460, 34, 16), 3000, ALL),
        ] {
            assert_eq!(means(header, len, features), None, "{what}");
        }
    }

    #[test]
    fn segments_of_ipv4_are_in_frames_of_ipv4() {
        let segments = header(NEEDS_CSUM, GSO_TCPV4, 1460, 34, 16);
        for (kind, good) in [([8, 0], true), ([0x81, 0], true), ([0x86, 0xdd], false), ([8, 6], false)] {
            let mut frame = [0; 100];
            frame[ETHERTYPE..ETHERTYPE + 2].copy_from_slice(&kind);
            assert_eq!(segments.offload(&frame, ALL).is_some(), good, "{kind:x?}");
        }
    }

    #[test]
    fn a_large_segment_s_headers_are_as_long_as_tcp_says() {
        let mut frame = [0; 100];
        frame[34 + 12] = 0x80;
        let checksum = Some(Checksum { start: 34, offset: 16 });
        let header = Header::received(&frame, Offload { checksum, segment: Some(1460) }, 3);
        let expected = [1, 1, 34 + 32, 0, 0xb4, 5, 34, 0, 16, 0, 3, 0];
        assert_eq!(header.as_bytes(), expected);
        let end = Offload { checksum: Some(Checksum { start: u16::MAX, offset: 0 }), segment: Some(1) };
        assert_eq!(Header::received(&frame, end, 1).hdr_len, u16::MAX, "a link that errs harms nobody");
    }
}
