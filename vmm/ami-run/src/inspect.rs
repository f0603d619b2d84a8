//! Looks into a disk file: what it would start, and what would keep it from starting.

use crate::disks::unusable;
use crate::failure::Failure;
use ami_run_inspect::{Contents, Depth};
use ami_run_storage::{Base, StorageError};
use std::path::Path;

/// What a volume on this disk file holds. None of `volume_bytes`: the volume is as large as the file.
pub(crate) fn look(file: &Path, volume_bytes: Option<u64>, depth: Depth) -> Result<Contents, Failure> {
    let refuse = |cause| unusable(&file.display().to_string(), &cause);
    let base = Base::open(file).map_err(refuse)?;
    let size = base.size();
    ami_run_inspect::look(&mut base.reader(), volume_bytes.unwrap_or(size).max(size), depth)
        .map_err(|source| refuse(StorageError::Read { path: file.to_owned(), source }))
}
