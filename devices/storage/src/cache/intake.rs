//! Disk files that can only be read from start to end: taken in whole when they are used first, and kept.
//!
//! Who takes one in holds a lock on that; others wait, and see how far it is. Nothing counts before the whole disk is on
//! stable storage: what is left of one that was killed is emptied by the next who takes it in, or removed by the next
//! who makes room for anything in the folder.

use super::entry::{CacheFolder, Entry};
use super::lock::Lock;
use crate::StorageError;
use crate::identity::Identity;
use crate::source::{Piece, StreamError};
use rustix::fs::fstatvfs;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

/// How often somebody else's progress is looked at.
const GLANCE: Duration = Duration::from_millis(20);
/// How much is written between two syncs, so that the last one is short, and lost writes are told early.
const UNSYNCED: u64 = 128 << 20;

/// How far the taking in of a disk file is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Progress {
    /// In bytes of the disk file; both are 0 while nobody knows.
    pub read: u64,
    pub of: u64,
    /// Another process does it.
    pub elsewhere: bool,
}

/// A disk that was taken in: the file to read it from, and what keeps others from removing it.
#[derive(Debug)]
pub(crate) struct Taken {
    entry: Entry,
    size: u64,
    identity: Identity,
}

impl Taken {
    pub(crate) fn file(&self) -> &File {
        &self.entry.data
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.identity
    }
}

/// Decodes a disk into a sink, from start to end, and gives its size.
pub(crate) type Decode<'a> =
    dyn Fn(&mut dyn FnMut(Piece<'_>) -> io::Result<()>) -> Result<u64, StreamError> + 'a;

/// Takes a disk in, unless that was done before, or waits until another process has done it.
pub(crate) fn take_in(
    folder: &CacheFolder,
    path: &Path,
    identity: Identity,
    decode: &Decode<'_>,
    progress: &mut dyn FnMut(Progress),
) -> Result<Taken, StorageError> {
    let failed = |cause| folder.failed(cause);
    let entry = Entry::open(folder, &identity, 0).map_err(failed)?;
    let size = loop {
        if let Some(head) = entry.sidecar.head().map_err(failed)? {
            break head.size;
        }
        if !entry.sidecar.lock_intake(Lock::Exclusive).map_err(failed)? {
            let (read, of) = entry.sidecar.progress().map_err(failed)?;
            progress(Progress { read, of, elsewhere: true });
            sleep(GLANCE);
            continue;
        }
        // It may have been done since this process looked.
        if entry.sidecar.head().map_err(failed)?.is_none() {
            let intake = Intake { folder, path, entry: &entry, written: 0, unsynced: 0 };
            intake.run(decode, progress)?;
        }
        entry.sidecar.lock_intake(Lock::Open).map_err(failed)?;
    };
    Ok(Taken { entry, size, identity })
}

struct Intake<'a> {
    folder: &'a CacheFolder,
    path: &'a Path,
    entry: &'a Entry,
    written: u64,
    unsynced: u64,
}

impl Intake<'_> {
    fn run(mut self, decode: &Decode<'_>, progress: &mut dyn FnMut(Progress)) -> Result<(), StorageError> {
        let begun = self.entry.begin(0).map_err(StreamError::Sink);
        let decoded = begun.and_then(|()| decode(&mut |piece| self.take(&piece, progress)));
        let done = decoded.and_then(|size| self.finish(size).map_err(StreamError::Sink));
        done.map_err(|cause| {
            // It is of no use, and may be large. Should even this fail, the next who takes it in empties it.
            self.entry.data.set_len(0).unwrap_or_default();
            match cause {
                StreamError::Source(cause) => cause,
                StreamError::Sink(cause) => self.failed(cause),
            }
        })
    }

    fn take(&mut self, piece: &Piece<'_>, progress: &mut dyn FnMut(Progress)) -> io::Result<()> {
        let len = u64::try_from(piece.bytes.len()).map_err(io::Error::other)?;
        self.entry.data.write_all_at(piece.bytes, piece.offset)?;
        self.written = self.written.saturating_add(len);
        self.unsynced = self.unsynced.saturating_add(len);
        if self.unsynced >= UNSYNCED {
            self.entry.data.sync_data()?;
            self.unsynced = 0;
        }
        self.entry.sidecar.set_progress(piece.read, piece.of)?;
        progress(Progress { read: piece.read, of: piece.of, elsewhere: false });
        Ok(())
    }

    /// From here on it counts.
    fn finish(&self, size: u64) -> io::Result<()> {
        self.entry.data.set_len(size)?;
        self.entry.finish(size)
    }

    fn failed(&self, cause: io::Error) -> StorageError {
        match cause.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StorageError::CacheFull {
                path: self.path.to_owned(),
                folder: self.folder.path().to_owned(),
                taken: self.written,
                free: fstatvfs(&self.entry.data)
                    .map_or(0, |about| about.f_bavail.saturating_mul(about.f_frsize)),
            },
            _ => self.folder.failed(cause),
        }
    }
}

#[cfg(test)]
#[path = "intake_test.rs"]
mod tests;
