//! From an instance's record to what its metadata service tells, be it launched or only thought of.

use super::credentials::Lender;
use ami_run_catalog::{InstanceRecord, time};
use ami_run_image::InstanceType;
use ami_run_metadata::{Events, Facts, Interface, Placement, PublicKey, SecurityGroup};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The default VPC's, and its first subnet's.
const VPC: &str = "172.31.0.0/16";
/// Of RFC 3849, which lead nowhere.
const NETWORK_IPV6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0x1234, 0x1a00, 0, 0, 0, 0);
const SUBNET_IPV6: &str = "2001:db8:1234:1a00::/64";
const VPC_IPV6: &str = "2001:db8:1234:1a00::/56";
const SUBNET: &str = "172.31.16.0/20";
const NO_IMAGE: &str = "ami-00000000000000000";

/// What the instance of a record sees, before anything happens to it.
pub(crate) fn facts(record: &InstanceRecord, lender: Option<&Lender>, now: SystemTime) -> Facts {
    let own = &record.own;
    let region = region(&record.placement.availability_zone);
    let tag = |tag: &ami_run_image::Tag| Some((tag.key.clone()?, tag.value.clone().unwrap_or_default()));
    let key = record.key_name.as_ref().zip(own.public_key.as_ref());
    let codes = record.product_codes.iter();
    Facts {
        instance_id: record.instance_id.clone(),
        image_id: record.image_id.clone().unwrap_or_else(|| NO_IMAGE.to_owned()),
        ancestor_image_ids: Vec::new(),
        launch_index: record.ami_launch_index,
        reservation_id: own.reservation.reservation_id.clone(),
        account_id: own.reservation.owner_id.clone(),
        instance_type: record.instance_type.clone(),
        architecture: record.architecture.clone(),
        life_cycle: "on-demand".to_owned(),
        kernel_id: record.kernel_id.clone(),
        ramdisk_id: record.ramdisk_id.clone(),
        product_codes: codes.filter_map(|code| code.product_code_id.clone()).collect(),
        billing_products: Vec::new(),
        pending_time: time::parse(&record.launch_time)
            .and_then(|seconds| UNIX_EPOCH.checked_add(Duration::from_secs(seconds)))
            .unwrap_or(now),
        hostname: record.private_dns_name.clone(),
        placement: placement(record, region),
        interfaces: interfaces(record),
        block_devices: block_devices(record),
        public_key: key.map(|(name, openssh)| PublicKey { name: name.clone(), openssh: openssh.clone() }),
        user_data: own.user_data.as_ref().and_then(|data| STANDARD.decode(data).ok()),
        tags: record.tags.iter().filter_map(tag).collect(),
        monitoring: false,
        hibernation: false,
        target_life_cycle_state: None,
        role: lender.map(|lender| lender.role(&own.reservation.owner_id, region, now)),
        events: Events::default(),
    }
}

/// Without the letter of the zone.
fn region(zone: &str) -> &str {
    zone.trim_end_matches(|last: char| last.is_ascii_lowercase())
}

fn placement(record: &InstanceRecord, region: &str) -> Placement {
    let zone = &record.placement.availability_zone;
    // az1 is a, as it is in some account.
    let number = zone.bytes().last().map_or(1, |letter| letter.saturating_sub(b'a').saturating_add(1));
    Placement {
        region: region.to_owned(),
        availability_zone: zone.clone(),
        availability_zone_id: format!("{}-az{number}", short(region)),
        group_name: Some(record.placement.group_name.clone()).filter(|name| !name.is_empty()),
        host_id: None,
        partition_number: None,
    }
}

/// The instance's address where its metadata are served over IPv6, too: else it needs none.
pub(crate) fn ipv6(record: &InstanceRecord) -> Option<Ipv6Addr> {
    let enabled = record.metadata_options.options.http_protocol_ipv6 == "enabled";
    let address: Ipv4Addr = record.private_ip_address.parse().ok().filter(|_| enabled)?;
    // Unique, as the private address is.
    Some(Ipv6Addr::from_bits(NETWORK_IPV6.to_bits() | u128::from(address.to_bits())))
}

fn interfaces(record: &InstanceRecord) -> Vec<Interface> {
    let if_any = |network: &str| ipv6(record).map(|_| network.to_owned()).into_iter().collect();
    let groups = record.security_groups.iter();
    let groups: Vec<_> = groups
        .map(|group| SecurityGroup { id: group.group_id.clone(), name: group.group_name.clone() })
        .collect();
    let interfaces = (0..).zip(&record.network_interfaces);
    let interfaces = interfaces.map(|(device_number, interface)| Interface {
        mac: interface.mac_address.clone(),
        interface_id: interface.network_interface_id.clone(),
        device_number,
        network_card: None,
        private_ipv4s: interface.private_ip_address.parse::<Ipv4Addr>().into_iter().collect(),
        public_ipv4: None,
        ipv6s: ipv6(record).into_iter().collect(),
        ipv4_prefixes: Vec::new(),
        ipv6_prefixes: Vec::new(),
        local_hostname: record.private_dns_name.clone(),
        security_groups: groups.clone(),
        subnet_id: interface.subnet_id.clone(),
        subnet_ipv4_cidr: SUBNET.to_owned(),
        subnet_ipv6_cidrs: if_any(SUBNET_IPV6),
        vpc_id: interface.vpc_id.clone(),
        vpc_ipv4_cidrs: vec![VPC.to_owned()],
        vpc_ipv6_cidrs: if_any(VPC_IPV6),
    });
    interfaces.collect()
}

/// The root by its whole name, others without `/dev/`. Of the instance store, disks that are not NVMe.
fn block_devices(record: &InstanceRecord) -> BTreeMap<String, String> {
    let short = |name: &str| name.trim_start_matches("/dev/").to_owned();
    let root = &record.root_device_name;
    let mut devices: BTreeMap<String, String> =
        ["ami", "root"].map(|name| (name.to_owned(), root.clone())).into();
    let others = record.block_device_mappings.iter().filter(|mapping| mapping.device_name != *root);
    devices.extend(others.zip(1..).map(|(mapping, n)| (format!("ebs{n}"), short(&mapping.device_name))));
    let is_nvme = InstanceType::find(&record.instance_type).is_some_and(|kind| kind.nvme);
    let store = record.own.instance_store.iter().filter(|_| !is_nvme);
    devices.extend(
        store.filter_map(|disk| Some((disk.virtual_name.clone(), short(disk.device_name.as_ref()?)))),
    );
    devices
}

/// A Region's name in the ids of its zones: `use1`.
fn short(region: &str) -> String {
    const DIRECTIONS: [(&str, &str); 9] = [
        ("northeast", "ne"),
        ("northwest", "nw"),
        ("southeast", "se"),
        ("southwest", "sw"),
        ("north", "n"),
        ("south", "s"),
        ("east", "e"),
        ("west", "w"),
        ("central", "c"),
    ];
    let word = |word: &str| match DIRECTIONS.iter().find(|(long, _)| *long == word) {
        Some((_, direction)) => (*direction).to_owned(),
        None if word == "gov" => "g".to_owned(),
        None => word.to_owned(),
    };
    region.split('-').map(word).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::samples::stopped;
    use ami_run_catalog::{InstanceStoreDisk, NetworkInterface, SecurityGroup};

    #[test]
    fn zones_have_ec2_s_ids() {
        for (region, id) in [
            ("us-east-1", "use1"),
            ("ap-northeast-2", "apne2"),
            ("eu-central-1", "euc1"),
            ("us-gov-west-1", "usgw1"),
            ("cn-north-1", "cnn1"),
        ] {
            assert_eq!(short(region), id);
        }
    }

    #[test]
    fn a_record_s_members_are_the_facts() {
        let mut record = stopped("i-01");
        record.placement.availability_zone = "eu-west-3b".to_owned();
        record.key_name = Some("mine".to_owned());
        record.own.public_key = Some("ssh-ed25519 AAAA mine".to_owned());
        record.own.user_data = Some("AP8=".to_owned());
        record.network_interfaces = vec![NetworkInterface {
            network_interface_id: "eni-1".to_owned(),
            mac_address: "02:01:02:0a:10:04".to_owned(),
            private_ip_address: record.private_ip_address.clone(),
            subnet_id: "subnet-1".to_owned(),
            vpc_id: "vpc-1".to_owned(),
            status: "in-use".to_owned(),
        }];
        record.security_groups =
            vec![SecurityGroup { group_id: "sg-1".to_owned(), group_name: "default".to_owned() }];
        let facts = facts(&record, None, SystemTime::now());
        assert_eq!(
            (facts.placement.region.as_str(), facts.placement.availability_zone_id.as_str()),
            ("eu-west-3", "euw3-az2")
        );
        assert_eq!(facts.pending_time, UNIX_EPOCH + Duration::from_secs(1_795_294_800));
        assert_eq!(facts.public_key.unwrap().name, "mine");
        assert_eq!(facts.user_data.as_deref(), Some(&[0, 255][..]));
        assert_eq!(facts.tags["Name"], "web");
        let [interface] = facts.interfaces.as_slice() else { panic!("one") };
        assert_eq!(interface.private_ipv4s, [Ipv4Addr::new(172, 31, 16, 4)]);
        assert_eq!(interface.security_groups[0].name, "default");
    }

    #[test]
    fn disks_have_ec2_s_virtual_names() {
        let mut record = stopped("i-01");
        let disk = InstanceStoreDisk {
            virtual_name: "ephemeral0".to_owned(),
            device_name: Some("/dev/sdb".to_owned()),
            size_gib: 1,
            nvme: false,
        };
        record.own.instance_store = vec![disk];
        record.instance_type = "m3.medium".to_owned();
        let told: Vec<_> =
            block_devices(&record).into_iter().map(|(name, to)| format!("{name} {to}")).collect();
        assert_eq!(told, ["ami /dev/xvda", "ebs1 sdf", "ebs2 sdg", "ephemeral0 sdb", "root /dev/xvda"]);
        record.instance_type = "m5d.large".to_owned();
        assert!(!block_devices(&record).contains_key("ephemeral0"), "NVMe disks are not told of");
    }
}
