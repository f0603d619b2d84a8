//! Instance types: what each gives a machine. The figures are a table, instance_types.txt.

use crate::architecture::Architecture;
use crate::refusal::{Refusal, code};

const TABLE: &str = include_str!("instance_types.txt");
/// How alike a name must be to be suggested.
const ALIKE: f64 = 0.75;
const SUGGESTIONS: usize = 3;

/// One instance type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InstanceType {
    pub name: String,
    pub architecture: Architecture,
    pub hypervisor: Hypervisor,
    pub vcpus: u32,
    pub memory_mib: u64,
    pub legacy_bios: bool,
    pub uefi: bool,
    pub ena: Ena,
    /// EBS volumes and instance store are NVMe controllers.
    pub nvme: bool,
    pub max_nics: u32,
    pub store: Option<Store>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hypervisor {
    Nitro,
    Xen,
    /// Bare metal.
    None,
}

/// Whether the type needs images that have ENA's driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ena {
    Required,
    Supported,
    Unsupported,
}

/// Disks of the host that an instance has while it runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Store {
    pub count: u32,
    /// Of each disk, in powers of ten.
    pub gigabytes: u64,
}

impl Store {
    /// Of each disk, cut to whole GiB.
    #[must_use]
    pub fn gib(self) -> u64 {
        self.gigabytes.saturating_mul(1_000_000_000) >> 30
    }
}

impl InstanceType {
    /// The type of this name.
    #[must_use]
    pub fn find(name: &str) -> Option<InstanceType> {
        let (family, size) = name.split_once('.')?;
        let line = families().find(|line| line.split(' ').next() == Some(family))?;
        let mut words = line.split(' ').skip(1);
        let (kind, ratio) = (words.next()?, words.next()?.parse().ok()?);
        let entry = words.find(|entry| entry.split('/').next() == Some(size))?;
        of_entry(name, size, kind, ratio, entry)
    }

    /// The type that an image gets when nobody names one: the smallest that its makers test on.
    #[must_use]
    pub fn default_for(architecture: Architecture) -> &'static str {
        match architecture {
            Architecture::X86_64 => "t3.micro",
            Architecture::Arm64 => "t4g.micro",
        }
    }

    /// Every type's name.
    pub fn names() -> impl Iterator<Item = String> {
        families().flat_map(|line| {
            let family = line.split(' ').next().unwrap_or_default();
            let sizes = line.split(' ').skip(3).filter_map(|entry| entry.split('/').next());
            sizes.map(move |size| format!("{family}.{size}"))
        })
    }

    /// The type of this name, or EC2's refusal.
    pub(crate) fn named(name: &str) -> Result<InstanceType, Refusal> {
        InstanceType::find(name).ok_or_else(|| {
            // EC2's words: getmoto/moto issue 1695.
            let refusal = Refusal::new(
                code::INVALID_VALUE,
                "--instance-type",
                format!("Invalid value '{name}' for InstanceType."),
            );
            match near(name).as_slice() {
                [] => {
                    refusal.hint("a type is a family and a size, such as t3.micro, m7i.large or c7g.xlarge")
                }
                near => refusal.hint(format!("did you mean {}?", near.join(", "))),
            }
        })
    }
}

fn families() -> impl Iterator<Item = &'static str> {
    TABLE.lines().filter(|line| !line.starts_with('#'))
}

fn of_entry(name: &str, size: &str, kind: &str, ratio: u64, entry: &str) -> Option<InstanceType> {
    let mut fields = entry.split('/').skip(1);
    let max_nics = fields.next()?.parse().ok()?;
    let store = fields.next().filter(|store| *store != "-");
    let store = match store.map(|store| store.split_once('x')) {
        None => None,
        Some(pair) => {
            let (count, gigabytes) = pair?;
            Some(Store { count: count.parse().ok()?, gigabytes: gigabytes.parse().ok()? })
        }
    };
    let vcpus: u32 = match fields.next() {
        Some(vcpus) => vcpus.parse().ok()?,
        None => vcpus_of(size)?,
    };
    let memory_mib = match fields.next() {
        Some(mib) => mib.parse().ok()?,
        None => u64::from(vcpus).checked_mul(ratio)?,
    };
    let metal = size.starts_with("metal");
    let (architecture, hypervisor, ena, nvme) = match kind {
        "graviton" => (Architecture::Arm64, Hypervisor::Nitro, Ena::Required, true),
        "nitro" | "nitro-bios" => (Architecture::X86_64, Hypervisor::Nitro, Ena::Required, true),
        "xen-nvme" => (Architecture::X86_64, Hypervisor::Xen, Ena::Supported, true),
        "xen-ena" => (Architecture::X86_64, Hypervisor::Xen, Ena::Supported, false),
        _ => (Architecture::X86_64, Hypervisor::Xen, Ena::Unsupported, false),
    };
    Some(InstanceType {
        name: name.to_owned(),
        architecture,
        hypervisor: if metal { Hypervisor::None } else { hypervisor },
        vcpus,
        memory_mib,
        legacy_bios: architecture == Architecture::X86_64,
        uefi: architecture == Architecture::Arm64 || (kind == "nitro" && !metal),
        ena,
        nvme,
        max_nics,
        store,
    })
}

/// The vCPUs that a size's name means, where the table says no others.
fn vcpus_of(size: &str) -> Option<u32> {
    let many = |count: &str| count.parse::<u32>().ok()?.checked_mul(4);
    match size {
        "medium" => Some(1),
        "large" => Some(2),
        "xlarge" => Some(4),
        _ => match size.strip_suffix("xlarge") {
            Some(count) => many(count),
            None => many(size.strip_prefix("metal-")?.strip_suffix("xl")?),
        },
    }
}

/// The names most like this one, best first.
fn near(wanted: &str) -> Vec<String> {
    let wanted = wanted.to_ascii_lowercase();
    let score = |name: String| (strsim::normalized_damerau_levenshtein(&wanted, &name), name);
    let mut scored: Vec<_> = InstanceType::names().map(score).filter(|(score, _)| *score >= ALIKE).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0));
    scored.into_iter().take(SUGGESTIONS).map(|(_, name)| name).collect()
}

#[cfg(test)]
#[path = "instance_type_test.rs"]
mod tests;
