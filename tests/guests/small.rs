//! The small guest, where KVM is real: a kernel without firmware, its CPUs, memory, disk and ends.

use crate::expect::{End, Launch, done, guest, path, state};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use tempfile::TempDir;

/// Arguments for the small guest with these kernel arguments.
pub(crate) fn arguments(folder: &Path, append: &str, more: &[&str]) -> Vec<String> {
    let (kernel, initrd) = (path(folder, "vmlinuz"), path(folder, "initrd"));
    let line = format!("console=ttyS0 quiet {append}");
    let all = ["--kernel", &kernel, "--initrd", &initrd, "--append", &line];
    all.iter().chain(more).map(|text| (*text).to_owned()).collect()
}

pub(crate) fn run(append: &str, more: &[&str]) -> Option<End> {
    let folder = guest("AMI_RUN_GUEST_SMALL")?;
    Some(Launch::start(&arguments(&folder, append, more)).end())
}

/// Runs to the end and gives the exit code and the JSON result.
pub(crate) fn result(arguments: &[String]) -> (Option<i32>, serde_json::Value) {
    let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
    let log = temporary.path().join("console.log");
    let mut command = Command::new(env!("CARGO_BIN_EXE_ami-run"));
    command.args(arguments).args(["--output", "json", "--console-log"]).arg(log).stdin(Stdio::null());
    command.env("AMI_RUN_STATE_DIR", temporary.path());
    let output = command.output().unwrap();
    (output.status.code(), serde_json::from_slice(&output.stdout).unwrap())
}

/// The value that the guest gives for a check.
pub(crate) fn value<'a>(end: &'a End, name: &str) -> &'a str {
    let key = format!("check {name}: ");
    let line = end.console.lines().find_map(|line| line.strip_prefix(&key));
    line.unwrap_or_else(|| panic!("no {name}:\n{}\n{}", end.console, end.status)).trim()
}

/// No guest, but the one place where a launch is sure to work.
#[test]
fn the_doctor_finds_nothing_wrong_where_guests_run() {
    if guest("AMI_RUN_GUEST_SMALL").is_none() {
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_ami-run")).arg("doctor").output().unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.lines().any(|line| line.starts_with("virtualization  ok ")), "{told}");
    assert_eq!(told.lines().last(), Some("a launch will work here"), "{told}");
}

#[test]
fn cpus_memory_and_clock_are_as_asked_for() {
    for (cpus, memory, least, most) in
        [("1", "192M", 100, 192), ("2", "5G", 4700, 5120), ("8", "1G", 900, 1024)]
    {
        let checks = "check=cpus,cpu,memory,clock,firmware";
        let Some(end) = run(checks, &["--cpus", cpus, "--memory", memory]) else { return };
        assert_eq!(end.code, Some(0), "{}\n{}", end.console, end.status);
        assert_eq!(value(&end, "cpus"), cpus);
        let mib = value(&end, "memory").parse::<u64>().unwrap() / 1024;
        assert!((least..=most).contains(&mib), "{mib} MiB of {memory}");
        assert_eq!(value(&end, "clock"), "kvm-clock");
        let packages = end.console.lines().filter(|line| line.contains("package 0 core")).count();
        assert_eq!(packages.to_string(), cpus, "one socket of single cores:\n{}", end.console);
        assert!(end.console.contains("complaints 0"), "{}", end.console);
    }
}

#[test]
fn a_disk_keeps_what_is_written_and_its_file_does_not_change() {
    let Some(folder) = guest("AMI_RUN_GUEST_SMALL") else { return };
    let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
    let disk = temporary.path().join("disk.raw");
    std::fs::write(&disk, vec![0x5a; 16 << 20]).unwrap();
    let mut more = vec!["--cpus", "2", disk.to_str().unwrap()];
    more.rotate_left(2);
    let launch = Launch::start(&arguments(&folder, "check=disks,irqs io=vda", &more));
    let end = launch.end();
    assert_eq!(end.code, Some(0), "{}\n{}", end.console, end.status);
    assert!(value(&end, "disks").starts_with("vda 16777216"), "{}", end.console);
    assert!(value(&end, "io").starts_with("vda ok"), "{}", end.console);
    assert!(end.console.contains("PCI-MSI") && end.console.contains("-req.0"), "{}", end.console);
    assert!(std::fs::read(&disk).unwrap().iter().all(|byte| *byte == 0x5a), "the disk file has changed");
}

#[test]
fn an_nvme_disk_is_an_ebs_volume_and_keeps_what_is_written() {
    let Some(folder) = guest("AMI_RUN_GUEST_SMALL") else { return };
    let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
    let disk = temporary.path().join("disk.raw");
    std::fs::write(&disk, vec![0x5a; 16 << 20]).unwrap();
    let more = [disk.to_str().unwrap(), "--cpus", "2", "--disk-interface", "nvme"];
    let end = Launch::start(&arguments(&folder, "check=disks,irqs,pci io=nvme0n1", &more)).end();
    assert_eq!(end.code, Some(0), "{}\n{}", end.console, end.status);
    let found = value(&end, "disks");
    assert!(found.starts_with("nvme0n1 16777216 serial=vol0"), "{found}");
    assert!(found.contains("model=Amazon Elastic Block Store"), "{found}");
    assert!(value(&end, "io").starts_with("nvme0n1 ok"), "{}", end.console);
    assert!(end.console.contains("1d0f:8061 class 010802"), "{}", end.console);
    assert!(end.console.contains("nvme0q1"), "a vector for each queue:\n{}", end.console);
    assert!(std::fs::read(&disk).unwrap().iter().all(|byte| *byte == 0x5a), "the disk file has changed");
}

#[test]
fn every_way_to_reboot_comes_back_up() {
    for way in ["acpi", "kbd", "pci", "triple"] {
        let Some(folder) = guest("AMI_RUN_GUEST_SMALL") else { return };
        let mut launch =
            Launch::start(&arguments(&folder, &format!("then=reboot:{way}"), &["--timeout", "400"]));
        launch.wait_for("small: up");
        launch.wait_for("small: up");
    }
}

#[test]
fn twenty_reboots_leave_nothing_behind() {
    let Some(folder) = guest("AMI_RUN_GUEST_SMALL") else { return };
    let mut launch = Launch::start(&arguments(&folder, "then=reboot", &["--cpus", "2"]));
    let descriptors = |pid: u32| std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
    launch.wait_for("small: up");
    launch.wait_for("small: up");
    let before = descriptors(launch.pid());
    for _ in 2..=20 {
        launch.wait_for("small: up");
    }
    // A machine that is being built anew has a few more or less for a moment.
    let after = descriptors(launch.pid());
    assert!(after <= before + 2, "{before} descriptors after one reboot, {after} after twenty");
}

#[test]
fn every_end_has_its_code_and_its_reason() {
    let Some(folder) = guest("AMI_RUN_GUEST_SMALL") else { return };
    for (how, more, code, reason) in [
        ("then=poweroff", &["--timeout", "400"][..], 0, "PoweredOff"),
        ("then=halt", &["--timeout", "20"], 5, "TimedOut"),
        ("then=panic", &["--timeout", "400"], 4, "KernelPanic"),
        ("then=triple", &["--timeout", "400"], 4, "TripleFault"),
        ("then=triple", &["--timeout", "400", "--wait-for", "console:never"], 4, "TripleFault"),
        ("then=poweroff", &["--timeout", "400", "--wait-for", "console:never"], 6, "EndedEarly"),
    ] {
        let (ended, result) = result(&arguments(&folder, how, more));
        assert_eq!((ended, &result["ExitReason"]), (Some(code), &reason.into()), "{how}: {result}");
        assert_eq!(result["ExitCode"], code, "{result}");
    }
}

#[test]
fn the_power_button_reaches_the_guest() {
    let Some(folder) = guest("AMI_RUN_GUEST_SMALL") else { return };
    let wait = "console:waiting for the power button";
    let launch = Launch::start(&arguments(&folder, "wait=power", &["--wait-for", wait]));
    let end = launch.end();
    assert_eq!(end.code, Some(0), "{}\n{}", end.console, end.status);
    assert!(end.console.contains("small: power button"), "{}", end.console);
}

#[test]
fn sigterm_asks_the_guest_to_power_off() {
    let Some(folder) = guest("AMI_RUN_GUEST_SMALL") else { return };
    let mut launch = Launch::start(&arguments(&folder, "wait=power", &[]));
    launch.wait_for("waiting for the power button");
    let pid = i32::try_from(launch.pid()).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(pid).unwrap(),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    let end = launch.end();
    assert_eq!(end.code, Some(128 + 15), "{}\n{}", end.console, end.status);
    assert!(end.console.contains("small: power button"), "{}", end.console);
}

/// What is in the state folder besides its own files.
fn left(state: &TempDir) -> Vec<String> {
    let names = |folder: &str| {
        let entries = std::fs::read_dir(state.path().join(folder)).into_iter().flatten();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).filter(|name| name != "lock")
    };
    ["instances", "volumes", "addresses"].into_iter().flat_map(names).collect()
}

#[test]
fn a_power_off_does_what_the_instance_s_shutdown_behavior_says() {
    let Some(folder) = guest("AMI_RUN_GUEST_SMALL") else { return };
    let run = |state: &Arc<TempDir>, more: &[&str]| {
        let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
        let disk = temporary.path().join("disk.raw");
        std::fs::write(&disk, vec![0x5a; 16 << 20]).unwrap();
        let more = [&[disk.to_str().unwrap(), "--timeout", "400"][..], more].concat();
        let end = Launch::start_in(state, &arguments(&folder, "io=vda", &more)).end();
        assert_eq!(end.code, Some(0), "{}\n{}", end.console, end.status);
        done(state, &["ls", "--output", "json"])
    };
    let stopped = state();
    let all = run(&stopped, &[]);
    assert!(all.contains("\"stopped\"") && all.contains("Client.InstanceInitiatedShutdown"), "{all}");
    let terminated = state();
    let all = run(&terminated, &["--instance-initiated-shutdown-behavior", "terminate"]);
    assert!(all.contains("\"terminated\"") && all.contains("Client.InstanceInitiatedShutdown"), "{all}");
    let removed = state();
    assert_eq!(run(&removed, &["--rm"]).trim(), r#"{"Reservations":[]}"#);
    assert_eq!(left(&removed), Vec::<String>::new());
}
