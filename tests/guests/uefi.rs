//! Guests that start by UEFI, where KVM is real: loaders that only an EFI system partition can show, the guest's
//! variables after its machine was killed, and what stock Debian, which `debian` starts, has to show of its firmware.

use crate::debian::{describe, has};
use crate::expect::{End, Launch, done, guest, path, state};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use std::fs;
use std::hash::{BuildHasher as _, RandomState};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// Of the variable that the guest makes here.
const MARK: &str = "/sys/firmware/efi/efivars/Mark-0f2a1c5e-6d0b-4a63-9a0f-5c1d3c0f7b11";
/// Of the removable path, for firmware of this architecture.
const LOADER: &str = if cfg!(target_arch = "aarch64") { "BOOTAA64.EFI" } else { "BOOTX64.EFI" };
/// The recipe's partition.
const ESP: &str = "15";

/// The text of a boot entry's line by `efibootmgr`: `Boot0007* ours` and, with a newer one, where it is.
pub(crate) fn entry(listed: &str, name: &str) -> Option<String> {
    let number = |line: &str| line.strip_prefix("Boot")?.get(..4).map(str::to_owned);
    listed.lines().find(|line| line.contains(&format!("* {name}"))).and_then(number)
}

/// What the kernel and the distribution's tools see of the firmware.
pub(crate) fn firmware(console: &mut Launch) {
    assert_eq!(console.shell("cat /sys/firmware/efi/fw_platform_size"), "64");
    let tables = console.shell("dmidecode -t system -t bios");
    has(&tables, &["SMBIOS 3.", "Vendor: Amazon EC2", "Manufacturer: Amazon EC2", "UUID: ec2"]);
    has(&tables, &["UEFI is supported"]);
    let acpi = console.shell("dmesg | grep -E 'ACPI: (RSDP|FACP|DSDT|APIC)'");
    has(&acpi, &["AMAZON", "AMZN"]);
    let complaints =
        "dmesg | grep -iE 'firmware bug|acpi (bios )?error|bios bug|call trace|efi: .*(error|fail)'";
    assert_eq!(console.shell(complaints), "");
    assert_eq!(console.shell("nproc"), "2");
    let root = console.shell("findmnt -no SOURCE /");
    assert!(root.starts_with("/dev/nvme"), "{root}");
    console.shell(&format!("printf '\\007\\000\\000\\000kept' > {MARK}"));
    assert_eq!(console.shell(&format!("cat {MARK} | tail -c +5")), "kept");
}

/// What root does in the guest for a second entry for its loader.
pub(crate) fn make_entry() -> String {
    let disk = "/dev/$(lsblk -no PKNAME $(findmnt -no SOURCE /))";
    format!("efibootmgr -c -d {disk} -p {ESP} -L ours -l '\\EFI\\BOOT\\{LOADER}'")
}

/// A second entry for the loader, which becomes the first in the order; its number.
pub(crate) fn new_entry(console: &mut Launch) -> String {
    let before = console.shell("efibootmgr");
    has(&before, &["BootCurrent: ", "BootOrder: "]);
    assert_eq!(entry(&before, "ours"), None, "{before}");
    let after = console.shell(&make_entry());
    let ours = entry(&after, "ours").unwrap_or_else(|| panic!("{after}"));
    has(&after, &[&format!("BootOrder: {ours},")]);
    assert!(!before.contains(&format!("BootCurrent: {ours}")), "{before}");
    ours
}

/// Waits until the firmware starts it, and it the kernel.
pub(crate) fn starts_entry(console: &mut Launch, ours: &str) {
    console.wait_for(&format!("BdsDxe: starting Boot{ours} \"ours\""));
    console.wait_for("Loading initial ramdisk");
}

/// The kernel and the distribution's tools know that it was used, and what else was written is there.
pub(crate) fn uses_entry(console: &mut Launch, boot: &str, ours: &str) {
    has(boot, &[&format!("BdsDxe: starting Boot{ours} \"ours\"")]);
    let listed = console.shell("efibootmgr");
    has(&listed, &[&format!("BootCurrent: {ours}"), &format!("BootOrder: {ours},"), "* ours"]);
    assert_eq!(console.shell(&format!("cat {MARK} | tail -c +5")), "kept");
}

/// A copy of the recipe's systemd-boot disk, which starts the small guest with these kernel arguments.
pub(crate) fn systemd_boot(recipe: &Path, folder: &Path, arguments: &str) -> String {
    let (disk, entry) = (folder.join("disk.raw"), folder.join("small.conf"));
    fs::copy(recipe.join("systemd-boot.img"), &disk).unwrap();
    fs::write(&entry, format!("linux /vmlinuz\ninitrd /initrd\noptions console=ttyS0 quiet {arguments}\n"))
        .unwrap();
    let mut copy = Command::new("mcopy");
    copy.arg("-o").arg("-i").arg(format!("{}@@1M", disk.display())).arg(&entry);
    assert!(copy.arg("::loader/entries/small.conf").status().unwrap().success());
    disk.to_str().unwrap().to_owned()
}

/// The small guest ran from its first line to its last, started by firmware.
fn ran(end: &End) {
    assert_eq!(end.code, Some(0), "{}\n{}", end.console, end.status);
    has(&end.console, &["BdsDxe: starting Boot", "small: up", "check efi: 64 bits", "small: done"]);
}

#[test]
fn systemd_boot_starts_a_kernel_from_virtio_blk() {
    let Some(recipe) = guest("AMI_RUN_GUEST_UEFI") else { return };
    let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
    let disk = systemd_boot(&recipe, temporary.path(), "check=efi,firmware,disks mark=ours");
    let end = Launch::start(&[&disk, "--boot-mode", "uefi", "--memory", "512M"]).end();
    ran(&end);
    has(&end.console, &["complaints 0", "check disks: vda "]);
}

#[test]
fn a_unified_kernel_image_starts_from_nvme() {
    let Some(recipe) = guest("AMI_RUN_GUEST_UEFI") else { return };
    let disk = path(&recipe, "uki.img");
    let more = ["--boot-mode", "uefi", "--memory", "512M", "--disk-interface", "nvme"];
    ran(&Launch::start(&[&[disk.as_str()][..], &more].concat()).end());
}

/// Where the distribution has shim, which starts what lies beside it under GRUB's name.
const SHIM: &str = "/usr/lib/shim/shimx64.efi";

#[test]
fn shim_starts_what_lies_beside_it() {
    let Some(recipe) = guest("AMI_RUN_GUEST_UEFI") else { return };
    if !Path::new(SHIM).exists() {
        println!("skipped: there is no {SHIM}");
        return;
    }
    let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
    let (disk, next) = (temporary.path().join("disk.raw"), temporary.path().join("grubx64.efi"));
    fs::copy(recipe.join("uki.img"), &disk).unwrap();
    let inside = format!("{}@@1M", disk.display());
    let mcopy = |from: &str, to: &str| {
        let status = Command::new("mcopy").args(["-o", "-i", &inside, from, to]).status().unwrap();
        assert!(status.success(), "{from} to {to}");
    };
    let (removable, next) = ("::EFI/BOOT/BOOTX64.EFI", next.to_str().unwrap());
    mcopy(removable, next);
    mcopy(SHIM, removable);
    mcopy(next, "::EFI/BOOT/grubx64.efi");
    ran(&Launch::start(&[disk.to_str().unwrap(), "--boot-mode", "uefi", "--memory", "512M"]).end());
}

/// The console and the result of a launch that ends by time-out at this stage: after so many seconds, or more where the
/// computer is slow.
fn silent(arguments: &[&str], seconds: u32, stage: &str) -> (String, serde_json::Value) {
    let mut last = serde_json::Value::Null;
    for factor in [1, 4, 16] {
        let timeout = (seconds * factor).to_string();
        let state = state();
        let log = state.path().join("console.log");
        let mut command = Command::new(env!("CARGO_BIN_EXE_ami-run"));
        command.args(arguments).args(["--output", "json", "--timeout", &timeout, "--console-log"]).arg(&log);
        let output = command.env("AMI_RUN_STATE_DIR", state.path()).output().unwrap();
        last = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!((output.status.code(), &last["ExitReason"]), (Some(5), &"TimedOut".into()), "{last}");
        if last["Stage"]["Name"] == stage {
            return (fs::read_to_string(log).unwrap(), last);
        }
    }
    panic!("never {stage}: {last}");
}

#[test]
fn the_firmware_s_shell_is_explained() {
    let Some(recipe) = guest("AMI_RUN_GUEST_UEFI") else { return };
    let disk = path(&recipe, "empty.img");
    let (console, result) = silent(&[&disk, "--boot-mode", "uefi", "--memory", "512M"], 60, "NothingToStart");
    has(&console, &["EFI Internal Shell", "Shell>"]);
    let explanation = &result["Stage"]["Explanation"];
    let parts = ["nothing on the disks could be started by UEFI", "opened its own shell", "legacy-bios"];
    has(&explanation.to_string(), &parts);
}

#[test]
fn a_disk_for_uefi_whose_image_does_not_say_so_hangs_explained_as_on_ec2() {
    let Some(recipe) = guest("AMI_RUN_GUEST_UEFI") else { return };
    let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
    let image = temporary.path().join("image.json");
    let text = r#"{"ImageId": "ami-0123456789abcdef0", "Architecture": "x86_64", "RootDeviceName": "/dev/xvda",
        "BlockDeviceMappings": [{"DeviceName": "/dev/xvda", "Ebs": {"SnapshotId": "snap-0123456789abcdef0"}}]}"#;
    fs::write(&image, text).unwrap();
    let snapshot = format!("snap-0123456789abcdef0={}", path(&recipe, "systemd-boot.img"));
    let arguments = [image.to_str().unwrap(), "--snapshot", &snapshot];
    let (console, result) = silent(&[&arguments[..], &["--memory", "512M"]].concat(), 20, "BootDiskRead");
    has(&console, &["SeaBIOS"]);
    assert_eq!(result["BootMode"], "legacy-bios", "{result}");
    let parts = ["first sector was read, and nothing after it", "(BootModeAbsent)", "--boot-mode uefi"];
    has(&result["Stage"]["Explanation"].to_string(), &parts);
}

/// The guest numbers what it writes, goes on where its variables end, and tells both. The kernel lets everybody change
/// variables of this vendor, which is its own for crashes.
const WRITER: &str = r"cd /sys/firmware/efi/efivars || exit
guid=cfc8fc79-be2e-4ddc-97f0-9f98bfe298a0
n=0
for file in slot*-$guid; do
    [ -e $file ] || continue
    found=$(tail -c +5 $file | head -c 8)
    echo found $found $(wc -c <$file)
    found=$(echo $found | sed 's/^0*//')
    [ $found -le $n ] || n=$found
done
echo writing
while :; do
    n=$((n + 1))
    printf '\7\0\0\0%08d%0*d' $n $((n * 37 % 1000 + 1)) 0 >slot$((n % SLOTS))-$guid && echo wrote $n .
done";
const SLOTS: u64 = 4;

/// As many bytes as the writer's `n`th value has, attributes included.
fn bytes(n: u64) -> u64 {
    4 + 8 + n * 37 % 1000 + 1
}

/// What a start of the writer finds: the number of each variable.
fn found(until_writing: &str) -> Vec<u64> {
    let lines = until_writing.lines().filter_map(|line| line.trim().strip_prefix("found "));
    let mut numbers = Vec::new();
    for line in lines {
        let (number, size) = line.split_once(' ').unwrap();
        let number: u64 = number.parse().unwrap();
        assert_eq!(size.parse(), Ok(bytes(number)), "half a value: {line}");
        numbers.push(number);
    }
    numbers.sort_unstable();
    numbers
}

/// The instance is not running any more.
fn killed(state: &Arc<TempDir>, id: &str) {
    let process = describe(state, id)["AmiRun"]["Process"].to_string();
    assert!(Command::new("kill").args(["-KILL", &process]).status().unwrap().success());
    while describe(state, id)["State"]["Name"] == "running" {
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn variables_that_a_guest_has_written_survive_kill_9_at_any_moment() {
    let Some(recipe) = guest("AMI_RUN_GUEST_UEFI") else { return };
    let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
    let script = BASE64.encode(WRITER.replace("SLOTS", &SLOTS.to_string()));
    let disk = systemd_boot(&recipe, temporary.path(), &format!("run={script}"));
    let state = state();
    let random = RandomState::new();
    let launch = [&disk, "-d", "--name", "writer", "--boot-mode", "uefi", "--memory", "512M"];
    let id = done(&state, &launch).trim().to_owned();

    // Once while the firmware fills an empty store.
    let variables = state.path().join("instances").join(&id).join("uefi-vars");
    let size = || fs::metadata(&variables).unwrap().len();
    let enough = size() + random.hash_one(0) % 50_000;
    while size() < enough {
        std::thread::sleep(Duration::from_millis(1));
    }
    killed(&state, &id);

    let mut announced = 0;
    for round in 1..=2 {
        done(&state, &["start", "writer"]);
        let mut console = Launch::start_in(&state, &["console", "writer"]);
        let numbers = found(&console.wait_for("\nwriting"));
        let last = numbers.last().copied().unwrap_or_default();
        assert!(last >= announced, "round {round}: {announced} was written, {numbers:?} is left");
        let expected: Vec<u64> = (1.max(last.saturating_sub(SLOTS - 1))..=last).collect();
        assert_eq!(numbers, expected, "round {round}: what is left is what the guest wrote until a moment");
        let count = 1 + random.hash_one(round) % 40;
        console.wait_for(&format!("wrote {} .", last + count));
        announced = last + count;
        std::thread::sleep(Duration::from_micros(random.hash_one(announced) % 200_000));
        killed(&state, &id);
        drop(console);
    }
    done(&state, &["start", "writer"]);
    let numbers = found(&Launch::start_in(&state, &["console", "writer"]).wait_for("\nwriting"));
    assert!(numbers.last().is_some_and(|last| *last >= announced), "{announced}, {numbers:?}");
    done(&state, &["terminate", "--force", "writer"]);
}
