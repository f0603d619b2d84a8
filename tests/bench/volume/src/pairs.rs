//! Two disks in turn, slice by slice, and what came of it as samples for the table.

use crate::disk::{Disk, Load, Slice, slice};
use serde_json::{Value, json};
use std::io;

/// Slices of each.
pub(crate) const SLICES: usize = 20;

/// Whose turn is first changes every time.
pub(crate) fn alternate(
    row: &str,
    load: &Load,
    [ours, theirs]: [(&mut dyn Disk, &mut dyn Iterator<Item = u64>); 2],
) -> io::Result<Value> {
    let ((volume, volume_offsets), (file, file_offsets)) = (ours, theirs);
    let (mut on_volume, mut on_file, mut workers) = (Vec::new(), Vec::new(), 0);
    for turn in 0..=SLICES {
        let mut pair = [None; 2];
        for which in if turn % 2 == 0 { [0, 1] } else { [1, 0] } {
            pair[which] = Some(match which {
                0 => slice(volume, load, volume_offsets)?,
                _ => slice(file, load, file_offsets)?,
            });
        }
        workers = workers.max(count_workers()?);
        // The first turn warms up.
        if let ([Some(ours), Some(theirs)], 1..) = (pair, turn) {
            on_volume.push(ours);
            on_file.push(theirs);
        }
    }
    Ok(json!({
        "row": row,
        "len": load.len,
        "volume": samples(&on_volume),
        "file": samples(&on_file),
        "workers": workers,
    }))
}

fn samples(slices: &[Slice]) -> Value {
    let of = |figure: fn(&Slice) -> f64| slices.iter().map(figure).collect::<Vec<f64>>();
    json!({
        "per_second": of(|slice| slice.count as f64 / slice.seconds),
        "cpu_us": of(|slice| slice.cpu * 1e6 / slice.count.max(1) as f64),
    })
}

/// The kernel's threads that work for this process's rings, at this moment.
fn count_workers() -> io::Result<usize> {
    let mut count = 0;
    for task in std::fs::read_dir("/proc/self/task")? {
        // One that has just ended has no name.
        let name = std::fs::read_to_string(task?.path().join("comm")).unwrap_or_default();
        count += usize::from(name.starts_with("iou-wrk"));
    }
    Ok(count)
}
