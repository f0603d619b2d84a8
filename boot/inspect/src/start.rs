//! What each firmware would start, and why it would not: what [`lint`](crate::lint) complains of and
//! [`guess`](crate::guess) chooses by.

use crate::contents::{BootCodeKind, Contents, Holds, Partition, Role, Unread};
use crate::loader::{Loader, Machine};
use ami_run_image::Architecture;

/// Why BIOS would not get further than the first sector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoBios {
    Code,
    Signature,
    /// GRUB's core is not where its first sector looks for it.
    Core(u64),
    /// The code starts the active partition, and there is none.
    Active(&'static str),
}

pub(crate) fn bios(contents: &Contents) -> Result<(), NoBios> {
    let code = &contents.boot_code;
    match code.kind {
        BootCodeKind::None => Err(NoBios::Code),
        _ if !code.signature => Err(NoBios::Signature),
        BootCodeKind::Grub { core: false, core_sector } => Err(NoBios::Core(core_sector)),
        BootCodeKind::Chain { name } if !contents.partitions.iter().any(|partition| partition.active) => {
            Err(NoBios::Active(name))
        }
        BootCodeKind::Grub { .. }
        | BootCodeKind::Chain { .. }
        | BootCodeKind::Lilo
        | BootCodeKind::Unknown => {
            // A FAT on the whole disk has code in its boot sector that only says that it is no boot disk.
            let whole = |partition: &Partition| partition.number == 0 && partition.holds == Holds::Fat;
            if contents.partitions.iter().any(whole) { Err(NoBios::Code) } else { Ok(()) }
        }
    }
}

/// Why UEFI would find nothing to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum NoUefi {
    Esp,
    /// It is there and cannot be read.
    Unread {
        partition: u32,
        why: String,
    },
    /// No program under the path that is tried without a boot entry; what else there is, if it is for the machine, or
    /// if nothing is.
    Path {
        partition: u32,
        others: Vec<(String, Machine)>,
    },
    /// A program for another machine.
    Machine {
        partition: u32,
        path: String,
        machine: Machine,
    },
}

/// The path that firmware tries where no boot entry names another (UEFI 2.10 §3.5.1.1).
pub(crate) fn removable_path(architecture: Architecture) -> &'static str {
    match architecture {
        Architecture::X86_64 => "/EFI/BOOT/BOOTX64.EFI",
        Architecture::Arm64 => "/EFI/BOOT/BOOTAA64.EFI",
    }
}

pub(crate) fn machine(architecture: Architecture) -> Machine {
    match architecture {
        Architecture::X86_64 => Machine::X86_64,
        Architecture::Arm64 => Machine::Arm64,
    }
}

/// The loader that UEFI would start. EDK II looks on every FAT, whatever type its partition has.
pub(crate) fn uefi(contents: &Contents, architecture: Architecture) -> Result<&Loader, NoUefi> {
    let path = removable_path(architecture);
    let there: Vec<&Loader> =
        contents.loaders.iter().filter(|loader| loader.path.eq_ignore_ascii_case(path)).collect();
    if let Some(good) = there.iter().find(|loader| loader.machine == machine(architecture)) {
        return Ok(good);
    }
    if let Some(Loader { partition, path, machine, .. }) = there.first() {
        return Err(NoUefi::Machine { partition: *partition, path: path.clone(), machine: *machine });
    }
    let esp = contents.partitions.iter().find(|partition| partition.role == Role::Esp);
    let Some(esp) = esp.map(|esp| esp.number) else { return Err(NoUefi::Esp) };
    let missed = unread(contents, esp);
    if let Some(missed) = missed {
        return Err(NoUefi::Unread { partition: esp, why: missed.why.clone() });
    }
    let others = contents.loaders.iter();
    let mut others: Vec<_> = others.map(|loader| (loader.path.clone(), loader.machine)).collect();
    let fits = |(_, machine): &(String, Machine)| *machine == self::machine(architecture);
    if others.iter().any(fits) {
        others.retain(fits);
    }
    Err(NoUefi::Path { partition: esp, others })
}

/// What of a partition was not seen.
pub(crate) fn unread(contents: &Contents, partition: u32) -> Option<&Unread> {
    contents.unread.iter().find(|unread| unread.place.partition == Some(partition))
}
