//! Opening what somebody named as a file, by what it is: a regular file or a block device holds data at offsets,
//! and nothing else does.

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use std::fs::{self, File, FileType, OpenOptions};
use std::io;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

/// What a path leads to.
#[derive(Debug)]
pub enum Opened {
    /// A regular file or a block device, open for reading.
    Data(File),
    /// Something else, and what to call it; it was not opened.
    Other(&'static str),
}

/// Opens a file to read, and never waits for one: a FIFO's writer may never come.
pub fn open(path: &Path) -> io::Result<Opened> {
    // Before it is opened: a socket cannot be, and to open a device may set something off.
    if let Some(what) = not_data(fs::metadata(path)?.file_type()) {
        return Ok(Opened::Other(what));
    }
    // O_NONBLOCK: should a FIFO have this name by now, reading it ends at once.
    let file = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)?;
    let_wait(&file)?;
    Ok(Opened::Data(file))
}

/// Takes O_NONBLOCK off again. io_uring gives EAGAIN for ever on a file that has it where the device below cannot tell
/// whether it would wait: the device mapper's encryption, for one.
pub(crate) fn let_wait(file: &File) -> io::Result<()> {
    let flags = fcntl_getfl(file)?;
    Ok(fcntl_setfl(file, flags.difference(OFlags::NONBLOCK))?)
}

fn not_data(kind: FileType) -> Option<&'static str> {
    if kind.is_file() || kind.is_block_device() {
        None
    } else if kind.is_dir() {
        Some("a directory")
    } else if kind.is_fifo() {
        Some("a named pipe")
    } else if kind.is_socket() {
        Some("a socket")
    } else {
        Some("a character device")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixListener;

    #[test]
    fn only_files_and_block_devices_hold_data() {
        let folder = tempfile::tempdir().unwrap();
        let [file, socket] = ["file", "socket"].map(|name| folder.path().join(name));
        fs::write(&file, "x").unwrap();
        let _listener = UnixListener::bind(&socket).unwrap();
        let Opened::Data(data) = open(&file).unwrap() else { panic!("it is a file") };
        assert!(!fcntl_getfl(data).unwrap().contains(OFlags::NONBLOCK));
        let what = |path: &Path| match open(path).unwrap() {
            Opened::Data(_) => "data",
            Opened::Other(what) => what,
        };
        assert_eq!(what(folder.path()), "a directory");
        assert_eq!(what(&socket), "a socket");
        assert_eq!(what(Path::new("/dev/null")), "a character device");
        assert_eq!(open(&folder.path().join("none")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
