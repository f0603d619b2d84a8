//! The cache of disks that are kept in pieces: a sparse raw file of a disk's size, filled block by block from what the
//! disk file holds, when somebody reads a block first. All volumes of all processes on one disk file share it.
//!
//! Rules:
//! - A block that [`Cache::prepare`] calls ready can be read from the file at its own offset.
//! - A block is on stable storage before the sidecar says for good that it is there. That it is there is said late, and
//!   may be lost: then it is fetched again. Whatever is killed when, no wrong block is ever taken for a right one.
//! - One fetch, however many wait for it, in this process and others: whoever fetches a block holds its lock. Should a
//!   holder stand still, others fetch it, too, and write the same bytes.
//! - Blocks of zeroes stay holes.
//! - Threads exist while there is something to fetch, two at most.
//!
//! What it says for good stops when the disk file is touched while it is read: what comes then may be another disk.
//!
//! Left out: a bound on the folder's size. What nobody uses can be removed by hand at any time.

mod entry;
mod fetch;
mod intake;
mod lock;
mod present;
mod sidecar;
mod work;

#[cfg(test)]
mod cache_test;
#[cfg(test)]
mod processes_test;
#[cfg(test)]
mod volume_test;

pub use entry::CacheFolder;
pub use intake::Progress;
pub(crate) use intake::{Taken, take_in};

use crate::identity::Identity;
use crate::source::{BLOCK, Fetch};
use crate::waker::Waker;
use entry::Entry;
use fetch::Shared;
use parking_lot::{Condvar, Mutex};
use present::Present;
use std::fmt;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle};
use std::time::Instant;

/// How many threads fetch.
const THREADS: usize = 2;
/// How many missing blocks one call asks for: 32 MiB.
const ASKED: usize = 64;

/// Gives one that fetches; each thread takes its own.
pub(crate) type Fetchers = Box<dyn Fn() -> Box<dyn Fetch> + Send + Sync>;

/// A disk's cache, for all volumes of this process that have it as their base.
pub(crate) struct Cache {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Cache {
    /// `size`: the disk's, in bytes.
    pub(crate) fn open(
        folder: &CacheFolder,
        identity: Identity,
        size: u64,
        fetchers: Fetchers,
    ) -> io::Result<Cache> {
        let entry = Entry::open(folder, &identity, size)?;
        let bits = entry.sidecar.bits(size.div_ceil(BLOCK))?;
        let shared = Shared {
            entry,
            present: Present::new(size.div_ceil(BLOCK), &bits),
            identity,
            size,
            folder: folder.path().to_owned(),
            fetchers,
            state: Mutex::default(),
            bell: Condvar::new(),
            spare: Mutex::default(),
        };
        Ok(Cache { shared: Arc::new(shared), threads: Mutex::default() })
    }

    /// What to read from, as [`Cache::prepare`] permits.
    pub(crate) fn file(&self) -> &File {
        &self.shared.entry.data
    }

    pub(crate) fn size(&self) -> u64 {
        self.shared.size
    }

    pub(crate) fn identity(&self) -> &Identity {
        &self.shared.identity
    }

    /// True: every byte of the range can be read from the file. False: what is missing will be fetched, and the waker
    /// wakes when something has changed: ask again. An error is that of a block's fetch.
    ///
    /// The rest of the disk is fetched then, too, when no reader waits.
    pub(crate) fn prepare(&self, range: Range<u64>, waker: &Arc<Waker>) -> io::Result<bool> {
        self.ask(range, waker, true)
    }

    /// Waits until every byte of the range can be read from the file, for a reader who will not want the rest.
    pub(crate) fn wait(&self, range: Range<u64>) -> io::Result<()> {
        if self.has(&range) {
            return Ok(());
        }
        let waker = Arc::new(Waker::new()?);
        while !self.ask(range.clone(), &waker, false)? {
            waker.wait()?;
        }
        Ok(())
    }

    fn has(&self, range: &Range<u64>) -> bool {
        let present = &self.shared.present;
        present.is_complete() || present.missing(blocks(range)).is_none()
    }

    fn ask(&self, range: Range<u64>, waker: &Arc<Waker>, rest: bool) -> io::Result<bool> {
        if self.has(&range) {
            return Ok(true);
        }
        let present = &self.shared.present;
        let (mut from, end) = (blocks(&range).start, blocks(&range).end);
        let mut state = self.shared.state.lock();
        let mut asked = 0;
        while let Some(block) = present.missing(from..end)
            && asked < ASKED
        {
            state.work.ask(block, waker, Instant::now())?;
            asked = asked.saturating_add(1);
            from = block.saturating_add(1);
        }
        if rest {
            state.work.fetch_rest();
        }
        if state.idle > 0 {
            self.shared.bell.notify_all();
        }
        while state.threads < THREADS && state.work.queued() > state.idle {
            match self.spawn() {
                Ok(()) => state.threads = state.threads.saturating_add(1),
                Err(cause) if state.threads == 0 => return Err(cause),
                // One does it as well.
                Err(_) => break,
            }
        }
        Ok(asked == 0)
    }

    fn spawn(&self) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let thread = Builder::new().name("fetch".to_owned()).spawn(move || shared.run())?;
        let mut threads = self.threads.lock();
        threads.retain(|thread| !thread.is_finished());
        threads.push(thread);
        Ok(())
    }
}

impl Drop for Cache {
    /// Ends the fetch that is under way, and says for good what was fetched.
    fn drop(&mut self) {
        self.shared.stop();
        for thread in self.threads.get_mut().drain(..) {
            // One that panicked has been told of.
            thread.join().unwrap_or_default();
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").field("identity", &self.shared.identity).finish_non_exhaustive()
    }
}

fn blocks(range: &Range<u64>) -> Range<u64> {
    range.start / BLOCK..range.end.div_ceil(BLOCK)
}
