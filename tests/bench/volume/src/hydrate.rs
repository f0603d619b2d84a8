//! How long it takes to read a disk file that is not raw from start to end through an empty cache, by a volume on it.

use crate::Outcome;
use crate::disk::{Disk as _, Load, Op, in_order};
use crate::io::arena;
use crate::volume::OnVolume;
use ami_run_storage::{Base, CacheFolder, Volume};
use serde_json::json;
use std::path::Path;
use std::time::{Duration, Instant};

pub(crate) fn measure(folder: &Path, file: &Path) -> Outcome {
    let (folder, memory) = (tempfile::tempdir_in(folder)?, arena()?);
    let cache = CacheFolder::Shared(folder.path().join("cache"));
    let begin = Instant::now();
    let base = Base::open_any(file, &cache, &mut |_| {})?;
    let opened = begin.elapsed().as_secs_f64();
    let volume = Volume::temporary(base, None, folder.path())?;
    let load = Load { op: Op::Read, len: 1 << 20, depth: 8, time: Duration::MAX };
    let count = usize::try_from(volume.size() >> 20)?;
    OnVolume::new(&volume, &memory)?.run(&load, &mut in_order(volume.size(), load.len).take(count))?;
    let seconds = begin.elapsed().as_secs_f64();
    Ok(json!({ "bytes": volume.size(), "opened": opened, "seconds": seconds }))
}
