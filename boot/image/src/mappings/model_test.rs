//! The merge against a plain model of it, written apart: a table from name to what is known of the device, changed
//! line by line as the user guide tells it. 20,000 pairs of mappings, from a seed.
#![expect(clippy::arithmetic_side_effects, reason = "the numbers are this file's own")]

use super::merge::{Device, merge};
use crate::describe::{BlockDeviceMapping, EbsBlockDevice};
use std::collections::BTreeMap;

/// xorshift64* (Vigna 2016).
struct Random(u64);

impl Random {
    fn below(&mut self, end: u32) -> u32 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        u32::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % end
    }

    fn maybe<T>(&mut self, value: T) -> Option<T> {
        (self.below(2) == 0).then_some(value)
    }
}

const ROOT: &str = "/dev/sda1";
const NAMES: [&str; 5] = [ROOT, "/dev/sdb", "/dev/sdc", "/dev/sdd", "/dev/sde"];

fn mapping(name: &str, random: &mut Random) -> BlockDeviceMapping {
    let mut mapping = BlockDeviceMapping { device_name: Some(name.to_owned()), ..Default::default() };
    match random.below(6) {
        0 => mapping.no_device = Some(String::new()),
        1 => mapping.virtual_name = Some(format!("ephemeral{}", random.below(24))),
        2 => {}
        _ => {
            let snapshot = format!("snap-{}", random.below(3));
            let size = random.below(9) + 1;
            let kind = ["gp2", "gp3", "io1"][usize::try_from(random.below(3)).unwrap()].to_owned();
            let iops = random.below(9) + 1;
            let (delete, encrypted) = (random.below(2) == 0, random.below(2) == 0);
            mapping.ebs = Some(EbsBlockDevice {
                snapshot_id: random.maybe(snapshot),
                volume_size: random.maybe(size),
                volume_type: random.maybe(kind),
                iops: random.maybe(iops),
                delete_on_termination: random.maybe(delete),
                encrypted: random.maybe(encrypted),
                ..EbsBlockDevice::default()
            });
        }
    }
    mapping
}

/// A few mappings of different names.
fn mappings(random: &mut Random) -> Vec<BlockDeviceMapping> {
    let count = random.below(5) + 1;
    let names = NAMES.iter().filter(|_| random.below(5) < count).copied().collect::<Vec<_>>();
    names.into_iter().map(|name| mapping(name, random)).collect()
}

/// What the model knows of a device: its members by name, as JSON has them.
type Known = BTreeMap<String, String>;
type Model = Option<BTreeMap<String, Known>>;

fn members(mapping: &BlockDeviceMapping) -> Known {
    let mut known = Known::new();
    if let Some(name) = &mapping.virtual_name {
        known.insert("VirtualName".to_owned(), name.clone());
    }
    let ebs = serde_json::to_value(mapping.ebs.as_ref()).unwrap();
    for (name, value) in ebs.as_object().into_iter().flatten() {
        known.insert(name.clone(), value.to_string());
    }
    if mapping.ebs.is_some() {
        known.insert("Ebs".to_owned(), String::new());
    }
    known
}

/// None: refused.
fn model(image: &[BlockDeviceMapping], given: &[BlockDeviceMapping]) -> Model {
    let mut table = BTreeMap::new();
    for mapping in image.iter().filter(|mapping| mapping.no_device.is_none()) {
        let known = members(mapping);
        if known.is_empty() {
            return None;
        }
        table.insert(mapping.device_name.clone()?, known);
    }
    for mapping in given {
        let name = mapping.device_name.clone()?;
        let new = members(mapping);
        if mapping.no_device.is_some() {
            table.remove(&name);
            continue;
        }
        match table.get_mut(&name) {
            None if new.is_empty() => return None,
            None => drop(table.insert(name, new)),
            Some(old) => *old = laid_over(old, &new, name == ROOT)?,
        }
    }
    Some(table)
}

fn laid_over(old: &Known, new: &Known, root: bool) -> Option<Known> {
    let differs = |member: &str, default: &str| {
        new.contains_key(member) && new.get(member) != old.get(member).or(Some(&default.to_owned()))
    };
    if new.is_empty() {
        return Some(old.clone());
    }
    if new.contains_key("VirtualName") {
        return if root { None } else { Some(new.clone()) };
    }
    if old.contains_key("VirtualName") {
        return if new.contains_key("SnapshotId") { None } else { Some(new.clone()) };
    }
    if root && differs("SnapshotId", "") {
        return None;
    }
    let mut result = old.clone();
    if differs("VolumeType", "\"gp2\"") {
        result.remove("Iops");
    }
    if differs("SnapshotId", "") {
        result.remove("VolumeSize");
    }
    result.extend(new.iter().map(|(name, value)| (name.clone(), value.clone())));
    if old.get("Encrypted").is_some_and(|value| value == "true") {
        result.insert("Encrypted".to_owned(), "true".to_owned());
    }
    Some(result)
}

#[test]
fn the_merge_does_what_the_model_does() {
    let mut random = Random(20_241_121);
    let (mut accepted, mut refused) = (0, 0);
    for round in 0..20_000 {
        let (image, given) = (mappings(&mut random), mappings(&mut random));
        let merged = merge(&image, &given, ROOT).ok().map(|merged| {
            let known = |device: &Device| match device {
                Device::Ebs(ebs) => {
                    members(&BlockDeviceMapping { ebs: Some((**ebs).clone()), ..Default::default() })
                }
                Device::Ephemeral(number) => {
                    Known::from([("VirtualName".to_owned(), format!("ephemeral{number}"))])
                }
            };
            merged.iter().map(|mapping| (mapping.device_name.clone(), known(&mapping.device))).collect()
        });
        assert_eq!(merged, model(&image, &given), "round {round}: {image:?} and {given:?}");
        if merged.is_some() { accepted += 1 } else { refused += 1 }
    }
    // Both ways are walked often enough to mean something.
    assert!(accepted > 5000 && refused > 2000, "{accepted} accepted, {refused} refused");
}

#[test]
fn merging_nothing_changes_nothing_and_merging_twice_is_merging_once() {
    let mut random = Random(7);
    for _ in 0..2000 {
        let (image, given) = (mappings(&mut random), mappings(&mut random));
        let Ok(once) = merge(&image, &given, ROOT) else { continue };
        let again: Vec<BlockDeviceMapping> = once
            .iter()
            .map(|mapping| {
                let device_name = Some(mapping.device_name.clone());
                match &mapping.device {
                    Device::Ebs(ebs) => {
                        BlockDeviceMapping { device_name, ebs: Some((**ebs).clone()), ..Default::default() }
                    }
                    Device::Ephemeral(number) => {
                        let virtual_name = Some(format!("ephemeral{number}"));
                        BlockDeviceMapping { device_name, virtual_name, ..Default::default() }
                    }
                }
            })
            .collect();
        let devices = |merged: &[super::merge::Mapping]| {
            merged
                .iter()
                .map(|mapping| (mapping.device_name.clone(), mapping.device.clone()))
                .collect::<Vec<_>>()
        };
        assert_eq!(devices(&merge(&again, &[], ROOT).unwrap()), devices(&once));
    }
}
