//! How long a FLUSH takes that covers so many writes, where the granules are the volume's own and where they are new,
//! beside fdatasync of a raw file after the same writes.

use crate::Outcome;
use crate::disk::{Disk, Load, Op, each_once};
use crate::file::RawFile;
use crate::io::arena;
use crate::volume::OnVolume;
use ami_run_storage::{Base, Volume};
use serde_json::{Value, json};
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
    let mut fresh = [7, 7].map(|seed| each_once(SIZE, 4096, seed));
    let mut rows = Vec::new();
    for writes in [1, 8, 32] {
        let mut seen = [Vec::new(), Vec::new()];
        for (is_first, name) in [(true, "first writes"), (false, "rewrites")] {
            let (mut ours, mut theirs) = (Vec::new(), Vec::new());
            for run in 0..=RUNS {
                let offsets: [Vec<u64>; 2] = if is_first {
                    let [on_volume, on_file] = &mut fresh;
                    [on_volume.by_ref().take(writes).collect(), on_file.by_ref().take(writes).collect()]
                } else {
                    [0, 1].map(|side: usize| {
                        seen[side].iter().copied().skip(run * writes).take(writes).collect()
                    })
                };
                let volume_took = once(&mut volume, &offsets[0], OnVolume::flush)?;
                let file_took = once(&mut file, &offsets[1], RawFile::sync)?;
                seen.iter_mut().zip(offsets).for_each(|(seen, offsets)| seen.extend(offsets));
                if run > 0 {
                    ours.push(volume_took);
                    theirs.push(file_took);
                }
            }
            rows.push(row(&format!("flush after {writes} {name}"), &ours, &theirs));
        }
    }
    Ok(json!({ "rows": rows }))
}

fn row(name: &str, ours: &[f64], theirs: &[f64]) -> Value {
    json!({ "row": name, "volume": ours, "file": theirs })
}

/// The microseconds of the flush alone.
fn once<D: Disk>(disk: &mut D, offsets: &[u64], flush: fn(&mut D) -> io::Result<()>) -> io::Result<f64> {
    let load = Load { op: Op::Write, len: 4096, depth: 8, time: Duration::MAX };
    disk.run(&load, &mut offsets.iter().copied())?;
    let begin = Instant::now();
    flush(disk)?;
    Ok(begin.elapsed().as_secs_f64() * 1e6)
}
