//! Volumes of no instance: `volumes/vol-…` in the state folder, each with `vol-….json` beside it.
//!
//! A file goes between an instance's folder and here by one rename, and one rule says what a process that was killed
//! in between meant: a file in an instance's folder that its record does not name belongs here. The description is
//! written before the file comes and removed after it is gone; one without its file is nothing.

use crate::catalog::Catalog;
use crate::error::{CatalogError, with_cause};
use crate::lock::{Kind, Lock};
use crate::record::{InstanceRecord, VolumeOrigin, VolumeRecord};
use crate::{fault, files, ids, time};
use ami_run_storage::Volume;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long other commands may take that move volumes.
const MOMENT: Duration = Duration::from_secs(10);
const GENERAL_PURPOSE: &str = "gp2";

pub(crate) fn folder(catalog: &Catalog) -> PathBuf {
    catalog.folder().join("volumes")
}

pub(crate) fn file(catalog: &Catalog, id: &str) -> PathBuf {
    folder(catalog).join(id)
}

pub(crate) fn description(catalog: &Catalog, id: &str) -> PathBuf {
    folder(catalog).join(format!("{id}.json"))
}

/// What is known of an available volume. None: it is not there.
pub(crate) fn volume(catalog: &Catalog, id: &str) -> Option<VolumeRecord> {
    let file = file(catalog, id);
    there(&file).then(|| known(catalog, id).unwrap_or_else(|| guess(&file)))
}

/// From its description.
fn known(catalog: &Catalog, id: &str) -> Option<VolumeRecord> {
    files::volume(&description(catalog, id)).unwrap_or_else(|cause| {
        log::warn!("{}", with_cause(&cause));
        None
    })
}

/// Held by who moves, describes or removes one of them; taken after an instance's lock.
pub(crate) fn lock(catalog: &Catalog) -> Result<Lock, CatalogError> {
    let folder = folder(catalog);
    if !there(&folder) {
        files::make_folder(&folder)?;
        files::sync(catalog.folder())?;
    }
    let path = folder.join("lock");
    let fail = |source| CatalogError::io("lock", &path, source);
    let lock = Lock::wait(&path, Kind::Exclusive, MOMENT).map_err(fail)?;
    lock.ok_or_else(|| CatalogError::Busy { id: "the folder of volumes".to_owned() })
}

/// Moves a volume's file out of an instance's folder. None: it was never made.
pub(crate) fn release(
    catalog: &Catalog,
    from: &Path,
    id: &str,
    volume: &VolumeRecord,
) -> Result<Option<PathBuf>, CatalogError> {
    let _lock = lock(catalog)?;
    let to = file(catalog, id);
    if !there(from) {
        return Ok(there(&to).then_some(to));
    }
    files::write(&description(catalog, id), volume, true)?;
    fault::point("terminate-described");
    take(from, &to)?;
    Ok(Some(to))
}

/// One rename, and durable.
pub(crate) fn take(from: &Path, to: &Path) -> Result<(), CatalogError> {
    fs::rename(from, to).map_err(|source| CatalogError::io("move", from, source))?;
    [from, to].into_iter().filter_map(Path::parent).try_for_each(files::sync)
}

/// Whether there is something of this name.
pub(crate) fn there(path: &Path) -> bool {
    path.symlink_metadata().is_ok()
}

/// Files of volumes in an instance's folder that its record does not name.
pub(crate) fn others(instance: &Path, named: &BTreeSet<&str>) -> Result<Vec<String>, CatalogError> {
    let mut names = files::names(&files::volumes(instance))?;
    names.retain(|name| ids::is_volume(name) && !named.contains(name.as_str()));
    Ok(names)
}

/// Whether some are left that nobody could put back yet.
pub(crate) fn is_any_on_its_way(catalog: &Catalog) -> Result<bool, CatalogError> {
    for id in catalog.ids()? {
        let folder = catalog.instance_folder(&id);
        // Of a record that cannot be understood nobody knows which volumes it names.
        let Some(record) = files::instance(&folder).unwrap_or_default() else { continue };
        let named = record.own.volumes.keys().map(String::as_str).collect();
        if !others(&folder, &named)?.is_empty() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Moves those to where they belong. Only who holds the instance does.
pub(crate) fn release_others(
    catalog: &Catalog,
    instance: &Path,
    record: &InstanceRecord,
) -> Result<(), CatalogError> {
    let named = record.own.volumes.keys().map(String::as_str).collect();
    others(instance, &named)?.iter().try_for_each(|id| rescue(catalog, instance, id))
}

/// Moves a volume that no record names out of an instance's folder.
pub(crate) fn rescue(catalog: &Catalog, instance: &Path, id: &str) -> Result<(), CatalogError> {
    let from = files::volumes(instance).join(id);
    let volume = known(catalog, id).unwrap_or_else(|| guess(&from));
    release(catalog, &from, id, &volume).map(drop)
}

/// What a volume's own file tells of it, where nothing else does. One that cannot be read stays as it is: it may
/// hold what somebody wants back.
fn guess(file: &Path) -> VolumeRecord {
    let (bytes, base) = Volume::look(file).unwrap_or_default();
    new(bytes, VolumeOrigin::Store { base }, true)
}

/// A volume of which nothing is known but this.
pub(crate) fn new(bytes: u64, origin: VolumeOrigin, nvme: bool) -> VolumeRecord {
    VolumeRecord {
        bytes,
        volume_type: GENERAL_PURPOSE.to_owned(),
        iops: None,
        throughput: None,
        encrypted: false,
        snapshot_id: None,
        create_time: time::iso(time::now()),
        nvme,
        origin,
    }
}

/// Puts volumes back that a killed command has left in the folders of instances that do not run.
pub(crate) fn recover(catalog: &Catalog, records: &[InstanceRecord]) {
    for record in records.iter().filter(|record| !record.state.is_alive()) {
        let folder = catalog.instance_folder(&record.instance_id);
        let named = record.own.volumes.keys().map(String::as_str).collect();
        // Who holds it puts it in order.
        let held = match others(&folder, &named) {
            Ok(others) if others.is_empty() => continue,
            Ok(_) => catalog.try_hold(&record.instance_id).map(drop),
            Err(cause) => Err(cause),
        };
        if let Err(cause) = held {
            log::warn!("cannot put volumes of {} in order: {}", record.instance_id, with_cause(&cause));
        }
    }
}
