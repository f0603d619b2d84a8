//! Looks into a disk file: what it would start, and what would keep it from starting.

use crate::bases::Bases;
use crate::disks::unusable;
use crate::failure::Failure;
use ami_run_inspect::{Contents, Depth};
use ami_run_storage::{Base, StorageError};
use std::path::Path;

/// Opens a disk file to look into it.
pub(crate) fn open(bases: &mut Bases, file: &Path) -> Result<Base, Failure> {
    bases.open(file).map_err(|cause| unusable(&file.display().to_string(), &cause))
}

/// What a volume on this disk file holds. None of `volume_bytes`: the volume is as large as the disk.
pub(crate) fn look(base: &Base, volume_bytes: Option<u64>, depth: Depth) -> Result<Contents, Failure> {
    let size = base.size();
    ami_run_inspect::look(&mut base.reader(), volume_bytes.unwrap_or(size).max(size), depth).map_err(
        |source| {
            let path = base.path().to_owned();
            unusable(&path.display().to_string(), &StorageError::Read { path, source })
        },
    )
}
