//! All TCP connections of the guest's: which segment belongs to which, how many there may be, and whose turn it is.

pub(crate) mod far;
mod flow;
mod segment;

use crate::epoll::Token;
use crate::offload::{Frame, Offload};
use crate::subnet::{Guest, TTL};
use crate::wire::{ACK, PROTOCOL_TCP, Packet, RST, SYN, TCP, Tcp, pseudo};
use far::Far;
pub(crate) use far::MAX_UNDER_WAY;
use flow::Flow;
pub(crate) use flow::{Key, MAX_RETRIES, Pen};
pub(crate) use segment::Segment;
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::time::Instant;
use zerocopy::IntoBytes as _;

/// Connections at a time; one more ends the one that has been idle for longest.
pub(crate) const MAX_FLOWS: usize = 4096;
/// What all of them may keep: the guest's data, for far ends that are slow, and answers of services.
pub(crate) const MAX_KEPT: usize = 32 << 20;

struct Entry {
    flow: Flow,
    generation: u32,
}

#[derive(Default)]
pub(crate) struct Flows {
    entries: Slab<Entry>,
    by_key: HashMap<Key, usize>,
    /// Those that may have something to say.
    ready: VecDeque<usize>,
    /// By index: whether it stands there, be it for a flow that is gone.
    queued: Vec<bool>,
    generation: u32,
    kept: usize,
    /// No flow's deadline is before this.
    deadline: Option<Instant>,
}

impl Flows {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// What all of them keep.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> usize {
        self.kept
    }

    /// No flow has anything to do before.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    pub(crate) fn knows(&self, key: &Key) -> bool {
        self.by_key.contains_key(key)
    }

    /// Gives a segment to its connection. False: there is none that it belongs to.
    pub(crate) fn hear(&mut self, key: &Key, segment: &Segment<'_>, pen: &mut Pen<'_>) -> bool {
        let Some(&index) = self.by_key.get(key) else { return false };
        let room = MAX_KEPT.saturating_sub(self.kept);
        let mut is_its = false;
        self.with(index, |flow| is_its = flow.hear(segment, pen, room));
        is_its
    }

    /// The guest connects to what `far` makes, which is given its token. None: it cannot be reached.
    pub(crate) fn answer(
        &mut self,
        key: Key,
        syn: &Segment<'_>,
        pen: &Pen<'_>,
        far: impl FnOnce(Token) -> Option<Far>,
    ) -> Option<()> {
        let first = first_number()?;
        self.add(key, pen.now, far, |far| Flow::answering(key, far, syn, first, pen.now))
    }

    /// Somebody connects to the guest, which may let so many timeouts pass.
    pub(crate) fn call(
        &mut self,
        key: Key,
        patience: u8,
        now: Instant,
        far: impl FnOnce(Token) -> Option<Far>,
    ) -> Option<()> {
        let first = first_number()?;
        self.add(key, now, far, |far| Flow::calling(key, far, first, patience, now))
    }

    fn add(
        &mut self,
        key: Key,
        now: Instant,
        far: impl FnOnce(Token) -> Option<Far>,
        flow: impl FnOnce(Far) -> Flow,
    ) -> Option<()> {
        if self.entries.len() >= MAX_FLOWS {
            self.make_room();
        }
        self.generation = self.generation.wrapping_add(1);
        let (place, generation) = (self.entries.vacant_entry(), self.generation);
        let index = place.key();
        let far = far(Token::tcp(index, generation))?;
        place.insert(Entry { flow: flow(far), generation });
        self.by_key.insert(key, index);
        // A service is there at once, a socket when epoll says so.
        self.with(index, Flow::far_changed);
        log::trace!("{key:?}: begun at {now:?}");
        Some(())
    }

    /// Ends the connection that has been idle for longest; those that have not come about go first.
    pub(crate) fn make_room(&mut self) {
        let oldest =
            self.entries.iter().min_by_key(|(_, entry)| (!entry.flow.is_begun(), entry.flow.touched));
        if let Some((index, _)) = oldest {
            log::debug!("too many connections: one that was idle ends");
            if let Some(entry) = self.entries.get(index) {
                entry.flow.far.reset();
            }
            self.remove(index);
        }
    }

    pub(crate) fn event(&mut self, index: usize, generation: u32, flags: rustix::event::epoll::EventFlags) {
        if self.entries.get(index).is_some_and(|entry| entry.generation == generation) {
            self.with(index, |flow| {
                flow.far.event(flags);
                flow.far_changed();
            });
        }
    }

    /// Says again what was not answered.
    pub(crate) fn late(&mut self, now: Instant) {
        if self.deadline.is_none_or(|deadline| now < deadline) {
            return;
        }
        let late: Vec<usize> = self
            .entries
            .iter()
            .filter(|(_, entry)| entry.flow.deadline.is_some_and(|deadline| deadline <= now))
            .map(|(index, _)| index)
            .collect();
        self.deadline =
            self.entries.iter().filter_map(|(_, entry)| entry.flow.deadline).filter(|at| *at > now).min();
        for index in late {
            self.with(index, |flow| flow.late(now));
        }
    }

    /// The next frame of whoever has one, each in turn.
    pub(crate) fn speak(&mut self, frame: &mut Frame, pen: &mut Pen<'_>) -> Option<(usize, Offload)> {
        while let Some(index) = self.ready.pop_front() {
            if let Some(queued) = self.queued.get_mut(index) {
                *queued = false;
            }
            let mut said = None;
            self.change(index, |flow| said = flow.speak(frame, pen));
            if said.is_some() {
                self.queue(index);
                return said;
            }
        }
        None
    }

    /// Changes a flow, and lets it speak.
    fn with(&mut self, index: usize, change: impl FnOnce(&mut Flow)) {
        self.change(index, change);
        self.queue(index);
    }

    fn change(&mut self, index: usize, change: impl FnOnce(&mut Flow)) {
        let Some(entry) = self.entries.get_mut(index) else { return };
        let before = entry.flow.kept();
        change(&mut entry.flow);
        self.kept = self.kept.saturating_sub(before).saturating_add(entry.flow.kept());
        if let Some(deadline) = entry.flow.deadline {
            self.deadline = Some(self.deadline.map_or(deadline, |other| other.min(deadline)));
        }
        if entry.flow.is_over() {
            self.remove(index);
        }
    }

    fn queue(&mut self, index: usize) {
        if !self.entries.contains(index) {
            return;
        }
        if self.queued.len() <= index {
            self.queued.resize(index.saturating_add(1), false);
        }
        if let Some(queued) = self.queued.get_mut(index).filter(|queued| !**queued) {
            *queued = true;
            self.ready.push_back(index);
        }
    }

    fn remove(&mut self, index: usize) {
        if let Some(entry) = self.entries.try_remove(index) {
            self.kept = self.kept.saturating_sub(entry.flow.kept());
            self.by_key.remove(&entry.flow.key);
        }
    }

    /// Ends them all: the guest that had them is no more.
    pub(crate) fn clear(&mut self) {
        self.entries.iter().for_each(|(_, entry)| entry.flow.far.reset());
        *self = Flows { generation: self.generation, ..Flows::default() };
    }
}

/// Where a connection's numbers begin: nobody may guess it.
fn first_number() -> Option<u32> {
    let mut bytes = [0; 4];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty()).ok()?;
    Some(u32::from_ne_bytes(bytes))
}

/// Refuses a segment that belongs to no connection (RFC 9293, 3.10.7.1).
pub(crate) fn refusal(guest: &Guest, packet: &Packet<'_>, segment: &Segment<'_>) -> Option<Vec<u8>> {
    if segment.has(RST) {
        return None;
    }
    let (sequence, acknowledged, flags) = match segment.has(ACK) {
        true => (segment.acknowledged, 0, RST),
        false => (0, segment.sequence.wrapping_add(segment.len()), RST | ACK),
    };
    let mut tcp = Tcp {
        source: segment.destination.into(),
        destination: segment.source.into(),
        sequence: sequence.into(),
        acknowledged: acknowledged.into(),
        length: 0x50,
        flags,
        window: 0.into(),
        checksum: 0.into(),
        urgent: 0.into(),
    };
    let route = packet.back(guest.macs(), TTL);
    let sum = pseudo(route.source, route.destination, PROTOCOL_TCP, TCP).add(tcp.as_bytes());
    tcp.checksum = sum.finish().into();
    Some([route.headers(PROTOCOL_TCP, TCP).as_slice(), tcp.as_bytes()].concat())
}

/// Whether a segment begins a connection.
pub(crate) fn begins(segment: &Segment<'_>) -> bool {
    segment.has(SYN) && !segment.has(ACK) && !segment.has(RST)
}
