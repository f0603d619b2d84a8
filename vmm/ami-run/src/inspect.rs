//! Looks into a disk file: what it would start, and what would keep it from starting.

use crate::disks::unusable;
use crate::exit::Code;
use crate::failure::Failure;
use ami_run_inspect::{Contents, Depth};
use ami_run_storage::{Opened, StorageError, disk_size, open};
use std::path::Path;

/// What a volume on this disk file holds. None of `volume_bytes`: the volume is as large as the file.
pub(crate) fn look(file: &Path, volume_bytes: Option<u64>, depth: Depth) -> Result<Contents, Failure> {
    let name = || file.display().to_string();
    // It also refuses what is no raw disk, in words.
    let size = disk_size(file).map_err(|cause| unusable(&name(), &cause))?;
    let read = |source| unusable(&name(), &StorageError::Read { path: file.to_owned(), source });
    match open(file).map_err(read)? {
        Opened::Data(mut data) => {
            ami_run_inspect::look(&mut data, volume_bytes.unwrap_or(size).max(size), depth).map_err(read)
        }
        // It was a disk a moment ago.
        Opened::Other(what) => Err(Failure::new(Code::Refused, format!("{} is {what} now", name()))),
    }
}
