//! What a frame leaves to its receiver: a checksum to complete, a large segment to cut. Plain words, so that every
//! kind of network card can put them into its own header.

/// Longer than any frame: an Ethernet header and the largest IPv4 packet.
pub const MAX_FRAME: usize = 14 + 65535;

/// A frame that is being written for the guest.
pub type Frame = [u8; MAX_FRAME];

/// What is still to be done with a frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    pub checksum: Option<Checksum>,
    /// A large TCP segment over IPv4: no more than so many bytes of payload go into each packet on a wire.
    pub segment: Option<u16>,
}

/// A checksum that holds its pseudo-header's sum only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checksum {
    /// Where in the frame the bytes begin that it covers.
    pub start: u16,
    /// Where it stands, from there.
    pub offset: u16,
}

/// What the guest has said that it takes; nothing until it has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Takes {
    /// Frames whose checksum is still to be computed.
    pub checksum: bool,
    /// Large TCP segments over IPv4; only together with the former.
    pub segments: bool,
}
