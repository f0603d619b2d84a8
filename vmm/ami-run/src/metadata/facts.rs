//! The facts of an instance that nobody has launched: what EC2 would make of the image, with ids and addresses made up.

use ami_run_catalog::{CatalogError, ids};
use ami_run_image::{Image, LaunchPlan};
use ami_run_metadata::{Events, Facts, Interface, Placement, SecurityGroup};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::time::SystemTime;

/// The account of AWS's own examples.
pub(super) const ACCOUNT: &str = "123456789012";
/// The default VPC's.
const VPC: &str = "172.31.0.0/16";
const SUBNET: &str = "172.31.0.0/20";
const NO_IMAGE: &str = "ami-00000000000000000";

/// What the instance of a plan would see, without what it is given.
pub(super) fn facts(
    image: &Image,
    plan: &LaunchPlan,
    region: &str,
    now: SystemTime,
) -> Result<Facts, CatalogError> {
    let address = address()?;
    let hostname = hostname(address, region);
    let codes = image.product_codes.iter().flatten();
    let interface = interface(address, &hostname)?;
    Ok(Facts {
        instance_id: ids::instance()?,
        image_id: plan.image_id.clone().unwrap_or_else(|| NO_IMAGE.to_owned()),
        ancestor_image_ids: Vec::new(),
        launch_index: 0,
        reservation_id: new_id("r")?,
        account_id: ACCOUNT.to_owned(),
        instance_type: plan.instance_type.name.clone(),
        architecture: plan.architecture.to_string(),
        life_cycle: "on-demand".to_owned(),
        kernel_id: image.kernel_id.clone(),
        ramdisk_id: image.ramdisk_id.clone(),
        product_codes: codes.filter_map(|code| code.product_code_id.clone()).collect(),
        billing_products: Vec::new(),
        pending_time: now,
        hostname,
        placement: Placement {
            region: region.to_owned(),
            availability_zone: format!("{region}a"),
            availability_zone_id: format!("{}-az1", short(region)),
            group_name: None,
            host_id: None,
            partition_number: None,
        },
        interfaces: vec![interface],
        block_devices: block_devices(plan),
        public_key: None,
        user_data: None,
        tags: BTreeMap::new(),
        monitoring: false,
        hibernation: false,
        target_life_cycle_state: None,
        role: None,
        events: Events::default(),
    })
}

/// Of EC2's length, which begins with 0.
fn new_id(prefix: &str) -> Result<String, CatalogError> {
    let mut id = format!("{prefix}-0");
    for byte in ids::random::<8>()? {
        // Writing to a string cannot fail.
        write!(id, "{byte:02x}").unwrap_or_default();
    }
    Ok(id)
}

/// In the subnet, past the addresses that EC2 keeps.
fn address() -> Result<Ipv4Addr, CatalogError> {
    let [third, fourth] = ids::random()?;
    Ok(Ipv4Addr::new(172, 31, third % 16, 4 + fourth % 248))
}

fn interface(address: Ipv4Addr, hostname: &str) -> Result<Interface, CatalogError> {
    let [a, b, c, d, e] = ids::random()?;
    Ok(Interface {
        mac: format!("02:{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}"),
        interface_id: new_id("eni")?,
        device_number: 0,
        network_card: None,
        private_ipv4s: vec![address],
        public_ipv4: None,
        ipv6s: Vec::new(),
        ipv4_prefixes: Vec::new(),
        ipv6_prefixes: Vec::new(),
        local_hostname: hostname.to_owned(),
        security_groups: vec![SecurityGroup { id: new_id("sg")?, name: "default".to_owned() }],
        subnet_id: new_id("subnet")?,
        subnet_ipv4_cidr: SUBNET.to_owned(),
        subnet_ipv6_cidrs: Vec::new(),
        vpc_id: new_id("vpc")?,
        vpc_ipv4_cidrs: vec![VPC.to_owned()],
        vpc_ipv6_cidrs: Vec::new(),
    })
}

fn hostname(address: Ipv4Addr, region: &str) -> String {
    let dashed = address.to_string().replace('.', "-");
    match region {
        "us-east-1" => format!("ip-{dashed}.ec2.internal"),
        _ => format!("ip-{dashed}.{region}.compute.internal"),
    }
}

/// The root by its whole name, others without `/dev/`. Of the instance store, disks that are not NVMe.
fn block_devices(plan: &LaunchPlan) -> BTreeMap<String, String> {
    let short = |name: &str| name.trim_start_matches("/dev/").to_owned();
    let mut devices: BTreeMap<String, String> =
        ["ami", "root"].map(|name| (name.to_owned(), plan.root_device_name.clone())).into();
    let others = plan.volumes.iter().filter(|volume| !volume.root);
    devices.extend(others.zip(1..).map(|(volume, n)| (format!("ebs{n}"), short(&volume.device_name))));
    let store = plan.instance_store.iter().filter(|_| !plan.instance_type.nvme);
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
    fn names_of_hosts_have_the_region_but_in_the_first() {
        let address = Ipv4Addr::new(172, 31, 4, 66);
        assert_eq!(hostname(address, "us-east-1"), "ip-172-31-4-66.ec2.internal");
        assert_eq!(hostname(address, "us-east-2"), "ip-172-31-4-66.us-east-2.compute.internal");
    }
}
