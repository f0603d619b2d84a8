//! What is to be fetched, in which order, and who waits for it. Pure: no I/O, no clock of its own.
//!
//! What a reader waits for goes first, each block once however many wait; then the blocks behind it; then, when no
//! reader has missed anything for a while, the rest of the disk from its start on. Never more than one thread fetches
//! what nobody waits for, so that another is free.

use super::present::Present;
use crate::waker::Waker;
use std::collections::{HashMap, VecDeque};
use std::io;
use std::ops::Range;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How many blocks are fetched behind one that a reader waited for.
const AHEAD: u64 = 2;
/// How many such are remembered; older ones are what no reader has come to.
const MAX_AHEAD: usize = 16;
/// How long no reader must have missed anything before the rest of the disk is fetched.
const QUIET: Duration = Duration::from_millis(100);
/// How often a block that another process fetches is looked for.
const GLANCE: Duration = Duration::from_millis(2);

#[derive(Debug, Default)]
pub(super) struct Work {
    /// Blocks that readers wait for, in flight or not.
    waiting: HashMap<u64, Vec<Weak<Waker>>>,
    demand: VecDeque<u64>,
    ahead: VecDeque<u64>,
    /// Blocks that readers wait for and other processes fetch.
    elsewhere: VecDeque<Elsewhere>,
    in_flight: HashMap<u64, Class>,
    /// Blocks that could not be fetched, and who has not been told.
    failed: HashMap<u64, Failed>,
    /// From where on blocks are left to fetch in the background, if they are to be.
    rest: Option<u64>,
    missed: Option<Instant>,
    stopping: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Class {
    /// A reader waits for it.
    Demand,
    /// A reader may come to it.
    Ahead,
    /// The rest of the disk.
    Rest,
}

#[derive(Debug)]
struct Elsewhere {
    block: u64,
    since: Instant,
    again: Instant,
}

#[derive(Debug)]
struct Failed {
    kind: io::ErrorKind,
    text: String,
    untold: Vec<Weak<Waker>>,
}

/// What a thread does next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Step {
    /// `since`: another process has been fetching it for as long.
    Fetch {
        block: u64,
        class: Class,
        since: Option<Instant>,
    },
    Wait(Duration),
    /// There is nothing for it.
    Done,
}

/// How a fetch ended.
#[derive(Debug)]
pub(super) enum Outcome {
    Present,
    /// Another process is fetching it.
    Elsewhere,
    Failed(io::Error),
}

impl Work {
    /// A reader waits for a block that is missing. An error is that of its last fetch, told to each who waited once:
    /// who asks after that has it fetched again.
    pub(super) fn ask(&mut self, block: u64, waker: &Arc<Waker>, now: Instant) -> io::Result<()> {
        let it = |other: &Weak<Waker>| other.as_ptr() == Arc::as_ptr(waker);
        if let Some(failed) = self.failed.get_mut(&block)
            && let Some(at) = failed.untold.iter().position(it)
        {
            failed.untold.swap_remove(at);
            let error = io::Error::new(failed.kind, failed.text.clone());
            if failed.untold.is_empty() {
                self.failed.remove(&block);
            }
            return Err(error);
        }
        let waiters = self.waiting.entry(block).or_default();
        if waiters.is_empty() {
            self.missed = Some(now);
            if !self.in_flight.contains_key(&block) {
                self.demand.push_back(block);
            }
        }
        if !waiters.iter().any(it) {
            waiters.push(Arc::downgrade(waker));
        }
        Ok(())
    }

    /// From now on the rest of the disk is fetched, too.
    pub(super) fn fetch_rest(&mut self) {
        self.rest.get_or_insert(0);
    }

    /// There is no room for what nobody waits for.
    pub(super) fn leave_rest(&mut self) {
        self.rest = Some(u64::MAX);
        self.ahead.clear();
    }

    pub(super) fn stop(&mut self) {
        self.stopping = true;
    }

    /// How many blocks wait for a thread.
    pub(super) fn queued(&self) -> usize {
        self.demand.len()
    }

    pub(super) fn next(&mut self, now: Instant, present: &Present) -> Step {
        if self.stopping {
            return Step::Done;
        }
        if let Some(due) = self.elsewhere.pop_front_if(|front| front.again <= now) {
            return self.begin(due.block, Class::Demand, Some(due.since));
        }
        if let Some(block) = self.demand.pop_front() {
            return self.begin(block, Class::Demand, None);
        }
        let mut wait = self.elsewhere.front().map(|front| front.again.saturating_duration_since(now));
        if self.in_flight.values().all(|class| *class == Class::Demand) {
            while let Some(block) = self.ahead.pop_front() {
                if !present.has(block) && !self.is_known(block) {
                    return self.begin(block, Class::Ahead, None);
                }
            }
            let quiet = self.missed.map_or(QUIET, |missed| now.saturating_duration_since(missed));
            match self.next_of_rest(present) {
                Some(block) if quiet >= QUIET => {
                    self.rest = Some(block.saturating_add(1));
                    return self.begin(block, Class::Rest, None);
                }
                Some(_) => wait = Some(wait.unwrap_or(QUIET).min(QUIET.saturating_sub(quiet))),
                None => {}
            }
        }
        wait.map_or(Step::Done, Step::Wait)
    }

    /// The first missing block that nobody fetches yet.
    fn next_of_rest(&mut self, present: &Present) -> Option<u64> {
        let mut from = self.rest?;
        loop {
            let found = present.missing(from..present.count());
            if found.is_none_or(|block| !self.is_known(block)) {
                self.rest = Some(found.unwrap_or(u64::MAX));
                return found;
            }
            from = found?.saturating_add(1);
        }
    }

    fn is_known(&self, block: u64) -> bool {
        self.in_flight.contains_key(&block) || self.waiting.contains_key(&block)
    }

    fn begin(&mut self, block: u64, class: Class, since: Option<Instant>) -> Step {
        self.in_flight.insert(block, class);
        Step::Fetch { block, class, since }
    }

    /// A fetch has ended; gives whom to wake. `since`: as the step had it.
    pub(super) fn finish(
        &mut self,
        block: u64,
        since: Option<Instant>,
        outcome: Outcome,
        now: Instant,
        present: &Present,
    ) -> Vec<Arc<Waker>> {
        let class = self.in_flight.remove(&block);
        let waiters = match outcome {
            Outcome::Elsewhere if self.waiting.contains_key(&block) => {
                let again = now.checked_add(GLANCE).unwrap_or(now);
                self.elsewhere.push_back(Elsewhere { block, since: since.unwrap_or(now), again });
                return Vec::new();
            }
            Outcome::Present | Outcome::Elsewhere => {
                if class == Some(Class::Demand) {
                    self.read_ahead(block, present.count());
                }
                self.waiting.remove(&block).unwrap_or_default()
            }
            Outcome::Failed(cause) => {
                let untold = self.waiting.remove(&block).unwrap_or_default();
                self.forget_dead();
                if !untold.is_empty() {
                    let earlier = self.failed.remove(&block).map(|failed| failed.untold).unwrap_or_default();
                    let untold = [earlier, untold.clone()].concat();
                    let failed = Failed { kind: cause.kind(), text: cause.to_string(), untold };
                    self.failed.insert(block, failed);
                }
                untold
            }
        };
        waiters.iter().filter_map(Weak::upgrade).collect()
    }

    fn read_ahead(&mut self, block: u64, count: u64) {
        let behind: Range<u64> =
            block.saturating_add(1)..block.saturating_add(1).saturating_add(AHEAD).min(count);
        // What was asked for last is nearest to its reader.
        for block in behind.rev() {
            if !self.ahead.contains(&block) {
                self.ahead.push_front(block);
            }
        }
        self.ahead.truncate(MAX_AHEAD);
    }

    /// Errors whose readers are gone are nobody's.
    fn forget_dead(&mut self) {
        self.failed.retain(|_, failed| failed.untold.iter().any(|waker| waker.strong_count() > 0));
    }
}

#[cfg(test)]
#[path = "work_test.rs"]
mod tests;
