//! EBS volume types: what sizes, IOPS and throughput each can have.
//!
//! The figures are those of the EC2 API's EbsBlockDevice (November 2026) and of the EBS user guide.

use crate::describe::EbsBlockDevice;
use crate::mappings::merge::Mapping;
use crate::refusal::{Refusal, code};

/// One volume type.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct VolumeType {
    pub(crate) name: &'static str,
    pub(crate) gib: (u32, u32),
    iops: Option<Iops>,
    /// In MiB/s: the least, which is also the default, and the most.
    throughput: Option<(u32, u32)>,
    bootable: bool,
}

#[derive(Debug, PartialEq, Eq)]
struct Iops {
    range: (u32, u32),
    /// What a GiB of volume brings at most; the least of the range needs no size.
    per_gib: u32,
    /// None: whoever makes the volume must say how many.
    default: Option<u32>,
}

const SOLID: VolumeType =
    VolumeType { name: "gp2", gib: (1, 16384), iops: None, throughput: None, bootable: true };
const HDD: VolumeType = VolumeType { name: "st1", gib: (125, 16384), bootable: false, ..SOLID };

static VOLUME_TYPES: [VolumeType; 7] = [
    SOLID,
    VolumeType {
        name: "gp3",
        gib: (1, 65536),
        iops: Some(Iops { range: (3000, 80_000), per_gib: 500, default: Some(3000) }),
        throughput: Some((125, 2000)),
        ..SOLID
    },
    VolumeType {
        name: "io1",
        gib: (4, 16384),
        iops: Some(Iops { range: (100, 64_000), per_gib: 50, default: None }),
        ..SOLID
    },
    VolumeType {
        name: "io2",
        gib: (4, 65536),
        iops: Some(Iops { range: (100, 256_000), per_gib: 1000, default: None }),
        ..SOLID
    },
    HDD,
    VolumeType { name: "sc1", ..HDD },
    VolumeType { name: "standard", gib: (1, 1024), ..SOLID },
];

/// What a mapping that names no type gets.
const DEFAULT: &str = "gp2";
/// MiB/s that one provisioned I/O a second brings at most is a quarter.
const IOPS_PER_MIB: u32 = 4;
/// In MiB/s.
const INITIALIZATION: (u32, u32) = (100, 300);

pub(crate) fn type_name(ebs: &EbsBlockDevice) -> &str {
    ebs.volume_type.as_deref().unwrap_or(DEFAULT)
}

/// What a volume can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Performance {
    pub(crate) volume_type: &'static VolumeType,
    pub(crate) iops: Option<u32>,
    pub(crate) throughput: Option<u32>,
}

/// The least and the most GiB that a volume of this type has.
#[must_use]
pub fn volume_sizes(volume_type: &str) -> Option<(u32, u32)> {
    VOLUME_TYPES.iter().find(|known| known.name == volume_type).map(|known| known.gib)
}

/// Checks all that does not depend on the size.
pub(crate) fn performance(
    mapping: &Mapping,
    ebs: &EbsBlockDevice,
    root: bool,
) -> Result<Performance, Refusal> {
    let name = type_name(ebs);
    let Some(volume_type) = VOLUME_TYPES.iter().find(|known| known.name == name) else {
        let known: Vec<_> = VOLUME_TYPES.iter().map(|known| known.name).collect();
        let message = format!("Value ({name}) for parameter volumeType is invalid");
        return Err(Refusal::new(code::INVALID_VALUE, mapping.place("VolumeType"), message)
            .hint(format!("EBS has {}", known.join(", "))));
    };
    if root && !volume_type.bootable {
        let message =
            format!("a volume of type {name} cannot be the root: EC2 boots from SSD or standard volumes");
        return Err(Refusal::new(code::INVALID_COMBINATION, mapping.place("VolumeType"), message));
    }
    let iops = iops(mapping, ebs, volume_type)?;
    let throughput = throughput(mapping, ebs, volume_type, iops)?;
    if let Some(rate) = ebs.volume_initialization_rate {
        let place = mapping.place("VolumeInitializationRate");
        within(rate, INITIALIZATION, "a volume's initialization rate is", "MiB/s", &place)?;
    }
    if ebs.kms_key_id.is_some() && ebs.encrypted != Some(true) {
        let message = "The parameter KmsKeyId requires the parameter Encrypted to be set.";
        return Err(Refusal::new(code::INVALID_DEPENDENCY, mapping.place("KmsKeyId"), message));
    }
    Ok(Performance { volume_type, iops, throughput })
}

fn iops(mapping: &Mapping, ebs: &EbsBlockDevice, volume_type: &VolumeType) -> Result<Option<u32>, Refusal> {
    let name = volume_type.name;
    let refuse = |message: String| Refusal::new(code::INVALID_COMBINATION, mapping.place("Iops"), message);
    match (&volume_type.iops, ebs.iops) {
        (None, None) => Ok(None),
        // EC2's words: boto/boto3 issue 2474.
        (None, Some(_)) => Err(refuse(format!("The parameter iops is not supported for {name} volumes."))),
        (Some(rule), None) => match rule.default {
            Some(default) => Ok(Some(default)),
            // EC2's words: kubernetes-sigs/aws-ebs-csi-driver issue 766.
            None => Err(refuse(format!("The parameter iops must be specified for {name} volumes."))),
        },
        (Some(rule), Some(iops)) => {
            let what = format!("a volume of type {name} has");
            within(iops, rule.range, &what, "IOPS", &mapping.place("Iops"))?;
            Ok(Some(iops))
        }
    }
}

fn throughput(
    mapping: &Mapping,
    ebs: &EbsBlockDevice,
    volume_type: &VolumeType,
    iops: Option<u32>,
) -> Result<Option<u32>, Refusal> {
    let place = mapping.place("Throughput");
    let (range, wanted) = match (volume_type.throughput, ebs.throughput) {
        (range, None) => return Ok(range.map(|(least, _)| least)),
        (Some(range), Some(wanted)) => (range, wanted),
        (None, Some(_)) => {
            // EC2's words: runs-on/runs-on issue 426.
            let message = "throughput can only be specified for volumeType gp3.";
            return Err(Refusal::new(code::INVALID_COMBINATION, place, message));
        }
    };
    within(wanted, range, "a volume of type gp3 has", "MiB/s", &place)?;
    let iops = iops.unwrap_or_default();
    if wanted > iops / IOPS_PER_MIB {
        // EC2's words: runs-on/runs-on issue 260.
        let ratio = f64::from(wanted) / f64::from(iops);
        let message = format!(
            "Throughput (MiBps) to iops ratio of {ratio:.6} is too high; maximum is 0.250000 MiBps per iops"
        );
        return Err(Refusal::new(code::INVALID_VALUE, place, message));
    }
    Ok(Some(wanted))
}

/// Checks what depends on the size.
pub(crate) fn size(
    performance: Performance,
    gib: u32,
    size_place: &str,
    iops_place: &str,
) -> Result<(), Refusal> {
    let volume_type = performance.volume_type;
    let what = format!("a volume of type {} has", volume_type.name);
    within(gib, volume_type.gib, &what, "GiB", size_place)?;
    let (Some(rule), Some(iops)) = (&volume_type.iops, performance.iops) else { return Ok(()) };
    let most = u64::from(rule.per_gib).saturating_mul(u64::from(gib));
    if iops > rule.range.0 && u64::from(iops) > most {
        // EC2's words: rocicorp/mono pull request 4410.
        let ratio = f64::from(iops) / f64::from(gib);
        let message =
            format!("Iops to volume size ratio of {ratio:.6} is too high; maximum is {}", rule.per_gib);
        return Err(Refusal::new(code::INVALID_VALUE, iops_place, message));
    }
    Ok(())
}

/// The IOPS that EC2 shows for a volume of this size: gp2's come from its size, 3 a GiB.
pub(crate) fn shown_iops(performance: Performance, gib: u32) -> Option<u32> {
    match performance.volume_type.name {
        "gp2" => Some(gib.saturating_mul(3).clamp(100, 16_000)),
        _ => performance.iops,
    }
}

fn within(value: u32, (least, most): (u32, u32), what: &str, unit: &str, place: &str) -> Result<(), Refusal> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    let message = format!("{what} {least} to {most} {unit}, not {value}");
    Err(Refusal::new(code::INVALID_VALUE, place, message))
}
