//! Locks among processes: single bytes of a file, locked by an open file description (fcntl(2), F_OFD_SETLK). They
//! vanish with the last descriptor, however its process ends. Two descriptions of one process exclude each other, too.

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use std::fs::File;
use std::io;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lock {
    Shared,
    Exclusive,
    /// None at all.
    Open,
}

/// Changes this description's lock on the byte at `offset`, which need not exist. False: another's is in the way,
/// and nothing has changed.
pub(super) fn lock(file: &File, offset: u64, lock: Lock) -> io::Result<bool> {
    let kind = match lock {
        Lock::Shared => libc::F_RDLCK,
        Lock::Exclusive => libc::F_WRLCK,
        Lock::Open => libc::F_UNLCK,
    };
    let what = libc::flock {
        l_type: i16::try_from(kind).map_err(io::Error::other)?,
        l_whence: i16::try_from(libc::SEEK_SET).map_err(io::Error::other)?,
        l_start: i64::try_from(offset).map_err(io::Error::other)?,
        l_len: 1,
        l_pid: 0,
    };
    loop {
        return match fcntl(file, FcntlArg::F_OFD_SETLK(&what)) {
            Ok(_) => Ok(true),
            Err(Errno::EACCES | Errno::EAGAIN) => Ok(false),
            Err(Errno::EINTR) => continue,
            Err(cause) => Err(cause.into()),
        };
    }
}
