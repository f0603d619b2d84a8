//! A disk that nobody here laid out for these tests: the Debian image that resources/guests/debian/build makes, where
//! the tests' cache has it already.

use crate::HERE;
use crate::skipped;
use ami_run_image::BootMode;
use ami_run_inspect::{BootCodeKind, Depth, Driver, Found, guess, lint, look};
use std::fs::File;
use std::path::PathBuf;

/// The newest of those that are cached.
fn disk() -> Option<PathBuf> {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache")))?;
    let folders = std::fs::read_dir(cache.join("ami-run-test/guests")).ok()?.filter_map(Result::ok);
    let debian = folders.filter(|folder| folder.file_name().to_string_lossy().starts_with("debian-"));
    let disks = debian.map(|folder| folder.path().join("snap-0123456789abcdef0.raw"));
    disks.filter(|disk| disk.exists()).max_by_key(|disk| std::fs::metadata(disk).ok()?.modified().ok())
}

#[test]
fn the_debian_image_is_found_good() {
    let Some(path) = disk() else {
        skipped("Debian's disk", "resources/guests/debian/build has not made it");
        return;
    };
    let mut file = File::open(path).unwrap();
    let bytes = file.metadata().unwrap().len();
    let contents = look(&mut file, bytes, Depth::System).unwrap();
    assert_eq!(contents.boot_code.kind, BootCodeKind::Grub { core_sector: 2048, core: true });
    assert_eq!(contents.loaders.len(), 1, "{:?}", contents.loaders);
    assert_eq!(guess(&contents, HERE).boot_mode, BootMode::LegacyBios);
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
    assert_eq!(lint(&contents, None, HERE), []);
}
