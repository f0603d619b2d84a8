//! What this computer can do: what a launch refuses before anything is started.

pub(crate) mod access;
pub(crate) mod verdict;

use crate::exit::Code;
use crate::failure::Failure;
use access::Surroundings;
use ami_run_machine::probe::Verdict;
use std::fs;

/// What to do where KVM cannot run a kernel.
pub(crate) const TESTBED: &str =
    "in a source checkout, `tests/testbed/run -- ami-run …` launches it where KVM is real";

/// The last line of a hint that is about this computer.
const DOCTOR: &str = "`ami-run doctor` checks everything that a launch needs";

/// Refuses a guest with more memory than this computer has. `who` wants it: an option or an instance type.
pub(crate) fn check_memory(wanted_mib: u64, who: &str) -> Result<(), Failure> {
    let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    match mib_of(&meminfo, "MemTotal:") {
        Some(host_mib) if wanted_mib > host_mib => Err(too_much_memory(wanted_mib, who, host_mib)),
        _ => Ok(()),
    }
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
    fn memory_is_read_in_mib() {
        let text = "MemFree: 1 kB\nMemTotal:       24657812 kB\nMemAvailable:   2048 kB\n";
        assert_eq!(mib_of(text, "MemTotal:"), Some(24079));
        assert_eq!(mib_of(text, "MemAvailable:"), Some(2));
        assert_eq!(mib_of("nothing", "MemTotal:"), None);
    }
}
