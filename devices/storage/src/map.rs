//! Where each granule of a volume lives: in the base, in the top, or nowhere because it is zero.
//!
//! Two bits a granule, in chunks of 16,384 granules (64 MiB of disk, one page of bits). A chunk that was never
//! touched is absent, one whose granules are all alike is one word: opening costs nothing whatever the size, and a
//! discard of the whole disk costs little.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

/// Bytes in a granule.
pub(crate) const GRANULE: u64 = 4096;

const WORD: u64 = 32;
const CHUNK: u64 = 16_384;
const WORDS: usize = 512;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Base,
    Top,
    Zero,
}

impl State {
    /// A word whose 32 granules are all in this state.
    fn word(self) -> u64 {
        match self {
            State::Base => 0,
            State::Top => 0x5555_5555_5555_5555,
            State::Zero => 0xaaaa_aaaa_aaaa_aaaa,
        }
    }
}

#[derive(Debug)]
enum Chunk {
    All(State),
    Mixed(Box<[u64; WORDS]>),
}

#[derive(Debug, Default)]
pub(crate) struct Map {
    chunks: BTreeMap<u64, Chunk>,
}

impl Map {
    /// The state of the first granule of `range`, and where in `range` the granules in this state end.
    pub(crate) fn run(&self, range: Range<u64>) -> (State, u64) {
        let (word, _) = self.word_at(range.start);
        let state = match (word >> shift(range.start)) & 3 {
            0 => State::Base,
            1 => State::Top,
            _ => State::Zero,
        };
        let mut at = range.start;
        while at < range.end {
            let (word, end) = self.word_at(at);
            let different = (word ^ state.word()) >> shift(at);
            if different != 0 {
                at = at.saturating_add(u64::from(different.trailing_zeros()) / 2);
                break;
            }
            at = end;
        }
        (state, at.min(range.end))
    }

    /// The word that holds a granule's bits, and the granule up to which this word stands for all that follow.
    fn word_at(&self, granule: u64) -> (u64, u64) {
        let chunk = granule / CHUNK;
        let chunk_end = chunk.saturating_add(1).saturating_mul(CHUNK);
        match self.chunks.get(&chunk) {
            None => (State::Base.word(), chunk_end),
            Some(Chunk::All(state)) => (state.word(), chunk_end),
            Some(Chunk::Mixed(words)) => {
                let word = words.get(index(granule)).copied().unwrap_or_default();
                (word, (granule / WORD).saturating_add(1).saturating_mul(WORD))
            }
        }
    }

    pub(crate) fn set(&mut self, range: Range<u64>, state: State) {
        let mut at = range.start;
        while at < range.end {
            let chunk = at / CHUNK;
            let start = chunk.saturating_mul(CHUNK);
            let end = start.saturating_add(CHUNK).min(range.end);
            if at == start && end == start.saturating_add(CHUNK) {
                self.chunks.insert(chunk, Chunk::All(state));
            } else {
                self.set_in_chunk(chunk, at..end, state);
            }
            at = end;
        }
    }

    fn set_in_chunk(&mut self, chunk: u64, range: Range<u64>, state: State) {
        let held = match self.chunks.entry(chunk) {
            Entry::Occupied(held) => held.into_mut(),
            Entry::Vacant(free) => free.insert(Chunk::All(State::Base)),
        };
        if let Chunk::All(all) = held {
            if *all == state {
                return;
            }
            *held = Chunk::Mixed(Box::new([all.word(); WORDS]));
        }
        let Chunk::Mixed(words) = held else { return };
        let mut at = range.start;
        while at < range.end {
            let end = (at / WORD).saturating_add(1).saturating_mul(WORD).min(range.end);
            // The bits of [at, end) within their word; `end` may be the first granule of the next word.
            let above = if end.is_multiple_of(WORD) { 0 } else { u64::MAX << shift(end) };
            let mask = (u64::MAX << shift(at)) & !above;
            if let Some(word) = words.get_mut(index(at)) {
                *word = (*word & !mask) | (state.word() & mask);
            }
            at = end;
        }
    }
}

/// Where in its word a granule's two bits are.
fn shift(granule: u64) -> u64 {
    (granule % WORD) << 1
}

/// Which word of its chunk holds a granule.
fn index(granule: u64) -> usize {
    usize::try_from(granule % CHUNK / WORD).unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "the test's own small numbers")]
mod tests {
    use super::{CHUNK, Map, State};

    /// Reads a map back run by run.
    fn runs(map: &Map, end: u64) -> Vec<(State, u64)> {
        let (mut at, mut runs) = (0, Vec::new());
        while at < end {
            let (state, to) = map.run(at..end);
            assert!(to > at, "a run has at least one granule");
            runs.push((state, to));
            at = to;
        }
        runs
    }

    #[test]
    fn an_untouched_map_is_one_run_of_base() {
        let map = Map::default();
        assert_eq!(map.run(0..CHUNK), (State::Base, CHUNK));
        assert_eq!(map.run(7..8), (State::Base, 8));
        assert_eq!(runs(&map, 1 << 34).len(), 1, "64 TiB");
        assert!(map.chunks.is_empty());
    }

    #[test]
    fn runs_cross_words_and_chunks() {
        let mut map = Map::default();
        map.set(31..33, State::Top);
        map.set(CHUNK - 1..3 * CHUNK + 5, State::Zero);
        let wanted = [
            (State::Base, 31),
            (State::Top, 33),
            (State::Base, CHUNK - 1),
            (State::Zero, 3 * CHUNK + 5),
            (State::Base, 4 * CHUNK),
        ];
        assert_eq!(runs(&map, 4 * CHUNK), wanted);
        map.set(2 * CHUNK + 32..2 * CHUNK + 64, State::Top);
        assert_eq!(map.run(2 * CHUNK..4 * CHUNK), (State::Zero, 2 * CHUNK + 32));
        assert_eq!(map.run(2 * CHUNK + 40..4 * CHUNK), (State::Top, 2 * CHUNK + 64));
    }

    #[test]
    fn a_discard_of_the_whole_disk_holds_no_bits() {
        let mut map = Map::default();
        map.set(3..50, State::Top);
        map.set(0..1 << 24, State::Zero);
        assert_eq!(runs(&map, 1 << 24), [(State::Zero, 1 << 24)]);
        assert!(map.chunks.values().all(|chunk| matches!(chunk, super::Chunk::All(_))));
    }

    #[test]
    fn it_agrees_with_a_plain_list() {
        let size = 2 * CHUNK + 100;
        let (mut map, mut plain) = (Map::default(), vec![State::Base; size as usize]);
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for _ in 0..500 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let start = seed % size;
            let end = (start + (seed >> 32) % [3, 70, CHUNK][(seed >> 20) as usize % 3]).min(size);
            let state = if seed >> 63 == 0 { State::Top } else { State::Zero };
            map.set(start..end, state);
            plain[start as usize..end as usize].fill(state);
        }
        let mut back = Vec::new();
        for (state, end) in runs(&map, size) {
            back.resize(end as usize, state);
        }
        assert!(back == plain);
    }
}
