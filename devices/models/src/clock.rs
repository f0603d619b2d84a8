//! A clock chip with the host's time and an interrupt line; what its registers are is its own module's business.
//!
//! While the guest has turned an interrupt on, a thread sleeps until the next one is due; else there is none.

use crate::gate::{Gate, Pass, Turn};
use crate::irq::Line;
use parking_lot::{Condvar, Mutex};
use std::fmt;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The host's clock can be set: the thread looks at it this often, whatever it waits for.
const LOOK_AGAIN: Duration = Duration::from_secs(10);

/// What is asked of a chip. Times are microseconds since 1970.
pub trait Chip: fmt::Debug + Send + 'static {
    /// Whether the chip pulls its interrupt line now.
    fn interrupt(&self) -> bool;
    /// Whether the guest wants to be interrupted by anything.
    fn interrupts_are_on(&self) -> bool;
    /// Takes account of what has happened until now.
    fn advance(&mut self, now: i64);
    /// When the line will go up, if nobody touches the chip: never while it is up.
    fn next_interrupt(&self, now: i64) -> Option<i64>;
}

#[derive(Debug)]
pub struct Clock<C: Chip> {
    shared: Arc<Shared<C>>,
    gate: Arc<Gate>,
    /// The last thread that was started.
    thread: Mutex<Option<JoinHandle<()>>>,
}

#[derive(Debug)]
struct Shared<C> {
    state: Mutex<State<C>>,
    /// What the thread waits for has changed.
    changed: Condvar,
    line: Line,
}

#[derive(Debug)]
struct State<C> {
    chip: C,
    /// There is a thread, or will be one at once. It says itself, with the lock held, when it is not there any more.
    running: bool,
    /// The thread shall end, whatever the chip says.
    ending: bool,
    /// It shall look at the gate before it sleeps.
    called: bool,
    /// The log knows that there is no thread. Once is enough.
    told: bool,
}

fn host_microseconds() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

impl<C: Chip> Clock<C> {
    #[must_use]
    pub fn new(chip: C, line: Line, gate: &Arc<Gate>) -> Clock<C> {
        let state = State { chip, running: false, ending: false, called: false, told: false };
        let shared = Shared { state: Mutex::new(state), changed: Condvar::new(), line };
        Clock { shared: Arc::new(shared), gate: Arc::clone(gate), thread: Mutex::new(None) }
    }

    /// Works on the chip; the line follows it, and the thread comes and goes with the chip's interrupts.
    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut C, i64) -> T) -> T {
        let mut state = self.shared.state.lock();
        let before = state.chip.interrupt();
        let result = f(&mut state.chip, host_microseconds());
        let after = state.chip.interrupt();
        let start = state.chip.interrupts_are_on() && !state.running;
        state.running |= start;
        drop(state);
        if before != after {
            self.shared.changed.notify_one();
            self.shared.follow(before);
        }
        if start {
            self.start();
        }
        result
    }

    /// As [`Clock::with`], where it may change what the thread waits for.
    pub(crate) fn set(&self, f: impl FnOnce(&mut C, i64)) {
        self.with(f);
        self.shared.changed.notify_one();
    }

    /// Works on what has to do with neither time nor line.
    pub(crate) fn aside(&self, f: impl FnOnce(&mut C)) {
        f(&mut self.shared.state.lock().chip);
    }

    /// How many threads there are.
    #[cfg(test)]
    pub(crate) fn threads(&self) -> usize {
        Arc::strong_count(&self.shared).saturating_sub(1)
    }

    fn start(&self) {
        let mut thread = self.thread.lock();
        // The one before has nothing left to do: there is never more than one, however fast a guest is.
        join(thread.take());
        let (shared, called) = (Arc::clone(&self.shared), Arc::downgrade(&self.shared));
        let (pass, _) = self.gate.admit(move || called.upgrade().iter().for_each(|shared| shared.call()));
        match std::thread::Builder::new().name("rtc".to_owned()).spawn(move || shared.run(&pass)) {
            Ok(started) => *thread = Some(started),
            Err(cause) => {
                let mut state = self.shared.state.lock();
                state.running = false;
                if !std::mem::replace(&mut state.told, true) {
                    log::error!("no thread for the clock's interrupts: {cause}");
                }
            }
        }
    }
}

fn join(thread: Option<JoinHandle<()>>) {
    if thread.is_some_and(|thread| thread.join().is_err()) {
        log::error!("the clock's thread ended by a bug");
    }
}

impl<C: Chip> Drop for Clock<C> {
    fn drop(&mut self) {
        self.shared.state.lock().ending = true;
        self.shared.changed.notify_one();
        join(self.thread.lock().take());
    }
}

impl<C: Chip> Shared<C> {
    fn follow(&self, before: bool) {
        self.line.follow(before, || self.state.lock().chip.interrupt());
    }

    /// Brings the thread to the gate.
    fn call(&self) {
        self.state.lock().called = true;
        self.changed.notify_one();
    }

    /// The thread.
    fn run(&self, pass: &Pass) {
        while pass.next() != Turn::End && self.work() {}
    }

    /// Until something has happened; false: nothing more will. While an interrupt waits for the guest there is
    /// nothing to do: the guest's next access to the chip wakes it.
    fn work(&self) -> bool {
        let mut state = self.state.lock();
        if !state.chip.interrupts_are_on() || state.ending {
            state.running = false;
            return false;
        }
        let now = host_microseconds();
        let before = state.chip.interrupt();
        state.chip.advance(now);
        if state.chip.interrupt() != before {
            drop(state);
            self.follow(before);
        } else if !std::mem::take(&mut state.called) {
            if let Some(at) = state.chip.next_interrupt(now) {
                let micros = u64::try_from(at.saturating_sub(now)).unwrap_or(0).max(1);
                self.changed.wait_for(&mut state, Duration::from_micros(micros).min(LOOK_AGAIN));
            } else {
                self.changed.wait(&mut state);
            }
        }
        true
    }
}
