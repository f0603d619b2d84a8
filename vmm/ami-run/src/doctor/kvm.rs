//! Judgements on /dev/kvm: may it be used, does it run kernels, and for how many vCPUs.

use super::facts::Kvm;
use super::{Check, Status};
use crate::args::DEFAULT_CPUS;
use crate::failure::Failure;
use crate::host;
use crate::host::access::{self, Surroundings};
use ami_run_machine::probe::{Offer, Verdict};
use std::io;

/// Whether it is there, may be used, and can do what a machine needs.
pub(super) fn access(opened: Result<&Kvm, &io::Error>, around: &Surroundings) -> Check {
    let name = access::KVM;
    let offer = match opened {
        Ok(kvm) => &kvm.offer,
        Err(cause) => return Check::failed(name, access::refused(cause, around)),
    };
    match offer {
        Ok(offer) if offer.missing.is_empty() => {
            Check::new(name, Status::Ok, "may be used, and can do what a machine needs")
        }
        Ok(offer) => Check::new(name, Status::Failed, format!("it lacks {}", offer.missing.join(", ")))
            .remedy(access::lacking(&offer.missing)),
        Err(failure) => Check::failed(name, failure.clone()),
    }
}

/// Whether a guest's kernel runs, or is only emulated. None: there is no KVM to try.
pub(super) fn virtualization(verdict: Option<&Result<Verdict, Failure>>) -> Check {
    let name = "virtualization";
    let failure = match verdict {
        None => return Check::new(name, Status::Information, "not tried: /dev/kvm cannot be opened"),
        Some(Ok(Verdict::Real)) => {
            return Check::new(name, Status::Ok, "real: a guest's kernel runs on the CPU");
        }
        Some(Ok(Verdict::Emulated)) => host::emulated(),
        Some(Err(failure)) => failure.clone(),
    };
    Check::failed(name, failure)
}

/// Whether guests would run in a machine in a machine.
pub(super) fn nested(around: &Surroundings) -> Check {
    let found = match (&around.maker, around.cpu.hypervisor) {
        (_, false) if around.cpu.arm64 => {
            "not known: an arm64 CPU does not tell, and this computer's firmware names no virtual machine"
                .to_owned()
        }
        (_, false) => "no: this computer is not a virtual machine".to_owned(),
        (Some(maker), true) => {
            format!("yes: this computer is itself a virtual machine ({maker}), so guests are slower")
        }
        (None, true) => "yes: this computer is itself a virtual machine, so guests are slower".to_owned(),
    };
    Check::new("nested", Status::Information, found)
}

/// How many there may be. None: KVM cannot be asked.
pub(super) fn vcpus(offer: Option<&Offer>) -> Check {
    let name = "vCPUs";
    let Some(Offer { recommended_cpus, most_cpus, .. }) = offer else {
        return Check::new(name, Status::Information, "not known: /dev/kvm cannot be asked");
    };
    let found = format!("KVM recommends {recommended_cpus} at most here, and a machine can have {most_cpus}");
    if *most_cpus < DEFAULT_CPUS {
        let remedy = format!("a launch takes {DEFAULT_CPUS}: give the guest fewer with --cpus");
        return Check::new(name, Status::Failed, found).remedy(remedy);
    }
    Check::new(name, Status::Ok, found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Code;
    use crate::host::access::Cpu;

    fn offer(missing: Vec<&'static str>, most_cpus: u32) -> Offer {
        Offer { missing, recommended_cpus: 4, most_cpus }
    }

    fn kvm(missing: Vec<&'static str>) -> Kvm {
        Kvm { offer: Ok(offer(missing, 64)), verdict: Ok(Verdict::Real) }
    }

    #[test]
    fn a_kvm_must_open_and_lack_nothing() {
        let docker = Surroundings { container: Some("docker".to_owned()), ..Default::default() };
        assert_eq!(access(Ok(&kvm(vec![])), &docker).status, Status::Ok);
        let lacking = access(Ok(&kvm(vec!["KVM_CAP_IRQFD", "KVM_CAP_PIT2"])), &docker);
        assert_eq!(
            (lacking.status, lacking.found.as_str()),
            (Status::Failed, "it lacks KVM_CAP_IRQFD, KVM_CAP_PIT2")
        );
        assert!(lacking.remedy.unwrap().contains("newer kernel"));
        let old = access(Ok(&kvm(vec!["a GICv3 interrupt controller", "KVM_CAP_IRQFD"])), &docker);
        assert_eq!(old.status, Status::Failed);
        assert!(old.remedy.unwrap().contains("a GICv3 with an ITS"));

        let missing = access(Err(&io::Error::from_raw_os_error(libc::ENOENT)), &docker);
        assert_eq!(missing.status, Status::Failed);
        assert!(missing.found.starts_with("cannot open /dev/kvm: No such file"), "{}", missing.found);
        assert!(missing.remedy.unwrap().ends_with("--device /dev/kvm"));

        let github = Surroundings {
            github: true,
            node: Some(access::Node { mode: 0o660, gid: 104, group: "kvm".to_owned() }),
            ..Default::default()
        };
        let denied = access(Err(&io::Error::from_raw_os_error(libc::EACCES)), &github);
        assert_eq!(denied.status, Status::Failed);
        assert!(denied.remedy.unwrap().contains("99-kvm4all.rules"));
    }

    #[test]
    fn only_a_real_kvm_passes() {
        let broken = Failure::new(Code::Host, "cannot try out this computer's KVM").hint("end it");
        let cases = [
            (Some(Ok(Verdict::Real)), Status::Ok, "real: ", None),
            (Some(Ok(Verdict::Emulated)), Status::Failed, "only emulates a guest's kernel", Some("--force")),
            (Some(Err(broken)), Status::Failed, "cannot try out", Some("end it")),
            // The line above it has failed already.
            (None, Status::Information, "not tried", None),
        ];
        for (verdict, status, found, remedy) in cases {
            let check = virtualization(verdict.as_ref());
            assert_eq!(check.status, status);
            assert!(check.found.contains(found), "{}", check.found);
            assert_eq!(check.remedy.is_some(), remedy.is_some());
            assert!(remedy.is_none_or(|part| check.remedy.unwrap().contains(part)));
        }
    }

    #[test]
    fn a_machine_in_a_machine_is_named() {
        let around = |hypervisor, maker: Option<&str>| Surroundings {
            cpu: Cpu { hypervisor, ..Default::default() },
            maker: maker.map(str::to_owned),
            ..Default::default()
        };
        let found = |around: &Surroundings| {
            let check = nested(around);
            assert_eq!(check.status, Status::Information);
            check.found
        };
        assert!(found(&around(true, Some("QEMU"))).contains("virtual machine (QEMU), so"));
        assert!(found(&around(true, None)).contains("virtual machine, so"));
        // An EC2 bare-metal instance names the same maker as a virtual one.
        assert!(found(&around(false, Some("Amazon EC2"))).starts_with("no: "));
        let arm64 = Cpu { arm64: true, ..Default::default() };
        let arm64 = Surroundings { cpu: arm64, ..Default::default() };
        assert!(found(&arm64).starts_with("not known: "));
    }

    #[test]
    fn the_default_number_of_vcpus_must_be_possible() {
        assert_eq!(vcpus(Some(&offer(vec![], 2))).status, Status::Ok);
        assert_eq!(vcpus(Some(&offer(vec![], 1))).status, Status::Failed);
        assert_eq!(vcpus(None).status, Status::Information);
    }
}
