//! TCP segments of the guest, and sequence numbers.

use crate::wire::{self, Packet, Tcp};
use zerocopy::FromBytes as _;

/// What of a segment matters.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Segment<'a> {
    pub(crate) source: u16,
    pub(crate) destination: u16,
    pub(crate) sequence: u32,
    pub(crate) acknowledged: u32,
    pub(crate) flags: u8,
    pub(crate) window: u16,
    pub(crate) mss: Option<u16>,
    pub(crate) scale: Option<u8>,
    pub(crate) payload: &'a [u8],
}

impl<'a> Segment<'a> {
    /// None where lengths lie, or where the checksum is wrong and was not left to us.
    pub(crate) fn parse(packet: &Packet<'a>, without_checksum: bool) -> Option<Segment<'a>> {
        let bytes = packet.payload;
        let (tcp, _) = Tcp::ref_from_prefix(bytes).ok()?;
        let header = usize::from(tcp.length >> 4).wrapping_mul(4);
        let (head, payload) = bytes.split_at_checked(header)?;
        let options = head.get(wire::TCP..)?;
        if !without_checksum && packet.pseudo(bytes.len()).add(bytes).finish() != 0 {
            return None;
        }
        let mut segment = Segment {
            source: tcp.source.get(),
            destination: tcp.destination.get(),
            sequence: tcp.sequence.get(),
            acknowledged: tcp.acknowledged.get(),
            flags: tcp.flags,
            window: tcp.window.get(),
            mss: None,
            scale: None,
            payload,
        };
        if segment.has(wire::SYN) {
            segment.options(options);
        }
        Some(segment)
    }

    fn options(&mut self, mut options: &[u8]) {
        const END: u8 = 0;
        const NOTHING: u8 = 1;
        const MSS: u8 = 2;
        const SCALE: u8 = 3;
        while let [kind, rest @ ..] = options {
            options = match (*kind, rest) {
                (NOTHING, _) => rest,
                (END, _) | (_, []) => return,
                (kind, [len, ..]) => {
                    let Some(data) = usize::from(*len).checked_sub(1).and_then(|len| rest.get(1..len)) else {
                        return;
                    };
                    match (kind, data) {
                        (MSS, [high, low]) => self.mss = Some(u16::from_be_bytes([*high, *low])),
                        (SCALE, [scale]) => self.scale = Some((*scale).min(14)),
                        _ => {}
                    }
                    rest.get(usize::from(*len).saturating_sub(1)..).unwrap_or_default()
                }
            };
        }
    }

    pub(crate) fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// Sequence numbers that it takes.
    pub(crate) fn len(&self) -> u32 {
        let len = u32::try_from(self.payload.len()).unwrap_or(0);
        len.wrapping_add(u32::from(self.has(wire::SYN))).wrapping_add(u32::from(self.has(wire::FIN)))
    }
}

/// How far one number is behind another; none: it is not behind it.
pub(crate) fn ahead(later: u32, earlier: u32) -> Option<u32> {
    let distance = later.wrapping_sub(earlier);
    (distance < 1 << 31).then_some(distance)
}
