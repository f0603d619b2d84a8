//! Volumes, wherever they are: DescribeVolumes, DeleteVolume, and which one a caller means.

use crate::catalog::Catalog;
use crate::error::CatalogError;
use crate::new::DEFAULT_ZONE;
use crate::record::{InstanceMapping, InstanceRecord, VolumeOrigin, VolumeRecord};
use crate::{fault, files, ids, store};
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

/// Where a volume is.
#[derive(Debug)]
pub(crate) enum Place {
    Attached(Box<InstanceRecord>),
    Available,
}

/// What a caller calls a volume.
#[derive(Debug)]
pub(crate) enum Given {
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
            let Some(volume) = store::volume(self, &id) else { continue };
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

    /// DeleteVolume, of no instance.
    pub fn delete_volume(&self, volume: &str) -> Result<(), CatalogError> {
        let id = self.id_of(volume)?;
        if let Place::Attached(record) = self.place(&id)? {
            // EC2's words: output of the AWS CLI and of terraform, for DeleteVolume.
            let message = format!("Volume {id} is currently attached to {}", record.instance_id);
            return Err(CatalogError::refused("VolumeInUse", message)
                .hint("`ami-run detach-volume` it first, or `ami-run terminate` the instance"));
        }
        let lock = store::lock(self)?;
        let file = store::file(self, &id);
        if !store::there(&file) {
            // Another command was faster.
            drop(lock);
            return Err(self.place(&id).map_or_else(|cause| cause, |_| in_use(&id)));
        }
        files::remove(&file)?;
        fault::point("delete-file");
        files::remove(&store::description(self, &id))
    }

    /// A volume's id, or the path of its file.
    pub(crate) fn given(&self, given: &str) -> Result<Given, CatalogError> {
        if ids::is_volume(given) {
            return Ok(Given::Id(given.to_owned()));
        }
        let path = Path::new(given);
        let file = match path.canonicalize() {
            Ok(file) => file,
            Err(_) if given.starts_with("vol-") || !given.contains('/') => return Err(no_id(given)),
            Err(cause) => {
                let message = format!("Value ({given}) for parameter volumeId is invalid: {cause}");
                return Err(CatalogError::refused("InvalidParameterValue", message));
            }
        };
        // Those of the store have ids, and move.
        let own = self.folder().canonicalize().is_ok_and(|folder| file.starts_with(folder));
        let name = file.file_name().and_then(|name| name.to_str()).filter(|name| own && ids::is_volume(name));
        Ok(name.map_or_else(|| Given::File(file.clone()), |id| Given::Id(id.to_owned())))
    }

    /// What must be a volume that has an id.
    pub(crate) fn id_of(&self, given: &str) -> Result<String, CatalogError> {
        match self.given(given)? {
            Given::Id(id) => Ok(id),
            Given::File(file) => match self.of_file(&file)? {
                Some((id, _)) => Ok(id),
                None => Err(no_id(given)),
            },
        }
    }

    pub(crate) fn place(&self, id: &str) -> Result<Place, CatalogError> {
        if let Some(place) = self.seen(id)? {
            return Ok(place);
        }
        // Another command may have moved it between the two looks. Who moves one holds this meanwhile.
        if store::there(&store::folder(self)) {
            drop(store::lock(self)?);
        }
        self.seen(id)?.ok_or_else(|| unknown(id))
    }

    fn seen(&self, id: &str) -> Result<Option<Place>, CatalogError> {
        let records = self.instances()?;
        store::recover(self, &records);
        if let Some(record) = records.into_iter().find(|record| record.own.volumes.contains_key(id)) {
            return Ok(Some(Place::Attached(Box::new(record))));
        }
        Ok(store::there(&store::file(self, id)).then_some(Place::Available))
    }

    /// The instance whose record names this file as a volume. Looks at records only: who calls this may hold what
    /// putting them in order takes.
    pub(crate) fn of_file(&self, file: &Path) -> Result<Option<(String, InstanceRecord)>, CatalogError> {
        for id in self.ids()? {
            let Ok(Some(record)) = files::instance(&self.instance_folder(&id)) else { continue };
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
}

pub(crate) fn attachment(record: &InstanceRecord, mapping: &InstanceMapping) -> VolumeAttachment {
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

pub(crate) fn unknown(id: &str) -> CatalogError {
    // EC2's words: kubernetes-sigs/aws-ebs-csi-driver issue 1343.
    CatalogError::refused("InvalidVolume.NotFound", format!("The volume '{id}' does not exist."))
}

fn no_id(given: &str) -> CatalogError {
    let message = format!("Value ({given}) for parameter volumeId is invalid. Expected: 'vol-...'.");
    CatalogError::refused("InvalidParameterValue", message).hint("`ami-run volume ls` lists them")
}

pub(crate) fn in_use(id: &str) -> CatalogError {
    // EC2's words: hashicorp/terraform-provider-aws issue 8565.
    CatalogError::refused("VolumeInUse", format!("{id} is already attached to an instance"))
}

#[cfg(test)]
#[path = "volumes_test.rs"]
mod tests;
