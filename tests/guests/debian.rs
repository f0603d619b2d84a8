//! Stock Debian, where KVM is real: by the distribution's SeaBIOS and GRUB to `login:`, and everything that one
//! launch can show. What UEFI firmware makes of the same disk is in `uefi`.

use crate::expect::{Launch, done, guest, path, state};
use crate::network::{self, World};
use crate::uefi;
use std::path::Path;

/// Logs in on the console, as the recipe documents; returns what it showed before. SeaBIOS sends what GRUB said
/// through it late, into the middle of GRUB's own lines, so only GRUB's last line is whole for certain.
pub(crate) fn log_in(launch: &mut Launch) -> String {
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

pub(crate) fn has(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "no {part} in:\n{text}");
    }
}

/// The recipe's image with the root volume named as Amazon's own images name it, three empty volumes, and nothing said
/// of how it starts: by BIOS on x86_64, then. It lies in `folder`; its snapshot does not.
pub(crate) fn with_more_volumes(recipe: &Path, folder: &Path) -> [String; 3] {
    let mut image: serde_json::Value =
        serde_json::from_slice(&std::fs::read(recipe.join("image.json")).unwrap()).unwrap();
    image.as_object_mut().unwrap().remove("BootMode");
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
    // A type with instance store, and less memory than it has: the testbed has no more.
    arguments.extend(["--instance-type", "m5d.large", "--memory", "5G"].map(str::to_owned));
    let world = World::new();
    arguments.extend(world.options(temporary.path()));
    let mut launch = Launch::start(&arguments);
    let boot = log_in(&mut launch);
    has(&boot, &["SeaBIOS", "Loading initial ramdisk"]);
    assert_eq!(launch.shell("tail -n 1 /var/tmp/cloud-init.txt"), "status: done");
    machine(&mut launch);
    identity(&mut launch);
    volumes(&mut launch);
    network::subnet(&mut launch, &world);
    network::clients(&mut launch);
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
            "00:1f.0 Non-Volatile memory controller [0108]: Amazon.com, Inc. NVMe SSD Controller [1d0f:cd01]",
        ],
    );
    for empty in ["00:02.", "00:03."] {
        assert!(!functions.contains(empty), "{functions}");
    }
    let tables = launch.shell("dmidecode -t system -t bios -t chassis");
    has(&tables, &["Vendor: Amazon EC2", "Manufacturer: Amazon EC2", "Serial Number: ec2", "UUID: ec2"]);
    assert_eq!(launch.shell("cat /sys/class/dmi/id/product_name"), "m5d.large");
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

/// By the links that amazon-ec2-utils makes: Linux numbers NVMe controllers as they happen to come up. The root's disk.
pub(crate) fn named_volumes(launch: &mut Launch) -> String {
    for (name, gib) in [("sda1", 2_u64), ("sdb", 1), ("sdf", 2), ("sdg", 3)] {
        let disk = launch.shell(&format!("readlink -f /dev/{name}"));
        assert!(disk.starts_with("/dev/nvme"), "{name}: {disk}");
        // Without /dev/, as EC2 says it of volumes attached at launch.
        assert_eq!(launch.shell(&format!("ebsnvme-id -b {disk}")), name);
        let volume = launch.shell(&format!("ebsnvme-id -v {disk}"));
        assert!(volume.starts_with("Volume ID: vol-0"), "{volume}");
        assert_eq!(launch.shell(&format!("lsblk -bdno SIZE {disk}")), (gib << 30).to_string());
    }
    let root = launch.shell("readlink -f /dev/sda1");
    assert_eq!(launch.shell("findmnt -no SOURCE /"), format!("{root}p1"));
    assert_eq!(launch.shell("readlink -f /dev/sda11"), format!("{root}p1"), "the root's partition");
    let controller = launch.shell(&format!("nvme id-ctrl {root}"));
    has(&controller, &["0x1d0f", "sn        : vol0", "Amazon Elastic Block Store", "fr        : 1.0"]);
    root
}

fn volumes(launch: &mut Launch) {
    let root = named_volumes(launch);
    let log = format!("nvme get-log {root} --log-id=0xd0 --log-len=4096 --raw-binary");
    assert_eq!(launch.shell(&format!("{log} | od -An -tx4 -N4")), "3c23b510");
    let reads = |launch: &mut Launch| -> u64 {
        launch.shell(&format!("{log} | od -An -tu8 -j8 -N8")).parse().unwrap()
    };
    let before = reads(launch);
    launch.shell(&format!("dd if={root} of=/dev/null bs=4k count=100 iflag=direct 2>/dev/null"));
    assert!(reads(launch) >= before + 100, "the counters are true");
    let fio = "fio --name=t --filename=/dev/sdb --size=16m --rw=randwrite --bs=4k --direct=1 --verify=crc32c";
    launch.shell(&format!("{fio} --end_fsync=1 > /var/tmp/fio.txt 2>&1; echo $? >> /var/tmp/fio.txt"));
    assert_eq!(launch.shell("tail -n 1 /var/tmp/fio.txt"), "0");
    let store = launch.shell("nvme list -o normal | grep 'Amazon EC2 NVMe Instance Storage'");
    has(&store, &["AWS0"]);
    let interrupts = launch.shell("grep nvme /proc/interrupts");
    has(&interrupts, &["PCI-MSI", "nvme0q1", "nvme0q2", "nvme4q0"]);
    assert!(!interrupts.contains("IO-APIC"), "{interrupts}");
}

/// What is at the end of a second volume's snapshot, and nowhere else.
const MARK: &str = "ami-run second snapshot";
const SECOND: &str = "snap-00000000000000002";

/// The recipe's image on a qcow2 file, by BIOS, with a root volume larger than its snapshot, a second snapshot and an
/// empty volume. It lies in `folder`.
fn on_qcow2(recipe: &Path, formats: &Path, folder: &Path) -> Vec<String> {
    let mut image: serde_json::Value =
        serde_json::from_slice(&std::fs::read(recipe.join("image.json")).unwrap()).unwrap();
    image["BootMode"] = "legacy-bios".into();
    let mappings = image["BlockDeviceMappings"].as_array_mut().unwrap();
    mappings[0]["Ebs"]["VolumeSize"] = 3.into();
    let snapshot = mappings[0]["Ebs"]["SnapshotId"].as_str().unwrap().to_owned();
    mappings.push(serde_json::json!({ "DeviceName": "/dev/sdf", "Ebs": { "SnapshotId": SECOND } }));
    mappings.push(serde_json::json!({ "DeviceName": "/dev/sdg", "Ebs": { "VolumeSize": 1 } }));
    let file = folder.join("image.json");
    std::fs::write(&file, image.to_string()).unwrap();
    let mut second = vec![0; 1 << 20];
    second[(1 << 20) - 512..][..MARK.len()].copy_from_slice(MARK.as_bytes());
    std::fs::write(folder.join(format!("{SECOND}.raw")), second).unwrap();
    let disk = format!("{snapshot}={}", formats.join("disk.qcow2").display());
    [file.to_str().unwrap(), "--snapshot", &disk].map(str::to_owned).to_vec()
}

#[test]
fn on_qcow2_and_virtio_blk_stock_debian_grows_and_reboots() {
    let (Some(recipe), Some(formats)) = (guest("AMI_RUN_GUEST_DEBIAN"), guest("AMI_RUN_GUEST_FORMATS"))
    else {
        return;
    };
    let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut arguments = on_qcow2(&recipe, &formats, temporary.path());
    let more = ["--cpus", "2", "--disk-interface", "virtio"];
    arguments.extend(more.map(str::to_owned));
    arguments.extend(["--block-device-mappings", "DeviceName=/dev/sdg,NoDevice="].map(str::to_owned));
    let mut launch = Launch::start(&arguments);
    log_in(&mut launch);
    assert_eq!(launch.shell("findmnt -no SOURCE /"), "/dev/vda1");
    has(&launch.shell("grep virtio /proc/interrupts"), &["PCI-MSI"]);
    has(&launch.shell("lspci -n"), &["1af4:1042"]);
    assert_eq!(launch.shell("lsblk -bdno SIZE /dev/vda"), (3_u64 << 30).to_string());
    // cloud-init's growpart has grown the last partition, and its file system with it.
    let root: u64 = launch.shell("findmnt -bno SIZE /").parse().unwrap();
    assert!(root > 2900 << 20, "{root} bytes of 3 GiB");
    assert_eq!(launch.shell("dd if=/dev/vdb bs=512 skip=2047 count=1 2>/dev/null | head -c 23"), MARK);
    assert_eq!(launch.shell("lsblk -dno NAME | grep -c vd"), "2", "NoDevice removes one");
    let fio = "fio --name=t --filename=/var/tmp/t --size=32m --rw=randwrite --bs=4k --verify=crc32c";
    launch.shell(&format!("{fio} --end_fsync=1 > /var/tmp/fio.txt 2>&1; echo $? >> /var/tmp/fio.txt"));
    assert_eq!(launch.shell("tail -n 1 /var/tmp/fio.txt"), "0");
    launch.shell("sync; fstrim /");
    launch.type_in("reboot\n");
    // As far as its own boot loader, which reads its disk again; another test follows a reboot to its end.
    let second = launch.wait_for("Loading initial ramdisk");
    has(&second, &["reboot: Restarting system", "SeaBIOS"]);
}

#[test]
fn on_stop_start_and_reboot_by_uefi_stock_debian_keeps_what_it_wrote() {
    let Some(recipe) = guest("AMI_RUN_GUEST_DEBIAN") else { return };
    let state = state();
    let image = path(&recipe, "image.json");
    let second = "DeviceName=/dev/sdf,Ebs={VolumeSize=1,DeleteOnTermination=false}";
    let temporary = tempfile::tempdir_in("/var/tmp").unwrap();
    let mut launch =
        [&image, "-d", "--cpus", "2", "--block-device-mappings", second].map(str::to_owned).to_vec();
    launch.extend(World::new().options(temporary.path()));
    let launch: Vec<&str> = launch.iter().map(String::as_str).collect();
    let id = done(&state, &[&launch[..], &["--wait-for", "login", "--wait-for", "ssh"]].concat())
        .trim()
        .to_owned();
    let launched = describe(&state, &id);
    let address = launched["PrivateIpAddress"].clone();
    assert_eq!(launched["BootMode"], "uefi-preferred", "{launched}");
    assert_eq!(launched["CurrentInstanceBootMode"], "uefi", "{launched}");
    // Late: the prompt was said before anybody looked.
    let mut console = Launch::start_in(&state, &["console", "guest"]);
    let boot = log_in(&mut console);
    has(&boot, &["BdsDxe: starting Boot", "Loading initial ramdisk"]);
    uefi::firmware(&mut console);
    let ours = uefi::new_entry(&mut console);
    console.shell("mkfs.ext4 -q /dev/sdf");
    console.shell("mkdir /srv/second; mount /dev/sdf /srv/second");
    console.shell(
        "echo root > /var/tmp/mark; echo second > /srv/second/mark; cat /proc/sys/kernel/random/boot_id",
    );
    let serials = console.shell("cat /sys/block/nvme*/device/serial | sort");
    network::hop_limit(&mut console, &state);
    assert_eq!(done(&state, &["ssh", "guest", "--", "id -un"]).trim(), "admin");
    // Written, and never flushed by hand: the power button's way down does.
    assert!(done(&state, &["stop", "guest", "--timeout", "10m"]).ends_with("running → stopped\n"));
    let end = console.end();
    assert_eq!(end.code, Some(0), "{}", end.status);
    let stopped = describe(&state, &id);
    assert_eq!(stopped["StateReason"]["Code"], "Client.UserInitiatedShutdown", "{stopped}");
    assert_eq!(stopped["PrivateIpAddress"], address);

    done(&state, &["start", "guest"]);
    let mut console = Launch::start_in(&state, &["console", "guest"]);
    let boot = log_in(&mut console);
    uefi::uses_entry(&mut console, &boot, &ours);
    assert_eq!(console.shell("cat /var/tmp/mark"), "root");
    assert_eq!(console.shell("cat /var/lib/user-data"), "ran", "once");
    console.shell("mount /dev/sdf /srv/second");
    assert_eq!(console.shell("cat /srv/second/mark"), "second");
    assert_eq!(console.shell("cat /sys/block/nvme*/device/serial | sort"), serials, "the same volumes");
    console.type_in("reboot\n");
    uefi::starts_entry(&mut console, &ours);
    done(&state, &["stop", "--force", "guest"]);
    assert_eq!(describe(&state, &id)["StateReason"]["Code"], "Client.UserInitiatedShutdown");
    let log = done(&state, &["logs", "guest"]);
    has(&log, &["reboot: Restarting system"]);
    // The root goes, the second volume says that it stays.
    let said = done(&state, &["terminate", "guest", "--output", "json"]);
    has(&said, &["\"terminated\""]);
    let volumes: serde_json::Value =
        serde_json::from_str(&done(&state, &["volume", "ls", "--output", "json"])).unwrap();
    let volumes = volumes["Volumes"].as_array().unwrap();
    assert_eq!(
        (volumes.len(), &volumes[0]["State"], &volumes[0]["Size"]),
        (1, &"available".into(), &1.into())
    );
}

/// What DescribeInstances says of an instance.
pub(crate) fn describe(state: &std::sync::Arc<tempfile::TempDir>, id: &str) -> serde_json::Value {
    let all: serde_json::Value = serde_json::from_str(&done(state, &["ls", "--output", "json"])).unwrap();
    let instances =
        all["Reservations"].as_array().unwrap().iter().flat_map(|one| one["Instances"].as_array().unwrap());
    instances.into_iter().find(|one| one["InstanceId"] == id).unwrap().clone()
}
