//! Finding AAVMF, in folders made for the test.

use super::*;
use crate::find::bios::tests::{System, bios};
use crate::find::ovmf::tests as pc;
use crate::uefi::sample::{AAVMF, OVMF_4M};
use std::fs::{self, File};

const DESCRIPTION: &str = r#"{
    "description": "AAVMF", "interface-types": ["uefi"],
    "mapping": {
        "device": "flash", "mode": "split",
        "executable": {"filename": "/opt/CODE", "format": "raw"},
        "nvram-template": {"filename": "/opt/STORE", "format": "raw"}
    },
    "targets": [{"architecture": "aarch64", "machines": ["virt-*"]}],
    "features": ["verbose-static"], "tags": []
}"#;
const FOLDER: &str = "root/usr/share/qemu/firmware";
const MIB: usize = 1 << 20;
const DEBIAN: [&str; 2] = ["root/usr/share/AAVMF/AAVMF_CODE.fd", "root/usr/share/AAVMF/AAVMF_VARS.fd"];

fn volume(length: usize) -> Vec<u8> {
    let mut bytes = vec![0xff; length];
    bytes[32..40].copy_from_slice(&(length as u64).to_le_bytes());
    bytes[40..44].copy_from_slice(b"_FVH");
    bytes
}

/// `b 0x1000`, and a volume there that fills all of this.
pub(in crate::find) fn code(length: usize) -> Vec<u8> {
    let branch = [vec![0x00, 0x04, 0x00, 0x14], vec![0; 0xffc]].concat();
    [branch, volume(length - 0x1000)].concat()
}

fn changed(mut bytes: Vec<u8>, at: usize, by: &[u8]) -> Vec<u8> {
    bytes[at..at + by.len()].copy_from_slice(by);
    bytes
}

/// Both files padded, as distributions have them.
fn install(system: &System, paths: [&str; 2]) {
    for (path, content) in [(paths[0], code(2 * MIB)), (paths[1], AAVMF.empty())] {
        pad(&system.write(path, &content), 64);
    }
}

fn pad(path: &Path, mib: u64) {
    File::options().write(true).open(path).unwrap().set_len(mib << 20).unwrap();
}

fn describe(system: &System, name: &str, code: &str, changes: &[(&str, &str)]) {
    let mut text = DESCRIPTION.replace("CODE", code).replace("STORE", &format!("{code}.vars"));
    for (from, to) in changes {
        assert!(text.contains(from), "{from}");
        text = text.replace(from, to);
    }
    system.write(&format!("{FOLDER}/{name}"), text.as_bytes());
}

/// The code's path and the variables', both from the system's folder.
fn found(system: &System, path: Option<&Path>) -> [String; 2] {
    let found = find(&system.places(), path).unwrap();
    [found.code, found.variables.path]
        .map(|path| path.strip_prefix(system.folder.path()).unwrap().display().to_string())
}

fn fails(system: &System, path: Option<&Path>) -> String {
    find(&system.places(), path).unwrap_err().to_string()
}

#[test]
fn nothing_installed_names_every_distribution_s_package() {
    let text = fails(&System::new(), None);
    for word in [
        "qemu-efi-aarch64 (Debian, Ubuntu)",
        "edk2-aarch64 (Fedora, RHEL, Arch)",
        "qemu-uefi-aarch64 (openSUSE)",
        "--firmware",
    ] {
        assert!(text.contains(word), "{text}");
    }
}

#[test]
fn known_paths_are_tried_in_order() {
    let system = System::new();
    let qemu = ["root/usr/share/qemu/edk2-aarch64-code.fd", "root/usr/share/qemu/edk2-arm-vars.fd"];
    let arch = ["root/usr/share/edk2/aarch64/QEMU_CODE.fd", "root/usr/share/edk2/aarch64/QEMU_VARS.fd"];
    let fedora = [
        "root/usr/share/edk2/aarch64/QEMU_EFI-silent-pflash.raw",
        "root/usr/share/edk2/aarch64/vars-template-pflash.raw",
    ];
    for paths in [qemu, arch, fedora, DEBIAN] {
        install(&system, paths);
        assert_eq!(found(&system, None), paths);
    }
    fs::remove_file(system.folder.path().join(DEBIAN[0])).unwrap();
    assert_eq!(found(&system, None), fedora);
}

#[test]
fn a_description_counts_only_if_it_is_for_this_machine() {
    let system = System::new();
    for name in ["a", "b"] {
        install(&system, [&format!("root/opt/{name}"), &format!("root/opt/{name}.vars")]);
    }
    let others: &[&[(&str, &str)]] = &[
        &[("\"uefi\"", "\"bios\"")],
        &[("split", "stateless")],
        &[("\"raw\"},\n        \"nvram", "\"qcow2\"},\n        \"nvram")],
        &[("\"raw\"}\n    },", "\"qcow2\"}\n    },")],
        &[("aarch64", "arm")],
        &[("aarch64", "x86_64"), ("virt", "pc-i440fx")],
        &[("virt", "sbsa-ref")],
        &[("verbose-static", "enrolled-keys")],
    ];
    for (number, changes) in others.iter().enumerate() {
        describe(&system, &format!("{number}.json"), "a", changes);
    }
    assert!(matches!(find(&system.places(), None), Err(FirmwareError::AavmfNotInstalled)));
    install(&system, DEBIAN);
    assert_eq!(found(&system, None), DEBIAN);
    // Secure Boot that nobody has put keys into is EC2's, too.
    let secure = [("verbose-static", "secure-boot"), (" \"mode\": \"split\",", "")];
    describe(&system, "60-b.json", "b", &secure);
    assert_eq!(found(&system, None), ["root/opt/b", "root/opt/b.vars"]);
    describe(&system, "50-a.json", "a", &[]);
    assert_eq!(found(&system, None), ["root/opt/a", "root/opt/a.vars"]);
    // What a description calls code may be none.
    system.write("root/opt/a", b"short");
    assert_eq!(found(&system, None), ["root/opt/b", "root/opt/b.vars"]);
}

#[test]
fn the_store_is_taken_out_of_its_padding_and_made_where_the_template_is_blank() {
    let system = System::new();
    install(&system, DEBIAN);
    let variables = |system: &System| find(&system.places(), None).unwrap().variables.bytes;
    let found = find(&system.places(), None).unwrap();
    assert_eq!((found.code_offset, found.code_size), (0, 64 << 20));
    assert_eq!(found.variables.bytes, AAVMF.empty()[..768 << 10]);
    for blank in [vec![0; 768 << 10], vec![0xff; 768 << 10], vec![0; MIB]] {
        system.write(DEBIAN[1], &blank);
        assert_eq!(variables(&system), uefi::aavmf_store());
    }
    // Packages of the code alone, as it is built, and of variables as they are.
    system.write(DEBIAN[0], &code(3 * MIB));
    system.write(DEBIAN[1], &uefi::aavmf_store());
    let found = find(&system.places(), None).unwrap();
    assert_eq!(found.code_size, 3 << 20);
    assert_eq!(found.variables.bytes.len(), 768 << 10);
}

#[test]
fn a_template_that_firmware_would_not_take_is_told() {
    let system = System::new();
    install(&system, DEBIAN);
    let told = |bytes: &[u8]| {
        system.write(DEBIAN[1], bytes);
        fails(&system, None)
    };
    let pc = told(&OVMF_4M.empty());
    assert!(pc.contains("has 540672 bytes") && pc.contains("has 786432; take the one"), "{pc}");
    assert!(told(&[0; 4096]).contains("has 4096 bytes"));
    assert!(told(&uefi::aavmf_store()[..0x8_0000]).contains("cut short: it has 524288 bytes of 786432"));
    assert!(told(&code(2 * MIB)).contains("is not a UEFI variable store but something else"));
    assert!(told(b"QFI\xfb and more").contains("but a qcow2 file (qemu-img convert"));
    assert!(told(&changed(uefi::aavmf_store(), 60, &[1])).contains("wrong checksum"));
    assert!(told(b"").contains("an empty file"));
}

#[test]
fn a_named_file_has_the_variables_that_its_description_names() {
    let system = System::new();
    install(&system, ["root/opt/a", "root/opt/a.vars"]);
    let path = system.folder.path().join("root/opt/a");
    describe(&system, "50.json", "a", &[("verbose-static", "enrolled-keys"), ("a.vars", "keys")]);
    assert!(fails(&system, Some(&path)).contains("root/opt/keys"));
    describe(&system, "60.json", "a", &[]);
    let link = system.folder.path().join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    assert_eq!(found(&system, Some(&link)), ["link", "root/opt/a.vars"]);
}

#[test]
fn a_named_file_that_nobody_describes_has_its_variables_beside_it() {
    let system = System::new();
    let missing = |name: &str| fails(&system, Some(&system.write(name, &code(2 * MIB))));
    let text = missing("x/AAVMF_CODE.no-secboot.fd");
    assert!(text.contains("AAVMF_VARS.no-secboot.fd is not there") && text.contains("AAVMF_VARS.fd there"));
    assert!(missing("y/QEMU_EFI.fd").contains("y/AAVMF_VARS.fd is not there"));
    for (name, beside) in [
        ("a/AAVMF_CODE.no-secboot.fd", "a/AAVMF_VARS.fd"),
        ("a/AAVMF_CODE.no-secboot.fd", "a/AAVMF_VARS.no-secboot.fd"),
        ("b/edk2-aarch64-code.fd", "b/edk2-arm-vars.fd"),
        ("c/aavmf-aarch64-code.bin", "c/aavmf-aarch64-vars.bin"),
        ("d/QEMU_EFI-pflash.raw", "d/vars-template-pflash.raw"),
        ("e/QEMU_CODE.fd", "e/QEMU_VARS.fd"),
    ] {
        install(&system, [name, beside]);
        assert_eq!(found(&system, Some(&system.folder.path().join(name))), [name, beside]);
    }
}

#[test]
fn what_is_no_uefi_firmware_for_arm64_is_told_for_what_it_is() {
    let system = System::new();
    let cases: [(Vec<u8>, &str); 13] = [
        (pc::code(0x37_c000), "it is made for x86_64"),
        ([OVMF_4M.empty(), pc::code(0x37_c000)].concat(), "it is made for x86_64"),
        (bios(256 << 10), "it is a BIOS image, which is made for x86"),
        (b"QFI\xfb\0\0\0\x03".to_vec(), "it is a qcow2 file (qemu-img convert"),
        (uefi::aavmf_store(), "it is variables alone, without code"),
        (changed(code(2 * MIB), 0, &[0xfe, 0x03, 0, 0xea]), "it is made for 32-bit arm"),
        (Vec::new(), "without arm64's first instruction and a firmware volume"),
        (vec![0; MIB], "without arm64's first instruction and a firmware volume"),
        (changed(code(2 * MIB), 3, &[0x94]), "without arm64's first instruction and a firmware volume"),
        (changed(code(2 * MIB), 0x1028, b"none"), "without arm64's first instruction and a firmware volume"),
        (code(2 * MIB)[..MIB].to_vec(), "it is cut short: it has 1048576 bytes of 2097152"),
        ([code(2 * MIB), vec![0]].concat(), "2097153 bytes long, and AAVMF has whole pages"),
        (changed(code(2 * MIB), 0x1020, &[0xff; 8]), "it is cut short"),
    ];
    for (bytes, says) in cases {
        let path = system.write("CODE", &bytes);
        let told = fails(&system, Some(&path));
        assert!(told.contains(says) && told.contains("AAVMF_CODE.fd, with --firmware"), "{says}: {told}");
    }
    let long = system.write("CODE", &code(2 * MIB));
    pad(&long, 65);
    assert!(fails(&system, Some(&long)).contains("68157440 bytes long"));
    let folder = fails(&system, Some(system.folder.path()));
    assert!(folder.contains("is a directory, not a file; name UEFI firmware (AAVMF_CODE.fd)"), "{folder}");
    assert!(fails(&system, Some(Path::new("/dev/null"))).contains("is a device"));
    // An older build begins with its volume, and the volume with the branch.
    let old = changed(volume(2 * MIB), 0, &[0x80, 0x02, 0x00, 0x14]);
    system.write("old/AAVMF_CODE.fd", &old);
    system.write("old/AAVMF_VARS.fd", &uefi::aavmf_store());
    let path = system.folder.path().join("old/AAVMF_CODE.fd");
    assert_eq!(found(&system, Some(&path))[0], "old/AAVMF_CODE.fd");
}

#[test]
fn a_machine_for_x86_64_is_told_that_this_is_for_arm64() {
    let system = System::new();
    let path = system.write("CODE", &code(2 * MIB));
    let told = ovmf::find(&system.places(), Some(&path)).unwrap_err().to_string();
    assert!(told.contains("it is made for arm64; name another, such as OVMF_CODE_4M.fd"), "{told}");
}

#[test]
fn the_distribution_s_own_is_found_here() {
    let folder = Path::new("/usr/share/AAVMF");
    if !folder.join("AAVMF_CODE.fd").exists() {
        println!("skipped: the package qemu-efi-aarch64 is not installed");
        return;
    }
    let places = Places { root: PathBuf::from("/"), config: None };
    let found = find(&places, None).unwrap();
    assert!(found.code_size <= 64 << 20);
    assert_eq!(found.variables.bytes.len(), 768 << 10);
    let keys = Path::new("/usr/share/AAVMF/AAVMF_VARS.ms.fd");
    let enrolled = load(open(&found.code).unwrap(), keys).unwrap();
    let store = uefi::Store::parse(&enrolled.variables.bytes).unwrap();
    assert!(store.variables().iter().any(|variable| variable.name == "PK"));
    let told = ovmf::find(&places, Some(&found.code)).unwrap_err().to_string();
    assert!(told.contains("it is made for arm64"), "{told}");
}
