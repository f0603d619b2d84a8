//! A kept top's file on the host: found by a path, used by one process at a time.

use super::file;
use super::store::Store;
use crate::open::let_wait;
use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, flock, linkat, openat};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
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
    /// The name that it has before it gets its own, where the file system has no files without names.
    passing: Option<PathBuf>,
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
        let kept = match openat(CWD, folder(path), flags, Mode::RUSR | Mode::WUSR) {
            Ok(file) => KeptFile { file: File::from(file), path: path.to_owned(), passing: None },
            // overlayfs before Linux 6.3, which is what containers have, and NFS.
            Err(Errno::OPNOTSUPP) => KeptFile::named(path)?,
            Err(cause) => return Err(cause.into()),
        };
        flock(&kept.file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(kept)
    }

    /// The same with a name that nobody looks for; it goes when this goes without having been published.
    fn named(path: &Path) -> io::Result<KeptFile> {
        let mut random = [0; 8];
        getrandom(&mut random, GetRandomFlags::empty())?;
        let passing = folder(path).join(format!(".new-{:016x}", u64::from_ne_bytes(random)));
        let file = OpenOptions::new().read(true).write(true).create_new(true).mode(0o600).open(&passing)?;
        Ok(KeptFile { file, path: path.to_owned(), passing: Some(passing) })
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
                Ok(()) => return Ok(KeptFile { file, path: path.to_owned(), passing: None }),
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
        if let Some(passing) = &self.passing {
            // Published or not, this name has had its time.
            std::fs::remove_file(passing).unwrap_or_default();
        }
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
        match &self.passing {
            None => {
                let held = format!("/proc/self/fd/{}", self.file.as_raw_fd());
                linkat(CWD, held, CWD, &self.path, AtFlags::SYMLINK_FOLLOW)?;
            }
            // A link, and not a rename, which would take the place of what is there.
            Some(passing) => {
                linkat(CWD, passing, CWD, &self.path, AtFlags::empty())?;
                std::fs::remove_file(passing)?;
            }
        }
        Ok(())
    }

    fn sync_folder(&self) -> io::Result<()> {
        File::open(folder(&self.path))?.sync_all()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = std::fs::read_dir(folder).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[test]
    fn where_every_file_has_a_name_a_volume_gets_its_own_when_it_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("vol");
        let kept = KeptFile::named(&path).unwrap();
        kept.write(0, b"x").unwrap();
        assert!(names(folder.path()).iter().all(|name| name.starts_with(".new-")));
        kept.publish().unwrap();
        assert_eq!(names(folder.path()), ["vol"]);
        // What is there is not replaced, and nothing half-made is left.
        let other = KeptFile::named(&path).unwrap();
        assert_eq!(other.publish().unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        drop((kept, other));
        assert_eq!(names(folder.path()), ["vol"]);
        assert_eq!(std::fs::read(path).unwrap(), b"x");
    }
}
