//! The thread that puts on stable storage what was written a moment ago.

use parking_lot::{Condvar, Mutex};
use std::fs::File;
use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

/// How long writes are gathered: half of what a power cut may cost, and the other half for the disk.
const GATHER: Duration = Duration::from_millis(50);

#[derive(Debug, Default)]
struct State {
    /// What was written and is not known to be on stable storage.
    dirty: Option<Arc<File>>,
    is_ending: bool,
    failed: Option<io::ErrorKind>,
    /// How often something was made durable.
    #[cfg(test)]
    count: usize,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
pub(super) struct Syncer {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Syncer {
    pub(super) fn new() -> io::Result<Syncer> {
        let shared = Arc::<Shared>::default();
        let theirs = Arc::clone(&shared);
        let thread = std::thread::Builder::new().name("uefi-vars".to_owned()).spawn(move || theirs.run())?;
        Ok(Syncer { shared, thread: Some(thread) })
    }

    /// Something was written to this file, which takes the place of one that was told of before.
    pub(super) fn written(&self, file: &Arc<File>) {
        let mut state = self.shared.state.lock();
        if state.dirty.replace(Arc::clone(file)).is_none() {
            self.shared.changed.notify_one();
        }
    }

    /// Nothing is left to be made durable.
    pub(super) fn clean(&self) {
        self.shared.state.lock().dirty = None;
    }

    /// Why nothing that is written can be relied upon any more.
    pub(super) fn failed(&self) -> Option<io::Error> {
        self.shared.state.lock().failed.map(io::Error::from)
    }

    #[cfg(test)]
    pub(super) fn count(&self) -> usize {
        self.shared.state.lock().count
    }
}

impl Drop for Syncer {
    fn drop(&mut self) {
        self.shared.state.lock().is_ending = true;
        self.shared.changed.notify_one();
        if self.thread.take().is_some_and(|thread| thread.join().is_err()) {
            log::error!("the thread of the UEFI variables ended by a bug");
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.state.lock();
        loop {
            while state.dirty.is_none() && !state.is_ending {
                self.changed.wait(&mut state);
            }
            if !state.is_ending {
                self.changed.wait_for(&mut state, GATHER);
            }
            let is_ending = state.is_ending;
            if let Some(file) = state.dirty.take() {
                // What is written meanwhile is told of again.
                drop(state);
                let synced = file.sync_data();
                state = self.state.lock();
                state.note(&synced);
            }
            if is_ending {
                return;
            }
        }
    }
}

impl State {
    fn note(&mut self, synced: &io::Result<()>) {
        #[cfg(test)]
        {
            self.count = self.count.saturating_add(synced.is_ok().into());
        }
        if let Err(cause) = synced {
            log::error!(
                "cannot keep the UEFI variables: {cause}: what the guest changes in them is refused now"
            );
            self.failed = Some(cause.kind());
        }
    }
}
