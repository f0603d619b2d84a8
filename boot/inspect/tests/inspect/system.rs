//! Operating systems on disks: settings, consoles, kernels and where their drivers are.

use crate::HERE;
use crate::disks::ext::{self, Node, file};
use crate::disks::{
    ESP, LINUX, SIZE, arm64_image, bzimage, cpio, fat, gpt, grub, gzip, mbr_entry, part, program, unified,
};
use ami_run_image::Architecture;
use ami_run_inspect::{Claims, Code, Contents, Depth, Driver, Finding, Found, Machine, MayHold, lint, look};
use std::io::Cursor;

const VERSION: &str = "6.1.0-9-cloud-amd64";
const CONSOLE: &str = "root=LABEL=root ro console=tty0 console=ttyS0,115200";

fn seen(disk: &[u8]) -> Contents {
    look(&mut Cursor::new(disk), disk.len() as u64, Depth::System).unwrap()
}

/// One ext partition in an MBR, GRUB before it.
fn disk_of(root: &[u8]) -> Vec<u8> {
    let mut disk = vec![0; SIZE];
    grub(&mut disk, 1);
    mbr_entry(&mut disk, 0, 0, (0x80, 0x83, 2048, u32::try_from(root.len() / 512).unwrap()));
    disk[2048 * 512..][..root.len()].copy_from_slice(root);
    disk
}

/// A small Debian: everything on the root. `initrd` are its modules, `root` the root's.
fn debian(config: &str, initrd: &[&str], root: &[&str], command_line: &str) -> Vec<(&'static str, Node)> {
    let lists = |modules: &[&str]| -> String {
        modules.iter().map(|name| format!("kernel/drivers/x/{name}.ko: kernel/lib/y.ko\n")).collect()
    };
    let names: Vec<String> =
        initrd.iter().map(|name| format!("usr/lib/modules/{VERSION}/kernel/drivers/{name}.ko.xz")).collect();
    let mut entries: Vec<(&str, &[u8])> = vec![("usr/lib/modules/6.1.0-9-cloud-amd64", b"")];
    entries.extend(names.iter().map(|name| (name.as_str(), &b"\x7fELF"[..])));
    // Microcode first, as Debian's tools put it, padded to a sector.
    let mut bytes = cpio(&[("kernel/x86/microcode/GenuineIntel.bin", &[1; 100])]);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes.extend(gzip(&cpio(&entries)));
    let settings = format!(
        "set default=0\nmenuentry 'Debian' {{\n\tlinux\t/boot/vmlinuz-{VERSION} {command_line}\n\
         \tinitrd\t/boot/initrd.img-{VERSION}\n}}\nmenuentry 'Debian (recovery mode)' {{\n\
         \tlinux\t/boot/vmlinuz-{VERSION} root=LABEL=root ro single\n}}\n"
    );
    vec![
        ("/usr/lib/os-release", file("NAME=Debian\nPRETTY_NAME=\"Debian GNU/Linux 12\"\n")),
        ("/etc/os-release", Node::Link("../usr/lib/os-release".to_owned())),
        ("/lib", Node::Link("usr/lib".to_owned())),
        ("/boot/grub/grub.cfg", Node::File(settings.into_bytes())),
        ("/boot/vmlinuz-6.1.0-9-cloud-amd64", Node::File(bzimage(&format!("{VERSION} (debian-kernel@x)")))),
        ("/boot/initrd.img-6.1.0-9-cloud-amd64", Node::Mapped(bytes)),
        ("/vmlinuz", Node::Link("boot/vmlinuz-6.1.0-9-cloud-amd64".to_owned())),
        ("/initrd.img", Node::Link("/boot/initrd.img-6.1.0-9-cloud-amd64".to_owned())),
        ("/boot/config-6.1.0-9-cloud-amd64", file(config)),
        ("/usr/lib/modules/6.1.0-9-cloud-amd64/modules.dep", file(&lists(root))),
        ("/usr/lib/modules/6.1.0-9-cloud-amd64/modules.builtin", file("kernel/fs/ext4/ext4.ko\n")),
    ]
}

const ALL_MODULES: &str = "CONFIG_BLK_DEV_NVME=m\nCONFIG_ENA_ETHERNET=m\nCONFIG_VIRTIO_PCI=m\nCONFIG_VIRTIO_BLK=m\n\
                           CONFIG_VIRTIO_NET=m\n";
const ON_ROOT: [&str; 5] = ["nvme", "ena", "virtio_pci", "virtio_blk", "virtio_net"];
const IN_INITRD: [&str; 3] = ["nvme", "virtio_pci", "virtio_blk"];

fn system(nodes: &[(&str, Node)]) -> Contents {
    seen(&disk_of(&ext::build(1 << 20, nodes)))
}

fn judged(contents: &Contents, ena_support: Option<bool>) -> Vec<Finding> {
    let claims = Claims { architecture: Some(Architecture::X86_64), ena_support, ..Claims::default() };
    lint(contents, Some(&claims), HERE)
}

fn codes(contents: &Contents) -> Vec<Code> {
    judged(contents, Some(true)).iter().map(|finding| finding.code).collect()
}

#[test]
fn a_whole_system_is_read_and_found_good() {
    let contents = system(&debian(ALL_MODULES, &IN_INITRD, &ON_ROOT, CONSOLE));
    assert_eq!(contents.system.names, [(1, "Debian GNU/Linux 12".to_owned())]);
    let lines: Vec<(&str, bool)> =
        contents.system.command_lines.iter().map(|line| (line.text.as_str(), line.rescue)).collect();
    assert_eq!(lines, [(CONSOLE, false), ("root=LABEL=root ro single", true)]);
    assert_eq!(contents.system.kernels.keys().collect::<Vec<_>>(), [VERSION]);
    let kernel = &contents.system.kernels[VERSION];
    assert_eq!(kernel.machine, Some(Machine::X86_64));
    // Links and settings lead to one and the same initrd.
    assert_eq!(kernel.initrds.len(), 1, "{:?}", kernel.initrds);
    let drivers: Vec<Found> = Driver::ALL.iter().map(|driver| kernel.drivers[driver]).collect();
    assert_eq!(drivers, [Found::Initrd, Found::Root, Found::Initrd, Found::Initrd, Found::Root]);
    assert_eq!(contents.unread, []);
    assert_eq!(judged(&contents, Some(true)), []);
    assert_eq!(lint(&contents, None, HERE), []);
}

#[test]
fn a_driver_that_is_not_in_the_initrd_is_missing_on_the_way_to_the_root() {
    let contents = system(&debian(ALL_MODULES, &["virtio_pci", "virtio_blk"], &ON_ROOT, CONSOLE));
    let findings = judged(&contents, Some(true));
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(
        (findings[0].code, findings[0].severity.to_string().as_str()),
        (Code::NvmeDriverMissing, "error")
    );
    assert!(findings[0].reason.contains("its initrd lacks it"), "{findings:?}");
    assert!(findings[0].reason.contains(VERSION));
    // Built in, it needs no initrd.
    let config = ALL_MODULES.replace("NVME=m", "NVME=y");
    assert_eq!(codes(&system(&debian(&config, &["virtio_pci", "virtio_blk"], &ON_ROOT, CONSOLE))), []);
    // An image that is not made for Nitro types is warned only.
    let severities: Vec<String> =
        judged(&contents, None).iter().map(|finding| finding.severity.to_string()).collect();
    assert_eq!(severities, ["warning"]);
}

#[test]
fn drivers_that_are_nowhere_are_found() {
    let config = "CONFIG_BLK_DEV_NVME=m\nCONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_BLK=y\n";
    let contents = system(&debian(config, &["nvme"], &["nvme"], CONSOLE));
    let kernel = &contents.system.kernels[VERSION];
    assert_eq!(
        (kernel.drivers[&Driver::Ena], kernel.drivers[&Driver::VirtioNet]),
        (Found::Nowhere, Found::Nowhere)
    );
    assert_eq!(codes(&contents), [Code::EnaDriverMissing, Code::VirtioNetDriverMissing]);
    let findings = judged(&contents, Some(true));
    assert!(findings[0].remedy.contains("CONFIG_ENA_ETHERNET"), "{findings:?}");
}

#[test]
fn an_initrd_that_cannot_be_read_proves_nothing() {
    let mut nodes = debian(ALL_MODULES, &IN_INITRD, &ON_ROOT, CONSOLE);
    for (_, node) in nodes.iter_mut().filter(|(path, _)| path.starts_with("/boot/initrd")) {
        *node = Node::File([b"\x02\x21\x4c\x18", &[0x55; 500][..]].concat());
    }
    let contents = system(&nodes);
    let kernel = &contents.system.kernels[VERSION];
    // It is this kernel's by its name, though a link has none.
    assert_eq!((kernel.initrds.len(), kernel.drivers[&Driver::Nvme]), (1, Found::Unknown));
    assert_eq!(contents.unread[0].may_hold, MayHold::Drivers);
    let findings = judged(&contents, Some(true));
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].code, Code::NotLookedInto);
    assert!(findings[0].reason.contains("lz4"), "{findings:?}");
}

/// A file that cannot be read is said, and the others are read.
#[test]
fn one_bad_file_does_not_hide_the_others() {
    let mut nodes = debian(ALL_MODULES, &IN_INITRD, &ON_ROOT, CONSOLE);
    for (path, node) in &mut nodes {
        if path.starts_with("/boot/grub") || path.starts_with("/boot/initrd") {
            *node = Node::Link("itself/itself".to_owned());
        }
    }
    nodes.push(("/boot/grub/itself", Node::Link("itself".to_owned())));
    nodes.push(("/boot/itself", Node::Link("itself".to_owned())));
    let contents = system(&nodes);
    assert_eq!(contents.system.names.len(), 1);
    assert_eq!(contents.system.command_lines, []);
    // The initrd may hold what it should.
    assert_eq!(contents.system.kernels[VERSION].drivers[&Driver::Nvme], Found::Unknown);
    let places: Vec<String> = contents.unread.iter().map(|unread| unread.place.to_string()).collect();
    assert!(places.iter().any(|place| place.ends_with("/boot/initrd.img-6.1.0-9-cloud-amd64")), "{places:?}");
    assert!(codes(&contents).iter().all(|code| *code == Code::NotLookedInto));
}

#[test]
fn a_kernel_without_an_initrd_has_what_is_built_in() {
    let mut nodes = debian(ALL_MODULES, &IN_INITRD, &ON_ROOT, CONSOLE);
    nodes.retain(|(path, _)| !path.contains("initrd"));
    let findings = judged(&system(&nodes), Some(true));
    let found: Vec<Code> = findings.iter().map(|finding| finding.code).collect();
    assert_eq!(found, [Code::NvmeDriverMissing, Code::VirtioPciDriverMissing, Code::VirtioBlkDriverMissing]);
    assert!(findings[0].reason.contains("there is no initrd for it"), "{findings:?}");
}

#[test]
fn a_command_line_without_a_serial_console_is_found() {
    let contents =
        system(&debian(ALL_MODULES, &IN_INITRD, &ON_ROOT, "root=LABEL=root ro quiet console=tty0"));
    let findings = judged(&contents, Some(true));
    assert_eq!(findings.len(), 1, "{findings:?}");
    assert_eq!(findings[0].code, Code::NoSerialConsole);
    assert_eq!(findings[0].place.to_string(), "partition 1: /boot/grub/grub.cfg");
    // The recovery entry is not counted.
    assert!(findings[0].reason.starts_with("1 of 1 "), "{findings:?}");
    // On arm64 the firmware's tables name the console, unless the line names others.
    let arm = |text: &str| {
        let nodes = [
            ("/boot/Image-6.6.1", Node::File(arm64_image())),
            ("/loader/entries/a.conf", file(&format!("linux /boot/Image-6.6.1\noptions {text}\n"))),
        ];
        let claims = Claims { architecture: Some(Architecture::Arm64), ..Claims::default() };
        let findings = lint(&system(&nodes), Some(&claims), HERE);
        findings.iter().any(|finding| finding.code == Code::NoSerialConsole)
    };
    assert!(!arm("root=/dev/nvme0n1p1"));
    assert!(!arm("console=tty0 console=ttyS0"));
    assert!(arm("console=tty0"));
}

/// As Ubuntu has it.
#[test]
fn the_machine_of_a_kernel_for_arm64_is_seen_through_its_packing() {
    let machine = |kernel: Vec<u8>| {
        let contents = system(&[("/boot/vmlinuz-6.8.0-1-aws", Node::File(kernel))]);
        contents.system.kernels["6.8.0-1-aws"].machine
    };
    assert_eq!(machine(gzip(&arm64_image())), Some(Machine::Arm64));
    // A whole kernel does not fit into what is read of it.
    let mut long = arm64_image();
    long.extend((0..200_000_u32).flat_map(|n| n.wrapping_mul(0x9e37_79b9).to_le_bytes()));
    assert_eq!(machine(gzip(&long)), Some(Machine::Arm64));
    let mut broken = gzip(&arm64_image());
    broken.truncate(12);
    assert_eq!(machine(broken), None);
    assert_eq!(machine(gzip(b"no kernel")), None);
}

/// As Debian has it: GRUB's entry names the link, which leads to the kernel by its whole name.
#[test]
fn a_kernel_that_does_not_tell_its_version_is_one_with_the_links_to_it() {
    for (link, to) in [("/vmlinuz", "boot/vmlinuz-6.6.1"), ("/boot/vmlinuz", "vmlinuz-6.6.1")] {
        let nodes = [
            ("/boot/vmlinuz-6.6.1", Node::File(arm64_image())),
            (link, Node::Link(to.to_owned())),
            ("/boot/grub/grub.cfg", file(&format!("linux {link} console=ttyS0\n"))),
            ("/boot/config-6.6.1", file("CONFIG_BLK_DEV_NVME=y\n")),
        ];
        let kernels = system(&nodes).system.kernels;
        assert_eq!(kernels.keys().collect::<Vec<_>>(), ["6.6.1"], "{link}");
        let kernel = &kernels["6.6.1"];
        assert_eq!((kernel.machine, kernel.drivers[&Driver::Nvme]), (Some(Machine::Arm64), Found::Kernel));
        assert_eq!(kernel.place.as_ref().unwrap().to_string(), format!("partition 1: {link}"));
    }
}

#[test]
fn a_kernel_for_another_machine_is_found() {
    let nodes =
        [("/boot/Image-6.6.1", Node::File(arm64_image())), ("/etc/os-release", file("PRETTY_NAME=Arm\n"))];
    let contents = system(&nodes);
    assert_eq!(contents.system.kernels["6.6.1"].machine, Some(Machine::Arm64));
    assert_eq!(codes(&contents), [Code::KernelMachine]);
    assert_eq!(
        ami_run_inspect::guess(&contents, HERE).architecture,
        Architecture::X86_64,
        "BIOS boot code is x86's"
    );
    // A container's file system has no kernel at all.
    assert_eq!(codes(&system(&nodes[1..])), [Code::NoKernel]);
}

#[test]
fn what_is_not_looked_into_is_said() {
    let mut disk = disk_of(b"XFSB\0\0\x10\0");
    for (magic, word) in [(&b"XFSB"[..], "XFS"), (b"LUKS\xba\xbe", "LUKS"), (b"\0\0\0NTFS    ", "NTFS")] {
        disk[2048 * 512..][..16].fill(0);
        disk[2048 * 512..][..magic.len()].copy_from_slice(magic);
        disk[446 + 12..446 + 16].copy_from_slice(&2000u32.to_le_bytes());
        let findings = judged(&seen(&disk), Some(true));
        assert_eq!(findings.len(), 1, "{findings:?}");
        assert_eq!(
            (findings[0].code, findings[0].place.to_string().as_str()),
            (Code::NotLookedInto, "partition 1")
        );
        assert!(findings[0].reason.contains(&format!("holds {word},")), "{findings:?}");
    }
    disk[2048 * 512..][..16].fill(0);
    disk[2049 * 512..][..8].copy_from_slice(b"LABELONE");
    assert!(judged(&seen(&disk), None)[0].reason.contains("holds LVM,"));
    // What is not known at all may be anything, or nothing.
    disk[2049 * 512..][..8].fill(0);
    assert_eq!(judged(&seen(&disk), None), []);
}

/// Fedora and its kin: /boot on its own partition, entries of the Boot Loader Specification, variables in grubenv, and
/// a root that is not looked into.
#[test]
fn a_boot_partition_of_its_own_is_enough_for_consoles_and_drivers() {
    let initrd = cpio(&[("usr/lib/modules/5.14.0/kernel/nvme.ko", b"")]);
    let nodes = [
        (
            "/grub2/grubenv",
            file("# GRUB Environment Block\nkernelopts=root=/dev/mapper/x ro crashkernel=auto\n"),
        ),
        (
            "/loader/entries/5.14.0.conf",
            file(
                "title RHEL\nversion 5.14.0\nlinux /vmlinuz-5.14.0\ninitrd /initramfs-5.14.0.img $tuned_initrd\n\
             options $kernelopts ${tuned_params}\n",
            ),
        ),
        ("/vmlinuz-5.14.0", Node::File(bzimage("5.14.0 (mockbuild@x)"))),
        ("/initramfs-5.14.0.img", Node::File(initrd)),
        (
            "/config-5.14.0",
            file("CONFIG_BLK_DEV_NVME=m\nCONFIG_VIRTIO_PCI=y\nCONFIG_VIRTIO_BLK=m\nCONFIG_VIRTIO_NET=m\n"),
        ),
    ];
    let mut disk = disk_of(&ext::build(1 << 20, &nodes));
    mbr_entry(&mut disk, 0, 1, (0, 0x83, 6000, 2000));
    disk[6000 * 512..][..4].copy_from_slice(b"XFSB");
    let contents = seen(&disk);
    assert_eq!(contents.system.command_lines[0].text, "root=/dev/mapper/x ro crashkernel=auto");
    let drivers = &contents.system.kernels["5.14.0"].drivers;
    assert_eq!(drivers[&Driver::Nvme], Found::Initrd);
    assert_eq!(drivers[&Driver::VirtioPci], Found::Kernel);
    // A module that the initrd lacks may be on the root that was not seen; ENA is not made at all, as far as
    // the configuration says.
    assert_eq!(drivers[&Driver::VirtioBlk], Found::Unknown);
    assert_eq!(drivers[&Driver::VirtioNet], Found::Unknown);
    assert_eq!(drivers[&Driver::Ena], Found::Nowhere);
    assert_eq!(codes(&contents), [Code::EnaDriverMissing, Code::NoSerialConsole, Code::NotLookedInto]);
}

/// Red Hat's: entries in /boot, their variables on the EFI system partition.
#[test]
fn variables_may_lie_on_another_partition() {
    let entry = file("linux /vmlinuz-5.14.0\noptions $kernelopts\n");
    let esp = fat(
        1 << 20,
        &[("EFI/redhat/grubenv", b"# GRUB Environment Block\nkernelopts=ro console=ttyS0\n####")],
    );
    let boot = ext::build(1 << 20, &[("/loader/entries/a.conf", entry)]);
    let contents = seen(&gpt(SIZE, vec![part(LINUX, 2048, boot), part(ESP, 5000, esp)]));
    assert_eq!(contents.system.command_lines[0].text, "ro console=ttyS0");
}

#[test]
fn a_unified_kernel_image_says_everything_itself() {
    let initrd = gzip(&cpio(&[
        ("lib/modules/6.12.1/nvme.ko", b""),
        ("lib/modules/6.12.1/modules.builtin", b"a/ena.ko\n"),
    ]));
    let image = unified(&[
        (".cmdline", b"console=ttyS0 root=LABEL=x\n\0"),
        (".uname", b"6.12.1"),
        (".linux", b"MZ"),
        (".initrd", &initrd),
    ]);
    let esp = fat(1 << 20, &[("EFI/BOOT/BOOTX64.EFI", &program(0x8664)), ("EFI/Linux/linux.efi", &image)]);
    let contents = seen(&gpt(SIZE, vec![part(ESP, 2048, esp), part(LINUX, 4096, vec![0; 1024])]));
    assert_eq!(contents.system.command_lines[0].text, "console=ttyS0 root=LABEL=x");
    let kernel = &contents.system.kernels["6.12.1"];
    assert_eq!(kernel.place.as_ref().unwrap().path.as_deref(), Some("/EFI/Linux/linux.efi"));
    assert_eq!((kernel.drivers[&Driver::Nvme], kernel.drivers[&Driver::Ena]), (Found::Initrd, Found::Kernel));
}

#[test]
fn a_start_s_depth_reads_no_system() {
    let disk = disk_of(&ext::build(1 << 20, &debian(ALL_MODULES, &[], &[], "quiet")));
    let contents = look(&mut Cursor::new(&disk), disk.len() as u64, Depth::Start).unwrap();
    assert_eq!(contents.system, ami_run_inspect::System::default());
    assert_eq!(judged(&contents, Some(true)), []);
}
