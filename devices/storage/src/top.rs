//! A volume's top: the file that holds what was written, each granule at its own place.

use crate::StorageError;
use parking_lot::Mutex;
use rustix::fs::{FallocateFlags, fallocate};
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

#[derive(Debug)]
pub(crate) struct Top {
    file: File,
    /// Counts finished changes, so that a flush knows whether there is anything to flush.
    changes: AtomicU64,
    /// The count of changes that the last sync covered. Locked while one runs: whoever asks meanwhile waits, and
    /// is then covered by it or runs the next.
    synced: Mutex<u64>,
    failed: AtomicBool,
}

impl Top {
    /// An empty, sparse top in a file without a name.
    pub(crate) fn temporary(folder: &Path, size: u64) -> Result<Top, StorageError> {
        let fail = |source| StorageError::Top { folder: folder.to_owned(), size, source };
        let file = tempfile::tempfile_in(folder).map_err(fail)?;
        file.set_len(size).map_err(fail)?;
        Ok(Top { file, changes: AtomicU64::new(0), synced: Mutex::new(0), failed: AtomicBool::new(false) })
    }

    pub(crate) fn file(&self) -> &File {
        &self.file
    }

    /// Notes a finished change. Called before its request is answered, so that a later flush covers it.
    pub(crate) fn changed(&self) {
        self.changes.fetch_add(1, Ordering::Release);
    }

    /// True once a sync has failed: what the file holds is then unknown for good.
    pub(crate) fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Returns when every change that was noted before the call is on stable storage.
    pub(crate) fn flush(&self) -> io::Result<()> {
        self.flush_by(File::sync_data)
    }

    fn flush_by(&self, sync: impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
        let mut synced = self.synced.lock();
        if self.has_failed() {
            return Err(io::Error::other("an earlier flush of this volume failed"));
        }
        let changes = self.changes.load(Ordering::Acquire);
        if changes == *synced {
            return Ok(());
        }
        // The kernel reports a lost page once and then forgets it: a second try would claim success.
        sync(&self.file).inspect_err(|_| self.failed.store(true, Ordering::Release))?;
        *synced = changes;
        Ok(())
    }

    /// Gives a range's space back to the host. A file system that cannot merely keeps it.
    pub(crate) fn punch(&self, offset: u64, len: u64) {
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        if let Err(cause) = fallocate(&self.file, flags, offset, len) {
            log::debug!("discarded space stays allocated: {cause}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Top;
    use std::cell::Cell;
    use std::io;

    #[test]
    fn a_flush_syncs_only_when_something_changed() {
        let top = Top::temporary(&std::env::temp_dir(), 4096).unwrap();
        let syncs = Cell::new(0);
        let count = || {
            let counted = |_: &_| {
                syncs.set(syncs.get() + 1);
                Ok(())
            };
            top.flush_by(counted).unwrap();
            syncs.get()
        };
        assert_eq!(count(), 0);
        top.changed();
        assert_eq!(count(), 1);
        assert_eq!(count(), 1);
        top.changed();
        assert_eq!(count(), 2);
    }

    #[test]
    fn a_failed_sync_fails_every_later_flush() {
        let top = Top::temporary(&std::env::temp_dir(), 4096).unwrap();
        top.changed();
        assert!(top.flush_by(|_| Err(io::Error::other("a bad sector"))).is_err());
        assert!(top.has_failed());
        assert!(top.flush().is_err(), "the disk is well again, but what it lost is unknown");
    }
}
