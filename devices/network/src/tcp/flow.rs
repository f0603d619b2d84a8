//! One TCP connection of the guest's (RFC 9293). Its far end holds what goes to the guest until the guest has it, so
//! nothing is copied to be sent again; what comes from the guest is kept only while the far end takes no more.
//!
//! Left out: congestion control, selective acknowledgement, and waiting after the end. A frame is written when the
//! guest takes it, so none is lost, the last acknowledgement neither, and the order is kept.

use super::far::{Broken, Far, Found, MAX_UNDER_WAY};
use super::segment::{Segment, ahead};
use crate::offload::{Checksum, Frame, MAX_FRAME, Offload, Takes};
use crate::wire::{self, ACK, ETHERNET, FIN, IP, Macs, PROTOCOL_TCP, PSH, RST, Route, SYN, TCP, Tcp, pseudo};
use crate::{dhcp, subnet::Guest};
use std::net::IpAddr;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes as _;

/// What of the guest's data is kept while the far end takes none; the window that it is promised.
pub(crate) const MAX_PENDING: usize = 256 << 10;
const MAX_WINDOW: u32 = 256 << 10;
/// Our window's scale: promises are multiples of this.
const SHIFT: u8 = 3;
/// So much fits into one packet of IPv4.
const MAX_PAYLOAD: usize = 65535 - IP - TCP;

const FIRST_TIMEOUT: Duration = Duration::from_millis(400);
const LAST_TIMEOUT: Duration = Duration::from_secs(30);
/// Timeouts in a row, half a minute to two minutes, after which the guest counts as gone.
pub(crate) const MAX_RETRIES: u8 = 8;

/// The addresses of a connection, as the guest sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key {
    /// The guest's own; the other is of the same family.
    pub(crate) guest: IpAddr,
    pub(crate) guest_port: u16,
    pub(crate) address: IpAddr,
    pub(crate) port: u16,
}

impl Key {
    /// The way to the guest.
    pub(crate) fn route(&self, macs: Macs, ttl: u8) -> Route {
        Route { macs, source: self.address, destination: self.guest, ttl }
    }

    /// Where in a frame a packet's payload begins.
    pub(crate) fn front(&self) -> usize {
        ETHERNET.saturating_add(wire::header(self.address))
    }

    /// The longest payload of a segment.
    fn mss(&self) -> u16 {
        if self.address.is_ipv4() { dhcp::MTU - 40 } else { dhcp::MTU - 60 }
    }

    /// What a guest can do that names no size of its own (RFC 9293, 3.7.1).
    fn least_mss(&self) -> u16 {
        if self.address.is_ipv4() { 536 } else { 1220 }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The far end is being connected to; the guest waits.
    Connecting,
    /// Our SYN is with the guest: an answer to its own, or the first word.
    Greeting {
        first: bool,
    },
    Open,
    /// The guest is to be told that it broke.
    Breaking,
    Over,
}

/// What the guest said when it connected, and its window.
#[derive(Clone, Copy, Debug)]
struct Peer {
    window: u32,
    shift: u8,
    mss: u16,
    scales: bool,
}

/// What a flow needs of the link to write a frame.
pub(crate) struct Pen<'a> {
    pub(crate) guest: &'a Guest,
    pub(crate) takes: Takes,
    /// As long as what may be under way.
    pub(crate) scratch: &'a mut [u8],
    pub(crate) now: Instant,
}

pub(crate) struct Flow {
    pub(crate) key: Key,
    pub(crate) far: Far,
    pub(crate) touched: Instant,
    /// When something is to be said again.
    pub(crate) deadline: Option<Instant>,
    state: State,
    peer: Peer,
    /// The oldest number that the guest has not acknowledged, the next to be sent, and the end of all that was.
    oldest: u32,
    next: u32,
    end: u32,
    fin: Option<u32>,
    /// The next number of the guest's.
    expected: u32,
    heard_fin: bool,
    pending: Vec<u8>,
    /// What the guest knows to be the end of our window.
    promised: u32,
    due: bool,
    greet: bool,
    probe: bool,
    repeated: u8,
    /// While the guest has not acknowledged this, it asks again for what was sent again already.
    recovering: Option<u32>,
    retries: u8,
    /// Timeouts that the first word may meet.
    patience: u8,
}

impl Flow {
    fn new(key: Key, far: Far, state: State, first: u32, now: Instant) -> Flow {
        Flow {
            key,
            far,
            touched: now,
            deadline: None,
            state,
            peer: Peer { window: 0, shift: 0, mss: key.least_mss(), scales: false },
            oldest: first,
            next: first,
            end: first,
            fin: None,
            expected: 0,
            heard_fin: false,
            pending: Vec::new(),
            promised: 0,
            due: false,
            greet: false,
            probe: false,
            repeated: 0,
            recovering: None,
            retries: 0,
            patience: MAX_RETRIES,
        }
    }

    /// The guest connects.
    pub(crate) fn answering(key: Key, far: Far, syn: &Segment<'_>, first: u32, now: Instant) -> Flow {
        let mut flow = Flow::new(key, far, State::Connecting, first, now);
        flow.meet(syn);
        flow
    }

    /// Somebody connects to the guest.
    pub(crate) fn calling(key: Key, far: Far, first: u32, patience: u8, now: Instant) -> Flow {
        let mut flow = Flow::new(key, far, State::Greeting { first: true }, first, now);
        (flow.greet, flow.patience) = (true, patience);
        flow
    }

    pub(crate) fn is_over(&self) -> bool {
        self.state == State::Over
    }

    /// It is not there yet: one of a flood, perhaps.
    pub(crate) fn is_begun(&self) -> bool {
        matches!(self.state, State::Connecting | State::Greeting { .. })
    }

    /// What it keeps of the guest's data and of answers to it.
    pub(crate) fn kept(&self) -> usize {
        self.pending.capacity().saturating_add(self.far.kept())
    }

    /// Ends it for both sides.
    pub(crate) fn abort(&mut self) {
        self.far.reset();
        if self.state != State::Over {
            self.state = State::Breaking;
        }
    }

    fn meet(&mut self, syn: &Segment<'_>) {
        self.expected = syn.sequence.wrapping_add(1);
        self.promised = self.expected;
        let least = self.key.least_mss();
        self.peer = Peer {
            window: syn.window.into(),
            shift: syn.scale.unwrap_or(0),
            mss: syn.mss.unwrap_or(least).clamp(least, self.key.mss()),
            scales: syn.scale.is_some(),
        };
    }

    /// Something happened at the far end.
    pub(crate) fn far_changed(&mut self) {
        if self.state == State::Connecting {
            match self.far.connected() {
                Some(Ok(())) => (self.state, self.greet) = (State::Greeting { first: false }, true),
                Some(Err(_)) => self.state = State::Breaking,
                None => {}
            }
        }
        if self.drain().is_err() {
            self.abort();
        }
        self.finish();
    }

    /// Ends it when both have said all, know it of each other, and the guest need not be told.
    fn finish(&mut self) {
        let told = self.fin.is_some_and(|fin| ahead(self.oldest, fin) > Some(0));
        if told && self.heard_fin && self.pending.is_empty() && !self.due && self.state == State::Open {
            self.state = State::Over;
        } else if self.fin.is_some() && self.far.is_broken() && self.state == State::Open {
            // All was said already, and is not looked for again.
            self.abort();
        }
    }

    /// Gives the far end what was kept for it.
    fn drain(&mut self) -> Result<(), Broken> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let count = self.far.write(&self.pending)?;
        self.pending.drain(..count.min(self.pending.len()));
        if self.pending.is_empty() {
            self.pending = Vec::new();
            if self.heard_fin {
                self.far.shut()?;
            }
        }
        // A window that was closed, or nearly, is told to be open again.
        let known = ahead(self.promised, self.expected).unwrap_or(0);
        self.due |= u64::from(known) < MAX_PENDING as u64 / 4;
        Ok(())
    }

    /// Takes a segment of the guest's; `room` is what all flows together may still keep. False: it is of a connection
    /// that was here before.
    pub(crate) fn hear(&mut self, segment: &Segment<'_>, pen: &mut Pen<'_>, room: usize) -> bool {
        if self.is_stranger(segment) {
            return false;
        }
        self.touched = pen.now;
        match self.state {
            State::Connecting if segment.has(RST) => self.vanish(),
            State::Greeting { first } => self.greeted(first, segment, pen, room),
            State::Open => self.converse(segment, pen, room),
            State::Connecting | State::Breaking | State::Over => {}
        }
        true
    }

    /// Whether the guest answers to what was never said: it still waits at the end of another connection, and is to
    /// forget it (RFC 9293, 3.10.7.3). Then it hears the first word that is said again.
    fn is_stranger(&self, segment: &Segment<'_>) -> bool {
        let called = self.state == State::Greeting { first: true };
        called && segment.has(ACK) && !self.is_answer(segment)
    }

    /// Whether the guest answers our SYN.
    fn is_answer(&self, segment: &Segment<'_>) -> bool {
        segment.has(ACK) && segment.acknowledged == self.end && self.end != self.oldest
    }

    /// The guest knows already that it is over.
    fn vanish(&mut self) {
        self.far.reset();
        self.state = State::Over;
    }

    fn greeted(&mut self, first: bool, segment: &Segment<'_>, pen: &mut Pen<'_>, room: usize) {
        let answers = self.is_answer(segment);
        if segment.has(RST) {
            if answers || (!first && segment.sequence == self.expected) {
                self.vanish();
            }
        } else if first && segment.has(SYN) && answers {
            self.meet(segment);
            self.open();
            self.due = true;
        } else if !first && segment.has(SYN) {
            self.greet |= segment.sequence.wrapping_add(1) == self.expected;
        } else if !first && answers {
            self.open();
            self.converse(segment, pen, room);
        }
    }

    fn open(&mut self) {
        self.state = State::Open;
        (self.oldest, self.next) = (self.end, self.end);
        (self.retries, self.deadline) = (0, None);
    }

    fn converse(&mut self, segment: &Segment<'_>, pen: &mut Pen<'_>, room: usize) {
        if segment.has(RST) {
            // One that is only near may be a stranger's guess (RFC 5961).
            let near = ahead(segment.sequence, self.expected).is_some_and(|by| by < MAX_WINDOW);
            match segment.sequence == self.expected {
                true => self.vanish(),
                false => self.due |= near,
            }
            return;
        }
        if segment.has(SYN) || !segment.has(ACK) {
            self.due |= segment.has(SYN);
            return;
        }
        if !self.acknowledged(segment, pen) {
            return;
        }
        if segment.len() > 0 && self.take(segment, room).is_err() {
            self.abort();
        }
        self.finish();
    }

    /// Takes the segment's acknowledgement and window. False: it acknowledges what was never sent.
    fn acknowledged(&mut self, segment: &Segment<'_>, pen: &mut Pen<'_>) -> bool {
        let Some(news) = ahead(segment.acknowledged, self.oldest) else { return true };
        if news > self.end.wrapping_sub(self.oldest) {
            self.due = true;
            return false;
        }
        let window = u32::from(segment.window) << self.peer.shift;
        let repeats =
            news == 0 && segment.len() == 0 && window == self.peer.window && self.end != self.oldest;
        let opens = self.peer.window == 0 && window > 0;
        self.peer.window = window;
        if news > 0 {
            let of_data = match self.fin {
                Some(fin) if ahead(segment.acknowledged, fin) > Some(0) => news.wrapping_sub(1),
                _ => news,
            };
            self.far.discard(usize::try_from(of_data).unwrap_or(0), pen.scratch);
            self.oldest = segment.acknowledged;
            if ahead(self.next, self.oldest).is_none() {
                self.next = self.oldest;
            }
            (self.repeated, self.retries) = (0, 0);
            if self.recovering.is_some_and(|until| ahead(self.oldest, until).is_some()) {
                self.recovering = None;
            }
            self.deadline = (self.end != self.oldest).then(|| later(pen.now, FIRST_TIMEOUT));
            // A service takes more when its answer has gone.
            if self.drain().is_err() {
                self.abort();
            }
        } else if opens {
            // A guest without a place has dropped what it was asked with (RFC 9293, 3.8.6.1).
            (self.probe, self.retries, self.deadline) = (false, 0, None);
            self.again();
        } else if repeats {
            self.repeated = self.repeated.saturating_add(1);
            if self.repeated >= 3 && self.recovering.is_none() {
                self.recovering = Some(self.end);
                self.again();
            }
        }
        true
    }

    /// Sends all again that the guest has not acknowledged.
    fn again(&mut self) {
        (self.next, self.repeated) = (self.oldest, 0);
        self.far.look_again();
    }

    /// Takes the data of a segment, as far as it is new, in order, and has a place.
    fn take(&mut self, segment: &Segment<'_>, room: usize) -> Result<(), Broken> {
        // Whatever comes of it, the guest is told how far we are.
        self.due = true;
        let Some(old) = ahead(self.expected, segment.sequence) else { return Ok(()) };
        if self.heard_fin {
            return Ok(());
        }
        let old = usize::try_from(old).unwrap_or(usize::MAX);
        let Some(new) = segment.payload.get(old..) else { return Ok(()) };
        self.drain()?;
        let may_answer = room > 0 || matches!(self.far, Far::Host(_));
        let mut taken = if self.pending.is_empty() && may_answer { self.far.write(new)? } else { 0 };
        let rest = new.get(taken..).unwrap_or_default();
        let free = MAX_PENDING.saturating_sub(self.pending.len()).min(room);
        let kept = rest.get(..free).unwrap_or(rest);
        self.pending.extend_from_slice(kept);
        taken = taken.saturating_add(kept.len());
        self.expected = self.expected.wrapping_add(u32::try_from(taken).unwrap_or(0));
        if segment.has(FIN) && taken == new.len() {
            self.expected = self.expected.wrapping_add(1);
            self.heard_fin = true;
            if self.pending.is_empty() {
                self.far.shut()?;
            }
        }
        Ok(())
    }

    /// The deadline has passed.
    pub(crate) fn late(&mut self, now: Instant) {
        self.deadline = None;
        if self.state == State::Open && self.peer.window == 0 {
            // The guest has no place; that it has some again may have been lost.
            self.probe = true;
            self.retries = self.retries.saturating_add(1).min(MAX_RETRIES / 2);
            self.again();
            return;
        }
        if self.state == State::Open && self.end == self.oldest {
            return;
        }
        self.retries = self.retries.saturating_add(1);
        if self.retries > if self.is_begun() { self.patience } else { MAX_RETRIES } {
            log::debug!("the guest has not answered on {:?}", self.key);
            self.abort();
            return;
        }
        self.touched = now;
        self.greet |= self.is_begun();
        self.recovering = None;
        self.again();
    }

    fn wait(&mut self, now: Instant) {
        if self.deadline.is_none() {
            let timeout =
                FIRST_TIMEOUT.saturating_mul(1u32.checked_shl(self.retries.into()).unwrap_or(u32::MAX));
            self.deadline = Some(later(now, timeout.min(LAST_TIMEOUT)));
        }
    }

    /// Writes the next frame for the guest, if there is one: its length, and what is left to do with it.
    pub(crate) fn speak(&mut self, frame: &mut Frame, pen: &mut Pen<'_>) -> Option<(usize, Offload)> {
        match self.state {
            State::Breaking => {
                self.state = State::Over;
                Some(self.write(frame, pen, RST | ACK, self.next, 0))
            }
            State::Greeting { first } if self.greet => {
                self.greet = false;
                self.end = self.oldest.wrapping_add(1);
                self.wait(pen.now);
                let flags = if first { SYN } else { SYN | ACK };
                Some(self.write(frame, pen, flags, self.oldest, 0))
            }
            State::Open => {
                if let Some(told) = self.tell(frame, pen) {
                    return Some(told);
                }
                if self.state == State::Breaking {
                    return self.speak(frame, pen);
                }
                if !self.due {
                    return None;
                }
                let written = self.write(frame, pen, ACK, self.next, 0);
                self.finish();
                Some(written)
            }
            _ => None,
        }
    }

    /// Data, or that there will be no more.
    fn tell(&mut self, frame: &mut Frame, pen: &mut Pen<'_>) -> Option<(usize, Offload)> {
        if self.fin.is_some_and(|fin| self.next.wrapping_sub(1) == fin) {
            return None;
        }
        let under_way = usize::try_from(self.next.wrapping_sub(self.oldest)).unwrap_or(usize::MAX);
        let window = usize::try_from(self.peer.window).unwrap_or(usize::MAX).max(usize::from(self.probe));
        let room = window.min(MAX_UNDER_WAY).saturating_sub(under_way).min(MAX_PAYLOAD);
        let mss = usize::from(self.peer.mss);
        let most = match room {
            // Large segments are IPv4's only.
            room if !pen.takes.segments || self.key.address.is_ipv6() => room.min(mss),
            room if room > mss => room.saturating_sub(room.checked_rem(mss).unwrap_or(0)),
            room => room,
        };
        let found = match most {
            // What is under way has its time, and is answered.
            0 if under_way > 0 => return None,
            0 => self.far.look(0, pen.scratch, &mut [0]),
            _ => {
                let front = self.key.front().saturating_add(TCP);
                let space = frame.get_mut(front..front.saturating_add(most)).unwrap_or_default();
                self.far.look(under_way, pen.scratch, space)
            }
        };
        match found {
            Found::Bytes(_) if most == 0 => {
                // The guest has no place: it is asked again, in time.
                self.wait(pen.now);
                None
            }
            Found::Bytes(count) => {
                self.probe = false;
                let sequence = self.next;
                self.next = sequence.wrapping_add(u32::try_from(count).unwrap_or(0));
                self.sent();
                self.wait(pen.now);
                Some(self.write(frame, pen, ACK | PSH, sequence, count))
            }
            Found::Nothing => None,
            Found::End => {
                let sequence = self.next;
                self.fin = Some(sequence);
                self.next = sequence.wrapping_add(1);
                self.sent();
                self.wait(pen.now);
                Some(self.write(frame, pen, ACK | FIN, sequence, 0))
            }
            Found::Broken => {
                self.abort();
                None
            }
        }
    }

    fn sent(&mut self) {
        if ahead(self.next, self.end).is_some() {
            self.end = self.next;
        }
    }

    /// What the guest may still send.
    fn window(&self) -> u32 {
        u32::try_from(MAX_PENDING.saturating_sub(self.pending.len())).unwrap_or(0)
    }

    /// Puts the headers before a payload that is in its place.
    fn write(
        &mut self,
        frame: &mut Frame,
        pen: &Pen<'_>,
        flags: u8,
        sequence: u32,
        payload: usize,
    ) -> (usize, Offload) {
        let [high, low] = self.key.mss().to_be_bytes();
        let options: &[u8] = match flags & SYN {
            0 => &[],
            _ if self.peer.scales || flags & ACK == 0 => &[2, 4, high, low, 1, 3, 3, SHIFT],
            _ => &[2, 4, high, low],
        };
        let shift = if flags & SYN == 0 && self.peer.scales { SHIFT } else { 0 };
        let field = u16::try_from(self.window() >> shift).unwrap_or(u16::MAX);
        self.promised = self.expected.wrapping_add(u32::from(field) << shift);
        self.due = false;
        let route = self.key.route(pen.guest.macs(), self.far.ttl());
        let len = TCP.saturating_add(options.len()).saturating_add(payload);
        let mut tcp = Tcp {
            source: self.key.port.into(),
            destination: self.key.guest_port.into(),
            sequence: sequence.into(),
            acknowledged: if flags & ACK == 0 { 0 } else { self.expected }.into(),
            length: u8::try_from(TCP.saturating_add(options.len()) / 4).unwrap_or(0) << 4,
            flags,
            window: field.into(),
            checksum: 0.into(),
            urgent: 0.into(),
        };
        let sum = pseudo(route.source, route.destination, PROTOCOL_TCP, len);
        let start = self.key.front();
        wire::put(frame, 0, route.headers(PROTOCOL_TCP, len).as_slice());
        let whole = start.saturating_add(len).min(MAX_FRAME);
        let mut offload = Offload::default();
        if pen.takes.checksum {
            tcp.checksum = sum.folded().into();
            offload.checksum = Some(Checksum { start: u16::try_from(start).unwrap_or(0), offset: 16 });
            offload.segment = (payload > self.peer.mss.into()).then_some(self.peer.mss);
        }
        wire::put(frame, start, tcp.as_bytes());
        wire::put(frame, start.saturating_add(TCP), options);
        if !pen.takes.checksum {
            let sum = sum.add(frame.get(start..whole).unwrap_or_default()).finish();
            wire::put(frame, start.saturating_add(16), &sum.to_be_bytes());
        }
        (whole, offload)
    }
}

fn later(now: Instant, by: Duration) -> Instant {
    now.checked_add(by).unwrap_or(now)
}
