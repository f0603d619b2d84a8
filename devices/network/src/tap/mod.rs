//! The TAP link: the guest is a station on a network that the host's administrator made, and the metadata service is
//! in its reach all the same.
//!
//! Frames pass through as they are, large ones whole. What is for a service's address is answered in here, by a
//! user-mode link that sees nothing else, whatever station the guest sent it to; it never reaches the host's network,
//! where another such service may be. Who the guest is, is learnt from its own frames.
//!
//! Left out: services over IPv6; frames with a VLAN's tag pass through unseen.

mod device;

use crate::dial::Dialer;
use crate::dns::Resolvers;
use crate::epoll::{Epoll, Owner, Token};
use crate::link::{Link, Now};
use crate::offload::{Frame, Offload, Takes};
use crate::service::Service;
use crate::subnet::Guest;
use crate::user::{Config, LinkError, UserLink};
use crate::wire::{Arp, ETHERTYPE_ARP, ETHERTYPE_IP, Ethernet, Ip, Packet};
use device::Device;
pub use device::TapError;
use rustix::io::Errno;
use std::net::{IpAddr, Ipv4Addr};
use std::os::fd::{AsFd, BorrowedFd};
use std::time::Instant;
use zerocopy::FromBytes as _;

/// The metadata service's address, where those who dial seem to be too.
const METADATA: Ipv4Addr = Ipv4Addr::new(169, 254, 169, 254);
/// Frames in a row that the guest does not take.
const MAX_SKIPPED: usize = 64;

/// What a TAP link is made of.
#[derive(Debug)]
pub struct TapConfig {
    /// The interface's.
    pub name: String,
    /// Whose station and address hold until the guest's frames say others.
    pub guest: Guest,
    pub services: Vec<Service>,
}

/// A TAP interface, and the services beside it.
#[derive(Debug)]
pub struct TapLink {
    device: Device,
    /// Has the services, and nothing of the host's network.
    inside: UserLink,
    served: Vec<Ipv4Addr>,
    epoll: Epoll,
    takes: Takes,
    mtu: u16,
    /// The interface may have a frame.
    readable: bool,
    /// The interface takes none: this was told.
    failing: bool,
}

impl AsFd for TapLink {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

impl TapLink {
    pub fn new(config: TapConfig) -> Result<TapLink, LinkError> {
        let (device, mtu) = Device::open(&config.name)?;
        let mut served = vec![METADATA];
        served.extend(config.services.iter().filter_map(|service| match service.at.ip() {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        }));
        let mut inside = UserLink::new(Config {
            guest: Guest { ipv6: None, ..config.guest },
            resolvers: Resolvers::These(Vec::new()),
            services: config.services,
            forwards: Vec::new(),
            host_loopback: false,
        })?;
        inside.be_at(METADATA);
        let epoll = Epoll::new().map_err(LinkError::Epoll)?;
        let token = Token { owner: Owner::Tap, index: 0, generation: 0 };
        epoll.add(&device, token).map_err(LinkError::Epoll)?;
        let token = Token { owner: Owner::Inside, ..token };
        epoll.add(&inside, token).map_err(LinkError::Epoll)?;
        let (takes, readable, failing) = (Takes::default(), true, false);
        Ok(TapLink { device, inside, served, epoll, takes, mtu, readable, failing })
    }

    /// What connects to the guest's ports from other threads.
    pub fn dialer(&self) -> Dialer {
        self.inside.dialer()
    }

    /// Connections that exist inside.
    pub fn flows(&self) -> usize {
        self.inside.flows()
    }

    /// Answers what is for a service. False: the frame is for the network.
    fn divert(&mut self, frame: &[u8], offload: Offload, now: Now) -> bool {
        let Ok((ethernet, payload)) = Ethernet::ref_from_prefix(frame) else { return false };
        match ethernet.kind.get() {
            ETHERTYPE_ARP => {
                let Ok((arp, _)) = Arp::ref_from_prefix(payload) else { return false };
                self.inside.meet(ethernet.source, arp.sender.into());
                let diverted = self.served.contains(&arp.target.into());
                if diverted {
                    self.inside.resolve(payload);
                }
                diverted
            }
            ETHERTYPE_IP => {
                let Ok((ip, _)) = Ip::ref_from_prefix(payload) else { return false };
                let diverted = self.served.contains(&ip.destination.into());
                if let Some(packet) = Packet::parse(payload).filter(|_| diverted) {
                    self.inside.meet(ethernet.source, ip.source.into());
                    self.inside.packet(&packet, offload.checksum.is_some(), now);
                }
                diverted
            }
            _ => false,
        }
    }

    fn take_from_network(&mut self, frame: &mut Frame) -> Option<(usize, Offload)> {
        for _ in 0..MAX_SKIPPED {
            match self.device.receive(frame) {
                Ok(Some((len, offload))) if self.can_take(offload) => return Some((len, offload)),
                // It was on its way when the guest's driver began anew.
                Ok(_) => {}
                Err(Errno::INTR) => {}
                Err(cause) => {
                    self.readable = false;
                    if cause != Errno::AGAIN {
                        self.fails(cause);
                    }
                    return None;
                }
            }
        }
        None
    }

    fn can_take(&self, offload: Offload) -> bool {
        (self.takes.checksum || offload.checksum.is_none())
            && (self.takes.segments || offload.segment.is_none())
    }

    /// Says so once, until it works again: an interface that is down, or gone.
    fn fails(&mut self, cause: Errno) {
        if !std::mem::replace(&mut self.failing, true) {
            log::warn!("the TAP interface takes and gives nothing: {cause}; is it up?");
        }
    }
}

impl Link for TapLink {
    fn begin(&mut self, takes: Takes) {
        self.takes = Takes { segments: takes.segments && takes.checksum, ..takes };
        self.inside.begin(takes);
        if let Err(cause) = self.device.begin(self.takes) {
            self.fails(cause);
        }
    }

    fn send(&mut self, frame: &[u8], offload: Offload, now: Now) {
        if self.divert(frame, offload, now) {
            return;
        }
        match self.device.send(frame, offload) {
            Ok(()) => self.failing = false,
            // A full queue loses frames, as on any network; a frame that makes no sense is the guest's affair.
            Err(Errno::AGAIN | Errno::INTR | Errno::INVAL | Errno::NOBUFS | Errno::NOMEM) => {}
            Err(cause) => self.fails(cause),
        }
    }

    fn receive(&mut self, frame: &mut Frame, now: Now) -> Option<(usize, Offload)> {
        if let Some(answer) = self.inside.receive(frame, now) {
            return Some(answer);
        }
        if self.readable { self.take_from_network(frame) } else { None }
    }

    fn poll(&mut self, now: Now) -> bool {
        let changes = self.epoll.changes();
        self.readable |= changes.iter().any(|(token, _)| token.owner == Owner::Tap);
        self.inside.poll(now) || !changes.is_empty()
    }

    fn deadline(&self) -> Option<Instant> {
        self.inside.deadline()
    }

    fn mtu(&self) -> u16 {
        self.mtu
    }
}
