//! Guests of other makers, where KVM is real: each shows its first screen on the serial console, and whatever it does
//! to the hardware meets a device, or a place that is known to be empty (vmm/machine/src/absent.rs).

use crate::expect::{End, Launch, guest, path};
use std::path::Path;

/// Launches with these arguments and a trace of all exits, until the console shows every one of `patterns`.
fn launch(arguments: &[&str], patterns: &[&str], trace: &Path) -> Launch {
    let trace = format!("exits={}", trace.to_str().unwrap());
    let mut all = arguments.to_vec();
    // None of them listens to the power button at its first screen.
    all.extend(["--trace", &trace, "--stop-timeout", "1", "--timeout", "400"]);
    let patterns: Vec<String> = patterns.iter().map(|pattern| format!("console:{pattern}")).collect();
    all.extend(patterns.iter().flat_map(|pattern| ["--wait-for", pattern]));
    Launch::start(&all)
}

/// What was waited for was seen, and no access was answered by accident.
fn check(end: &End, trace: &Path) {
    assert_eq!(end.code, Some(0), "{}\n{}", end.console, end.status);
    let trace = std::fs::read_to_string(trace).unwrap();
    let strays: Vec<&str> = trace.lines().filter(|line| line.ends_with(" nobody")).take(50).collect();
    assert!(strays.is_empty(), "nobody is known to be missing there:\n{}", strays.join("\n"));
    assert!(trace.contains(" absent: "), "every one of these guests looks for something that is not there");
}

#[test]
fn ipxe_offers_its_shell_and_reads_smbios() {
    let Some(folder) = guest("AMI_RUN_GUEST_FOREIGN") else { return };
    let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
    let trace = temporary.path().join("trace");
    let disk = path(&folder, "ipxe.img");
    let mut launch = launch(&[&disk], &["^ec2[0-9a-f]{5}-[0-9a-f-]{27}"], &trace);
    launch.wait_for("iPXE initialising devices");
    // Ctrl-B, which it asks for later, for two seconds only: the BIOS keeps the key until then.
    launch.type_in("\x02");
    let banner = launch.wait_for("iPXE>");
    assert!(banner.contains("Open Source Network Boot Firmware"), "{banner}");
    // The BIOS has room for 15 keys, and drops what comes faster.
    launch.type_in("echo ${uuid}\r");
    let end = launch.end();
    check(&end, &trace);
    let (_, uuid) = end.console.split_once("Machine UUID ").unwrap();
    assert_eq!(end.console.matches(&uuid[..36]).count(), 2, "SeaBIOS and iPXE differ:\n{}", end.console);
}

#[test]
fn memtest_shows_the_memory_that_it_tests() {
    let Some(folder) = guest("AMI_RUN_GUEST_FOREIGN") else { return };
    let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
    let trace = temporary.path().join("trace");
    let disk = path(&folder, "memtest.img");
    let arguments = [disk.as_str(), "--memory", "512M", "--cpus", "2"];
    let screen = [r"Memtest86\+ v[0-9]", "CPU: 2 Cores", r"Memory +: +512MB", r"\[[0-9]+MB of 511MB\]"];
    check(&launch(&arguments, &screen, &trace).end(), &trace);
}

#[test]
fn the_installer_of_debian_asks_for_a_language() {
    let Some(folder) = guest("AMI_RUN_GUEST_FOREIGN") else { return };
    let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
    let (kernel, initrd) = (path(&folder, "linux"), path(&folder, "initrd.gz"));
    let direct = ["--kernel", kernel.as_str(), "--initrd", &initrd, "--append", "console=ttyS0"];
    let disk = path(&folder, "installer.img");
    let by_firmware = [disk.as_str(), "--disk-interface", "nvme", "--cpus", "2"];
    for (name, arguments) in [("firmware", &by_firmware[..]), ("direct", &direct)] {
        let trace = temporary.path().join(name);
        check(&launch(arguments, &["Select a language"], &trace).end(), &trace);
    }
}
