//! The operating system, from all file systems of the disk together: the settings may lie on one, the kernels on
//! another and the modules on a third.

pub(crate) mod drivers;
mod entries;
mod settings;

use crate::bytes::{stands_at, u16_at};
use crate::contents::{CommandLine, Driver, Kernel, MayHold, Place, System, Unread};
use crate::disk::{Disk, Fault};
use crate::files::{File, FileSystem};
use crate::initrd::{self, Initrd};
use crate::loader::Machine;
use crate::program;
use drivers::Evidence;
use settings::{Kind, MAX_ENTRIES};
use std::collections::{BTreeMap, BTreeSet};

const MAX_OS_RELEASE: u64 = 64 << 10;
const MAX_CONFIGURATION: u64 = 4 << 20;
const MAX_MODULES: u64 = 16 << 20;
/// Kernels of one disk.
const MAX_KERNELS: usize = 16;
const MAX_COMMAND_LINES: usize = 256;
/// Unpacking an initrd takes a second or so.
const MAX_INITRDS: usize = 4;

/// A bzImage's own version: a pointer in its header, counted from 0x200.
const BZIMAGE_VERSION_AT: usize = 0x20e;
const KERNEL_HEAD: usize = 32 << 10;

const KERNEL_NAMES: [&str; 4] = ["vmlinuz-", "vmlinux-", "Image-", "kernel-"];
const INITRD_NAMES: [&str; 2] = ["initrd", "initramfs"];
/// What could not be read of one disk; behind it there is more of the same.
const MAX_UNREAD: usize = 32;
/// Parts of names of what nobody starts by default.
const NOT_BY_DEFAULT: [&str; 3] = ["rescue", "kdump", ".old"];

/// What is being gathered.
#[derive(Default)]
pub(crate) struct Survey {
    system: System,
    gathered: BTreeMap<String, Gathered>,
    kernels: Vec<Called>,
    initrds: Vec<Unpacked>,
    unread: Vec<Unread>,
    /// GRUB's, from wherever its environment lies.
    variables: settings::Variables,
}

/// A kernel's file, and the version that it is gathered under: its path, until something tells more.
struct Called {
    file: File,
    version: String,
    told: bool,
}

/// An initrd, and all the names that lead to it.
struct Unpacked {
    places: Vec<Place>,
    file: File,
    seen: Initrd,
}

impl Unpacked {
    /// Some say themselves which kernel they are for, by their modules; else their name does.
    fn is_for(&self, version: &str) -> bool {
        let named = |place: &Place| place.path.as_deref().is_some_and(|path| path.contains(version));
        self.seen.versions.contains(version) || self.places.iter().any(named)
    }
}

#[derive(Default)]
struct Gathered {
    kernel: Kernel,
    evidence: Evidence,
}

/// One file system of the disk.
pub(crate) struct Volume<'v> {
    pub(crate) partition: u32,
    pub(crate) files: &'v dyn FileSystem,
}

impl Volume<'_> {
    fn place(&self, path: &str) -> Place {
        Place::path(self.partition, path)
    }
}

impl Survey {
    /// Reads GRUB's variables, which entries on another partition may be written with: an EFI system partition may have
    /// them, and /boot the entries.
    pub(crate) fn variables(&mut self, disk: &mut Disk<'_>, volume: &Volume<'_>) {
        let mut paths: Vec<String> =
            ["/grub", "/grub2", "/boot/grub", "/boot/grub2"].map(|folder| format!("{folder}/grubenv")).into();
        let vendors = volume.files.list(disk, settings::VENDORS).unwrap_or_default();
        let vendors = vendors.iter().take(MAX_ENTRIES);
        paths.extend(vendors.map(|vendor| format!("{}/{vendor}/grubenv", settings::VENDORS)));
        for path in paths {
            if let Some(text) = self.text(disk, volume, &path, settings::MAX_SETTINGS) {
                self.variables.extend(settings::environment(&text));
            }
        }
    }

    /// Looks at one file system. What cannot be read is noted, and the rest looked at.
    pub(crate) fn look(&mut self, disk: &mut Disk<'_>, volume: &Volume<'_>) {
        self.name(disk, volume);
        // Links in the root lead to files in /boot: their own names come first.
        for base in ["/boot", ""] {
            for (kind, entry) in self.settings(disk, volume, base) {
                self.started(disk, volume, kind, &entry);
                if entry.own_line {
                    self.command_line(entry.line);
                }
            }
            self.boot_folder(disk, volume, base);
        }
        self.menu(disk, volume);
        for folder in ["/usr/lib/modules", "/lib/modules"] {
            let versions = self.list(disk, volume, folder);
            for version in versions.iter().take(MAX_KERNELS) {
                self.modules(disk, volume, folder, version);
            }
            if !versions.is_empty() {
                break;
            }
        }
    }

    fn command_line(&mut self, line: CommandLine) {
        if self.system.command_lines.len() < MAX_COMMAND_LINES {
            self.system.command_lines.push(line);
        }
    }

    /// What is there and can be read. What is there and cannot is noted.
    fn noted<T>(&mut self, result: Result<T, Fault>, volume: &Volume<'_>, path: &str) -> Option<T> {
        match result {
            Ok(value) => return Some(value),
            Err(Fault::Absent) => {}
            Err(fault) => self.unread.push(Unread {
                place: volume.place(path),
                why: fault.to_string(),
                may_hold: MayHold::System,
            }),
        }
        self.unread.truncate(MAX_UNREAD);
        None
    }

    fn find(&mut self, disk: &mut Disk<'_>, volume: &Volume<'_>, path: &str) -> Option<File> {
        self.noted(volume.files.find(disk, path), volume, path)
    }

    fn text(&mut self, disk: &mut Disk<'_>, volume: &Volume<'_>, path: &str, most: u64) -> Option<String> {
        let bytes = self.find(disk, volume, path)?.read(disk, most);
        let bytes = self.noted(bytes, volume, path)?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn list(&mut self, disk: &mut Disk<'_>, volume: &Volume<'_>, folder: &str) -> Vec<String> {
        self.noted(volume.files.list(disk, folder), volume, folder).unwrap_or_default()
    }

    fn name(&mut self, disk: &mut Disk<'_>, volume: &Volume<'_>) {
        for path in ["/etc/os-release", "/usr/lib/os-release"] {
            let Some(text) = self.text(disk, volume, path, MAX_OS_RELEASE) else { continue };
            let name = program::pretty_name(&text).unwrap_or("an operating system without a name");
            self.system.names.push((volume.partition, name.to_owned()));
            break;
        }
    }

    /// What loaders could start from here.
    fn settings(
        &mut self,
        disk: &mut Disk<'_>,
        volume: &Volume<'_>,
        base: &str,
    ) -> Vec<(Kind, settings::Entry)> {
        let mut files: Vec<(String, Kind)> =
            settings::PLACES.map(|(name, kind)| (format!("{base}/{name}"), kind)).into();
        let folder = format!("{base}/{}", settings::ENTRIES);
        let mut names = self.list(disk, volume, &folder);
        names.retain(|name| name.ends_with(".conf"));
        names.sort();
        files.extend(names.iter().take(MAX_ENTRIES).map(|name| (format!("{folder}/{name}"), Kind::Entry)));
        if base.is_empty() {
            let vendors = self.list(disk, volume, settings::VENDORS);
            let grub = |vendor: &String| (format!("{}/{vendor}/grub.cfg", settings::VENDORS), Kind::Grub);
            files.extend(vendors.iter().take(MAX_ENTRIES).map(grub));
        }
        files.sort_by_key(|(_, kind)| *kind);
        let (mut found, mut variables) = (Vec::new(), self.variables.clone());
        for (path, kind) in files {
            if kind == Kind::Legacy && !found.is_empty() {
                continue;
            }
            if let Some(text) = self.text(disk, volume, &path, settings::MAX_SETTINGS) {
                let entries = settings::parse(kind, &text, &volume.place(&path), &mut variables);
                found.extend(entries.into_iter().map(|entry| (kind, entry)));
            }
        }
        found.truncate(MAX_ENTRIES);
        found
    }

    /// Kernels, initrds and configurations by their names.
    fn boot_folder(&mut self, disk: &mut Disk<'_>, volume: &Volume<'_>, folder: &str) {
        let mut names = self.list(disk, volume, if folder.is_empty() { "/" } else { folder });
        names.retain(|name| !NOT_BY_DEFAULT.iter().any(|part| name.contains(part)));
        names.sort();
        let starts = |name: &str, with: &[&str]| with.iter().any(|start| name.starts_with(start));
        for name in &names {
            let path = format!("{folder}/{name}");
            if let Some(version) = name.strip_prefix("config-") {
                if let Some(text) = self.text(disk, volume, &path, MAX_CONFIGURATION) {
                    self.configuration(version, &text);
                }
            } else if starts(name, &KERNEL_NAMES) {
                if let Some(file) = self.find(disk, volume, &path) {
                    self.kernel(disk, volume, &path, &file);
                }
            } else if starts(name, &INITRD_NAMES)
                && let Some(file) = self.find(disk, volume, &path)
            {
                self.initrd(disk, volume.place(&path), &file, 0, file.bytes);
            }
        }
    }

    /// A kernel, or a unified image with all that one needs.
    pub(crate) fn kernel(&mut self, disk: &mut Disk<'_>, volume: &Volume<'_>, path: &str, file: &File) {
        let facts = kernel_facts(disk, file);
        let Some((unified, machine, version)) = self.noted(facts, volume, path) else { return };
        let place = volume.place(path);
        let named = || path.rsplit('/').next()?.split_once('-').map(|(_, version)| version.to_owned());
        let version = version.filter(|version| !version.is_empty());
        let version = self.called(file, version.or_else(named), path);
        if let Some(gathered) = self.gathered(&version) {
            gathered.kernel.place.get_or_insert(place.clone());
            gathered.kernel.machine = gathered.kernel.machine.or(machine);
        }
        let Some(unified) = unified else { return };
        // Entries lead to images that were seen already.
        if !self.system.command_lines.iter().any(|line| line.place == place) {
            let text = self.with_addons(disk, volume, path, unified.command_line.unwrap_or_default());
            self.command_line(CommandLine { place: place.clone(), text, rescue: false });
        }
        if let Some((start, len)) = unified.initrd {
            self.initrd(disk, place, file, start, len);
        }
    }

    /// What a kernel is called. Links lead to the same file, and its own name may say what they do not: a kernel for
    /// arm64 does not tell its version.
    fn called(&mut self, file: &File, version: Option<String>, path: &str) -> String {
        let Some(known) = self.kernels.iter_mut().find(|known| known.file == *file) else {
            let told = version.is_some();
            let version = version.unwrap_or_else(|| path.to_owned());
            if self.kernels.len() < MAX_KERNELS {
                self.kernels.push(Called { file: file.clone(), version: version.clone(), told });
            }
            return version;
        };
        if let (false, Some(version)) = (known.told, version) {
            if let Some(Gathered { kernel, .. }) = self.gathered.remove(&known.version) {
                self.gathered.entry(version.clone()).or_default().kernel.place = kernel.place;
            }
            (known.version, known.told) = (version, true);
        }
        known.version.clone()
    }

    fn initrd(&mut self, disk: &mut Disk<'_>, place: Place, file: &File, start: u64, len: u64) {
        // Links and several settings lead to the same file.
        if let Some(same) = self.initrds.iter_mut().find(|other| other.file == *file) {
            if same.places.len() < MAX_KERNELS && !same.places.contains(&place) {
                same.places.push(place);
            }
            return;
        }
        if self.initrds.len() > MAX_INITRDS {
            return;
        }
        let seen = if self.initrds.len() < MAX_INITRDS {
            initrd::read(file.reader(disk, start, len))
        } else {
            Initrd { unread: Some("there are too many initrds".to_owned()), ..Initrd::default() }
        };
        self.initrds.push(Unpacked { places: vec![place], file: file.clone(), seen });
    }

    fn configuration(&mut self, version: &str, text: &str) {
        let (built_in, left_out) = drivers::of_configuration(text);
        if let Some(gathered) = self.gathered(version) {
            gathered.evidence.built_in.get_or_insert_default().extend(built_in);
            gathered.evidence.left_out.extend(left_out);
        }
    }

    /// One version's folder of modules.
    fn modules(&mut self, disk: &mut Disk<'_>, volume: &Volume<'_>, folder: &str, version: &str) {
        let built_in = self.text(disk, volume, &format!("{folder}/{version}/modules.builtin"), MAX_MODULES);
        let on_root = self.text(disk, volume, &format!("{folder}/{version}/modules.dep"), MAX_MODULES);
        // Each line begins with a module's path.
        let of = |text: &str| -> BTreeSet<Driver> {
            text.lines()
                .filter_map(|line| drivers::of_module(line.split(':').next().unwrap_or(line)))
                .collect()
        };
        if let Some(gathered) = self.gathered(version) {
            let evidence = &mut gathered.evidence;
            if let Some(text) = built_in {
                evidence.built_in.get_or_insert_default().extend(of(&text));
            }
            if let Some(text) = on_root {
                evidence.on_root.get_or_insert_default().extend(of(&text));
            }
        }
    }

    fn gathered(&mut self, version: &str) -> Option<&mut Gathered> {
        if self.gathered.len() >= MAX_KERNELS && !self.gathered.contains_key(version) {
            return None;
        }
        Some(self.gathered.entry(version.to_owned()).or_default())
    }

    /// Puts together what all file systems had. What could not be read may have held an initrd.
    pub(crate) fn finish(mut self, unread: &mut Vec<Unread>) -> System {
        unread.append(&mut self.unread);
        let blind = unread.iter().any(|unread| unread.may_hold == MayHold::System);
        for initrd in &self.initrds {
            if let (Some(place), Some(why)) = (initrd.places.first(), &initrd.seen.unread) {
                let (place, why) = (place.clone(), why.clone());
                unread.push(Unread { place, why, may_hold: MayHold::Drivers });
            }
        }
        for (version, gathered) in &mut self.gathered {
            let evidence = &mut gathered.evidence;
            let mine: Vec<&Unpacked> = self.initrds.iter().filter(|initrd| initrd.is_for(version)).collect();
            evidence.initrd_seen = match mine.as_slice() {
                // A kernel without an initrd, where none can have been missed.
                [] => self.initrds.is_empty() && !blind,
                some => some.iter().all(|initrd| initrd.seen.unread.is_none()),
            };
            for initrd in mine {
                gathered.kernel.initrds.extend(initrd.places.first().cloned());
                evidence.in_initrd.extend(&initrd.seen.modules);
                if !initrd.seen.built_in.is_empty() {
                    evidence.built_in.get_or_insert_default().extend(&initrd.seen.built_in);
                }
            }
            gathered.kernel.drivers = evidence.drivers();
        }
        self.system.kernels =
            self.gathered.into_iter().map(|(version, gathered)| (version, gathered.kernel)).collect();
        self.system
    }
}

type KernelFacts = (Option<program::Unified>, Option<Machine>, Option<String>);

fn kernel_facts(disk: &mut Disk<'_>, file: &File) -> Result<KernelFacts, Fault> {
    let unified = program::unified(disk, file)?;
    let machine = program::kernel_machine(disk, file)?;
    let version = match &unified {
        Some(unified) => unified.version.clone(),
        None => version(&file.head(disk, KERNEL_HEAD)?),
    };
    Ok((unified, machine, version))
}

/// A bzImage says its version itself.
fn version(head: &[u8]) -> Option<String> {
    if !stands_at(head, 0x202, b"HdrS") {
        return None;
    }
    let at = usize::from(u16_at(head, BZIMAGE_VERSION_AT)?).checked_add(0x200)?;
    let text = head.get(at..)?.split(|byte| byte.is_ascii_whitespace() || *byte == 0).next()?;
    let text = str::from_utf8(text).ok()?;
    let plain = !text.is_empty() && text.chars().all(|c| c.is_ascii_graphic());
    plain.then(|| text.to_owned())
}
