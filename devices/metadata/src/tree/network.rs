//! `meta-data/network/`, and what `meta-data/` itself says of the primary interface.

use super::{Entry, directory, lines, text};
use crate::facts::{Facts, Interface, Placement};
use crate::version::Version;

const SINCE: Version = 20110101;
const IPV6: Version = 20160630;
/// Until this version a list of addresses was its first alone.
const SINGLE: Version = 20160902;

pub(super) fn entries(facts: &Facts) -> Vec<Entry> {
    let macs = facts.interfaces.iter().map(|interface| directory(&interface.mac, one(facts, interface)));
    let macs = directory("macs", macs.collect());
    let mut all = vec![directory("network", vec![directory("interfaces", vec![macs])])];
    let Some(primary) = facts.interfaces.first() else { return all };
    let groups = primary.security_groups.iter().map(|group| &group.name);
    all.extend([text("mac", SINCE, &primary.mac), text("security-groups", 0, lines(groups))]);
    all.extend(primary.private_ipv4s.first().map(|address| text("local-ipv4", 0, address.to_string())));
    all.extend(primary.ipv6s.first().map(|address| text("ipv6", 20210103, address.to_string())));
    if let Some(address) = primary.public_ipv4 {
        all.push(text("public-ipv4", 20070119, address.to_string()));
        all.push(text("public-hostname", 20070119, public_hostname(&facts.placement, address)));
    }
    all
}

fn one(facts: &Facts, interface: &Interface) -> Vec<Entry> {
    let groups = &interface.security_groups;
    let mut all = vec![
        text("device-number", SINCE, interface.device_number.to_string()),
        text("interface-id", SINCE, &interface.interface_id),
        text("local-hostname", SINCE, &interface.local_hostname),
        text("mac", SINCE, &interface.mac),
        text("owner-id", SINCE, &facts.account_id),
        text("security-groups", SINCE, lines(groups.iter().map(|group| &group.name))),
        text("security-group-ids", SINCE, lines(groups.iter().map(|group| &group.id))),
        text("subnet-id", SINCE, &interface.subnet_id),
        text("subnet-ipv4-cidr-block", SINCE, &interface.subnet_ipv4_cidr),
        text("vpc-id", SINCE, &interface.vpc_id),
    ];
    all.extend(addresses("local-ipv4s", SINCE, &interface.private_ipv4s));
    all.extend(addresses("ipv6s", IPV6, &interface.ipv6s));
    all.extend(interface.network_card.map(|card| text("network-card", 20201101, card.to_string())));
    all.extend(interface.vpc_ipv4_cidrs.first().map(|cidr| text("vpc-ipv4-cidr-block", SINCE, cidr)));
    for (name, since, list) in [
        ("ipv4-prefix", 20210715, &interface.ipv4_prefixes),
        ("ipv6-prefix", 20210715, &interface.ipv6_prefixes),
        ("subnet-ipv6-cidr-blocks", IPV6, &interface.subnet_ipv6_cidrs),
        ("vpc-ipv4-cidr-blocks", IPV6, &interface.vpc_ipv4_cidrs),
        ("vpc-ipv6-cidr-blocks", IPV6, &interface.vpc_ipv6_cidrs),
    ] {
        all.extend((!list.is_empty()).then(|| text(name, since, lines(list))));
    }
    if let (Some(public), Some(private)) = (interface.public_ipv4, interface.private_ipv4s.first()) {
        let association = text(&public.to_string(), SINCE, private.to_string());
        all.push(directory("ipv4-associations", vec![association]));
        all.push(text("public-hostname", SINCE, public_hostname(&facts.placement, public)));
        all.push(text("public-ipv4s", SINCE, public.to_string()));
    }
    all
}

/// A list that was a single address once.
fn addresses<T: ToString>(name: &str, since: Version, all: &[T]) -> Vec<Entry> {
    let Some(first) = all.first() else { return Vec::new() };
    let single = Entry { until: SINGLE, ..text(name, since, first.to_string()) };
    let list = text(name, 20180328, lines(all.iter().map(ToString::to_string)));
    vec![single, list]
}

fn public_hostname(placement: &Placement, address: std::net::Ipv4Addr) -> String {
    let dashed = address.to_string().replace('.', "-");
    match placement.region.as_str() {
        "us-east-1" => format!("ec2-{dashed}.compute-1.amazonaws.com"),
        region => format!("ec2-{dashed}.{region}.compute.amazonaws.com"),
    }
}
