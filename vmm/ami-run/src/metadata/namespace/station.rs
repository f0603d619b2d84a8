//! The instance as its subnet sees it: the addresses of the namespace's interface, and of what it reaches.

use ami_run_metadata::Facts;
use ami_run_network::{Guest, MTU};
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr};

/// What the process that makes the namespace is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Station {
    pub(super) mac: [u8; 6],
    /// Its private address, and how many bits its subnet's addresses share.
    address: Ipv4Addr,
    prefix: u8,
    host_name: String,
    pub(super) domain: String,
}

/// One address of the interface, and its way out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) address: IpAddr,
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
            host_name: host_name.to_owned(),
            domain: domain.to_owned(),
        })
    }

    pub(super) fn guest(&self) -> Guest {
        Guest {
            mac: self.mac,
            address: self.address,
            prefix: self.prefix,
            host_name: self.host_name.clone(),
            domain: self.domain.clone(),
        }
    }

    pub(super) fn mtu(&self) -> u32 {
        MTU.into()
    }

    pub(super) fn addresses(&self) -> Vec<Address> {
        vec![Address { address: self.address.into(), prefix: self.prefix, router: self.in_subnet(1).into() }]
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
        let station = Station {
            mac: [2; 6],
            address: Ipv4Addr::new(172, 31, 20, 66),
            prefix: 20,
            host_name: "ip-172-31-20-66".to_owned(),
            domain: "ec2.internal".to_owned(),
        };
        let router = IpAddr::from([172, 31, 16, 1]);
        assert_eq!(station.addresses(), [Address { address: [172, 31, 20, 66].into(), prefix: 20, router }]);
        assert_eq!(station.resolver(), Ipv4Addr::new(172, 31, 16, 2));
    }
}
