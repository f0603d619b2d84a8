//! What this computer can do: what a launch refuses before anything is started.

pub(crate) mod access;
pub(crate) mod verdict;

use crate::exit::Code;
use crate::failure::Failure;
use access::Surroundings;
use ami_run_image::Architecture;
use ami_run_machine::probe::Verdict;
use std::fs;

/// What to do where KVM cannot run a kernel.
pub(crate) const TESTBED: &str =
    "in a source checkout, `tests/testbed/run -- ami-run …` launches it where KVM is real";

const ARM64_UEFI_MIB: u64 = ami_run_firmware::aarch64::MIN_MEMORY >> 20;

/// The last line of a hint that is about this computer.
const DOCTOR: &str = "`ami-run doctor` checks everything that a launch needs";

/// The architecture whose guests this computer runs.
pub(crate) fn this_computer() -> Result<Architecture, Failure> {
    Architecture::of_this_computer().ok_or_else(|| {
        let arch = std::env::consts::ARCH;
        Failure::new(Code::Host, format!("this computer is {arch}: EC2 has x86_64 and arm64"))
    })
}

/// What is said of a disk that can be looked into here, and not launched. None: it can be.
pub(crate) fn elsewhere(architecture: Architecture, here: Architecture) -> Option<String> {
    (architecture != here).then(|| {
        format!("{architecture}, and this computer is {here}: it can be judged here, and launched on {architecture} only")
    })
}

/// Refuses to start an instance that was launched on a computer of another architecture.
pub(crate) fn check_architecture(id: &str, of_instance: &str, here: Architecture) -> Result<(), Failure> {
    if of_instance == here.to_string() {
        return Ok(());
    }
    let message = format!("cannot start {id}: it is for {of_instance}, and this computer is {here}");
    Err(Failure::new(Code::Host, message).hint(format!(
        "start it on a computer that is {of_instance} and has KVM; no option helps: a guest runs on this computer's own CPUs"
    )))
}

/// Refuses a guest with more memory than this computer has. `who` wants it: an option or an instance type.
pub(crate) fn check_memory(wanted_mib: u64, who: &str) -> Result<(), Failure> {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match mib_of(&meminfo, "MemTotal:") {
        Some(host_mib) if wanted_mib > host_mib => Err(too_much_memory(wanted_mib, who, host_mib)),
        _ => Ok(()),
    }
}

/// Refuses less memory than UEFI firmware for arm64 begins with. `who` wants it: an option or an instance type.
pub(crate) fn check_uefi_memory(wanted_mib: u64, who: &str) -> Result<(), Failure> {
    if wanted_mib >= ARM64_UEFI_MIB {
        return Ok(());
    }
    let message = format!(
        "{who}: {wanted_mib} MiB is too little for an arm64 machine that starts by uefi, whose firmware takes {ARM64_UEFI_MIB}"
    );
    Err(Failure::new(Code::Refused, message)
        .hint(format!("give it {ARM64_UEFI_MIB}M or more, as every instance type has")))
}

pub(crate) fn too_much_memory(wanted_mib: u64, who: &str, host_mib: u64) -> Failure {
    let message = format!("{who}: {wanted_mib} MiB is more than this computer has, {host_mib} MiB");
    Failure::new(Code::Host, message).hint("give the guest less by --memory")
}

/// A line of /proc/meminfo, rounded down.
pub(crate) fn mib_of(meminfo: &str, name: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
    let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib / 1024)
}

/// Refuses a KVM that is not there, not permitted, or (unless forced) not real.
pub(crate) fn check_kvm(force: bool) -> Result<(), Failure> {
    access::open().map_err(|cause| and_doctor(access::refused(&cause, &Surroundings::look())))?;
    if force {
        return Ok(());
    }
    match verdict::kept_or_new()? {
        Verdict::Real => Ok(()),
        Verdict::Emulated => Err(and_doctor(emulated())),
    }
}

/// There may be more that is wrong with a computer than what a launch came upon first.
fn and_doctor(failure: Failure) -> Failure {
    let hint: Vec<_> = failure.hint.iter().map(String::as_str).chain([DOCTOR]).collect();
    let hint = hint.join("\n");
    failure.hint(hint)
}

/// A KVM on which a guest's kernel does not run.
pub(crate) fn emulated() -> Failure {
    let message = "this computer's KVM only emulates a guest's kernel: it would stop half-way";
    Failure::new(Code::Host, message).hint(format!("{TESTBED}; --force tries it here"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_is_started_only_where_its_cpus_are() {
        check_architecture("i-1", "arm64", Architecture::Arm64).unwrap();
        let refused = check_architecture("i-1", "arm64", Architecture::X86_64).unwrap_err();
        assert_eq!(refused.message, "cannot start i-1: it is for arm64, and this computer is x86_64");
        assert!(refused.hint.unwrap().contains("a computer that is arm64 and has KVM"));
    }

    #[test]
    fn firmware_for_arm64_has_room_to_begin() {
        check_uefi_memory(128, "--memory").unwrap();
        let refused = check_uefi_memory(127, "--memory").unwrap_err();
        assert!(refused.message.starts_with("--memory: 127 MiB is too little"), "{}", refused.message);
        assert!(refused.hint.unwrap().contains("128M or more"));
    }

    #[test]
    fn what_is_launched_elsewhere_is_said() {
        assert_eq!(elsewhere(Architecture::Arm64, Architecture::Arm64), None);
        let said = elsewhere(Architecture::X86_64, Architecture::Arm64).unwrap();
        assert!(said.starts_with("x86_64, and this computer is arm64: "), "{said}");
    }

    #[test]
    fn memory_is_read_in_mib() {
        let text = "MemFree: 1 kB\nMemTotal:       24657812 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(mib_of(text, "MemTotal:"), Some(24079));
        assert_eq!(mib_of(text, "MemAvailable:"), Some(2));
        assert_eq!(mib_of("nothing", "MemTotal:"), None);
    }
}
