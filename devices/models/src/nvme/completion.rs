//! A completion queue (NVMe 1.4, sections 4.1 and 4.6): where answers go, from any thread.
//!
//! Whoever takes a command reserves the place of its answer first, so an answer always has one: commands wait in
//! their own queue while the driver leaves completions lying.

use super::interrupt::Interrupts;
use super::ring::{Ring, Shadow};
use super::spec::Answer;
use crate::irq::Bell;
use ami_run_memory::{Gpa, Memory};
use parking_lot::Mutex;
use std::sync::Arc;

#[derive(Debug)]
pub(super) struct Completions {
    id: u16,
    ring: Ring,
    /// Where its interrupts go, if they are on.
    vector: Option<u16>,
    memory: Memory,
    interrupts: Arc<Interrupts>,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// The next entry that the driver takes.
    head: u16,
    /// Where the next answer goes, and with which phase tag.
    tail: u16,
    phase: bool,
    /// Places promised to commands that are at work.
    reserved: u16,
    shadow: Option<Shadow>,
    /// Who wants to know that there is room again.
    starved: Vec<Arc<Bell>>,
}

impl Completions {
    pub(super) fn new(
        id: u16,
        ring: Ring,
        vector: Option<u16>,
        memory: Memory,
        interrupts: Arc<Interrupts>,
    ) -> Completions {
        let starved = Vec::new();
        let state = State { head: 0, tail: 0, phase: true, reserved: 0, shadow: None, starved };
        Completions { id, ring, vector, memory, interrupts, state: Mutex::new(state) }
    }

    /// From now on the driver's doorbell is in its memory.
    pub(super) fn share(&self, shadow: Shadow) {
        let mut state = self.state.lock();
        shadow.seed(&self.memory, state.head);
        state.shadow = Some(shadow);
    }

    /// Takes over what the driver says it has taken, if that can be.
    fn advance(&self, state: &mut State, value: u32) -> bool {
        let Some(head) = self.ring.index(value) else { return false };
        let taken = self.ring.distance(state.head, head);
        if taken > self.ring.distance(state.head, state.tail) {
            return false;
        }
        state.head = head;
        if self.vector.is_some() {
            self.interrupts.set_waiting(self.id, head != state.tail);
        }
        true
    }

    /// Looks at the driver's doorbell in memory. One that is wrong says nothing.
    fn refresh(&self, state: &mut State) {
        if let Some(value) = state.shadow.and_then(|shadow| shadow.load(&self.memory)) {
            self.advance(state, value);
        }
    }

    fn room(&self, state: &State) -> u16 {
        let used = self.ring.distance(state.head, state.tail);
        self.ring.size().saturating_sub(1).saturating_sub(used).saturating_sub(state.reserved)
    }

    /// Reserves places for up to `wanted` answers and says for how many. If for none, `kick` rings when the
    /// driver has made room.
    pub(super) fn reserve(&self, wanted: u16, kick: Option<&Arc<Bell>>) -> u16 {
        let mut state = self.state.lock();
        self.refresh(&mut state);
        if let (0, Some(shadow)) = (self.room(&state), state.shadow) {
            shadow.set_event(&self.memory, state.head);
            self.refresh(&mut state);
        }
        let granted = self.room(&state).min(wanted);
        state.reserved = state.reserved.saturating_add(granted);
        if let (0, Some(kick)) = (granted, kick)
            && !state.starved.iter().any(|other| Arc::ptr_eq(other, kick))
        {
            state.starved.push(Arc::clone(kick));
        }
        granted
    }

    /// Gives a reserved place back: its command will be answered later, if ever.
    pub(super) fn release(&self) {
        let mut state = self.state.lock();
        state.reserved = state.reserved.saturating_sub(1);
    }

    /// Puts answers into places that were reserved for them, and interrupts the driver if it wants that.
    pub(super) fn post(&self, answers: impl IntoIterator<Item = Answer>) {
        let mut state = self.state.lock();
        for answer in answers {
            let (at, phase) = (self.ring.at(state.tail), state.phase);
            // The entry becomes valid by its last dword, after all the rest of it and all data.
            let written = self.memory.write_record(at, &answer.cqe(!phase));
            let last = Gpa(at.0.saturating_add(12));
            let ended = self.memory.store_u32(last, answer.last_dword(phase));
            if let Err(cause) = written.and(ended) {
                log::debug!("a completion is lost: {cause}");
            }
            state.tail = self.ring.next(state.tail);
            state.phase ^= state.tail == 0;
            state.reserved = state.reserved.saturating_sub(1);
        }
        let Some(vector) = self.vector else { return };
        self.interrupts.set_waiting(self.id, true);
        // A line falls when the driver takes the last completion: then it must ring.
        if let (Some(shadow), true) = (state.shadow, self.interrupts.by_pin()) {
            shadow.set_event(&self.memory, state.head);
            self.refresh(&mut state);
        }
        drop(state);
        self.interrupts.signal(vector);
    }

    /// The driver's doorbell was written. Says whether its value can be.
    pub(super) fn ring(&self, value: u32) -> bool {
        let mut state = self.state.lock();
        let sound = match state.shadow {
            // What it said in memory is at least as new.
            Some(_) => {
                self.refresh(&mut state);
                self.ring.index(value).is_some()
            }
            None => self.advance(&mut state, value),
        };
        let starved = std::mem::take(&mut state.starved);
        drop(state);
        for kick in starved {
            kick.ring();
        }
        if self.vector.is_some() && self.interrupts.by_pin() {
            self.interrupts.settle();
        }
        sound
    }
}
