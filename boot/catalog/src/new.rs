//! What a launch decided of an instance, and the record that is made of it.

use crate::error::CatalogError;
use crate::record::{
    Attachment, Behavior, CpuOptions, InstanceMapping, InstanceRecord, InstanceStoreDisk, Launch,
    MetadataOptions, Network, NetworkInterface, Placement, Reservation, SecurityGroup, Start, VERSION,
    VolumeRecord,
};
use crate::state::State;
use crate::{addresses, ids, time};
use ami_run_image::{ProductCode, Tag};
use serde_json::Map;
use std::net::Ipv4Addr;
use std::path::PathBuf;

/// Where instances are that nobody has placed.
pub const DEFAULT_ZONE: &str = "us-east-1a";
/// The VPC that an account has from the beginning, and its subnet.
const VPC: &str = "vpc-0a31d000000000000";
const SUBNET: &str = "subnet-0a31d160000000000";
const SECURITY_GROUP: &str = "sg-0a31d000000000000";
/// Whose instances are that no account launches: the account of AWS's own examples.
const OWNER: &str = "123456789012";

/// An instance that is to be made.
#[derive(Clone, Debug, PartialEq)]
pub struct NewInstance {
    /// What people call the image.
    pub name: String,
    pub image_id: Option<String>,
    pub reservation: Reservation,
    pub ami_launch_index: u32,
    pub instance_type: String,
    pub architecture: String,
    pub root_device_name: String,
    /// `ebs` or `instance-store`.
    pub root_device_type: String,
    /// The image's.
    pub boot_mode: Option<String>,
    pub current_instance_boot_mode: String,
    pub cpus: u32,
    pub memory_mib: u64,
    pub ena_support: bool,
    pub kernel_id: Option<String>,
    pub ramdisk_id: Option<String>,
    pub product_codes: Vec<ProductCode>,
    pub availability_zone: String,
    pub tags: Vec<Tag>,
    /// The root first.
    pub volumes: Vec<NewVolume>,
    pub instance_store: Vec<InstanceStoreDisk>,
    pub start: Start,
    pub shutdown_behavior: Behavior,
    pub remove: bool,
    pub foreground: bool,
    pub stop_timeout: u64,
    pub network: Network,
    pub metadata_options: MetadataOptions,
    /// In base64.
    pub user_data: Option<String>,
    /// The name of its key pair, and the public half.
    pub key: Option<(String, String)>,
    /// The file of the public half, if it is not the instance's own.
    pub key_file: Option<PathBuf>,
    /// Who logs in by SSH.
    pub user: Option<String>,
    /// As RegisterImage has it.
    pub uefi_data: Option<String>,
    pub iam_credentials: Option<String>,
}

/// A volume that is to be attached to it.
#[derive(Clone, Debug, PartialEq)]
pub struct NewVolume {
    pub device_name: String,
    pub delete_on_termination: bool,
    pub volume: VolumeRecord,
}

impl Reservation {
    /// What the instances of one launch have in common.
    pub fn new(owner_id: Option<&str>) -> Result<Reservation, CatalogError> {
        let owner_id = owner_id.unwrap_or(OWNER).to_owned();
        Ok(Reservation { reservation_id: ids::new("r")?, owner_id })
    }
}

impl NewInstance {
    /// The record that it would have, in no store: nothing keeps its id and address from being another's, too.
    pub fn imagined(self) -> Result<InstanceRecord, CatalogError> {
        let address = addresses::SUBNET.address(u32::from_ne_bytes(ids::random()?));
        record(self, &ids::instance()?, address)
    }
}

/// The record of a pending instance.
pub(crate) fn record(new: NewInstance, id: &str, address: Ipv4Addr) -> Result<InstanceRecord, CatalogError> {
    let now = time::iso(time::now());
    let mut mappings = Vec::new();
    let mut volumes = std::collections::BTreeMap::new();
    for NewVolume { device_name, delete_on_termination, volume } in new.volumes {
        let id = ids::volume()?;
        mappings.push(InstanceMapping {
            device_name,
            ebs: Attachment {
                volume_id: id.clone(),
                attach_time: now.clone(),
                delete_on_termination,
                status: "attached".to_owned(),
            },
        });
        volumes.insert(id, volume);
    }
    let dns = private_dns_name(address, &new.availability_zone);
    Ok(InstanceRecord {
        instance_id: id.to_owned(),
        image_id: new.image_id,
        instance_type: new.instance_type,
        launch_time: now,
        ami_launch_index: new.ami_launch_index,
        state: State::Pending,
        state_reason: None,
        state_transition_reason: String::new(),
        architecture: new.architecture,
        root_device_name: new.root_device_name,
        root_device_type: new.root_device_type,
        block_device_mappings: mappings,
        private_ip_address: address.to_string(),
        private_dns_name: dns,
        public_dns_name: String::new(),
        network_interfaces: vec![interface(address)?],
        subnet_id: SUBNET.to_owned(),
        vpc_id: VPC.to_owned(),
        cpu_options: CpuOptions { core_count: new.cpus, threads_per_core: 1 },
        placement: Placement {
            availability_zone: new.availability_zone,
            group_name: String::new(),
            tenancy: "default".to_owned(),
        },
        ena_support: new.ena_support,
        virtualization_type: "hvm".to_owned(),
        hypervisor: "xen".to_owned(),
        kernel_id: new.kernel_id,
        ramdisk_id: new.ramdisk_id,
        product_codes: new.product_codes,
        security_groups: vec![security_group()],
        boot_mode: new.boot_mode,
        current_instance_boot_mode: new.current_instance_boot_mode,
        key_name: new.key.as_ref().map(|(name, _)| name.clone()),
        metadata_options: new.metadata_options,
        tags: new.tags,
        own: Launch {
            version: VERSION,
            name: new.name,
            reservation: new.reservation,
            memory_mib: new.memory_mib,
            uuid: ids::uuid()?,
            start: new.start,
            volumes,
            instance_store: new.instance_store,
            shutdown_behavior: new.shutdown_behavior,
            remove: new.remove,
            foreground: new.foreground,
            has_run: false,
            process: None,
            terminated_at: None,
            stop_timeout: new.stop_timeout,
            network: new.network,
            user_data: new.user_data,
            public_key: new.key.map(|(_, openssh)| openssh),
            key_file: new.key_file,
            user: new.user,
            uefi_data: new.uefi_data,
            iam_credentials: new.iam_credentials,
        },
        other: Map::new(),
    })
}

fn security_group() -> SecurityGroup {
    SecurityGroup { group_id: SECURITY_GROUP.to_owned(), group_name: "default".to_owned() }
}

fn interface(address: Ipv4Addr) -> Result<NetworkInterface, CatalogError> {
    Ok(NetworkInterface {
        network_interface_id: ids::new("eni")?,
        mac_address: mac(ids::random()?, address),
        private_ip_address: address.to_string(),
        subnet_id: SUBNET.to_owned(),
        vpc_id: VPC.to_owned(),
        status: "in-use".to_owned(),
    })
}

/// EC2's IP names: us-east-1 has one of its own.
fn private_dns_name(address: Ipv4Addr, zone: &str) -> String {
    let name = address.to_string().replace('.', "-");
    match zone.trim_end_matches(|last: char| last.is_ascii_lowercase()) {
        "us-east-1" => format!("ip-{name}.ec2.internal"),
        region => format!("ip-{name}.{region}.compute.internal"),
    }
}

/// Unique in the store, because it ends in the address. EC2's begin with 02, 06, 0a or 0e: locally administered.
fn mac([first, second, third]: [u8; 3], address: Ipv4Addr) -> String {
    let [_, _, fourth, fifth] = address.octets();
    let first = (first & 0x0c) | 0x02;
    format!("{first:02x}:{second:02x}:{third:02x}:0a:{fourth:02x}:{fifth:02x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_private_name_is_the_region_s() {
        let address = Ipv4Addr::new(172, 31, 16, 4);
        assert_eq!(private_dns_name(address, "us-east-1a"), "ip-172-31-16-4.ec2.internal");
        assert_eq!(private_dns_name(address, "eu-west-3b"), "ip-172-31-16-4.eu-west-3.compute.internal");
    }

    #[test]
    fn a_mac_address_is_a_host_s_own_and_ends_in_the_address() {
        let address = Ipv4Addr::new(172, 31, 16, 4);
        assert_eq!(mac([0xff, 1, 2], address), "0e:01:02:0a:10:04");
        assert_eq!(mac([0, 1, 2], address), "02:01:02:0a:10:04");
    }
}
