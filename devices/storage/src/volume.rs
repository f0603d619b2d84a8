//! One volume: base, top and the engine between them, shared by the queues of any number of threads.

use crate::base::Base;
use crate::engine::{Completion, Engine, QueueId, Status};
use crate::map::Map;
use crate::queue::Queue;
use crate::top::file::{self, TopFile};
use crate::top::header::{BaseRecord, Found, Header, VERSION};
use crate::top::kept::{KeptFile, Refused};
use crate::top::layout::MAX_SIZE;
use crate::top::store;
use crate::waker::Waker;
use crate::{SECTOR, StorageError};
use parking_lot::{Mutex, MutexGuard};
use rustix::rand::{GetRandomFlags, getrandom};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// One disk of one instance. Cloning shares it.
#[derive(Clone, Debug)]
pub struct Volume {
    pub(crate) shared: Arc<Shared>,
}

/// What a volume is made of.
#[derive(Debug)]
pub(crate) struct Files {
    pub(crate) base: Base,
    pub(crate) top: TopFile,
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) files: Files,
    /// For messages.
    name: String,
    engine: Mutex<Engine>,
    mail: Mutex<Mail>,
    /// What its header is changed by; its file also holds the lock.
    kept: Mutex<Option<(KeptFile, Header)>>,
}

/// What one queue's thread finished for another queue.
#[derive(Debug, Default)]
struct Mail {
    next: QueueId,
    boxes: BTreeMap<QueueId, (Arc<Waker>, Vec<Completion>)>,
}

impl Volume {
    /// A volume with an empty private top, in a file without a name in `folder`. A `size` above the base's gives
    /// zeroes after it.
    pub fn temporary(base: Base, size: Option<u64>, folder: &Path) -> Result<Volume, StorageError> {
        let size = check_size(&base, size)?;
        let top = TopFile::temporary(folder, size)?;
        let name = format!("on {}", base.path().display());
        let engine = Engine::new(size, base.size(), 0, Map::default());
        Ok(Volume::of(Files { base, top }, name, engine, None))
    }

    /// Makes a kept volume in a new file, and opens it.
    pub fn create(path: &Path, base: Base, size: Option<u64>) -> Result<Volume, StorageError> {
        let size = check_size(&base, size)?;
        let make = |source| StorageError::Create { path: path.to_owned(), size, source };
        let mut mark = [0; 8];
        getrandom(&mut mark, GetRandomFlags::empty()).map_err(|cause| make(cause.into()))?;
        let mark = u64::from_ne_bytes(mark);
        let header = Header { version: VERSION, sequence: 0, size, mark, base: record(&base).map_err(make)? };
        let kept = KeptFile::new(path).map_err(make)?;
        store::create(&kept, &header).map_err(make)?;
        Volume::kept(path, kept, base, header, false)
    }

    /// Opens a kept volume: alone, or with others who only read. What it stands on must be what it was.
    /// `open_base` opens it.
    pub fn open(
        path: &Path,
        read_only: bool,
        open_base: impl FnOnce(&Path) -> Result<Base, StorageError>,
    ) -> Result<Volume, StorageError> {
        let (kept, header) = open_kept(path, read_only)?;
        let base = match &header.base {
            None => Base::empty("nothing"),
            Some(record) => record.open(path, open_base)?,
        };
        Volume::kept(path, kept, base, header, read_only)
    }

    /// Tells a volume that stands on a disk file that this is the file from now on: its bytes are the same, as the
    /// caller knows.
    pub fn rebase(path: &Path, base: &Base) -> Result<(), StorageError> {
        let (kept, header) = open_kept(path, false)?;
        let fail = |source| StorageError::Create { path: path.to_owned(), size: header.size, source };
        let (old, new) = (header.base.as_ref().map_or(0, |record| record.size), base.size());
        if old != new {
            let (path, base) = (path.to_owned(), base.path().to_owned());
            return Err(StorageError::OtherBase { path, base, old, new });
        }
        let new = Header { base: record(base).map_err(fail)?, ..header.clone() };
        store::replace(&kept, &header, new).map(drop).map_err(fail)
    }

    /// The size of the volume in this file, and the disk file that it stands on, which is not looked for.
    pub fn look(path: &Path) -> Result<(u64, Option<PathBuf>), StorageError> {
        let (_, header) = open_kept(path, true)?;
        Ok((header.size, header.base.and_then(|record| record.files.paths().next())))
    }

    /// Makes the volume in this file larger, as [`Volume::grow`] does, without what it stands on.
    pub fn enlarge(path: &Path, size: u64) -> Result<(), StorageError> {
        let (kept, header) = open_kept(path, false)?;
        if !size.is_multiple_of(SECTOR) {
            return Err(StorageError::OddVolume { size });
        }
        let fail = |source| StorageError::Grow { name: path.display().to_string(), size, source };
        if size > MAX_SIZE {
            return Err(fail(io::ErrorKind::FileTooLarge.into()));
        }
        if size <= header.size {
            return Ok(());
        }
        store::replace(&kept, &header, Header { size, ..header.clone() }).map(drop).map_err(fail)
    }

    fn kept(
        path: &Path,
        kept: KeptFile,
        base: Base,
        header: Header,
        read_only: bool,
    ) -> Result<Volume, StorageError> {
        let read = |source| StorageError::Read { path: path.to_owned(), source };
        let top = TopFile::kept(kept.file.try_clone().map_err(read)?, read_only);
        let map = Map::stored(top.map_pages(header.size).map_err(read)?);
        let engine = Engine::new(header.size, base.size(), header.mark, map);
        Ok(Volume::of(Files { base, top }, path.display().to_string(), engine, Some((kept, header))))
    }

    /// Makes it larger, also while it is in use: what is new reads as zeroes.
    pub fn grow(&self, size: u64) -> Result<(), StorageError> {
        let fail = |source| StorageError::Grow { name: self.shared.name.clone(), size, source };
        if !size.is_multiple_of(SECTOR) {
            return Err(StorageError::OddVolume { size });
        }
        let mut kept = self.shared.kept.lock();
        if size <= self.size() {
            return Ok(());
        }
        match &mut *kept {
            Some((file, header)) => {
                let replaced = store::replace(file, header, Header { size, ..header.clone() });
                // Its sync may have met what the next flush would have been told of, once.
                *header = replaced.inspect_err(|_| self.shared.engine().fail()).map_err(fail)?;
            }
            None => file::set_size(self.shared.files.top.cached(), size).map_err(fail)?,
        }
        self.shared.engine().grow(size);
        Ok(())
    }

    fn of(files: Files, name: String, engine: Engine, kept: Option<(KeptFile, Header)>) -> Volume {
        let (engine, mail, kept) = (Mutex::new(engine), Mutex::default(), Mutex::new(kept));
        Volume { shared: Arc::new(Shared { files, name, engine, mail, kept }) }
    }

    /// In bytes, a multiple of 512.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shared.engine().size()
    }

    /// How many bytes its top takes on the host's disk.
    pub fn held(&self) -> io::Result<u64> {
        use std::os::unix::fs::MetadataExt as _;
        // stat(2): blocks are of 512 bytes, whatever the file system's are.
        Ok(self.shared.files.top.cached().metadata()?.blocks().saturating_mul(512))
    }

    /// A way to submit requests, one for each thread that does.
    #[must_use]
    pub fn queue(&self) -> Queue {
        Queue::new(Arc::clone(&self.shared))
    }

    /// What the first byte of a range is, and where in the range that ends: as far as it is known without reading.
    #[must_use]
    pub fn status(&self, bytes: Range<u64>) -> (Status, u64) {
        self.shared.engine().status(bytes)
    }
}

/// What is kept of a base.
fn record(base: &Base) -> io::Result<Option<BaseRecord>> {
    Ok(base.identity()?.map(|files| BaseRecord { size: base.size(), files }))
}

impl BaseRecord {
    /// Opens the base, if it is what it was.
    fn open(
        &self,
        volume: &Path,
        open: impl FnOnce(&Path) -> Result<Base, StorageError>,
    ) -> Result<Base, StorageError> {
        let changed = |changed| StorageError::BaseChanged { volume: volume.to_owned(), changed };
        self.files.check().map_err(changed)?;
        let damaged = || StorageError::DamagedVolume { path: volume.to_owned() };
        let base = open(&self.files.paths().next().ok_or_else(damaged)?)?;
        if base.size() == self.size {
            return Ok(base);
        }
        let (old, new) = (self.size, base.size());
        Err(StorageError::OtherBase { path: volume.to_owned(), base: base.path().to_owned(), old, new })
    }
}

fn open_kept(path: &Path, read_only: bool) -> Result<(KeptFile, Header), StorageError> {
    let kept = KeptFile::open(path, read_only).map_err(|refused| match refused {
        Refused::Busy => StorageError::Busy { path: path.to_owned() },
        Refused::Io(source) => StorageError::Read { path: path.to_owned(), source },
    })?;
    let read = |source| StorageError::Read { path: path.to_owned(), source };
    let found = store::read(&kept).map_err(read)?;
    let has = kept.file.metadata().map_err(read)?.len();
    let path = || path.to_owned();
    match found {
        Found::Header(header) if header.size.is_multiple_of(SECTOR) && header.size <= MAX_SIZE => {
            // What is missing would be read as zeroes, by the map as well.
            let needs = file::length(header.size);
            if has < needs {
                return Err(StorageError::CutShort { path: path(), has, needs });
            }
            Ok((kept, header))
        }
        Found::Header(_) | Found::Damaged => Err(StorageError::DamagedVolume { path: path() }),
        Found::Newer(version) => Err(StorageError::NewerVolume { path: path(), version }),
        Found::None => Err(StorageError::NotAVolume { path: path() }),
    }
}

/// The size of a volume on this base.
fn check_size(base: &Base, size: Option<u64>) -> Result<u64, StorageError> {
    let size = size.unwrap_or(base.size());
    if size < base.size() {
        return Err(StorageError::TooSmall { path: base.path().to_owned(), size, base: base.size() });
    }
    if !size.is_multiple_of(SECTOR) {
        return Err(StorageError::OddVolume { size });
    }
    Ok(size)
}

impl Shared {
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Locked for as long as it takes to decide; never over a system call.
    pub(crate) fn engine(&self) -> MutexGuard<'_, Engine> {
        self.engine.lock()
    }

    pub(crate) fn join(&self, waker: Option<&Arc<Waker>>) -> QueueId {
        let mut mail = self.mail.lock();
        let number = mail.next;
        mail.next = number.wrapping_add(1);
        if let Some(waker) = waker {
            mail.boxes.insert(number, (Arc::clone(waker), Vec::new()));
        }
        number
    }

    pub(crate) fn leave(&self, queue: QueueId) {
        self.mail.lock().boxes.remove(&queue);
    }

    /// Gives another queue its completion.
    pub(crate) fn send(&self, queue: QueueId, completion: Completion) {
        if let Some((waker, held)) = self.mail.lock().boxes.get_mut(&queue) {
            held.push(completion);
            waker.wake();
        }
    }

    pub(crate) fn take_mail(&self, queue: QueueId, to: &mut Vec<Completion>) {
        if let Some((_, held)) = self.mail.lock().boxes.get_mut(&queue) {
            to.append(held);
        }
    }
}
