//! Opens what a launch plan lists: volumes on their disk files, empty ones, and instance store.

use crate::bases::Bases;
use crate::exit::Code;
use crate::failure::Failure;
use crate::identity;
use ami_run_image::{InstanceStore, Interface as PlannedInterface, LaunchPlan, PlannedVolume};
use ami_run_machine::{Disk, Interface};
use ami_run_storage::{Base, StorageError, Volume};
use std::io;
use std::path::{Path, PathBuf};

const GIB: u64 = 1 << 30;
const OTHER_STATE: &str = "set AMI_RUN_STATE_DIR to another folder, in which the cache will be";

/// Opens every volume, root first, then instance store.
pub(crate) fn open(plan: &LaunchPlan, bases: &mut Bases) -> Result<Vec<Disk>, Failure> {
    let tops = top_folder();
    let volumes = plan.volumes.iter().map(|planned| volume(planned, bases, &tops));
    let seen_as = plan.volumes.first().map_or(PlannedInterface::Nvme, |root| root.interface);
    let stores = plan.instance_store.iter().map(|planned| store(planned, seen_as, &tops));
    volumes.chain(stores).collect()
}

fn volume(planned: &PlannedVolume, bases: &mut Bases, tops: &Path) -> Result<Disk, Failure> {
    let size = planned.size_gib.map(|gib| u64::from(gib) * GIB);
    let name = &planned.device_name;
    let volume = match &planned.source {
        Some(file) if planned.kept => Volume::open(file, false, |base| bases.open(base))
            .map_err(|cause| unusable(&format!("{} as volume {name}", file.display()), &cause))?,
        Some(file) => bases
            .open(file)
            .and_then(|base| Volume::temporary(base, size, tops))
            .map_err(|cause| unusable(&format!("{} as volume {name}", file.display()), &cause))?,
        None => blank(size.unwrap_or_default(), &format!("volume {name}"), tops)?,
    };
    let mapping = planned.device_name.trim_start_matches("/dev/").to_owned();
    let interface = match planned.interface {
        // The one thing by which a guest can tell such disks apart.
        PlannedInterface::Virtio => Interface::Virtio { serial: mapping },
        PlannedInterface::Nvme => {
            Interface::Nvme { volume_id: identity::volume_id().map_err(no_random)?, mapping }
        }
    };
    Ok(Disk { volume, interface })
}

/// What is the host's own on EC2, and empty at every start.
fn store(planned: &InstanceStore, seen_as: PlannedInterface, tops: &Path) -> Result<Disk, Failure> {
    let name = &planned.virtual_name;
    let volume = blank(planned.size_gib.saturating_mul(GIB), &format!("instance store {name}"), tops)?;
    let device = planned.device_name.as_deref().map_or("none", |name| name.trim_start_matches("/dev/"));
    let interface = match seen_as {
        PlannedInterface::Virtio => Interface::Virtio { serial: name.clone() },
        PlannedInterface::Nvme => Interface::InstanceStore {
            serial: identity::store_serial().map_err(no_random)?,
            mapping: format!("{name}:{device}"),
        },
    };
    Ok(Disk { volume, interface })
}

#[expect(clippy::needless_pass_by_value, reason = "the shape of a map_err")]
fn no_random(cause: io::Error) -> Failure {
    Failure::new(Code::Host, "cannot get random numbers").because(&cause)
}

/// All zeroes.
fn blank(size: u64, name: &str, folder: &Path) -> Result<Volume, Failure> {
    let what = format!("an empty {name}");
    Volume::temporary(Base::empty(name), Some(size), folder).map_err(|cause| unusable(&what, &cause))
}

pub(crate) fn unusable(what: &str, cause: &StorageError) -> Failure {
    let code = match cause {
        StorageError::Top { .. } | StorageError::Cache { .. } | StorageError::CacheFull { .. } => Code::Host,
        _ => Code::Refused,
    };
    let failure = Failure::new(code, format!("cannot use {what}")).because(cause);
    match cause {
        StorageError::BaseChanged { volume, changed } => {
            failure.hint(changed.way_out(&volume.display().to_string()))
        }
        StorageError::Cache { .. } => failure.hint(OTHER_STATE),
        StorageError::CacheFull { .. } => failure.hint(format!(
            "free some space (what the cache keeps of other disk files may go, too, while nothing uses it), or {OTHER_STATE}"
        )),
        _ => failure,
    }
}

/// Sees to it that what the guest wrote stays: it may have ended without a flush.
pub(crate) fn keep(kept: &[(PathBuf, Volume)]) -> Result<(), Failure> {
    kept.iter().try_for_each(|(file, volume)| {
        volume.flush().map_err(|cause| {
            let message = format!("not all that the guest wrote may be kept in {}", file.display());
            Failure::new(Code::Host, message).because(&cause)
        })
    })
}

/// The volumes that stay, for [`keep`].
pub(crate) fn kept(plan: &LaunchPlan, disks: &[Disk]) -> Vec<(PathBuf, Volume)> {
    let volumes = plan.volumes.iter().zip(disks).filter(|(planned, _)| planned.kept);
    volumes.filter_map(|(planned, disk)| Some((planned.source.clone()?, disk.volume.clone()))).collect()
}

/// Where private tops live: files without a name, possibly large, so not in a memory file system by choice.
pub(crate) fn top_folder() -> PathBuf {
    match std::env::var_os("TMPDIR") {
        Some(folder) if !folder.is_empty() => PathBuf::from(folder),
        _ => PathBuf::from("/var/tmp"),
    }
}
