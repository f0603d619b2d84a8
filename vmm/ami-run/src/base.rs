//! Opens a disk file of any format as a base: what is not raw is read through the cache in the state folder, and what is
//! compressed is taken in whole first, which is told.

use crate::disks::top_folder;
use crate::{state, ui};
use ami_run_storage::{Base, CacheFolder, Progress, StorageError};
use std::path::Path;
use std::time::{Duration, Instant};

/// Who waits is told so often how far it is.
const TELL: Duration = Duration::from_secs(5);

pub(crate) fn open(file: &Path) -> Result<Base, StorageError> {
    let folder = match state::folder(|name| std::env::var_os(name)) {
        Some(state) => CacheFolder::Shared(state.join("cache")),
        None => CacheFolder::Private(top_folder()),
    };
    let mut told = Instant::now();
    let mut tell = |progress: Progress| {
        if told.elapsed() >= TELL {
            told = Instant::now();
            ui::status("reading", &format!("{}{}", file.display(), far(progress)));
        }
    };
    Base::open_any(file, &folder, &mut tell)
}

fn far(progress: Progress) -> String {
    match progress {
        Progress { elsewhere: true, .. } => ": another ami-run takes it in".to_owned(),
        Progress { of: 0, .. } => String::new(),
        Progress { read, of, .. } => format!(": {} %", read.saturating_mul(100).checked_div(of).unwrap_or(0)),
    }
}
