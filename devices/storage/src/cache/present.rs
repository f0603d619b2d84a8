//! Which blocks can be read from the cache's file, as this process knows it.

use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

#[derive(Debug)]
pub(super) struct Present {
    words: Box<[AtomicU64]>,
    count: u64,
    missing: AtomicU64,
}

impl Present {
    /// `count` blocks, of which these bits tell, the lowest bit of the first byte first; what they lack is missing.
    pub(super) fn new(count: u64, bits: &[u8]) -> Present {
        let words = usize::try_from(count.div_ceil(64)).unwrap_or_default();
        let present = Present {
            words: std::iter::repeat_with(AtomicU64::default).take(words).collect(),
            count,
            missing: AtomicU64::new(count),
        };
        for (word, bytes) in present.words.iter().zip(bits.chunks(8)) {
            let mut whole = [0; 8];
            for (to, from) in whole.iter_mut().zip(bytes) {
                *to = *from;
            }
            word.store(u64::from_le_bytes(whole), Ordering::Relaxed);
        }
        // Bits behind the end count for nothing.
        if let (Some(last), 1..) = (present.words.last(), count % 64) {
            last.fetch_and(!(u64::MAX << (count % 64)), Ordering::Relaxed);
        }
        let held: u64 =
            present.words.iter().map(|word| u64::from(word.load(Ordering::Relaxed).count_ones())).sum();
        present.missing.store(count.saturating_sub(held), Ordering::Release);
        present
    }

    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// True: every block is there, for good unless a sync fails.
    pub(super) fn is_complete(&self) -> bool {
        self.missing.load(Ordering::Acquire) == 0
    }

    pub(super) fn has(&self, block: u64) -> bool {
        self.word(block).is_some_and(|word| word.load(Ordering::Acquire) & bit(block) != 0)
    }

    /// True: it was not there before. What its bytes are must have been written by now.
    pub(super) fn set(&self, block: u64) -> bool {
        let new = block < self.count
            && self
                .word(block)
                .is_some_and(|word| word.fetch_or(bit(block), Ordering::AcqRel) & bit(block) == 0);
        if new {
            self.missing.fetch_sub(1, Ordering::AcqRel);
        }
        new
    }

    pub(super) fn clear(&self, block: u64) {
        let held = self
            .word(block)
            .is_some_and(|word| word.fetch_and(!bit(block), Ordering::AcqRel) & bit(block) != 0);
        if held {
            self.missing.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The first missing block of the range.
    pub(super) fn missing(&self, blocks: Range<u64>) -> Option<u64> {
        let end = blocks.end.min(self.count);
        let mut at = blocks.start;
        while at < end {
            let word = self.word(at)?.load(Ordering::Acquire);
            // Blocks before `at` are none of the range's.
            let absent = !word & u64::MAX.checked_shl(u32::try_from(at % 64).unwrap_or_default())?;
            let start = at & !63;
            if absent != 0 {
                let found = start.saturating_add(u64::from(absent.trailing_zeros()));
                return (found < end).then_some(found);
            }
            at = start.saturating_add(64);
        }
        None
    }

    fn word(&self, block: u64) -> Option<&AtomicU64> {
        self.words.get(usize::try_from(block / 64).ok()?)
    }
}

fn bit(block: u64) -> u64 {
    1 << (block % 64)
}

#[cfg(test)]
mod tests {
    use super::Present;

    #[test]
    fn blocks_come_and_go() {
        let present = Present::new(130, &[0b101]);
        assert_eq!((present.has(0), present.has(1), present.has(2)), (true, false, true));
        assert_eq!(
            (present.missing(0..130), present.missing(2..130), present.missing(2..3)),
            (Some(1), Some(3), None)
        );
        assert!(present.set(1) && !present.set(1) && !present.set(130));
        assert_eq!(present.missing(0..u64::MAX), Some(3));
        (3..129).for_each(|block| assert!(present.set(block)));
        assert_eq!((present.missing(0..130), present.missing(0..129)), (Some(129), None));
        assert!(!present.is_complete() && present.set(129) && present.is_complete());
        present.clear(64);
        present.clear(64);
        assert!(!present.is_complete() && present.set(64) && present.is_complete());
    }

    #[test]
    fn bits_behind_the_end_are_nothing() {
        let present = Present::new(3, &[0xff; 40]);
        assert!(present.is_complete() && !present.has(3));
        assert!(Present::new(0, &[]).is_complete());
        assert!(!Present::new(64, &[0xff; 7]).is_complete());
        assert!(Present::new(64, &[0xff; 8]).is_complete());
    }
}
