//! Stock Debian, where KVM is real: by the distribution's SeaBIOS and GRUB to `login:`, and everything that one
//! launch can show.

use crate::expect::{Launch, guest, path};
use std::path::Path;

/// Logs in on the console, as the recipe documents; returns what it showed before. SeaBIOS sends what GRUB said
/// through it late, into the middle of GRUB's own lines, so only GRUB's last line is whole for certain.
fn log_in(launch: &mut Launch) -> String {
    let boot = launch.wait_for("login: ");
    launch.type_in("admin\n");
    launch.wait_for("Password: ");
    launch.type_in("ami-run\n");
    launch.wait_for("$ ");
    launch.type_in("stty -echo; sudo -i\n");
    launch.wait_for("# ");
    // No messages of the kernel's, no colours, and no prompt in what commands print.
    launch.type_in("dmesg -n 1; stty -echo; export TERM=dumb PS1=; bind 'set enable-bracketed-paste off'\n");
    // Until it is done, cloud-init writes to the console between our lines.
    launch.shell("cloud-init status --wait > /var/tmp/cloud-init.txt");
    boot
}

fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part} in:\n{text}");
    }
}

/// The recipe's image with the root volume named as Amazon's own images name it, and three empty volumes. It
/// lies in `folder`; its snapshot does not.
fn with_more_volumes(recipe: &Path, folder: &Path) -> [String; 3] {
    let mut image: serde_json::Value =
        serde_json::from_slice(&std::fs::read(recipe.join("image.json")).unwrap()).unwrap();
    image["RootDeviceName"] = "/dev/sda1".into();
    let mappings = image["BlockDeviceMappings"].as_array_mut().unwrap();
    mappings[0]["DeviceName"] = "/dev/sda1".into();
    let snapshot = mappings[0]["Ebs"]["SnapshotId"].as_str().unwrap().to_owned();
    for (name, size) in [("/dev/sdb", 1), ("/dev/sdf", 2), ("/dev/sdg", 3)] {
        mappings.push(serde_json::json!({ "DeviceName": name, "Ebs": { "VolumeSize": size } }));
    }
    let file = folder.join("image.json");
    std::fs::write(&file, image.to_string()).unwrap();
    let disk = recipe.join(format!("{snapshot}.raw"));
    [file.to_str().unwrap().to_owned(), "--snapshot".to_owned(), format!("{snapshot}={}", disk.display())]
}

#[test]
fn stock_debian_finds_itself_on_ec2() {
    let Some(recipe) = guest("AMI_RUN_GUEST_DEBIAN") else { return };
    let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut arguments = with_more_volumes(&recipe, temporary.path()).to_vec();
    arguments.extend(["--cpus", "2", "--memory", "5G"].map(str::to_owned));
    let mut launch = Launch::start(&arguments);
    let boot = log_in(&mut launch);
    has(&boot, &["SeaBIOS", "Loading initial ramdisk"]);
    assert_eq!(launch.shell("tail -n 1 /var/tmp/cloud-init.txt"), "status: done");
    machine(&mut launch);
    identity(&mut launch);
    volumes(&mut launch);
    assert_eq!(launch.shell("systemctl is-system-running --wait"), "running");
    launch.type_in("poweroff\n");
    let end = launch.end();
    assert_eq!(end.code, Some(0), "{}", end.status);
}

fn machine(launch: &mut Launch) {
    assert_eq!(launch.shell("nproc"), "2");
    let kib: u64 = launch.shell("awk '/MemTotal/ {print $2}' /proc/meminfo").parse().unwrap();
    assert!((4700 << 10..5 << 20).contains(&kib), "{kib} KiB of 5 GiB");
    let clock = "cat /sys/devices/system/clocksource/clocksource0/current_clocksource";
    assert_eq!(launch.shell(clock), "kvm-clock");
    let complaints = launch.shell("dmesg | grep -ciE 'firmware bug|acpi (bios )?error|bios bug|call trace'");
    assert_eq!(complaints, "0");
    // The alarm of the clock, by its interrupt.
    launch.shell("modprobe rtc_cmos 2>/dev/null; timeout 120 rtcwake -m on -s 2 > /var/tmp/rtc.txt 2>&1; echo $? >> /var/tmp/rtc.txt");
    assert_eq!(launch.shell("tail -n 1 /var/tmp/rtc.txt"), "0");
    assert_eq!(launch.shell("cat /sys/class/misc/hw_random/rng_current"), "virtio_rng.0");
    assert_eq!(launch.shell("head -c 64 /dev/hwrng | wc -c"), "64");
}

fn identity(launch: &mut Launch) {
    let functions = launch.shell("lspci -nn");
    has(
        &functions,
        &[
            "00:00.0 Host bridge [0600]: Intel Corporation 440FX",
            "00:01.0 ISA bridge [0601]: Intel Corporation 82371SB",
            "00:01.3 Non-VGA unclassified device [0000]: Intel Corporation 82371AB",
            "00:04.0 Non-Volatile memory controller [0108]: Amazon.com, Inc. NVMe EBS Controller [1d0f:8061]",
            "00:06.0 ",
            "00:07.0 ",
            "00:08.0 ",
        ],
    );
    for empty in ["00:02.", "00:03.", "00:05."] {
        assert!(!functions.contains(empty), "{functions}");
    }
    let tables = launch.shell("dmidecode -t system -t bios -t chassis");
    has(&tables, &["Vendor: Amazon EC2", "Manufacturer: Amazon EC2", "Serial Number: ec2", "UUID: ec2"]);
    assert_eq!(launch.shell("cat /sys/class/dmi/id/product_name"), "t3.micro");
    assert!(launch.shell("cat /sys/class/dmi/id/board_asset_tag").starts_with("i-0"));
    let acpi = launch.shell("dmesg | grep -E 'ACPI: (RSDP|FACP|DSDT|APIC)'");
    has(&acpi, &["AMAZON", "AMZN"]);
    // This kernel has no driver for the VM generation id; it sees the device and its ids.
    has(
        &launch.shell("cat /sys/bus/acpi/devices/AMZN0000:00/modalias | tr a-z A-Z"),
        &["AMZN0000", "VM_GEN_COUNTER"],
    );
    // What is configured about data sources is put aside, so that the hardware alone decides.
    launch.shell("cd /etc/cloud/cloud.cfg.d; mkdir /var/tmp/off; mv 9* /var/tmp/off");
    launch.shell("/usr/lib/cloud-init/ds-identify --force > /var/tmp/ds.txt 2>&1");
    let found = launch.shell("cat /run/cloud-init/cloud.cfg");
    launch.shell("mv /var/tmp/off/* /etc/cloud/cloud.cfg.d");
    assert!(found.starts_with("datasource_list: [ Ec2"), "{found}");
}

fn volumes(launch: &mut Launch) {
    assert_eq!(launch.shell("findmnt -no SOURCE /"), "/dev/nvme0n1p1");
    let controller = launch.shell("nvme id-ctrl /dev/nvme0");
    has(&controller, &["0x1d0f", "sn        : vol0", "Amazon Elastic Block Store", "fr        : 1.0"]);
    // Without /dev/, as EC2 says it of volumes attached at launch.
    let names = ["sda1", "sdb", "sdf", "sdg"];
    let sizes = launch.shell("lsblk -bdno NAME,SIZE /dev/nvme?n1 | tr -s ' '");
    for (number, name) in names.iter().enumerate() {
        let disk = format!("/dev/nvme{number}n1");
        assert_eq!(launch.shell(&format!("ebsnvme-id -b {disk}")), *name);
        let volume = launch.shell(&format!("ebsnvme-id -v {disk}"));
        assert!(volume.starts_with("Volume ID: vol-0"), "{volume}");
        assert_eq!(launch.shell(&format!("readlink -f /dev/{name}")), disk, "amazon-ec2-utils' link");
        let gib = [2_u64, 1, 2, 3][number];
        has(&sizes, &[&format!("nvme{number}n1 {}", gib << 30)]);
    }
    assert_eq!(launch.shell("readlink -f /dev/sda11"), "/dev/nvme0n1p1", "and of the root's partition");
    let log = "nvme get-log /dev/nvme0n1 --log-id=0xd0 --log-len=4096 --raw-binary";
    assert_eq!(launch.shell(&format!("{log} | od -An -tx4 -N4")), "3c23b510");
    let reads = |launch: &mut Launch| -> u64 {
        launch.shell(&format!("{log} | od -An -tu8 -j8 -N8")).parse().unwrap()
    };
    let before = reads(launch);
    launch.shell("dd if=/dev/nvme0n1 of=/dev/null bs=4k count=100 iflag=direct 2>/dev/null");
    assert!(reads(launch) >= before + 100, "the counters are true");
    let fio = "fio --name=t --filename=/dev/nvme1n1 --size=16m --rw=randwrite --bs=4k --direct=1";
    launch.shell(&format!(
        "{fio} --verify=crc32c --end_fsync=1 > /var/tmp/fio.txt 2>&1; echo $? >> /var/tmp/fio.txt"
    ));
    assert_eq!(launch.shell("tail -n 1 /var/tmp/fio.txt"), "0");
    let interrupts = launch.shell("grep nvme /proc/interrupts");
    has(&interrupts, &["PCI-MSI", "nvme0q1", "nvme0q2", "nvme3q0"]);
    assert!(!interrupts.contains("IO-APIC"), "{interrupts}");
}

#[test]
fn on_virtio_blk_stock_debian_keeps_a_file_over_a_reboot() {
    let Some(folder) = guest("AMI_RUN_GUEST_DEBIAN") else { return };
    let image = path(&folder, "image.json");
    let mut launch = Launch::start(&[&image, "--cpus", "2", "--disk-interface", "virtio"]);
    log_in(&mut launch);
    assert_eq!(launch.shell("findmnt -no SOURCE /"), "/dev/vda1");
    has(&launch.shell("grep virtio /proc/interrupts"), &["PCI-MSI"]);
    has(&launch.shell("lspci -n"), &["1af4:1042"]);
    let fio = "fio --name=t --filename=/var/tmp/t --size=32m --rw=randwrite --bs=4k --verify=crc32c";
    launch.shell(&format!("{fio} --end_fsync=1 > /var/tmp/fio.txt 2>&1; echo $? >> /var/tmp/fio.txt"));
    assert_eq!(launch.shell("tail -n 1 /var/tmp/fio.txt"), "0");
    launch.shell("echo kept > /var/tmp/mark; sync");
    launch.type_in("reboot\n");
    let second = log_in(&mut launch);
    has(&second, &["SeaBIOS", "Loading initial ramdisk"]);
    assert_eq!(launch.shell("cat /var/tmp/mark"), "kept");
    launch.type_in("poweroff\n");
    let end = launch.end();
    assert_eq!(end.code, Some(0), "{}", end.status);
}
