//! One volume: base, top and the engine between them, shared by the queues of any number of threads.

use crate::base::Base;
use crate::engine::{Completion, Engine, QueueId, Status};
use crate::map::Map;
use crate::queue::Queue;
use crate::top::file::TopFile;
use crate::waker::Waker;
use crate::{SECTOR, StorageError};
use parking_lot::{Mutex, MutexGuard};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
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
        Ok(Volume::of(Files { base, top }, name, engine))
    }

    fn of(files: Files, name: String, engine: Engine) -> Volume {
        let (engine, mail) = (Mutex::new(engine), Mutex::default());
        Volume { shared: Arc::new(Shared { files, name, engine, mail }) }
    }

    /// In bytes, a multiple of 512.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.shared.engine().size()
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
