//! A volume's own file as what is launched: planned and judged as the disk that it is, and refused in words.

use crate::guest::Guest;
use crate::lint::bios_disk;
use crate::run::{Ended, Place, end, has_kvm, read_until, run};
use ami_run_storage::{Base, Volume};
use serde_json::{Value, json};
use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::process::Stdio;

/// A place with disk.raw, and my.volume of 1 GiB on it.
fn place() -> Place {
    let place = Place::new();
    let disk = place.write("disk.raw", bios_disk());
    let base = Base::open(&disk).unwrap();
    Volume::create(&place.inputs().join("my.volume"), base, Some(1 << 30)).unwrap();
    place
}

fn ended(place: &Place, arguments: &[&str]) -> Ended {
    run(place.command(arguments))
}

fn refused(place: &Place, arguments: &[&str], code: i32, fragments: &[&str]) {
    let ended = ended(place, arguments);
    assert_eq!((ended.code, ended.out.as_str()), (Some(code), ""), "{arguments:?}: {}", ended.err);
    for fragment in fragments {
        assert!(ended.err.contains(fragment), "{arguments:?}: no {fragment:?} in: {}", ended.err);
    }
}

#[test]
fn a_volume_is_planned_and_judged_as_the_disk_that_it_is() {
    let place = place();
    let written = || fs::metadata(place.inputs().join("my.volume")).unwrap().modified().unwrap();
    let before = written();
    let plan = ended(&place, &["my.volume", "--dry-run"]);
    assert_eq!((plan.code, plan.err.as_str()), (Some(0), ""), "{}", plan.out);
    let root = plan.out.lines().find(|line| line.starts_with("root volume ")).unwrap();
    let told = "/dev/xvda: 1 GiB gp2, 100 IOPS, virtio, my.volume, a volume that keeps what is written";
    assert!(root.ends_with(told), "{root}");
    let plan = ended(&place, &["my.volume", "--dry-run", "--output", "json"]);
    let plan: Value = serde_json::from_str(&plan.out).unwrap();
    let root = &plan["Volumes"][0];
    assert_eq!((&root["Source"], &root["Kept"]), (&json!("my.volume"), &json!(true)), "{plan}");
    assert_eq!((&root["SnapshotId"], &root["SizeGiB"]), (&Value::Null, &json!(1)), "{plan}");
    let of_disk = ended(&place, &["disk.raw", "--dry-run", "--output", "json"]);
    let of_disk: Value = serde_json::from_str(&of_disk.out).unwrap();
    assert_eq!(of_disk["Volumes"][0]["Kept"], Value::Null, "{of_disk}");
    let [raw, volume] = ["disk.raw", "my.volume"].map(|name| ended(&place, &["image", "lint", name]));
    assert_eq!((volume.code, &volume.out), (raw.code, &raw.out), "{}", volume.err);
    assert_eq!(written(), before, "to look changes nothing");
    assert!(place.leftovers(&["disk.raw", "my.volume"]).is_empty());
}

#[test]
fn a_volume_is_no_snapshot_and_has_its_own_size() {
    let place = place();
    let image = r#"{"ImageId": "ami-1", "Architecture": "x86_64", "RootDeviceName": "/dev/xvda",
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1"}}]}"#;
    place.write("i.json", image);
    for arguments in [&["i.json", "--dry-run"][..], &["image", "lint", "i.json"]] {
        let arguments = [arguments, &["--snapshot", "snap-1=my.volume"]].concat();
        refused(&place, &arguments, 1, &["my.volume is a volume, which cannot be used here", "volume serve"]);
    }
    let mapping = ["--block-device-mappings", "DeviceName=/dev/xvda,Ebs={VolumeSize=8}"];
    let told = ["Volume my.volume has 1 GiB and not 8 GiB", "leave VolumeSize out"];
    refused(&place, &[&["my.volume", "--dry-run"], &mapping[..]].concat(), 1, &told);
    refused(
        &place,
        &["my.volume", "--image-id", "ami-1"],
        2,
        &["my.volume is a volume, and describes no image"],
    );
}

#[test]
fn a_volume_that_cannot_be_used_is_refused_in_words() {
    let place = place();
    let all: [&[&str]; 3] = [&["my.volume"], &["my.volume", "--dry-run"], &["image", "lint", "my.volume"]];
    let volume = Volume::open(&place.inputs().join("my.volume"), false, Base::open).unwrap();
    for arguments in all {
        refused(&place, arguments, 3, &["my.volume is in use: another process"]);
    }
    drop(volume);
    let disk = File::options().write(true).open(place.inputs().join("disk.raw")).unwrap();
    disk.write_all_at(&[1], 100).unwrap();
    for arguments in all {
        refused(&place, arguments, 1, &["disk.raw was changed since", "ami-run volume rebase my.volume "]);
    }
    let file = File::options().write(true).open(place.inputs().join("my.volume")).unwrap();
    file.write_all_at(&[0xff; 16], 20).unwrap();
    for arguments in all {
        refused(&place, arguments, 1, &["volume my.volume is damaged: its header cannot be read"]);
    }
}

#[test]
fn a_volume_is_its_launchs_alone_while_it_runs() {
    if !has_kvm() {
        return;
    }
    let place = place();
    let guest = Guest::default().wait_for_button("up\r\n");
    let mut command = place.guest(guest, &["my.volume", "--stop-timeout", "1"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    read_until(child.stdout.as_mut().unwrap(), "up");
    refused(&place, &["my.volume", "--dry-run"], 3, &["my.volume is in use: another process"]);
    let other = ["--kernel", "guest", "--force", "--memory", "64", "my.volume"];
    refused(&place, &other, 3, &["my.volume is in use: another process"]);
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    end(&mut child);
    assert_eq!(ended(&place, &["my.volume", "--dry-run"]).code, Some(0));
    let log = ended(&place, &["my.volume", "--console-log", "my.volume", "--force", "--memory", "64"]);
    assert_eq!(log.code, Some(2), "{}", log.err);
    assert!(log.err.contains("--console-log would overwrite my.volume"), "{}", log.err);
}
