//! The image's block-device mapping with the caller's laid over it, by device name.
//!
//! RunInstances' rules: what the caller gives for a device of the image changes those members only; NoDevice takes a
//! device away; other devices are added.

use crate::describe::{BlockDeviceMapping, EbsBlockDevice};
use crate::mappings::limits;
use crate::refusal::{Refusal, code};

/// The option of the caller's mappings.
pub(crate) const OPTION: &str = "--block-device-mappings";
const MEMBER: &str = "BlockDeviceMappings";
/// EC2's ephemeral volumes are ephemeral0 to ephemeral23, by the API's words for callers.
const MAX_EPHEMERAL: u8 = 23;
/// Amazon's own images for Windows map one for each letter, xvdca to xvdcz.
const MAX_EPHEMERAL_OF_IMAGE: u8 = 25;
/// More than any instance type attaches, and few enough to compare each with each.
const MAX_MAPPINGS: usize = 256;

/// One device of the instance.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Mapping {
    pub(crate) device_name: String,
    pub(crate) device: Device,
    /// Where the image says it, and where the caller does: for messages.
    image: Option<usize>,
    option: Option<usize>,
    /// What the caller gave of the volume.
    given: EbsBlockDevice,
}

#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Device {
    Ebs(Box<EbsBlockDevice>),
    /// Instance store: ephemeralN.
    Ephemeral(u8),
}

impl Mapping {
    /// Where a member of `Ebs` was said, or should have been.
    pub(crate) fn place(&self, member: &str) -> String {
        let option = self.option.filter(|_| self.image.is_none() || gives(&self.given, member));
        format!("{}.Ebs.{member}", place(self.image, option))
    }

    /// Where the mapping itself is said.
    pub(crate) fn own_place(&self) -> String {
        place(self.image, self.option)
    }
}

fn place(image: Option<usize>, option: Option<usize>) -> String {
    match (image, option) {
        (_, Some(index)) => format!("{OPTION}[{index}]"),
        (Some(index), None) => format!("{MEMBER}[{index}]"),
        (None, None) => MEMBER.to_owned(),
    }
}

fn gives(ebs: &EbsBlockDevice, member: &str) -> bool {
    serde_json::to_value(ebs).is_ok_and(|value| value.get(member).is_some())
}

/// Merges. `root` is the image's RootDeviceName.
pub(crate) fn merge(
    image: &[BlockDeviceMapping],
    given: &[BlockDeviceMapping],
    root: &str,
) -> Result<Vec<Mapping>, Refusal> {
    for (count, member) in [(image.len(), MEMBER), (given.len(), OPTION)] {
        if count > MAX_MAPPINGS {
            let message = format!("{count} mappings are more than the {MAX_MAPPINGS} that are looked at");
            return Err(Refusal::new(code::INVALID_MAPPING, member, message));
        }
    }
    let mut merged = Vec::new();
    for (index, mapping) in image.iter().enumerate().filter(|(_, mapping)| mapping.no_device.is_none()) {
        let device_name = name_of(mapping, &place(Some(index), None))?;
        check_name(&device_name, root, &place(Some(index), None))?;
        let own = place(Some(index), None);
        let device =
            device(mapping, &own, MAX_EPHEMERAL_OF_IMAGE)?.ok_or_else(|| neither(&device_name, &own))?;
        let given = EbsBlockDevice::default();
        merged.push(Mapping { device_name, device, image: Some(index), option: None, given });
    }
    no_device_twice(&merged)?;
    let mut names: Vec<&str> = Vec::new();
    for (index, mapping) in given.iter().enumerate() {
        let own = place(None, Some(index));
        let name = name_of(mapping, &own)?;
        if let Some(known) = names.iter().find(|known| short(known) == short(&name)) {
            return Err(twice(known, &own));
        }
        apply(&mut merged, mapping, index, &name, root)?;
        names.extend(mapping.device_name.as_deref());
    }
    no_device_twice(&merged)?;
    Ok(merged)
}

/// Lays one of the caller's mappings over what there is.
fn apply(
    merged: &mut Vec<Mapping>,
    mapping: &BlockDeviceMapping,
    index: usize,
    name: &str,
    root: &str,
) -> Result<(), Refusal> {
    let own = place(None, Some(index));
    if mapping.no_device.is_some() {
        merged.retain(|known| known.device_name != name);
        return Ok(());
    }
    check_name(name, root, &own)?;
    let given = mapping.ebs.clone().unwrap_or_default();
    let new = device(mapping, &own, MAX_EPHEMERAL)?;
    let Some(known) = merged.iter_mut().find(|known| known.device_name == name) else {
        let device = new.ok_or_else(|| neither(name, &own))?;
        let device_name = name.to_owned();
        merged.push(Mapping { device_name, device, image: None, option: Some(index), given });
        return Ok(());
    };
    known.option = Some(index);
    known.device = match (&known.device, new) {
        // A device name alone changes nothing.
        (device, None) => device.clone(),
        (Device::Ebs(base), Some(Device::Ebs(over))) => {
            check_overlay(base, &over, name == root, &own)?;
            Device::Ebs(Box::new(overlay(base, *over)))
        }
        (Device::Ephemeral(_), Some(Device::Ebs(over))) if over.snapshot_id.is_some() => {
            // EC2's words: cloudfoundry/bosh-aws-cpi-release issue 84.
            let message = "snapshotId can only be modified on EBS devices";
            let at = format!("{own}.Ebs.SnapshotId");
            return Err(Refusal::new(code::INVALID_MAPPING, at, message));
        }
        (_, Some(Device::Ephemeral(_))) if name == root => {
            let message = format!("the root device {name} cannot become instance store");
            return Err(Refusal::new(code::INVALID_MAPPING, format!("{own}.VirtualName"), message));
        }
        (_, Some(new)) => {
            // Nothing of what was there is left.
            known.image = None;
            new
        }
    };
    known.given = given;
    Ok(())
}

fn check_overlay(base: &EbsBlockDevice, over: &EbsBlockDevice, root: bool, own: &str) -> Result<(), Refusal> {
    if root && over.snapshot_id.is_some() && over.snapshot_id != base.snapshot_id {
        // EC2's words, of a launch that gave another snapshot for the root.
        let message = "snapshotId cannot be modified on root device";
        return Err(Refusal::new(code::INVALID_MAPPING, format!("{own}.Ebs.SnapshotId"), message));
    }
    Ok(())
}

/// What the caller gives wins, member by member.
fn overlay(base: &EbsBlockDevice, over: EbsBlockDevice) -> EbsBlockDevice {
    // What was chosen for one type of volume, or one snapshot, is no wish for another.
    let same_type = over.volume_type.is_none() || limits::type_name(&over) == limits::type_name(base);
    let same_snapshot = over.snapshot_id.is_none() || over.snapshot_id == base.snapshot_id;
    let mut other = base.other.clone();
    other.extend(over.other);
    EbsBlockDevice {
        snapshot_id: over.snapshot_id.or_else(|| base.snapshot_id.clone()),
        volume_size: over.volume_size.or(base.volume_size.filter(|_| same_snapshot)),
        volume_type: over.volume_type.or_else(|| base.volume_type.clone()),
        iops: over.iops.or(base.iops.filter(|_| same_type)),
        throughput: over.throughput.or(base.throughput.filter(|_| same_type)),
        delete_on_termination: over.delete_on_termination.or(base.delete_on_termination),
        // Encryption can be added and never removed.
        encrypted: if base.encrypted == Some(true) {
            base.encrypted
        } else {
            over.encrypted.or(base.encrypted)
        },
        kms_key_id: over.kms_key_id.or_else(|| base.kms_key_id.clone()),
        outpost_arn: over.outpost_arn.or_else(|| base.outpost_arn.clone()),
        availability_zone: over.availability_zone.or_else(|| base.availability_zone.clone()),
        availability_zone_id: over.availability_zone_id.or_else(|| base.availability_zone_id.clone()),
        volume_initialization_rate: over.volume_initialization_rate.or(base.volume_initialization_rate),
        ebs_card_index: over.ebs_card_index.or(base.ebs_card_index),
        other,
    }
}

/// What a mapping maps its name to, `most` being the last of the ephemeral volumes; none if it only has a name.
fn device(mapping: &BlockDeviceMapping, own: &str, most: u8) -> Result<Option<Device>, Refusal> {
    match (&mapping.ebs, mapping.virtual_name.as_deref()) {
        (Some(_), Some(_)) => {
            let message = "a device is either an EBS volume or instance store: give Ebs or VirtualName";
            Err(Refusal::new(code::INVALID_MAPPING, own, message))
        }
        (Some(ebs), None) => Ok(Some(Device::Ebs(Box::new(ebs.clone())))),
        (None, Some(name)) => match ephemeral(name).filter(|number| *number <= most) {
            Some(number) => Ok(Some(Device::Ephemeral(number))),
            None => {
                let message =
                    format!("`{name}` is not a virtual device: they are ephemeral0 to ephemeral{most}");
                Err(Refusal::new(code::INVALID_MAPPING, format!("{own}.VirtualName"), message))
            }
        },
        (None, None) => Ok(None),
    }
}

fn ephemeral(name: &str) -> Option<u8> {
    let digits = name.strip_prefix("ephemeral")?;
    let number: u8 = digits.parse().ok()?;
    // `parse` would take a plus sign and leading zeroes.
    (number.to_string() == digits).then_some(number)
}

fn name_of(mapping: &BlockDeviceMapping, own: &str) -> Result<String, Refusal> {
    // EC2's words: hashicorp/packer issue 6138.
    let missing = || Refusal::new(code::INVALID_MAPPING, own, "Missing device name");
    mapping.device_name.clone().filter(|name| !name.is_empty()).ok_or_else(missing)
}

/// EC2's device names for HVM instances, with or without `/dev/`; and whatever the image calls its root.
fn check_name(name: &str, root: &str, own: &str) -> Result<(), Refusal> {
    if is_device_name(name) || name == root {
        return Ok(());
    }
    // EC2's words: aws/aws-cli issue 1071.
    let refusal = Refusal::new(
        code::INVALID_MAPPING,
        format!("{own}.DeviceName"),
        format!("Invalid device name {name}"),
    );
    Err(refusal.hint("names are /dev/sda1, /dev/sdb to /dev/sdz, and /dev/xvda to /dev/xvddz"))
}

/// EC2's device names for HVM instances, with or without `/dev/`.
#[must_use]
pub fn is_device_name(name: &str) -> bool {
    matches!(
        short(name).as_bytes(),
        [b's', b'd', b'a', b'1' | b'2']
            | [b's', b'd', b'a'..=b'z']
            | [b'x', b'v', b'd', b'a'..=b'z']
            | [b'x', b'v', b'd', b'b'..=b'd', b'a'..=b'z']
    )
}

/// Two names are one device if they differ by `/dev/` only.
#[must_use]
pub fn is_same_device(one: &str, other: &str) -> bool {
    short(one) == short(other)
}

fn short(name: &str) -> &str {
    name.strip_prefix("/dev/").unwrap_or(name)
}

fn no_device_twice(merged: &[Mapping]) -> Result<(), Refusal> {
    for (index, mapping) in merged.iter().enumerate() {
        let same = |other: &&Mapping| is_same_device(&other.device_name, &mapping.device_name);
        if merged.iter().take(index).any(|other| same(&other)) {
            return Err(twice(&mapping.device_name, &mapping.own_place()));
        }
    }
    Ok(())
}

fn twice(name: &str, own: &str) -> Refusal {
    // EC2's words: hashicorp/terraform issue 7233.
    let message = format!("The device '{}' is used in more than one block-device mapping", short(name));
    Refusal::new(code::INVALID_MAPPING, format!("{own}.DeviceName"), message)
}

/// EC2's words: nortontruter/infracoders-workshop pull request 3.
pub(crate) fn neither(name: &str, own: &str) -> Refusal {
    let message = format!("Either snapshot ID or volume size must be provided for: {name}");
    Refusal::new(code::INVALID_MAPPING, own, message)
}
