//! Where each granule of a volume lives: in the base, in the top, or nowhere because it is zero.
//!
//! Two bits a granule, in chunks of 1,920 granules (7.5 MiB of disk), one for each sector of the map on disk. A chunk
//! that was never touched is absent, one whose granules are all alike is one word: opening costs nothing whatever the
//! size, and a discard of the whole disk costs little. What was on disk at the start is read page by page when
//! somebody asks for it.

use crate::ranges::Ranges;
use crate::top::layout::{PAGE_SECTORS, SECTOR_GRANULES, page_of};
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

const WORD: u64 = 32;
const CHUNK: u64 = SECTOR_GRANULES;
/// Words of a chunk.
pub(crate) const WORDS: usize = 60;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    Base,
    Top,
    Zero,
    /// The map on disk is damaged here.
    Lost,
}

impl State {
    /// A word whose 32 granules are all in this state.
    const fn word(self) -> u64 {
        match self {
            State::Base => 0,
            State::Top => 0x5555_5555_5555_5555,
            State::Zero => 0xaaaa_aaaa_aaaa_aaaa,
            State::Lost => u64::MAX,
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
    /// Pages on disk that were not read yet.
    unread: Ranges,
    /// Chunks that were changed since [`Map::take_changed`].
    changed: Ranges,
}

impl Map {
    /// A map of which some pages are on disk.
    pub(crate) fn stored(unread: Ranges) -> Map {
        Map { unread, ..Map::default() }
    }

    /// The first page that must be read before these granules can be asked for.
    pub(crate) fn unread_page(&self, granules: &Range<u64>) -> Option<u64> {
        if self.unread.is_empty() || granules.is_empty() {
            return None;
        }
        self.unread
            .first_in(&(page_of(granules.start)..page_of(granules.end.saturating_sub(1)).saturating_add(1)))
    }

    /// Takes a page that was read: the words of each of its sectors, None for one that is damaged.
    pub(crate) fn load(&mut self, page: u64, sectors: impl Iterator<Item = Option<[u64; WORDS]>>) {
        let first = page.saturating_mul(PAGE_SECTORS);
        for (number, words) in (first..).zip(sectors) {
            let chunk = match words {
                Some(words) if words.iter().all(|word| *word == 0) => continue,
                Some(words) => Chunk::Mixed(Box::new(words)),
                None => Chunk::All(State::Lost),
            };
            self.chunks.insert(number, chunk);
        }
        self.unread.remove(&(page..page.saturating_add(1)));
    }

    /// The state of the first granule of `range`, and where in `range` the granules in this state end.
    pub(crate) fn run(&self, range: Range<u64>) -> (State, u64) {
        let (word, _) = self.word_at(range.start);
        let state = match (word >> shift(range.start)) & 3 {
            0 => State::Base,
            1 => State::Top,
            2 => State::Zero,
            _ => State::Lost,
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
        self.changed.insert(range.start / CHUNK..range.end.div_ceil(CHUNK));
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

    pub(crate) fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// The numbers of the chunks that were changed since the last call.
    pub(crate) fn take_changed(&mut self) -> Vec<u64> {
        let mut all = Vec::new();
        while let Some(range) = self.changed.take_first(u64::MAX) {
            all.extend(range);
        }
        all
    }

    /// This one is not on disk after all.
    pub(crate) fn changed_again(&mut self, chunk: u64) {
        self.changed.insert(chunk..chunk.saturating_add(1));
    }

    /// A copy of a chunk's words.
    pub(crate) fn words(&self, chunk: u64) -> [u64; WORDS] {
        match self.chunks.get(&chunk) {
            None => [State::Base.word(); WORDS],
            Some(Chunk::All(state)) => [state.word(); WORDS],
            Some(Chunk::Mixed(words)) => **words,
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
    use super::{CHUNK, Map, State, WORDS};
    use crate::ranges::Ranges;
    use crate::top::layout::PAGE_SECTORS;

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
        map.set(0..CHUNK << 13, State::Zero);
        assert_eq!(runs(&map, CHUNK << 13), [(State::Zero, CHUNK << 13)]);
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

    #[test]
    fn pages_on_disk_are_asked_for_and_read_once() {
        let mut unread = Ranges::default();
        unread.insert(1..3);
        let mut map = Map::stored(unread);
        let page = CHUNK * PAGE_SECTORS;
        assert_eq!(map.unread_page(&(0..page)), None);
        assert_eq!(map.unread_page(&(page - 1..page + 1)), Some(1));
        let sectors = [None, Some([State::Zero.word(); WORDS]), Some([0; WORDS])];
        map.load(1, sectors.into_iter());
        assert_eq!(map.unread_page(&(0..10 * page)), Some(2));
        assert_eq!(map.unread_page(&(page..2 * page)), None);
        assert_eq!(map.run(page..2 * page), (State::Lost, page + CHUNK));
        assert_eq!(map.run(page + CHUNK..2 * page), (State::Zero, page + 2 * CHUNK));
        assert!(!map.has_changed());
        map.set(page + CHUNK..page + CHUNK + 1, State::Top);
        assert_eq!(map.take_changed(), [9]);
        assert_eq!(map.words(9)[0], State::Zero.word() & !3 | 1);
    }
}
