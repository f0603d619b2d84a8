//! How an instance is started: what the image says, what the type can, and EC2's table of the two.
//!
//! EC2 user guide, "Instance launch behavior with Amazon EC2 boot modes".

use crate::instance_type::InstanceType;
use crate::refusal::{Refusal, code};
use std::fmt;

/// What overrides an image's word.
pub(crate) const OPTION: &str = "--boot-mode";

/// How the image's code is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootMode {
    LegacyBios,
    Uefi,
}

impl fmt::Display for BootMode {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            BootMode::LegacyBios => "legacy-bios",
            BootMode::Uefi => "uefi",
        })
    }
}

/// What an image can say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageBootMode {
    LegacyBios,
    Uefi,
    UefiPreferred,
}

impl ImageBootMode {
    /// EC2's names, for help and messages.
    pub const NAMES: [&str; 3] = ["legacy-bios", "uefi", "uefi-preferred"];

    /// The mode of this name.
    #[must_use]
    pub fn from_ec2(name: &str) -> Option<ImageBootMode> {
        match name {
            "legacy-bios" => Some(ImageBootMode::LegacyBios),
            "uefi" => Some(ImageBootMode::Uefi),
            "uefi-preferred" => Some(ImageBootMode::UefiPreferred),
            _ => None,
        }
    }
}

impl fmt::Display for ImageBootMode {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            ImageBootMode::LegacyBios => "legacy-bios",
            ImageBootMode::Uefi => "uefi",
            ImageBootMode::UefiPreferred => "uefi-preferred",
        })
    }
}

/// EC2's table. `place` is who said `mode`.
pub(crate) fn resolve(
    mode: Option<ImageBootMode>,
    place: &str,
    instance_type: &InstanceType,
) -> Result<BootMode, Refusal> {
    let (bios, uefi) = (instance_type.legacy_bios, instance_type.uefi);
    match mode {
        Some(ImageBootMode::LegacyBios) if bios => Ok(BootMode::LegacyBios),
        Some(ImageBootMode::Uefi | ImageBootMode::UefiPreferred) if uefi => Ok(BootMode::Uefi),
        Some(ImageBootMode::UefiPreferred) => Ok(BootMode::LegacyBios),
        // Who says nothing gets what EC2 began with: BIOS wherever there is one.
        None if bios => Ok(BootMode::LegacyBios),
        None => Ok(BootMode::Uefi),
        Some(ImageBootMode::LegacyBios) => {
            let name = &instance_type.name;
            let message = format!("The {name} instance type starts by UEFI only, not by legacy-bios");
            Err(Refusal::new(code::INVALID_VALUE, place, message).hint(if place == OPTION {
                "give uefi, or leave it out: no type for arm64 has a BIOS"
            } else {
                "register the image with BootMode uefi, or with none; --boot-mode uefi starts it here"
            }))
        }
        // EC2's words: RhinoSecurityLabs/cloudgoat issue 247.
        Some(ImageBootMode::Uefi) => Err(Refusal::new(
            code::INVALID_VALUE,
            place,
            format!(
                "The {} instance type does not support an AMI with a boot mode of UEFI. Only instance types built \
                 on the Nitro System support UEFI. Specify an instance type that supports UEFI, and try again.",
                instance_type.name
            ),
        )
        .hint("--instance-type t3.micro has UEFI")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The rows of the user guide's table: what the image says, and what comes of it on a type with both, with BIOS
    /// only, and with UEFI only.
    type Row = (Option<&'static str>, [Option<BootMode>; 3]);
    const BIOS: Option<BootMode> = Some(BootMode::LegacyBios);
    const UEFI: Option<BootMode> = Some(BootMode::Uefi);
    const TABLE: [Row; 4] = [
        (Some("legacy-bios"), [BIOS, BIOS, None]),
        (Some("uefi"), [UEFI, None, UEFI]),
        (Some("uefi-preferred"), [UEFI, BIOS, UEFI]),
        (None, [BIOS, BIOS, UEFI]),
    ];

    fn resolved(mode: Option<&str>, instance_type: &str) -> Result<BootMode, Refusal> {
        let mode = mode.map(|name| ImageBootMode::from_ec2(name).unwrap());
        resolve(mode, "BootMode", &InstanceType::find(instance_type).unwrap())
    }

    #[test]
    fn every_row_of_the_table_holds() {
        for (mode, expected) in TABLE {
            for (instance_type, expected) in ["t3.micro", "t2.micro", "t4g.micro"].into_iter().zip(expected) {
                assert_eq!(resolved(mode, instance_type).ok(), expected, "{mode:?} on {instance_type}");
            }
        }
    }

    #[test]
    fn what_cannot_be_started_is_refused_as_ec2_does() {
        let uefi = resolved(Some("uefi"), "m4.large").unwrap_err();
        assert_eq!(uefi.code, "InvalidParameterValue");
        assert!(uefi.to_string().starts_with(
            "BootMode: The m4.large instance type does not support an AMI with a boot mode of UEFI. Only"
        ));
        let bios = resolved(Some("legacy-bios"), "c7g.large").unwrap_err();
        assert_eq!(bios.code, "InvalidParameterValue");
        assert!(bios.message.contains("c7g.large instance type starts by UEFI only"), "{bios}");
        assert!(bios.hint.unwrap().contains("--boot-mode uefi starts it here"));
        let graviton = InstanceType::find("t4g.micro").unwrap();
        let chosen = resolve(Some(ImageBootMode::LegacyBios), OPTION, &graviton).unwrap_err();
        assert!(chosen.hint.unwrap().contains("give uefi, or leave it out"));
    }

    #[test]
    fn names_are_ec2_s() {
        for name in ImageBootMode::NAMES {
            assert_eq!(ImageBootMode::from_ec2(name).unwrap().to_string(), name);
        }
        assert_eq!(ImageBootMode::from_ec2("UEFI"), None);
    }
}
