//! How long it takes to open a volume, small and large, new and kept; and then until its first read is answered.

use crate::Outcome;
use crate::disk::{Disk as _, Load, Op};
use crate::io::arena;
use crate::volume::OnVolume;
use ami_run_memory::Memory;
use ami_run_storage::{Base, StorageError, Volume};
use serde_json::{Map, Value, json};
use std::error::Error;
use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

const RUNS: usize = 60;
const SIZES: [(u64, &str); 2] = [(1 << 30, "1 GiB"), (64 << 30, "64 GiB")];
/// What a kept volume holds: so many writes, all over it.
const WRITES: u64 = 1000;

pub(crate) fn measure(folder: &Path) -> Outcome {
    let (folder, memory) = (tempfile::tempdir_in(folder)?, arena()?);
    let folder = folder.path();
    for (size, name) in SIZES {
        File::create(folder.join(name))?.set_len(size)?;
        let volume =
            Volume::create(&folder.join(name).with_extension("vol"), Base::open(&folder.join(name))?, None)?;
        let mut volume = OnVolume::new(&volume, &memory)?;
        let load = Load { op: Op::Write, len: 4096, depth: 32, time: Duration::MAX };
        volume.run(&load, &mut (0..WRITES).map(|number| (number * (size / WRITES)) & !4095))?;
        volume.flush()?;
    }
    let mut samples = Map::new();
    for _ in 0..=RUNS {
        for (_, name) in SIZES {
            let path = folder.join(name);
            let temporary = || Volume::temporary(Base::open(&path)?, None, folder);
            let kept = || Volume::open(&path.with_extension("vol"), false, Base::open);
            add(&mut samples, &format!("a new volume of {name}"), once(&memory, temporary)?);
            add(&mut samples, &format!("a kept volume of {name}"), once(&memory, kept)?);
        }
    }
    Ok(Value::Object(samples))
}

fn add(samples: &mut Map<String, Value>, name: &str, [open, read]: [f64; 2]) {
    for (what, took) in [("open", open), ("open and read", read)] {
        let all = samples.entry(format!("{what} {name}")).or_insert_with(|| json!([]));
        if let Value::Array(all) = all {
            all.push(json!(took));
        }
    }
}

/// Milliseconds.
fn once(
    memory: &Memory,
    open: impl FnOnce() -> Result<Volume, StorageError>,
) -> Result<[f64; 2], Box<dyn Error>> {
    let begin = Instant::now();
    let volume = open()?;
    let opened = begin.elapsed();
    let load = Load { op: Op::Read, len: 4096, depth: 1, time: Duration::MAX };
    OnVolume::new(&volume, memory)?.run(&load, &mut std::iter::once((volume.size() / 2) & !4095))?;
    Ok([opened, begin.elapsed()].map(|took| took.as_secs_f64() * 1e3))
}
