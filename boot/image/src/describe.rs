//! DescribeImages' `Image`: every member that the EC2 API has in November 2026, and all others as they came.
//!
//! Every member is optional: captures in the wild lack any of them, and new ones appear every year. What EC2 picks
//! from a list of words (states, modes, types) stays text here, so that a new word is no error where nobody needs it.
//! Our own additions are `Snapshots` (in the shape of DescribeSnapshots, with `File`) and `LaunchPermissions` (in the
//! shape of DescribeImageAttribute).

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// Defines a record of EC2's API: optional members, and a map of what it does not know.
macro_rules! records {
    ($($(#[$doc:meta])* $name:ident { $($(#[$member_doc:meta])* $member:ident: $kind:ty,)* })*) => {$(
        $(#[$doc])*
        #[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
        #[cfg_attr(test, derive(schemars::JsonSchema))]
        #[serde(rename_all = "PascalCase")]
        pub struct $name {
            $(
                $(#[$member_doc])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $member: Option<$kind>,
            )*
            /// Members that this version does not know, kept as they came.
            #[serde(flatten)]
            pub other: Map<String, Value>,
        }
    )*};
}

records! {
    /// One entry of `Images`.
    Image {
        image_id: String,
        image_location: String,
        /// `available` is the one state that can be launched.
        state: String,
        state_reason: StateReason,
        owner_id: String,
        image_owner_alias: String,
        name: String,
        description: String,
        creation_date: String,
        public: bool,
        /// i386, x86_64, arm64, x86_64_mac or arm64_mac.
        architecture: String,
        image_type: String,
        kernel_id: String,
        ramdisk_id: String,
        /// `windows`, or absent.
        platform: String,
        platform_details: String,
        usage_operation: String,
        product_codes: Vec<ProductCode>,
        block_device_mappings: Vec<BlockDeviceMapping>,
        /// The device name of the mapping that the instance boots from.
        root_device_name: String,
        root_device_type: String,
        virtualization_type: String,
        hypervisor: String,
        /// The image's drivers are those of Nitro types: ENA and NVMe.
        ena_support: bool,
        sriov_net_support: String,
        /// legacy-bios, uefi or uefi-preferred.
        boot_mode: String,
        tpm_support: String,
        /// `v2.0`: instances demand session tokens of the metadata service's clients.
        imds_support: String,
        deprecation_time: String,
        deregistration_protection: String,
        last_launched_time: String,
        source_instance_id: String,
        source_image_id: String,
        source_image_region: String,
        image_allowed: bool,
        free_tier_eligible: bool,
        public_ssm_parameter_name: String,
        image_watermarks: Vec<ImageWatermark>,
        instance_type_specification: InstanceTypeSpecification,
        tags: Vec<Tag>,
        /// ami-run's own: what DescribeSnapshots says of the mapping's snapshots, and where their disk files are.
        snapshots: Vec<Snapshot>,
        /// ami-run's own: who may launch the image, as DescribeImageAttribute says it.
        launch_permissions: Vec<LaunchPermission>,
    }

    StateReason {
        code: String,
        message: String,
    }

    ProductCode {
        product_code_id: String,
        product_code_type: String,
    }

    Tag {
        key: String,
        value: String,
    }

    ImageWatermark {
        watermark_key: String,
        source_image_region: String,
        source_image_id: String,
        source_image_creation_time: String,
        watermark_creation_time: String,
    }

    /// Names of instance types, in which `*` stands for any letters.
    InstanceTypeSpecification {
        supported_instance_types: Vec<String>,
        unsupported_instance_types: Vec<String>,
    }

    /// One entry of the block-device mapping.
    BlockDeviceMapping {
        device_name: String,
        /// Instance store: `ephemeral0`, `ephemeral1`, …
        virtual_name: String,
        /// Present, whatever its value: the device is left out.
        no_device: String,
        ebs: EbsBlockDevice,
    }

    /// What a mapping says of its volume.
    EbsBlockDevice {
        snapshot_id: String,
        /// In GiB.
        volume_size: u32,
        /// gp2, gp3, io1, io2, st1, sc1 or standard.
        volume_type: String,
        iops: u32,
        /// In MiB/s.
        throughput: u32,
        delete_on_termination: bool,
        encrypted: bool,
        kms_key_id: String,
        outpost_arn: String,
        availability_zone: String,
        availability_zone_id: String,
        /// In MiB/s.
        volume_initialization_rate: u32,
        ebs_card_index: u32,
    }

    /// One entry of `Snapshots`.
    Snapshot {
        snapshot_id: String,
        /// In GiB.
        volume_size: u32,
        encrypted: bool,
        state: String,
        description: String,
        owner_id: String,
        start_time: String,
        tags: Vec<Tag>,
        /// ami-run's own: the disk file that holds the snapshot, seen from the folder of image.json.
        file: String,
    }

    /// One entry of `LaunchPermissions`.
    LaunchPermission {
        user_id: String,
        /// `all`.
        group: String,
        organization_arn: String,
        organizational_unit_arn: String,
    }
}
