//! What a flash chip is made of: its wiring and blocks, its commands, its status, and what it says of itself
//! (Intel 28F640J3 datasheet; JEDEC JESD68.01, common flash interface).

use bitflags::bitflags;

/// Bytes that one write of the buffer takes at most, on all chips together; they lie in one aligned window.
pub(super) const BUFFER: u8 = 128;

/// How the chips are wired to the bus. An access of another width, or across two words, is no command.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wiring {
    /// One chip of eight data lines: x86.
    Byte,
    /// Two chips of sixteen data lines side by side, each told the same: arm64.
    Pair,
}

impl Wiring {
    /// Bytes of a word on the bus.
    pub(super) fn word(self) -> u8 {
        match self {
            Wiring::Byte => 1,
            Wiring::Pair => 4,
        }
    }

    fn chips(self) -> u32 {
        match self {
            Wiring::Byte => 1,
            Wiring::Pair => 2,
        }
    }

    /// What every chip is told by these data lines: the low byte of a chip's lines counts.
    pub(super) fn told(self, value: u64) -> Option<u8> {
        let [low, _, high, ..] = value.to_le_bytes();
        match self {
            Wiring::Byte => Some(low),
            Wiring::Pair => (low == high).then_some(low),
        }
    }
}

/// Wiring, size and size of a block, in bytes of all chips together.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Geometry {
    pub(super) wiring: Wiring,
    pub(super) size: u32,
    pub(super) block: u32,
}

impl Geometry {
    /// None: no such chip can be. A block is a power of two from 4 KiB on, the size 1 to 65,536 of them.
    #[must_use]
    pub fn new(wiring: Wiring, size: u32, block: u32) -> Option<Geometry> {
        let fits = block.is_power_of_two() && block >= 4096 && size.is_multiple_of(block);
        let blocks = size.checked_div(block)?;
        (fits && (1..=1 << 16).contains(&blocks)).then_some(Geometry { wiring, size, block })
    }

    #[must_use]
    pub fn wiring(&self) -> Wiring {
        self.wiring
    }
}

/// What a chip can be told; what follows is written next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Command {
    ReadArray,
    ReadIdentity,
    ReadQuery,
    ReadStatus,
    ClearStatus,
    /// Then the word.
    Program,
    /// Then [`CONFIRM`].
    Erase,
    /// Then the number of words less one, the words, [`CONFIRM`].
    ProgramBuffer,
    /// Then [`CONFIRM`], which unlocks.
    Lock,
}

impl Command {
    pub(super) fn of(byte: u8) -> Option<Command> {
        Some(match byte {
            0xff => Command::ReadArray,
            0x90 => Command::ReadIdentity,
            0x98 => Command::ReadQuery,
            0x70 => Command::ReadStatus,
            0x50 => Command::ClearStatus,
            0x10 | 0x40 => Command::Program,
            0x20 => Command::Erase,
            0xe8 => Command::ProgramBuffer,
            0x60 => Command::Lock,
            _ => return None,
        })
    }
}

pub(super) const CONFIRM: u8 = 0xd0;

bitflags! {
    /// The status register.
    #[derive(Clone, Copy, PartialEq, Eq, Debug)]
    pub(super) struct Status: u8 {
        const READY = 1 << 7;
        const ERASE_ERROR = 1 << 5;
        const PROGRAM_ERROR = 1 << 4;
        /// With one of the errors: the block is protected.
        const LOCKED = 1 << 1;
    }
}

impl Status {
    /// Both errors at once: what was written is no sequence of commands.
    pub(super) const WRONG_SEQUENCE: Status = Status::ERASE_ERROR.union(Status::PROGRAM_ERROR);
}

/// A chip's identity: Intel's, and its lock status, at the start of each block: not locked.
pub(super) fn identity(geometry: Geometry, word: u64) -> u8 {
    let words = u64::from(geometry.block).checked_div(u64::from(geometry.wiring.word())).unwrap_or(1);
    match word.checked_rem(words) {
        Some(0) => 0x89,
        Some(1) => 0x18,
        _ => 0,
    }
}

/// The CFI query's answer, which begins at word 0x10 (JESD68.01, tables 1 to 4).
pub(super) fn query(geometry: Geometry, word: u64) -> u8 {
    let Geometry { wiring, size, block } = geometry;
    let each = |bytes: u32| bytes.checked_div(wiring.chips()).unwrap_or(bytes);
    let log = |bytes: u32| u8::try_from(bytes.next_power_of_two().ilog2()).unwrap_or(0);
    let [last, last_high, ..] = size.checked_div(block).unwrap_or(1).wrapping_sub(1).to_le_bytes();
    let [pages, pages_high, ..] = (each(block) >> 8).to_le_bytes();
    // Data lines: 0 is 8, 1 is 16.
    let lines = u8::from(wiring == Wiring::Pair);
    let table = [
        // Command set 1, of which more is said from 0x31 on; no other.
        [b'Q', b'R', b'Y', 1, 0, 0x31, 0, 0],
        // 4.5 to 5.5 V, nothing more to program; programming typically takes 2^7 us.
        [0, 0, 0, 0x45, 0x55, 0, 0, 7],
        // A buffer takes 2^7 us, a block's erasure 2^10 ms; each at most 2^4 times as long.
        [7, 10, 0, 4, 4, 4, 0, log(each(size))],
        [lines, 0, log(each(u32::from(BUFFER))), 0, 1, last, last_high, pages],
        // One protection register of none; no feature beyond the basic ones.
        [pages_high, b'P', b'R', b'I', b'1', b'0', 0, 0],
    ];
    let place = word.checked_sub(0x10).and_then(|place| usize::try_from(place).ok());
    place.and_then(|place| table.as_flattened().get(place)).copied().unwrap_or(0)
}
