//! The network of an instance: what its card is connected to, made from its record at every start.

use crate::args::Launch;
use crate::exit::Code;
use crate::failure::Failure;
use crate::metadata;
use ami_run_catalog::{InstanceRecord, Network};
use ami_run_image::Warning;
use ami_run_machine::Network as Card;
use ami_run_network::{
    Config, Dialer, Forward, Guest, LinkError, Protocol, Resolvers, Service, TapConfig, TapLink, UserLink,
};
use parking_lot::Mutex;
use std::net::Ipv4Addr;
use std::str::FromStr;
use std::sync::Arc;

/// Which name servers this computer asks.
const RESOLVERS: &str = "/etc/resolv.conf";
/// Of the default subnet.
const PREFIX: u8 = 20;

/// A card with its network, and the way to ports of the guest's.
#[derive(Debug)]
pub(crate) struct Nic {
    pub(crate) card: Card,
    pub(crate) dialer: Dialer,
}

/// Refuses what cannot be had together, before anything is made.
pub(crate) fn check(args: &Launch) -> Result<(), Failure> {
    let refuse = |message: String| Failure::new(Code::CommandLine, message);
    if !matches!(args.net, Network::User { .. }) {
        let unused = [("-p", !args.forwards.is_empty()), ("--host-loopback", args.host_loopback)];
        if let Some((option, _)) = unused.iter().find(|(_, given)| *given) {
            return Err(refuse(format!("{option} is for --net user"))
                .hint("leave one of them out; on a TAP interface the guest has an address of its own"));
        }
    }
    if args.net == Network::None && args.needs_ssh() {
        return Err(refuse("--net none: SSH does not reach a guest without a network".to_owned())
            .hint("leave --net out, or what is to be done by SSH (--exec, --wait-for ssh)"));
    }
    for (index, forward) in args.forwards.iter().enumerate() {
        let taken = |other: &&Forward| other.host == forward.host && other.protocol == forward.protocol;
        if args.forwards.iter().take(index).any(|other| taken(&other)) {
            let place = place(forward);
            return Err(refuse(format!("-p: {place} is given twice")).hint("each port leads to one place"));
        }
    }
    Ok(())
}

/// What the guest will miss.
pub(crate) fn warning(network: &Network) -> Option<Warning> {
    let misses = matches!(network, Network::User { .. }) && Resolvers::File(RESOLVERS.into()).are_none();
    misses.then(|| Warning {
        code: "NameServer",
        message: format!(
            "{RESOLVERS} names no server: the guest finds no names but those of EC2's own network"
        ),
    })
}

fn place(forward: &Forward) -> String {
    let protocol = if forward.protocol == Protocol::Udp { "/udp" } else { "" };
    format!("{}{protocol}", forward.host)
}

/// What the record says. `services` answer in the guest's network.
pub(crate) fn open(record: &InstanceRecord, services: Vec<Service>) -> Result<Option<Nic>, Failure> {
    let damaged = |what: &str| {
        Failure::new(Code::Refused, format!("the record of {} is damaged: {what}", record.instance_id))
    };
    let mac = record.network_interfaces.first().and_then(|interface| mac(&interface.mac_address));
    let mac = mac.ok_or_else(|| damaged("its MAC address"))?;
    match &record.own.network {
        Network::None => Ok(None),
        Network::Tap { name } => {
            let guest = guest(record, mac).ok_or_else(|| damaged("its private address"))?;
            let config = TapConfig { name: name.clone(), guest, services };
            let link = TapLink::new(config).map_err(|cause| cannot(&cause))?;
            let dialer = link.dialer();
            Ok(Some(Nic { card: Card { mac, link: Arc::new(Mutex::new(link)) }, dialer }))
        }
        Network::User { forwards, host_loopback } => {
            let forwards: Result<_, _> = forwards.iter().map(|text| Forward::from_str(text)).collect();
            let config = Config {
                guest: guest(record, mac).ok_or_else(|| damaged("its private address"))?,
                resolvers: Resolvers::File(RESOLVERS.into()),
                services,
                forwards: forwards.map_err(|cause| damaged(&cause.to_string()))?,
                host_loopback: *host_loopback,
            };
            let link = UserLink::new(config).map_err(|cause| cannot(&cause))?;
            let dialer = link.dialer();
            Ok(Some(Nic { card: Card { mac, link: Arc::new(Mutex::new(link)) }, dialer }))
        }
    }
}

fn cannot(cause: &LinkError) -> Failure {
    Failure::new(Code::Host, "there is no network for the guest").because(cause)
}

fn guest(record: &InstanceRecord, mac: [u8; 6]) -> Option<Guest> {
    let address: Ipv4Addr = record.private_ip_address.parse().ok()?;
    let (host_name, domain) = record.private_dns_name.split_once('.')?;
    Some(Guest {
        mac,
        address,
        prefix: PREFIX,
        host_name: host_name.to_owned(),
        ipv6: metadata::ipv6(record),
        domain: domain.to_owned(),
    })
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|byte| u8::from_str_radix(byte, 16).ok()).collect();
    bytes?.try_into().ok()
}
