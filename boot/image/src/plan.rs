//! From an [`Image`] to a [`LaunchPlan`]: plain data about everything that the launch decided.

use crate::architecture::Architecture;
use crate::boot_mode::{self, BootMode, ImageBootMode};
use crate::checks;
use crate::describe::{BlockDeviceMapping, Image, ProductCode};
use crate::instance_type::InstanceType;
use crate::mappings::merge::{Device, Mapping, merge};
use crate::metadata::MetadataOptions;
use crate::refusal::{Refusal, code};
use crate::volume::{Interface, PlannedVolume};
use crate::warning::{self, Warning};
use serde::Serialize;
use std::time::SystemTime;

/// What the caller chose.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// This computer's.
    pub host: Architecture,
    /// None: the smallest common type of the image's architecture.
    pub instance_type: Option<&'a str>,
    /// None: as many as the type has.
    pub cpus: Option<u32>,
    pub memory_mib: Option<u64>,
    /// None: what the image says.
    pub boot_mode: Option<ImageBootMode>,
    pub mappings: &'a [BlockDeviceMapping],
    /// None: NVMe if the image is made for Nitro types, else virtio.
    pub interface: Option<Interface>,
    /// None: nobody's permission is looked at.
    pub account_id: Option<&'a str>,
    pub now: SystemTime,
}

/// What a launch decided, before anything is made.
#[derive(Clone, Debug, PartialEq)]
pub struct LaunchPlan {
    pub image_id: Option<String>,
    pub architecture: Architecture,
    pub instance_type: InstanceType,
    /// Nobody chose the type.
    pub type_by_default: bool,
    pub boot_mode: BootMode,
    /// What `--boot-mode` or the image said of it.
    pub wanted_boot_mode: Option<ImageBootMode>,
    pub root_device_name: String,
    pub cpus: u32,
    pub memory_mib: u64,
    /// The root first, then the others in the order of the mapping.
    pub volumes: Vec<PlannedVolume>,
    pub instance_store: Vec<InstanceStore>,
    pub metadata_options: MetadataOptions,
    /// The image's, which the instance has, too.
    pub kernel_id: Option<String>,
    pub ramdisk_id: Option<String>,
    pub product_codes: Vec<ProductCode>,
    pub warnings: Vec<Warning>,
}

/// One disk of the instance store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct InstanceStore {
    /// None where no mapping names it: NVMe disks come without one.
    pub device_name: Option<String>,
    pub virtual_name: String,
    #[serde(rename = "SizeGiB")]
    pub size_gib: u64,
}

/// Decides the launch of `image`. Which disk file holds a snapshot is told afterwards, by [`PlannedVolume::found`].
pub fn plan(image: &Image, request: &Request<'_>) -> Result<LaunchPlan, Refusal> {
    let mut warnings = Vec::new();
    checks::image(image)?;
    if let Some(account) = request.account_id {
        checks::permission(image, account, &mut warnings)?;
    }
    let instance_type =
        InstanceType::named(request.instance_type.unwrap_or_else(|| default_type(image, request.host)))?;
    let architecture = checks::architecture(image, &instance_type, request.host)?;
    checks::instance_type(image, &instance_type)?;
    let (wanted_boot_mode, boot_mode) = boot_mode(image, request, &instance_type, &mut warnings)?;
    let root = image.root_device_name.as_deref().ok_or_else(no_root_name)?;
    let interface = request.interface.unwrap_or(match image.ena_support {
        Some(true) => Interface::Nvme,
        _ => Interface::Virtio,
    });
    let mappings = merge(image.block_device_mappings.as_deref().unwrap_or_default(), request.mappings, root)?;
    let volumes = volumes(image, &mappings, root, interface)?;
    warning::of_image(image, request.now, &mut warnings);
    checks::drivers(image, &instance_type, &mut warnings);
    warnings.extend(volumes.iter().flat_map(PlannedVolume::warnings));
    Ok(LaunchPlan {
        image_id: image.image_id.clone(),
        architecture,
        type_by_default: request.instance_type.is_none(),
        boot_mode,
        wanted_boot_mode,
        root_device_name: root.to_owned(),
        cpus: request.cpus.unwrap_or(instance_type.vcpus),
        memory_mib: request.memory_mib.unwrap_or(instance_type.memory_mib),
        volumes,
        instance_store: instance_store(&mappings, &instance_type),
        metadata_options: metadata_options(image),
        kernel_id: image.kernel_id.clone(),
        ramdisk_id: image.ramdisk_id.clone(),
        product_codes: image.product_codes.clone().unwrap_or_default(),
        warnings,
        instance_type,
    })
}

fn default_type(image: &Image, host: Architecture) -> &'static str {
    let named = image.architecture.as_deref().and_then(Architecture::from_ec2);
    InstanceType::default_for(named.unwrap_or(host))
}

fn boot_mode(
    image: &Image,
    request: &Request<'_>,
    instance_type: &InstanceType,
    warnings: &mut Vec<Warning>,
) -> Result<(Option<ImageBootMode>, BootMode), Refusal> {
    let said = image.boot_mode.as_deref();
    let unknown = |name: &str| {
        let names = ImageBootMode::NAMES.join(", ");
        Refusal::new(code::INVALID_VALUE, "BootMode", format!("`{name}` is not a boot mode: EC2 has {names}"))
    };
    let (mode, place) = match (request.boot_mode, said) {
        (Some(chosen), _) => (Some(chosen), boot_mode::OPTION),
        (None, Some(name)) => (Some(ImageBootMode::from_ec2(name).ok_or_else(|| unknown(name))?), "BootMode"),
        (None, None) => (None, "BootMode"),
    };
    let resolved = boot_mode::resolve(mode, place, instance_type)?;
    warning::of_boot_mode(image, request.boot_mode, resolved, warnings);
    Ok((mode, resolved))
}

fn no_root_name() -> Refusal {
    let message = "the image does not say which device is its root";
    Refusal::new(code::INVALID_MAPPING, "RootDeviceName", message)
        .hint("add RootDeviceName, usually \"/dev/xvda\" or \"/dev/sda1\"")
}

fn volumes(
    image: &Image,
    mappings: &[Mapping],
    root: &str,
    interface: Interface,
) -> Result<Vec<PlannedVolume>, Refusal> {
    let snapshots = image.snapshots.as_deref().unwrap_or_default();
    let mut planned = Vec::new();
    for mapping in mappings {
        let is_root = mapping.device_name == root;
        match &mapping.device {
            Device::Ebs(ebs) => {
                planned.push(PlannedVolume::new(mapping, ebs, is_root, interface, snapshots)?);
            }
            Device::Ephemeral(_) if is_root => return Err(root_without_snapshot(root, &mapping.own_place())),
            Device::Ephemeral(_) => {}
        }
    }
    if !planned.iter().any(|volume| volume.root) {
        let names: Vec<_> = mappings.iter().map(|mapping| mapping.device_name.as_str()).collect();
        let there = if names.is_empty() { "no mapping at all".to_owned() } else { names.join(", ") };
        let message = format!("none has the root's device name {root}; there is {there}");
        return Err(Refusal::new(code::INVALID_MAPPING, "BlockDeviceMappings", message));
    }
    // The root by its name, wherever it stands in the list. The sort is stable: the others keep their order.
    planned.sort_by_key(|volume: &PlannedVolume| !volume.root);
    Ok(planned)
}

pub(crate) fn root_without_snapshot(root: &str, place: &str) -> Refusal {
    let message = format!("the root device {root} is not an EBS volume with a snapshot");
    Refusal::new(code::INVALID_MAPPING, place, message)
}

/// NVMe disks are there whether they are mapped or not; older ones only if they are. What is mapped beyond what the
/// type has is ignored, as EC2 does.
fn instance_store(mappings: &[Mapping], instance_type: &InstanceType) -> Vec<InstanceStore> {
    let Some(store) = instance_type.store else { return Vec::new() };
    let mapped = |number: u32| {
        let is_it =
            |mapping: &&Mapping| matches!(mapping.device, Device::Ephemeral(n) if u32::from(n) == number);
        mappings.iter().find(is_it).map(|mapping| mapping.device_name.clone())
    };
    let disk = |number: u32| InstanceStore {
        device_name: mapped(number),
        virtual_name: format!("ephemeral{number}"),
        size_gib: store.gib(),
    };
    (0..store.count).map(disk).filter(|disk| instance_type.nvme || disk.device_name.is_some()).collect()
}

/// EC2's defaults, and those that an image with ImdsSupport brings.
fn metadata_options(image: &Image) -> MetadataOptions {
    match image.imds_support.as_deref() {
        Some("v2.0") => MetadataOptions {
            http_tokens: "required".to_owned(),
            http_put_response_hop_limit: 2,
            ..MetadataOptions::default()
        },
        _ => MetadataOptions::default(),
    }
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
