//! ModifyVolume: a larger one, of a stopped instance or of none.
//!
//! The file grows first: who does it again finds what is there, and records it.

use crate::catalog::Catalog;
use crate::error::CatalogError;
use crate::record::{VolumeOrigin, VolumeRecord};
use crate::volumes::{Given, Place, unknown};
use crate::{fault, files, store, time};
use ami_run_image::volume_sizes;
use ami_run_storage::Volume;
use serde::Serialize;
use std::path::Path;

const GIB: u64 = 1 << 30;

/// ModifyVolume's answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct VolumeModification {
    /// Or the path of the file of a volume that has no id.
    pub volume_id: String,
    /// `completed`.
    pub modification_state: String,
    /// In GiB.
    pub original_size: u64,
    pub target_size: u64,
    pub progress: u8,
    pub start_time: String,
}

impl Catalog {
    pub fn resize_volume(&self, volume: &str, gib: u32) -> Result<VolumeModification, CatalogError> {
        let (id, place) = match self.given(volume)? {
            Given::Id(id) => {
                let place = self.place(&id)?;
                (id, place)
            }
            Given::File(file) => match self.of_file(&file)? {
                Some((id, record)) => (id, Place::Attached(Box::new(record))),
                None => {
                    let (bytes, _) = Volume::look(&file)?;
                    let volume = store::new(bytes, VolumeOrigin::File { file: file.clone() }, true);
                    return Ok(done(file.display().to_string(), grow(&file, &volume, gib)?, gib));
                }
            },
        };
        let before = match place {
            Place::Attached(record) => self.resize_attached(&record.instance_id, &id, gib)?,
            Place::Available => self.resize_available(&id, gib)?,
        };
        Ok(done(id, before, gib))
    }

    fn resize_attached(&self, instance: &str, id: &str, gib: u32) -> Result<u64, CatalogError> {
        let not_stopped = || format!("Instance '{instance}' is not 'stopped'.");
        let mut held = self.hold_stopped(instance, not_stopped, "made larger")?;
        let volume = held.record().own.volumes.get(id).cloned().ok_or_else(|| unknown(id))?;
        let file = match &volume.origin {
            VolumeOrigin::Store { .. } => held.volume_file(id),
            VolumeOrigin::File { file } => file.clone(),
            VolumeOrigin::Private { .. } => return Err(unknown(id)),
        };
        let before = grow(&file, &volume, gib)?;
        held.change(|record| {
            if let Some(volume) = record.own.volumes.get_mut(id) {
                volume.bytes = bytes(gib);
            }
        })?;
        Ok(before)
    }

    fn resize_available(&self, id: &str, gib: u32) -> Result<u64, CatalogError> {
        let _lock = store::lock(self)?;
        let description = store::description(self, id);
        let volume = store::volume(self, id).ok_or_else(|| unknown(id))?;
        let before = grow(&store::file(self, id), &volume, gib)?;
        files::write(&description, &VolumeRecord { bytes: bytes(gib), ..volume }, true)?;
        Ok(before)
    }
}

fn bytes(gib: u32) -> u64 {
    u64::from(gib).saturating_mul(GIB)
}

/// Gives the size that it had.
fn grow(file: &Path, volume: &VolumeRecord, gib: u32) -> Result<u64, CatalogError> {
    let refuse = |message: String| CatalogError::refused("InvalidParameterValue", message);
    // It may have grown already, by a command that was killed before it could record it.
    let (now, _) = Volume::look(file)?;
    if bytes(gib) < now {
        // EC2's words: aws/aws-cli issue 4216.
        return Err(refuse("New size cannot be smaller than existing size".to_owned())
            .hint(format!("it has {} GiB", now.div_ceil(GIB))));
    }
    let kind = &volume.volume_type;
    if let Some((least, most)) = volume_sizes(kind)
        && gib > most
    {
        return Err(refuse(format!("a volume of type {kind} has {least} to {most} GiB, not {gib}")));
    }
    Volume::enlarge(file, bytes(gib))?;
    fault::point("resize-grown");
    Ok(volume.bytes)
}

fn done(id: String, before: u64, gib: u32) -> VolumeModification {
    VolumeModification {
        volume_id: id,
        modification_state: "completed".to_owned(),
        original_size: before.div_ceil(GIB),
        target_size: gib.into(),
        progress: 100,
        start_time: time::iso(time::now()),
    }
}
