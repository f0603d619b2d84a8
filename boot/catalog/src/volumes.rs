//! The verbs on volumes: DescribeVolumes, AttachVolume, DetachVolume, ModifyVolume, DeleteVolume.
//!
//! Left out: attaching to a machine that runs.

use crate::catalog::Catalog;
use crate::error::CatalogError;
use crate::held::Held;
use crate::new::DEFAULT_ZONE;
use crate::record::{Attachment, InstanceMapping, InstanceRecord, VolumeOrigin, VolumeRecord};
use crate::state::State;
use crate::{fault, files, ids, store, time};
use ami_run_storage::Volume;
use serde::Serialize;
use std::path::{Path, PathBuf};

const GIB: u64 = 1 << 30;

/// DescribeVolumes' shape.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct DescribedVolume {
    pub volume_id: String,
    /// In GiB.
    pub size: u64,
    /// `in-use` or `available`.
    pub state: String,
    pub attachments: Vec<VolumeAttachment>,
    pub volume_type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub iops: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub throughput: Option<u32>,
    pub encrypted: bool,
    pub snapshot_id: String,
    pub create_time: String,
    pub availability_zone: String,
    #[serde(rename = "AmiRun")]
    pub own: VolumeFile,
}

/// What EC2 has no member for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeFile {
    /// None: a file without a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
    /// The size, exactly.
    pub bytes: u64,
}

/// AttachVolume's and DetachVolume's answer, and an entry of `Attachments`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeAttachment {
    pub attach_time: String,
    pub device: String,
    pub instance_id: String,
    /// `attached` or `detached`.
    pub state: String,
    pub volume_id: String,
    pub delete_on_termination: bool,
}

/// ModifyVolume's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeModification {
    pub volume_id: String,
    /// `completed`.
    pub modification_state: String,
    /// In GiB.
    pub original_size: u64,
    pub target_size: u64,
    pub progress: u8,
    pub start_time: String,
}

/// Where a volume is.
#[derive(Debug)]
enum Place {
    Attached(Box<InstanceRecord>),
    Available,
}

/// What a caller calls a volume.
#[derive(Debug)]
enum Given {
    Id(String),
    File(PathBuf),
}

impl Catalog {
    /// DescribeVolumes: those of instances, then those of none.
    pub fn volumes(&self) -> Result<Vec<DescribedVolume>, CatalogError> {
        let records = self.instances()?;
        store::recover(self, &records);
        let mut volumes: Vec<_> = records.iter().flat_map(|record| attached(self, record)).collect();
        for id in self.available()? {
            if volumes.iter().any(|volume| volume.volume_id == id) {
                continue;
            }
            let Some(volume) = files::volume(&store::description(self, &id))? else { continue };
            let file = store::file(self, &id);
            volumes.push(described(&id, &volume, DEFAULT_ZONE, Vec::new(), Some(file)));
        }
        Ok(volumes)
    }

    fn available(&self) -> Result<Vec<String>, CatalogError> {
        let mut names = files::names(&store::folder(self))?;
        names.retain(|name| ids::is_volume(name));
        Ok(names)
    }

    /// AttachVolume, to a stopped instance: a volume of the store, by its id, or one in a file of its own, by path.
    pub fn attach_volume(
        &self,
        volume: &str,
        instance: &str,
        device: &str,
    ) -> Result<VolumeAttachment, CatalogError> {
        let given = self.given(volume)?;
        let mut held = self.hold_stopped(instance, "attached to it")?;
        if held.record().block_device_mappings.iter().any(|mapping| mapping.device_name == device) {
            return Err(CatalogError::refused(
                "InvalidParameterValue",
                format!(
                    "Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"
                ),
            ));
        }
        match given {
            Given::Id(id) => self.attach_id(&mut held, &id, device),
            Given::File(file) => self.attach_file(&mut held, &file, device),
        }
    }

    fn attach_id(&self, held: &mut Held, id: &str, device: &str) -> Result<VolumeAttachment, CatalogError> {
        if let Place::Attached(_) = self.place(id)? {
            return Err(in_use(id));
        }
        let _lock = store::lock(self)?;
        let file = store::file(self, id);
        let description = store::description(self, id);
        let Some(volume) = files::volume(&description)?.filter(|_| store::there(&file)) else {
            return Err(unknown(id));
        };
        store::take(&file, &held.volume_file(id))?;
        fault::point("attach-moved");
        let attachment = record_attachment(held, id, device, volume)?;
        fault::point("attach-recorded");
        files::remove(&description)?;
        Ok(attachment)
    }

    fn attach_file(
        &self,
        held: &mut Held,
        file: &Path,
        device: &str,
    ) -> Result<VolumeAttachment, CatalogError> {
        // Two commands may want it for two instances.
        let _lock = store::lock(self)?;
        if let Some((id, _)) = self.of_file(file)? {
            return Err(in_use(&id));
        }
        let (bytes, _) = Volume::look(file)?;
        let volume = store::new(bytes, VolumeOrigin::File { file: file.to_owned() }, true);
        record_attachment(held, &ids::volume()?, device, volume)
    }

    /// DetachVolume, from a stopped instance.
    pub fn detach_volume(&self, volume: &str) -> Result<VolumeAttachment, CatalogError> {
        let id = self.id_of(volume)?;
        let Place::Attached(record) = self.place(&id)? else {
            let message = format!("Volume '{id}' is in the 'available' state.");
            return Err(CatalogError::refused("IncorrectState", message));
        };
        let mut held = self.hold_stopped(&record.instance_id, "detached from it")?;
        let mappings = &held.record().block_device_mappings;
        let mapping = mappings.iter().find(|mapping| mapping.ebs.volume_id == id).cloned();
        let (Some(mapping), Some(volume)) = (mapping, held.record().own.volumes.get(&id).cloned()) else {
            return Err(unknown(&id));
        };
        if mapping.device_name == record.root_device_name {
            let (device, instance) = (&mapping.device_name, &record.instance_id);
            let message = format!("Unable to detach root volume '{device}' from instance '{instance}'");
            return Err(CatalogError::refused("OperationNotPermitted", message));
        }
        let from = held.volume_file(&id);
        let store = matches!(volume.origin, VolumeOrigin::Store { .. });
        if store {
            let _lock = store::lock(self)?;
            if !store::there(&from) {
                return Err(CatalogError::io("find", from, std::io::ErrorKind::NotFound.into()));
            }
            files::write(&store::description(self, &id), &volume, true)?;
            fault::point("detach-described");
            forget(&mut held, &id)?;
            fault::point("detach-recorded");
            store::take(&from, &store::file(self, &id))?;
            fault::point("detach-moved");
        } else {
            forget(&mut held, &id)?;
        }
        Ok(VolumeAttachment { state: "detached".to_owned(), ..attachment(held.record(), &mapping) })
    }

    /// ModifyVolume: a larger one, of a stopped instance or of none.
    pub fn resize_volume(&self, volume: &str, gib: u32) -> Result<VolumeModification, CatalogError> {
        let bytes = u64::from(gib).saturating_mul(GIB);
        let given = self.given(volume)?;
        let known = match &given {
            Given::Id(id) => Some((id.clone(), self.place(id)?)),
            Given::File(file) => {
                self.of_file(file)?.map(|(id, record)| (id, Place::Attached(Box::new(record))))
            }
        };
        let grow = |file: &Path, volume: &VolumeRecord| {
            if bytes < volume.bytes {
                return Err(smaller(volume.bytes));
            }
            Volume::enlarge(file, bytes)?;
            fault::point("resize-grown");
            Ok(volume.bytes)
        };
        let (id, before) = match known {
            Some((id, Place::Attached(record))) => {
                let mut held = self.hold_stopped(&record.instance_id, "resized")?;
                let Some(volume) = held.record().own.volumes.get(&id).cloned() else {
                    return Err(unknown(&id));
                };
                let file = path(&held, &id, &volume).ok_or_else(|| unknown(&id))?;
                let before = grow(&file, &volume)?;
                held.change(|record| {
                    if let Some(volume) = record.own.volumes.get_mut(&id) {
                        volume.bytes = bytes;
                    }
                })?;
                (id, before)
            }
            Some((id, Place::Available)) => {
                let _lock = store::lock(self)?;
                let description = store::description(self, &id);
                let volume = files::volume(&description)?.ok_or_else(|| unknown(&id))?;
                let before = grow(&store::file(self, &id), &volume)?;
                files::write(&description, &VolumeRecord { bytes, ..volume }, true)?;
                (id, before)
            }
            None => {
                let Given::File(file) = given else { return Err(unknown(volume)) };
                let (size, _) = Volume::look(&file)?;
                let now = store::new(size, VolumeOrigin::File { file: file.clone() }, true);
                (file.display().to_string(), grow(&file, &now)?)
            }
        };
        Ok(VolumeModification {
            volume_id: id,
            modification_state: "completed".to_owned(),
            original_size: before.div_ceil(GIB),
            target_size: gib.into(),
            progress: 100,
            start_time: time::iso(time::now()),
        })
    }

    /// DeleteVolume, of no instance.
    pub fn delete_volume(&self, volume: &str) -> Result<(), CatalogError> {
        let id = self.id_of(volume)?;
        if let Place::Attached(record) = self.place(&id)? {
            let message = format!("Volume {id} is currently attached to {}", record.instance_id);
            return Err(CatalogError::refused("VolumeInUse", message));
        }
        let _lock = store::lock(self)?;
        let file = store::file(self, &id);
        if !store::there(&file) {
            return Err(unknown(&id));
        }
        files::remove(&file)?;
        fault::point("delete-file");
        files::remove(&store::description(self, &id))
    }

    /// A volume's id, or the path of its file.
    fn given(&self, given: &str) -> Result<Given, CatalogError> {
        if ids::is_volume(given) {
            return Ok(Given::Id(given.to_owned()));
        }
        let path = Path::new(given);
        let file = match path.canonicalize() {
            Ok(file) => file,
            Err(_) if given.starts_with("vol-") || !given.contains('/') => return Err(no_id(given)),
            Err(cause) => return Err(CatalogError::io("read", path, cause)),
        };
        // Those of the store have ids, and move.
        let own = self.folder().canonicalize().is_ok_and(|folder| file.starts_with(folder));
        let name = file.file_name().and_then(|name| name.to_str()).filter(|name| own && ids::is_volume(name));
        Ok(name.map_or_else(|| Given::File(file.clone()), |id| Given::Id(id.to_owned())))
    }

    /// What must be a volume that has an id.
    fn id_of(&self, given: &str) -> Result<String, CatalogError> {
        match self.given(given)? {
            Given::Id(id) => Ok(id),
            Given::File(file) => match self.of_file(&file)? {
                Some((id, _)) => Ok(id),
                None => Err(no_id(given)),
            },
        }
    }

    fn place(&self, id: &str) -> Result<Place, CatalogError> {
        let records = self.instances()?;
        store::recover(self, &records);
        if let Some(record) = records.into_iter().find(|record| record.own.volumes.contains_key(id)) {
            return Ok(Place::Attached(Box::new(record)));
        }
        if store::there(&store::file(self, id)) { Ok(Place::Available) } else { Err(unknown(id)) }
    }

    /// The instance that has this file as a volume.
    fn of_file(&self, file: &Path) -> Result<Option<(String, InstanceRecord)>, CatalogError> {
        for record in self.instances()? {
            let mut volumes = record.own.volumes.iter();
            let id = volumes.find_map(|(id, volume)| match &volume.origin {
                VolumeOrigin::File { file: other } if other == file => Some(id.clone()),
                _ => None,
            });
            if let Some(id) = id {
                return Ok(Some((id, record)));
            }
        }
        Ok(None)
    }

    /// Holds an instance that must be stopped for its volumes to be `changed`.
    fn hold_stopped(&self, id: &str, changed: &str) -> Result<Held, CatalogError> {
        let stopped = |record: &InstanceRecord| match record.state {
            State::Stopped => Ok(()),
            state => {
                Err(CatalogError::refused("IncorrectState", format!("Instance '{id}' is not 'stopped'."))
                    .hint(format!("it is {state}, and volumes are {changed} while it is stopped")))
            }
        };
        stopped(&self.describe(id)?)?;
        let held = self.hold(id)?;
        stopped(held.record())?;
        Ok(held)
    }
}

fn record_attachment(
    held: &mut Held,
    id: &str,
    device: &str,
    mut volume: VolumeRecord,
) -> Result<VolumeAttachment, CatalogError> {
    // As the others of the instance are seen.
    volume.nvme = held.record().own.volumes.values().all(|other| other.nvme);
    let mapping = InstanceMapping {
        device_name: device.to_owned(),
        ebs: Attachment {
            volume_id: id.to_owned(),
            attach_time: time::iso(time::now()),
            delete_on_termination: false,
            status: "attached".to_owned(),
        },
    };
    held.change(|record| {
        record.block_device_mappings.push(mapping.clone());
        record.own.volumes.insert(id.to_owned(), volume);
    })?;
    Ok(attachment(held.record(), &mapping))
}

fn forget(held: &mut Held, id: &str) -> Result<(), CatalogError> {
    held.change(|record| {
        record.block_device_mappings.retain(|mapping| mapping.ebs.volume_id != id);
        record.own.volumes.remove(id);
    })
}

fn attachment(record: &InstanceRecord, mapping: &InstanceMapping) -> VolumeAttachment {
    VolumeAttachment {
        attach_time: mapping.ebs.attach_time.clone(),
        device: mapping.device_name.clone(),
        instance_id: record.instance_id.clone(),
        state: "attached".to_owned(),
        volume_id: mapping.ebs.volume_id.clone(),
        delete_on_termination: mapping.ebs.delete_on_termination,
    }
}

fn attached(catalog: &Catalog, record: &InstanceRecord) -> Vec<DescribedVolume> {
    let folder = catalog.instance_folder(&record.instance_id);
    let of = |mapping: &InstanceMapping| {
        let id = &mapping.ebs.volume_id;
        let volume = record.own.volumes.get(id)?;
        let file = match &volume.origin {
            VolumeOrigin::Store { .. } => Some(files::volumes(&folder).join(id)),
            VolumeOrigin::Private { .. } => None,
            VolumeOrigin::File { file } => Some(file.clone()),
        };
        let zone = &record.placement.availability_zone;
        Some(described(id, volume, zone, vec![attachment(record, mapping)], file))
    };
    record.block_device_mappings.iter().filter_map(of).collect()
}

fn described(
    id: &str,
    volume: &VolumeRecord,
    zone: &str,
    attachments: Vec<VolumeAttachment>,
    file: Option<PathBuf>,
) -> DescribedVolume {
    DescribedVolume {
        volume_id: id.to_owned(),
        size: volume.bytes.div_ceil(GIB),
        state: if attachments.is_empty() { "available" } else { "in-use" }.to_owned(),
        attachments,
        volume_type: volume.volume_type.clone(),
        iops: volume.iops,
        throughput: volume.throughput,
        encrypted: volume.encrypted,
        snapshot_id: volume.snapshot_id.clone().unwrap_or_default(),
        create_time: volume.create_time.clone(),
        availability_zone: zone.to_owned(),
        own: VolumeFile { file, bytes: volume.bytes },
    }
}

fn path(held: &Held, id: &str, volume: &VolumeRecord) -> Option<PathBuf> {
    match &volume.origin {
        VolumeOrigin::Store { .. } => Some(held.volume_file(id)),
        VolumeOrigin::Private { .. } => None,
        VolumeOrigin::File { file } => Some(file.clone()),
    }
}

fn unknown(id: &str) -> CatalogError {
    CatalogError::refused("InvalidVolume.NotFound", format!("The volume '{id}' does not exist."))
}

fn no_id(given: &str) -> CatalogError {
    let message = format!("Value ({given}) for parameter volumeId is invalid. Expected: 'vol-...'.");
    CatalogError::refused("InvalidParameterValue", message).hint("`ami-run volume ls` lists them")
}

fn in_use(id: &str) -> CatalogError {
    CatalogError::refused("VolumeInUse", format!("{id} is already attached to an instance"))
}

fn smaller(bytes: u64) -> CatalogError {
    CatalogError::refused("InvalidParameterValue", "New size cannot be smaller than existing size")
        .hint(format!("it has {} GiB", bytes.div_ceil(GIB)))
}
