//! What a write did to the flash's bytes, and how it is carried out: kept first, then seen by the guest.

use super::spec::BUFFER;
use ami_run_storage::flash::Change;
use std::io;

/// Some bytes that are programmed at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Piece {
    bytes: [u8; BUFFER as usize],
    len: u8,
}

impl Piece {
    /// A piece of so many bytes, at most what the buffer holds, which would change nothing.
    pub(super) fn blank(len: u8) -> Piece {
        Piece { bytes: [0xff; BUFFER as usize], len: len.min(BUFFER) }
    }

    /// Puts a word's bytes at `offset`; what does not fit is dropped.
    pub(super) fn put(&mut self, offset: usize, word: &[u8]) {
        let room = self.bytes.get_mut(..usize::from(self.len)).and_then(|bytes| bytes.get_mut(offset..));
        room.into_iter().flatten().zip(word).for_each(|(to, from)| *to = *from);
    }

    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or_default()
    }
}

/// What is to become of the bytes. All of it lies inside the flash.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Effect {
    #[default]
    None,
    /// Bits that are 0 here become 0 from `offset` on.
    Program { offset: u32, piece: Piece },
    /// All bits of these bytes become 1.
    Erase { offset: u32, len: u32 },
}

impl Effect {
    /// Has the change kept, and then makes it in the flash's bytes. When it cannot be kept they stay as they are, and
    /// the chip is to be told ([`super::Flash::fail`]).
    pub fn carry_out(
        &self,
        content: &mut [u8],
        keep: impl FnOnce(u32, Change<'_>) -> io::Result<()>,
    ) -> io::Result<()> {
        match *self {
            Effect::None => Ok(()),
            Effect::Program { offset, mut piece } => {
                let Some(place) = part(content, offset, u32::from(piece.len)) else { return outside() };
                piece.bytes.iter_mut().zip(&*place).for_each(|(new, old)| *new &= old);
                // Firmware programs bytes with what they are when it looks what the chip is.
                if piece.bytes() == place {
                    return Ok(());
                }
                keep(offset, Change::Bytes(piece.bytes()))?;
                place.copy_from_slice(piece.bytes());
                Ok(())
            }
            Effect::Erase { offset, len } => {
                let Some(place) = part(content, offset, len) else { return outside() };
                keep(offset, Change::Erased(len))?;
                place.fill(0xff);
                Ok(())
            }
        }
    }
}

fn part(content: &mut [u8], offset: u32, len: u32) -> Option<&mut [u8]> {
    content.get_mut(usize::try_from(offset).ok()?..)?.get_mut(..usize::try_from(len).ok()?)
}

/// The bytes are fewer than the chip's: a mistake of ours.
fn outside() -> io::Result<()> {
    Err(io::ErrorKind::InvalidInput.into())
}
