//! Disk files of other formats than raw: planned and judged as the raw disk that they hold, through the cache.

use crate::lint::bios_disk;
use crate::run::{Ended, Place, run, skip};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What makes each format of disk.raw, and what it makes.
const MAKERS: &[(&str, &[&str])] = &[
    ("disk.qcow2", &["qemu-img", "convert", "-O", "qcow2", "disk.raw", "disk.qcow2"]),
    ("packed.qcow2", &["qemu-img", "convert", "-c", "-O", "qcow2", "disk.raw", "packed.qcow2"]),
    (
        "disk.vmdk",
        &["qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", "disk.raw", "disk.vmdk"],
    ),
    ("disk.vhd", &["qemu-img", "convert", "-O", "vpc", "-o", "force_size=on", "disk.raw", "disk.vhd"]),
    (
        "fixed.vhd",
        &["qemu-img", "convert", "-O", "vpc", "-o", "subformat=fixed,force_size=on", "disk.raw", "fixed.vhd"],
    ),
    ("disk.raw.xz", &["xz", "-k", "disk.raw"]),
    ("disk.raw.gz", &["gzip", "-k", "disk.raw"]),
    ("disk.raw.zst", &["zstd", "-q", "disk.raw"]),
];

/// A place with disk.raw, and what of the other formats can be made here.
fn place() -> (Place, Vec<&'static str>) {
    let place = Place::new();
    place.write("disk.raw", bios_disk());
    let made = MAKERS.iter().filter(|(name, command)| {
        let done = Command::new(command[0]).args(&command[1..]).current_dir(place.inputs()).output();
        match done {
            Ok(output) => assert!(output.status.success(), "{name}: {output:?}"),
            Err(cause) => skip(&format!("{name}: there is no {}: {cause}", command[0])),
        }
        place.inputs().join(name).exists()
    });
    let made = made.map(|(name, _)| *name).collect();
    (place, made)
}

fn ended(place: &Place, arguments: &[&str]) -> Ended {
    run(place.command(arguments))
}

/// The files of a place's cache, those of one entry behind each other.
fn cached(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_format_is_planned_and_judged_as_the_raw_disk_in_it() {
    let (place, made) = place();
    let verbs: [&[&str]; 3] = [&["--dry-run"], &["--dry-run", "--output", "json"], &["image", "lint"]];
    for verb in verbs {
        let with = |name| match verb {
            ["image", "lint"] => ended(&place, &["image", "lint", name]),
            more => ended(&place, &[&[name], more].concat()),
        };
        let raw = with("disk.raw");
        assert_eq!((raw.code, raw.err.as_str()), (Some(0), ""), "{}", raw.out);
        for name in &made {
            let other = with(name);
            assert_eq!((other.code, other.err.as_str()), (Some(0), ""), "{name}");
            assert_eq!(other.out.replace(name, "disk.raw"), raw.out, "{name}");
        }
    }
}

#[test]
fn a_snapshot_beside_image_json_may_have_any_format() {
    let (place, made) = place();
    let image = r#"{"ImageId": "ami-1", "Architecture": "x86_64", "RootDeviceName": "/dev/xvda", "EnaSupport": true,
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-1"}}]}"#;
    place.write("i.json", image);
    for name in made.iter().filter_map(|name| name.strip_prefix("disk.")) {
        let beside = place.inputs().join(format!("snap-1.{name}"));
        fs::copy(place.inputs().join(format!("disk.{name}")), &beside).unwrap();
        let plan = ended(&place, &["i.json", "--dry-run"]);
        let told = format!("snap-1 in ./snap-1.{name}, ");
        assert!(plan.code == Some(0) && plan.out.contains(&told), "{name}: {}{}", plan.out, plan.err);
        fs::remove_file(beside).unwrap();
    }
}

#[test]
fn what_was_unpacked_is_kept_until_the_disk_file_is_another() {
    let (place, made) = place();
    if !made.contains(&"disk.raw.gz") {
        return;
    }
    let home = place.folder().join("home/.local/share/ami-run/cache");
    assert!(cached(&home).is_empty(), "a raw disk needs none");
    let plan = || assert_eq!(ended(&place, &["disk.raw.gz", "--dry-run"]).code, Some(0));
    plan();
    let first = cached(&home);
    assert_eq!(first.len(), 2, "{first:?}");
    let raw = first.iter().find(|path| path.extension().is_some_and(|extension| extension == "raw")).unwrap();
    assert_eq!(fs::read(raw).unwrap(), bios_disk());
    let written = || fs::metadata(raw).unwrap().modified().unwrap();
    let before = written();
    plan();
    assert_eq!((cached(&home), written()), (first.clone(), before));
    // Another disk file of that name: what was kept of the old one goes.
    fs::copy(place.inputs().join("disk.raw.gz"), place.inputs().join("new")).unwrap();
    fs::rename(place.inputs().join("new"), place.inputs().join("disk.raw.gz")).unwrap();
    plan();
    let second = cached(&home);
    assert!(second.len() == 2 && second.iter().all(|path| !first.contains(path)), "{second:?}");
    // It can be removed at any time.
    fs::remove_dir_all(&home).unwrap();
    plan();
    assert_eq!(cached(&home), second);
}

#[test]
fn the_cache_is_in_the_state_folder_and_without_a_home_in_a_temporary_one() {
    let (place, made) = place();
    for name in made.into_iter().filter(|name| ["disk.qcow2", "disk.raw.gz"].contains(name)) {
        let state = place.folder().join("state");
        let mut command = place.command(&[name, "--dry-run"]);
        command.env("AMI_RUN_STATE_DIR", &state);
        assert_eq!(run(command).code, Some(0), "{name}");
        assert_eq!(cached(&state.join("cache")).len(), 2, "{name}");
        fs::remove_dir_all(&state).unwrap();
        let mut command = place.command(&[name, "--dry-run"]);
        command.env_remove("HOME");
        assert_eq!(run(command).code, Some(0), "{name}");
        let me = rustix::process::geteuid().as_raw();
        let state = place.folder().join(format!("tmp/ami-run-{me}"));
        assert_eq!(cached(&state.join("cache")).len(), 2, "{name}");
        fs::remove_dir_all(&state).unwrap();
        // A file is in the folder's place.
        let state = place.folder().join("state");
        fs::write(&state, "").unwrap();
        let mut command = place.command(&[name, "--dry-run"]);
        command.env("AMI_RUN_STATE_DIR", &state);
        let refused = run(command);
        assert_eq!((refused.code, refused.out.as_str()), (Some(3), ""), "{name}: {}", refused.err);
        for told in
            ["cannot use the cache in ", "/state/cache", "hint: set AMI_RUN_STATE_DIR to another folder"]
        {
            assert!(refused.err.contains(told), "{name}: no {told:?} in: {}", refused.err);
        }
        fs::remove_file(&state).unwrap();
    }
}

#[test]
fn a_disk_file_that_is_cut_short_is_refused_and_leaves_nothing_large() {
    let (place, made) = place();
    for name in made.into_iter().filter(|name| *name != "fixed.vhd") {
        let whole = fs::read(place.inputs().join(name)).unwrap();
        place.write(name, &whole[..whole.len() / 2]);
        let refused = ended(&place, &["image", "lint", name]);
        assert_eq!((refused.code, refused.out.as_str()), (Some(1), ""), "{name}: {}", refused.err);
        assert!(refused.err.contains(name), "{name}: {}", refused.err);
    }
    let home = place.folder().join("home/.local/share/ami-run/cache");
    let files = cached(&home);
    let unpacked: u64 =
        files.iter().map(|path| std::os::unix::fs::MetadataExt::blocks(&fs::metadata(path).unwrap())).sum();
    assert!(unpacked * 512 < 1 << 20, "{files:?}");
}

#[test]
fn no_output_is_written_over_a_file_that_a_disk_file_leads_to() {
    let (place, made) = place();
    if !made.contains(&"disk.qcow2") {
        return;
    }
    let create = ["create", "-f", "qcow2", "-b", "disk.qcow2", "-F", "qcow2", "top.qcow2"];
    let made = Command::new("qemu-img").args(create).current_dir(place.inputs()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let before = fs::read(place.inputs().join("disk.qcow2")).unwrap();
    let refused = ended(&place, &["top.qcow2", "--console-log", "disk.qcow2", "--force", "--memory", "64"]);
    assert_eq!(refused.code, Some(2), "{}", refused.err);
    assert!(refused.err.contains("--console-log would overwrite "), "{}", refused.err);
    assert!(fs::read(place.inputs().join("disk.qcow2")).unwrap() == before);
}
