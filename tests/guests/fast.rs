//! Boots on the host's own /dev/kvm, whatever it can: SeaBIOS and GRUB from a virtio-blk disk. `--force`, because
//! they run on a KVM that only emulates guest kernels too.

use crate::expect::{Launch, guest, path, state};
use std::fs;
use std::process::Command;

/// Boots the GRUB disk, enlarged to `gib`, until GRUB switches the machine off.
fn grub(gib: u64, cpus: &str, memory: &str, interface: &str) {
    let Some(folder) = guest("AMI_RUN_GUEST_GRUB") else { return };
    let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
    let disk = temporary.path().join("disk.img");
    fs::copy(folder.join("disk.img"), &disk).unwrap();
    fs::File::options().write(true).open(&disk).unwrap().set_len(gib << 30).unwrap();
    let before = fs::metadata(&disk).unwrap().modified().unwrap();
    let disk_path = disk.to_str().unwrap();
    let machine = ["--cpus", cpus, "--memory", memory, "--disk-interface", interface];
    let launch = Launch::start(&[&[disk_path, "--force", "--timeout", "300"][..], &machine].concat());
    let end = launch.end();
    assert_eq!(end.code, Some(0), "{}\n{}", end.console, end.status);
    // SeaBIOS sends what GRUB said through it late, into the middle of GRUB's own lines: so one name at a time.
    for text in ["ami-run: GRUB is up", "(hd0) ", "(hd0,msdos1)", "ami-run: disks listed"] {
        assert!(end.console.contains(text), "{text}:\n{}", end.console);
    }
    assert_eq!(fs::metadata(&disk).unwrap().modified().unwrap(), before, "the disk file is not written to");
}

#[test]
fn grub_lists_a_small_disk_with_one_cpu_and_64_mib() {
    grub(1, "1", "64M", "virtio");
}

#[test]
fn grub_lists_a_disk_of_8_gib_with_two_cpus() {
    grub(8, "2", "512M", "virtio");
}

#[test]
fn grub_lists_a_disk_of_64_gib_with_eight_cpus_and_5_gib() {
    grub(64, "8", "5G", "virtio");
}

#[test]
fn grub_lists_an_nvme_disk_with_memory_above_4_gib() {
    grub(1, "1", "5G", "nvme");
}

#[test]
fn what_is_waited_for_ends_the_launch() {
    let Some(folder) = guest("AMI_RUN_GUEST_GRUB") else { return };
    let arguments = [
        &path(&folder, "disk.img"),
        "--force",
        "--wait-for",
        "console:GRUB is up",
        "--stop-timeout",
        "1",
        "--output",
        "json",
    ];
    let state = state();
    let mut command = Command::new(env!("CARGO_BIN_EXE_ami-run"));
    let output = command.args(arguments).env("AMI_RUN_STATE_DIR", state.path()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let result: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(result["ExitCode"], 0, "{result}");
    assert_eq!(result["WaitedFor"][0]["Seen"], true, "{result}");
}
