//! What is known of a volume's bytes without reading them.

use super::reply::{Known, Run};
use crate::{Status, Volume};

/// Granules whose state differs, but not what is known of them, cost a step each.
const STEPS: usize = 16;

/// The runs from `offset` on, `most` of them at most; together they may be shorter than `len`. The range is in the
/// volume. At least one run, if `len` is not 0.
pub(super) fn runs(volume: &Volume, offset: u64, len: u32, most: usize) -> Vec<Run> {
    let end = offset.saturating_add(len.into());
    let (mut at, mut runs) = (offset, Vec::<Run>::new());
    for _ in 0..most.saturating_mul(STEPS) {
        if at >= end {
            break;
        }
        let (known, to) = run(volume, at, end);
        let len = u32::try_from(to.saturating_sub(at)).unwrap_or(u32::MAX);
        let count = runs.len();
        match runs.last_mut() {
            Some(last) if last.known == known => last.len = last.len.saturating_add(len),
            _ if count == most => break,
            _ => runs.push(Run { len, known }),
        }
        at = to;
    }
    runs
}

/// What is known of the byte at `at`, and where before `end` something else begins.
fn run(volume: &Volume, at: u64, end: u64) -> (Known, u64) {
    match volume.status(at..end) {
        (Status::Zeroes, to) => (Known::Zero, to),
        (Status::Data, to) => (Known::Data, to),
    }
}
