//! The state folder's places, and records in files: read with a bound, written so that nobody ever sees half of one.

use crate::error::CatalogError;
use crate::fault;
use crate::ids;
use crate::record::{InstanceRecord, VERSION, VolumeRecord};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// No record is as large.
const MAX_RECORD: u64 = 4 << 20;
pub(crate) const INSTANCE: &str = "instance.json";

/// What an instance's UEFI firmware keeps between its starts, in the instance's folder.
pub const UEFI_VARS: &str = "uefi-vars";

/// Of an instance.
pub(crate) fn lock(instance: &Path) -> PathBuf {
    instance.join("lock")
}

/// Of an instance.
pub(crate) fn volumes(instance: &Path) -> PathBuf {
    instance.join("volumes")
}

/// The record in an instance's folder. None: there is none.
pub(crate) fn instance(folder: &Path) -> Result<Option<InstanceRecord>, CatalogError> {
    let path = folder.join(INSTANCE);
    let Some(bytes) = bytes(&path)? else { return Ok(None) };
    // It was not durable when this computer ended, and nothing is there that it could tell of.
    if bytes.is_empty() && names(&volumes(folder))?.is_empty() {
        return Ok(None);
    }
    let damaged = |source| CatalogError::Damaged { path: path.clone(), source };
    let record: InstanceRecord = serde_json::from_slice(&bytes).map_err(|cause| match version(&bytes) {
        Some(version) if version > VERSION.into() => newer(&path, version),
        _ => damaged(cause),
    })?;
    if record.own.version > VERSION {
        return Err(newer(&path, record.own.version.into()));
    }
    // Its ids become paths, where files are removed.
    let named = folder.file_name().is_some_and(|name| name == record.instance_id.as_str());
    let mapped = record.block_device_mappings.iter().map(|mapping| &mapping.ebs.volume_id);
    if !named || !mapped.chain(record.own.volumes.keys()).all(|id| ids::is_volume(id)) {
        return Err(damaged(serde::de::Error::custom("an id in it is not what it should be")));
    }
    Ok(Some(record))
}

/// What is known of an available volume. None: nothing.
pub(crate) fn volume(path: &Path) -> Result<Option<VolumeRecord>, CatalogError> {
    let Some(bytes) = bytes(path)? else { return Ok(None) };
    parse(path, &bytes).map(Some)
}

fn newer(path: &Path, version: u64) -> CatalogError {
    CatalogError::Newer { path: path.to_owned(), version, known: VERSION.into() }
}

/// Of a record that cannot be understood otherwise.
fn version(bytes: &[u8]) -> Option<u64> {
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Record {
        ami_run: Own,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "PascalCase")]
    struct Own {
        version: u64,
    }
    serde_json::from_slice::<Record>(bytes).ok().map(|record| record.ami_run.version)
}

pub(crate) fn parse<T: DeserializeOwned>(path: &Path, bytes: &[u8]) -> Result<T, CatalogError> {
    serde_json::from_slice(bytes).map_err(|source| CatalogError::Damaged { path: path.to_owned(), source })
}

pub(crate) fn bytes(path: &Path) -> Result<Option<Vec<u8>>, CatalogError> {
    let fail = |source| CatalogError::io("read", path, source);
    // Should it be a FIFO, nobody waits for it.
    let file = match OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(None),
        other => other.map_err(fail)?,
    };
    let mut bytes = Vec::new();
    file.take(MAX_RECORD).read_to_end(&mut bytes).map_err(fail)?;
    Ok(Some(bytes))
}

/// Writes a record anew. One writer at a time. What is not `durable` is not to survive this computer's end anyway.
pub(crate) fn write(path: &Path, record: &impl Serialize, durable: bool) -> Result<(), CatalogError> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let (new, fail) = (PathBuf::from(new), |source| CatalogError::io("write", path, source));
    let written = serde_json::to_vec_pretty(record).map_err(io::Error::from).and_then(|mut bytes| {
        bytes.push(b'\n');
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
        file.write_all(&bytes)?;
        if durable { file.sync_all() } else { Ok(()) }
    });
    let renamed = written.and_then(|()| {
        fault::point("record-written");
        fs::rename(&new, path)
    });
    if let Err(cause) = renamed {
        // Best effort: it is overwritten by the next.
        fs::remove_file(&new).unwrap_or_default();
        return Err(fail(cause));
    }
    fault::point("record-renamed");
    match path.parent() {
        Some(folder) if durable => sync(folder),
        _ => Ok(()),
    }
}

/// Takes so many bytes of the disk for a file of this name.
pub(crate) fn reserve(path: &Path, bytes: usize) -> Result<(), CatalogError> {
    fs::write(path, vec![0; bytes]).map_err(|source| CatalogError::io("write", path, source))
}

/// Makes durable what a folder names.
pub(crate) fn sync(folder: &Path) -> Result<(), CatalogError> {
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(|source| CatalogError::io("write", folder, source))
}

/// Makes a folder of the user's alone, and those above it, where they are missing.
pub(crate) fn make_folder(path: &Path) -> Result<(), CatalogError> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(path);
    made.map_err(|source| CatalogError::io("make the folder", path, source))
}

/// Removes a file, if it is there.
pub(crate) fn remove(path: &Path) -> Result<(), CatalogError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(CatalogError::io("remove", path, source)),
        _ => Ok(()),
    }
}

/// Removes a folder and what is in it. Somebody else may be at it, too.
pub(crate) fn remove_folder(path: &Path) -> Result<(), CatalogError> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != ErrorKind::NotFound => Err(CatalogError::io("remove", path, source)),
        _ => Ok(()),
    }
}

/// The names in a folder, sorted; none if there is no folder.
pub(crate) fn names(folder: &Path) -> Result<Vec<String>, CatalogError> {
    let fail = |source| CatalogError::io("read", folder, source);
    let entries = match fs::read_dir(folder) {
        Err(cause) if cause.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.map_err(fail)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        // A name that is not UTF-8 is nobody's here.
        names.extend(entry.map_err(fail)?.file_name().into_string().ok());
    }
    names.sort();
    Ok(names)
}
