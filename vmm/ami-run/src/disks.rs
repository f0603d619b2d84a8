//! Opens the disks of an instance as its record lists them: volumes, made at the first start, and instance store.

use crate::bases::Bases;
use crate::exit::Code;
use crate::failure::Failure;
use ami_run_catalog::{Held, InstanceMapping, InstanceStoreDisk, VolumeOrigin, VolumeRecord, ids};
use ami_run_machine::{Disk, Interface};
use ami_run_storage::{Base, StorageError, Volume};
use std::path::{Path, PathBuf, absolute};

const GIB: u64 = 1 << 30;
const OTHER_STATE: &str = "set AMI_RUN_STATE_DIR to another folder, in which the cache will be";

/// The disks of an instance.
#[derive(Debug)]
pub(crate) struct Disks {
    /// The root first, instance store last.
    pub(crate) all: Vec<Disk>,
    /// What stays, with its file's name.
    kept: Vec<(PathBuf, Volume)>,
    /// What has no name, and goes with this process.
    pub(crate) nameless: Vec<Volume>,
}

/// Opens them all. Volumes of the store are made if the instance has never run.
pub(crate) fn open(held: &Held, bases: &mut Bases) -> Result<Disks, Failure> {
    let record = held.record();
    let mut disks = Disks { all: Vec::new(), kept: Vec::new(), nameless: Vec::new() };
    for mapping in &record.block_device_mappings {
        if let Some(volume) = record.own.volumes.get(&mapping.ebs.volume_id) {
            disks.add(held, mapping, volume, bases)?;
        }
    }
    for store in &record.own.instance_store {
        let volume =
            blank(store.size_gib.saturating_mul(GIB), &format!("instance store {}", store.virtual_name))?;
        disks.nameless.push(volume.clone());
        disks.all.push(Disk { volume, interface: store_interface(store)? });
    }
    Ok(disks)
}

impl Disks {
    fn add(
        &mut self,
        held: &Held,
        mapping: &InstanceMapping,
        record: &VolumeRecord,
        bases: &mut Bases,
    ) -> Result<(), Failure> {
        let (id, name) = (&mapping.ebs.volume_id, &mapping.device_name);
        let size = Some(record.bytes);
        let (volume, file) = match &record.origin {
            VolumeOrigin::File { file } => {
                (Volume::open(file, false, |base| bases.open(base)), Some(file.clone()))
            }
            VolumeOrigin::Private { base } => (
                base_of(base.as_deref(), name, bases)
                    .and_then(|base| Volume::temporary(base, size, &top_folder())),
                None,
            ),
            VolumeOrigin::Store { base } => {
                let file = held.volume_file(id);
                let volume = if held.record().own.has_run {
                    Volume::open(&file, false, |base| bases.open(base))
                } else {
                    base_of(base.as_deref(), name, bases).and_then(|base| Volume::create(&file, base, size))
                };
                (volume, Some(file))
            }
        };
        let volume = volume.map_err(|cause| unusable(&of(record, name), &cause))?;
        match file {
            Some(file) => self.kept.push((file, volume.clone())),
            None => self.nameless.push(volume.clone()),
        }
        let short = name.trim_start_matches("/dev/").to_owned();
        let interface = if record.nvme {
            Interface::Nvme { volume_id: id.clone(), mapping: short }
        } else {
            // The one thing by which a guest can tell such disks apart.
            Interface::Virtio { serial: short }
        };
        self.all.push(Disk { volume, interface });
        Ok(())
    }

    /// Sees to it that what the guest wrote stays: it may have ended without a flush.
    pub(crate) fn keep(&self) -> Result<(), Failure> {
        self.kept.iter().try_for_each(|(file, volume)| {
            volume.flush().map_err(|cause| {
                let message = format!("not all that the guest wrote may be kept in {}", file.display());
                Failure::new(Code::Host, message).because(&cause)
            })
        })
    }
}

/// What a volume is called in messages.
fn of(record: &VolumeRecord, name: &str) -> String {
    match &record.origin {
        VolumeOrigin::File { file: path }
        | VolumeOrigin::Private { base: Some(path) }
        | VolumeOrigin::Store { base: Some(path) } => format!("{} as volume {name}", path.display()),
        _ => format!("an empty volume {name}"),
    }
}

fn base_of(file: Option<&Path>, name: &str, bases: &mut Bases) -> Result<Base, StorageError> {
    match file {
        Some(file) => bases.open(file),
        None => Ok(Base::empty(&format!("volume {name}"))),
    }
}

/// What is the host's own on EC2, and empty at every start.
fn store_interface(store: &InstanceStoreDisk) -> Result<Interface, Failure> {
    let name = &store.virtual_name;
    if !store.nvme {
        return Ok(Interface::Virtio { serial: name.clone() });
    }
    let device = store.device_name.as_deref().map_or("none", |name| name.trim_start_matches("/dev/"));
    let serial = ids::store_serial()
        .map_err(|cause| Failure::new(Code::Host, "cannot get random numbers").because(&cause))?;
    Ok(Interface::InstanceStore { serial, mapping: format!("{name}:{device}") })
}

/// All zeroes.
fn blank(size: u64, name: &str) -> Result<Volume, Failure> {
    let what = format!("an empty {name}");
    Volume::temporary(Base::empty(name), Some(size), &top_folder()).map_err(|cause| unusable(&what, &cause))
}

pub(crate) fn unusable(what: &str, cause: &StorageError) -> Failure {
    let code = match cause {
        StorageError::Top { .. }
        | StorageError::Create { .. }
        | StorageError::Busy { .. }
        | StorageError::Cache { .. }
        | StorageError::CacheFull { .. } => Code::Host,
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

/// Where private tops live: files without a name, possibly large, so not in a memory file system by choice.
pub(crate) fn top_folder() -> PathBuf {
    match std::env::var_os("TMPDIR") {
        Some(folder) if !folder.is_empty() => absolute(&folder).unwrap_or_else(|_| PathBuf::from(folder)),
        _ => PathBuf::from("/var/tmp"),
    }
}
