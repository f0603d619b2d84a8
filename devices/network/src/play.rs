//! A guest for the tests: a small TCP of its own and datagrams, on a link whose frames may be lost and change places.
//! Its clock goes on when nothing else does.
#![expect(
    clippy::arithmetic_side_effects,
    clippy::cast_possible_truncation,
    reason = "the tests' own numbers"
)]

use crate::link::{Link, Now};
use crate::offload::{Checksum, Frame, MAX_FRAME, Offload, Takes};
use crate::subnet::Guest;
use crate::user::{Config, UserLink};
use crate::wire::{ACK, FIN, Macs, PROTOCOL_TCP, Packet, RST, Route, SYN, TCP, Tcp, pseudo};
use crate::{Resolvers, tcp::Segment};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes as _;

pub(crate) const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 31, 4, 66);
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 1);
pub(crate) const RESOLVER: Ipv4Addr = Ipv4Addr::new(172, 31, 0, 2);
/// Until a test counts as stuck.
const PATIENCE: Duration = Duration::from_secs(120);

pub(crate) fn config() -> Config {
    let guest = Guest {
        mac: [2, 0, 0, 0, 0, 1],
        address: ADDRESS,
        prefix: 20,
        ipv6: None,
        host_name: "ip-172-31-4-66".to_owned(),
        domain: "ec2.internal".to_owned(),
    };
    let resolvers = Resolvers::These(Vec::new());
    Config { guest, resolvers, services: Vec::new(), forwards: Vec::new(), host_loopback: true }
}

/// Bytes of which no two stretches are alike.
pub(crate) fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x2545_f491u32;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            state as u8
        })
        .collect()
}

/// Somebody on the host.
pub(crate) fn host<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> JoinHandle<T> {
    std::thread::Builder::new().name("host".to_owned()).spawn(|| work().unwrap()).unwrap()
}

/// The link, its clock, and its misfortunes.
pub(crate) struct Play<L = UserLink> {
    pub(crate) link: L,
    frame: Box<Frame>,
    macs: Macs,
    skipped: Duration,
    /// One frame in so many is lost, either way; one in so many comes after the next.
    pub(crate) loses: u64,
    pub(crate) swaps: u64,
    /// The next frame with data is lost.
    pub(crate) loses_next: bool,
    held: Option<(Vec<u8>, Offload)>,
    random: u64,
    pub(crate) takes: Takes,
    /// What came that is no TCP.
    pub(crate) others: Vec<Vec<u8>>,
    /// The longest payload, and the size of the packets it is for, of a TCP segment.
    pub(crate) largest: (usize, Option<u16>),
    pub(crate) ttls: Vec<u8>,
}

impl Play {
    pub(crate) fn new(config: Config) -> Play {
        let macs = config.guest.macs();
        Play::on(UserLink::new(config).unwrap(), macs, Takes::default())
    }

    pub(crate) fn with_offloads(config: Config) -> Play {
        let macs = config.guest.macs();
        Play::on(UserLink::new(config).unwrap(), macs, Takes { checksum: true, segments: true })
    }
}

impl<L: Link> Play<L> {
    pub(crate) fn on(mut link: L, macs: Macs, takes: Takes) -> Play<L> {
        link.begin(takes);
        Play {
            link,
            frame: vec![0; MAX_FRAME].into_boxed_slice().try_into().unwrap(),
            macs,
            skipped: Duration::ZERO,
            loses: 0,
            swaps: 0,
            loses_next: false,
            held: None,
            random: 88172645463325252,
            takes,
            others: Vec::new(),
            largest: (0, None),
            ttls: Vec::new(),
        }
    }

    pub(crate) fn now(&self) -> Now {
        let now = Now::read();
        Now { instant: now.instant + self.skipped, ..now }
    }

    fn chance(&mut self, one_in: u64) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        one_in > 0 && self.random.is_multiple_of(one_in)
    }

    pub(crate) fn give(&mut self, frame: &[u8], offload: Offload) {
        if !self.chance(self.loses) {
            self.link.send(frame, offload, self.now());
        }
    }

    pub(crate) fn route(&self, to: Ipv4Addr) -> Route {
        let macs = Macs { guest: self.macs.router, router: self.macs.guest };
        Route { macs, source: ADDRESS.into(), destination: to.into(), ttl: 64 }
    }

    pub(crate) fn datagram(&mut self, port: u16, to: SocketAddrV4, payload: &[u8]) {
        let frame = self.route(*to.ip()).datagram((port, to.port()), payload);
        self.give(&frame, Offload::default());
    }

    /// Lets everybody go on until `done`; each call of it is after something happened, or nothing does.
    pub(crate) fn until(
        &mut self,
        clients: &mut [&mut Client],
        mut done: impl FnMut(&mut Play<L>, &mut [&mut Client]) -> bool,
    ) {
        let begun = Instant::now();
        while !done(self, clients) {
            assert!(begun.elapsed() < PATIENCE, "stuck, with {:?}", self.link);
            if !self.turn(clients) {
                self.idle(clients);
            }
        }
    }

    /// Whether anything happened.
    pub(crate) fn turn(&mut self, clients: &mut [&mut Client]) -> bool {
        let mut happened = self.link.poll(self.now());
        let now = self.now();
        while let Some((len, offload)) = self.link.receive(&mut self.frame, now) {
            happened = true;
            let frame = self.frame[..len].to_vec();
            let loses_this = len > 1000 && std::mem::take(&mut self.loses_next);
            if loses_this || self.chance(self.loses) {
                continue;
            }
            if self.held.is_none() && self.chance(self.swaps) {
                self.held = Some((frame, offload));
                continue;
            }
            self.deliver(&frame, offload, clients);
            if let Some((held, offload)) = self.held.take() {
                self.deliver(&held, offload, clients);
            }
        }
        for client in clients {
            happened |= client.speak(self);
        }
        happened
    }

    fn deliver(&mut self, frame: &[u8], offload: Offload, clients: &mut [&mut Client]) {
        if frame[12..14] != [8, 0] || frame[23] != PROTOCOL_TCP {
            self.others.push(frame.to_vec());
            return;
        }
        assert_eq!(frame[..6], self.macs.guest, "a frame for another station");
        let packet = Packet::parse(&frame[14..]).expect("a good packet");
        assert_eq!(packet.destination, ADDRESS);
        self.ttls.push(frame[22]);
        let without = offload.checksum.is_some();
        assert_eq!(without, self.takes.checksum && frame.len() > 54 || without, "as was agreed");
        if let Some(checksum) = offload.checksum {
            assert_eq!(checksum, Checksum { start: 34, offset: 16 });
            let held = u16::from_be_bytes([frame[50], frame[51]]);
            assert_eq!(held, packet.pseudo(packet.payload.len()).folded(), "the pseudo-header's sum");
        }
        let segment = Segment::parse(&packet, without).expect("a good segment");
        self.largest = self.largest.max((segment.payload.len(), offload.segment));
        for client in clients {
            if client.port == segment.destination {
                client.hear(&packet, &segment, offload);
            }
        }
    }

    /// Waits for the host a little, or lets the time come when something is done again.
    fn idle(&mut self, clients: &mut [&mut Client]) {
        let wait = Timespec { tv_sec: 0, tv_nsec: 5_000_000 };
        if poll(&mut [PollFd::new(&self.link, PollFlags::IN)], Some(&wait)).unwrap() == 0 {
            self.skipped += Duration::from_millis(500);
            clients.iter_mut().for_each(|client| client.again());
        }
    }
}

/// One connection of the guest's.
#[derive(Debug)]
pub(crate) struct Client {
    pub(crate) port: u16,
    pub(crate) to: SocketAddrV4,
    pub(crate) send: Vec<u8>,
    /// It says no more when all is sent.
    pub(crate) ends: bool,
    /// Longest segment.
    pub(crate) longest: usize,
    pub(crate) received: Vec<u8>,
    /// What it has a place for, at the moment.
    pub(crate) window: u32,
    pub(crate) connected: bool,
    pub(crate) ended: bool,
    pub(crate) reset: bool,
    pub(crate) listening: bool,
    /// Nobody listens after all.
    pub(crate) refuses: bool,
    first: u32,
    acknowledged: u32,
    next: u32,
    theirs: u32,
    their_window: u32,
    their_scale: u8,
    due: bool,
    /// Segments that came before their time: each is answered.
    repeats: u32,
}

const SCALE: u8 = 4;
const FIRST: u32 = 0xffff_fff0;

impl Client {
    pub(crate) fn new(port: u16, to: SocketAddrV4) -> Client {
        Client {
            port,
            to,
            send: Vec::new(),
            ends: false,
            longest: 1400,
            received: Vec::new(),
            window: 0xf_fff0,
            connected: false,
            ended: false,
            reset: false,
            listening: false,
            refuses: false,
            first: FIRST,
            acknowledged: FIRST,
            next: FIRST,
            theirs: 0,
            their_window: 0,
            their_scale: 0,
            due: false,
            repeats: 0,
        }
    }

    /// Waits at a port for somebody to connect.
    pub(crate) fn listen(port: u16) -> Client {
        Client { listening: true, ..Client::new(port, SocketAddrV4::new(ROUTER, 0)) }
    }

    /// All that it said has arrived.
    pub(crate) fn is_sent(&self) -> bool {
        let all = self.send.len() as u32 + 1 + u32::from(self.ends);
        self.connected && self.acknowledged.wrapping_sub(self.first) == all
    }

    /// What it could not say yet.
    pub(crate) fn unsaid(&self) -> usize {
        self.send.len() - self.acknowledged.wrapping_sub(self.first) as usize
    }

    pub(crate) fn again(&mut self) {
        self.next = self.acknowledged;
    }

    pub(crate) fn acknowledge(&mut self) {
        self.due = true;
    }

    fn hear(&mut self, packet: &Packet<'_>, segment: &Segment<'_>, offload: Offload) {
        if self.listening && segment.has(SYN) {
            let IpAddr::V4(source) = packet.source else { return };
            self.to = SocketAddrV4::new(source, segment.source);
            self.theirs = segment.sequence.wrapping_add(1);
            self.their_window = segment.window.into();
            self.their_scale = segment.scale.unwrap_or(0);
            (self.listening, self.due) = (false, true);
            self.next = self.first;
            self.acknowledged = self.first;
            return;
        }
        if (packet.source, segment.source) != (IpAddr::V4(*self.to.ip()), self.to.port()) {
            return;
        }
        self.reset |= segment.has(RST);
        if self.reset {
            return;
        }
        if segment.has(SYN) {
            self.due = true;
            if !segment.has(ACK) || self.connected {
                return;
            }
            self.theirs = segment.sequence.wrapping_add(1);
            self.their_scale = segment.scale.unwrap_or(0);
            assert_eq!(segment.mss, Some(8961));
            assert_eq!(segment.acknowledged, self.first.wrapping_add(1));
        }
        let news = segment.acknowledged.wrapping_sub(self.acknowledged);
        if news < 1 << 31 {
            assert!(
                news <= self.end().wrapping_sub(self.acknowledged),
                "it acknowledges what was never said"
            );
            self.acknowledged = segment.acknowledged;
            if self.next.wrapping_sub(self.acknowledged) >= 1 << 31 {
                self.next = self.acknowledged;
            }
            let shift = if segment.has(SYN) { 0 } else { self.their_scale };
            self.their_window = u32::from(segment.window) << shift;
            self.connected |= news > 0;
        }
        assert!(segment.payload.len() <= offload.segment.map_or(8961, |_| 65495));
        if segment.payload.is_empty() && !segment.has(FIN) {
            return;
        }
        self.due = true;
        let old = self.theirs.wrapping_sub(segment.sequence) as usize;
        if old > segment.payload.len() {
            self.repeats += 1;
            return;
        }
        let new = &segment.payload[old..];
        let place = new.len().min(self.window as usize);
        self.received.extend(&new[..place]);
        self.window -= place as u32;
        self.theirs = self.theirs.wrapping_add(place as u32);
        if segment.has(FIN) && place == new.len() && !self.ended {
            self.theirs = self.theirs.wrapping_add(1);
            self.ended = true;
        }
    }

    fn end(&self) -> u32 {
        self.first.wrapping_add(self.send.len() as u32 + 1 + u32::from(self.ends))
    }

    /// Says what it may; false: nothing.
    fn speak<L: Link>(&mut self, play: &mut Play<L>) -> bool {
        if self.reset || self.listening {
            return false;
        }
        if self.refuses {
            self.break_off(play);
            return true;
        }
        let mut spoke = false;
        if self.next == self.first {
            self.next = self.first.wrapping_add(1);
            let flags = if self.theirs == 0 { SYN } else { SYN | ACK };
            self.write(play, flags, self.first, &[]);
            return true;
        }
        while self.connected {
            let from = self.next.wrapping_sub(self.first.wrapping_add(1)) as usize;
            let room = self.their_window.saturating_sub(self.next.wrapping_sub(self.acknowledged));
            let count = self.longest.min(room as usize).min(self.send.len().saturating_sub(from));
            if count == 0 {
                if self.ends && from == self.send.len() {
                    self.write(play, FIN | ACK, self.next, &[]);
                    self.next = self.next.wrapping_add(1);
                    spoke = true;
                }
                break;
            }
            let payload = self.send[from..from + count].to_vec();
            self.write(play, ACK, self.next, &payload);
            self.next = self.next.wrapping_add(count as u32);
            spoke = true;
        }
        for _ in 0..std::mem::take(&mut self.repeats) {
            self.write(play, ACK, self.next, &[]);
        }
        if self.due && self.connected {
            self.write(play, ACK, self.next, &[]);
            spoke = true;
        }
        self.due = false;
        spoke
    }

    pub(crate) fn write<L: Link>(&mut self, play: &mut Play<L>, flags: u8, sequence: u32, payload: &[u8]) {
        self.due = false;
        let options: &[u8] = if flags & SYN == 0 { &[] } else { &[2, 4, 0x23, 0x01, 1, 3, 3, SCALE] };
        let window = if flags & SYN == 0 { self.window >> SCALE } else { self.window };
        let mut tcp = Tcp {
            source: self.port.into(),
            destination: self.to.port().into(),
            sequence: sequence.into(),
            acknowledged: if flags & ACK == 0 { 0 } else { self.theirs }.into(),
            length: ((TCP + options.len()) / 4 * 16) as u8,
            flags,
            window: u16::try_from(window).unwrap_or(u16::MAX).into(),
            checksum: 0.into(),
            urgent: 0.into(),
        };
        let len = TCP + options.len() + payload.len();
        let route = play.route(*self.to.ip());
        let sum = pseudo(route.source, route.destination, PROTOCOL_TCP, len);
        let left = payload.len() > 8961;
        tcp.checksum = match left {
            true => sum.folded(),
            false => sum.add(tcp.as_bytes()).add(options).add(payload).finish(),
        }
        .into();
        let frame = [route.headers(PROTOCOL_TCP, len).as_slice(), tcp.as_bytes(), options, payload].concat();
        let checksum = left.then_some(Checksum { start: 34, offset: 16 });
        play.give(&frame, Offload { checksum, segment: left.then_some(8961) });
    }

    /// A reset that fits.
    pub(crate) fn break_off<L: Link>(&mut self, play: &mut Play<L>) {
        self.write(play, RST | ACK, self.next, &[]);
        self.reset = true;
    }
}
