//! A connection's memory for the data of its requests: one range, lent out in pieces of whole pages.

use super::MAX_PAYLOAD;
use ami_run_memory::{Buffers, Gpa, Memory, MemoryError, Range};
use std::collections::BTreeMap;

const PAGE: u64 = 4096;
/// Two of the largest requests. What was never lent takes no memory.
const SIZE: u64 = 2 * MAX_PAYLOAD as u64;

#[derive(Debug)]
pub(super) struct Arena {
    memory: Memory,
    /// Free ranges by their start; no two of them touch.
    free: BTreeMap<u64, u64>,
}

/// A piece of the arena. It must be given back.
#[derive(Debug)]
pub(super) struct Piece {
    pub(super) at: u64,
    pub(super) len: u64,
}

impl Arena {
    pub(super) fn new() -> Result<Arena, MemoryError> {
        let memory = Memory::new(&[Range::new(0, SIZE)])?;
        Ok(Arena { memory, free: BTreeMap::from([(0, SIZE)]) })
    }

    pub(super) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The lowest piece that has room, so that few pages are ever touched. None: too much is lent out.
    pub(super) fn lend(&mut self, len: u64) -> Option<Piece> {
        let need = len.checked_next_multiple_of(PAGE)?;
        let (&at, &have) = self.free.iter().find(|(_, have)| **have >= need)?;
        self.free.remove(&at);
        if have > need {
            self.free.insert(at.saturating_add(need), have.saturating_sub(need));
        }
        Some(Piece { at, len })
    }

    #[expect(clippy::needless_pass_by_value, reason = "who gives it back has it no longer")]
    pub(super) fn give_back(&mut self, piece: Piece) {
        let len = piece.len.next_multiple_of(PAGE);
        let (mut start, mut end) = (piece.at, piece.at.saturating_add(len));
        if let Some((&before, &have)) = self.free.range(..start).next_back()
            && before.saturating_add(have) == start
        {
            self.free.remove(&before);
            start = before;
        }
        if let Some(behind) = self.free.remove(&end) {
            end = end.saturating_add(behind);
        }
        self.free.insert(start, end.saturating_sub(start));
    }

    /// The first `len` bytes of a piece from `skip` on, for the queue.
    pub(super) fn buffers(&self, piece: &Piece) -> Result<Buffers, MemoryError> {
        let mut buffers = self.memory.buffers();
        buffers.push(Gpa(piece.at), piece.len)?;
        Ok(buffers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_never_overlap_and_come_together_again() {
        let mut arena = Arena::new().unwrap();
        let pieces: Vec<_> = [512, 4096, 8192, 100].map(|len| arena.lend(len).unwrap()).into();
        assert_eq!(pieces.iter().map(|piece| piece.at).collect::<Vec<_>>(), [0, 4096, 8192, 16384]);
        let rest = SIZE - 5 * PAGE;
        assert!(arena.lend(rest + 1).is_none());
        let all = arena.lend(rest).unwrap();
        assert!(arena.lend(1).is_none());
        // In an order that joins behind, before and on both sides.
        let mut pieces: Vec<_> = pieces.into_iter().chain([all]).map(Some).collect();
        for at in [1, 0, 3, 2, 4] {
            arena.give_back(pieces[at].take().unwrap());
        }
        assert_eq!(arena.free, BTreeMap::from([(0, SIZE)]));
    }
}
