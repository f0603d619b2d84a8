//! One volume of a launch plan: what it holds, how large it is, what it can do.

use crate::describe::{EbsBlockDevice, Snapshot};
use crate::ids;
use crate::mappings::limits::{self, Performance};
use crate::mappings::merge::{Mapping, neither};
use crate::plan::root_without_snapshot;
use crate::refusal::{Refusal, code};
use crate::warning::{Warning, warn};
use std::fmt;
use std::path::PathBuf;

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

/// One volume of the instance.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedVolume {
    pub device_name: String,
    /// None: the volume starts empty, and has a size.
    pub snapshot_id: Option<String>,
    /// None: as large as the snapshot.
    pub size_gib: Option<u32>,
    /// The snapshot's, in whole GiB, where it is known.
    pub snapshot_gib: Option<u32>,
    pub root: bool,
    pub volume_type: &'static str,
    pub iops: Option<u32>,
    /// In MiB/s.
    pub throughput: Option<u32>,
    pub delete_on_termination: bool,
    pub encrypted: bool,
    /// The disk file that holds the snapshot. None until it is found, and for a volume that starts empty.
    pub source: Option<PathBuf>,
    /// How many bytes the source has.
    pub source_bytes: u64,
    /// The source is a volume's own file: what the guest writes stays in it.
    pub kept: bool,
    pub interface: Interface,
    performance: Performance,
    size_place: String,
    iops_place: String,
}

impl PlannedVolume {
    pub(crate) fn new(
        mapping: &Mapping,
        ebs: &EbsBlockDevice,
        root: bool,
        interface: Interface,
        snapshots: &[Snapshot],
    ) -> Result<PlannedVolume, Refusal> {
        let name = &mapping.device_name;
        match (&ebs.snapshot_id, ebs.volume_size) {
            (None, _) if root => return Err(root_without_snapshot(name, &mapping.own_place())),
            (None, None) => return Err(neither(name, &mapping.own_place())),
            (Some(id), _) if !ids::is_snapshot_id(id) => {
                let message = format!("`{id}` is not a snapshot id (`snap-` and letters or digits)");
                return Err(Refusal::new(
                    code::INVALID_SNAPSHOT_MALFORMED,
                    mapping.place("SnapshotId"),
                    message,
                ));
            }
            _ => {}
        }
        let performance = limits::performance(mapping, ebs, root)?;
        let known =
            snapshots.iter().find(|one| one.snapshot_id.is_some() && one.snapshot_id == ebs.snapshot_id);
        let mut volume = PlannedVolume {
            device_name: name.clone(),
            snapshot_id: ebs.snapshot_id.clone(),
            size_gib: ebs.volume_size,
            snapshot_gib: None,
            root,
            volume_type: performance.volume_type.name,
            iops: performance.iops,
            throughput: performance.throughput,
            // EC2's defaults; an image's mapping says it for its own volumes.
            delete_on_termination: ebs.delete_on_termination.unwrap_or(root),
            encrypted: ebs.encrypted == Some(true) || known.and_then(|one| one.encrypted) == Some(true),
            source: None,
            source_bytes: 0,
            kept: false,
            interface,
            performance,
            size_place: mapping.place("VolumeSize"),
            iops_place: mapping.place("Iops"),
        };
        volume.snapshot_is(known.and_then(|one| one.volume_size))?;
        Ok(volume)
    }

    /// Tells which disk file of how many bytes holds the snapshot.
    pub fn found(&mut self, file: PathBuf, bytes: u64) -> Result<(), Refusal> {
        self.source = Some(file);
        self.source_bytes = bytes;
        let gib = u32::try_from(bytes.div_ceil(1 << 30)).unwrap_or(u32::MAX);
        self.snapshot_is(Some(gib))
    }

    /// Tells that there is a volume already, in a file of its own: nothing is made from a snapshot.
    pub fn is_there(&mut self, file: PathBuf, bytes: u64) -> Result<(), Refusal> {
        if let Some(wanted) = self.size_gib {
            let message = format!(
                "Volume {} has {} and not {wanted} GiB: leave VolumeSize out",
                file.display(),
                in_gib(bytes)
            );
            return Err(Refusal::new(code::INVALID_MAPPING, self.size_place.clone(), message));
        }
        self.snapshot_id = None;
        self.kept = true;
        self.delete_on_termination = false;
        self.found(file, bytes)
    }

    /// The volume's size, as far as it is known.
    #[must_use]
    pub fn shown_gib(&self) -> Option<u32> {
        self.size_gib.or(self.snapshot_gib)
    }

    /// The volume's size, once its source is found.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.size_gib.map_or(self.source_bytes, |gib| u64::from(gib) << 30)
    }

    fn snapshot_is(&mut self, gib: Option<u32>) -> Result<(), Refusal> {
        if let (Some(wanted), Some(least), Some(id)) = (self.size_gib, gib, &self.snapshot_id)
            && wanted < least
        {
            // EC2's words: aws/karpenter-provider-aws issue 3302.
            let message = format!(
                "Volume of size {wanted}GB is smaller than snapshot '{id}', expect size >= {least}GB"
            );
            return Err(Refusal::new(code::INVALID_MAPPING, self.size_place.clone(), message));
        }
        self.snapshot_gib = gib.or(self.snapshot_gib);
        if let Some(gib) = self.shown_gib() {
            limits::size(self.performance, gib, &self.size_place, &self.iops_place)?;
            self.iops = limits::shown_iops(self.performance, gib);
        }
        Ok(())
    }

    pub(crate) fn warnings(&self) -> Option<Warning> {
        self.encrypted.then(|| {
            let name = &self.device_name;
            let message = format!("EC2 encrypts {name}; here its files hold it as plain text");
            warn("EncryptedSnapshotPlaintext", message)
        })
    }
}

/// Exactly.
fn in_gib(bytes: u64) -> String {
    if bytes.is_multiple_of(1 << 30) { format!("{} GiB", bytes >> 30) } else { format!("{bytes} bytes") }
}
