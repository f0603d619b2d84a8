//! What a disk holds, as far as it matters to a start: plain data that [`look`](crate::look) finds and nobody else
//! changes.

use crate::loader::{BootList, Loader, Machine};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

/// How far to look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What firmware reads: partition tables, boot code, the loaders on the EFI system partition. Some hundred KiB.
    Start,
    /// Also what the loader and the kernel would read: loaders' settings, kernels, what their initrds hold.
    System,
}

/// What a disk holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    pub depth: Depth,
    pub volume_bytes: u64,
    pub table: Table,
    pub boot_code: BootCode,
    /// As the table lists them. Without a table, a file system on the whole disk stands here as number 0.
    pub partitions: Vec<Partition>,
    /// EFI programs below /EFI, on every FAT.
    pub loaders: Vec<Loader>,
    /// The lists of shim's fallback there.
    pub boot_lists: Vec<BootList>,
    pub system: System,
    pub unread: Vec<Unread>,
}

/// What was meant to be looked into and was not, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unread {
    pub place: Place,
    pub why: String,
    /// What could be in there that nobody saw.
    pub may_hold: MayHold,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayHold {
    /// Loaders that UEFI would start.
    Loaders,
    /// An operating system: loaders' settings, kernels, modules.
    System,
    /// One kernel's drivers.
    Drivers,
}

/// Where something is: a partition, a path on it, or a member of image.json.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Place {
    /// The partition's number; 0 is the disk without a table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub partition: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub member: Option<String>,
}

impl Place {
    #[must_use]
    pub fn disk() -> Place {
        Place::default()
    }

    #[must_use]
    pub fn partition(number: u32) -> Place {
        Place { partition: Some(number), ..Place::default() }
    }

    #[must_use]
    pub fn path(number: u32, path: &str) -> Place {
        Place { path: Some(path.to_owned()), ..Place::partition(number) }
    }

    #[must_use]
    pub fn member(name: &str) -> Place {
        Place { member: Some(name.to_owned()), ..Place::default() }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.member, self.partition, &self.path) {
            (Some(member), ..) => to.write_str(member),
            (None, Some(0), None) => to.write_str("the disk's file system"),
            (None, Some(number), None) => write!(to, "partition {number}"),
            (None, Some(0) | None, Some(path)) => to.write_str(path),
            (None, Some(number), Some(path)) => write!(to, "partition {number}: {path}"),
            (None, None, None) => to.write_str("the disk"),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Table {
    None,
    Mbr { chain: Chain },
    Gpt(Gpt),
}

/// The chain of records that logical partitions are listed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Chain {
    None,
    Whole,
    /// It comes back to where it was.
    Loop,
    /// It leads out of the extended partition, to no record, or on and on.
    Broken,
}

/// The two copies of a GPT, and the MBR before them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpt {
    pub primary: Copy,
    pub backup: Copy,
    pub mbr: GptMbr,
    /// The disk's size as the table has it: what lies behind its backup is nobody's.
    pub bytes: u64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Copy {
    Good,
    Broken(String),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GptMbr {
    Protective,
    /// It names partitions beside the protective one, for systems that read MBRs only.
    Hybrid,
    /// Nothing there says that a GPT follows.
    None,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    pub number: u32,
    pub role: Role,
    pub first_byte: u64,
    pub bytes: u64,
    /// The MBR's active flag, or GPT's attribute "legacy BIOS bootable".
    pub active: bool,
    pub name: String,
    pub holds: Holds,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Esp,
    /// The Boot Loader Specification's second partition of entries and kernels, XBOOTLDR.
    XBootLoader,
    /// Where GRUB keeps its core for BIOS.
    BiosBoot,
    /// The MBR's box of logical partitions.
    Extended,
    Other,
}

/// What a partition begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    Ext,
    Fat,
    /// Known by its magic, and not looked into.
    Other(&'static str),
    Unknown,
    /// It cannot be read.
    Nothing,
}

/// What BIOS finds in the first sector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootCode {
    /// 55 AA at its end, without which BIOS does not start it.
    pub signature: bool,
    pub kind: BootCodeKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootCodeKind {
    /// Only zeros.
    None,
    /// GRUB's first sector; where the rest of it begins, and whether anything is there.
    Grub {
        core_sector: u64,
        core: bool,
    },
    /// Starts the active partition's first sector.
    Chain {
        name: &'static str,
    },
    Lilo,
    Unknown,
}

/// The operating system, as far as it was looked into.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct System {
    /// PRETTY_NAME of os-release, by partition.
    pub names: Vec<(u32, String)>,
    pub command_lines: Vec<CommandLine>,
    /// Entries of the Boot Loader Specification (UAPI.1): systemd-boot's, and GRUB's on Fedora and its kin.
    pub entries: Vec<BootEntry>,
    /// systemd-boot's own settings.
    pub menus: Vec<Menu>,
    /// By version.
    pub kernels: BTreeMap<String, Kernel>,
}

/// What a loader hands a kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandLine {
    pub place: Place,
    pub text: String,
    /// For repair: nobody starts it by default.
    pub rescue: bool,
}

/// An entry of the Boot Loader Specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootEntry {
    pub place: Place,
    pub title: Option<String>,
    /// As in [`CommandLine`].
    pub rescue: bool,
    /// Its kernel is there.
    pub kernel: bool,
    /// What it names and what is not there, as it stands in the entry.
    pub missing: Vec<String>,
}

/// systemd-boot's loader.conf.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Menu {
    pub place: Place,
    /// The pattern of the entry that is started.
    pub default: Option<String>,
    /// It waits until somebody chooses.
    pub waits: bool,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kernel {
    pub place: Option<Place>,
    pub machine: Option<Machine>,
    pub initrds: Vec<Place>,
    /// Where each driver is.
    pub drivers: BTreeMap<Driver, Found>,
}

/// What a machine of EC2's or ours needs a driver for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Driver {
    Nvme,
    Ena,
    VirtioPci,
    VirtioBlk,
    VirtioNet,
}

/// Where a kernel has a driver.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Found {
    /// It was seen nowhere, and everything was seen.
    Nowhere,
    /// Not everything could be seen.
    Unknown,
    /// A module on the root file system.
    Root,
    /// A module in the initrd.
    Initrd,
    /// Built in.
    Kernel,
}
