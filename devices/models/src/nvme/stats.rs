//! What a volume has done for its guest, as EC2 reports it in log page 0xd0 and NVMe in the health log.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Latencies by powers of two: below 1 µs, below 2, below 4 and so on; the last holds all above, too.
const BINS: usize = 25;
const MAGIC: u32 = 0x3c23_b510;
/// Offsets in log page 0xd0 (amazon-ec2-utils: ebsnvme).
const READ_HISTOGRAM: usize = 512;
const WRITE_HISTOGRAM: usize = 2056;
const BIN: usize = 24;
const QUEUE_LENGTH: usize = 88;

#[derive(Debug, Default)]
pub(super) struct Counters {
    pub(super) reads: Direction,
    pub(super) writes: Direction,
    /// Commands at work now.
    pub(super) in_flight: AtomicU64,
}

#[derive(Debug, Default)]
pub(super) struct Direction {
    operations: AtomicU64,
    bytes: AtomicU64,
    micros: AtomicU64,
    bins: [AtomicU64; BINS],
}

impl Direction {
    pub(super) fn count(&self, bytes: u64, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.operations.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.micros.fetch_add(micros, Ordering::Relaxed);
        let bin = usize::try_from(64u32.saturating_sub(micros.leading_zeros())).unwrap_or(BINS);
        if let Some(count) = self.bins.get(bin.min(BINS - 1)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn operations(&self) -> u64 {
        self.operations.load(Ordering::Relaxed)
    }

    pub(super) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    fn put_histogram(&self, page: &mut [u8], at: usize) {
        put(page, at, &(BINS as u64).to_le_bytes());
        let mut low = 0u64;
        for (place, count) in (at.saturating_add(8)..).step_by(BIN).zip(&self.bins) {
            let high = low.saturating_mul(2).max(1);
            let count = u32::try_from(count.load(Ordering::Relaxed)).unwrap_or(u32::MAX);
            put(page, place, &low.to_le_bytes());
            put(page, place.saturating_add(8), &high.to_le_bytes());
            put(page, place.saturating_add(16), &count.to_le_bytes());
            low = high;
        }
    }
}

impl Counters {
    /// Log page 0xd0. This volume has no limits that it could exceed, so those times are zero.
    pub(super) fn ebs_page(&self) -> Vec<u8> {
        let mut page = vec![0; 4096];
        put(&mut page, 0, &MAGIC.to_le_bytes());
        let pair = |of: fn(&Direction) -> &AtomicU64| [of(&self.reads), of(&self.writes)];
        let totals = [pair(|of| &of.operations), pair(|of| &of.bytes), pair(|of| &of.micros)];
        for (at, total) in (8..).step_by(8).zip(totals.into_iter().flatten()) {
            put(&mut page, at, &total.load(Ordering::Relaxed).to_le_bytes());
        }
        put(&mut page, QUEUE_LENGTH, &self.in_flight.load(Ordering::Relaxed).to_le_bytes());
        self.reads.put_histogram(&mut page, READ_HISTOGRAM);
        self.writes.put_histogram(&mut page, WRITE_HISTOGRAM);
        page
    }
}

/// Copies `bytes` into the page at `at`.
pub(super) fn put(page: &mut [u8], at: usize, bytes: &[u8]) {
    page.iter_mut().skip(at).zip(bytes).for_each(|(to, from)| *to = *from);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn number(page: &[u8], at: usize) -> u64 {
        u64::from_le_bytes(page[at..at + 8].try_into().unwrap())
    }

    #[test]
    fn the_page_holds_counters_and_histograms_at_ec2_s_offsets() {
        let counters = Counters::default();
        counters.reads.count(4096, Duration::from_micros(3));
        counters.reads.count(512, Duration::ZERO);
        counters.writes.count(1024, Duration::from_secs(3600));
        counters.in_flight.store(7, Ordering::Relaxed);
        let page = counters.ebs_page();
        assert_eq!(page[..4], 0x3c23_b510u32.to_le_bytes());
        let totals: Vec<u64> = (8..96).step_by(8).map(|at| number(&page, at)).collect();
        assert_eq!(totals, [2, 1, 4608, 1024, 3, 3_600_000_000, 0, 0, 0, 0, 7]);
        assert_eq!((number(&page, 512), number(&page, 2056)), (25, 25));
        let bin = |at: usize, i: usize| {
            let at = at + 8 + i * 24;
            (number(&page, at), number(&page, at + 8), number(&page, at + 16))
        };
        assert_eq!((bin(512, 0), bin(512, 1), bin(512, 2)), ((0, 1, 1), (1, 2, 0), (2, 4, 1)));
        assert_eq!(bin(2056, 24), (1 << 23, 1 << 24, 1));
    }
}
