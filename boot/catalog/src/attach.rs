//! AttachVolume and DetachVolume, of a stopped instance.
//!
//! Left out: a machine that runs.

use crate::catalog::Catalog;
use crate::error::CatalogError;
use crate::held::Held;
use crate::record::{Attachment, InstanceMapping, InstanceRecord, VolumeOrigin, VolumeRecord};
use crate::state::State;
use crate::volumes::{Given, Place, VolumeAttachment, attachment, in_use, unknown};
use crate::{fault, files, ids, store, time};
use ami_run_image::{is_device_name, is_same_device};
use ami_run_storage::Volume;
use std::io::ErrorKind;
use std::path::Path;

impl Catalog {
    /// AttachVolume: a volume of the store, by its id, or one in a file of its own, by its path.
    pub fn attach_volume(
        &self,
        volume: &str,
        instance: &str,
        device: &str,
    ) -> Result<VolumeAttachment, CatalogError> {
        let given = self.given(volume)?;
        if let Given::Id(id) = &given
            && let Place::Attached(_) = self.place(id)?
        {
            return Err(in_use(id));
        }
        // EC2's words: ansible-collections/amazon.aws pull request 497.
        let not_stopped = || format!("Instance '{instance}' is not 'running'.");
        let mut held = self.hold_stopped(instance, not_stopped, "attached")?;
        check_device(held.record(), device)?;
        match given {
            Given::Id(id) => self.attach_id(&mut held, &id, device),
            Given::File(file) => self.attach_file(&mut held, &file, device),
        }
    }

    fn attach_id(&self, held: &mut Held, id: &str, device: &str) -> Result<VolumeAttachment, CatalogError> {
        let lock = store::lock(self)?;
        let (file, description) = (store::file(self, id), store::description(self, id));
        let Some(volume) = store::volume(self, id) else {
            // Another command was faster.
            drop(lock);
            return Err(self.place(id).map_or_else(|cause| cause, |_| in_use(id)));
        };
        store::take(&file, &held.volume_file(id))?;
        fault::point("attach-moved");
        let attached = match attach(held, id, device, volume) {
            Ok(attached) => attached,
            Err(cause) => {
                // It is nobody's still.
                store::take(&held.volume_file(id), &file)?;
                return Err(cause);
            }
        };
        fault::point("attach-recorded");
        files::remove(&description)?;
        Ok(attached)
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
        attach(held, &ids::volume()?, device, volume)
    }

    /// DetachVolume. One in a file of its own stays where it is, and its id is forgotten.
    pub fn detach_volume(&self, volume: &str) -> Result<VolumeAttachment, CatalogError> {
        let id = self.id_of(volume)?;
        let Place::Attached(record) = self.place(&id)? else {
            // EC2's words: kubernetes-sigs/aws-ebs-csi-driver issue 1801.
            let message = format!("Volume '{id}' is in the 'available' state.");
            return Err(CatalogError::refused("IncorrectState", message));
        };
        let instance = &record.instance_id;
        if record.state.is_alive() && is_root(&record, &id) {
            // EC2's words: output of its console, for DetachVolume.
            let message = format!("Unable to detach root volume '{id}' from instance '{instance}'");
            return Err(CatalogError::refused("OperationNotPermitted", message)
                .hint(format!("`ami-run stop {instance}` first")));
        }
        let not_stopped = || format!("Instance '{instance}' is not 'stopped'.");
        let mut held = self.hold_stopped(instance, not_stopped, "detached")?;
        let mappings = &held.record().block_device_mappings;
        let mapping = mappings.iter().find(|mapping| mapping.ebs.volume_id == id).cloned();
        let (Some(mapping), Some(volume)) = (mapping, held.record().own.volumes.get(&id).cloned()) else {
            return Err(unknown(&id));
        };
        match volume.origin {
            VolumeOrigin::Store { .. } => self.detach_id(&mut held, &id, &volume)?,
            VolumeOrigin::Private { .. } | VolumeOrigin::File { .. } => forget(&mut held, &id)?,
        }
        Ok(VolumeAttachment { state: "detached".to_owned(), ..attachment(held.record(), &mapping) })
    }

    fn detach_id(&self, held: &mut Held, id: &str, volume: &VolumeRecord) -> Result<(), CatalogError> {
        let from = held.volume_file(id);
        let _lock = store::lock(self)?;
        if !store::there(&from) {
            return Err(CatalogError::io("find", from, ErrorKind::NotFound.into()));
        }
        files::write(&store::description(self, id), volume, true)?;
        fault::point("detach-described");
        forget(held, id)?;
        fault::point("detach-recorded");
        store::take(&from, &store::file(self, id))?;
        fault::point("detach-moved");
        Ok(())
    }

    /// Holds an instance that must be stopped for its volumes to be `changed`.
    pub(crate) fn hold_stopped(
        &self,
        id: &str,
        message: impl Fn() -> String,
        changed: &str,
    ) -> Result<Held, CatalogError> {
        let stopped = |record: &InstanceRecord| match record.state {
            State::Stopped => Ok(()),
            state => Err(CatalogError::refused("IncorrectState", message())
                .hint(format!("it is {state}: here volumes are {changed} while it is stopped"))),
        };
        // A machine that runs is not waited for.
        stopped(&self.describe(id)?)?;
        let held = self.hold(id)?;
        stopped(held.record())?;
        Ok(held)
    }
}

fn check_device(record: &InstanceRecord, device: &str) -> Result<(), CatalogError> {
    let refuse = |message: String| Err(CatalogError::refused("InvalidParameterValue", message));
    if !is_device_name(device) && device != record.root_device_name {
        // EC2's words: base2genomics/batchit issue 15.
        return refuse(format!(
            "Value ({device}) for parameter device is invalid. {device} is not a valid EBS device name."
        ));
    }
    let stores = record.own.instance_store.iter().filter_map(|disk| disk.device_name.as_ref());
    let mut used = record.block_device_mappings.iter().map(|mapping| &mapping.device_name).chain(stores);
    if used.any(|used| is_same_device(used, device)) {
        // EC2's words: nanovms/ops pull request 1189.
        return refuse(format!(
            "Invalid value '{device}' for unixDevice. Attachment point {device} is already in use"
        ));
    }
    Ok(())
}

fn is_root(record: &InstanceRecord, id: &str) -> bool {
    let root = |mapping: &InstanceMapping| mapping.device_name == record.root_device_name;
    record.block_device_mappings.iter().any(|mapping| mapping.ebs.volume_id == id && root(mapping))
}

/// In the record.
fn attach(
    held: &mut Held,
    id: &str,
    device: &str,
    mut volume: VolumeRecord,
) -> Result<VolumeAttachment, CatalogError> {
    // As the instance's disks are seen, also when this is the only one.
    volume.nvme = held.record().ena_support;
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
        // The root is the first.
        let mappings = &mut record.block_device_mappings;
        let at = if device == record.root_device_name { 0 } else { mappings.len() };
        mappings.insert(at, mapping.clone());
        record.own.volumes.insert(id.to_owned(), volume);
    })?;
    Ok(attachment(held.record(), &mapping))
}

/// In the record.
fn forget(held: &mut Held, id: &str) -> Result<(), CatalogError> {
    held.change(|record| {
        record.block_device_mappings.retain(|mapping| mapping.ebs.volume_id != id);
        record.own.volumes.remove(id);
    })
}
