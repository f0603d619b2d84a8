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

/// How long a guest may take to shut down for a reboot, as on EC2 (RebootInstances).
const REBOOT_PATIENCE: Duration = Duration::from_secs(4 * 60);

/// A time that is for ever, and can be added to any clock's. Records and clients may name longer ones.
const CENTURY: Duration = Duration::from_secs(100 * 366 * 24 * 3600);

/// Why this program ends the guest. Absent: the guest ends itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cause {
    AllSeen,
    /// The command in the guest has ended, or cannot be run.
    Executed,
    TimedOut,
    KernelPanic,
    /// The record could not be made to say that the instance runs.
    Unrecorded,
    User,
    /// A verb asked for it.
    Asked,
    Signal(i32),
    OutputClosed,
}

/// What is to be done to the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// The guest's power-off is the end.
    PressButton,
    /// The guest's power-off is a reset.
    PressToRestart,
    Reset,
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
    /// When waiting for the guest to restart is over.
    reset_at: Option<Instant>,
    /// When waiting for the guest's own end is over.
    stop_at: Option<Instant>,
    /// When waiting for the machine to stop is over.
    leave_at: Option<Instant>,
}

impl Course {
    pub(crate) fn new(timeout: Option<Instant>, patience: Duration) -> Course {
        Course {
            timeout,
            patience: patience.min(CENTURY),
            cause: None,
            signalled: false,
            panic: None,
            reset_at: None,
            stop_at: None,
            leave_at: None,
        }
    }

    pub(crate) fn cause(&self) -> Option<Cause> {
        self.cause
    }

    pub(crate) fn all_seen(&mut self, now: Instant) -> Option<Order> {
        self.attained(Cause::AllSeen, now)
    }

    pub(crate) fn executed(&mut self, now: Instant) -> Option<Order> {
        self.attained(Cause::Executed, now)
    }

    fn attained(&mut self, cause: Cause, now: Instant) -> Option<Order> {
        if self.cause.is_some() {
            return None;
        }
        self.ask(cause, now + self.patience)
    }

    /// What was waited for was seen, and the machine runs on: the time was for that.
    pub(crate) fn runs_on(&mut self) {
        self.timeout = None;
    }

    /// A verb asks for the end: the hard way after this time, or at once. Another one may hasten it.
    pub(crate) fn asked(&mut self, patience: Option<Duration>, force: bool, now: Instant) -> Option<Order> {
        if force {
            return self.end_now(Cause::Asked, now);
        }
        self.ask(Cause::Asked, now + patience.unwrap_or(self.patience).min(CENTURY))
    }

    /// A verb asks for a reboot. Nothing of it where the end is on its way.
    pub(crate) fn reboot(&mut self, now: Instant) -> Option<Order> {
        if self.cause.is_some() || self.reset_at.is_some() {
            return None;
        }
        self.reset_at = Some(now + REBOOT_PATIENCE);
        Some(Order::PressToRestart)
    }

    /// A signal that asks for the end: the first politely, any other at once. A hang-up is never polite.
    pub(crate) fn signal(&mut self, signal: i32, now: Instant) -> Option<Order> {
        let cause = Cause::Signal(signal);
        if self.signalled || signal == libc::SIGHUP {
            return self.end_now(cause, now);
        }
        self.signalled = true;
        self.ask(cause, now + self.patience.min(SIGNAL_PATIENCE))
    }

    pub(crate) fn end_now(&mut self, cause: Cause, now: Instant) -> Option<Order> {
        self.cause.get_or_insert(cause);
        self.stop(now)
    }

    /// The guest does not listen to its power button, so there is nothing to be patient for.
    pub(crate) fn deaf(&mut self, now: Instant) -> Option<Order> {
        if self.reset_at.take().is_some() { Some(Order::Reset) } else { self.stop(now) }
    }

    /// The guest's kernel panicked: unless it resets the machine soon, it has failed.
    pub(crate) fn panicked(&mut self, now: Instant) {
        self.panic.get_or_insert(now + PANIC_PATIENCE);
    }

    /// The machine was reset.
    pub(crate) fn was_reset(&mut self) {
        self.panic = None;
        self.reset_at = None;
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
        if self.reset_at.take_if(|by| *by <= now).is_some() {
            return Some(Order::Reset);
        }
        if past(self.stop_at) { self.stop(now) } else { None }
    }

    /// When to call [`Course::tick`] or [`Course::is_over`] next.
    pub(crate) fn due(&self) -> Option<Instant> {
        let timeout = self.timeout.filter(|_| self.cause.is_none());
        [timeout, self.panic, self.reset_at, self.stop_at, self.leave_at].into_iter().flatten().min()
    }

    /// Whether the machine has had all the time that it gets.
    pub(crate) fn is_over(&self, now: Instant) -> bool {
        self.leave_at.is_some_and(|at| at <= now)
    }

    /// Asks the guest to end itself, until then at most. The first cause stays the cause.
    fn ask(&mut self, cause: Cause, by: Instant) -> Option<Order> {
        self.cause.get_or_insert(cause);
        self.reset_at = None;
        if self.leave_at.is_some() {
            return None;
        }
        let asked = self.stop_at.is_some();
        self.stop_at = Some(self.stop_at.map_or(by, |earlier| earlier.min(by)));
        (!asked).then_some(Order::PressButton)
    }

    fn stop(&mut self, now: Instant) -> Option<Order> {
        (self.reset_at, self.stop_at) = (None, None);
        if self.leave_at.is_some() {
            return None;
        }
        self.leave_at = Some(now + HARD_PATIENCE);
        Some(Order::Stop)
    }
}

#[cfg(test)]
#[path = "course_test.rs"]
mod tests;
