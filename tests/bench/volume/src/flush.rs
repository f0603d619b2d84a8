//! How long a FLUSH takes that covers so many writes, where the granules are the volume's own and where they are new,
//! beside fdatasync of a raw file after the same writes.

use crate::Outcome;
use crate::disk::{Disk, Load, Op, each_once};
use crate::file::RawFile;
use crate::io::arena;
use crate::volume::OnVolume;
use ami_run_storage::{Base, Volume};
use serde_json::json;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

const SIZE: u64 = 4 << 30;
const RUNS: usize = 60;

pub(crate) fn measure(folder: &Path) -> Outcome {
    let (folder, memory) = (tempfile::tempdir_in(folder)?, arena()?);
    let volume = Volume::create(&folder.path().join("volume"), Base::empty("nothing"), Some(SIZE))?;
    let mut volume = OnVolume::new(&volume, &memory)?;
    let mut file = RawFile::open(&folder.path().join("file.raw"), true, &memory)?;
    file.file().set_len(SIZE)?;
    let mut fresh = each_once(SIZE, 4096, 7);
    let mut rows = Vec::new();
    for writes in [1, 8, 32] {
        let runs: Vec<Vec<u64>> = (0..=RUNS).map(|_| fresh.by_ref().take(writes).collect()).collect();
        // What was written first is then written again.
        for name in ["first writes", "rewrites"] {
            let [ours, theirs] = in_turn(&mut volume, &mut file, &runs)?;
            rows.push(json!({
                "row": format!("flush after {writes} {name}"), "volume": ours, "file": theirs
            }));
        }
    }
    Ok(json!({ "rows": rows }))
}

/// Writes at the offsets of each run and flushes, on the volume and on the file. Who comes first may have to wait for
/// what others have written, so each is first in turn. The first run warms up.
fn in_turn(volume: &mut OnVolume, file: &mut RawFile, runs: &[Vec<u64>]) -> io::Result<[Vec<f64>; 2]> {
    let mut took = [Vec::new(), Vec::new()];
    for (run, offsets) in runs.iter().enumerate() {
        for side in if run % 2 == 0 { [0, 1] } else { [1, 0] } {
            let one = match side {
                0 => once(volume, offsets, OnVolume::flush)?,
                _ => once(file, offsets, RawFile::sync)?,
            };
            if run > 0 {
                took[side].push(one);
            }
        }
    }
    Ok(took)
}

/// The microseconds of the flush alone.
fn once<D: Disk>(disk: &mut D, offsets: &[u64], flush: fn(&mut D) -> io::Result<()>) -> io::Result<f64> {
    let load = Load { op: Op::Write, len: 4096, depth: 8, time: Duration::MAX };
    disk.run(&load, &mut offsets.iter().copied())?;
    let begin = Instant::now();
    flush(disk)?;
    Ok(begin.elapsed().as_secs_f64() * 1e6)
}
