//! Where the distribution keeps its firmware: by QEMU's firmware descriptions (QEMU's docs/interop/firmware.json),
//! then by known paths. What is found is checked for plausibility only, so that a wrong file is told before the
//! guest hangs in it.

mod aavmf;
mod bios;
mod descriptions;
mod ovmf;
mod smm;

use crate::FirmwareError;
use crate::uefi::Store;
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

    fn system(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.root.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Best first.
    fn description_folders(&self) -> Vec<PathBuf> {
        let user = self.config.iter().map(|config| config.join("qemu/firmware"));
        user.chain(["/etc/qemu/firmware", "/usr/share/qemu/firmware"].map(|path| self.system(path))).collect()
    }
}

/// Finds SeaBIOS: `explicit` if given, else the distribution's.
pub fn seabios(explicit: Option<&Path>) -> Result<Firmware, FirmwareError> {
    if cfg!(target_arch = "aarch64") {
        return Err(FirmwareError::NoBios);
    }
    bios::find(&Places::of_this_system(), explicit)
}

/// Finds UEFI firmware for machines of this computer's architecture, which have no SMM: the code `explicit` if given,
/// else the distribution's.
pub fn uefi(explicit: Option<&Path>) -> Result<Uefi, FirmwareError> {
    let places = Places::of_this_system();
    if cfg!(target_arch = "aarch64") { aavmf::find(&places, explicit) } else { ovmf::find(&places, explicit) }
}

/// Variables that can be read.
fn checked(variables: Firmware) -> Result<Firmware, FirmwareError> {
    match Store::parse(&variables.bytes) {
        Ok(_) => Ok(variables),
        Err(problem) => Err(FirmwareError::Variables { path: variables.path, problem }),
    }
}

fn is_qcow2(beginning: &[u8]) -> bool {
    beginning.starts_with(b"QFI\xfb")
}

/// The first candidate that is what is sought. If none is, the first that exists says what is wrong with it; None
/// where none exists.
fn first<T, C>(
    candidates: impl IntoIterator<Item = C>,
    path: impl Fn(&C) -> &Path,
    load: impl Fn(&C) -> Result<T, FirmwareError>,
) -> Result<Option<T>, FirmwareError> {
    let mut problem = None;
    for candidate in candidates.into_iter().filter(|candidate| path(candidate).exists()) {
        match load(&candidate) {
            Ok(found) => return Ok(Some(found)),
            Err(error) => problem = problem.or(Some(error)),
        }
    }
    problem.map_or(Ok(None), Err)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_architecture_cannot_start_by_is_not_looked_for() {
        let none = Path::new("/nonexistent");
        let bios = seabios(Some(none)).unwrap_err().to_string();
        let is_arm = bios.contains("arm64 images start by UEFI alone");
        assert_eq!(is_arm, cfg!(target_arch = "aarch64"), "{bios}");
        assert!(uefi(Some(none)).unwrap_err().to_string().contains("cannot read /nonexistent"));
    }
}
