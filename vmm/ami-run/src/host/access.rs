//! Why /dev/kvm cannot be opened, and what to do about it: that depends on where this program runs.

use crate::exit::Code;
use crate::failure::Failure;
use ami_run_image::Architecture;
use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

pub(crate) const KVM: &str = "/dev/kvm";

/// What the advice depends on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    /// What kind of container this is, where it is one: docker, podman, systemd-nspawn, …
    pub(crate) container: Option<String>,
    /// This is a virtual machine that GitHub made for a job.
    pub(crate) github: bool,
    pub(crate) cpu: Cpu,
    /// Who made this computer, by its firmware.
    pub(crate) maker: Option<String>,
    pub(crate) node: Option<Node>,
}

/// What the CPU shows of virtualization.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cpu {
    /// It is an arm64 CPU, which shows nothing: where a kernel was started decides.
    pub(crate) arm64: bool,
    /// Intel's virtualization.
    pub(crate) vmx: bool,
    /// AMD's.
    pub(crate) svm: bool,
    /// It is a virtual machine's CPU. On arm64 the firmware's tables may tell that.
    pub(crate) hypervisor: bool,
}

/// The device node.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) mode: u32,
    pub(crate) gid: u32,
    /// The group's name, or its number if it has none.
    pub(crate) group: String,
}

impl Surroundings {
    pub(crate) fn look() -> Surroundings {
        // GitHub's own name for it; a self-hosted runner is whatever its owner made.
        let github = std::env::var_os("RUNNER_ENVIRONMENT").is_some_and(|kind| kind == "github-hosted");
        let arm64 = Architecture::of_this_computer() == Some(Architecture::Arm64);
        Surroundings { github, ..Surroundings::below(Path::new("/"), arm64) }
    }

    /// What the files below `root` say.
    fn below(root: &Path, arm64: bool) -> Surroundings {
        let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
        let maker = text("sys/class/dmi/id/sys_vendor").trim().to_owned();
        Surroundings {
            container: container(root),
            github: false,
            cpu: if arm64 {
                Cpu { arm64, hypervisor: is_virtual(root), ..Cpu::default() }
            } else {
                cpu(&text("proc/cpuinfo"))
            },
            maker: Some(maker).filter(|maker| !maker.is_empty()),
            node: node(&root.join(KVM.trim_start_matches('/')), &text("etc/group")),
        }
    }
}

/// Which container this is. Each maker leaves a mark of its own: docker and podman a file, systemd (and what follows
/// its container interface) a file with a name in it, others the name of their control group.
fn container(root: &Path) -> Option<String> {
    let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let named = text("run/systemd/container").trim().to_owned();
    if !named.is_empty() {
        return Some(named);
    }
    let marks = [(".dockerenv", "docker"), ("run/.containerenv", "podman")];
    if let Some((_, kind)) = marks.iter().find(|(mark, _)| root.join(mark).exists()) {
        return Some((*kind).to_owned());
    }
    let groups = text("proc/1/cgroup");
    let kinds = [("/docker", "docker"), ("/libpod", "podman"), ("/kubepods", "kubernetes"), ("/lxc", "lxc")];
    let found = kinds.iter().find(|(mark, _)| groups.contains(mark));
    found.map(|(_, kind)| (*kind).to_owned())
}

fn cpu(cpuinfo: &str) -> Cpu {
    let flags = cpuinfo.lines().find(|line| line.starts_with("flags")).unwrap_or_default();
    let has = |flag: &str| flags.split_ascii_whitespace().any(|word| word == flag);
    Cpu { vmx: has("vmx"), svm: has("svm"), hypervisor: has("hypervisor"), arm64: false }
}

/// Whether an arm64 computer says that it is a virtual machine: by the maker and the name that SMBIOS gives it, or by
/// its device tree, which names a hypervisor (Xen's and KVM's own) or QEMU's board.
fn is_virtual(root: &Path) -> bool {
    let text = |path: &str| fs::read_to_string(root.join(path)).unwrap_or_default();
    let (maker, product) = (text("sys/class/dmi/id/sys_vendor"), text("sys/class/dmi/id/product_name"));
    let (maker, product) = (maker.trim(), product.trim());
    let named = match maker {
        "QEMU" => true,
        // A bare-metal type has the same maker.
        "Amazon EC2" => !product.contains(".metal"),
        _ => ["Google Compute Engine", "KVM Virtual Machine", "Virtual Machine"].contains(&product),
    };
    let tree = root.join("proc/device-tree");
    named || tree.join("hypervisor").exists() || text("proc/device-tree/compatible").contains("dummy-virt")
}

fn node(path: &Path, groups: &str) -> Option<Node> {
    let found = fs::metadata(path).ok()?;
    let gid = found.gid();
    Some(Node { mode: found.mode() & 0o777, gid, group: group_name(groups, gid) })
}

fn group_name(groups: &str, gid: u32) -> String {
    let is_it = |line: &&str| line.split(':').nth(2) == Some(gid.to_string().as_str());
    let found = groups.lines().find(is_it).and_then(|line| line.split(':').next());
    found.map_or_else(|| gid.to_string(), str::to_owned)
}

/// Opens /dev/kvm, to see whether it can be.
pub(crate) fn open() -> io::Result<()> {
    OpenOptions::new().read(true).write(true).open(KVM).map(drop)
}

/// A /dev/kvm that did not open.
pub(crate) fn refused(cause: &io::Error, around: &Surroundings) -> Failure {
    let failure = Failure::new(Code::Host, format!("cannot open {KVM}")).because(cause);
    Failure { hint: remedy(cause, around), ..failure }
}

/// What to do about a KVM that lacks what a machine needs. An interrupt controller is hardware's: no kernel brings it.
pub(crate) fn lacking(missing: &[&str]) -> &'static str {
    if missing.iter().any(|name| name.contains("GIC")) {
        "an arm64 guest needs what a GICv3 with an ITS has, as servers do: a computer with an older interrupt controller, \
         such as a Raspberry Pi 4, runs none"
    } else {
        "start this computer with a newer kernel"
    }
}

/// What to do about it.
fn remedy(cause: &io::Error, around: &Surroundings) -> Option<String> {
    let contained = around.container.as_deref();
    match (cause.raw_os_error()?, contained) {
        // A container's control group may forbid a device that is there.
        (libc::ENOENT | libc::EPERM, Some(kind)) => Some(give_device(kind)),
        (libc::EPERM, None) => Some(format!(
            "this session's control group forbids the device: a systemd service needs DeviceAllow={KVM} rw"
        )),
        (libc::EACCES, _) => Some(permit(around)),
        // The node can be there before its module is.
        (libc::ENOENT | libc::ENODEV | libc::ENXIO, None) => Some(load(around.cpu)),
        (libc::ENODEV | libc::ENXIO, Some(_)) => {
            Some(format!("on the computer that runs this container, {}", load(around.cpu)))
        }
        _ => None,
    }
}

fn give_device(container: &str) -> String {
    match container {
        "docker" | "podman" => format!("this is a container ({container}): start it with --device {KVM}"),
        "systemd-nspawn" => format!(
            "this is a container (systemd-nspawn): start it with --bind={KVM} --property='DeviceAllow={KVM} rw'"
        ),
        other => format!(
            "this is a container ({other}): give it the computer's {KVM} (docker and podman: --device {KVM})"
        ),
    }
}

fn permit(around: &Surroundings) -> String {
    let Some(Node { mode, gid, group }) = &around.node else {
        return format!("let your user read and write {KVM}");
    };
    let for_group = mode & 0o060 == 0o060;
    match around.container.as_deref() {
        None if around.github => github_rule(),
        Some("podman") if for_group => {
            "it is for a group: start the container with --group-add keep-groups, by a user who is in that group"
                .to_owned()
        }
        Some(_) if for_group => format!("it is for group {gid}: start the container with --group-add {gid}"),
        None if for_group => {
            format!("it is for group {group}: sudo usermod -aG {group} $USER, then log in anew")
        }
        _ => format!(
            "its mode is {mode:04o} and its group {group}, so only root may use it: \
             sudo chgrp kvm {KVM} && sudo chmod 0660 {KVM} && sudo usermod -aG kvm $USER, then log in anew"
        ),
    }
}

/// The rule that GitHub's own documents give for its runners, whose user is in no group that may use /dev/kvm.
fn github_rule() -> String {
    let rule = r#"KERNEL=="kvm", GROUP="kvm", MODE="0666", OPTIONS+="static_node=kvm""#;
    format!(
        "on a GitHub runner, before this step:\n\
         echo '{rule}' | sudo tee /etc/udev/rules.d/99-kvm4all.rules\n\
         sudo udevadm control --reload-rules\n\
         sudo udevadm trigger --name-match=kvm"
    )
}

fn load(cpu: Cpu) -> String {
    let vendor = |module, switch| {
        format!(
            "load KVM: sudo modprobe {module} (if that is refused, switch {switch} on in the computer's firmware \
             settings)"
        )
    };
    if cpu.arm64 {
        load_arm64(cpu)
    } else if cpu.vmx {
        vendor("kvm_intel", "VT-x")
    } else if cpu.svm {
        vendor("kvm_amd", "SVM")
    } else if cpu.hypervisor {
        "this virtual machine has no nested virtualization: switch it on where the machine is made, then \
         sudo modprobe kvm_intel or kvm_amd"
            .to_owned()
    } else {
        "the CPU shows no virtualization: switch it on (VT-x, SVM) in the computer's firmware settings, then \
         sudo modprobe kvm_intel or kvm_amd"
            .to_owned()
    }
}

/// KVM is a part of a kernel for arm64, and no module; it is there where the kernel was started at EL2.
fn load_arm64(cpu: Cpu) -> String {
    if cpu.hypervisor {
        "this virtual machine has no nested virtualization, so its kernel was started at EL1 and has no KVM: switch that on \
         where the machine is made, or take bare metal (on EC2 a type such as c7g.metal)"
            .to_owned()
    } else {
        "the kernel has no KVM (CONFIG_KVM), or was started at EL1, where a hypervisor or the computer's firmware kept EL2 to \
         itself: `sudo dmesg | grep -iE 'kvm|started at EL'` tells which; its firmware must start it at EL2"
            .to_owned()
    }
}

#[cfg(test)]
#[path = "access_test.rs"]
mod tests;
