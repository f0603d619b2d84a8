//! The chip: what the guest writes makes it an array, a register, or changes its bytes.

use super::effect::{Effect, Piece};
use super::spec::{BUFFER, CONFIRM, Command, Geometry, Status, identity, query};
use crate::bus::Access;

/// What the guest reads now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reads {
    /// The bytes themselves.
    Array,
    /// The status of a program or an erasure. OVMF never looks at it there, and writes byte by byte: on x86 the bytes
    /// may stay mapped meanwhile. AAVMF waits by it.
    Progress,
    /// A register that the guest has asked for.
    Register,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
enum State {
    #[default]
    Array,
    Status,
    Identity,
    Query,
    /// Waits for the word to program.
    Program,
    /// Waits for the erasure's confirmation.
    Erase,
    /// Waits for what is to become of the lock.
    Lock,
    /// Waits for the number of words in the buffer.
    Count,
    /// Waits for so many words more, for the window at this offset once the first has said where.
    Fill {
        left: u8,
        window: Option<u32>,
    },
    /// Waits for the confirmation of the buffer that is for this window.
    Filled {
        window: u32,
    },
    /// A program or an erasure is over.
    Done,
}

/// All that a reset sets back.
#[derive(Clone, Debug)]
struct Registers {
    state: State,
    status: Status,
    buffer: Piece,
}

impl Default for Registers {
    fn default() -> Registers {
        Registers { state: State::Array, status: Status::READY, buffer: Piece::blank(BUFFER) }
    }
}

/// The chip, or the two that are wired as one.
#[derive(Clone, Debug)]
pub struct Flash {
    geometry: Geometry,
    is_protected: bool,
    registers: Registers,
}

impl Flash {
    /// A protected one's bytes cannot be changed.
    #[must_use]
    pub fn new(geometry: Geometry, is_protected: bool) -> Flash {
        Flash { geometry, is_protected, registers: Registers::default() }
    }

    /// As after power-on. The bytes stay.
    pub fn reset(&mut self) {
        let Flash { geometry: _, is_protected: _, registers } = self;
        *registers = Registers::default();
    }

    #[must_use]
    pub fn reads(&self) -> Reads {
        match self.registers.state {
            State::Array => Reads::Array,
            State::Status | State::Identity | State::Query | State::Lock => Reads::Register,
            State::Program | State::Erase | State::Done => Reads::Progress,
            State::Count | State::Fill { .. } | State::Filled { .. } => Reads::Progress,
        }
    }

    /// None: the bytes are read.
    #[must_use]
    pub fn read(&self, at: Access) -> Option<u64> {
        let register = |word: u64| match self.registers.state {
            State::Identity => identity(self.geometry, word),
            State::Query => query(self.geometry, word),
            _ => self.registers.status.bits(),
        };
        if self.reads() == Reads::Array {
            return None;
        }
        let word = self.geometry.wiring.word();
        // A chip of sixteen lines says it on the lower eight of them.
        let byte = |offset: u64| match word {
            1 => register(offset),
            _ if offset & 1 == 0 => register(offset >> 2),
            _ => 0,
        };
        let bytes = (0..at.width.bytes()).rev().map(|place| byte(at.offset.wrapping_add(place.into())));
        Some(bytes.fold(0, |value, byte| value << 8 | u64::from(byte)))
    }

    /// What comes of it must be carried out before anything else is read or written.
    #[must_use]
    pub fn write(&mut self, at: Access, value: u64) -> Effect {
        let Some(offset) = self.word_at(at) else { return Effect::None };
        let told = self.geometry.wiring.told(value);
        match self.registers.state {
            State::Program => self.program(offset, value),
            State::Erase if told == Some(CONFIRM) => self.erase(offset),
            State::Lock if told == Some(CONFIRM) => self.end(State::Status, Status::empty()),
            State::Count => self.count(told),
            State::Fill { left, window } => self.fill(offset, value, left, window),
            // At any address: EDK II's driver for Arm confirms at the chip's first (OvmfPkg/VirtNorFlashDxe).
            State::Filled { window } if told == Some(CONFIRM) => self.program_buffer(window),
            State::Erase | State::Lock | State::Filled { .. } => {
                self.end(State::Done, Status::WRONG_SEQUENCE)
            }
            State::Array | State::Status | State::Identity | State::Query | State::Done => self.command(told),
        }
    }

    /// What was to be carried out could not be.
    pub fn fail(&mut self, effect: &Effect) {
        self.registers.status |= match effect {
            Effect::None => Status::empty(),
            Effect::Program { .. } => Status::PROGRAM_ERROR,
            Effect::Erase { .. } => Status::ERASE_ERROR,
        };
    }

    /// The offset of the word that is written, if this is one.
    fn word_at(&self, at: Access) -> Option<u32> {
        let word = self.geometry.wiring.word();
        let offset = u32::try_from(at.offset).ok().filter(|offset| *offset < self.geometry.size)?;
        (at.width.bytes() == word && offset.is_multiple_of(word.into())).then_some(offset)
    }

    fn end(&mut self, state: State, errors: Status) -> Effect {
        self.registers.state = state;
        self.registers.status |= errors | Status::READY;
        Effect::None
    }

    fn command(&mut self, told: Option<u8>) -> Effect {
        self.registers.state = match told.and_then(Command::of) {
            Some(Command::ReadArray) | None => State::Array,
            Some(Command::ReadIdentity) => State::Identity,
            Some(Command::ReadQuery) => State::Query,
            Some(Command::ReadStatus) => State::Status,
            Some(Command::ClearStatus) => {
                // OVMF knows flash by a status of 0 then; whatever is done next makes it ready again.
                self.registers.status = Status::empty();
                State::Array
            }
            Some(Command::Program) => State::Program,
            Some(Command::Erase) => State::Erase,
            Some(Command::ProgramBuffer) => {
                self.registers.buffer = Piece::blank(BUFFER);
                self.registers.status |= Status::READY;
                State::Count
            }
            Some(Command::Lock) => State::Lock,
        };
        Effect::None
    }

    /// Ends a program or an erasure: by its effect, or by this error where the bytes are protected.
    fn change(&mut self, effect: Effect, error: Status) -> Effect {
        if self.is_protected {
            return self.end(State::Done, error | Status::LOCKED);
        }
        self.end(State::Done, Status::empty());
        effect
    }

    fn program(&mut self, offset: u32, value: u64) -> Effect {
        let mut piece = Piece::blank(self.geometry.wiring.word());
        piece.put(0, &value.to_le_bytes());
        self.change(Effect::Program { offset, piece }, Status::PROGRAM_ERROR)
    }

    fn erase(&mut self, offset: u32) -> Effect {
        let len = self.geometry.block;
        self.change(Effect::Erase { offset: align(offset, len), len }, Status::ERASE_ERROR)
    }

    fn count(&mut self, told: Option<u8>) -> Effect {
        let words = BUFFER.checked_div(self.geometry.wiring.word()).unwrap_or(0);
        match told.filter(|less_one| *less_one < words) {
            Some(less_one) => {
                self.registers.state = State::Fill { left: less_one.saturating_add(1), window: None };
                Effect::None
            }
            None => self.end(State::Done, Status::WRONG_SEQUENCE),
        }
    }

    fn fill(&mut self, offset: u32, value: u64, left: u8, window: Option<u32>) -> Effect {
        let aligned = align(offset, BUFFER.into());
        let window = window.unwrap_or(aligned);
        if aligned != window {
            return self.end(State::Done, Status::WRONG_SEQUENCE);
        }
        let place = usize::try_from(offset.wrapping_sub(window)).unwrap_or(usize::MAX);
        let word = value.to_le_bytes();
        let word = word.get(..usize::from(self.geometry.wiring.word())).unwrap_or_default();
        self.registers.buffer.put(place, word);
        let left = left.saturating_sub(1);
        self.registers.state = match left {
            0 => State::Filled { window },
            _ => State::Fill { left, window: Some(window) },
        };
        Effect::None
    }

    fn program_buffer(&mut self, offset: u32) -> Effect {
        let piece = self.registers.buffer;
        self.change(Effect::Program { offset, piece }, Status::PROGRAM_ERROR)
    }
}

/// Down to a multiple of a power of two.
fn align(offset: u32, to: u32) -> u32 {
    offset & to.wrapping_neg()
}
