//! What the service tells about an instance: plain data, and nothing about how it is asked for.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::time::SystemTime;

/// One instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    pub instance_id: String,
    pub image_id: String,
    /// Images that this one was made from, the nearest first.
    pub ancestor_image_ids: Vec<String>,
    pub launch_index: u32,
    pub reservation_id: String,
    pub account_id: String,
    pub instance_type: String,
    /// `x86_64` or `arm64`.
    pub architecture: String,
    /// `on-demand`, `spot`, `scheduled` or `capacity-block`.
    pub life_cycle: String,
    pub kernel_id: Option<String>,
    pub ramdisk_id: Option<String>,
    pub product_codes: Vec<String>,
    pub billing_products: Vec<String>,
    /// When it was last started.
    pub pending_time: SystemTime,
    pub hostname: String,
    pub placement: Placement,
    /// The primary one first.
    pub interfaces: Vec<Interface>,
    /// By EC2's virtual names (`ami`, `root`, `ebs1`, `ephemeral0`, `swap`) the device's.
    pub block_devices: BTreeMap<String, String>,
    pub public_key: Option<PublicKey>,
    pub user_data: Option<Vec<u8>>,
    pub tags: BTreeMap<String, String>,
    /// Detailed monitoring is on.
    pub monitoring: bool,
    pub hibernation: bool,
    /// The Auto Scaling state that it is on its way to.
    pub target_life_cycle_state: Option<String>,
    pub role: Option<Role>,
    pub events: Events,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    pub region: String,
    pub availability_zone: String,
    /// `use1-az1`.
    pub availability_zone_id: String,
    pub group_name: Option<String>,
    pub host_id: Option<String>,
    pub partition_number: Option<u32>,
}

/// A network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// `02:` and five more bytes, in small letters.
    pub mac: String,
    pub interface_id: String,
    pub device_number: u32,
    /// Types of several cards only.
    pub network_card: Option<u32>,
    /// The primary one first.
    pub private_ipv4s: Vec<Ipv4Addr>,
    /// Of the primary private address.
    pub public_ipv4: Option<Ipv4Addr>,
    pub ipv6s: Vec<Ipv6Addr>,
    pub ipv4_prefixes: Vec<String>,
    pub ipv6_prefixes: Vec<String>,
    pub local_hostname: String,
    pub security_groups: Vec<SecurityGroup>,
    pub subnet_id: String,
    pub subnet_ipv4_cidr: String,
    pub subnet_ipv6_cidrs: Vec<String>,
    pub vpc_id: String,
    /// The first is the one that the VPC was made with.
    pub vpc_ipv4_cidrs: Vec<String>,
    pub vpc_ipv6_cidrs: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SecurityGroup {
    pub id: String,
    pub name: String,
}

/// The public half of a key pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey {
    /// Of the key pair.
    pub name: String,
    /// `ssh-ed25519 AAAA… comment`.
    pub openssh: String,
}

/// The instance profile's role.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Role {
    pub name: String,
    pub profile_arn: String,
    pub profile_id: String,
    /// None: they could not be had.
    pub credentials: Option<Credentials>,
    /// When they were had, or could not be.
    pub updated: SystemTime,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Credentials {
    pub access_key_id: String,
    pub secret_access_key: String,
    pub token: String,
    pub expiration: SystemTime,
}

impl std::fmt::Debug for Credentials {
    /// Secrets are for whoever asks the service, not for logs.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// What EC2 announces to the instance.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events {
    pub spot: Option<SpotNotice>,
    /// When the recommendation to rebalance was given.
    pub rebalance: Option<SystemTime>,
    pub maintenance: Vec<Maintenance>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpotNotice {
    pub action: SpotAction,
    /// When it will happen.
    pub time: SystemTime,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpotAction {
    Hibernate,
    Stop,
    Terminate,
}

impl SpotAction {
    pub(crate) fn name(self) -> &'static str {
        match self {
            SpotAction::Hibernate => "hibernate",
            SpotAction::Stop => "stop",
            SpotAction::Terminate => "terminate",
        }
    }
}

/// A scheduled event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Maintenance {
    /// `instance-event-…`.
    pub event_id: String,
    /// `instance-reboot`, `system-reboot`, `system-maintenance`, `instance-retirement` or `instance-stop`.
    pub code: String,
    pub description: String,
    pub not_before: SystemTime,
    pub not_after: Option<SystemTime>,
    pub state: MaintenanceState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MaintenanceState {
    Active,
    Completed,
    Canceled,
}

impl MaintenanceState {
    pub(crate) fn name(self) -> &'static str {
        match self {
            MaintenanceState::Active => "active",
            MaintenanceState::Completed => "completed",
            MaintenanceState::Canceled => "canceled",
        }
    }
}
