//! What this computer can do: memory, /dev/kvm, and whether its KVM runs a guest's kernel or only emulates it.

use crate::exit::Code;
use crate::failure::Failure;
use ami_run_machine::probe::{self, Verdict};
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

const KVM: &str = "/dev/kvm";

/// What to do where KVM cannot run a kernel.
pub(crate) const TESTBED: &str =
    "in a source checkout, `tests/testbed/run -- ami-run …` launches it where KVM is real";

/// Refuses a guest with more memory than this computer has.
pub(crate) fn check_memory(wanted_mib: u64) -> Result<(), Failure> {
    let Some(host_mib) = fs::read_to_string("/proc/meminfo").ok().as_deref().and_then(total_mib) else {
        return Ok(());
    };
    if wanted_mib <= host_mib {
        return Ok(());
    }
    let message = format!("--memory: {wanted_mib} MiB is more than this computer has, {host_mib} MiB");
    Err(Failure::new(Code::Host, message).hint("give the guest less"))
}

fn total_mib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024)
}

/// Refuses a KVM that is not there, not permitted, or (unless forced) not real.
pub(crate) fn check_kvm(force: bool) -> Result<(), Failure> {
    OpenOptions::new().read(true).write(true).open(KVM).map_err(|cause| no_kvm(&cause))?;
    if force {
        return Ok(());
    }
    match verdict()? {
        Verdict::Real => Ok(()),
        Verdict::Emulated => {
            let message = "this computer's KVM only emulates a guest's kernel: it would stop half-way";
            Err(Failure::new(Code::Host, message).hint(format!("{TESTBED}; --force tries it here")))
        }
    }
}

/// The probe's answer, which holds until the host is booted anew or its KVM is loaded anew.
fn verdict() -> Result<Verdict, Failure> {
    let key = key();
    let folder = cache_folder();
    if let (Some(key), Some(folder)) = (&key, &folder)
        && let Some(kept) = recall(folder, key)
    {
        return Ok(kept);
    }
    let found = probe::probe()
        .map_err(|cause| Failure::new(Code::Host, "cannot try out this computer's KVM").because(&cause))?;
    if let (Some(key), Some(folder)) = (key, folder)
        && let Err(cause) = keep(&folder, &key, found)
    {
        log::info!("the answer is not kept in {}: {cause}", folder.display());
    }
    Ok(found)
}

/// What the answer depends on: this boot, and this node, which is made anew with the module.
fn key() -> Option<String> {
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    let node = fs::metadata(KVM).ok()?;
    Some(format!("{} {} {}", boot.trim(), node.dev(), node.ino()))
}

fn cache_folder() -> Option<PathBuf> {
    let named =
        |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = named("XDG_RUNTIME_DIR")
        .or_else(|| named("XDG_CACHE_HOME"))
        .or_else(|| named("HOME").map(|home| home.join(".cache")))?;
    Some(base.join("ami-run"))
}

fn recall(folder: &Path, key: &str) -> Option<Verdict> {
    let text = fs::read_to_string(folder.join("kvm")).ok()?;
    match text.trim_end().strip_prefix(key)? {
        " real" => Some(Verdict::Real),
        " emulated" => Some(Verdict::Emulated),
        _ => None,
    }
}

fn keep(folder: &Path, key: &str, verdict: Verdict) -> io::Result<()> {
    let word = match verdict {
        Verdict::Real => "real",
        Verdict::Emulated => "emulated",
    };
    fs::create_dir_all(folder)?;
    let mut file = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(file, "{key} {word}")?;
    file.persist(folder.join("kvm"))?;
    Ok(())
}

fn no_kvm(cause: &io::Error) -> Failure {
    let failure = Failure::new(Code::Host, format!("cannot open {KVM}")).because(cause);
    let contained = Path::new("/.dockerenv").exists() || Path::new("/run/.containerenv").exists();
    let hint = match cause.kind() {
        io::ErrorKind::PermissionDenied => permission_hint(),
        _ if contained => "this is a container: start it with --device /dev/kvm".to_owned(),
        io::ErrorKind::NotFound => modules_hint(&fs::read_to_string("/proc/cpuinfo").unwrap_or_default()),
        _ => return failure,
    };
    failure.hint(hint)
}

fn modules_hint(cpuinfo: &str) -> String {
    let has = |flag: &str| cpuinfo.split_ascii_whitespace().any(|word| word == flag);
    if has("vmx") {
        "load KVM: sudo modprobe kvm_intel".to_owned()
    } else if has("svm") {
        "load KVM: sudo modprobe kvm_amd".to_owned()
    } else {
        "the CPU shows no virtualization: switch it on in the computer's firmware settings, or, if this is a \
         virtual machine, give it nested virtualization; then sudo modprobe kvm_intel or kvm_amd"
            .to_owned()
    }
}

fn permission_hint() -> String {
    let Ok(node) = fs::metadata(KVM) else {
        return format!("let your user read and write {KVM}");
    };
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    permission_hint_for(node.mode() & 0o777, &group_name(&groups, node.gid()))
}

fn permission_hint_for(mode: u32, group: &str) -> String {
    if mode & 0o060 == 0o060 {
        format!("it is for group {group}: sudo usermod -aG {group} $USER, then log in anew")
    } else {
        format!(
            "its mode is {mode:04o} and its group {group}, so only root may use it: \
             sudo chgrp kvm {KVM} && sudo chmod 0660 {KVM} && sudo usermod -aG kvm $USER, then log in anew"
        )
    }
}

fn group_name(groups: &str, gid: u32) -> String {
    let is_it = |line: &&str| line.split(':').nth(2) == Some(gid.to_string().as_str());
    let found = groups.lines().find(is_it).and_then(|line| line.split(':').next());
    found.map_or_else(|| gid.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_group_that_owns_kvm_is_named() {
        let groups = "root:x:0:\nkvm:x:104:someone\n";
        assert_eq!(group_name(groups, 104), "kvm");
        assert_eq!(group_name(groups, 7), "7");
        assert!(permission_hint_for(0o660, "kvm").contains("usermod -aG kvm $USER"));
        assert!(permission_hint_for(0o600, "root").contains("mode is 0600 and its group root"));
    }

    #[test]
    fn missing_modules_depend_on_the_cpu() {
        assert!(modules_hint("flags : fpu vmx\n").ends_with("kvm_intel"));
        assert!(modules_hint("flags : fpu svm\n").ends_with("kvm_amd"));
        assert!(modules_hint("flags : fpu vmx_not\n").contains("nested virtualization"));
    }

    #[test]
    fn an_answer_is_kept_for_its_key_only() {
        let folder = tempfile::tempdir().unwrap();
        let inside = folder.path().join("deep/er");
        assert_eq!(recall(&inside, "boot 1"), None);
        keep(&inside, "boot 1", Verdict::Emulated).unwrap();
        assert_eq!(recall(&inside, "boot 1"), Some(Verdict::Emulated));
        assert_eq!(recall(&inside, "boot 2"), None);
        keep(&inside, "boot 2", Verdict::Real).unwrap();
        assert_eq!(recall(&inside, "boot 2"), Some(Verdict::Real));
        assert_eq!(fs::read_dir(&inside).unwrap().count(), 1);
    }

    #[test]
    fn total_memory_is_read_in_mib() {
        assert_eq!(total_mib("MemFree: 1 kB\nMemTotal:       24657812 kB\n"), Some(24079));
        assert_eq!(total_mib("nothing"), None);
    }
}
