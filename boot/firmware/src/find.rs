//! Where the distribution keeps its firmware: by QEMU's firmware descriptions (QEMU's docs/interop/firmware.json),
//! then by known paths. What is found is checked for plausibility only, so that a wrong file is told before the
//! guest hangs in it.

use crate::FirmwareError;
use crate::file::Source;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// A firmware image and where it came from.
#[derive(Clone, Debug)]
pub struct Firmware {
    pub path: PathBuf,
    pub bytes: Vec<u8>,
}

/// UEFI firmware in two parts, each for a flash chip of its own.
#[derive(Clone, Debug)]
pub struct Uefi {
    /// The file of the code, which is long: it is mapped, not read.
    pub code: PathBuf,
    /// Where it begins in the file: behind the variables if they are in one.
    pub code_offset: u64,
    pub code_size: u64,
    /// The variables of a machine that has never run.
    pub variables: Firmware,
}

/// Where distributions put SeaBIOS when no description names it: Debian, Ubuntu, Fedora and Alpine; Arch and
/// openSUSE; RHEL; a QEMU that was built from source; NixOS.
const KNOWN_PATHS: [&str; 5] = [
    "/usr/share/seabios/bios-256k.bin",
    "/usr/share/qemu/bios-256k.bin",
    "/usr/share/qemu-kvm/bios-256k.bin",
    "/usr/local/share/qemu/bios-256k.bin",
    "/run/current-system/sw/share/qemu/bios-256k.bin",
];

/// SeaBIOS is built to fill one of these, whole.
const BIOS_SIZES: [u64; 2] = [128 << 10, 256 << 10];
/// From the end: where the CPU starts.
const RESET_VECTOR: usize = 16;
/// JMP ptr16:16.
const FAR_JUMP: u8 = 0xea;
/// A longer description is none.
const MAX_DESCRIPTION: u64 = 1 << 20;

const ARCHITECTURE: &str = "x86_64";
const MACHINE: &str = "pc-i440fx-";
const WANTED: &str = "a SeaBIOS image (bios-256k.bin)";

/// The folders to look in, so that tests can have their own.
#[derive(Clone, Debug)]
struct Places {
    /// Of the system's paths.
    root: PathBuf,
    /// The user's descriptions come before the system's.
    config: Option<PathBuf>,
}

impl Places {
    fn of_this_system() -> Places {
        let variable = |name| std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
        let config =
            variable("XDG_CONFIG_HOME").or_else(|| variable("HOME").map(|home| home.join(".config")));
        Places { root: PathBuf::from("/"), config }
    }

    fn system(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// Best first.
    fn description_folders(&self) -> Vec<PathBuf> {
        let user = self.config.iter().map(|config| config.join("qemu/firmware"));
        user.chain(["/etc/qemu/firmware", "/usr/share/qemu/firmware"].map(|path| self.system(path))).collect()
    }
}

/// Finds SeaBIOS: `explicit` if given, else the distribution's.
pub fn seabios(explicit: Option<&Path>) -> Result<Firmware, FirmwareError> {
    match explicit {
        Some(path) => load(path),
        None => discover(&Places::of_this_system()),
    }
}

/// Finds UEFI firmware: the code `explicit` if given, else the distribution's.
pub fn uefi(explicit: Option<&Path>) -> Result<Uefi, FirmwareError> {
    let code = explicit.unwrap_or(Path::new("/usr/share/OVMF/OVMF_CODE_4M.fd"));
    let code_size = Source::open(code, "a UEFI firmware image (OVMF_CODE_4M.fd)")?.length;
    let path = PathBuf::from("/usr/share/OVMF/OVMF_VARS_4M.fd");
    let source = Source::open(&path, "a UEFI variable store (OVMF_VARS_4M.fd)")?;
    let bytes = source.read(0, usize::try_from(source.length).unwrap_or(usize::MAX))?;
    Ok(Uefi { code: code.to_owned(), code_offset: 0, code_size, variables: Firmware { path, bytes } })
}

/// The first candidate that is a BIOS. If none is, the first that exists says what is wrong with it.
fn discover(places: &Places) -> Result<Firmware, FirmwareError> {
    let known = KNOWN_PATHS.into_iter().map(|path| places.system(path));
    let mut problem = None;
    for path in described(places).into_iter().chain(known).filter(|path| path.exists()) {
        match load(&path) {
            Ok(firmware) => return Ok(firmware),
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    Err(problem.unwrap_or(FirmwareError::NotInstalled))
}

fn load(path: &Path) -> Result<Firmware, FirmwareError> {
    let source = Source::open(path, WANTED)?;
    if !BIOS_SIZES.contains(&source.length) {
        return Err(FirmwareError::BiosSize { path: source.path, size: source.length });
    }
    let bytes = source.read(0, usize::try_from(source.length).unwrap_or(usize::MAX))?;
    if bytes.iter().rev().nth(RESET_VECTOR - 1) != Some(&FAR_JUMP) {
        return Err(FirmwareError::BiosEntry { path: source.path });
    }
    Ok(Firmware { path: source.path, bytes })
}

/// The parts of a description that decide.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Description {
    interface_types: Vec<String>,
    mapping: Mapping,
    targets: Vec<Target>,
}

#[derive(Deserialize)]
struct Mapping {
    device: String,
    filename: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    architecture: String,
    machines: Vec<String>,
}

impl Description {
    /// The image, if this is a BIOS for our kind of machine.
    fn bios(self) -> Option<PathBuf> {
        let bios = self.interface_types.iter().any(|kind| kind == "bios") && self.mapping.device == "memory";
        let ours = self.targets.iter().any(|target| {
            target.architecture == ARCHITECTURE
                && target.machines.iter().any(|name| name.starts_with(MACHINE))
        });
        if bios && ours { self.mapping.filename } else { None }
    }
}

/// What the descriptions name. They are read in order of their file names, whatever folder they are in; one in a
/// better folder hides those of the same name, and an empty file is there to do only that. What is not a
/// description is passed over, as QEMU's other users do.
fn described(places: &Places) -> Vec<PathBuf> {
    let mut files = BTreeMap::new();
    for folder in places.description_folders() {
        let Ok(entries) = folder.read_dir() else { continue };
        for entry in entries.flatten().filter(|entry| entry.path().extension().is_some_and(|e| e == "json")) {
            files.entry(entry.file_name()).or_insert_with(|| entry.path());
        }
    }
    let images = files.values().filter_map(|path| description(path)).filter_map(Description::bios);
    images.map(|image| places.system(&image.to_string_lossy())).collect()
}

fn description(path: &Path) -> Option<Description> {
    let source = Source::open(path, "a firmware description").ok()?;
    if source.length > MAX_DESCRIPTION {
        return None;
    }
    let bytes = source.read(0, usize::try_from(source.length).ok()?).ok()?;
    serde_json::from_slice(&bytes).ok()
}

#[cfg(test)]
#[path = "find_test.rs"]
mod tests;
