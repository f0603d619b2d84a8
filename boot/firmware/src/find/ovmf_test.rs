//! Finding OVMF, in folders made for the test.

use super::*;
use crate::find::bios::tests::{System, bios};
use crate::find::smm::tests::{WITH, WITHOUT, section};
use crate::uefi::sample::{OVMF_2M, OVMF_4M};
use std::fs;

const DESCRIPTION: &str = r#"{
    "description": "OVMF", "interface-types": ["uefi"],
    "mapping": {
        "device": "flash",
        "executable": {"filename": "/opt/CODE", "format": "raw"},
        "nvram-template": {"filename": "/opt/STORE", "format": "raw"}
    },
    "targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}],
    "features": ["acpi-s3"], "tags": []
}"#;
const FOLDER: &str = "root/usr/share/qemu/firmware";
const CODE_4M: usize = 0x37_c000;
const CODE_2M: usize = 0x1e_0000;

fn code_of(size: usize, packed: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; size];
    bytes[32..40].copy_from_slice(&(size as u64 / 2).to_le_bytes());
    bytes[40..44].copy_from_slice(b"_FVH");
    let section = section(packed);
    bytes[0x90..0x90 + section.len()].copy_from_slice(&section);
    bytes[size - 20..size - 16].copy_from_slice(b"VTF\0");
    bytes
}

/// That runs without SMM.
pub(in crate::find) fn code(size: usize) -> Vec<u8> {
    code_of(size, &WITHOUT)
}

impl System {
    /// Two files that belong together.
    fn install(&self, code_path: &str, variables_path: &str) {
        self.write(code_path, &code(CODE_4M));
        self.write(variables_path, &OVMF_4M.empty());
    }

    fn describe_uefi(&self, name: &str, code: &str, changes: &[(&str, &str)]) {
        let mut text = DESCRIPTION.replace("CODE", code).replace("STORE", &format!("{code}.vars"));
        for (from, to) in changes {
            assert!(text.contains(from), "{from}");
            text = text.replace(from, to);
        }
        self.write(&format!("{FOLDER}/{name}"), text.as_bytes());
    }

    fn fails(&self, path: Option<&Path>) -> String {
        find(&self.places(), path).unwrap_err().to_string()
    }

    /// The code's path and the variables', both from this system's folder.
    fn found_uefi(&self, path: Option<&Path>) -> [String; 2] {
        let found = find(&self.places(), path).unwrap();
        [found.code, found.variables.path]
            .map(|path| path.strip_prefix(self.folder.path()).unwrap().display().to_string())
    }
}

#[test]
fn nothing_installed_names_every_distribution_s_package() {
    let text = System::new().fails(None);
    for word in
        ["ovmf (Debian, Ubuntu)", "edk2-ovmf (Fedora, Arch)", "qemu-ovmf-x86_64 (openSUSE)", "--firmware"]
    {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn known_paths_are_tried_in_order_and_builds_for_secure_boot_left_out() {
    let system = System::new();
    let arch = ["root/usr/share/edk2/x64/OVMF_CODE.4m.fd", "root/usr/share/edk2/x64/OVMF_VARS.4m.fd"];
    system.install(arch[0], arch[1]);
    assert_eq!(system.found_uefi(None), arch);
    let debian = ["root/usr/share/OVMF/OVMF_CODE_4M.fd", "root/usr/share/OVMF/OVMF_VARS_4M.fd"];
    system.install(debian[0], debian[1]);
    assert_eq!(system.found_uefi(None), debian);
    let path = system.write(debian[0], &code_of(CODE_4M, &WITH));
    assert_eq!(system.found_uefi(None), arch);
    assert!(system.fails(Some(&path)).contains("would hang and say nothing"));
}

#[test]
fn a_description_counts_only_if_it_is_for_this_machine() {
    let system = System::new();
    for name in ["a", "b"] {
        system.install(&format!("root/opt/{name}"), &format!("root/opt/{name}.vars"));
    }
    let others: &[&[(&str, &str)]] = &[
        &[("\"uefi\"", "\"bios\"")],
        &[("flash", "memory")],
        &[("\"flash\",", "\"flash\", \"mode\": \"stateless\",")],
        &[("\"raw\"},\n        \"nvram", "\"qcow2\"},\n        \"nvram")],
        &[("x86_64", "i386")],
        &[("pc-i440fx", "microvm")],
        &[("acpi-s3", "requires-smm")],
        &[("acpi-s3", "enrolled-keys")],
    ];
    for (number, changes) in others.iter().enumerate() {
        system.describe_uefi(&format!("{number}.json"), "a", changes);
    }
    assert!(matches!(find(&system.places(), None), Err(FirmwareError::UefiNotInstalled)));
    // Secure Boot that nobody has put keys into is EC2's, too.
    system.describe_uefi(
        "60-b.json",
        "b",
        &[("acpi-s3", "secure-boot"), ("\"flash\",", "\"flash\", \"mode\": \"split\",")],
    );
    assert_eq!(system.found_uefi(None), ["root/opt/b", "root/opt/b.vars"]);
    system.describe_uefi("50-a.json", "a", &[]);
    assert_eq!(system.found_uefi(None), ["root/opt/a", "root/opt/a.vars"]);
    // What the description says is believed; what the file is not, is not.
    system.write("root/opt/a", b"short");
    assert_eq!(system.found_uefi(None), ["root/opt/b", "root/opt/b.vars"]);
}

#[test]
fn a_named_file_has_the_variables_that_its_description_names() {
    let system = System::new();
    let path = system.write("root/opt/a", &code(CODE_4M));
    system.write("root/opt/a.vars", &OVMF_4M.empty());
    system.describe_uefi("50.json", "a", &[("acpi-s3", "enrolled-keys"), ("a.vars", "keys")]);
    assert!(system.fails(Some(&path)).contains("root/opt/keys"));
    system.describe_uefi("60.json", "a", &[("pc-i440fx", "pc-q35")]);
    assert_eq!(system.found_uefi(Some(&path)), ["root/opt/a", "root/opt/a.vars"]);
    let link = system.folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(system.found_uefi(Some(&link)), ["link", "root/opt/a.vars"]);
    // Whatever is in it.
    system.describe_uefi("70.json", "a", &[("acpi-s3", "requires-smm")]);
    assert!(system.fails(Some(&link)).contains("would hang and say nothing"));
}

#[test]
fn a_named_file_that_nobody_describes_has_its_variables_beside_it() {
    let system = System::new();
    let path = system.write("OVMF_CODE.x.fd", &code(CODE_2M));
    let missing = system.fails(Some(&path));
    assert!(
        missing.contains("there is no variable store for ")
            && missing.contains("OVMF_VARS.x.fd is not there")
    );
    system.write("OVMF_VARS.x.fd", &OVMF_2M.empty());
    let found = find(&system.places(), Some(&path)).unwrap();
    assert_eq!((found.code_offset, found.code_size), (0, CODE_2M as u64));
    assert_eq!(found.variables.bytes, OVMF_2M.empty());
    system.write("OVMF_VARS.x.fd", &OVMF_4M.empty());
    let wrong = system.fails(Some(&path));
    assert!(wrong.contains("has 540672 bytes") && wrong.contains("has 131072; take"), "{wrong}");
    let mut damaged = OVMF_2M.empty();
    damaged[60] ^= 1;
    system.write("OVMF_VARS.x.fd", &damaged);
    assert!(
        system
            .fails(Some(&path))
            .ends_with("is a UEFI variable store whose header has a wrong checksum; copy it again")
    );
    system.write("OVMF_VARS.x.fd", &[0; 0x2_0000]);
    assert!(system.fails(Some(&path)).contains("is not a UEFI variable store but an empty image"));
    let opensuse = system.write("ovmf-x86_64-4m-code.bin", &code(CODE_4M));
    system.write("ovmf-x86_64-4m-vars.bin", &OVMF_4M.empty());
    assert_eq!(system.found_uefi(Some(&opensuse))[1], "ovmf-x86_64-4m-vars.bin");
}

#[test]
fn a_file_of_both_is_cut_into_two() {
    let system = System::new();
    for (variables, size) in [(OVMF_2M.empty(), CODE_2M), (OVMF_4M.empty(), CODE_4M)] {
        let path = system.write("OVMF.fd", &[variables.clone(), code(size)].concat());
        let found = find(&system.places(), Some(&path)).unwrap();
        assert_eq!((found.code, found.variables.path), (path.clone(), path.clone()));
        assert_eq!((found.code_offset, found.code_size), (variables.len() as u64, size as u64));
        assert_eq!(found.variables.bytes, variables);
        let path = system.write("OVMF.fd", &[variables.clone(), code_of(size, &WITH)].concat());
        assert!(system.fails(Some(&path)).contains("would hang"));
        let without = [variables, vec![0; size - 20], b"VTF\0".to_vec(), vec![0; 16]].concat();
        let path = system.write("OVMF.fd", &without);
        assert!(system.fails(Some(&path)).contains("without a firmware volume behind its variables"));
    }
    let path = system.write("OVMF.fd", &[OVMF_2M.empty(), code(CODE_2M - 4096)].concat());
    assert!(system.fails(Some(&path)).contains("2093056 bytes long"));
}

#[test]
fn what_is_no_uefi_firmware_is_told_for_what_it_is() {
    let system = System::new();
    let mut no_vector = code(CODE_4M);
    no_vector[CODE_4M - 20..].fill(0);
    let cases: [(Vec<u8>, &str); 9] = [
        (bios(256 << 10), "is a BIOS image, and the machine is to start by uefi"),
        (b"QFI\xfb\0\0\0\x03".to_vec(), "it is a qcow2 file (qemu-img convert"),
        (OVMF_4M.empty(), "it is variables alone"),
        (Vec::new(), "without a firmware volume at its beginning"),
        (vec![0; CODE_4M], "without a firmware volume at its beginning"),
        (code(CODE_4M + 1), "3653633 bytes long"),
        (code(8 << 20), "8388608 bytes long, and OVMF has 2 or 4 MiB"),
        (code(4 << 20), "4194304 bytes long, which leaves no room for variables"),
        (no_vector, "without EDK II's reset vector for x86 at its end"),
    ];
    system.write("VARS", &OVMF_4M.empty());
    for (bytes, says) in cases {
        let path = system.write("CODE", &bytes);
        let told = system.fails(Some(&path));
        assert!(told.contains(says) && told.contains("--firmware"), "{says}: {told}");
    }
    assert!(
        system.fails(Some(system.folder.path())).contains("is a directory, not a file; name UEFI firmware")
    );
    assert!(system.fails(Some(Path::new("/dev/null"))).contains("is a device"));
    let bios = system.write("bios", &bios(128 << 10));
    assert!(system.fails(Some(&bios)).contains("--boot-mode legacy-bios"));
}

#[test]
fn the_distribution_s_own_is_found_here() {
    let folder = Path::new("/usr/share/OVMF");
    if !folder.join("OVMF_CODE_4M.fd").exists() {
        println!("skipped: the package ovmf is not installed");
        return;
    }
    let places = Places { root: PathBuf::from("/"), config: None };
    let found = find(&places, None).unwrap();
    assert_eq!(found.code_size + found.variables.bytes.len() as u64, 4 << 20);
    for name in ["OVMF_CODE_4M.secboot.fd", "OVMF_CODE_4M.ms.fd", "OVMF_CODE_4M.snakeoil.fd"] {
        let refused = find(&places, Some(&folder.join(name)));
        assert!(matches!(refused, Err(FirmwareError::NeedsSmm { .. })), "{name}: {refused:?}");
    }
    // The package has variables and code in one file, too.
    let both = Path::new("/usr/share/ovmf/OVMF.fd");
    let found = find(&places, Some(both)).unwrap();
    assert_eq!(found.code_offset, found.variables.bytes.len() as u64);
    assert_eq!(found.code_offset + found.code_size, fs::metadata(both).unwrap().len());
}
