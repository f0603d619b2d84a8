//! Disjoint ranges of numbers; neighbours are one range.

use std::collections::BTreeMap;
use std::ops::Range;

#[derive(Clone, Debug, Default)]
pub(crate) struct Ranges {
    /// Where each range starts, and where it ends.
    starts: BTreeMap<u64, u64>,
}

impl Ranges {
    pub(crate) fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The last range that starts before `end`.
    fn last_before(&self, end: u64) -> Option<Range<u64>> {
        self.starts.range(..end).next_back().map(|(start, end)| *start..*end)
    }

    pub(crate) fn insert(&mut self, range: Range<u64>) {
        if range.is_empty() {
            return;
        }
        let Range { mut start, mut end } = range;
        while let Some(other) = self.last_before(end.saturating_add(1)).filter(|other| other.end >= start) {
            self.starts.remove(&other.start);
            start = start.min(other.start);
            end = end.max(other.end);
        }
        self.starts.insert(start, end);
    }

    pub(crate) fn remove(&mut self, range: &Range<u64>) {
        if range.is_empty() {
            return;
        }
        while let Some(other) = self.last_before(range.end).filter(|other| other.end > range.start) {
            self.starts.remove(&other.start);
            if other.start < range.start {
                self.starts.insert(other.start, range.start);
            }
            if other.end > range.end {
                self.starts.insert(range.end, other.end);
            }
        }
    }

    pub(crate) fn overlaps(&self, range: &Range<u64>) -> bool {
        !range.is_empty() && self.last_before(range.end).is_some_and(|other| other.end > range.start)
    }

    /// The first number in `range` that is here.
    pub(crate) fn first_in(&self, range: &Range<u64>) -> Option<u64> {
        let inside = self.last_before(range.start.saturating_add(1)).filter(|other| other.end > range.start);
        match inside {
            Some(_) if range.is_empty() => None,
            Some(_) => Some(range.start),
            None => self.starts.range(range.clone()).next().map(|(start, _)| *start),
        }
    }

    /// Takes out the first `most` numbers of the first range, or all that it has.
    pub(crate) fn take_first(&mut self, most: u64) -> Option<Range<u64>> {
        let (start, end) = self.starts.pop_first()?;
        let cut = start.saturating_add(most).min(end);
        self.insert(cut..end);
        Some(start..cut)
    }

    /// Moves everything of `other` here.
    pub(crate) fn append(&mut self, other: &mut Ranges) {
        for (start, end) in std::mem::take(&mut other.starts) {
            self.insert(start..end);
        }
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "the test's own small numbers")]
mod tests {
    use super::Ranges;

    #[test]
    fn it_agrees_with_a_plain_list() {
        let (mut ranges, mut plain) = (Ranges::default(), [false; 64]);
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for step in 0..20_000 {
            seed ^= seed << 13;
            seed ^= seed >> 7;
            seed ^= seed << 17;
            let start = seed >> 58;
            let end = (start + ((seed >> 20) & 15)).min(64);
            let place = start as usize..end as usize;
            if seed & 1 == 0 {
                ranges.insert(start..end);
                plain[place.clone()].fill(true);
            } else {
                ranges.remove(&(start..end));
                plain[place.clone()].fill(false);
            }
            let probe = (seed >> 40) & 63;
            let window = probe..(probe + 9).min(64);
            let first = window.clone().find(|at| plain[*at as usize]);
            assert_eq!(ranges.first_in(&window), first, "step {step}");
            assert_eq!(ranges.overlaps(&window), first.is_some(), "step {step}");
            let merged: Vec<_> = ranges.starts.iter().collect();
            assert!(merged.windows(2).all(|pair| pair[0].1 < pair[1].0), "{merged:?}");
        }
        let mut back = [false; 64];
        while let Some(range) = ranges.take_first(3) {
            back[range.start as usize..range.end as usize].fill(true);
        }
        assert_eq!(back, plain);
    }
}
