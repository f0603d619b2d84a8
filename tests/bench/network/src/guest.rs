//! The generated guest: as much of ARP and TCP as a benchmark needs. It trusts who it speaks with.

use crate::wire::{MAC, Subnet, Wire};
use ami_run_network::{Checksum, Offload};
use std::io;
use std::time::{Duration, Instant};

pub(crate) const FIN: u8 = 1;
pub(crate) const SYN: u8 = 2;
pub(crate) const RST: u8 = 4;
pub(crate) const ACK: u8 = 16;
const SCALE: u8 = 7;
const WINDOW: u32 = 4 << 20;
/// For as long as this the other side may say nothing.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);
/// All measures of one network take 10 s on a quiet machine.
const ALL: Duration = Duration::from_secs(60);
/// After so long without news all is said again.
const AGAIN: Duration = Duration::from_millis(300);

/// One connection. Only how much it says and hears is kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Connection {
    port: u16,
    to: u16,
    first: u32,
    next: u32,
    acknowledged: u32,
    theirs: u32,
    window: u32,
    shift: u8,
    due: bool,
    pub(crate) open: bool,
    pub(crate) ended: bool,
    pub(crate) reset: bool,
    pub(crate) heard: u64,
    pub(crate) arrived: u64,
}

pub(crate) struct Station {
    pub(crate) wire: Wire,
    pub(crate) subnet: Subnet,
    router: [u8; 6],
    next_port: u16,
    /// The longest payload that came in one frame.
    pub(crate) longest: usize,
    payload: Vec<u8>,
    begun: Instant,
}

fn big(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|four| four.try_into().ok()).map_or(0, u32::from_be_bytes)
}

fn sum(bytes: &[u8], begin: u32) -> u32 {
    let (words, rest) = bytes.as_chunks::<2>();
    let last = rest.first().map_or(0, |byte| u32::from(*byte) << 8);
    words.iter().fold(begin + last, |sum, word| sum + u32::from(u16::from_be_bytes(*word)))
}

fn fold(mut sum: u32) -> u16 {
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    u16::try_from(sum).unwrap_or(0)
}

impl Station {
    /// Finds the router.
    pub(crate) fn new(wire: Wire, subnet: Subnet) -> io::Result<Station> {
        let payload = vec![b'x'; subnet.longest];
        let mut station = Station {
            wire,
            subnet,
            router: [0xff; 6],
            next_port: 20000,
            longest: 0,
            payload,
            begun: Instant::now(),
        };
        let ask = station.arp(1, [0; 6], subnet.router.octets());
        let (mut found, begun, mut asked) = (None, Instant::now(), Instant::now() - AGAIN);
        while found.is_none() {
            if asked.elapsed() >= AGAIN {
                asked = Instant::now();
                station.wire.send(&ask, Offload::default());
            }
            station.wire.receive(|frame| {
                if frame.get(12..14) == Some(&[8, 6]) && frame.get(20..22) == Some(&[0, 2]) {
                    found = frame.get(22..28).and_then(|mac| mac.try_into().ok());
                }
            })?;
            station.wire.wait(Duration::from_millis(10))?;
            patient(begun, "an answer to ARP")?;
        }
        station.router = found.unwrap_or_default();
        Ok(station)
    }

    fn arp(&self, operation: u8, mac: [u8; 6], to: [u8; 4]) -> Vec<u8> {
        let own = self.subnet.guest.octets();
        let head = [&self.router[..], &MAC, &[8, 6, 0, 1, 8, 0, 6, 4, 0, operation]].concat();
        [&head[..], &MAC, &own, &mac, &to].concat()
    }

    /// Takes all that came; false: nothing did.
    pub(crate) fn turn(&mut self, connections: &mut [&mut Connection]) -> io::Result<bool> {
        let (mut longest, mut asked) = (self.longest, false);
        let any = self.wire.receive(|frame| {
            asked |= frame.get(12..14) == Some(&[8, 6]) && frame.get(20..22) == Some(&[0, 1]);
            let Some(tcp) = frame.get(34..).filter(|tcp| tcp.len() >= 20 && frame.get(23) == Some(&6)) else {
                return;
            };
            let port = u16::try_from(big(tcp, 0) & 0xffff).unwrap_or(0);
            if let Some(connection) = connections.iter_mut().find(|one| one.port == port) {
                longest =
                    longest.max(connection.hear(tcp, usize::try_from(big(frame, 16) >> 16).unwrap_or(0)));
            }
        })?;
        self.longest = longest;
        if asked {
            let reply = self.arp(2, self.router, self.subnet.router.octets());
            self.wire.send(&reply, Offload::default());
        }
        for connection in connections.iter_mut().filter(|connection| connection.due) {
            self.say(connection, ACK, connection.next, 0);
        }
        Ok(any)
    }

    /// Goes on until `done`, saying as much as `limit` allows in all.
    pub(crate) fn until(
        &mut self,
        connections: &mut [&mut Connection],
        limit: u64,
        mut done: impl FnMut(&[&mut Connection]) -> bool,
    ) -> io::Result<()> {
        let mut news = Instant::now();
        while !done(connections) {
            let mut any = self.turn(connections)?;
            for connection in connections.iter_mut() {
                any |= self.say_more(connection, limit);
            }
            if any {
                news = Instant::now();
                continue;
            }
            self.wire.wait(Duration::from_millis(10))?;
            if news.elapsed() > AGAIN {
                for connection in connections.iter_mut().filter(|connection| connection.open) {
                    connection.next = connection.acknowledged;
                }
            }
            patient(news, "news")?;
            if self.begun.elapsed() > ALL {
                let said = format!("it stalls again and again: no end after {} s", ALL.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, said));
            }
        }
        Ok(())
    }

    fn say_more(&mut self, connection: &mut Connection, limit: u64) -> bool {
        let mut any = false;
        while connection.open && !connection.reset {
            let under_way = connection.next.wrapping_sub(connection.acknowledged);
            let left = limit.saturating_sub(connection.arrived + u64::from(under_way));
            let room = u64::from(connection.window.saturating_sub(under_way)).min(left);
            let len = self.subnet.longest.min(usize::try_from(room).unwrap_or(usize::MAX));
            // No silly small ones while more is under way.
            if len == 0 || (len < self.subnet.longest && left > room && under_way > 0) {
                break;
            }
            let at = connection.next;
            connection.next = at.wrapping_add(u32::try_from(len).unwrap_or(0));
            self.say(connection, ACK, at, len);
            any = true;
        }
        any
    }

    pub(crate) fn connect(&mut self, to: u16) -> io::Result<Connection> {
        let mut connection = self.begin(to);
        self.until(&mut [&mut connection], 0, |all| all.iter().all(|one| one.open || one.reset))?;
        if connection.reset {
            return Err(io::Error::other("the connection was refused"));
        }
        Ok(connection)
    }

    /// Says a SYN, and does not wait.
    pub(crate) fn begin(&mut self, to: u16) -> Connection {
        self.next_port = if self.next_port >= 60000 { 20000 } else { self.next_port + 1 };
        let first = u32::from(self.next_port) << 10;
        let mut connection = Connection {
            port: self.next_port,
            to,
            first,
            next: first + 1,
            acknowledged: first,
            ..Connection::default()
        };
        self.say(&mut connection, SYN, first, 0);
        connection
    }

    /// Ends a connection from this side, and waits for the other.
    pub(crate) fn close(&mut self, connection: &mut Connection) -> io::Result<()> {
        let at = connection.next;
        connection.next = at.wrapping_add(1);
        self.say(connection, FIN | ACK, at, 0);
        self.until(&mut [connection], 0, |all| all.iter().all(|one| one.ended || one.reset))?;
        self.turn(&mut [connection]).map(drop)
    }

    pub(crate) fn abort(&mut self, connection: &mut Connection) {
        self.say(connection, RST | ACK, connection.next, 0);
    }

    fn say(&mut self, connection: &mut Connection, flags: u8, sequence: u32, len: usize) {
        connection.due = false;
        let [high, low] = self.subnet.segment.to_be_bytes();
        let options: &[u8] = if flags & SYN == 0 { &[] } else { &[2, 4, high, low, 1, 3, 3, SCALE] };
        let window = if flags & SYN == 0 { WINDOW >> SCALE } else { 0xffff };
        let window = u16::try_from(window).unwrap_or(u16::MAX).to_be_bytes();
        let acknowledged = if flags == SYN { 0 } else { connection.theirs };
        let header = if options.is_empty() { 0x50 } else { 0x70 };
        let mut tcp = [&connection.port.to_be_bytes()[..], &connection.to.to_be_bytes()].concat();
        tcp.extend(sequence.to_be_bytes());
        tcp.extend(acknowledged.to_be_bytes());
        tcp.extend([header, flags, window[0], window[1], 0, 0, 0, 0]);
        tcp.extend(options);
        let total = u16::try_from(tcp.len() + len).unwrap_or(u16::MAX);
        let (from, to) = (self.subnet.guest.octets(), self.subnet.router.octets());
        let [high, low] = (total + 20).to_be_bytes();
        let mut ip = [&[0x45, 0, high, low, 0, 0, 0x40, 0, 64, 6, 0, 0][..], &from, &to].concat();
        let ip_sum = (!fold(sum(&ip, 0))).to_be_bytes();
        ip.splice(10..12, ip_sum);
        let payload = self.payload.get(..len).unwrap_or_default();
        let pseudo = sum(&from, sum(&to, 6 + u32::from(total)));
        let value = if self.subnet.offloads { fold(pseudo) } else { !fold(sum(payload, sum(&tcp, pseudo))) };
        tcp.splice(16..18, value.to_be_bytes());
        let frame = [&self.router[..], &MAC, &[8, 0], &ip, &tcp, payload].concat();
        let offload = Offload {
            checksum: self.subnet.offloads.then_some(Checksum { start: 34, offset: 16 }),
            segment: (len > usize::from(self.subnet.segment)).then_some(self.subnet.segment),
        };
        self.wire.send(&frame, offload);
    }
}

impl Connection {
    /// Takes a segment in a packet of `total` bytes; gives the length of its payload.
    fn hear(&mut self, tcp: &[u8], total: usize) -> usize {
        let [header, flags] = [12, 13].map(|at| tcp.get(at).copied().unwrap_or(0));
        self.reset |= flags & RST != 0;
        let head = usize::from(header >> 4) * 4;
        let len = total.saturating_sub(20 + head);
        if flags & SYN != 0 {
            self.theirs = big(tcp, 4).wrapping_add(1);
            let scale = tcp.get(20..head).unwrap_or_default().windows(3).find(|three| three[..2] == [3, 3]);
            self.shift = scale.map_or(0, |three| three[2]);
            self.open = true;
            self.acknowledged = self.first.wrapping_add(1);
            self.due = true;
        }
        let shift = if flags & SYN == 0 { self.shift } else { 0 };
        self.window = (big(tcp, 12) & 0xffff) << shift;
        let news = big(tcp, 8).wrapping_sub(self.acknowledged);
        if news > 0 && news <= self.next.wrapping_sub(self.acknowledged) {
            self.acknowledged = big(tcp, 8);
            self.arrived += u64::from(news);
        }
        if len > 0 || flags & FIN != 0 {
            self.due = true;
            if big(tcp, 4) == self.theirs {
                self.heard += len as u64;
                self.ended |= flags & FIN != 0;
                let taken = u32::try_from(len).unwrap_or(0) + u32::from(flags & FIN);
                self.theirs = self.theirs.wrapping_add(taken);
            }
        }
        len
    }
}

fn patient(since: Instant, what: &str) -> io::Result<()> {
    match since.elapsed() > PATIENCE {
        true => {
            let said = format!("{what} did not come for {} s", PATIENCE.as_secs());
            Err(io::Error::new(io::ErrorKind::TimedOut, said))
        }
        false => Ok(()),
    }
}
