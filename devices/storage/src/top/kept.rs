//! A kept top's file on the host: found by a path, used by one process at a time.

use super::file;
use super::store::Store;
use crate::open::let_wait;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, linkat, openat};
use rustix::io::Errno;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a process that was killed may hold a file: the kernel takes its io_uring apart in its own time.
const LEAVING: Duration = Duration::from_secs(1);
const AGAIN: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct KeptFile {
    pub(crate) file: File,
    path: PathBuf,
}

/// Why a file cannot be had.
#[derive(Debug)]
pub(crate) enum Refused {
    /// Another process has it.
    Busy,
    Io(io::Error),
}

impl From<io::Error> for Refused {
    fn from(cause: io::Error) -> Refused {
        Refused::Io(cause)
    }
}

impl KeptFile {
    /// A file that has no name before it is [published](Store::publish): whatever happens, nothing half-made is left.
    pub(crate) fn new(path: &Path) -> io::Result<KeptFile> {
        let flags = OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC;
        let file = File::from(openat(CWD, folder(path), flags, Mode::RUSR | Mode::WUSR)?);
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(KeptFile { file, path: path.to_owned() })
    }

    /// Opens what is there and holds it: alone, or with others who only read.
    pub(crate) fn open(path: &Path, read_only: bool) -> Result<KeptFile, Refused> {
        // O_NONBLOCK: should it be a FIFO, nobody waits for it.
        let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
        let file = OpenOptions::new().read(true).write(!read_only).custom_flags(flags).open(path)?;
        let_wait(&file)?;
        let kind = if read_only {
            FlockOperation::NonBlockingLockShared
        } else {
            FlockOperation::NonBlockingLockExclusive
        };
        let asked = Instant::now();
        loop {
            match flock(&file, kind) {
                Ok(()) => return Ok(KeptFile { file, path: path.to_owned() }),
                Err(Errno::WOULDBLOCK) if asked.elapsed() < LEAVING => std::thread::sleep(AGAIN),
                Err(Errno::WOULDBLOCK) => return Err(Refused::Busy),
                Err(cause) => return Err(Refused::Io(cause.into())),
            }
        }
    }
}

/// Also where a copy of the descriptor lives on for a moment, as in a process that is being started.
impl Drop for KeptFile {
    fn drop(&mut self) {
        // It is let go at the latest when the last descriptor is.
        flock(&self.file, FlockOperation::Unlock).unwrap_or_default();
    }
}

fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

impl Store for KeptFile {
    fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(bytes, offset)
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    fn set_size(&self, size: u64) -> io::Result<()> {
        file::set_size(&self.file, size)
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn publish(&self) -> io::Result<()> {
        let held = format!("/proc/self/fd/{}", self.file.as_raw_fd());
        Ok(linkat(CWD, held, CWD, &self.path, AtFlags::SYMLINK_FOLLOW)?)
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(folder(&self.path))?.sync_all()
    }
}
