//! Disks that nobody here laid out for these tests: the Debian images that resources/guests/debian/build makes, where
//! the tests' cache has them already.

use crate::skipped;
use ami_run_image::{Architecture, BootMode};
use ami_run_inspect::{BootCodeKind, Depth, Driver, Found, guess, lint, look};
use serde_json::Value;
use std::fs::File;
use std::path::{Path, PathBuf};

/// The newest of those that are cached for an architecture.
fn disk(architecture: &str) -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let folders = std::fs::read_dir(cache.join("ami-run-test/guests")).ok()?.filter_map(Result::ok);
    let debian = folders.filter(|folder| folder.file_name().to_string_lossy().starts_with("debian-"));
    let ours = debian.map(|folder| folder.path()).filter(|folder| is_for(folder, architecture));
    let disks = ours.map(|folder| folder.join("snap-0123456789abcdef0.raw"));
    disks.filter(|disk| disk.exists()).max_by_key(|disk| std::fs::metadata(disk).ok()?.modified().ok())
}

fn is_for(folder: &Path, architecture: &str) -> bool {
    let described = std::fs::read(folder.join("image.json")).ok();
    let described = described.and_then(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
    described.is_some_and(|value| value["Architecture"] == architecture)
}

#[test]
fn the_debian_image_is_found_good() {
    good("x86_64", Architecture::X86_64, BootMode::LegacyBios);
}

#[test]
fn the_debian_image_for_arm64_is_found_good() {
    good("arm64", Architecture::Arm64, BootMode::Uefi);
}

fn good(name: &str, architecture: Architecture, boot_mode: BootMode) {
    let Some(path) = disk(name) else {
        skipped(&format!("Debian's disk for {name}"), "resources/guests/debian/build has not made it");
        return;
    };
    let mut file = File::open(path).unwrap();
    let bytes = file.metadata().unwrap().len();
    let contents = look(&mut file, bytes, Depth::System).unwrap();
    if architecture == Architecture::X86_64 {
        assert_eq!(contents.boot_code.kind, BootCodeKind::Grub { core_sector: 2048, core: true });
    }
    assert_eq!(contents.loaders.len(), 1, "{:?}", contents.loaders);
    let guessed = guess(&contents, architecture);
    assert_eq!((guessed.architecture, guessed.boot_mode), (architecture, boot_mode));
    assert!(contents.system.names[0].1.starts_with("Debian GNU/Linux "), "{:?}", contents.system.names);
    assert!(contents.system.command_lines[0].text.contains("console=ttyS0,115200"));
    assert_eq!(contents.system.kernels.len(), 1, "{:?}", contents.system.kernels);
    for kernel in contents.system.kernels.values() {
        for driver in Driver::ALL {
            let where_ = kernel.drivers[&driver];
            let needed = if driver.leads_to_the_root() { Found::Initrd } else { Found::Root };
            assert!(where_ >= needed, "{driver}: {where_:?}");
        }
    }
    assert_eq!(lint(&contents, None, architecture), []);
}
