//! A hundred volumes on one base, each with a queue, all of them read in full and written a little; then a line of what
//! they are, and they stay until standard input ends, so that they can be looked at.

use crate::Outcome;
use crate::disk::{Disk as _, Load, Op, anywhere, in_order};
use crate::io::{arena, base};
use crate::volume::OnVolume;
use ami_run_storage::{Base, Volume};
use serde_json::{Value, json};
use std::fs;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::Duration;

const COUNT: usize = 100;
const SIZE: u64 = 64 << 20;
const WRITTEN: u64 = 1 << 20;

pub(crate) fn measure(folder: &Path) -> Outcome {
    let (folder, memory) = (tempfile::tempdir_in(folder)?, arena()?);
    let disk = folder.path().join("base.raw");
    drop(base(&disk, &memory, SIZE)?);
    memory.clear();
    let before = dirty()?;
    let (mut volumes, mut paths) = (Vec::new(), Vec::new());
    for number in 0..COUNT {
        let path = folder.path().join(format!("volume-{number}"));
        // Each opens the base by itself, as each process does.
        let volume = Volume::create(&path, Base::open(&disk)?, None)?;
        volumes.push(OnVolume::new(&volume, &memory)?);
        paths.push(path);
    }
    let opened = dirty()?;
    let whole = Load { op: Op::Read, len: 1 << 20, depth: 4, time: Duration::MAX };
    let some = Load { op: Op::Write, len: 4096, depth: 8, time: Duration::MAX };
    for (volume, seed) in volumes.iter_mut().zip(7..) {
        volume.run(&whole, &mut in_order(SIZE, 1 << 20).take(64))?;
        volume.run(&some, &mut anywhere(SIZE, 4096, seed).take(256))?;
        volume.flush()?;
    }
    memory.clear();
    let used = dirty()?;
    let blocks = paths.iter().map(|path| fs::metadata(path).map(|found| found.blocks() * 512));
    let told = json!({
        "volumes": COUNT,
        "base": { "path": disk, "bytes": SIZE, "disk": fs::metadata(&disk)?.blocks() * 512 },
        "paths": paths,
        "written": WRITTEN,
        "disk": blocks.sum::<std::io::Result<u64>>()?,
        "dirty": { "before": before, "opened": opened, "used": used },
    });
    writeln!(std::io::stdout(), "{told}")?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(Value::Null)
}

/// The process's own memory, in bytes.
fn dirty() -> std::io::Result<u64> {
    let all = fs::read_to_string("/proc/self/smaps_rollup")?;
    let line = all.lines().find_map(|line| line.strip_prefix("Private_Dirty:")).unwrap_or_default();
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().map_err(std::io::Error::other)?;
    Ok(kib << 10)
}
