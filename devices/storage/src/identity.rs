//! What a disk file was when it was used, so that it can be told later whether it is the same still.
//!
//! Its size, inode number, time of modification and a hash of its first and last 64 KiB stand for its content:
//! whatever writes to a disk, replaces or rebuilds it changes one of them. The time of its last status change differs
//! after a chmod or a new hard link, too, and the device number after a restart of the computer: both are kept, and
//! neither is a change. A block device's inode is not the disk's: only its size and its ends count.
//!
//! Left out: a hash of everything, which would make each start as slow as reading the disk.

use crate::open::{Opened, open};
use crate::source::Part;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::fmt::{self, Write as _};
use std::fs::File;
use std::io::{self, Seek as _, SeekFrom};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::os::unix::fs::{FileExt as _, FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

/// How much of a file's start and end is hashed.
const END: u64 = 64 << 10;

/// Every file that a disk is made of, as it was.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Identity {
    files: Vec<FileIdentity>,
}

#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct FileIdentity {
    path: Name,
    size: u64,
    device: u64,
    inode: u64,
    modified: Time,
    status_changed: Time,
    block_device: bool,
    /// SHA-256 of the first and of the last 64 KiB, in hexadecimal digits.
    head: String,
    tail: String,
}

/// Seconds and nanoseconds since 1970.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
struct Time(i64, i64);

/// A path; one that is not UTF-8 is kept byte by byte.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum Name {
    Text(String),
    Bytes(Vec<u8>),
}

/// What is different about a disk's files.
#[derive(Debug, thiserror::Error)]
pub struct Changed {
    /// The one that was named; others are files that it stands on.
    disk: PathBuf,
    files: Vec<(PathBuf, String)>,
}

impl fmt::Display for Changed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (path, what)) in self.files.iter().enumerate() {
            let comma = if at == 0 { "" } else { "; " };
            write!(f, "{comma}{} was changed since: {what}", path.display())?;
        }
        Ok(())
    }
}

impl Changed {
    /// What the user of the volume can do.
    #[must_use]
    pub fn way_out(&self, volume: &str) -> String {
        let disk = self.disk.display();
        if self.disk.exists() {
            return format!(
                "put the old file back, or, if you know that its bytes are the same, \
                 `ami-run volume rebase {volume} {disk}`"
            );
        }
        format!("put the file back, or say where it is now: `ami-run volume rebase {volume} DISKFILE`")
    }
}

impl Identity {
    /// That of files that are open.
    pub(crate) fn of(parts: &[Part]) -> io::Result<Identity> {
        let files = parts.iter().map(|part| FileIdentity::of(&part.path, &part.file));
        Ok(Identity { files: files.collect::<io::Result<_>>()? })
    }

    /// The files, the one that was named first.
    pub fn paths(&self) -> impl Iterator<Item = PathBuf> {
        self.files.iter().map(|file| file.path.path())
    }

    /// Compares the files with what they are now.
    pub fn check(&self) -> Result<(), Changed> {
        let change = |file: &FileIdentity| Some((file.path.path(), file.change()?));
        let files: Vec<_> = self.files.iter().filter_map(change).collect();
        if files.is_empty() {
            return Ok(());
        }
        Err(Changed { disk: self.paths().next().unwrap_or_default(), files })
    }

    /// True while nothing at all has happened to the files, as far as it can be seen without reading them.
    pub(crate) fn is_untouched(&self) -> bool {
        let untouched = |file: &FileIdentity| {
            file.block_device
                || std::fs::metadata(file.path.path()).is_ok_and(|now| {
                    let inode = (now.size(), now.ino(), now.dev());
                    inode == (file.size, file.inode, file.device)
                        && (Time::modified(&now), Time::status_changed(&now))
                            == (file.modified, file.status_changed)
                })
        };
        self.files.iter().all(untouched)
    }

    /// Names this content, with all that is known: a chmod makes another name of it, and no two contents have the
    /// same. `salt`: how the content is read.
    pub(crate) fn key(&self, salt: &str) -> String {
        let mut hash = Sha256::new();
        hash.update(salt);
        for file in &self.files {
            let FileIdentity { path, size, device: _, inode, modified, status_changed, .. } = file;
            hash.update(path.path().as_os_str().as_bytes());
            for number in [*size, *inode] {
                hash.update(number.to_le_bytes());
            }
            for Time(seconds, nanoseconds) in [*modified, *status_changed] {
                hash.update(seconds.to_le_bytes());
                hash.update(nanoseconds.to_le_bytes());
            }
            hash.update(&file.head);
            hash.update(&file.tail);
        }
        digits(&hash.finalize())
    }
}

impl FileIdentity {
    fn of(path: &Path, mut file: &File) -> io::Result<FileIdentity> {
        let about = file.metadata()?;
        let block_device = about.file_type().is_block_device();
        let size = if block_device { file.seek(SeekFrom::End(0))? } else { about.size() };
        Ok(FileIdentity {
            path: Name::of(path),
            size,
            device: if block_device { about.rdev() } else { about.dev() },
            inode: about.ino(),
            modified: Time::modified(&about),
            status_changed: Time::status_changed(&about),
            block_device,
            head: hash_at(file, 0)?,
            tail: hash_at(file, size.saturating_sub(END))?,
        })
    }

    /// What is different now, in words.
    fn change(&self) -> Option<String> {
        let path = self.path.path();
        let now = match open(&path) {
            Ok(Opened::Data(file)) => match FileIdentity::of(&path, &file) {
                Ok(now) => now,
                Err(cause) => return Some(format!("it cannot be read now ({cause})")),
            },
            Ok(Opened::Other(what)) => return Some(format!("it is {what} now")),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Some("it is gone".to_owned()),
            Err(cause) => return Some(format!("it cannot be read now ({cause})")),
        };
        let mut words = String::new();
        let mut add = |differs: bool, what: String| {
            if differs {
                let comma = if words.is_empty() { "" } else { ", " };
                // Writing to a String cannot fail.
                write!(words, "{comma}{what}").unwrap_or_default();
            }
        };
        add(now.size != self.size, format!("its size was {} bytes and is {}", self.size, now.size));
        add(now.block_device != self.block_device, "it was and is not the same kind of file".to_owned());
        if !self.block_device {
            add(now.inode != self.inode, "another file has its name (the inode number differs)".to_owned());
            add(
                now.modified != self.modified,
                "it was written to (the time of modification differs)".to_owned(),
            );
        }
        add(now.head != self.head, "its first 64 KiB are different".to_owned());
        add(now.tail != self.tail, "its last 64 KiB are different".to_owned());
        (!words.is_empty()).then_some(words)
    }
}

impl Time {
    fn modified(about: &std::fs::Metadata) -> Time {
        Time(about.mtime(), about.mtime_nsec())
    }

    fn status_changed(about: &std::fs::Metadata) -> Time {
        Time(about.ctime(), about.ctime_nsec())
    }
}

impl Name {
    fn of(path: &Path) -> Name {
        match path.to_str() {
            Some(text) => Name::Text(text.to_owned()),
            None => Name::Bytes(path.as_os_str().as_bytes().to_vec()),
        }
    }

    fn path(&self) -> PathBuf {
        match self {
            Name::Text(text) => PathBuf::from(text),
            Name::Bytes(bytes) => PathBuf::from(std::ffi::OsString::from_vec(bytes.clone())),
        }
    }
}

/// The hash of up to 64 KiB from `offset` on.
fn hash_at(file: &File, offset: u64) -> io::Result<String> {
    let mut bytes = vec![0; usize::try_from(END).unwrap_or_default()];
    let mut held = 0;
    while let Some(rest) = bytes.get_mut(held..).filter(|rest| !rest.is_empty()) {
        match file.read_at(rest, offset.saturating_add(u64::try_from(held).unwrap_or_default())) {
            Ok(0) => break,
            Ok(count) => held = held.saturating_add(count),
            Err(cause) if cause.kind() == io::ErrorKind::Interrupted => {}
            Err(cause) => return Err(cause),
        }
    }
    Ok(digits(&Sha256::digest(bytes.get(..held).unwrap_or_default())))
}

pub(crate) fn digits(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

#[cfg(test)]
#[path = "identity_test.rs"]
mod tests;
