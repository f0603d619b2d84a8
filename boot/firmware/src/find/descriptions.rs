//! QEMU's firmware descriptions: JSON files that say what a firmware image is for and what it needs.

use super::Places;
use crate::file::Source;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A longer description is none.
const MAX_DESCRIPTION: u64 = 1 << 20;

/// A kind of machine, in QEMU's words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Machine {
    architecture: &'static str,
    /// What the machines' names begin with.
    name: &'static str,
}

pub(super) const PC: Machine = Machine { architecture: "x86_64", name: "pc-i440fx-" };
pub(super) const VIRT: Machine = Machine { architecture: "aarch64", name: "virt" };

/// The parts of a description that decide.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) struct Description {
    interface_types: Vec<String>,
    mapping: Mapping,
    targets: Vec<Target>,
    #[serde(default)]
    features: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Mapping {
    device: String,
    /// Of flash.
    mode: Option<String>,
    /// Of memory.
    filename: Option<PathBuf>,
    executable: Option<Image>,
    nvram_template: Option<Image>,
}

#[derive(Deserialize)]
struct Image {
    filename: PathBuf,
    format: String,
}

#[derive(Deserialize)]
struct Target {
    architecture: String,
    machines: Vec<String>,
}

/// UEFI firmware for flash.
#[derive(Clone, Debug)]
pub(super) struct Flash {
    pub code: PathBuf,
    pub variables: PathBuf,
    /// It runs on machines of our kind, among others.
    pub ours: bool,
    /// It does not run without SMM.
    pub needs_smm: bool,
    /// The variables have somebody's keys in them, and Secure Boot is on: a new instance of EC2's has none.
    pub has_keys: bool,
}

impl Description {
    /// The image, if this is a BIOS for our kind of machine.
    pub(super) fn bios(&self, places: &Places) -> Option<PathBuf> {
        let bios = self.is_a("bios") && self.mapping.device == "memory" && self.is_for(PC);
        self.mapping.filename.as_ref().filter(|_| bios).map(|image| places.system(image))
    }

    /// The two images, if this is UEFI for any machine of the architecture.
    fn uefi(&self, places: &Places, machine: Machine) -> Option<Flash> {
        let Mapping { device, mode, executable, nvram_template, .. } = &self.mapping;
        // Split is what it was before there were modes.
        let split = device == "flash" && mode.as_deref().is_none_or(|mode| mode == "split");
        let image = |image: &Option<Image>| {
            let raw = image.as_ref().filter(|image| image.format == "raw");
            raw.map(|image| places.system(&image.filename))
        };
        let has = |feature: &str| self.features.iter().any(|name| name == feature);
        let flash = Flash {
            code: image(executable)?,
            variables: image(nvram_template)?,
            ours: self.is_for(machine),
            needs_smm: has("requires-smm"),
            has_keys: has("enrolled-keys"),
        };
        (self.is_a("uefi") && split && self.is_for(Machine { name: "", ..machine })).then_some(flash)
    }

    fn is_a(&self, interface: &str) -> bool {
        self.interface_types.iter().any(|kind| kind == interface)
    }

    fn is_for(&self, machine: Machine) -> bool {
        self.targets.iter().any(|target| {
            target.architecture == machine.architecture
                && target.machines.iter().any(|name| name.starts_with(machine.name))
        })
    }
}

/// UEFI firmware for any machine of the architecture.
pub(super) fn flashes(places: &Places, machine: Machine) -> Vec<Flash> {
    read(places).iter().filter_map(|description| description.uefi(places, machine)).collect()
}

/// Those of this code.
pub(super) fn flashes_of(places: &Places, machine: Machine, code: &Path) -> Vec<Flash> {
    let same = |path: &Path| path == code || path.canonicalize().ok() == code.canonicalize().ok();
    flashes(places, machine).into_iter().filter(|flash| same(&flash.code)).collect()
}

/// A build may be described with and without somebody's keys.
pub(super) fn without_keys(flashes: &[Flash]) -> Option<&Flash> {
    flashes.iter().find(|flash| !flash.has_keys).or(flashes.first())
}

/// All there are. They are read in order of their file names, whatever folder they are in; one in a better folder
/// hides those of the same name, and an empty file is there to do only that. What is not a description is passed
/// over, as QEMU's other users do.
pub(super) fn read(places: &Places) -> Vec<Description> {
    let mut files = BTreeMap::new();
    for folder in places.description_folders() {
        let Ok(entries) = folder.read_dir() else { continue };
        for entry in entries.flatten().filter(|entry| entry.path().extension().is_some_and(|e| e == "json")) {
            files.entry(entry.file_name()).or_insert_with(|| entry.path());
        }
    }
    files.values().filter_map(|path| description(path)).collect()
}

fn description(path: &Path) -> Option<Description> {
    let source = Source::open(path, "a firmware description").ok()?;
    if source.length > MAX_DESCRIPTION {
        return None;
    }
    let bytes = source.read(0, usize::try_from(source.length).ok()?).ok()?;
    serde_json::from_slice(&bytes).ok()
}
