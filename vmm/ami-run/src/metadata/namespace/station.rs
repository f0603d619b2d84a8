//! The instance as its subnet sees it: the addresses of the namespace's interface, and of what it reaches.

use ami_run_metadata::Facts;
use ami_run_network::{Guest, MTU, ROUTER_6};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where EC2's services answer over IPv6, and how many bits they share.
const SERVICES: (Ipv6Addr, u8) = (Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0), 64);

/// What the process that makes the namespace is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Station {
    pub(super) mac: [u8; 6],
    /// Its private address, and how many bits its subnet's addresses share.
    address: Ipv4Addr,
    prefix: u8,
    ipv6: Option<Ipv6Addr>,
    host_name: String,
    pub(super) domain: String,
}

/// A way out of the interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Route {
    pub(super) to: IpAddr,
    pub(super) prefix: u8,
    pub(super) router: IpAddr,
}

impl Station {
    /// None where the facts do not say what it needs.
    pub(in crate::metadata) fn new(facts: &Facts) -> Option<Station> {
        let interface = facts.interfaces.first()?;
        let bytes: Vec<u8> = interface
            .mac
            .split(':')
            .map(|byte| u8::from_str_radix(byte, 16))
            .collect::<Result<_, _>>()
            .ok()?;
        let (_, prefix) = interface.subnet_ipv4_cidr.split_once('/')?;
        let (host_name, domain) = facts.hostname.split_once('.')?;
        Some(Station {
            mac: bytes.try_into().ok()?,
            address: *interface.private_ipv4s.first()?,
            prefix: prefix.parse().ok().filter(|bits| (1..=30).contains(bits))?,
            ipv6: interface.ipv6s.first().copied(),
            host_name: host_name.to_owned(),
            domain: domain.to_owned(),
        })
    }

    pub(super) fn guest(&self) -> Guest {
        Guest {
            mac: self.mac,
            address: self.address,
            prefix: self.prefix,
            ipv6: self.ipv6,
            host_name: self.host_name.clone(),
            domain: self.domain.clone(),
        }
    }

    pub(super) fn mtu(&self) -> u32 {
        MTU.into()
    }

    /// Each with the bits that its subnet's share; the IPv6 one has its subnet for itself, as DHCPv6 gives it.
    pub(super) fn addresses(&self) -> Vec<(IpAddr, u8)> {
        let ipv4 = (self.address.into(), self.prefix);
        [ipv4].into_iter().chain(self.ipv6.map(|address| (address.into(), 128))).collect()
    }

    /// Over IPv4 to everywhere; over IPv6 to EC2's services, since the link leads nowhere else.
    pub(super) fn routes(&self) -> Vec<Route> {
        let router = self.in_subnet(1).into();
        let ipv4 = Route { to: Ipv4Addr::UNSPECIFIED.into(), prefix: 0, router };
        let (to, prefix) = SERVICES;
        let ipv6 = self.ipv6.map(|_| Route { to: to.into(), prefix, router: ROUTER_6.into() });
        [ipv4].into_iter().chain(ipv6).collect()
    }

    /// As a DHCP lease names it: the subnet's third address.
    pub(super) fn resolver(&self) -> Ipv4Addr {
        self.in_subnet(2)
    }

    fn in_subnet(&self, number: u32) -> Ipv4Addr {
        let mask = u32::MAX.checked_shl(32u32.saturating_sub(self.prefix.into())).unwrap_or_default();
        Ipv4Addr::from_bits(self.address.to_bits() & mask | number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn router_and_resolver_are_at_the_subnet_s_begin() {
        let mut station = Station {
            mac: [2; 6],
            address: Ipv4Addr::new(172, 31, 20, 66),
            prefix: 20,
            ipv6: None,
            host_name: "ip-172-31-20-66".to_owned(),
            domain: "ec2.internal".to_owned(),
        };
        let router = IpAddr::from([172, 31, 16, 1]);
        let everywhere = Route { to: Ipv4Addr::UNSPECIFIED.into(), prefix: 0, router };
        assert_eq!(station.addresses(), [([172, 31, 20, 66].into(), 20)]);
        assert_eq!(station.routes(), [everywhere]);
        assert_eq!(station.resolver(), Ipv4Addr::new(172, 31, 16, 2));
        let ipv6 = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1);
        station.ipv6 = Some(ipv6);
        assert_eq!(station.addresses()[1], (ipv6.into(), 128));
        assert_eq!((station.routes()[1].prefix, station.routes()[1].router), (64, ROUTER_6.into()));
    }
}
