//! Finding a BIOS, in folders made for the test.

use super::*;
use std::fs;
use tempfile::TempDir;

const DESCRIPTION: &str = r#"{
    "description": "SeaBIOS", "interface-types": ["bios"],
    "mapping": {"device": "memory", "filename": "/opt/FILE"},
    "targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}],
    "features": [], "tags": []
}"#;

pub(in crate::find) struct System {
    pub(in crate::find) folder: TempDir,
}

impl System {
    pub(in crate::find) fn new() -> System {
        System { folder: TempDir::new().unwrap() }
    }

    pub(in crate::find) fn places(&self) -> Places {
        Places { root: self.folder.path().join("root"), config: Some(self.folder.path().join("config")) }
    }

    pub(in crate::find) fn write(&self, path: &str, content: &[u8]) -> PathBuf {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    fn describe(&self, path: &str, image: &str) {
        self.write(path, DESCRIPTION.replace("FILE", image).as_bytes());
    }

    fn found(&self) -> String {
        let found = discover(&self.places()).unwrap();
        found.path.strip_prefix(self.folder.path()).unwrap().display().to_string()
    }
}

pub(in crate::find) fn bios(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    bytes[size - 16] = FAR_JUMP;
    bytes
}

#[test]
fn nothing_installed_names_every_distribution_s_package() {
    let text = discover(&System::new().places()).unwrap_err().to_string();
    for word in [
        "seabios (Debian, Ubuntu, Arch)",
        "seabios-bin (Fedora, RHEL)",
        "qemu-seabios (openSUSE)",
        "--firmware",
    ] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn known_paths_are_tried_in_order() {
    let system = System::new();
    system.write("root/usr/share/qemu/bios-256k.bin", &bios(256 << 10));
    assert_eq!(system.found(), "root/usr/share/qemu/bios-256k.bin");
    system.write("root/usr/share/seabios/bios-256k.bin", &bios(128 << 10));
    assert_eq!(system.found(), "root/usr/share/seabios/bios-256k.bin");
}

#[test]
fn descriptions_come_first_in_the_order_of_their_names() {
    let system = System::new();
    system.write("root/usr/share/seabios/bios-256k.bin", &bios(256 << 10));
    for image in ["a.bin", "b.bin", "c.bin"] {
        system.write(&format!("root/opt/{image}"), &bios(256 << 10));
    }
    system.describe("root/usr/share/qemu/firmware/50-bios.json", "a.bin");
    assert_eq!(system.found(), "root/opt/a.bin");
    system.describe("config/qemu/firmware/60-other.json", "b.bin");
    assert_eq!(system.found(), "root/opt/a.bin", "a name decides before a folder does");
    system.describe("root/etc/qemu/firmware/50-bios.json", "c.bin");
    assert_eq!(system.found(), "root/opt/c.bin", "the better folder hides the same name");
    system.write("config/qemu/firmware/50-bios.json", b"");
    assert_eq!(system.found(), "root/opt/b.bin", "an empty file hides too");
}

#[test]
fn descriptions_of_other_firmware_and_other_files_are_passed_over() {
    let system = System::new();
    system.write("root/opt/a.bin", &bios(256 << 10));
    system.write("root/usr/share/qemu/bios-256k.bin", &bios(256 << 10));
    let folder = "root/usr/share/qemu/firmware";
    let changes =
        [("\"bios\"", "\"uefi\""), ("memory", "flash"), ("x86_64", "aarch64"), ("pc-i440fx", "microvm")];
    for (number, (from, to)) in changes.into_iter().enumerate() {
        let text = DESCRIPTION.replace("FILE", "a.bin").replace(from, to);
        system.write(&format!("{folder}/{number}.json"), text.as_bytes());
    }
    system.write(&format!("{folder}/70-broken.json"), b"{");
    system.write(&format!("{folder}/README"), DESCRIPTION.replace("FILE", "a.bin").as_bytes());
    system.describe(&format!("{folder}/80-gone.json"), "gone.bin");
    fs::create_dir(system.folder.path().join(folder).join("90-folder.json")).unwrap();
    assert_eq!(system.found(), "root/usr/share/qemu/bios-256k.bin");
}

#[test]
fn a_bad_candidate_is_reported_only_if_there_is_no_good_one() {
    let system = System::new();
    system.write("root/usr/share/seabios/bios-256k.bin", b"short");
    let error = discover(&system.places()).unwrap_err();
    assert!(matches!(error, FirmwareError::BiosSize { size: 5, .. }), "{error}");
    system.write("root/usr/share/qemu/bios-256k.bin", &bios(256 << 10));
    assert_eq!(system.found(), "root/usr/share/qemu/bios-256k.bin");
}

#[test]
fn a_named_file_must_be_a_bios() {
    let system = System::new();
    let good = system.write("good", &bios(128 << 10));
    let firmware = load(&good).unwrap();
    assert_eq!((firmware.path, firmware.bytes.len()), (good, 128 << 10));

    let empty = system.write("empty", b"");
    let zeroes = system.write("zeroes", &[0; 256 << 10]);
    let fails = |path: &Path| load(path).unwrap_err().to_string();
    let uefi = system.write("uefi", &crate::find::ovmf::tests::code(0x37_c000));
    assert!(fails(&empty).contains("it has 0 bytes"));
    assert!(fails(&uefi).contains("is UEFI firmware, and the machine is to start by legacy-bios"));
    assert!(fails(&uefi).contains("--boot-mode uefi"));
    assert!(fails(&zeroes).contains("far jump"));
    assert!(fails(system.folder.path()).contains("is a directory, not a file; name a SeaBIOS image"));
    assert!(fails(Path::new("/dev/null")).contains("is a device"));
    assert!(fails(&system.folder.path().join("missing")).contains("cannot read"));
}

#[test]
fn the_distribution_s_own_is_found_here() {
    let path = Path::new("/usr/share/seabios/bios-256k.bin");
    if !path.exists() {
        println!("skipped: the package seabios is not installed");
        return;
    }
    let places = Places { root: PathBuf::from("/"), config: None };
    assert!(SIZES.contains(&(discover(&places).unwrap().bytes.len() as u64)));
}
