//! The gate that every thread of a machine passes between two pieces of work: vCPUs and queues alike. Who holds the
//! machine closes it, and all stand still with nothing half-done; opens it, and they go on; or ends them.
//!
//! A thread that stands at the gate holds no lock of a device. What it had begun is finished; what waits in a ring
//! is left there. Left out: telling a vCPU whose last access KVM has not completed from one that is between two.

use parking_lot::{Condvar, Mutex, MutexGuard};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::time::Duration;

/// A nudge may come just before its thread falls asleep, so it is repeated.
const NUDGE_AGAIN: Duration = Duration::from_millis(1);

const OPEN: u8 = 0;
const CLOSED: u8 = 1;
const ENDED: u8 = 2;

#[derive(Default)]
pub struct Gate {
    position: AtomicU8,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    next: u64,
    /// Threads that have a pass, and what wakes each.
    inside: Vec<(u64, Box<dyn Fn() + Send>)>,
    /// How many of them stand at the gate.
    standing: usize,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("position", &self.position).finish_non_exhaustive()
    }
}

/// A thread's right to work. It is made before the thread, moved into it, and dropped at its end.
#[derive(Debug)]
pub struct Pass {
    gate: Arc<Gate>,
    number: u64,
    recalled: Arc<AtomicBool>,
}

/// Ends one thread, whatever the gate does.
#[derive(Debug)]
pub struct Recall {
    gate: Arc<Gate>,
    number: u64,
    recalled: Arc<AtomicBool>,
}

/// What a thread may do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    Go,
    /// The same, after a pause.
    Resume,
    End,
}

impl Gate {
    /// Lets a thread in. `wake` makes it look at the gate soon, when it sleeps.
    pub fn admit(self: &Arc<Gate>, wake: impl Fn() + Send + 'static) -> (Pass, Recall) {
        let mut state = self.state.lock();
        let number = state.next;
        state.next = number.wrapping_add(1);
        state.inside.push((number, Box::new(wake)));
        drop(state);
        let recalled = Arc::new(AtomicBool::new(false));
        let recall = Recall { gate: Arc::clone(self), number, recalled: Arc::clone(&recalled) };
        (Pass { gate: Arc::clone(self), number, recalled }, recall)
    }

    /// Returns when every thread stands still. `nudge` is called until then, for threads that can miss being woken.
    pub fn close(&self, nudge: impl Fn()) {
        let state = self.state.lock();
        if self.position.load(Ordering::Relaxed) == OPEN {
            self.turn(&state, CLOSED);
        }
        self.wait(state, nudge, |state| state.standing >= state.inside.len());
    }

    /// Lets them go on.
    pub fn open(&self) {
        let state = self.state.lock();
        if self.position.load(Ordering::Relaxed) == CLOSED {
            self.turn(&state, OPEN);
        }
    }

    /// Returns when every thread has left. Nobody goes on after it.
    pub fn end(&self, nudge: impl Fn()) {
        let state = self.state.lock();
        self.turn(&state, ENDED);
        self.wait(state, nudge, |state| state.inside.is_empty());
    }

    fn turn(&self, state: &State, position: u8) {
        self.position.store(position, Ordering::Release);
        state.inside.iter().for_each(|(_, wake)| wake());
        self.changed.notify_all();
    }

    fn wait(&self, mut state: MutexGuard<'_, State>, nudge: impl Fn(), done: impl Fn(&State) -> bool) {
        while !done(&state) {
            nudge();
            self.changed.wait_for(&mut state, NUDGE_AGAIN);
        }
    }
}

impl Pass {
    /// Whether the thread may begin something: the gate is open, and it was not recalled. Never waits.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.gate.position.load(Ordering::Acquire) == OPEN && !self.is_recalled()
    }

    /// Asked before each piece of work. Waits while the gate is closed.
    pub fn next(&self) -> Turn {
        if self.is_good() {
            return Turn::Go;
        }
        if self.stand(|position| position == OPEN) { Turn::Resume } else { Turn::End }
    }

    /// Stands still until it is to end: for a thread that has nothing left to do.
    pub fn wait_for_end(&self) {
        self.stand(|_| false);
    }

    /// Whether the thread may go on; false: it is to end.
    fn stand(&self, enough: impl Fn(u8) -> bool) -> bool {
        let mut state = self.gate.state.lock();
        state.standing = state.standing.saturating_add(1);
        self.gate.changed.notify_all();
        let on = loop {
            let position = self.gate.position.load(Ordering::Relaxed);
            if position == ENDED || self.is_recalled() {
                break false;
            }
            if enough(position) {
                break true;
            }
            self.gate.changed.wait(&mut state);
        };
        state.standing = state.standing.saturating_sub(1);
        on
    }

    fn is_recalled(&self) -> bool {
        self.recalled.load(Ordering::Acquire)
    }
}

/// Also when the thread panics.
impl Drop for Pass {
    fn drop(&mut self) {
        let mut state = self.gate.state.lock();
        state.inside.retain(|(number, _)| *number != self.number);
        self.gate.changed.notify_all();
    }
}

impl Recall {
    /// Asks the thread to end; who must know that it has joins it.
    pub fn recall(&self) {
        let state = self.gate.state.lock();
        self.recalled.store(true, Ordering::Release);
        state.inside.iter().filter(|(number, _)| *number == self.number).for_each(|(_, wake)| wake());
        self.gate.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::irq::fake::spawn;
    use std::sync::atomic::AtomicU64;
    use std::thread::{self, JoinHandle};

    /// A thread that counts, and sleeps after each step until it is woken.
    fn counter(gate: &Arc<Gate>, steps: &Arc<AtomicU64>) -> (JoinHandle<()>, Recall) {
        let sleeper: Arc<(Mutex<bool>, Condvar)> = Arc::default();
        let (woken, counted) = (Arc::clone(&sleeper), Arc::clone(steps));
        let (pass, recall) = gate.admit(move || {
            *woken.0.lock() = true;
            woken.1.notify_all();
        });
        let thread = spawn(move || {
            while pass.next() != Turn::End {
                counted.fetch_add(1, Ordering::SeqCst);
                let mut awake = sleeper.0.lock();
                if !*awake {
                    sleeper.1.wait_for(&mut awake, Duration::from_micros(50));
                }
                *awake = false;
            }
        });
        (thread, recall)
    }

    fn moves(steps: &AtomicU64) -> bool {
        let before = steps.load(Ordering::SeqCst);
        (0..2000).any(|_| {
            thread::sleep(Duration::from_millis(5));
            steps.load(Ordering::SeqCst) != before
        })
    }

    #[test]
    fn a_closed_gate_holds_all_and_an_open_one_none() {
        let (gate, steps): (Arc<Gate>, Arc<AtomicU64>) = (Arc::default(), Arc::default());
        let threads: Vec<_> = (0..3).map(|_| counter(&gate, &steps)).collect();
        for _ in 0..200 {
            gate.close(|| ());
            let before = steps.load(Ordering::SeqCst);
            thread::yield_now();
            assert_eq!(steps.load(Ordering::SeqCst), before, "nobody goes on behind a closed gate");
            gate.open();
        }
        assert!(moves(&steps));
        gate.close(|| ());
        gate.end(|| ());
        for (thread, _) in threads {
            thread.join().unwrap();
        }
    }

    #[test]
    fn who_is_recalled_leaves_through_a_closed_gate_too() {
        let (gate, steps): (Arc<Gate>, Arc<AtomicU64>) = (Arc::default(), Arc::default());
        let (first, recall) = counter(&gate, &steps);
        let (second, _recall) = counter(&gate, &steps);
        gate.close(|| ());
        recall.recall();
        first.join().unwrap();
        gate.close(|| ());
        gate.open();
        assert!(moves(&steps), "the other goes on");
        gate.end(|| ());
        second.join().unwrap();
    }

    #[test]
    fn a_thread_that_panics_or_waits_for_its_end_holds_nobody_up() {
        let gate: Arc<Gate> = Arc::default();
        let (panics, _one) = gate.admit(|| ());
        let (idle, _two) = gate.admit(|| ());
        let broken = spawn(move || {
            let _pass = panics;
            std::panic::resume_unwind(Box::new("on purpose"));
        });
        let waiting = spawn(move || idle.wait_for_end());
        gate.close(|| ());
        gate.open();
        assert!(broken.join().is_err() && !waiting.is_finished());
        gate.end(|| ());
        waiting.join().unwrap();
    }

    #[test]
    fn a_pause_is_told_and_what_comes_after_the_end_ends_at_once() {
        let gate: Arc<Gate> = Arc::default();
        let (pass, _recall) = gate.admit(|| ());
        assert_eq!(pass.next(), Turn::Go);
        let closer = Arc::clone(&gate);
        let closing = spawn(move || {
            closer.close(|| ());
            closer.open();
        });
        let turn = loop {
            match pass.next() {
                Turn::Go => thread::yield_now(),
                other => break other,
            }
        };
        assert_eq!(turn, Turn::Resume);
        closing.join().unwrap();
        drop(pass);
        gate.end(|| ());
        let (late, _recall) = gate.admit(|| ());
        assert_eq!(late.next(), Turn::End);
    }
}
