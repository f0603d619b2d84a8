//! One launch of stock Debian, where KVM is real: by the distribution's SeaBIOS and GRUB from a virtio-blk root to
//! `login:`, and everything that one launch can show.

use crate::expect::{Launch, guest, path};

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
    boot
}

#[test]
fn stock_debian_boots_works_reboots_and_powers_off() {
    let Some(folder) = guest("AMI_RUN_GUEST_DEBIAN") else { return };
    let image = path(&folder, "image.json");
    let mut launch = Launch::start(&[&image, "--cpus", "2", "--memory", "5G"]);
    let first = log_in(&mut launch);
    assert!(first.contains("SeaBIOS") && first.contains("Loading initial ramdisk"), "{first}");
    // Until it is done, cloud-init writes to the console between our lines.
    launch.shell("cloud-init status --wait > /var/tmp/cloud-init.txt");
    assert_eq!(launch.shell("tail -n 1 /var/tmp/cloud-init.txt"), "status: done");
    assert_eq!(launch.shell("nproc"), "2");
    let kib: u64 = launch.shell("awk '/MemTotal/ {print $2}' /proc/meminfo").parse().unwrap();
    assert!((4700 << 10..5 << 20).contains(&kib), "{kib} KiB of 5 GiB");
    assert_eq!(launch.shell("findmnt -no SOURCE /"), "/dev/vda1");
    assert_eq!(
        launch.shell("cat /sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "kvm-clock"
    );
    let interrupts = launch.shell("grep virtio /proc/interrupts");
    assert!(interrupts.contains("PCI-MSI"), "{interrupts}");
    assert_eq!(launch.shell("cat /sys/class/dmi/id/bios_vendor"), "Amazon EC2");
    let uuid = launch.shell("cat /sys/class/dmi/id/product_uuid");
    assert!(uuid.starts_with("ec2"), "{uuid}");
    let functions = launch.shell("lspci -n");
    for id in ["8086:1237", "8086:7000", "8086:7113", "1af4:1042"] {
        assert!(functions.contains(id), "{functions}");
    }
    let complaints = launch.shell("dmesg | grep -ciE 'firmware bug|acpi (bios )?error|bios bug|call trace'");
    assert_eq!(complaints, "0");
    assert_eq!(launch.shell("systemctl is-system-running --wait"), "running");
    launch.shell("fio --name=t --filename=/var/tmp/t --size=32m --rw=randwrite --bs=4k --verify=crc32c --end_fsync=1 > /var/tmp/fio.txt 2>&1; echo $? >> /var/tmp/fio.txt");
    assert_eq!(launch.shell("tail -n 1 /var/tmp/fio.txt"), "0");
    launch.shell("echo kept > /var/tmp/mark; sync");

    launch.type_in("reboot\n");
    let second = log_in(&mut launch);
    let again = second.contains("SeaBIOS") && second.contains("Loading initial ramdisk");
    assert!(again, "the firmware runs again: {second}");
    assert_eq!(launch.shell("cat /var/tmp/mark"), "kept");
    launch.type_in("poweroff\n");
    let end = launch.end();
    assert_eq!(end.code, Some(0), "{}", end.status);
}

#[test]
fn on_nvme_stock_debian_sees_an_ebs_volume() {
    let Some(folder) = guest("AMI_RUN_GUEST_DEBIAN") else { return };
    let image = path(&folder, "image.json");
    let mut launch = Launch::start(&[&image, "--cpus", "2", "--disk-interface", "nvme"]);
    log_in(&mut launch);
    launch.shell("cloud-init status --wait > /var/tmp/cloud-init.txt");
    assert_eq!(launch.shell("findmnt -no SOURCE /"), "/dev/nvme0n1p1");
    // Without /dev/, as EC2 says it of volumes attached at launch.
    assert_eq!(launch.shell("ebsnvme-id -b /dev/nvme0n1"), "xvda");
    let volume = launch.shell("ebsnvme-id -v /dev/nvme0n1");
    assert!(volume.starts_with("Volume ID: vol-0"), "{volume}");
    assert_eq!(launch.shell("readlink -f /dev/xvda"), "/dev/nvme0n1");
    let controller = launch.shell("nvme id-ctrl /dev/nvme0");
    for text in ["0x1d0f", "Amazon Elastic Block Store", "fr        : 1.0"] {
        assert!(controller.contains(text), "{text}:\n{controller}");
    }
    let functions = launch.shell("lspci -nn");
    assert!(functions.contains("00:04.0") && functions.contains("[1d0f:8061]"), "{functions}");
    let interrupts = launch.shell("grep nvme0q /proc/interrupts");
    assert!(interrupts.contains("PCI-MSI"), "{interrupts}");
    let magic =
        launch.shell("nvme get-log /dev/nvme0n1 --log-id=0xd0 --log-len=4096 --raw-binary | od -An -tx4 -N4");
    assert_eq!(magic, "3c23b510");
    launch.type_in("poweroff\n");
    let end = launch.end();
    assert_eq!(end.code, Some(0), "{}", end.status);
}
