//! From an [`Image`] to a [`LaunchPlan`]: plain data about everything that the launch decided.

use crate::describe::{BlockDeviceMapping, Image};
use crate::error::ImageError;
use std::fmt;

/// EC2's largest volume (gp3, io2), in GiB.
const MAX_VOLUME_GIB: u32 = 65536;

/// An architecture that EC2 and this program both know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    X86_64,
    Arm64,
}

impl Architecture {
    /// This computer's, if it is one that images are made for.
    #[must_use]
    pub fn of_this_computer() -> Option<Architecture> {
        match std::env::consts::ARCH {
            "x86_64" => Some(Architecture::X86_64),
            "aarch64" => Some(Architecture::Arm64),
            _ => None,
        }
    }

    pub(crate) fn from_ec2(name: &str) -> Option<Architecture> {
        match name {
            "x86_64" => Some(Architecture::X86_64),
            "arm64" => Some(Architecture::Arm64),
            _ => None,
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Architecture::X86_64 => "x86_64",
            Architecture::Arm64 => "arm64",
        })
    }
}

/// How the image's code is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootMode {
    LegacyBios,
}

impl fmt::Display for BootMode {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BootMode::LegacyBios => to.write_str("legacy-bios"),
        }
    }
}

/// What a volume looks like to the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interface {
    /// An NVMe controller as EBS shows it on Nitro types.
    Nvme,
    /// virtio-blk.
    Virtio,
}

impl fmt::Display for Interface {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Interface::Nvme => "nvme",
            Interface::Virtio => "virtio",
        })
    }
}

/// What the caller chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    pub cpus: u32,
    pub memory_mib: u64,
    /// None: NVMe if the image is made for Nitro types, else virtio.
    pub interface: Option<Interface>,
}

/// What a launch decided, before anything is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaunchPlan {
    pub image_id: Option<String>,
    pub architecture: Architecture,
    pub boot_mode: BootMode,
    pub cpus: u32,
    pub memory_mib: u64,
    pub interface: Interface,
    /// The root first, then the others in the order of the mapping.
    pub volumes: Vec<PlannedVolume>,
}

/// One volume of the instance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedVolume {
    pub device_name: String,
    /// None: the volume starts empty, and has a size.
    pub snapshot_id: Option<String>,
    /// None: as large as the snapshot.
    pub size_gib: Option<u32>,
    pub root: bool,
}

/// Decides the launch of `image` on a computer of architecture `host`.
pub fn plan(image: &Image, host: Architecture, shape: Shape) -> Result<LaunchPlan, ImageError> {
    let root = image.root_device_name.as_deref().ok_or(ImageError::NoRootDeviceName)?;
    Ok(LaunchPlan {
        image_id: image.image_id.clone(),
        architecture: architecture(image, host)?,
        boot_mode: boot_mode(image)?,
        cpus: shape.cpus,
        memory_mib: shape.memory_mib,
        interface: shape.interface.unwrap_or(match image.ena_support {
            Some(true) => Interface::Nvme,
            _ => Interface::Virtio,
        }),
        volumes: volumes(image, root)?,
    })
}

fn architecture(image: &Image, host: Architecture) -> Result<Architecture, ImageError> {
    match &image.architecture {
        Some(name) if Architecture::from_ec2(name) != Some(host) => {
            Err(ImageError::OtherArchitecture { image: name.clone(), host })
        }
        _ => Ok(host),
    }
}

fn boot_mode(image: &Image) -> Result<BootMode, ImageError> {
    match image.boot_mode.as_deref() {
        // An image that does not say is started by BIOS on EC2's x86_64 types, and one that prefers UEFI by BIOS
        // on a type without UEFI.
        None | Some("legacy-bios" | "uefi-preferred") => Ok(BootMode::LegacyBios),
        Some(other) => Err(ImageError::BootMode(other.to_owned())),
    }
}

/// The EBS volumes. Instance store needs no mapping on a type that has NVMe, and there is none here.
fn volumes(image: &Image, root: &str) -> Result<Vec<PlannedVolume>, ImageError> {
    let mappings = image.block_device_mappings.as_deref().unwrap_or_default();
    let mut planned = Vec::new();
    let mut names = Vec::new();
    for (index, mapping) in mappings.iter().enumerate().filter(|(_, mapping)| mapping.no_device.is_none()) {
        let name = mapping.device_name.as_deref().ok_or(ImageError::NoDeviceName(index))?;
        names.push(name.to_owned());
        planned.extend(volume(mapping, name, name == root)?);
    }
    if !names.iter().any(|name| name == root) {
        return Err(ImageError::RootNotMapped { root: root.to_owned(), names });
    }
    // The root by its name, wherever it stands in the list. The sort is stable: the others keep their order.
    planned.sort_by_key(|volume: &PlannedVolume| !volume.root);
    Ok(planned)
}

fn volume(mapping: &BlockDeviceMapping, name: &str, root: bool) -> Result<Option<PlannedVolume>, ImageError> {
    let Some(ebs) = &mapping.ebs else {
        return if root { Err(ImageError::RootWithoutSnapshot(name.to_owned())) } else { Ok(None) };
    };
    match (&ebs.snapshot_id, ebs.volume_size) {
        (None, _) if root => return Err(ImageError::RootWithoutSnapshot(name.to_owned())),
        (None, None) => return Err(ImageError::NeitherSnapshotNorSize(name.to_owned())),
        (Some(id), _) if !is_snapshot_id(id) => {
            return Err(ImageError::SnapshotId { device: name.to_owned(), id: id.clone() });
        }
        (_, Some(size)) if !(1..=MAX_VOLUME_GIB).contains(&size) => {
            return Err(ImageError::VolumeSize { device: name.to_owned(), size });
        }
        _ => {}
    }
    Ok(Some(PlannedVolume {
        device_name: name.to_owned(),
        snapshot_id: ebs.snapshot_id.clone(),
        size_gib: ebs.volume_size,
        root,
    }))
}

/// Ids become file names, so they hold nothing that could lead out of a folder.
fn is_snapshot_id(id: &str) -> bool {
    id.strip_prefix("snap-")
        .is_some_and(|rest| !rest.is_empty() && rest.chars().all(|c| c.is_ascii_alphanumeric()))
}

#[cfg(test)]
#[path = "plan_test.rs"]
mod tests;
