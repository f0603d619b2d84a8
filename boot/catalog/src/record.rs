//! instance.json: an instance in the shape of DescribeInstances, and in `AmiRun` what EC2's shape has no place for.
//!
//! EC2's members hold what EC2 has a member for; nothing stands in both. Members that this version does not know
//! are kept as they came.

use crate::state::{State, StateReason};
use ami_run_image::{ProductCode, Tag};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The form of records that this version writes.
pub(crate) const VERSION: u32 = 1;

/// One instance.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceRecord {
    pub instance_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    pub instance_type: String,
    /// When it was started last: `2026-11-21T21:00:00+00:00`.
    pub launch_time: String,
    /// Which of the instances of one launch it is, from 0.
    pub ami_launch_index: u32,
    pub state: State,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub state_reason: Option<StateReason>,
    /// `User initiated (2026-11-21 21:00:00 GMT)`, or nothing.
    #[serde(default)]
    pub state_transition_reason: String,
    pub architecture: String,
    pub root_device_name: String,
    /// `ebs` or `instance-store`.
    pub root_device_type: String,
    /// The root first.
    pub block_device_mappings: Vec<InstanceMapping>,
    pub private_ip_address: String,
    pub private_dns_name: String,
    #[serde(default)]
    pub public_dns_name: String,
    pub network_interfaces: Vec<NetworkInterface>,
    pub subnet_id: String,
    pub vpc_id: String,
    pub cpu_options: CpuOptions,
    pub placement: Placement,
    pub ena_support: bool,
    pub virtualization_type: String,
    pub hypervisor: String,
    /// Of images that no launch of today has, and of those that the Marketplace sells.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kernel_id: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ramdisk_id: Option<String>,
    #[serde(default)]
    pub product_codes: Vec<ProductCode>,
    #[serde(default)]
    pub security_groups: Vec<SecurityGroup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<String>,
    pub current_instance_boot_mode: String,
    /// The name of its key pair.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_name: Option<String>,
    #[serde(default)]
    pub metadata_options: MetadataOptions,
    #[serde(default)]
    pub tags: Vec<Tag>,
    /// ami-run's own.
    #[serde(rename = "AmiRun")]
    pub own: Launch,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

impl InstanceRecord {
    /// As it may be shown: EC2 does not tell user data among an instance's members, since people keep secrets there,
    /// and UefiData only to who asks for them.
    #[must_use]
    pub fn without_user_data(mut self) -> InstanceRecord {
        self.own.user_data = None;
        self.own.uefi_data = None;
        self
    }

    /// The value of its tag Name.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let tag = self.tags.iter().find(|tag| tag.key.as_deref() == Some("Name"))?;
        tag.value.as_deref()
    }
}

/// One entry of an instance's `BlockDeviceMappings`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceMapping {
    pub device_name: String,
    pub ebs: Attachment,
}

/// How a volume is attached. What the volume is stands in [`Launch::volumes`] under its id.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Attachment {
    pub volume_id: String,
    pub attach_time: String,
    pub delete_on_termination: bool,
    /// `attached`.
    pub status: String,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct NetworkInterface {
    pub network_interface_id: String,
    pub mac_address: String,
    pub private_ip_address: String,
    pub subnet_id: String,
    pub vpc_id: String,
    /// `in-use`.
    pub status: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct SecurityGroup {
    pub group_id: String,
    pub group_name: String,
}

/// One thread a core: vCPUs are `CoreCount`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CpuOptions {
    pub core_count: u32,
    pub threads_per_core: u32,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Placement {
    pub availability_zone: String,
    pub group_name: String,
    pub tenancy: String,
}

/// What one launch made; all instances of it have the same.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Reservation {
    pub reservation_id: String,
    pub owner_id: String,
}

/// What a start of the instance needs besides, so that each start has the same plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Launch {
    /// Of this record's form.
    pub version: u32,
    /// What people call the image: its id, or the disk file's or kernel's path.
    pub name: String,
    pub reservation: Reservation,
    #[serde(rename = "MemoryMiB")]
    pub memory_mib: u64,
    /// SMBIOS' UUID, 32 hexadecimal digits; the same at every start.
    pub uuid: String,
    pub start: Start,
    /// By volume id; exactly those that are attached.
    pub volumes: BTreeMap<String, VolumeRecord>,
    pub instance_store: Vec<InstanceStoreDisk>,
    pub shutdown_behavior: Behavior,
    /// `--rm`: when it ends, it is terminated.
    pub remove: bool,
    /// Its process is the command that launched it: with `remove` nobody asks for it when that has ended.
    #[serde(default)]
    pub foreground: bool,
    /// The machine has run: its volumes' files are there. Until then the launch itself may have failed.
    pub has_run: bool,
    /// The process that runs the machine, while there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<u32>,
    /// When it was terminated, in seconds since 1970.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub terminated_at: Option<u64>,
    /// How long the guest may take to power off when it is asked to, in seconds.
    pub stop_timeout: u64,
    #[serde(default)]
    pub network: Network,
    /// In base64, as RunInstances has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_data: Option<String>,
    /// The public half of its key pair: `ssh-ed25519 AAAA… name`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key: Option<String>,
    /// The file that `--ssh-key` named, if the key is not the instance's own: the private half lies beside it, or an
    /// agent has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// Who logs in by SSH.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<String>,
    /// The variables that its UEFI firmware begins with, as RegisterImage has them: read at the first start only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uefi_data: Option<String>,
    /// Where the credentials of its role come from: `env`, `profile:NAME` or `file:PATH`. Never they themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub iam_credentials: Option<String>,
}

/// What its network card is connected to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Network {
    /// It has none.
    None,
    /// Ports of the host's that lead to the guest, as they were written; whether the host's loopback is reached.
    #[serde(rename_all = "PascalCase")]
    User { forwards: Vec<String>, host_loopback: bool },
    #[serde(rename_all = "PascalCase")]
    Tap { name: String },
}

impl Default for Network {
    fn default() -> Network {
        Network::User { forwards: Vec::new(), host_loopback: false }
    }
}

/// EC2's `MetadataOptions`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct MetadataOptions {
    /// `applied`.
    pub state: String,
    #[serde(flatten)]
    pub options: ami_run_image::MetadataOptions,
}

impl From<ami_run_image::MetadataOptions> for MetadataOptions {
    fn from(options: ami_run_image::MetadataOptions) -> MetadataOptions {
        MetadataOptions { state: "applied".to_owned(), options }
    }
}

impl Default for MetadataOptions {
    fn default() -> MetadataOptions {
        ami_run_image::MetadataOptions::default().into()
    }
}

/// What runs first. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Start {
    /// The distribution's, or the file that was named.
    Firmware(Option<PathBuf>),
    #[serde(rename_all = "PascalCase")]
    Kernel { kernel: PathBuf, initrd: Option<PathBuf>, command_line: String },
}

/// InstanceInitiatedShutdownBehavior.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Behavior {
    #[default]
    Stop,
    Terminate,
}

/// One volume, attached or available.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeRecord {
    /// In bytes.
    pub bytes: u64,
    pub volume_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iops: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput: Option<u32>,
    #[serde(default)]
    pub encrypted: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
    pub create_time: String,
    /// The guest sees NVMe; else virtio-blk.
    pub nvme: bool,
    pub origin: VolumeOrigin,
}

/// Where a volume's bytes are. Paths are absolute.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VolumeOrigin {
    /// In the instance's folder, `volumes/vol-…`: made at the first start, on this disk file or empty.
    Store { base: Option<PathBuf> },
    /// In a file without a name that goes with the process: nobody would see it again (`--rm`).
    Private { base: Option<PathBuf> },
    /// In a volume's own file that the user made, wherever it is; it stays there whatever becomes of the instance.
    File { file: PathBuf },
}

/// One disk of the instance store: new and empty at every start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceStoreDisk {
    /// `ephemeral0`.
    pub virtual_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    #[serde(rename = "SizeGiB")]
    pub size_gib: u64,
    /// The guest sees NVMe; else virtio-blk.
    pub nvme: bool,
}
