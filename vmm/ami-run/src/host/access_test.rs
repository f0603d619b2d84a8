//! Every way in which /dev/kvm cannot be had, and what is said of it.

use super::*;

fn remedy_for(errno: i32, around: &Surroundings) -> String {
    remedy(&io::Error::from_raw_os_error(errno), around).unwrap()
}

fn node(mode: u32) -> Option<Node> {
    Some(Node { mode, gid: 104, group: "kvm".to_owned() })
}

fn contained(kind: &str) -> Surroundings {
    Surroundings { container: Some(kind.to_owned()), node: node(0o660), ..Default::default() }
}

#[test]
fn a_missing_node_depends_on_container_and_cpu() {
    let of = |cpu| Surroundings { cpu, ..Default::default() };
    let cpu = |vmx, svm, hypervisor| of(Cpu { vmx, svm, hypervisor, arm64: false });
    let arm = |hypervisor| of(Cpu { hypervisor, arm64: true, ..Default::default() });
    let cases = [
        (cpu(true, false, true), "load KVM: sudo modprobe kvm_intel (if that is refused, switch VT-x on"),
        (cpu(false, true, false), "load KVM: sudo modprobe kvm_amd (if that is refused, switch SVM on"),
        (cpu(false, false, true), "this virtual machine has no nested virtualization"),
        (cpu(false, false, false), "the CPU shows no virtualization: switch it on (VT-x, SVM)"),
        (arm(true), "its kernel was started at EL1 and has no KVM: switch that on where the machine is made"),
        (arm(false), "its firmware must start it at EL2"),
        (contained("docker"), "this is a container (docker): start it with --device /dev/kvm"),
        (contained("podman"), "this is a container (podman): start it with --device /dev/kvm"),
        (contained("systemd-nspawn"), "start it with --bind=/dev/kvm --property='DeviceAllow=/dev/kvm rw'"),
        (contained("lxc"), "this is a container (lxc): give it the computer's /dev/kvm"),
    ];
    for (around, wanted) in cases {
        let told = remedy_for(libc::ENOENT, &around);
        assert!(told.contains(wanted), "{told}");
        assert!(!around.cpu.arm64 || !told.contains("modprobe"), "no module: {told}");
    }
}

#[test]
fn a_node_without_its_module_asks_for_the_module() {
    let intel = Surroundings { cpu: Cpu { vmx: true, ..Default::default() }, ..Default::default() };
    for errno in [libc::ENODEV, libc::ENXIO] {
        assert!(remedy_for(errno, &intel).starts_with("load KVM: sudo modprobe kvm_intel"));
        let inside = Surroundings { container: Some("docker".to_owned()), ..intel.clone() };
        let told = remedy_for(errno, &inside);
        assert!(told.starts_with("on the computer that runs this container, load KVM: "), "{told}");
    }
}

#[test]
fn permission_depends_on_who_keeps_it() {
    let plain = |mode| Surroundings { node: node(mode), ..Default::default() };
    let github = Surroundings { github: true, ..plain(0o660) };
    let cases = [
        (libc::EACCES, plain(0o660), "it is for group kvm: sudo usermod -aG kvm $USER, then log in anew"),
        (libc::EACCES, plain(0o600), "its mode is 0600 and its group kvm, so only root may use it"),
        (libc::EACCES, contained("docker"), "it is for group 104: start the container with --group-add 104"),
        (libc::EACCES, contained("podman"), "--group-add keep-groups"),
        (libc::EACCES, Surroundings::default(), "let your user read and write /dev/kvm"),
        (libc::EPERM, contained("docker"), "this is a container (docker): start it with --device /dev/kvm"),
        (libc::EPERM, plain(0o660), "DeviceAllow=/dev/kvm rw"),
        (
            libc::EACCES,
            github.clone(),
            r#"echo 'KERNEL=="kvm", GROUP="kvm", MODE="0666", OPTIONS+="static_node=kvm"' | sudo tee"#,
        ),
        (
            libc::EACCES,
            github.clone(),
            "\nsudo udevadm control --reload-rules\nsudo udevadm trigger --name-match=kvm",
        ),
        // The rule is about permission, not about a module.
        (libc::ENOENT, github, "the CPU shows no virtualization"),
    ];
    for (errno, around, wanted) in cases {
        let told = remedy_for(errno, &around);
        assert!(told.contains(wanted), "{told}");
    }
    assert_eq!(remedy(&io::Error::from_raw_os_error(libc::EMFILE), &plain(0o660)), None);
}

#[test]
fn what_is_around_is_read_from_files() {
    let root = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| {
        let path = root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    };
    let around = Surroundings::below(root.path(), false);
    assert!(around.container.is_none() && around.maker.is_none() && around.node.is_none());

    write("proc/1/cgroup", "0::/init.scope\n");
    assert_eq!(container(root.path()), None);
    for (text, kind) in [
        ("0::/../../kubepods-besteffort/x\n", "kubernetes"),
        ("9:memory:/docker/0123\n", "docker"),
        ("0::/lxc.payload.web\n", "lxc"),
    ] {
        write("proc/1/cgroup", text);
        assert_eq!(container(root.path()).as_deref(), Some(kind));
    }
    for (path, text, kind) in [
        ("run/.containerenv", "", "podman"),
        (".dockerenv", "", "docker"),
        ("run/systemd/container", "systemd-nspawn\n", "systemd-nspawn"),
    ] {
        write(path, text);
        assert_eq!(container(root.path()).as_deref(), Some(kind), "{path}");
    }

    write("sys/class/dmi/id/sys_vendor", "QEMU\n");
    write("proc/cpuinfo", "model name : an svm lookalike\nflags\t\t: fpu vmx hypervisor svm_lock\n");
    write("etc/group", "root:x:0:\nkvm:x:104:someone\n");
    write("dev/kvm", "");
    let around = Surroundings::below(root.path(), false);
    assert_eq!(around.maker.as_deref(), Some("QEMU"));
    assert!(around.cpu.vmx && around.cpu.hypervisor && !around.cpu.svm, "{:?}", around.cpu);
    assert!(around.node.is_some());
}

#[test]
fn the_group_that_owns_kvm_is_named() {
    let groups = "root:x:0:\nkvm:x:104:someone\n";
    assert_eq!(group_name(groups, 104), "kvm");
    assert_eq!(group_name(groups, 7), "7");
}

#[test]
fn an_arm64_virtual_machine_is_told_by_its_firmware() {
    let is_virtual = |files: &[(&str, &str)]| {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let Cpu { arm64, hypervisor, vmx, svm } = Surroundings::below(root.path(), true).cpu;
        assert!(arm64 && !vmx && !svm, "x86's flags decide nothing");
        hypervisor
    };
    let (vendor, product) = ("sys/class/dmi/id/sys_vendor", "sys/class/dmi/id/product_name");
    assert!(is_virtual(&[(vendor, "QEMU\n")]));
    assert!(is_virtual(&[(vendor, "Amazon EC2\n"), (product, "c7g.large\n")]));
    assert!(!is_virtual(&[(vendor, "Amazon EC2\n"), (product, "c7g.metal\n")]));
    assert!(is_virtual(&[("proc/device-tree/compatible", "linux,dummy-virt\0")]));
    assert!(is_virtual(&[("proc/device-tree/hypervisor/compatible", "xen,xen\0")]));
    assert!(!is_virtual(&[("proc/cpuinfo", "flags : hypervisor vmx svm\n"), (vendor, "Ampere\n")]));
}
