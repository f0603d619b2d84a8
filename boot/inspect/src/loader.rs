//! EFI programs as plain data: where they lie, what they are for, and what they are.

use std::fmt;

/// An EFI program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loader {
    pub partition: u32,
    /// As it is written there, from the root, with `/`.
    pub path: String,
    pub machine: Machine,
    pub kind: LoaderKind,
    /// It carries a signature; whose, and whether it is good, is not looked at.
    pub signed: bool,
}

/// The machine that a program is for: the PE header's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Machine {
    X86_64,
    Arm64,
    /// 32-bit x86, which EC2's firmware does not start.
    I386,
    Other(u16),
    /// No EFI program at all.
    None,
}

/// What an EFI program is, by its sections. Names are as the program gives them, without what cannot be printed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoaderKind {
    /// Starts what lies beside it, if its maker has signed that.
    Shim,
    /// Shim's helper for the removable path: makes boot entries, and starts the first.
    ShimFallback,
    /// Shim's helper that asks somebody at the screen for keys.
    MokManager,
    Grub,
    SystemdBoot {
        version: Option<String>,
    },
    /// A kernel in one file with all that it needs, and the name of its system.
    Unified {
        name: Option<String>,
    },
    /// A kernel that firmware starts by itself.
    Linux,
    /// Anything else, by the name that its SBAT gives.
    Other {
        name: Option<String>,
    },
}

/// What shim's fallback makes boot entries of: a list of programs in its own folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BootList {
    pub partition: u32,
    /// As a loader's.
    pub path: String,
    /// File names, as they are written there.
    pub starts: Vec<String>,
}

impl LoaderKind {
    /// One word for programs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            LoaderKind::Shim => "shim",
            LoaderKind::ShimFallback => "shim-fallback",
            LoaderKind::MokManager => "mok-manager",
            LoaderKind::Grub => "grub",
            LoaderKind::SystemdBoot { .. } => "systemd-boot",
            LoaderKind::Unified { .. } => "unified-kernel-image",
            LoaderKind::Linux => "linux",
            LoaderKind::Other { .. } => "other",
        }
    }

    /// What the program says of itself: systemd-boot's version, a unified kernel image's system, another's name.
    #[must_use]
    pub fn says(&self) -> Option<&str> {
        match self {
            LoaderKind::SystemdBoot { version: said }
            | LoaderKind::Unified { name: said }
            | LoaderKind::Other { name: said } => said.as_deref(),
            LoaderKind::Shim
            | LoaderKind::ShimFallback
            | LoaderKind::MokManager
            | LoaderKind::Grub
            | LoaderKind::Linux => None,
        }
    }
}

impl fmt::Display for LoaderKind {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = match self {
            LoaderKind::Shim => "shim",
            LoaderKind::ShimFallback => "shim's fallback",
            LoaderKind::MokManager => "MokManager",
            LoaderKind::Grub => "GRUB",
            LoaderKind::SystemdBoot { .. } => "systemd-boot",
            LoaderKind::Unified { .. } => "a unified kernel image",
            LoaderKind::Linux => "a Linux kernel",
            LoaderKind::Other { name: Some(_) } => "",
            LoaderKind::Other { name: None } => "an EFI program",
        };
        to.write_str(what)?;
        match (self, self.says()) {
            (LoaderKind::Unified { .. }, Some(name)) => write!(to, " ({name})"),
            (LoaderKind::Other { .. }, Some(name)) => to.write_str(name),
            (_, Some(version)) => write!(to, " {version}"),
            (_, None) => Ok(()),
        }
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Machine::X86_64 => to.write_str("x86_64"),
            Machine::Arm64 => to.write_str("arm64"),
            Machine::I386 => to.write_str("32-bit x86"),
            Machine::Other(machine) => write!(to, "machine {machine:#06x}"),
            Machine::None => to.write_str("no machine: it is no EFI program"),
        }
    }
}
