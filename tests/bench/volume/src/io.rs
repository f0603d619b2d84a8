//! Reads and writes at depth 1, 8 and 32: of a volume whose granules are all its own, of its base, and where nothing was
//! written yet; each beside a raw file that is in the same state.

use crate::Outcome;
use crate::disk::{DEPTHS, Disk, Load, Op, anywhere, each_once, fill, in_order, slice};
use crate::file::RawFile;
use crate::pairs::alternate;
use crate::volume::OnVolume;
use ami_run_memory::{Memory, Range};
use ami_run_storage::{Base, Volume};
use serde_json::{Value, json};
use std::error::Error;
use std::path::Path;
use std::time::Duration;

const SIZE: u64 = 512 << 20;
const BASE: u64 = 128 << 20;
const SLICE: Duration = Duration::from_millis(40);
const RANDOM: u64 = 4096;
const LONG: u64 = 1 << 20;

pub(crate) fn arena() -> Result<Memory, Box<dyn Error>> {
    Ok(Memory::new(&[Range::new(0, 64 << 20)])?)
}

/// A base of data that is in the page cache.
pub(crate) fn base(path: &Path, memory: &Memory, size: u64) -> Result<Base, Box<dyn Error>> {
    fill(&mut RawFile::open(path, false, memory)?, size)?;
    Ok(Base::open(path)?)
}

pub(crate) fn measure(folder: &Path) -> Outcome {
    let mut rows = written(folder)?;
    rows.extend(in_base(folder)?);
    rows.extend(first_writes(folder)?);
    Ok(json!({ "rows": rows }))
}

/// Everything is in the top.
fn written(folder: &Path) -> Result<Vec<Value>, Box<dyn Error>> {
    let (folder, memory) = (tempfile::tempdir_in(folder)?, arena()?);
    let (mut volume, mut file) = both(folder.path(), &memory)?;
    let mut rows = Vec::new();
    for (op, name) in [(Op::Read, "read"), (Op::Write, "rewrite")] {
        for depth in DEPTHS {
            let load = Load { op, len: RANDOM, depth, time: SLICE };
            let mut offsets = [7, 7].map(|seed| anywhere(SIZE, RANDOM, seed));
            let [ours, theirs] = &mut offsets;
            let row = format!("{name} 4 KiB at random, depth {depth}");
            rows.push(alternate(&row, &load, [(&mut volume, ours), (&mut file, theirs)])?);
        }
        let load = Load { op, len: LONG, depth: 4, time: SLICE };
        let mut offsets = [(); 2].map(|()| in_order(SIZE, LONG));
        let [ours, theirs] = &mut offsets;
        let row = format!("{name} 1 MiB in order, depth 4");
        rows.push(alternate(&row, &load, [(&mut volume, ours), (&mut file, theirs)])?);
    }
    Ok(rows)
}

/// A kept volume and a raw file that were both written once.
fn both(folder: &Path, memory: &Memory) -> Result<(OnVolume, RawFile), Box<dyn Error>> {
    let base = base(&folder.join("base.raw"), memory, BASE)?;
    let volume = Volume::create(&folder.join("volume"), base, Some(SIZE))?;
    let mut volume = OnVolume::new(&volume, memory)?;
    let mut file = RawFile::open(&folder.join("file.raw"), true, memory)?;
    // Sparse, as the volume is: the file system then lays both out alike.
    file.file().set_len(SIZE)?;
    fill(&mut volume, SIZE)?;
    volume.flush()?;
    fill(&mut file, SIZE)?;
    file.sync()?;
    Ok((volume, file))
}

/// A kept volume with nothing in its top, and its base.
fn untouched(folder: &Path, memory: &Memory) -> Result<(OnVolume, RawFile), Box<dyn Error>> {
    let path = folder.join("base.raw");
    let base = base(&path, memory, BASE)?;
    let volume = Volume::create(&folder.join("volume"), base, None)?;
    Ok((OnVolume::new(&volume, memory)?, RawFile::open(&path, false, memory)?))
}

/// All reads go to the base, through the page cache.
fn in_base(folder: &Path) -> Result<Vec<Value>, Box<dyn Error>> {
    let (folder, memory) = (tempfile::tempdir_in(folder)?, arena()?);
    let (mut volume, mut file) = untouched(folder.path(), &memory)?;
    let mut rows = Vec::new();
    for depth in DEPTHS {
        let load = Load { op: Op::Read, len: RANDOM, depth, time: SLICE };
        let mut offsets = [7, 7].map(|seed| anywhere(BASE, RANDOM, seed));
        let [ours, theirs] = &mut offsets;
        let row = format!("read 4 KiB of the base, cached, depth {depth}");
        rows.push(alternate(&row, &load, [(&mut volume, ours), (&mut file, theirs)])?);
    }
    Ok(rows)
}

/// Each granule is written once, by a write that covers it, in an order that is none.
fn first_writes(folder: &Path) -> Result<Vec<Value>, Box<dyn Error>> {
    const ROOM: u64 = 4 << 30;
    let memory = arena()?;
    let mut rows = Vec::new();
    for depth in DEPTHS {
        let folder = tempfile::tempdir_in(folder)?;
        let empty = Base::empty("nothing");
        let volume = Volume::create(&folder.path().join("volume"), empty, Some(ROOM))?;
        let mut volume = OnVolume::new(&volume, &memory)?;
        let mut file = RawFile::open(&folder.path().join("file.raw"), true, &memory)?;
        file.file().set_len(ROOM)?;
        let load = Load { op: Op::Write, len: RANDOM, depth, time: SLICE };
        let mut offsets = [7, 7].map(|seed| each_once(ROOM, RANDOM, seed));
        let [ours, theirs] = &mut offsets;
        let row = format!("first write of 4 KiB at random, depth {depth}");
        rows.push(alternate(&row, &load, [(&mut volume, ours), (&mut file, theirs)])?);
    }
    Ok(rows)
}

/// One side alone, for so many requests: what strace and perf are to look at. `base` reads what is not in the top.
pub(crate) fn steady(folder: &Path, [side, op, depth, count]: [&str; 4]) -> Outcome {
    let (folder, memory) = (tempfile::tempdir_in(folder)?, arena()?);
    let op = match op {
        "read" | "base" => (Op::Read, op == "base"),
        "rewrite" => (Op::Write, false),
        _ => return Err(format!("{op} is none of read, rewrite, base").into()),
    };
    let (size, (mut volume, mut file)) = match op {
        (_, true) => (BASE, untouched(folder.path(), &memory)?),
        _ => (SIZE, both(folder.path(), &memory)?),
    };
    let disk: &mut dyn Disk = match side {
        "volume" => &mut volume,
        "file" => &mut file,
        _ => return Err(format!("{side} is neither volume nor file").into()),
    };
    let load = Load { op: op.0, len: RANDOM, depth: depth.parse()?, time: Duration::MAX };
    let mut offsets = anywhere(size, RANDOM, 7).take(count.parse()?);
    let ran = slice(disk, &load, &mut offsets)?;
    Ok(json!({ "requests": ran.count, "per_second": ran.count as f64 / ran.seconds }))
}
