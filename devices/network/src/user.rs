//! The user-mode link: which of its parts a frame of the guest's is for, and whose frame the guest gets next.

use crate::dial::{self, Dial, Dialer, Dials, MAX_DIALS};
use crate::dns::{self, Directory, Resolvers};
use crate::epoll::{Epoll, Owner, Token};
use crate::forward::{self, Forward, Protocol};
use crate::link::{Link, Now};
use crate::offload::{Frame, Offload, Takes};
use crate::service::Service;
use crate::subnet::{Guest, TTL};
use crate::tap::TapError;
use crate::tcp::{self, Key, Pen, Segment, far::Far};
use crate::wire::{
    ETHERTYPE_ARP, ETHERTYPE_IP, ETHERTYPE_IP6, PROTOCOL_ICMP, PROTOCOL_ICMP6, PROTOCOL_TCP, PROTOCOL_UDP,
    Packet, Udp,
};
use crate::{dhcp, dhcp6, host, ip6, ntp, udp};
use rustix::io::Errno;
use rustix::net::SocketType;
use std::collections::VecDeque;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;
use zerocopy::FromBytes as _;

/// Answers that wait for the guest to have a place; more are lost, as on any network.
const MAX_REPLIES: usize = 64;
/// Connections that are accepted at a time from one port.
const MAX_ACCEPTED: usize = 64;

/// What a link is made of.
#[derive(Debug)]
pub struct Config {
    pub guest: Guest,
    pub resolvers: Resolvers,
    pub services: Vec<Service>,
    pub forwards: Vec<Forward>,
    /// Whether the router's address leads to the host's loopback.
    pub host_loopback: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    #[error("the port {forward} cannot be forwarded: {}", why(*.cause, *.forward))]
    Forward { forward: Forward, cause: Errno },
    #[error("the host gives no epoll set: {0}")]
    Epoll(Errno),
    #[error(transparent)]
    Tap(#[from] TapError),
}

fn why(cause: Errno, forward: Forward) -> String {
    let host = forward.host;
    match cause {
        Errno::ADDRINUSE => format!("another program has {host}; give another port"),
        Errno::ACCESS => {
            "only root may have ports below net.ipv4.ip_unprivileged_port_start: give one above 1023"
                .to_owned()
        }
        Errno::ADDRNOTAVAIL => format!("{} is no address of this host", host.ip()),
        cause => cause.to_string(),
    }
}

#[derive(Debug)]
struct Listener {
    fd: OwnedFd,
    guest: u16,
    /// Somebody may be waiting there.
    ready: bool,
}

/// A network of one guest. Whoever has it gives it the guest's frames, takes those for the guest, and calls `poll` when
/// its descriptor is readable or its deadline has come.
pub struct UserLink {
    guest: Guest,
    takes: Takes,
    host_loopback: bool,
    /// Where those who call seem to be whom the guest cannot answer at their own address.
    own: Option<Ipv4Addr>,
    directory: Directory,
    services: Vec<Service>,
    epoll: Epoll,
    listeners: Vec<Listener>,
    replies: VecDeque<Vec<u8>>,
    dials: Dials,
    tcp: tcp::Flows,
    udp: udp::Flows,
    /// Whose turn it is to be received.
    tcp_first: bool,
    /// When the router says unasked that it is there, to a guest that has spoken IPv6.
    advertises: Option<Instant>,
    /// Memory that nobody reads; it is taken from the host as far as it is written.
    scratch: Vec<u8>,
}

impl std::fmt::Debug for UserLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UserLink").field("guest", &self.guest).finish_non_exhaustive()
    }
}

impl AsFd for UserLink {
    /// Readable when something happened on the host's side.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl UserLink {
    pub fn new(config: Config) -> Result<UserLink, LinkError> {
        let epoll = Epoll::new().map_err(LinkError::Epoll)?;
        let (mut listeners, mut udp) = (Vec::new(), udp::Flows::default());
        for forward in config.forwards {
            let (kind, owner, index) = match forward.protocol {
                Protocol::Tcp => (SocketType::STREAM, Owner::TcpForward, listeners.len()),
                Protocol::Udp => (SocketType::DGRAM, Owner::UdpForward, udp.ports.len()),
            };
            let fd = host::listen(&epoll, kind, forward.host, Token { owner, index, generation: 0 })
                .map_err(|cause| LinkError::Forward { forward, cause })?;
            match forward.protocol {
                Protocol::Tcp => listeners.push(Listener { fd, guest: forward.guest, ready: false }),
                Protocol::Udp => udp.ports.push(udp::Port { fd, guest: forward.guest }),
            }
        }
        let dials = Dials::new(&epoll).map_err(LinkError::Epoll)?;
        Ok(UserLink {
            guest: config.guest,
            takes: Takes::default(),
            host_loopback: config.host_loopback,
            own: None,
            directory: Directory::new(config.resolvers),
            services: config.services,
            epoll,
            listeners,
            replies: VecDeque::new(),
            dials,
            tcp: tcp::Flows::default(),
            udp,
            tcp_first: false,
            advertises: None,
            scratch: vec![0; tcp::MAX_UNDER_WAY],
        })
    }

    /// What connects to the guest's ports from other threads.
    pub fn dialer(&self) -> Dialer {
        self.dials.dialer()
    }

    /// Connections and flows that exist.
    pub fn flows(&self) -> usize {
        self.tcp.len().saturating_add(self.udp.len())
    }

    /// What it keeps for guest and host, as far as they can make it more.
    #[cfg(test)]
    pub(crate) fn kept(&self) -> (usize, usize) {
        (self.tcp.kept(), self.replies.iter().map(Vec::len).sum())
    }

    /// Those who dial seem to be here, not at the router.
    pub(crate) fn be_at(&mut self, address: Ipv4Addr) {
        self.own = Some(address);
    }

    /// The guest turns out to be this station, and at this address, if it has one yet.
    pub(crate) fn meet(&mut self, mac: [u8; 6], address: Ipv4Addr) {
        self.guest.mac = mac;
        if !address.is_unspecified() {
            self.guest.address = address;
        }
    }

    /// Answers who has an address.
    pub(crate) fn resolve(&mut self, arp: &[u8]) {
        let services = &self.services;
        let serves = |address: Ipv4Addr| {
            self.own == Some(address) || services.iter().any(|one| one.at.ip() == address)
        };
        let reply = self.guest.arp(arp, serves);
        self.reply(reply);
    }

    fn accept(&mut self, index: usize, now: Now) {
        for _ in 0..MAX_ACCEPTED {
            let Some(listener) = self.listeners.get_mut(index).filter(|listener| listener.ready) else {
                return;
            };
            let guest_port = listener.guest;
            let accepted = rustix::net::acceptfrom_with(&listener.fd, host::accepted_flags());
            match accepted {
                Ok((fd, peer)) => {
                    if host::is_scarce(&fd) {
                        self.make_room();
                    }
                    let peer = peer.and_then(|peer| SocketAddr::try_from(peer).ok());
                    if peer.and_then(|peer| self.accepted(guest_port, fd, peer, now)).is_none() {
                        log::debug!("a connection to the guest's port {guest_port} cannot be kept");
                    }
                }
                Err(Errno::CONNABORTED) => {}
                Err(cause) if host::is_too_many(cause) && self.tcp.len().max(self.udp.len()) > 0 => {
                    self.make_room();
                }
                Err(_) => listener.ready = false,
            }
        }
    }

    /// Ends the flow that has been idle for longest, of the kind of which there are more.
    fn make_room(&mut self) {
        if self.udp.len() > self.tcp.len() { self.udp.make_room() } else { self.tcp.make_room() }
    }

    fn accepted(&mut self, guest_port: u16, fd: OwnedFd, peer: SocketAddr, now: Now) -> Option<()> {
        let key = self.caller(guest_port, peer)?;
        let epoll = &self.epoll;
        self.tcp.call(key, tcp::MAX_RETRIES, now.instant, |token| {
            host::prepare(epoll, &fd, SocketType::STREAM, token).ok()?;
            Some(Far::host(fd))
        })
    }

    fn take_dials(&mut self, now: Now) {
        for _ in 0..MAX_DIALS {
            let Some(dial) = self.dials.next() else { return };
            let port = dial.port;
            if self.dialed(dial, now).is_none() {
                log::debug!("a connection to the guest's port {port} cannot be kept");
            }
        }
    }

    fn dialed(&mut self, dial: Dial, now: Now) -> Option<()> {
        let from = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), self.dials.port());
        let key = self.caller(dial.port, from)?;
        let epoll = &self.epoll;
        self.tcp.call(key, dial::PATIENCE, now.instant, |token| {
            epoll.add(&dial.socket, token).ok()?;
            Some(Far::host(dial.socket))
        })
    }

    /// Who somebody is for the guest.
    fn caller(&self, guest_port: u16, peer: SocketAddr) -> Option<Key> {
        let guest = &self.guest;
        let (address, port) = forward::seen_as(
            peer,
            self.own.unwrap_or(guest.router()),
            |address| host::beyond(guest, address, false).is_some(),
            |address, port| !self.tcp.knows(&guest.key(guest_port, address, port)),
        )?;
        Some(guest.key(guest_port, address, port))
    }

    pub(crate) fn packet(&mut self, packet: &Packet<'_>, without_checksum: bool, now: Now) {
        let own = self.guest.is_own(packet.source);
        match packet.protocol {
            PROTOCOL_TCP if own => self.segment(packet, without_checksum, now),
            PROTOCOL_UDP => self.datagram(packet, without_checksum, now, own),
            PROTOCOL_ICMP if own => self.reply(self.guest.echo(packet)),
            _ => {}
        }
    }

    /// IPv6 ends at the link: what is not here is nowhere.
    fn packet6(&mut self, packet: &Packet<'_>, without_checksum: bool, now: Now) {
        let to = packet.destination;
        let serves = |address| self.services.iter().any(|service| service.at.ip() == address);
        let here = self.guest.is_ours(to) || serves(to);
        match packet.protocol {
            PROTOCOL_ICMP6 => {
                let reply = ip6::control(&self.guest, packet, serves);
                self.reply(reply);
            }
            PROTOCOL_TCP | PROTOCOL_UDP if !here && !to.is_multicast() => {
                let told = self.guest.is_own(packet.source).then(|| ip6::no_route(&self.guest, packet));
                self.reply(told);
            }
            PROTOCOL_TCP if here => self.packet(packet, without_checksum, now),
            PROTOCOL_UDP => self.packet(packet, without_checksum, now),
            _ => {}
        }
    }

    fn segment(&mut self, packet: &Packet<'_>, without_checksum: bool, now: Now) {
        let Some(segment) = Segment::parse(packet, without_checksum) else { return };
        let key = way(packet, segment.source, segment.destination);
        let guest = &self.guest;
        let pen = &mut Pen { guest, takes: self.takes, scratch: &mut self.scratch, now: now.instant };
        if self.tcp.hear(&key, &segment, pen) {
            return;
        }
        if !tcp::begins(&segment) || self.connect(key, &segment, now).is_none() {
            self.reply(tcp::refusal(&self.guest, packet, &segment));
        }
    }

    /// The guest connects: to a service, a resolver, or the host's network.
    fn connect(&mut self, key: Key, syn: &Segment<'_>, now: Now) -> Option<()> {
        let at = SocketAddr::from((key.address, key.port));
        let session =
            self.services.iter_mut().find(|service| service.at == at).map(|service| (service.open)());
        let pen = Pen { guest: &self.guest, takes: self.takes, scratch: &mut [], now: now.instant };
        if let Some(session) = session {
            return self.tcp.answer(key, syn, &pen, |_| Some(Far::service(session)));
        }
        let to = self.destination(&key)?;
        for _ in 0..2 {
            let pen = Pen { guest: &self.guest, takes: self.takes, scratch: &mut [], now: now.instant };
            let (epoll, mut failed) = (&self.epoll, None);
            let begun = self.tcp.answer(key, syn, &pen, |token| {
                let fd = host::connect(epoll, SocketType::STREAM, to, token);
                fd.map_err(|cause| failed = Some(cause)).ok().map(Far::host)
            });
            match failed {
                Some(cause) if host::is_too_many(cause) => self.make_room(),
                _ => return begun,
            }
        }
        None
    }

    /// Where on the host's side an address and port of the guest's leads.
    fn destination(&mut self, key: &Key) -> Option<SocketAddr> {
        if self.guest.is_resolver(key.address) {
            return if key.port == dns::PORT { self.directory.server() } else { None };
        }
        let IpAddr::V4(address) = key.address else { return None };
        let address = host::beyond(&self.guest, address, self.host_loopback)?;
        Some(SocketAddr::new(address.into(), key.port))
    }

    fn datagram(&mut self, packet: &Packet<'_>, without_checksum: bool, now: Now, own: bool) {
        let bytes = packet.payload;
        let Ok((udp, _)) = Udp::ref_from_prefix(bytes) else { return };
        let Some(payload) = bytes.get(size_of::<Udp>()..usize::from(udp.length.get())) else { return };
        let sum = || {
            let covered = bytes.get(..usize::from(udp.length.get())).unwrap_or_default();
            packet.pseudo(covered.len()).add(covered).finish()
        };
        // IPv6 knows no datagrams without one.
        let has_none = packet.source.is_ipv4() && udp.checksum.get() == 0;
        if !without_checksum && !has_none && sum() != 0 {
            return;
        }
        let (source, port) = (udp.source.get(), udp.destination.get());
        let to_all = packet.destination == Ipv4Addr::BROADCAST || packet.destination == self.guest.router();
        if port == dhcp::SERVER_PORT && to_all && (own || packet.source.is_unspecified()) {
            return self.reply(dhcp::answer(&self.guest, payload));
        }
        if !own {
            return;
        }
        if port == dhcp6::SERVER_PORT && packet.destination == dhcp6::SERVERS {
            return self.reply(dhcp6::answer(&self.guest, packet, payload));
        }
        let key = way(packet, source, port);
        if self.guest.is_clock(packet.destination) && port == ntp::PORT {
            let answer = ntp::answer(payload, now.wall);
            return self.reply(answer.map(|answer| self.answer(&key, &answer)));
        }
        self.send(key, payload, now);
    }

    /// Sends a datagram to a resolver or the host's network.
    fn send(&mut self, key: Key, payload: &[u8], now: Now) {
        let asks = self.guest.is_resolver(key.address) && key.port == dns::PORT;
        if asks && let Some(answer) = dns::own_answer(&self.guest, payload) {
            return self.reply(Some(self.answer(&key, &answer)));
        }
        if !self.udp.knows(&key) {
            match self.destination(&key) {
                Some(to) => {
                    if let Some(cause) = self.begin_flow(key, to, asks, now) {
                        let resolver = asks.then_some(to);
                        return self.refused(udp::Refused { key, resolver, cause }, payload);
                    }
                }
                None if asks => {
                    let failure = dns::failure(payload).map(|failure| self.answer(&key, &failure));
                    return self.reply(failure);
                }
                None => {
                    let nobody = self.guest.is_ours(key.address);
                    let told = self.guest.port_unreachable(&key);
                    return self.reply(nobody.then_some(told));
                }
            }
        }
        if let Some(refused) = self.udp.send(&key, payload, now.instant) {
            self.refused(refused, payload);
        }
    }

    /// None, or why there is no way.
    fn begin_flow(&mut self, key: Key, to: SocketAddr, asks: bool, now: Now) -> Option<Errno> {
        let mut failed = None;
        for _ in 0..2 {
            let epoll = &self.epoll;
            failed = None;
            self.udp.begin(key, asks.then_some(to), now.instant, |token| {
                host::connect(epoll, SocketType::DGRAM, to, token).map_err(|cause| failed = Some(cause)).ok()
            });
            match failed {
                Some(cause) if host::is_too_many(cause) => self.make_room(),
                _ => break,
            }
        }
        failed
    }

    /// `query`: what the guest has said just now, if it is that which met with this.
    fn refused(&mut self, refused: udp::Refused, query: &[u8]) {
        if let Some(server) = refused.resolver {
            self.directory.silent(server);
        }
        let failure = refused.resolver.and_then(|_| dns::failure(query));
        let told = match failure {
            _ if refused.cause == Errno::CONNREFUSED => self.guest.port_unreachable(&refused.key),
            Some(failure) => self.answer(&refused.key, &failure),
            None => self.guest.net_unreachable(&refused.key),
        };
        self.reply(Some(told));
    }

    fn answer(&self, key: &Key, payload: &[u8]) -> Vec<u8> {
        key.route(self.guest.macs(), TTL).datagram((key.port, key.guest_port), payload)
    }

    fn speak_tcp(&mut self, frame: &mut Frame, now: Now) -> Option<(usize, Offload)> {
        let scratch = &mut self.scratch;
        let pen = &mut Pen { guest: &self.guest, takes: self.takes, scratch, now: now.instant };
        self.tcp.speak(frame, pen)
    }

    fn reply(&mut self, frame: Option<Vec<u8>>) {
        if self.replies.len() < MAX_REPLIES {
            self.replies.extend(frame);
        }
    }
}

/// Whose packet it is.
fn way(packet: &Packet<'_>, guest_port: u16, port: u16) -> Key {
    Key { guest: packet.source, guest_port, address: packet.destination, port }
}

impl Link for UserLink {
    fn begin(&mut self, takes: Takes) {
        self.advertises = None;
        self.takes = Takes { segments: takes.segments && takes.checksum, ..takes };
        self.replies.clear();
        self.tcp.clear();
        self.udp.clear();
    }

    fn send(&mut self, frame: &[u8], offload: Offload, now: Now) {
        let Some((kind, payload)) = self.guest.heard(frame) else { return };
        match kind {
            ETHERTYPE_ARP => self.resolve(payload),
            ETHERTYPE_IP => {
                if let Some(packet) = Packet::parse(payload) {
                    self.packet(&packet, offload.checksum.is_some(), now);
                }
            }
            ETHERTYPE_IP6 if self.guest.ipv6.is_some() => {
                self.advertises = self.advertises.or_else(|| now.instant.checked_add(ip6::ADVERTISES));
                if let Some(packet) = Packet::parse6(payload) {
                    self.packet6(&packet, offload.checksum.is_some(), now);
                }
            }
            _ => {}
        }
    }

    fn receive(&mut self, frame: &mut Frame, now: Now) -> Option<(usize, Offload)> {
        loop {
            if let Some(reply) = self.replies.pop_front() {
                let space = frame.get_mut(..reply.len())?;
                space.copy_from_slice(&reply);
                return Some((reply.len(), Offload::default()));
            }
            // Neither kind keeps the other waiting, however much there is of it.
            self.tcp_first = !self.tcp_first;
            if self.tcp_first
                && let Some(said) = self.speak_tcp(frame, now)
            {
                return Some(said);
            }
            match self.udp.speak(&self.guest, frame, now.instant) {
                Some(Ok(len)) => return Some((len, Offload::default())),
                Some(Err(refused)) => self.refused(refused, &[]),
                None => return self.speak_tcp(frame, now),
            }
        }
    }

    fn poll(&mut self, now: Now) -> bool {
        let changes = self.epoll.changes();
        for (token, flags) in &changes {
            match token.owner {
                Owner::Tcp => self.tcp.event(token.index, token.generation, *flags),
                Owner::Udp => self.udp.event(token.index, token.generation),
                Owner::UdpForward => self.udp.port_event(token.index),
                Owner::Dialer => self.take_dials(now),
                Owner::Tap | Owner::Inside => {}
                Owner::TcpForward => {
                    if let Some(listener) = self.listeners.get_mut(token.index) {
                        listener.ready = true;
                    }
                }
            }
        }
        for index in 0..self.listeners.len() {
            self.accept(index, now);
        }
        self.tcp.late(now.instant);
        if self.advertises.is_some_and(|at| at <= now.instant) {
            self.advertises = now.instant.checked_add(ip6::ADVERTISES);
            self.reply(Some(ip6::advertisement(&self.guest, ip6::ALL_NODES)));
        }
        for server in self.udp.sweep(now.instant) {
            log::debug!("the resolver {server} does not answer");
            self.directory.silent(server);
        }
        !changes.is_empty() || self.listeners.iter().any(|listener| listener.ready)
    }

    fn deadline(&self) -> Option<Instant> {
        [self.tcp.deadline(), self.udp.deadline(), self.advertises].into_iter().flatten().min()
    }
}
