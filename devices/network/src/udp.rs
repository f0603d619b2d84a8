//! Datagrams between the guest and the host's network: a socket for each pair of a guest's port and a far end, or a
//! forwarded port that many send to. What comes waits in the host's sockets until the guest has a place for it.

use crate::dhcp::MTU;
use crate::epoll::Token;
use crate::forward;
use crate::host::beyond;
use crate::offload::Frame;
use crate::subnet::{Guest, TTL};
use crate::tcp::Key;
use crate::wire::{self, ETHERNET, IP, UDP};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};
use zerocopy::IntoBytes as _;

/// Flows at a time; one more ends the one that has been idle for longest.
pub(crate) const MAX_FLOWS: usize = 1024;
/// As EC2's own tracking has it: for what was never answered, and for what was.
const UNANSWERED: Duration = Duration::from_secs(30);
const ANSWERED: Duration = Duration::from_secs(180);
/// A resolver that says nothing for so long is passed over.
const RESOLVER: Duration = Duration::from_secs(4);
/// Flows are looked over this often.
const SWEEP: Duration = Duration::from_secs(1);

/// Where in a frame the longest packet ends.
const END: usize = ETHERNET + MTU as usize;

/// How a flow's datagrams leave.
#[derive(Debug)]
pub(crate) enum Way {
    /// By a socket of its own, which hears its far end only.
    Own(OwnedFd),
    /// By a forwarded port, to who sent there.
    Port { index: usize, peer: SocketAddr },
}

#[derive(Debug)]
struct Flow {
    key: Key,
    way: Way,
    generation: u32,
    touched: Instant,
    answered: bool,
    /// Whose answer to the guest's query is waited for.
    resolver: Option<SocketAddr>,
}

impl Flow {
    fn ends(&self) -> Instant {
        let idle = match (self.answered, self.resolver) {
            (false, Some(_)) => RESOLVER,
            (false, None) => UNANSWERED,
            (true, _) => ANSWERED,
        };
        self.touched.checked_add(idle).unwrap_or(self.touched)
    }
}

/// A forwarded port.
#[derive(Debug)]
pub(crate) struct Port {
    pub(crate) fd: OwnedFd,
    pub(crate) guest: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ready {
    Flow(usize),
    Port(usize),
}

/// What became of a flow that the guest should hear of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) key: Key,
    pub(crate) resolver: Option<SocketAddr>,
    pub(crate) cause: Errno,
}

#[derive(Debug, Default)]
pub(crate) struct Flows {
    entries: Slab<Flow>,
    by_key: HashMap<Key, usize>,
    pub(crate) ports: Vec<Port>,
    ready: VecDeque<Ready>,
    generation: u32,
    next_sweep: Option<Instant>,
}

impl Flows {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn deadline(&self) -> Option<Instant> {
        self.next_sweep
    }

    /// Makes a flow of the guest's, by a socket that `open` makes with its token.
    pub(crate) fn begin(
        &mut self,
        key: Key,
        resolver: Option<SocketAddr>,
        now: Instant,
        open: impl FnOnce(Token) -> Option<OwnedFd>,
    ) -> Option<()> {
        let fd = open(Token::udp(self.place(), self.generation))?;
        self.insert(key, Way::Own(fd), resolver, now);
        Some(())
    }

    /// Where the next flow will be, whose generation is the current one.
    fn place(&mut self) -> usize {
        if self.entries.len() >= MAX_FLOWS {
            self.make_room();
        }
        self.generation = self.generation.wrapping_add(1);
        self.entries.vacant_key()
    }

    pub(crate) fn make_room(&mut self) {
        let oldest = self.entries.iter().min_by_key(|(_, flow)| flow.touched).map(|(index, _)| index);
        if let Some(index) = oldest {
            self.remove(index);
        }
    }

    fn insert(&mut self, key: Key, way: Way, resolver: Option<SocketAddr>, now: Instant) {
        let generation = self.generation;
        let flow = Flow { key, way, generation, touched: now, answered: false, resolver };
        let index = self.entries.insert(flow);
        self.by_key.insert(key, index);
        self.next_sweep = self.next_sweep.or(now.checked_add(SWEEP));
    }

    fn remove(&mut self, index: usize) {
        if let Some(flow) = self.entries.try_remove(index) {
            self.by_key.remove(&flow.key);
        }
    }

    pub(crate) fn knows(&self, key: &Key) -> bool {
        self.by_key.contains_key(key)
    }

    /// Sends a datagram of the guest's on its flow.
    pub(crate) fn send(&mut self, key: &Key, payload: &[u8], now: Instant) -> Option<Refused> {
        let index = *self.by_key.get(key)?;
        let flow = self.entries.get_mut(index)?;
        // A resolver's silence counts from the first query that it has not answered, for whoever asks from one port.
        if flow.resolver.is_none() || flow.answered {
            flow.touched = now;
        }
        flow.answered &= flow.resolver.is_none();
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        let sent = match &flow.way {
            Way::Own(fd) => rustix::net::send(fd, payload, flags),
            Way::Port { index, peer } => {
                flow.answered = true;
                let port = self.ports.get(*index)?;
                rustix::net::sendto(&port.fd, payload, flags, peer)
            }
        };
        match sent {
            Err(cause @ (Errno::CONNREFUSED | Errno::NETUNREACH | Errno::HOSTUNREACH)) => {
                self.refused(index, cause)
            }
            // A full buffer: a datagram is lost, as they are.
            _ => None,
        }
    }

    fn refused(&mut self, index: usize, cause: Errno) -> Option<Refused> {
        let flow = self.entries.get(index)?;
        let refused = Refused { key: flow.key, resolver: flow.resolver, cause };
        self.remove(index);
        Some(refused)
    }

    pub(crate) fn event(&mut self, index: usize, generation: u32) {
        if self.entries.get(index).is_some_and(|flow| flow.generation == generation) {
            self.queue(Ready::Flow(index));
        }
    }

    pub(crate) fn port_event(&mut self, index: usize) {
        self.queue(Ready::Port(index));
    }

    fn queue(&mut self, ready: Ready) {
        // Few are ready at a time, and none stands there twice.
        if !self.ready.contains(&ready) {
            self.ready.push_back(ready);
        }
    }

    /// The next datagram for the guest, or a flow whose far end refused.
    pub(crate) fn speak(
        &mut self,
        guest: &Guest,
        frame: &mut Frame,
        now: Instant,
    ) -> Option<Result<usize, Refused>> {
        while let Some(ready) = self.ready.pop_front() {
            let front = match ready {
                Ready::Flow(index) => self.entries.get(index).map_or(END, |flow| flow.key.front()),
                // Who sends to a forwarded port is seen at an address of IPv4.
                Ready::Port(_) => ETHERNET + IP,
            };
            let start = front.saturating_add(UDP);
            let space = frame.get_mut(start..END).unwrap_or_default();
            let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
            let (key, len) = match ready {
                Ready::Flow(index) => {
                    let Some(flow) = self.entries.get_mut(index) else { continue };
                    let Way::Own(fd) = &flow.way else { continue };
                    match rustix::net::recv(fd, space, flags) {
                        Ok((_, len)) => {
                            (flow.answered, flow.touched) = (true, now);
                            (flow.key, len)
                        }
                        Err(cause @ (Errno::CONNREFUSED | Errno::NETUNREACH | Errno::HOSTUNREACH)) => {
                            return self.refused(index, cause).map(Err);
                        }
                        Err(_) => continue,
                    }
                }
                Ready::Port(index) => {
                    let Some(port) = self.ports.get(index) else { continue };
                    let Ok((_, len, peer)) = rustix::net::recvfrom(&port.fd, space, flags) else { continue };
                    let guest_port = port.guest;
                    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                    let key = peer.and_then(|peer| self.called(guest, index, guest_port, peer, now));
                    self.queue(ready);
                    let Some(key) = key else { continue };
                    (key, len)
                }
            };
            self.queue(ready);
            let end = start.saturating_add(len);
            let Some(payload) = frame.get(start..end).filter(|_| end <= END) else {
                log::debug!("a datagram of {len} bytes is too long for the guest");
                continue;
            };
            let route = key.route(guest.macs(), TTL);
            let (headers, udp) = route.datagram_headers((key.port, key.guest_port), payload);
            wire::put(frame, 0, headers.as_slice());
            wire::put(frame, front, udp.as_bytes());
            return Some(Ok(end));
        }
        None
    }

    /// The flow of who sent to a forwarded port; made, where there is none.
    fn called(
        &mut self,
        guest: &Guest,
        index: usize,
        guest_port: u16,
        peer: SocketAddr,
        now: Instant,
    ) -> Option<Key> {
        let is_its =
            |flow: &Flow| matches!(flow.way, Way::Port { index: i, peer: p } if i == index && p == peer);
        let (address, port) = forward::seen_as(
            peer,
            guest.router(),
            |address| beyond(guest, address, false).is_some(),
            |address, port| {
                let at = self.by_key.get(&guest.key(guest_port, address, port));
                at.and_then(|at| self.entries.get(*at)).is_none_or(is_its)
            },
        )?;
        let key = guest.key(guest_port, address, port);
        match self.by_key.get(&key).and_then(|at| self.entries.get_mut(*at)) {
            Some(flow) => flow.touched = now,
            None => {
                self.place();
                self.insert(key, Way::Port { index, peer }, None, now);
            }
        }
        Some(key)
    }

    /// Ends what has been idle; gives the resolvers that were silent.
    pub(crate) fn sweep(&mut self, now: Instant) -> Vec<SocketAddr> {
        if self.next_sweep.is_none_or(|at| now < at) {
            return Vec::new();
        }
        let mut silent = Vec::new();
        self.entries.retain(|_, flow| {
            let keep = now < flow.ends();
            if !keep {
                self.by_key.remove(&flow.key);
                silent.extend(flow.resolver.filter(|_| !flow.answered));
            }
            keep
        });
        self.next_sweep = if self.entries.is_empty() { None } else { now.checked_add(SWEEP) };
        silent
    }

    /// Ends them all; forwarded ports stay.
    pub(crate) fn clear(&mut self) {
        self.entries.clear();
        self.by_key.clear();
    }
}
