//! A finding: what is wrong, where, why it matters, what to do. Codes are for programs and stay as they are.

use crate::contents::Place;
use serde::Serialize;
use std::fmt;

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Finding {
    pub code: Code,
    pub severity: Severity,
    pub place: Place,
    pub reason: String,
    pub remedy: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}: {}: {} ({})", self.severity, self.place, self.reason, self.code)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It would not start, or not be reachable.
    Error,
    /// It would not on some types, or something is missing that people expect.
    Warning,
    /// Worth knowing.
    Information,
}

impl fmt::Display for Severity {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Information => "information",
        })
    }
}

/// An enum whose members have their names as text.
macro_rules! named {
    ($(#[$about:meta])* pub enum $name:ident { $($(#[$what:meta])* $member:ident,)* }) => {
        $(#[$about])*
        pub enum $name { $($(#[$what])* $member,)* }

        impl $name {
            /// The same as in JSON and in the source.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $($name::$member => stringify!($member),)* }
            }
        }
    };
}

named! {
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Code {
    /// The first sector holds no code for BIOS.
    NoBootCode,
    /// The first sector lacks 55 AA.
    NoBootSignature,
    /// GRUB's second part is missing.
    BootCodeIncomplete,
    /// The boot code starts the active partition, and none is.
    NoActivePartition,
    /// Only UEFI could start the disk, and the image does not say so.
    BootModeAbsent,
    /// The image is to start in a mode that no type of its architecture has.
    BootModeImpossible,
    NoEsp,
    EspUnreadable,
    /// The loader lies on a partition that is not typed as an EFI system partition.
    EspType,
    NoRemovableLoader,
    LoaderMachine,
    /// Shim's second stage, or what its fallback would start, is not there.
    ShimStartsNothing,
    /// systemd-boot has no entry that it could start.
    NoBootEntry,
    /// A kernel or initrd that an entry names is not there.
    BootEntryIncomplete,
    /// The loader's settings have it wait for somebody at the screen.
    LoaderWaits,
    NoPartitionTable,
    GptBroken,
    GptPrimaryBroken,
    GptBackupBroken,
    NoProtectiveMbr,
    ExtendedChainLoop,
    ExtendedChainBroken,
    VolumeTooSmall,
    RootDeviceNotMapped,
    KernelMachine,
    NoKernel,
    NoSerialConsole,
    NvmeDriverMissing,
    EnaDriverMissing,
    VirtioPciDriverMissing,
    VirtioBlkDriverMissing,
    VirtioNetDriverMissing,
    NotLookedInto,
}
}

impl fmt::Display for Code {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(self.name())
    }
}
