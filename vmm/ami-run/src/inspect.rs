//! Looks into a disk file or a volume: what it would start, and what would keep it from starting.

use crate::bases::Bases;
use crate::disks::unusable;
use crate::failure::Failure;
use ami_run_inspect::{Contents, Depth};
use ami_run_storage::{Base, StorageError, Volume};
use std::io;
use std::path::{Path, PathBuf};

/// What is looked into.
#[derive(Debug)]
pub(crate) enum Disk {
    File(Base),
    Volume(PathBuf, Volume),
}

/// Opens a disk file to look into it.
pub(crate) fn open(bases: &mut Bases, file: &Path) -> Result<Disk, Failure> {
    bases.open(file).map(Disk::File).map_err(|cause| unusable(&file.display().to_string(), &cause))
}

/// Opens a volume to look into it. Others may do the same meanwhile, but not write.
pub(crate) fn open_volume(bases: &mut Bases, file: &Path) -> Result<Disk, Failure> {
    let volume = Volume::open(file, true, |base| bases.open(base));
    volume
        .map(|volume| Disk::Volume(file.to_owned(), volume))
        .map_err(|cause| unusable(&file.display().to_string(), &cause))
}

impl Disk {
    /// In bytes.
    pub(crate) fn size(&self) -> u64 {
        match self {
            Disk::File(base) => base.size(),
            Disk::Volume(_, volume) => volume.size(),
        }
    }

    fn path(&self) -> &Path {
        match self {
            Disk::File(base) => base.path(),
            Disk::Volume(path, _) => path,
        }
    }

    fn contents(&self, volume_bytes: u64, depth: Depth) -> io::Result<Contents> {
        match self {
            Disk::File(base) => ami_run_inspect::look(&mut base.reader(), volume_bytes, depth),
            Disk::Volume(_, volume) => ami_run_inspect::look(&mut volume.reader()?, volume_bytes, depth),
        }
    }
}

/// The user that cloud-init makes of the system on a disk.
pub(crate) fn login_user(disk: &Disk) -> Result<Option<String>, Failure> {
    let found = match disk {
        Disk::File(base) => ami_run_inspect::login_user(&mut base.reader(), base.size()),
        Disk::Volume(_, volume) => {
            volume.reader().and_then(|mut reader| ami_run_inspect::login_user(&mut reader, volume.size()))
        }
    };
    found.map_err(|source| {
        let path = disk.path().to_owned();
        unusable(&path.display().to_string(), &StorageError::Read { path, source })
    })
}

/// What a volume on this disk file holds, or the volume that it is. None of `volume_bytes`: as large as the disk.
pub(crate) fn look(disk: &Disk, volume_bytes: Option<u64>, depth: Depth) -> Result<Contents, Failure> {
    let size = disk.size();
    disk.contents(volume_bytes.unwrap_or(size).max(size), depth).map_err(|source| {
        let path = disk.path().to_owned();
        unusable(&path.display().to_string(), &StorageError::Read { path, source })
    })
}
