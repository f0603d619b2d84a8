//! Guest-physical addresses and ranges: claims, not yet memory.

use std::fmt;

/// A guest-physical address as somebody claims it. It cannot be added to with `+`: see [`Gpa::checked_add`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Gpa(pub u64);

impl Gpa {
    #[must_use]
    pub fn checked_add(self, n: u64) -> Option<Gpa> {
        self.0.checked_add(n).map(Gpa)
    }
}

impl fmt::Debug for Gpa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Gpa({:#x})", self.0)
    }
}

/// A half-open range of guest-physical addresses.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Range {
    pub start: u64,
    pub len: u64,
}

impl Range {
    #[must_use]
    pub const fn new(start: u64, len: u64) -> Range {
        Range { start, len }
    }

    /// The first address after the range; saturates at the end of the address space.
    #[must_use]
    pub fn end(self) -> u64 {
        self.start.saturating_add(self.len)
    }

    #[must_use]
    pub fn contains(self, address: u64) -> bool {
        address >= self.start && address < self.end()
    }

    #[must_use]
    pub fn overlaps(self, other: Range) -> bool {
        self.start < other.end() && other.start < self.end()
    }
}
