//! DescribeImages' `Image`, with the members that a launch needs by name and all others as they came.
//!
//! Every member is optional: captures in the wild lack any of them, and new ones appear every year.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One entry of `Images`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct Image {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub architecture: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot_mode: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub root_device_name: Option<String>,
    /// The image's drivers are those of Nitro types: ENA and NVMe.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ena_support: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub block_device_mappings: Option<Vec<BlockDeviceMapping>>,
    /// Members that this version does not look at.
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// One entry of the block-device mapping.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct BlockDeviceMapping {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_name: Option<String>,
    /// Present, whatever its value: the device is left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub no_device: Option<String>,
    /// Absent for instance store, which has a `VirtualName`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ebs: Option<EbsBlockDevice>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}

/// What a mapping says of its volume.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct EbsBlockDevice {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub snapshot_id: Option<String>,
    /// In GiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub volume_size: Option<u32>,
    #[serde(flatten)]
    pub other: Map<String, Value>,
}
