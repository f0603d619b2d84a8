//! From a disk to its [`Contents`].

use crate::boot_code;
use crate::contents::{
    BootCode, BootCodeKind, Contents, Depth, Holds, MayHold, Partition, Place, Role, System, Table, Unread,
};
use crate::disk::{Disk, Fault};
use crate::efi;
use crate::files::{self, identify};
use crate::loader::Loader;
use crate::program;
use crate::system::{Survey, Volume};
use crate::table;
use std::io::{self, Read, Seek};

/// What may be read of a disk, however large it is.
pub(crate) const MOST_AT_START: u64 = 64 << 20;
const MOST: u64 = 2 << 30;

/// File systems that are looked into: no disk that starts anything has nearly as many.
const MAX_VOLUMES: usize = 64;

/// Finds what the disk holds. `source` is the snapshot or disk file that the volume is made from, `volume_bytes` the
/// volume's size: where the volume is larger, zeros follow. Only the host's own trouble with reading is an error.
pub fn look(source: &mut (impl Read + Seek), volume_bytes: u64, depth: Depth) -> io::Result<Contents> {
    let most = match depth {
        Depth::Start => MOST_AT_START,
        Depth::System => MOST,
    };
    let mut disk = Disk::new(source, volume_bytes, most)?;
    let contents = contents(&mut disk, depth);
    // Whatever else went wrong: if the host could not read, the disk cannot be judged.
    match disk.trouble() {
        Some(cause) => Err(cause),
        None => Ok(contents),
    }
}

fn contents(disk: &mut Disk<'_>, depth: Depth) -> Contents {
    let mut contents = Contents {
        depth,
        volume_bytes: disk.bytes,
        table: Table::None,
        boot_code: BootCode { signature: false, kind: BootCodeKind::None },
        partitions: Vec::new(),
        loaders: Vec::new(),
        boot_lists: Vec::new(),
        system: System::default(),
        unread: Vec::new(),
    };
    // A volume without a first sector is one of zeros.
    let mut first = [0; 512];
    let tables = disk.read(0, &mut first).and_then(|()| {
        contents.boot_code = boot_code::read(disk, &first)?;
        table::read(disk, &first)
    });
    match tables {
        Ok((table, partitions)) => {
            contents.table = table;
            contents.partitions = partitions;
        }
        Err(Fault::BehindTheEnd) => {}
        Err(fault) => contents.unread.push(unread(Place::disk(), fault, MayHold::System)),
    }
    for partition in contents.partitions.iter_mut().filter(|partition| partition.role != Role::Extended) {
        partition.holds = identify(disk, partition.first_byte, partition.bytes);
    }
    if contents.table == Table::None {
        contents.partitions.extend(whole_disk(disk));
    }
    for partition in contents.partitions.clone() {
        look_into(disk, &partition, &mut contents);
    }
    if depth == Depth::System {
        contents.system = system(disk, &contents.partitions, &contents.loaders, &mut contents.unread);
    }
    contents
}

/// A file system without a table before it.
pub(crate) fn whole_disk(disk: &mut Disk<'_>) -> Option<Partition> {
    let holds = identify(disk, 0, disk.bytes);
    let role = if holds == Holds::Fat { Role::Esp } else { Role::Other };
    let whole = Partition {
        number: 0,
        role,
        first_byte: 0,
        bytes: disk.bytes,
        active: false,
        name: String::new(),
        holds,
    };
    (!matches!(holds, Holds::Unknown | Holds::Nothing)).then_some(whole)
}

fn unread(place: Place, fault: Fault, may_hold: MayHold) -> Unread {
    Unread { place, why: fault.to_string(), may_hold }
}

/// Loaders on a FAT; a complaint where an EFI system partition has none that can be read.
fn look_into(disk: &mut Disk<'_>, partition: &Partition, contents: &mut Contents) {
    let result = match (partition.role, partition.holds) {
        (_, Holds::Fat) => files::open(disk, partition)
            .and_then(|files| efi::read(disk, partition.number, files.as_ref(), contents)),
        (Role::Esp, Holds::Nothing) => Err(Fault::BehindTheEnd),
        (Role::Esp, Holds::Unknown) => Err(Fault::Unknown("it holds no file system that is known here")),
        (Role::Esp, Holds::Ext | Holds::Other(_)) => {
            Err(Fault::Unknown("it holds no FAT, but another file system"))
        }
        _ => Ok(()),
    };
    if let Err(fault) = result {
        contents.unread.push(unread(Place::partition(partition.number), fault, MayHold::Loaders));
    }
}

/// The operating system, over all file systems.
fn system(
    disk: &mut Disk<'_>,
    partitions: &[Partition],
    loaders: &[Loader],
    missed: &mut Vec<Unread>,
) -> System {
    let mut opened = Vec::new();
    for partition in partitions {
        let why = match partition.holds {
            Holds::Ext | Holds::Fat if opened.len() >= MAX_VOLUMES => Fault::TooMuch.to_string(),
            // Where not even the root can be read there is one thing to say, and not one for each file.
            Holds::Ext | Holds::Fat => {
                match files::open(disk, partition).and_then(|files| files.list(disk, "/").map(|_| files)) {
                    Ok(files) => {
                        opened.push((partition.number, files));
                        continue;
                    }
                    Err(fault) => fault.to_string(),
                }
            }
            // Nothing is started from there.
            Holds::Other("swap") | Holds::Unknown | Holds::Nothing => continue,
            Holds::Other(what) => format!("it holds {what}, which is not read here"),
        };
        missed.push(Unread { place: Place::partition(partition.number), why, may_hold: MayHold::System });
    }
    let mut survey = Survey::default();
    let volumes =
        || opened.iter().map(|(partition, files)| Volume { partition: *partition, files: files.as_ref() });
    for volume in volumes() {
        survey.variables(disk, &volume);
    }
    for volume in volumes() {
        survey.look(disk, &volume);
        unified(disk, &volume, loaders, &mut survey);
    }
    survey.finish(missed)
}

/// Kernels among the EFI programs. A loader that cannot be read was noted when it was found.
fn unified(disk: &mut Disk<'_>, volume: &Volume<'_>, loaders: &[Loader], to: &mut Survey) {
    for loader in loaders.iter().filter(|loader| loader.partition == volume.partition) {
        let Ok(file) = volume.files.find(disk, &loader.path) else { continue };
        if let Ok(Some(_)) = program::unified(disk, &file) {
            to.kernel(disk, volume, &loader.path, &file);
        }
    }
}
