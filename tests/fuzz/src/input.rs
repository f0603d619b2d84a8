//! The bytes of a play, taken from the front. `None` when they run out.

use ami_run_models::bus::Width;

pub(crate) struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Input<'a> {
        Input(bytes)
    }

    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (front, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(front)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.array().map(|[byte]| byte)
    }

    pub(crate) fn word(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    pub(crate) fn dword(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn qword(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    /// As many bytes as an access of this width carries.
    pub(crate) fn value(&mut self, width: Width) -> Option<u64> {
        self.bytes(usize::from(width.bytes())).map(ami_run_models::bus::little_endian)
    }
}

/// The width that two bits name.
pub(crate) fn width(bits: u8) -> Width {
    match bits & 3 {
        0 => Width::Byte,
        1 => Width::Word,
        2 => Width::Dword,
        _ => Width::Qword,
    }
}
