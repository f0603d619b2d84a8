//! arm64 guests, where KVM is real: the small guest without firmware and by AAVMF, and stock Debian, which shows
//! everything that one launch can show.
//!
//! They are slow where the CPU is emulated: each start carries as many checks as it can.

use crate::debian::{has, log_in, named_volumes, with_more_volumes};
use crate::expect::{Launch, done, guest, path, state};
use crate::network::{self, World};
use crate::small::{result, run, value};
use crate::uefi::{self, entry, make_entry};

/// More than any of these takes.
const TIMEOUT: [&str; 2] = ["--timeout", "800"];

#[test]
fn a_kernel_has_the_cpus_memory_and_disk_that_it_was_given() {
    for (cpus, memory, interface, disk, least, most) in
        [("1", "512M", "virtio", "vda", 420, 512), ("4", "5G", "nvme", "nvme0n1", 4700, 5120)]
    {
        let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
        let file = temporary.path().join("disk.raw");
        std::fs::write(&file, vec![0x5a; 16 << 20]).unwrap();
        let arguments = [
            &[file.to_str().unwrap(), "--cpus", cpus, "--memory", memory, "--disk-interface", interface],
            &TIMEOUT[..],
        ]
        .concat();
        let checks = format!("check=cpus,memory,clock,pci,irqs,disks,date io={disk}");
        let Some(end) = run(&checks, &arguments) else { return };
        assert_eq!(end.code, Some(0), "{}\n{}", end.console, end.status);
        assert_eq!(value(&end, "cpus"), cpus);
        let mib = value(&end, "memory").parse::<u64>().unwrap() / 1024;
        assert!((least..=most).contains(&mib), "{mib} MiB of {memory}");
        assert_eq!(value(&end, "clock"), "arch_sys_counter");
        assert!(value(&end, "disks").starts_with(&format!("{disk} 16777216 serial=")), "{}", end.console);
        assert!(value(&end, "io").starts_with(&format!("{disk} ok")), "{}", end.console);
        has(&end.console, &["1d0f:0200 class 060000", "ITS-MSI", "GICv3 40 Level ttyS0"]);
        let (system, hardware) = value(&end, "date").split_once(" rtc ").unwrap();
        let (system, hardware): (i64, i64) = (system.parse().unwrap(), hardware.parse().unwrap());
        assert!((system - hardware).abs() < 60, "{}", value(&end, "date"));
        assert!(std::fs::read(&file).unwrap().iter().all(|byte| *byte == 0x5a), "the disk file has changed");
    }
}

#[test]
fn every_end_has_its_code_and_its_reason() {
    let Some(folder) = guest("AMI_RUN_GUEST_SMALL") else { return };
    for (how, code, reason) in [("then=panic", 4, "KernelPanic"), ("then=poweroff", 0, "PoweredOff")] {
        let arguments = crate::small::arguments(&folder, how, &TIMEOUT);
        let (ended, result) = result(&arguments);
        assert_eq!((ended, &result["ExitReason"]), (Some(code), &reason.into()), "{how}: {result}");
    }
    let reboot = crate::small::arguments(&folder, "then=reboot", &["--cpus", "3", "--timeout", "800"]);
    let mut launch = Launch::start(&reboot);
    for _ in 0..3 {
        launch.wait_for("small: up");
    }
}

#[test]
fn aavmf_starts_a_loader_from_virtio_blk_and_the_power_button_reaches_the_kernel() {
    let Some(recipe) = guest("AMI_RUN_GUEST_UEFI") else { return };
    let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
    let line = "check=cpus,efi,firmware,dmi,disks,irqs,date wait=power";
    let disk = uefi::systemd_boot(&recipe, temporary.path(), line);
    let wait = "console:waiting for the power button";
    let arguments = [&[disk.as_str(), "--cpus", "3", "--memory", "512M", "--wait-for", wait], &TIMEOUT[..]];
    let end = Launch::start(&arguments.concat()).end();
    assert_eq!(end.code, Some(0), "{}\n{}", end.console, end.status);
    has(&end.console, &["BdsDxe: starting Boot", "small: power button", "check disks: vda ", "ITS-MSI"]);
    assert_eq!((value(&end, "cpus"), value(&end, "firmware")), ("3", TABLES), "{}", end.console);
    has(&end.console, &["check firmware: complaints 0", "check efi: 64 bits"]);
    let product = end.console.lines().find_map(|line| line.strip_prefix("check dmi: product_name="));
    assert_eq!(product, Some("t4g.micro"), "{}", end.console);
    assert!(end.status.contains("the power button is pressed"), "{}", end.status);
}

/// What a machine of EC2's has of tables, as the kernel names them.
const TABLES: &str = "tables APIC DSDT FACP GTDT IORT MCFG SPCR SSDT";

#[test]
fn other_kernels_say_their_first_lines() {
    let Some(debian) = guest("AMI_RUN_GUEST_DEBIAN") else { return };
    let Some(installer) = guest("AMI_RUN_GUEST_FOREIGN") else { return };
    let image = path(&debian, "image.json");
    let by_firmware = [image.as_str(), "--disk-interface", "virtio"];
    let (kernel, initrd) = (path(&installer, "linux"), path(&installer, "initrd.gz"));
    let direct = ["--kernel", kernel.as_str(), "--initrd", &initrd, "--append", "console=ttyS0"];
    // Debian's is told to be quiet: the first that is said is what its initrd finds on the root's disk.
    for (arguments, line) in [(&by_firmware[..], "root: clean, "), (&direct, "Linux version [0-9]")] {
        let pattern = format!("console:{line}");
        let more = ["--wait-for", &pattern, "--stop-timeout", "1"];
        let end = Launch::start(&[arguments, &more, &TIMEOUT].concat()).end();
        assert_eq!(end.code, Some(0), "{}\n{}", end.console, end.status);
    }
}

#[test]
fn stock_debian_is_an_instance_of_graviton() {
    let Some(recipe) = guest("AMI_RUN_GUEST_DEBIAN") else { return };
    let state = state();
    let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
    let world = World::new();
    let mut arguments = with_more_volumes(&recipe, temporary.path()).to_vec();
    let script = format!("uname -m; id -un; sudo {}", make_entry());
    arguments
        .extend(["--cpus", "2", "--keep", "--stop-timeout", "600", "--exec", &script].map(str::to_owned));
    arguments.extend(world.options(temporary.path()));
    let end = Launch::start_in(&state, &arguments).end();
    assert_eq!(end.code, Some(0), "{}\n{}", end.console, end.status);
    has(&end.console, &["aarch64\nadmin\n"]);
    has(&end.status, &["the power button is pressed", "arm64, uefi"]);
    let ours = entry(&end.console, "ours").unwrap_or_else(|| panic!("{}", end.console));

    done(&state, &["start", "guest"]);
    let mut console = Launch::start_in(&state, &["console", "guest"]);
    let boot = log_in(&mut console);
    has(&boot, &["BdsDxe: starting Boot", "Loading initial ramdisk"]);
    assert_eq!(console.shell("tail -n 1 /var/tmp/cloud-init.txt"), "status: done");
    machine(&mut console);
    uefi::firmware(&mut console);
    uefi::uses_entry(&mut console, &boot, &ours);
    named_volumes(&mut console);
    network::subnet(&mut console, &world);
    network::clients(&mut console);
    assert_eq!(console.shell("systemctl is-system-running --wait"), "running");
    console.type_in("reboot\n");
    uefi::starts_entry(&mut console, &ours);
    done(&state, &["stop", "--force", "guest"]);
    has(&done(&state, &["ls", "--output", "json"]), &["\"arm64\"", "\"t4g.micro\"", "\"stopped\""]);
}

fn machine(launch: &mut Launch) {
    let clock = "cat /sys/devices/system/clocksource/clocksource0/current_clocksource";
    assert_eq!(launch.shell(clock), "arch_sys_counter");
    assert_eq!(launch.shell("cat /sys/class/misc/hw_random/rng_current"), "virtio_rng.0");
    assert_eq!(launch.shell("head -c 64 /dev/hwrng | wc -c"), "64");
    has(&launch.shell("dmesg | grep 'hw perfevents'"), &["armv8_pmuv3"]);
    has(&launch.shell("cat /proc/consoles"), &["ttyS0"]);
    assert!(launch.shell("cat /sys/class/dmi/id/board_asset_tag").starts_with("i-0"));
    let functions = launch.shell("lspci -vv");
    has(
        &functions,
        &["00:00.0 Host bridge: Amazon.com", "00:04.0 Non-Volatile memory controller: Amazon.com"],
    );
    has(&functions, &["MSI-X: Enable+", "Kernel driver in use: nvme", "Kernel driver in use: virtio-pci"]);
    let interrupts = launch.shell("cat /proc/interrupts");
    has(&interrupts, &["ITS-MSI", "nvme0q1", "nvme0q2", "ACPI:Ged"]);
}
