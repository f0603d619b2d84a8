//! When a guest has been silent for so long that it is to be explained. Pure: times and words in, a verdict out.
//!
//! The firmware's own words are no sign of a guest, and put the time off only until the first reset: one that starts
//! over and over is silent, too, while one that has spoken has its time again when it starts anew. Nor are a boot
//! loader's words a sign of its kernel, once there are signs of that.

use crate::explain::{Said, Word};
use ami_run_machine::Reached;
use std::time::{Duration, Instant};

/// After the firmware has said that it can start nothing. Its shell waits five seconds for a script before.
const LAST_WORD: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub(super) struct Silence {
    patience: Duration,
    /// None: it has not begun, or is over.
    due: Option<Instant>,
    was_reset: bool,
    /// It is over because the guest gave a sign of life.
    lives: bool,
}

impl Silence {
    /// No time at all is for ever.
    pub(super) fn new(patience: Duration) -> Silence {
        Silence { patience, due: None, was_reset: false, lives: false }
    }

    /// The machine runs.
    pub(super) fn begin(&mut self, now: Instant) {
        if !self.patience.is_zero() {
            self.due = Some(now + self.patience);
        }
    }

    /// Something was said.
    pub(super) fn heard(&mut self, said: &Said, now: Instant) {
        if self.due.is_none() || self.was_reset {
            return;
        }
        let patience = if said.is_the_end() { self.patience.min(LAST_WORD) } else { self.patience };
        self.due = Some(now + patience);
    }

    pub(super) fn was_reset(&mut self, now: Instant) {
        self.was_reset = !std::mem::take(&mut self.lives);
        if !self.was_reset {
            self.begin(now);
        }
    }

    /// The guest has shown that it runs: there is nothing to explain until it is reset.
    pub(super) fn is_alive(&mut self) {
        (self.due, self.lives) = (None, true);
    }

    /// Nobody asks any more.
    pub(super) fn give_up(&mut self) {
        self.due = None;
    }

    /// When to call [`Silence::is_hang`] next.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Whether it is to be explained now, which is so only once.
    pub(super) fn is_hang(&mut self, said: &Said, reached: &Reached, now: Instant) -> bool {
        if self.due.is_none_or(|due| now < due) {
            return false;
        }
        self.due = match (said.others, reached.kernel()) {
            (_, Some(_)) if said.is_guest(reached) => {
                self.is_alive();
                None
            }
            (_, Some(kernel)) if now < kernel + self.patience => Some(kernel + self.patience),
            // A loader, or a guest of which there are no other signs.
            (Some(_), None) => Some(now + self.patience),
            _ => {
                self.due = None;
                return true;
            }
        };
        false
    }
}

impl Said {
    /// The firmware has given up.
    fn is_the_end(&self) -> bool {
        self.others.is_none() && matches!(self.firmware, Some(Word::Nothing(_) | Word::Shell))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ami_run_machine::Stage;

    const MINUTE: Duration = Duration::from_secs(60);

    struct Bed {
        start: Instant,
        silence: Silence,
        said: Said,
        reached: Reached,
    }

    impl Bed {
        fn new() -> Bed {
            let start = Instant::now();
            let mut silence = Silence::new(MINUTE);
            silence.begin(start);
            Bed { start, silence, said: Said::default(), reached: Reached::nothing(start) }
        }

        fn at(&self, seconds: u64) -> Instant {
            self.start + Duration::from_secs(seconds)
        }

        fn firmware(&mut self, seconds: u64, word: Word) {
            self.said.firmware = Some(word);
            self.silence.heard(&self.said, self.at(seconds));
        }

        fn others(&mut self, seconds: u64) {
            self.said.others = Some(self.at(seconds));
            self.silence.heard(&self.said, self.at(seconds));
        }

        fn kernel(&mut self, seconds: u64) {
            self.reached = self.reached.with(Stage::PowerManaged, self.at(seconds));
        }

        /// When it is explained, if it is within an hour.
        fn explained(&mut self) -> Option<u64> {
            (0..3600).find(|seconds| self.silence.is_hang(&self.said, &self.reached, self.at(*seconds)))
        }
    }

    #[test]
    fn silence_is_explained_once() {
        let mut bed = Bed::new();
        assert_eq!(bed.explained(), Some(60));
        assert_eq!((bed.explained(), bed.silence.due()), (None, None));
        let mut never = Bed::new();
        never.silence = Silence::new(Duration::ZERO);
        never.silence.begin(never.start);
        assert_eq!(never.explained(), None);
        let mut ends = Bed::new();
        ends.silence.give_up();
        assert_eq!((ends.explained(), ends.silence.due()), (None, None));
    }

    #[test]
    fn firmware_s_words_put_it_off_until_a_reset_and_its_last_word_hastens_it() {
        let mut bed = Bed::new();
        bed.firmware(5, Word::Booting);
        assert_eq!(bed.explained(), Some(65));
        let mut over_and_over = Bed::new();
        over_and_over.firmware(5, Word::Booting);
        over_and_over.silence.was_reset(over_and_over.at(40));
        over_and_over.firmware(50, Word::Booting);
        assert_eq!(over_and_over.explained(), Some(65));
        for word in [Word::Nothing("No bootable device.".to_owned()), Word::Shell] {
            let mut nothing = Bed::new();
            nothing.firmware(5, word);
            assert_eq!(nothing.explained(), Some(15));
        }
    }

    #[test]
    fn a_guest_that_speaks_is_left_alone() {
        let mut bed = Bed::new();
        bed.others(10);
        assert_eq!(bed.explained(), None);
        let mut linux = Bed::new();
        linux.kernel(10);
        linux.others(12);
        assert_eq!((linux.explained(), linux.silence.due()), (None, None), "nobody looks again");
    }

    #[test]
    fn a_guest_that_spoke_has_its_time_again_when_it_is_reset_and_one_that_was_explained_has_not() {
        let mut bed = Bed::new();
        bed.kernel(10);
        bed.others(12);
        assert_eq!(bed.explained(), None);
        (bed.said, bed.reached) = (Said::default(), Reached::nothing(bed.at(1000)));
        bed.silence.was_reset(bed.at(1000));
        bed.firmware(1005, Word::Booting);
        assert_eq!(bed.explained(), Some(1065));
        bed.silence.was_reset(bed.at(2000));
        assert_eq!((bed.explained(), bed.silence.due()), (None, None), "once is enough");
    }

    #[test]
    fn a_kernel_has_its_time_and_a_loader_s_words_are_not_its_own() {
        let mut bed = Bed::new();
        bed.kernel(50);
        assert_eq!(bed.explained(), Some(110));
        let mut loader = Bed::new();
        loader.others(8);
        loader.kernel(10);
        assert_eq!(loader.explained(), Some(70));
    }
}
