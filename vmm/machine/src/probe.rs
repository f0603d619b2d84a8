//! What this host's KVM offers, and whether it really runs guest code at kernel level or only emulates it.

use crate::{MachineError, arch, kvm};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// A kernel can run.
    Real,
    /// A kernel will fail.
    Emulated,
}

/// What /dev/kvm offers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Offer {
    /// What a machine needs and this KVM lacks.
    pub missing: Vec<&'static str>,
    /// The vCPUs of a machine that KVM finds reasonable here: as many as there are CPUs.
    pub recommended_cpus: usize,
    /// The most vCPUs that a machine can have here.
    pub most_cpus: u32,
}

/// Asks /dev/kvm what it offers.
pub fn offer() -> Result<Offer, MachineError> {
    let kvm = kvm::open_unchecked()?;
    let missing = kvm::missing(&kvm).chain(arch::missing_device(&kvm)).collect();
    Ok(Offer { missing, recommended_cpus: kvm.get_nr_vcpus(), most_cpus: kvm::most_cpus(&kvm) })
}

/// Tries what this host's KVM really is.
pub fn probe() -> Result<Verdict, MachineError> {
    arch::probe()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_kvm_that_machines_run_on_lacks_nothing() {
        match (kvm::open(), offer()) {
            (Ok(_), Ok(offer)) => {
                assert_eq!(offer.missing, [""; 0]);
                assert!((1..=crate::MAX_CPUS).contains(&offer.most_cpus), "{offer:?}");
                assert!(offer.recommended_cpus >= 1, "{offer:?}");
            }
            (Err(MachineError::Capability(name)), Ok(offer)) => {
                assert_eq!(offer.missing.first(), Some(&name));
            }
            (Err(why), Err(_)) => {
                let mut uncaptured = std::io::stderr();
                writeln!(uncaptured, "skipped: what KVM offers: {why}").unwrap();
            }
            (opened, offer) => panic!("{:?} but {offer:?}", opened.err()),
        }
    }

    /// Which of the two is right depends on the host; that it is steady does not.
    #[test]
    fn the_verdict_is_steady() {
        match probe() {
            Ok(first) => assert_eq!(probe().unwrap(), first),
            Err(why) => {
                let mut uncaptured = std::io::stderr();
                writeln!(uncaptured, "skipped: the probe: {why}").unwrap();
            }
        }
    }
}
