//! How a run comes to its end: who wanted it first, what is done about it, and until when.
//!
//! Pure: times and events in, orders out.

use std::time::{Duration, Instant};

/// How long a guest may take to power off on SIGTERM; with the time for the hard way it is less than 7 s.
const SIGNAL_PATIENCE: Duration = Duration::from_secs(5);
/// How long the machine may take to stop the hard way. It is far faster; a host in trouble may not be.
const HARD_PATIENCE: Duration = Duration::from_secs(2);

/// How long a kernel that has panicked may take to reset the machine, as `panic=` tells it to.
const PANIC_PATIENCE: Duration = Duration::from_secs(10);

/// Why this program ends the guest. Absent: the guest ends itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    AllSeen,
    TimedOut,
    KernelPanic,
    User,
    Signal(i32),
    OutputClosed,
}

/// What is to be done to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    PressButton,
    Stop,
}

#[derive(Debug)]
pub(crate) struct Course {
    timeout: Option<Instant>,
    patience: Duration,
    cause: Option<Cause>,
    signalled: bool,
    /// When a kernel that panicked is to have reset the machine.
    panic: Option<Instant>,
    /// When waiting for the guest's own end is over.
    stop_at: Option<Instant>,
    /// When waiting for the machine to stop is over.
    leave_at: Option<Instant>,
}

impl Course {
    pub(crate) fn new(timeout: Option<Instant>, patience: Duration) -> Course {
        Course {
            timeout,
            patience,
            cause: None,
            signalled: false,
            panic: None,
            stop_at: None,
            leave_at: None,
        }
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause
    }

    pub(crate) fn all_seen(&mut self, now: Instant) -> Option<Order> {
        if self.cause.is_some() {
            return None;
        }
        self.cause = Some(Cause::AllSeen);
        self.stop_at = Some(now + self.patience);
        Some(Order::PressButton)
    }

    /// A signal that asks for the end: the first politely, any other at once. A hang-up is never polite.
    pub(crate) fn signal(&mut self, signal: i32, now: Instant) -> Option<Order> {
        self.cause.get_or_insert(Cause::Signal(signal));
        if self.signalled || signal == libc::SIGHUP {
            return self.stop(now);
        }
        self.signalled = true;
        let by = now + self.patience.min(SIGNAL_PATIENCE);
        let asked = self.stop_at.is_some();
        self.stop_at = Some(self.stop_at.map_or(by, |earlier| earlier.min(by)));
        (!asked && self.leave_at.is_none()).then_some(Order::PressButton)
    }

    pub(crate) fn end_now(&mut self, cause: Cause, now: Instant) -> Option<Order> {
        self.cause.get_or_insert(cause);
        self.stop(now)
    }

    /// The guest does not listen to its power button, so there is nothing to be patient for.
    pub(crate) fn deaf(&mut self, now: Instant) -> Option<Order> {
        self.stop(now)
    }

    /// The guest's kernel panicked: unless it resets the machine soon, it has failed.
    pub(crate) fn panicked(&mut self, now: Instant) {
        self.panic.get_or_insert(now + PANIC_PATIENCE);
    }

    /// The guest reset the machine.
    pub(crate) fn was_reset(&mut self) {
        self.panic = None;
    }

    /// What the time demands.
    pub(crate) fn tick(&mut self, now: Instant) -> Option<Order> {
        let past = |at: Option<Instant>| at.is_some_and(|at| at <= now);
        if self.panic.take_if(|by| *by <= now).is_some() && self.cause.is_none() {
            return self.end_now(Cause::KernelPanic, now);
        }
        if self.cause.is_none() && past(self.timeout) {
            return self.end_now(Cause::TimedOut, now);
        }
        if past(self.stop_at) { self.stop(now) } else { None }
    }

    /// When to call [`Course::tick`] or [`Course::is_over`] next.
    pub(crate) fn due(&self) -> Option<Instant> {
        let timeout = self.timeout.filter(|_| self.cause.is_none());
        [timeout, self.panic, self.stop_at, self.leave_at].into_iter().flatten().min()
    }

    /// Whether the machine has had all the time that it gets.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.leave_at.is_some_and(|at| at <= now)
    }

    fn stop(&mut self, now: Instant) -> Option<Order> {
        self.stop_at = None;
        if self.leave_at.is_some() {
            return None;
        }
        self.leave_at = Some(now + HARD_PATIENCE);
        Some(Order::Stop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_was_waited_for_asks_then_stops_then_leaves() {
        let t = Instant::now();
        let mut course = Course::new(Some(t + s(60)), s(30));
        assert_eq!(course.due(), Some(t + s(60)));
        assert_eq!(course.all_seen(t), Some(Order::PressButton));
        assert_eq!(course.all_seen(t), None);
        assert_eq!((course.due(), course.tick(t + s(29))), (Some(t + s(30)), None));
        assert_eq!(course.tick(t + s(30)), Some(Order::Stop));
        assert_eq!((course.tick(t + s(31)), course.is_over(t + s(31))), (None, false));
        assert!(course.is_over(t + s(32)));
        assert_eq!(course.cause(), Some(Cause::AllSeen));
    }

    #[test]
    fn a_timeout_is_hard_and_comes_only_when_nothing_else_ends_the_run() {
        let t = Instant::now();
        let mut course = Course::new(Some(t + s(10)), s(30));
        assert_eq!(course.tick(t + s(9)), None);
        assert_eq!(course.tick(t + s(10)), Some(Order::Stop));
        assert_eq!(course.cause(), Some(Cause::TimedOut));
        let mut stopping = Course::new(Some(t + s(10)), s(30));
        stopping.all_seen(t + s(9));
        assert_eq!((stopping.tick(t + s(11)), stopping.cause()), (None, Some(Cause::AllSeen)));
    }

    #[test]
    fn the_first_signal_is_polite_for_five_seconds_and_the_second_is_not() {
        let t = Instant::now();
        let mut course = Course::new(None, s(30));
        assert_eq!(course.signal(libc::SIGTERM, t), Some(Order::PressButton));
        assert_eq!(course.due(), Some(t + s(5)));
        assert_eq!(course.signal(libc::SIGINT, t + s(1)), Some(Order::Stop));
        assert_eq!(course.signal(libc::SIGINT, t + s(1)), None);
        assert_eq!(course.cause(), Some(Cause::Signal(libc::SIGTERM)));
        let mut hang_up = Course::new(None, s(30));
        assert_eq!(hang_up.signal(libc::SIGHUP, t), Some(Order::Stop));
        let mut hasty = Course::new(None, s(1));
        hasty.signal(libc::SIGTERM, t);
        assert_eq!(hasty.due(), Some(t + s(1)));
    }

    #[test]
    fn a_signal_hastens_an_end_and_keeps_its_cause() {
        let t = Instant::now();
        let mut course = Course::new(None, s(30));
        course.all_seen(t);
        assert_eq!(course.signal(libc::SIGTERM, t + s(2)), None);
        assert_eq!((course.due(), course.cause()), (Some(t + s(7)), Some(Cause::AllSeen)));
        assert_eq!(course.end_now(Cause::User, t + s(3)), Some(Order::Stop));
        assert_eq!(course.cause(), Some(Cause::AllSeen));
    }

    #[test]
    fn a_panic_without_a_reset_is_a_failure_and_with_one_is_not() {
        let t = Instant::now();
        let mut course = Course::new(None, s(30));
        course.panicked(t);
        course.panicked(t + s(5));
        assert_eq!((course.due(), course.tick(t + s(9))), (Some(t + s(10)), None));
        assert_eq!(course.tick(t + s(10)), Some(Order::Stop));
        assert_eq!(course.cause(), Some(Cause::KernelPanic));
        let mut reset = Course::new(None, s(30));
        reset.panicked(t);
        reset.was_reset();
        assert_eq!((reset.due(), reset.tick(t + s(11))), (None, None));
        reset.panicked(t + s(12));
        assert_eq!(reset.tick(t + s(22)), Some(Order::Stop));
        let mut ending = Course::new(None, s(30));
        ending.all_seen(t);
        ending.panicked(t);
        assert_eq!((ending.tick(t + s(11)), ending.cause()), (None, Some(Cause::AllSeen)));
    }
}
