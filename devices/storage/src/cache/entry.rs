//! A place in the cache's folder: a data file and its sidecar, named by whose content they hold. They are made, shared
//! and removed by any number of processes, none of which need be alive to the end.
//!
//! A name is a hash of the disk file's path and one of its identity. When a path has another identity than before,
//! what was kept of it goes, unless somebody still uses it: who builds a disk file again and again has one of it here.

use super::lock::Lock;
use super::sidecar::{Head, Sidecar};
use crate::StorageError;
use crate::identity::{Identity, digits};
use sha2::{Digest as _, Sha256};
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

/// How long somebody who makes or removes a cache is waited for; it takes a few syncs.
const PATIENCE: Duration = Duration::from_secs(60);
const MAP: &str = "map";
const DATA: &str = "raw";

/// Where what is taken out of disk files is kept.
#[derive(Clone, Debug)]
pub enum CacheFolder {
    /// A folder that other processes and later ones use, too. It is made when it is needed.
    Shared(PathBuf),
    /// Files without a name in this folder, for this process alone.
    Private(PathBuf),
}

impl CacheFolder {
    pub(super) fn path(&self) -> &Path {
        match self {
            CacheFolder::Shared(path) | CacheFolder::Private(path) => path,
        }
    }

    pub(crate) fn failed(&self, source: io::Error) -> StorageError {
        StorageError::Cache { folder: self.path().to_owned(), source }
    }
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) data: File,
    pub(super) sidecar: Sidecar,
}

impl Entry {
    /// Opens the place of this content, and makes it where there is none. `size`: that of the disk, 0 if nobody knows
    /// before it was taken in whole.
    pub(super) fn open(folder: &CacheFolder, identity: &Identity, size: u64) -> io::Result<Entry> {
        match folder {
            CacheFolder::Private(folder) => Entry::private(folder, size),
            CacheFolder::Shared(folder) => {
                DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
                Entry::shared(folder, &name(identity), size)
            }
        }
    }

    fn private(folder: &Path, size: u64) -> io::Result<Entry> {
        let data = tempfile::tempfile_in(folder)?;
        let entry = Entry { data, sidecar: Sidecar::new(tempfile::tempfile_in(folder)?) };
        entry.sidecar.lock_use(Lock::Shared)?;
        entry.begin(size)?;
        entry.sidecar.clear_live(size.div_ceil(crate::source::BLOCK))?;
        Ok(entry)
    }

    fn shared(folder: &Path, name: &str, size: u64) -> io::Result<Entry> {
        let [map, data] = [MAP, DATA].map(|extension| folder.join(name).with_extension(extension));
        let start = Instant::now();
        loop {
            let sidecar = Sidecar::new(kept_file(&map)?);
            let alone = sidecar.lock_use(Lock::Exclusive)?;
            let ours = alone || sidecar.lock_use(Lock::Shared)?;
            if ours && is_still(sidecar.file(), &map)? {
                if alone {
                    return Entry::open_alone(folder, name, Entry { data: kept_file(&data)?, sidecar }, size);
                }
                let data = OpenOptions::new().read(true).write(true).open(&data)?;
                return Ok(Entry { data, sidecar });
            }
            if start.elapsed() > PATIENCE {
                let what = format!("another process has held {} for a minute", map.display());
                return Err(io::Error::new(io::ErrorKind::TimedOut, what));
            }
            // Somebody makes it at this moment, or has just removed it.
            thread::sleep(Duration::from_millis(2));
        }
    }

    /// Nobody else uses it now: what it holds is checked, and others are let in.
    fn open_alone(folder: &Path, name: &str, entry: Entry, size: u64) -> io::Result<Entry> {
        if !entry.is_right(size)? {
            tidy(folder, name)?;
            entry.begin(size)?;
            // Else bits might outlive a data file whose name was never written.
            File::open(folder)?.sync_all()?;
        }
        let head = entry.sidecar.head()?.map_or(0, |head| head.size);
        entry.sidecar.clear_live(head.div_ceil(crate::source::BLOCK))?;
        entry.sidecar.lock_use(Lock::Shared)?;
        Ok(entry)
    }

    /// True if the sidecar is this data file's, and the disk has this size or its size was not known before.
    fn is_right(&self, size: u64) -> io::Result<bool> {
        let Some(head) = self.sidecar.head()? else { return Ok(false) };
        let about = self.data.metadata()?;
        let known = head.size != 0 && (size == 0 || head.size == size);
        Ok(known && (about.size(), about.ino()) == (head.size, head.inode))
    }

    /// Empties it. The old bits are gone for good before the data is, and the data is all holes before there can be
    /// new ones.
    pub(super) fn begin(&self, size: u64) -> io::Result<()> {
        self.sidecar.clear()?;
        self.data.set_len(0)?;
        if size == 0 {
            return Ok(());
        }
        self.data.set_len(size)?;
        self.finish(size)
    }

    /// Says that the data file is the disk, of this size.
    pub(super) fn finish(&self, size: u64) -> io::Result<()> {
        self.data.sync_all()?;
        self.sidecar.set_head(Head { size, inode: self.data.metadata()?.ino() })
    }
}

/// `PATH-IDENTITY`: what was kept of one path begins alike.
fn name(identity: &Identity) -> String {
    let path = identity.paths().next().unwrap_or_default();
    let path = digits(&Sha256::digest(path.as_os_str().as_bytes()));
    let key = identity.key("");
    format!("{}-{}", path.get(..16).unwrap_or_default(), key.get(..32).unwrap_or_default())
}

fn kept_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)
}

/// True if the path still leads to this file: it may have been removed while its lock was waited for.
fn is_still(file: &File, path: &Path) -> io::Result<bool> {
    let now = match fs::metadata(path) {
        Ok(now) => now,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(cause) => return Err(cause),
    };
    let about = file.metadata()?;
    Ok((now.dev(), now.ino()) == (about.dev(), about.ino()))
}

/// Removes what nobody uses and nobody will: other content of the same path, and streams that were not taken in to
/// their end.
fn tidy(folder: &Path, name: &str) -> io::Result<()> {
    let (path, _) = name.split_once('-').unwrap_or_default();
    for entry in fs::read_dir(folder)? {
        let map = entry?.path();
        let other = map.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        if map.extension().is_none_or(|extension| extension != MAP) || other == name {
            continue;
        }
        let stale = other.split_once('-').is_some_and(|(other, _)| other == path);
        // What cannot be removed is somebody else's to remove.
        remove(&map, stale).unwrap_or_else(|cause| log::debug!("cannot remove {}: {cause}", map.display()));
    }
    Ok(())
}

fn remove(map: &Path, stale: bool) -> io::Result<()> {
    let sidecar = Sidecar::new(OpenOptions::new().read(true).write(true).open(map)?);
    let unused = sidecar.lock_use(Lock::Exclusive)? && is_still(sidecar.file(), map)?;
    if unused && (stale || sidecar.head()?.is_none()) {
        match fs::remove_file(map.with_extension(DATA)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => return Err(cause),
            _ => fs::remove_file(map)?,
        }
    }
    Ok(())
}

#[cfg(test)]
#[path = "entry_test.rs"]
mod tests;
