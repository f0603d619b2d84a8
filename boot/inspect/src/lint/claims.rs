//! What an image says of itself, as far as its disk can bear it out.

use super::finding::{Code, Finding, Severity};
use crate::contents::Place;
use ami_run_image::{Architecture, Image};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claims {
    /// None: none that this program knows.
    pub architecture: Option<Architecture>,
    pub boot_mode: Option<String>,
    pub root_device_name: Option<String>,
    /// The device names of the block-device mapping, without those that are left out.
    pub device_names: Vec<String>,
    pub ena_support: Option<bool>,
}

impl From<&Image> for Claims {
    fn from(image: &Image) -> Claims {
        let mappings = image.block_device_mappings.as_deref().unwrap_or_default();
        let mapped = mappings.iter().filter(|mapping| mapping.no_device.is_none());
        Claims {
            architecture: image.architecture.as_deref().and_then(Architecture::from_ec2),
            boot_mode: image.boot_mode.clone(),
            root_device_name: image.root_device_name.clone(),
            device_names: mapped.filter_map(|mapping| mapping.device_name.clone()).collect(),
            ena_support: image.ena_support,
        }
    }
}

impl Claims {
    /// Types for arm64 have no BIOS.
    pub(super) fn mode(&self, found: &mut Vec<Finding>) {
        if self.architecture == Some(Architecture::Arm64) && self.boot_mode.as_deref() == Some("legacy-bios")
        {
            found.push(Finding {
                code: Code::BootModeImpossible,
                severity: Severity::Error,
                place: Place::member("BootMode"),
                reason: "EC2's types for arm64 start by UEFI only, and the image says legacy-bios: no type would launch it"
                    .to_owned(),
                remedy: "register it with `--boot-mode uefi`, or without one".to_owned(),
            });
        }
    }

    pub(super) fn mapping(&self, found: &mut Vec<Finding>) {
        let Some(root) = &self.root_device_name else { return };
        if !self.device_names.contains(root) {
            let names = match self.device_names.as_slice() {
                [] => "there is no mapping at all".to_owned(),
                names => format!("there is {}", names.join(", ")),
            };
            found.push(Finding {
                code: Code::RootDeviceNotMapped,
                severity: Severity::Error,
                place: Place::member("RootDeviceName"),
                reason: format!("no entry of BlockDeviceMappings has the root's device name {root}; {names}"),
                remedy: "register the image with the root volume mapped under its RootDeviceName".to_owned(),
            });
        }
    }
}
