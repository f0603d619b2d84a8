//! Locks among processes, on single bytes of a file, that belong to an open file description (fcntl(2),
//! F_OFD_SETLK): they go with its last descriptor, however its processes end, and a descriptor that is handed on
//! carries them along. Two descriptions of one process exclude each other, too.
//!
//! An instance's lock is two of them. Who holds the first may write the record. Who holds the second besides is what
//! the record speaks of when it says that the instance is alive: a command that looks after a dead one for a moment
//! holds the first and not the second.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

const WRITER: i64 = 0;
const ALIVE: i64 = 1;
/// Between two looks at a lock that another command has for a moment.
const AGAIN: Duration = Duration::from_millis(5);

#[derive(Debug)]
pub(crate) struct Lock(File);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Shared,
    Exclusive,
}

impl Lock {
    /// Takes the lock of this file, which is made if it is not there. None: another has it.
    pub(crate) fn attempt(path: &Path, kind: Kind) -> io::Result<Option<Lock>> {
        Lock::of(open(path, true)?, path, kind)
    }

    /// The same, of a file that is there.
    pub(crate) fn attempt_existing(path: &Path) -> io::Result<Option<Lock>> {
        Lock::of(open(path, false)?, path, Kind::Exclusive)
    }

    /// The same as the first, for who waits for others that have it for a moment.
    pub(crate) fn wait(path: &Path, kind: Kind, limit: Duration) -> io::Result<Option<Lock>> {
        wait(limit, || Lock::attempt(path, kind), || false)
    }

    /// The same as the second, for as long as it is not `hopeless`.
    pub(crate) fn wait_existing(
        path: &Path,
        limit: Duration,
        hopeless: impl Fn() -> bool,
    ) -> io::Result<Option<Lock>> {
        wait(limit, || Lock::attempt_existing(path), hopeless)
    }

    fn of(file: File, path: &Path, kind: Kind) -> io::Result<Option<Lock>> {
        let kind = match kind {
            Kind::Shared => libc::F_RDLCK,
            Kind::Exclusive => libc::F_WRLCK,
        };
        if !set(&file, WRITER, kind)? {
            return Ok(None);
        }
        // Its folder may have been removed meanwhile, and the lock of a file without a name keeps nobody out.
        let (held, named) = (file.metadata()?, path.symlink_metadata()?);
        if (held.dev(), held.ino()) == (named.dev(), named.ino()) {
            Ok(Some(Lock(file)))
        } else {
            Err(io::ErrorKind::NotFound.into())
        }
    }

    /// The lock of this file that a process was started with. None: it is not this file's, or nobody holds it.
    pub(crate) fn adopt(path: &Path, descriptor: OwnedFd) -> io::Result<Option<Lock>> {
        let (file, named) = (File::from(descriptor), path.symlink_metadata()?);
        let held = file.metadata()?;
        // Another description sees it held, and this one may take what it has.
        if (held.dev(), held.ino()) != (named.dev(), named.ino())
            || !is_held(&File::open(path)?, WRITER)?
            || !set(&file, WRITER, libc::F_WRLCK)?
        {
            return Ok(None);
        }
        rustix::io::fcntl_setfd(&file, rustix::io::FdFlags::CLOEXEC)?;
        Ok(Some(Lock(file)))
    }

    /// Takes the second for as long as this is held: what the record says of a machine is said of a process that is
    /// there.
    pub(crate) fn come_alive(&self) -> io::Result<()> {
        // Nobody else has it who has not the first.
        if set(&self.0, ALIVE, libc::F_WRLCK)? { Ok(()) } else { Err(io::ErrorKind::WouldBlock.into()) }
    }

    pub(crate) fn into_descriptor(self) -> OwnedFd {
        self.0.into()
    }
}

/// Whether somebody holds the second lock of this file.
pub(crate) fn is_alive(path: &Path) -> io::Result<bool> {
    is_held(&File::open(path)?, ALIVE)
}

fn wait(
    limit: Duration,
    mut attempt: impl FnMut() -> io::Result<Option<Lock>>,
    hopeless: impl Fn() -> bool,
) -> io::Result<Option<Lock>> {
    let begun = Instant::now();
    loop {
        match attempt()? {
            None if begun.elapsed() < limit && !hopeless() => std::thread::sleep(AGAIN),
            ended => return Ok(ended),
        }
    }
}

fn open(path: &Path, make: bool) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).create(make).truncate(false).mode(0o600).open(path)
}

fn what(offset: i64, kind: i32) -> io::Result<libc::flock> {
    Ok(libc::flock {
        l_type: i16::try_from(kind).map_err(io::Error::other)?,
        l_whence: i16::try_from(libc::SEEK_SET).map_err(io::Error::other)?,
        l_start: offset,
        l_len: 1,
        l_pid: 0,
    })
}

/// False: another's is in the way, and nothing has changed.
fn set(file: &File, offset: i64, kind: i32) -> io::Result<bool> {
    let what = what(offset, kind)?;
    loop {
        return match fcntl(file, FcntlArg::F_OFD_SETLK(&what)) {
            Ok(_) => Ok(true),
            Err(Errno::EACCES | Errno::EAGAIN) => Ok(false),
            Err(Errno::EINTR) => continue,
            Err(cause) => Err(cause.into()),
        };
    }
}

/// By another description than this.
fn is_held(file: &File, offset: i64) -> io::Result<bool> {
    let mut what = what(offset, libc::F_WRLCK)?;
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut what))?;
    Ok(i32::from(what.l_type) != libc::F_UNLCK)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lock_of_a_file_that_lost_its_name_keeps_nobody_out_and_is_none() {
        let folder = crate::testing::folder();
        let path = folder.path().join("lock");
        let file = open(&path, true).unwrap();
        std::fs::remove_file(&path).unwrap();
        let gone = Lock::of(file.try_clone().unwrap(), &path, Kind::Exclusive).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        let _other = Lock::attempt(&path, Kind::Exclusive).unwrap().unwrap();
        let gone = Lock::of(file, &path, Kind::Exclusive).unwrap_err();
        assert_eq!(gone.kind(), io::ErrorKind::NotFound);
        assert!(Lock::attempt_existing(&path).unwrap().is_none());
    }

    #[test]
    fn makers_share_and_who_clears_up_is_alone() {
        let folder = crate::testing::folder();
        let path = folder.path().join("lock");
        let one = Lock::attempt(&path, Kind::Shared).unwrap().unwrap();
        let other = Lock::attempt(&path, Kind::Shared).unwrap().unwrap();
        drop(one);
        assert!(Lock::attempt(&path, Kind::Exclusive).unwrap().is_none());
        drop(other);
        let _alone = Lock::attempt(&path, Kind::Exclusive).unwrap().unwrap();
        assert!(Lock::attempt(&path, Kind::Shared).unwrap().is_none());
    }
}
