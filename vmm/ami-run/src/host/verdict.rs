//! Whether this computer's KVM runs a guest's kernel or only emulates it: tried once, then remembered.

use super::access::{self, KVM};
use crate::exit::Code;
use crate::failure::Failure;
use ami_run_machine::MachineError;
use ami_run_machine::probe::{self, Verdict};
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// The probe's answer, which holds until the host is booted anew or its KVM is loaded anew.
pub(crate) fn kept_or_new() -> Result<Verdict, Failure> {
    let kept = key().zip(cache_folder()).and_then(|(key, folder)| recall(&folder, &key));
    kept.map_or_else(anew, Ok)
}

/// Tries KVM out, whatever is remembered, and remembers that.
pub(crate) fn anew() -> Result<Verdict, Failure> {
    let found = probe::probe().map_err(|cause| untried(&cause))?;
    if let Some((key, folder)) = key().zip(cache_folder())
        && let Err(cause) = keep(&folder, &key, found)
    {
        log::info!("the answer is not kept in {}: {cause}", folder.display());
    }
    Ok(found)
}

fn untried(cause: &MachineError) -> Failure {
    let failure = Failure::new(Code::Host, "cannot try out this computer's KVM").because(cause);
    match cause {
        // What KVM_CREATE_VM says where another has switched the CPU's virtualization on.
        MachineError::Call { cause, .. } if cause.kind() == io::ErrorKind::ResourceBusy => failure
            .hint("another hypervisor uses the CPU: end the machines of VirtualBox, VMware and the like"),
        MachineError::Capability(name) => failure.hint(access::lacking(&[*name])),
        _ => failure,
    }
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn another_hypervisor_on_the_cpu_is_named() {
        let call =
            |errno| MachineError::Call { what: "KVM_CREATE_VM", cause: io::Error::from_raw_os_error(errno) };
        assert!(untried(&call(libc::EBUSY)).hint.unwrap().contains("another hypervisor"));
        assert_eq!(untried(&call(libc::ENOMEM)).hint, None);
    }

    #[test]
    fn a_computer_without_a_modern_interrupt_controller_is_told_what_it_lacks() {
        let refused = untried(&MachineError::Capability("a GICv3 interrupt controller"));
        assert_eq!(refused.code, Code::Host);
        assert!(refused.hint.unwrap().contains("a GICv3 with an ITS"));
    }
}
