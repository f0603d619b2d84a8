//! What may be in each sector of the volume: rounds of writes and discards, each begun and perhaps flushed at a known
//! time. A sector holds the round that wrote it and its own number.

use std::collections::BTreeMap;

pub(super) const SECTOR: usize = 512;

/// What a round does to a sector.
#[derive(Clone, Copy)]
pub(super) enum Change {
    Written,
    /// What was there, or zeroes.
    Discarded,
}

#[derive(Default)]
pub(super) struct Oracle {
    /// What each round did to a sector, in order.
    changes: BTreeMap<usize, Vec<(u32, Change)>>,
}

/// How far the rounds were at the moment of the cut.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The guest was told that everything up to this round is flushed.
    pub(super) flushed: u32,
    /// No later round had begun.
    pub(super) begun: u32,
}

/// What is in a sector that a round wrote, twice. Round 0 is what was there at first.
pub(super) fn content(round: u32, sector: usize) -> Vec<u8> {
    format!("{:<255}\n", format!("{round} {sector}")).repeat(2).into_bytes()
}

impl Oracle {
    pub(super) fn note(&mut self, round: u32, sectors: std::ops::Range<usize>, change: Change) {
        for sector in sectors {
            self.changes.entry(sector).or_default().push((round, change));
        }
    }

    /// Compares a volume with what may be in it; `first` is what was in it at first. None: all is well.
    pub(super) fn judge(&self, found: &[u8], first: &[u8], progress: Progress) -> Option<String> {
        if found.len() != first.len() {
            return Some(format!("{} bytes, and not {}", found.len(), first.len()));
        }
        let pairs = found.chunks(SECTOR).zip(first.chunks(SECTOR)).enumerate();
        let wrong = |(sector, (found, first))| self.judge_sector(sector, found, first, progress);
        let mut wrong = pairs.filter_map(wrong);
        let one = wrong.next()?;
        Some(format!("{one}; and {} other sectors", wrong.count()))
    }

    fn judge_sector(&self, sector: usize, found: &[u8], first: &[u8], progress: Progress) -> Option<String> {
        let none = Vec::new();
        let changes = self.changes.get(&sector).unwrap_or(&none);
        let (mut old, mut zero, mut rounds) = (true, false, Vec::new());
        for (round, change) in changes.iter().filter(|(round, _)| *round <= progress.begun) {
            match change {
                Change::Written if *round <= progress.flushed => {
                    (old, zero, rounds) = (false, false, vec![*round]);
                }
                Change::Written => rounds.push(*round),
                Change::Discarded => zero = true,
            }
        }
        let is_zero = || found.iter().all(|byte| *byte == 0);
        let well = old && found == first
            || zero && is_zero()
            || rounds.iter().any(|round| found == content(*round, sector));
        if well {
            return None;
        }
        let there = if is_zero() {
            "zeroes".to_owned()
        } else {
            format!("{:?}", String::from_utf8_lossy(&found[..24]).trim_end())
        };
        Some(format!(
            "sector {sector} has {there}; rounds {rounds:?}{}{} may be in it",
            if old { ", what was there at first" } else { "" },
            if zero { ", zeroes" } else { "" }
        ))
    }
}

#[test]
fn the_oracle_tells_lost_and_mixed_sectors_from_old_and_new_ones() {
    let first = content(0, 0);
    let mut oracle = Oracle::default();
    oracle.note(1, 0..1, Change::Written);
    oracle.note(2, 0..1, Change::Discarded);
    oracle.note(3, 0..1, Change::Written);
    let zero = vec![0; SECTOR];
    let well =
        |found: &[u8], flushed, begun| oracle.judge(found, &first, Progress { flushed, begun }).is_none();
    let mixed = [&content(1, 0)[..256], &content(3, 0)[256..]].concat();
    for (flushed, begun, allowed) in [
        (0, 0, [true, false, false, false]),
        (0, 1, [true, true, false, false]),
        (1, 1, [false, true, false, false]),
        (1, 2, [false, true, true, false]),
        (2, 3, [false, true, true, true]),
        (3, 3, [false, false, false, true]),
    ] {
        let contents = [&first, &content(1, 0), &zero, &content(3, 0)];
        assert_eq!(contents.map(|found| well(found, flushed, begun)), allowed, "{flushed} {begun}");
        assert!(!well(&mixed, flushed, begun) && !well(&content(1, 1), flushed, begun));
    }
}
