//! The shape of a queue in guest memory (NVMe 1.4, section 4.1), and a doorbell's shadow there (B.5).

use super::spec::{PAGE, Status};
use ami_run_memory::{Gpa, Memory};
use std::sync::atomic::{Ordering, fence};

/// So many entries, one after the other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ring {
    base: u64,
    size: u16,
    entry: u64,
}

impl Ring {
    /// A ring of `size` entries of `entry` bytes, if all of it lies in guest memory.
    pub(super) fn new(memory: &Memory, base: u64, size: u16, entry: u64) -> Result<Ring, Status> {
        if !base.is_multiple_of(PAGE) {
            return Err(Status::INVALID_PRP_OFFSET);
        }
        let len = u64::from(size).saturating_mul(entry);
        memory.buffers().push(Gpa(base), len).map_err(|_| Status::INVALID_FIELD)?;
        Ok(Ring { base, size, entry })
    }

    pub(super) fn size(&self) -> u16 {
        self.size
    }

    pub(super) fn at(&self, index: u16) -> Gpa {
        Gpa(self.base.saturating_add(u64::from(index).saturating_mul(self.entry)))
    }

    pub(super) fn next(&self, index: u16) -> u16 {
        let next = index.wrapping_add(1);
        if next >= self.size { 0 } else { next }
    }

    /// How many entries lie from `from` to `to`, both in the ring.
    pub(super) fn distance(&self, from: u16, to: u16) -> u16 {
        let straight = to.wrapping_sub(from);
        if to >= from { straight } else { straight.wrapping_add(self.size) }
    }

    /// A doorbell's value, if it lies in the ring.
    pub(super) fn index(&self, value: u32) -> Option<u16> {
        u16::try_from(value).ok().filter(|index| *index < self.size)
    }
}

/// A doorbell in guest memory, and the place that says when the driver must ring the real one all the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shadow {
    doorbell: Gpa,
    event: Gpa,
}

/// Which of a queue's two doorbells.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Side {
    Tail,
    Head,
}

/// The two pages of Doorbell Buffer Config (5.7).
#[derive(Clone, Copy, Debug)]
pub(super) struct ShadowPages {
    doorbells: u64,
    events: u64,
}

impl ShadowPages {
    /// Both are whole pages of guest memory.
    pub(super) fn new(memory: &Memory, doorbells: u64, events: u64) -> Result<ShadowPages, Status> {
        for page in [doorbells, events] {
            if !page.is_multiple_of(PAGE) {
                return Err(Status::INVALID_FIELD);
            }
            memory.buffers().push(Gpa(page), PAGE).map_err(|_| Status::INVALID_FIELD)?;
        }
        Ok(ShadowPages { doorbells, events })
    }

    /// The places of one doorbell of queue `id`.
    pub(super) fn of(&self, id: u16, side: Side) -> Shadow {
        let offset = u64::from(id) << 3 | if side == Side::Head { 4 } else { 0 };
        Shadow {
            doorbell: Gpa(self.doorbells.saturating_add(offset)),
            event: Gpa(self.events.saturating_add(offset)),
        }
    }
}

// Both places were checked to be memory; should they not be, the doorbell never moves.
impl Shadow {
    pub(super) fn load(&self, memory: &Memory) -> Option<u32> {
        memory.load_u32(self.doorbell).ok()
    }

    /// Makes the shadow agree with what the real doorbell said last.
    pub(super) fn seed(&self, memory: &Memory, value: u16) {
        store(memory, self.doorbell, value);
    }

    /// Asks the driver to ring when it passes `value`. What it does from now on is either seen by a look at the
    /// doorbell after this, or rings: its own fence stands between the two on the other side.
    pub(super) fn set_event(&self, memory: &Memory, value: u16) {
        store(memory, self.event, value);
        fence(Ordering::SeqCst);
    }
}

fn store(memory: &Memory, at: Gpa, value: u16) {
    if let Err(cause) = memory.store_u32(at, u32::from(value)) {
        log::debug!("a shadow doorbell is lost: {cause}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ami_run_memory::Range;

    #[test]
    fn a_ring_lies_in_memory_and_counts_round_its_end() {
        let memory = Memory::new(&[Range::new(0, 0x4000)]).unwrap();
        let ring = Ring::new(&memory, 0x3000, 64, 64).unwrap();
        assert_eq!((ring.next(62), ring.next(63)), (63, 0));
        assert_eq!((ring.distance(60, 3), ring.distance(3, 60), ring.distance(5, 5)), (7, 57, 0));
        assert_eq!((ring.index(63), ring.index(64), ring.index(0x1_0000)), (Some(63), None, None));
        assert_eq!(ring.at(2), Gpa(0x3080));
        assert_eq!(Ring::new(&memory, 0x3000, 65, 64).unwrap_err(), Status::INVALID_FIELD);
        assert_eq!(Ring::new(&memory, 0x3008, 2, 64).unwrap_err(), Status::INVALID_PRP_OFFSET);
        assert_eq!(Ring::new(&memory, u64::MAX - 4095, 2, 64).unwrap_err(), Status::INVALID_FIELD);
    }
}
