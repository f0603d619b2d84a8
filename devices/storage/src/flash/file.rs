//! The file: made, read, written to and compacted.

use super::records::{Change, Found, Head, replay};
use super::syncer::Syncer;
use crate::top::kept::KeptFile;
use crate::top::store::Store as _;
use parking_lot::Mutex;
use rustix::rand::{GetRandomFlags, getrandom};
use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A log is compacted when it has this many bytes: some ten thousand writes of the guest.
const COMPACT: usize = 1 << 20;
/// And when that cannot be done, no more is taken than this.
const MOST: usize = 16 << 20;

/// Why a variable store cannot be used. It has not been touched then.
#[derive(Debug, thiserror::Error)]
pub enum FlashError {
    #[error("cannot {what} the UEFI variable store {}", path.display())]
    Io { what: &'static str, path: PathBuf, source: io::Error },
    #[error(
        "UEFI variable store {} has {has} bytes, and this firmware's has {needs}: give the firmware that it was made \
         for, or move it away to begin with the firmware's own",
        path.display()
    )]
    WrongSize { path: PathBuf, has: u64, needs: u64 },
    #[error(
        "UEFI variable store {} was changed by another program before the guest's last writes were put into it: \
         take that change back, or keep it by cutting the file to its first {size} bytes",
        path.display()
    )]
    Changed { path: PathBuf, size: u64 },
    #[error("UEFI variable store {} was written by a newer ami-run (log format {version}): use that one", path.display())]
    Newer { path: PathBuf, version: u32 },
}

/// A file in use. Only one may be, of one name.
#[derive(Debug)]
pub struct FlashFile {
    path: PathBuf,
    size: usize,
    state: Mutex<State>,
    syncer: Syncer,
}

#[derive(Debug)]
struct State {
    file: Arc<File>,
    log: Option<Log>,
    /// At which length the log is compacted next.
    compact: usize,
    /// How the file's end came to be unknown; nothing can be added behind it.
    broken: Option<io::ErrorKind>,
}

#[derive(Clone, Copy, Debug)]
struct Log {
    head: Head,
    /// With the head.
    len: usize,
}

impl FlashFile {
    /// Makes a file of this image, where there is none. It is durable then.
    pub fn create(path: &Path, image: &[u8]) -> Result<(), FlashError> {
        let make = || {
            let kept = KeptFile::new(path)?;
            kept.write(0, image)?;
            kept.sync()?;
            kept.publish()?;
            kept.sync_folder()
        };
        make().map_err(|source| fail("make", path, source))
    }

    /// What the flash of this size holds, without taking it into use.
    pub fn read(path: &Path, size: usize) -> Result<Vec<u8>, FlashError> {
        let file = open(path, false).map_err(|source| fail("read", path, source))?;
        load(&file, path, size).map(|(image, _)| image)
    }

    /// Takes the file into use, with what it holds. A record that is not whole is gone then, and what is behind it.
    pub fn open(path: &Path, size: usize) -> Result<(FlashFile, Vec<u8>), FlashError> {
        let file = open(path, true).map_err(|source| fail("open", path, source))?;
        let (image, log) = load(&file, path, size)?;
        let len = log.map_or(size, |log| size.saturating_add(log.len)).try_into().unwrap_or(u64::MAX);
        let cut = || -> io::Result<()> {
            let lost = file.metadata()?.len().saturating_sub(len);
            if lost > 0 {
                log::warn!("{}: its last {lost} bytes were cut off by a power cut", path.display());
                file.set_len(len)?;
            }
            Ok(())
        };
        cut().map_err(|source| fail("write", path, source))?;
        let syncer = Syncer::new().map_err(|source| fail("start a thread for", path, source))?;
        let state = State { file: Arc::new(file), log, compact: COMPACT, broken: None };
        let flash = FlashFile { path: path.to_owned(), size, state: Mutex::new(state), syncer };
        Ok((flash, image))
    }

    /// Adds a change: it is in the file when this returns. After an error it is not, and what was there is.
    pub fn append(&self, offset: u32, change: Change<'_>) -> io::Result<()> {
        let mut state = self.state.lock();
        if let Some(cause) = self.syncer.failed().or(state.broken.map(io::Error::from)) {
            return Err(cause);
        }
        if state.log.is_some_and(|log| log.len >= state.compact) {
            self.compact_or_wait(&mut state);
        }
        let log = match state.log {
            Some(log) => log,
            None => self.begin(&mut state)?,
        };
        let record = log.head.record(log.len, offset, change);
        let len = log.len.saturating_add(record.len());
        if len > MOST {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.add(&mut state, log.len, &record)?;
        state.log = Some(Log { len, ..log });
        self.syncer.written(&state.file);
        Ok(())
    }

    /// Makes the file an image without a log, and durable. To be called when the machine has ended, too.
    pub fn compact(&self) -> Result<(), FlashError> {
        self.compact_locked(&mut self.state.lock())
    }

    /// How often something was made durable by itself.
    #[cfg(test)]
    pub(super) fn syncs(&self) -> usize {
        self.syncer.count()
    }

    fn compact_locked(&self, state: &mut State) -> Result<(), FlashError> {
        let Some(log) = state.log else { return Ok(()) };
        let failed = |source| fail("compact", &self.path, source);
        let (image, found) = load(&state.file, &self.path, self.size)?;
        if found.is_none_or(|found| found.len != log.len) {
            return Err(failed(io::Error::other("it does not hold what was written to it")));
        }
        let file = self.replace(&image).map_err(failed)?;
        *state = State { file: Arc::new(file), log: None, compact: COMPACT, broken: None };
        self.syncer.clean();
        // Until then a power cut leaves one or the other, and what is added to the new one may go with it.
        let synced = sync_folder(&self.path);
        state.broken = synced.as_ref().err().map(io::Error::kind);
        synced.map_err(failed)
    }

    /// The guest's write is not at fault when this fails: its log grows on for a while.
    fn compact_or_wait(&self, state: &mut State) {
        if let Err(cause) = self.compact_locked(state) {
            let source = std::error::Error::source(&cause).map(ToString::to_string).unwrap_or_default();
            log::warn!("{cause}: {source}");
            state.compact = state.compact.saturating_add(COMPACT);
        }
    }

    /// Puts a new file in the place of the old one.
    fn replace(&self, image: &[u8]) -> io::Result<File> {
        let mut new = OsString::from(&self.path);
        new.push(".new");
        let new = PathBuf::from(new);
        let make = || -> io::Result<File> {
            let mut options = OpenOptions::new();
            let file = options.read(true).write(true).create(true).truncate(true).mode(0o600).open(&new)?;
            file.write_all_at(image, 0)?;
            file.sync_all()?;
            fs::rename(&new, &self.path)?;
            Ok(file)
        };
        make().inspect_err(|_| fs::remove_file(&new).unwrap_or_default())
    }

    /// Writes a log's head behind the image. It is durable before a record is behind it: a file with more behind its
    /// image than a torn head is somebody else's.
    fn begin(&self, state: &mut State) -> io::Result<Log> {
        let mut image = vec![0; self.size];
        state.file.read_exact_at(&mut image, 0)?;
        let mut salt = [0; 8];
        getrandom(&mut salt, GetRandomFlags::empty())?;
        let head = Head::new(&image, u64::from_ne_bytes(salt));
        self.add(state, 0, head.bytes())?;
        state.file.sync_data()?;
        let log = Log { head, len: head.bytes().len() };
        state.log = Some(log);
        Ok(log)
    }

    /// Writes to the log's end, and leaves nothing of what could not be written whole.
    fn add(&self, state: &mut State, place: usize, bytes: &[u8]) -> io::Result<()> {
        let end = u64::try_from(self.size.saturating_add(place)).map_err(io::Error::other)?;
        let written = state.file.write_all_at(bytes, end);
        if let Err(cause) = &written
            && state.file.set_len(end).is_err()
        {
            state.broken = Some(cause.kind());
        }
        written
    }
}

fn fail(what: &'static str, path: &Path, source: io::Error) -> FlashError {
    FlashError::Io { what, path: path.to_owned(), source }
}

fn sync_folder(path: &Path) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

fn open(path: &Path, write: bool) -> io::Result<File> {
    // O_NONBLOCK: should it be a FIFO, nobody waits for it.
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = OpenOptions::new().read(true).write(write).custom_flags(flags).open(path)?;
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("it is not a regular file")) }
}

/// The image with the log's changes, and the log.
fn load(file: &File, path: &Path, size: usize) -> Result<(Vec<u8>, Option<Log>), FlashError> {
    let io = |source| fail("read", path, source);
    let has = file.metadata().map_err(io)?.len();
    let needs = u64::try_from(size).unwrap_or(u64::MAX);
    let wrong = || FlashError::WrongSize { path: path.to_owned(), has, needs };
    if has < needs || has.saturating_sub(needs) > u64::try_from(MOST).unwrap_or(u64::MAX) {
        return Err(wrong());
    }
    let mut image = vec![0; size];
    file.read_exact_at(&mut image, 0).map_err(io)?;
    let mut log = vec![0; usize::try_from(has.saturating_sub(needs)).unwrap_or(0)];
    file.read_exact_at(&mut log, needs).map_err(io)?;
    match replay(&log, &mut image) {
        Found::Nothing => Ok((image, None)),
        Found::Log { head, good } => Ok((image, Some(Log { head, len: good }))),
        Found::Foreign => Err(wrong()),
        Found::OtherImage => Err(FlashError::Changed { path: path.to_owned(), size: needs }),
        Found::Newer(version) => Err(FlashError::Newer { path: path.to_owned(), version }),
    }
}
