//! Features (NVMe 1.4, section 5.21): plain data. None is saved over a reset.

use super::spec::{Status, feature, halves};

/// I/O queues of each kind.
pub(super) const MAX_QUEUES: u16 = 16;
/// One for each of them, and one for the admin queue.
pub(super) const VECTORS: u16 = MAX_QUEUES + 1;

/// The write cache is on.
const CACHE_ON: u32 = 1;
const COALESCING_OFF: u32 = 1 << 16;
/// In kelvin: where the over-temperature threshold stands at first.
const WARM: u32 = 343;

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Features {
    arbitration: u32,
    /// Over and under.
    temperatures: [u32; 2],
    error_recovery: u32,
    write_cache: u32,
    coalescing: u32,
    vectors: [u32; VECTORS as usize],
    atomicity: u32,
    pub(super) events: u32,
}

impl Default for Features {
    fn default() -> Features {
        let mut vectors = [0; VECTORS as usize];
        for (number, config) in (0u32..).zip(&mut vectors) {
            // The admin queue's interrupts are never coalesced.
            *config = if number == 0 { COALESCING_OFF } else { number };
        }
        Features {
            arbitration: 5,
            temperatures: [WARM, 0],
            error_recovery: 0,
            write_cache: CACHE_ON,
            coalescing: 0,
            vectors,
            atomicity: 0,
            events: 0,
        }
    }
}

impl Features {
    pub(super) fn write_through(&self) -> bool {
        self.write_cache & CACHE_ON == 0
    }

    /// The feature's value; `selector` is dword 11.
    pub(super) fn get(&mut self, id: u8, selector: u32) -> Result<u32, Status> {
        match id {
            feature::POWER_MANAGEMENT => Ok(0),
            feature::NUMBER_OF_QUEUES => Ok(queues()),
            _ => self.place(id, selector).map(|value| *value),
        }
    }

    /// Sets the feature; gives dword 0 of the answer.
    pub(super) fn set(&mut self, id: u8, value: u32) -> Result<u32, Status> {
        match id {
            // There is one power state.
            feature::POWER_MANAGEMENT if value & 0x1f == 0 => return Ok(0),
            feature::POWER_MANAGEMENT => return Err(Status::INVALID_FIELD),
            feature::NUMBER_OF_QUEUES => {
                let (submissions, completions) = halves(value);
                let wrong = submissions == u16::MAX || completions == u16::MAX;
                return if wrong { Err(Status::INVALID_FIELD) } else { Ok(queues()) };
            }
            _ => (),
        }
        let mask = match id {
            feature::WRITE_CACHE | feature::WRITE_ATOMICITY => 1,
            feature::TEMPERATURE_THRESHOLD | feature::INTERRUPT_COALESCING => 0xffff,
            feature::INTERRUPT_VECTOR => 0x1_ffff,
            _ => u32::MAX,
        };
        *self.place(id, value)? = value & mask;
        Ok(0)
    }

    fn place(&mut self, id: u8, selector: u32) -> Result<&mut u32, Status> {
        match id {
            feature::ARBITRATION => Ok(&mut self.arbitration),
            feature::TEMPERATURE_THRESHOLD => {
                // One sensor, the composite; over or under.
                let (sensor, kind) = (selector >> 16 & 0xf, selector >> 20 & 3);
                let place = usize::try_from(kind).ok().and_then(|kind| self.temperatures.get_mut(kind));
                place.filter(|_| sensor == 0 || sensor == 0xf).ok_or(Status::INVALID_FIELD)
            }
            feature::ERROR_RECOVERY => Ok(&mut self.error_recovery),
            feature::WRITE_CACHE => Ok(&mut self.write_cache),
            feature::INTERRUPT_COALESCING => Ok(&mut self.coalescing),
            feature::INTERRUPT_VECTOR => {
                let (vector, _) = halves(selector);
                self.vectors.get_mut(usize::from(vector)).ok_or(Status::INVALID_FIELD)
            }
            feature::WRITE_ATOMICITY => Ok(&mut self.atomicity),
            feature::ASYNC_EVENTS => Ok(&mut self.events),
            _ => Err(Status::INVALID_FIELD),
        }
    }
}

/// How many queues there are, 0-based, of both kinds.
fn queues() -> u32 {
    let last = u32::from(MAX_QUEUES.saturating_sub(1));
    last << 16 | last
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_set_is_read_back_and_a_new_driver_finds_the_defaults() {
        let mut features = Features::default();
        for (id, value, back) in [(1, 7, 7), (4, 300, 300), (5, 9, 9), (6, 0, 0), (8, 0x105, 0x105)] {
            assert_eq!(features.set(id, value), Ok(0));
            assert_eq!(features.get(id, 0), Ok(back), "{id}");
        }
        assert!(features.write_through());
        assert_eq!(features.set(9, 0x1_0003), Ok(0));
        assert_eq!((features.get(9, 3), features.get(9, 4)), (Ok(0x1_0003), Ok(4)));
        assert_eq!(features.set(7, 0x003f_003f), Ok(0x000f_000f));
        assert_eq!(features.get(7, 0), Ok(0x000f_000f));
        assert_eq!((features.set(2, 0), features.set(2, 1)), (Ok(0), Err(Status::INVALID_FIELD)));
        assert!(!Features::default().write_through());
    }

    #[test]
    fn what_is_not_there_is_refused() {
        let mut features = Features::default();
        for (id, value) in [(0, 0), (3, 0), (0x0c, 0), (0x10, 0), (0x80, 0), (0xff, 0), (7, 0xffff), (9, 17)]
        {
            assert_eq!(features.set(id, value), Err(Status::INVALID_FIELD), "{id:#x}");
        }
        assert_eq!(features.get(9, 0xffff), Err(Status::INVALID_FIELD));
        assert_eq!(features.get(4, 0x0001_0000), Err(Status::INVALID_FIELD));
        assert_eq!(features.get(4, 0x0030_0000), Err(Status::INVALID_FIELD));
    }
}
