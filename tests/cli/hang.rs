//! A guest that says nothing is explained, and what firmware prints for itself is kept.

use crate::guest::Guest;
use crate::life::Life;
use crate::lint::bios_disk;
use crate::run::{BOUND, Place, end, has_kvm, read_until, rest, run, skip};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

const MACHINE: [&str; 7] = ["disk.raw", "--rm", "--force", "--cpus", "1", "--memory", "64"];

/// A firmware of a few instructions: it asks fw_cfg for its signature, prints to the debug port, says what SeaBIOS says
/// first, and stops. It is entered in real mode at the end of its 128 KiB, by a jump to F000:0000.
fn firmware() -> Vec<u8> {
    // mov dx, 0x510; xor ax, ax; out dx, ax
    let mut code = vec![0xba, 0x10, 0x05, 0x31, 0xc0, 0xef];
    for (port, text) in [(0x402u16, "whole line\nrest"), (0x3f8, "SeaBIOS (version 0)\r\n")] {
        // mov dx, port; then mov al, byte; out dx, al
        code.push(0xba);
        code.extend(port.to_le_bytes());
        code.extend(text.bytes().flat_map(|byte| [0xb0, byte, 0xee]));
    }
    // cli; hlt; and again
    code.extend([0xfa, 0xf4, 0xeb, 0xfc]);
    let mut image = vec![0; 128 << 10];
    image[0x1_0000..0x1_0000 + code.len()].copy_from_slice(&code);
    image[0x1_fff0..0x1_fff5].copy_from_slice(&[0xea, 0, 0, 0, 0xf0]);
    image
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

fn has_seabios() -> bool {
    let there = Path::new("/usr/share/seabios/bios-256k.bin").exists();
    if !there {
        skip("the package seabios is not installed");
    }
    has_kvm() && there
}

fn terminate(child: &Child) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
}

#[test]
fn a_firmware_that_hangs_is_explained_and_again_at_the_end_of_its_time() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    place.write("disk.raw", bios_disk());
    place.write("firmware", firmware());
    place.write("log", "an older log that is longer than the new one");
    let mut command = place.command(&MACHINE);
    command.args(["--firmware", "firmware", "--firmware-log", "log", "--hang-after", "6s"]);
    command.args(["--timeout", "16s", "--output", "json"]);
    let ended = run(command);
    assert_eq!(ended.code, Some(5), "{}", ended.err);
    let what = "nothing on the console but the firmware's own words";
    let verdict = "the firmware began, and never asked for its ACPI tables";
    let told = ended.err.matches(&format!("silent     {what} in ")).count();
    assert_eq!(told, 2, "once while it ran, and once at its end: {}", ended.err);
    assert!(ended.err.contains("\n           try: `ami-run image lint disk.raw`"), "{}", ended.err);
    assert!(
        ended.err.contains(&format!("  caused by: {what} in ")) && ended.err.contains(verdict),
        "{}",
        ended.err
    );
    let result = json(&ended.out);
    assert_eq!(
        (&result["ExitReason"], &result["Stage"]["Name"]),
        (&"TimedOut".into(), &"FirmwareBegan".into())
    );
    let signs = &result["Stage"]["Signs"];
    assert!(signs["FirmwareBegan"].as_f64().is_some() && signs["TablesRead"].is_null(), "{result}");
    assert!(result["Stage"]["Explanation"][0].as_str().unwrap().ends_with(verdict), "{result}");
    assert_eq!(fs::read_to_string(place.inputs().join("log")).unwrap(), "whole line\nrest");
    let also = ["it printed nothing", "try: --firmware-log", "error: descriptor"];
    assert!(!also.iter().any(|words| ended.err.contains(words)), "{}", ended.err);
    assert!(place.leftovers(&["disk.raw", "firmware", "log"]).is_empty());
}

#[test]
fn a_kernel_that_is_silent_is_explained_and_one_that_speaks_is_not() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    let ended = |guest, options: &[&str]| {
        let ended = run(place.guest(guest, &[options, &["--timeout", "4s", "--output", "json"]].concat()));
        assert_eq!(ended.code, Some(5), "{}", ended.err);
        (json(&ended.out)["Stage"].clone(), ended.err)
    };
    let (stage, said) = ended(Guest::default().halt(), &["--hang-after", "0"]);
    assert_eq!((&stage["Name"], said.matches("silent   ").count()), (&"Started".into(), 1), "{said}");
    assert!(said.contains("try: --append console=ttyS0"), "{said}");
    // It enables the power button, as Linux does.
    let (stage, said) = ended(Guest::default().ignore_button(""), &["--hang-after", "0"]);
    assert_eq!(stage["Name"], "Kernel", "{stage}");
    assert!(said.contains("a kernel runs, and prints nothing to ttyS0"), "{said}");
    let (stage, said) = ended(Guest::default().ignore_button("up\r\n"), &["--hang-after", "1s"]);
    assert_eq!((&stage["Name"], &stage["Explanation"]), (&"Kernel".into(), &Value::Null), "{stage}");
    assert!(!said.contains("silent   "), "{said}");
}

#[test]
fn a_disk_without_boot_code_is_explained_while_seabios_waits() {
    if !has_seabios() {
        return;
    }
    let place = Place::new();
    place.write("disk.raw", vec![0; 1 << 20]);
    let mut command = place.command(&MACHINE);
    command.args(["--firmware-log", "log", "--output", "json", "--hang-after", "4m"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut errors = child.stderr.take().unwrap();
    let said = read_until(&mut errors, "all that speaks against the disk");
    let what = "the firmware's own words in ";
    assert!(said.contains("silent     nothing on the console but ") && said.contains(what), "{said}");
    for words in [
        "nothing on the disks could be started by BIOS",
        "the firmware's own last word: No bootable device",
        "the boot disk's first block was read at ",
        "(NoPartitionTable)",
        "--boot-mode uefi, if the image is made for UEFI",
    ] {
        assert!(said.contains(words), "{words:?}: {said}");
    }
    terminate(&child);
    assert_eq!(end(&mut child).code(), Some(143));
    let result = json(&rest(child.stdout.take().unwrap()));
    assert_eq!(result["Stage"]["Name"], "NothingToStart", "{result}");
    let log = fs::read_to_string(place.inputs().join("log")).unwrap();
    assert!(log.contains("SeaBIOS (version ") && log.lines().count() > 10, "{log}");
}

#[test]
fn what_boot_code_says_is_no_silence_and_its_disk_is_told_of() {
    if !has_seabios() {
        return;
    }
    let place = Place::new();
    let mut disk = bios_disk();
    // mov dx, 0x3f8; mov al, '#'; out dx, al; cli; hlt. It comes amid SeaBIOS' own words, which are still on their way.
    disk[..8].copy_from_slice(&[0xba, 0xf8, 0x03, 0xb0, b'#', 0xee, 0xfa, 0xf4]);
    for interface in ["virtio", "nvme"] {
        place.write("disk.raw", &disk);
        let mut command = place.command(&MACHINE);
        command.args(["--output", "json", "--disk-interface", interface, "--hang-after", "4m"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut errors = child.stderr.take().unwrap();
        let said = read_until(&mut errors, "#");
        assert!(said.contains("Booting from ") && !said.contains("silent   "), "{said}");
        terminate(&child);
        assert_eq!(end(&mut child).code(), Some(143));
        let stage = json(&rest(child.stdout.take().unwrap()))["Stage"].clone();
        assert_eq!(stage["Name"], "BootDiskRead", "{interface}: {stage}");
        assert_eq!((&stage["LastBlock"], &stage["Resets"]), (&0.into(), &0.into()), "{interface}: {stage}");
        assert!(stage["Signs"]["FurtherBlockRead"].is_null() && stage["Explanation"].is_null(), "{stage}");
        let order =
            ["FirmwareBegan", "TablesRead", "FirstBlockRead"].map(|sign| stage["Signs"][sign].as_f64());
        assert!(order[0].is_some() && order.is_sorted(), "{stage}");
    }
}

#[test]
fn a_detached_instance_is_explained_in_its_log() {
    if !has_kvm() {
        return;
    }
    let life = Life::new();
    life.place.write("firmware", firmware());
    let line =
        "disk.raw --force --cpus 1 --memory 64 -d --firmware firmware --firmware-log log --hang-after 2s";
    let id = life.done(line).trim().to_owned();
    let log = life.state_folder().join("instances").join(&id).join("log");
    let begun = Instant::now();
    let said = loop {
        let said = fs::read_to_string(&log).unwrap_or_default();
        let printed = fs::read_to_string(life.place.inputs().join("log")).unwrap_or_default();
        if said.contains("all that speaks against the disk") && printed == "whole line\n" {
            break said;
        }
        assert!(begun.elapsed() < BOUND, "{said}");
        std::thread::sleep(Duration::from_millis(20));
    };
    assert!(said.contains("silent     nothing on the console"), "{said}");
    life.done(&format!("terminate --force {id}"));
}

#[test]
fn a_firmware_log_takes_no_other_file_s_place() {
    if !has_kvm() {
        return;
    }
    let place = Place::new();
    place.write("disk.raw", bios_disk());
    place.write("firmware", firmware());
    for (log, code, says) in [
        ("disk.raw", 2, "/disk.raw\n\nhint: name another file"),
        ("firmware", 2, "--firmware-log would overwrite firmware"),
        ("console", 2, "--firmware-log would overwrite console"),
        ("no/log", 3, "cannot write the firmware log no/log"),
    ] {
        let mut command = place.command(&MACHINE);
        command.args(["--firmware", "firmware", "--console-log", "console", "--firmware-log", log]);
        let ended = run(command);
        assert_eq!(ended.code, Some(code), "{log}: {}", ended.err);
        assert!(ended.err.contains(says), "{log}: {}", ended.err);
    }
    place.write("data", "#!/bin/sh");
    let mut command = place.command(&MACHINE);
    command.args(["--firmware", "firmware", "--user-data", "data", "--console-log", "data"]);
    let ended = run(command);
    assert_eq!(ended.code, Some(2), "{}", ended.err);
    assert!(ended.err.contains("--console-log would overwrite data"), "{}", ended.err);
    assert_eq!(fs::read(place.inputs().join("firmware")).unwrap(), firmware());
}
