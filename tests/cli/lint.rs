//! `ami-run image lint`, and the same said by a launch before anybody waits for it.

use crate::run::{Place, run};
use serde_json::{Value, json};
use std::io::{Cursor, Write as _};

/// A disk with boot code in its first sector and one active partition (an MBR; type 0x83), 4 MiB in all.
pub(crate) fn bios_disk() -> Vec<u8> {
    let mut disk = vec![0; 4 << 20];
    // cli; hlt
    disk[..2].copy_from_slice(&[0xfa, 0xf4]);
    disk[446..462].copy_from_slice(&[0x80, 0, 2, 0, 0x83, 0, 2, 0, 0, 8, 0, 0, 0, 8, 0, 0]);
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk
}

/// A FAT over the whole disk with shim under the removable path, without what it starts, and a list of names that a
/// disk may have.
fn shim_disk(more: &[(&str, &[u8])]) -> Vec<u8> {
    // MZ, where PE stands, its machine, one section; the place of the strings; the section's name among them.
    let mut shim = vec![0; 256];
    for (at, bytes) in
        [(0, &b"MZ"[..]), (0x3c, &[0x80]), (0x80, b"PE\0\0\x64\x86\x01"), (0x8d, &[1]), (0x98, b"/4")]
    {
        shim[at..at + bytes.len()].copy_from_slice(bytes);
    }
    shim.extend(b"\x11\0\0\0.vendor_cert\0");
    let mut disk = Cursor::new(vec![0; 1 << 20]);
    fatfs::format_volume(&mut disk, fatfs::FormatVolumeOptions::new()).unwrap();
    disk.set_position(0);
    {
        let files = fatfs::FileSystem::new(&mut disk, fatfs::FsOptions::new()).unwrap();
        files.root_dir().create_dir("EFI").unwrap();
        let folder = files.root_dir().create_dir("EFI/BOOT").unwrap();
        for (name, bytes) in [("BOOTX64.EFI", &shim[..])].iter().chain(more) {
            folder.create_file(name).unwrap().write_all(bytes).unwrap();
        }
    }
    disk.into_inner()
}

const IMAGE: &str = r#"{"ImageId": "ami-1", "Architecture": "x86_64", "RootDeviceName": "/dev/xvda",
    "EnaSupport": true, "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1"}}]}"#;

fn codes(result: &Value) -> Vec<&str> {
    let findings = result["Findings"].as_array().unwrap();
    findings.iter().map(|finding| finding["Code"].as_str().unwrap()).collect()
}

#[test]
fn a_disk_that_starts_has_no_errors_and_one_that_does_not_has() {
    let place = Place::new();
    place.write("good.raw", bios_disk());
    place.write("empty.raw", vec![0; 1 << 20]);
    let good = run(place.command(&["image", "lint", "good.raw"]));
    assert_eq!((good.code, good.err.as_str()), (Some(0), ""), "{}", good.out);
    let first = "taken for x86_64, legacy-bios: its first sector holds BIOS boot code\n";
    assert!(good.out.starts_with(first) && good.out.contains("\n0 errors, "), "{}", good.out);
    let empty = run(place.command(&["image", "lint", "empty.raw", "--output", "json"]));
    assert_eq!((empty.code, empty.err.as_str()), (Some(1), ""), "{}", empty.out);
    let result: Value = serde_json::from_str(&empty.out).unwrap();
    assert_eq!((&result["Ok"], codes(&result)), (&Value::Bool(false), vec!["NoPartitionTable"]), "{result}");
    assert_eq!(result["Assumed"]["BootMode"], "legacy-bios");
    assert!(place.leftovers(&["good.raw", "empty.raw"]).is_empty());
}

#[test]
fn an_image_is_judged_by_what_it_claims() {
    let place = Place::new();
    place.write("i.json", IMAGE);
    place.write("uefi.json", IMAGE.replace("\"EnaSupport\"", "\"BootMode\": \"uefi\", \"EnaSupport\""));
    place.write("lost.json", IMAGE.replace("\"DeviceName\": \"/dev/xvda\"", "\"DeviceName\": \"/dev/sdb\""));
    place.write("snap-1.raw", bios_disk());
    let of = |name: &str| {
        let ended = run(place.command(&["image", "lint", name, "--output", "json"]));
        let result: Value = serde_json::from_str(&ended.out).unwrap();
        assert!(result["Assumed"].is_null(), "{result}");
        (ended.code, result)
    };
    assert_eq!(of("i.json").0, Some(0));
    let (code, uefi) = of("uefi.json");
    assert!(code == Some(1) && codes(&uefi).contains(&"NoEsp"), "{uefi}");
    let (code, lost) = of("lost.json");
    assert_eq!((code, codes(&lost)), (Some(1), vec!["RootDeviceNotMapped"]), "{lost}");
}

#[test]
fn loaders_are_shown_and_what_they_start() {
    let place = Place::new();
    place.write("esp.raw", shim_disk(&[]));
    place.write("whole.raw", shim_disk(&[("grubx64.efi", b"MZ")]));
    place.write("uefi.json", IMAGE.replace("\"EnaSupport\"", "\"BootMode\": \"uefi\", \"EnaSupport\""));
    let json = |arguments: &[&str]| {
        let ended = run(place.command(&[arguments, &["--output", "json"]].concat()));
        assert_eq!(ended.err, "", "{arguments:?}");
        (ended.code, serde_json::from_str::<Value>(&ended.out).unwrap())
    };
    let shim = json!({"Partition": 0, "Path": "/EFI/BOOT/BOOTX64.EFI", "Machine": "x86_64", "Kind": "shim",
        "Signed": false});
    let (code, linted) = json(&["image", "lint", "uefi.json", "--snapshot", "snap-1=esp.raw"]);
    assert_eq!((code, codes(&linted)), (Some(1), vec!["ShimStartsNothing", "NoPartitionTable"]), "{linted}");
    assert_eq!(linted["Loaders"], json!([shim]));
    let (code, inspected) = json(&["image", "inspect", "uefi.json", "--snapshot", "snap-1=esp.raw"]);
    assert_eq!((code, &inspected["Loaders"], &inspected["Assumed"]), (Some(0), &json!([shim]), &Value::Null));
    assert_eq!(inspected["PartitionTable"], "none");
    assert_eq!(inspected["VolumeBytes"], 1 << 20);
    assert_eq!(inspected["Partitions"][0]["Role"], "esp");
    let (_, whole) = json(&["image", "inspect", "whole.raw"]);
    assert_eq!(whole["Assumed"]["BootMode"], "uefi");
    assert_eq!(whole["Loaders"][1]["Machine"], "none");
    // What is no program is for another machine.
    assert_eq!(whole["Loaders"][0].get("Starts"), None);
    let page = run(place.command(&["image", "inspect", "esp.raw"]));
    assert_eq!((page.code, page.err.as_str()), (Some(0), ""), "{}", page.out);
    for line in [
        "taken for  x86_64, uefi: it has the EFI loader BOOTX64.EFI and no BIOS boot code",
        "disk       1.0 MiB, no partition table",
        "partition  the whole disk: EFI system partition, FAT, 1.0 MiB",
        "loader     /EFI/BOOT/BOOTX64.EFI: shim for x86_64",
    ] {
        assert!(page.out.lines().any(|said| said == line), "no {line:?} in\n{}", page.out);
    }
    assert!(place.leftovers(&["esp.raw", "whole.raw", "uefi.json"]).is_empty());
}

#[test]
fn what_has_no_disk_is_not_inspected() {
    let place = Place::new();
    place.write("lost.json", IMAGE.replace("\"DeviceName\": \"/dev/xvda\"", "\"DeviceName\": \"/dev/sdb\""));
    let ended = run(place.command(&["image", "inspect", "lost.json"]));
    assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{}", ended.err);
    assert!(ended.err.contains("lost.json has no snapshot as its root volume"), "{}", ended.err);
}

#[test]
fn a_launch_says_it_before_it_waits() {
    let place = Place::new();
    place.write("i.json", IMAGE);
    place.write("snap-1.raw", vec![0; 1 << 20]);
    let ended = run(place.command(&["i.json", "--dry-run", "--output", "json"]));
    let plan: Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!((ended.code, &plan["Warnings"][0]["Code"]), (Some(0), &"NoPartitionTable".into()), "{plan}");
}

#[test]
fn a_disk_that_is_made_to_start_by_bios_is_judged_by_that() {
    let place = Place::new();
    let mut disk = bios_disk();
    // Without its code.
    disk[..2].fill(0);
    place.write("disk.raw", disk);
    for mode in ["legacy-bios", "uefi"] {
        let ended = run(place.command(&["disk.raw", "--dry-run", "--output", "json", "--boot-mode", mode]));
        let plan: Value = serde_json::from_str(&ended.out).unwrap();
        let warnings = plan["Warnings"].as_array().unwrap();
        let codes: Vec<_> = warnings.iter().map(|warning| warning["Code"].as_str().unwrap()).collect();
        let expected = if mode == "uefi" { "NoEsp" } else { "NoBootCode" };
        assert!(ended.code == Some(0) && codes.contains(&expected), "{mode}: {plan}");
    }
}

#[test]
fn an_image_id_chooses_from_a_description_and_from_nothing_else() {
    let place = Place::new();
    place.write("disk.raw", bios_disk());
    for arguments in [&["image", "lint", "disk.raw"][..], &["disk.raw", "--dry-run"]] {
        let ended = run(place.command(&[arguments, &["--image-id", "ami-1"]].concat()));
        assert!(ended.code == Some(2) && ended.err.contains("--image-id"), "{:?}: {}", ended.code, ended.err);
    }
}

#[test]
fn a_refusal_is_json_for_programs_too() {
    let place = Place::new();
    place.write("i.json", IMAGE);
    place.write("out.json", IMAGE.replace("snap-1", "/etc/snap-1"));
    for (name, code, words) in [
        ("i.json", Some("InvalidSnapshot.NotFound"), "no disk file holds snapshot snap-1"),
        ("out.json", Some("InvalidSnapshotID.Malformed"), "`/etc/snap-1` is not a snapshot id"),
        ("nothing.raw", None, "no such image: nothing.raw"),
    ] {
        let ended = run(place.command(&["image", "lint", name, "--output", "json"]));
        assert!(ended.code == Some(1) && ended.err.contains(words), "{:?}: {}", ended.code, ended.err);
        let result: Value = serde_json::from_str(&ended.out).unwrap();
        assert_eq!((&result["Ok"], codes(&result)), (&Value::Bool(false), vec![]), "{result}");
        assert_eq!(result["Error"]["Code"].as_str(), code, "{result}");
        assert!(result["Message"].as_str().unwrap().contains(words), "{result}");
    }
}

#[test]
fn what_cannot_be_looked_into_is_refused_in_words() {
    let place = Place::new();
    place.write("i.json", IMAGE);
    place.write("disk.qcow2", b"QFI\xfb and more of it, so that it has a sector".repeat(20));
    for (arguments, code, said) in [
        (&["image", "lint", "i.json"][..], 1, "no disk file holds snapshot snap-1"),
        (&["image", "lint", "disk.qcow2"], 1, "qcow2"),
        (&["image", "lint", "nothing.raw"], 1, "no such image: nothing.raw"),
        (&["image", "lint"], 2, "<IMAGE>"),
        (&["image", "inspect"], 2, "<IMAGE>"),
        (&["image", "inspect", "nothing.raw"], 1, "no such image: nothing.raw"),
        (&["image", "lint", "i.json", "--snapshot", "snap-2=x"], 2, "--snapshot snap-2"),
        (&["image", "lnit", "i.json"], 2, "there is `ami-run image inspect`, `ami-run image lint`"),
    ] {
        let ended = run(place.command(arguments));
        assert!(ended.code == Some(code) && ended.err.contains(said), "{:?}: {}", ended.code, ended.err);
        assert_eq!(ended.out, "", "{arguments:?}");
    }
}
