//! A Unix socket with a name, for this user alone: made, and removed when it is no longer served. What a dead server
//! has left is replaced, a living one's is not touched.

use crate::exit::Code;
use crate::failure::Failure;
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};
use std::io::{self, ErrorKind};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// unix(7): sun_path has 108 bytes, and the last one is a zero.
const MAX_PATH: usize = 107;

/// The socket's file. It goes when this goes.
#[derive(Debug)]
pub(crate) struct Bound {
    path: PathBuf,
    /// Device and inode, so that nobody else's file of this name is removed.
    file: Option<(u64, u64)>,
}

/// Listens at `path`, with mode 0600. To be called while there are no other threads, which a umask is shared with.
pub(crate) fn listen(path: &Path) -> Result<(UnixListener, Bound), Failure> {
    let refuse = |code, why: String| Failure::new(code, format!("--socket {}: {why}", path.display()));
    let len = path.as_os_str().len();
    if len > MAX_PATH {
        let why = format!("the path has {len} bytes, and a socket's has {MAX_PATH} at most");
        return Err(refuse(Code::CommandLine, why)
            .hint("choose a shorter one, or a relative one: clients have the same limit"));
    }
    let cannot =
        |cause: &io::Error| refuse(Code::Host, "the socket cannot be made".to_owned()).because(cause);
    let listener = match bind(path) {
        Err(cause) if cause.kind() == ErrorKind::AddrInUse => {
            match is_alive(path) {
                Ok(true) => {
                    let why = "another program is serving there".to_owned();
                    return Err(refuse(Code::Host, why).hint("end it first, or choose another path"));
                }
                Ok(false) => {}
                Err(cause) if cause.kind() == ErrorKind::AlreadyExists => {
                    let why = "there is a file of this name, and it is no socket".to_owned();
                    return Err(refuse(Code::CommandLine, why).hint("choose another path, or remove it"));
                }
                Err(cause) => return Err(cannot(&cause)),
            }
            std::fs::remove_file(path).and_then(|()| bind(path))
        }
        other => other,
    }
    .map_err(|cause| cannot(&cause))?;
    let file = path.symlink_metadata().ok().map(|there| (there.dev(), there.ino()));
    Ok((listener, Bound { path: path.to_owned(), file }))
}

fn bind(path: &Path) -> io::Result<UnixListener> {
    // Before it can be seen: a chmod behind it would leave a moment for others.
    let before = rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    rustix::process::umask(before);
    listener
}

/// Whether somebody listens there. Never waits, as connecting to a server that takes nobody would.
fn is_alive(path: &Path) -> io::Result<bool> {
    if !path.symlink_metadata()?.file_type().is_socket() {
        return Err(ErrorKind::AlreadyExists.into());
    }
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    match connect(&socket, &SocketAddrUnix::new(path)?) {
        Ok(()) | Err(rustix::io::Errno::AGAIN) => Ok(true),
        Err(rustix::io::Errno::CONNREFUSED) => Ok(false),
        Err(cause) => Err(cause.into()),
    }
}

impl Bound {
    /// As NBD's clients are to be told.
    pub(crate) fn uri(&self) -> String {
        let path = std::path::absolute(&self.path).unwrap_or_else(|_| self.path.clone());
        let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-_.~".contains(byte);
        let spell =
            |byte: &u8| if plain(byte) { char::from(*byte).to_string() } else { format!("%{byte:02X}") };
        let path: String = path.as_os_str().as_bytes().iter().map(spell).collect();
        format!("nbd+unix:///?socket={path}")
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        let there = self.path.symlink_metadata().ok().map(|there| (there.dev(), there.ino()));
        if there.is_some() && there == self.file {
            // If it cannot be removed, the next server replaces it.
            std::fs::remove_file(&self.path).unwrap_or_default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_spelt_as_uris_are() {
        let bound = |path: &str| Bound { path: PathBuf::from(path), file: None }.uri();
        assert_eq!(bound("/run/a b%&/ä.sock"), "nbd+unix:///?socket=/run/a%20b%25%26/%C3%A4.sock");
        assert!(bound("x").starts_with("nbd+unix:///?socket=/"));
    }
}
