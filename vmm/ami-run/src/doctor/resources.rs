//! Judgements on what else a launch takes: firmware, memory, disk space; and on what later ones will.

use super::facts::{Memory, Nearest, Ring, State, Trouble, Writes};
use super::{Check, Status};
use crate::args::DEFAULT_MEMORY_MIB;
use crate::failure::Failure;
use crate::host;
use std::io;
use std::path::PathBuf;

const GIB: u64 = 1 << 30;
/// A guest that writes more than this, as a stock one soon does, would see errors.
const LITTLE_SPACE: u64 = GIB;
/// File systems that keep files in memory.
const IN_MEMORY: [&str; 2] = ["tmpfs", "ramfs"];
const WRITABLE_FOLDER: &str = "set TMPDIR to a folder that can be written to";
const OTHER_FOLDER: &str = "set TMPDIR to a folder on a disk with space, such as one on ext4, xfs or btrfs";

/// What is wrong with it and what to do stands in one text.
pub(super) fn bios(found: &Result<PathBuf, Failure>) -> Check {
    let name = "firmware";
    match found {
        Ok(path) => Check::new(name, Status::Ok, format!("SeaBIOS: {}", path.display())),
        Err(why) => Check::new(name, Status::Failed, why.message.clone()).remedy(why.causes.join(": ")),
    }
}

/// An image that starts by legacy-bios can do without it, where there is a BIOS.
pub(super) fn uefi(found: &Result<PathBuf, Failure>, has_bios: bool) -> Check {
    let name = "UEFI firmware";
    let (kind, missing) = if has_bios { ("OVMF", Status::Warning) } else { ("AAVMF", Status::Failed) };
    match found {
        Ok(path) => Check::new(name, Status::Ok, format!("{kind}: {}", path.display())),
        Err(why) => Check::new(name, missing, why.message.clone()).remedy(why.causes.join(": ")),
    }
}

/// A guest's memory is taken as it touches it: too little ends the guest late, and not always.
pub(super) fn memory(memory: &Memory) -> Check {
    let (name, needed) = ("memory", DEFAULT_MEMORY_MIB);
    let Memory { total_mib: Some(total), available_mib: Some(available), limit_mib } = *memory else {
        return Check::new(name, Status::Information, "not known: /proc/meminfo does not tell it");
    };
    if total < needed {
        let remedy = "give the guest less with --memory";
        return Check::failed(name, host::too_much_memory(needed, "the default instance type", total))
            .remedy(remedy);
    }
    let limit = limit_mib.map_or_else(String::new, |mib| format!(", and this session's limit is {mib} MiB"));
    let found = format!(
        "{available} MiB of {total} are available{limit}; a launch takes {needed} unless told otherwise"
    );
    let limited = limit_mib.is_some_and(|mib| mib < needed);
    match (available < needed, limited) {
        (false, false) => Check::new(name, Status::Ok, found),
        (_, true) => Check::new(name, Status::Warning, found)
            .remedy("give the guest less with --memory, or the session or container more"),
        (true, false) => Check::new(name, Status::Warning, found)
            .remedy("give the guest less with --memory, or end other programs"),
    }
}

/// What guests write while they run.
pub(super) fn disk_space(writes: &Writes) -> Check {
    let name = "disk space";
    let folder = writes.folder.display();
    let space = match &writes.space {
        Ok(space) => space,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => {
            let found = format!("no folder {folder}, where guests' writes go");
            let remedy = format!("make it (mkdir -p {folder}), or set TMPDIR to a folder that is there");
            return Check::new(name, Status::Failed, found).remedy(remedy);
        }
        Err(cause) => {
            let found = format!("{folder}, where guests' writes go, cannot be looked at: {cause}");
            return Check::new(name, Status::Failed, found).remedy(WRITABLE_FOLDER);
        }
    };
    let kind = space.file_system.as_deref().unwrap_or("unknown file system");
    let place = format!("{folder} ({kind}, {} free)", amount(space.free));
    if let Some(trouble) = &writes.trouble {
        let (what, remedy) = tell(trouble);
        return Check::new(name, Status::Failed, format!("{place}: {what}")).remedy(remedy);
    }
    let reservations = [
        (IN_MEMORY.contains(&kind), "what guests write there takes memory"),
        (!space.sparse, "each volume takes its whole size there"),
        (space.free < LITTLE_SPACE, "a guest that writes more than that sees errors"),
    ];
    let told: Vec<_> = reservations.iter().filter(|(is, _)| *is).map(|(_, what)| *what).collect();
    match told.as_slice() {
        [] => Check::new(name, Status::Ok, format!("guests' writes go to {place}")),
        _ => Check::new(name, Status::Warning, format!("{place}: {}", told.join("; "))).remedy(OTHER_FOLDER),
    }
}

/// What no volume's top could do there, and what to do.
fn tell(trouble: &Trouble) -> (String, &'static str) {
    match trouble {
        Trouble::Create(cause) => (format!("no file can be made there: {cause}"), WRITABLE_FOLDER),
        Trouble::Limit(bytes) => (
            format!("this session's files may have {bytes} bytes at most"),
            "lift the limit: ulimit -f unlimited",
        ),
        Trouble::Size(cause) => {
            (format!("no file of 8 GiB can be there, the size of a common volume: {cause}"), OTHER_FOLDER)
        }
        Trouble::Write(cause) => {
            (format!("nothing can be written there: {cause}"), "make space, or set TMPDIR to another folder")
        }
    }
}

fn amount(bytes: u64) -> String {
    if bytes < GIB { format!("{} MiB", bytes >> 20) } else { format!("{} GiB", bytes / GIB) }
}

/// Where instances are kept. It is not made.
pub(super) fn state_folder(state: &State) -> Check {
    let name = state.folder.display();
    let good = |found: String| Check::new("state folder", Status::Ok, found);
    let bad = |found: String| {
        Check::new("state folder", Status::Failed, found)
            .remedy("set AMI_RUN_STATE_DIR to a folder of your own")
    };
    match &state.nearest {
        Some(nearest) if nearest.path == state.folder => match obstacle(nearest, true) {
            None => good(format!("{name} is there")),
            Some(why) => bad(format!("{name} {why}")),
        },
        Some(nearest) => match obstacle(nearest, false) {
            None => good(format!("{name} can be made")),
            Some(why) => bad(format!("{name} cannot be made: {} {why}", nearest.path.display())),
        },
        None => bad(format!("{name} cannot be made: no folder above it can be seen")),
    }
}

/// Why a folder cannot be used, or one be made in it.
fn obstacle(nearest: &Nearest, itself: bool) -> Option<&'static str> {
    if !nearest.is_folder {
        Some("is not a folder")
    } else if itself && !nearest.own {
        Some("belongs to another user")
    } else if !nearest.writable {
        Some("cannot be written to")
    } else {
        None
    }
}

/// Disks can do without it.
pub(super) fn io_uring(ring: &Ring) -> Check {
    let found = match (&ring.trial, ring.disabled.as_deref()) {
        (Ok(()), _) => "usable".to_owned(),
        (Err(cause), Some(setting @ ("1" | "2"))) => {
            format!(
                "not usable: {cause} (kernel.io_uring_disabled is {setting}); disks are slower without it"
            )
        }
        (Err(cause), _) => format!("not usable: {cause}; disks are slower without it"),
    };
    Check::new("io_uring", Status::Information, found)
}

#[cfg(test)]
#[path = "resources_test.rs"]
mod tests;
