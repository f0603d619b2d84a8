//! What this host's KVM offers, and whether it really runs guest code at kernel level or only emulates it.
//!
//! Some hosts (virtual machines without nested virtualization) offer a complete /dev/kvm whose guests' kernels run
//! in an instruction emulator that knows only part of the instruction set. A guest of four instructions tells: it
//! loads a floating-point constant, which every real CPU does and that emulator does not.

use crate::exit::{self, Stop};
use crate::kvm;
use crate::{MachineError, kvm::Vm};
use ami_run_memory::{Gpa, Memory, Range};

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
    let missing = kvm::missing(&kvm).collect();
    Ok(Offer { missing, recommended_cpus: kvm.get_nr_vcpus(), most_cpus: kvm::most_cpus(&kvm) })
}

/// fninit; fld1; mov al, 'k'; out 0x80, al; then again for ever.
const PROGRAM: [u8; 10] = [0xdb, 0xe3, 0xd9, 0xe8, 0xb0, b'k', 0xe6, 0x80, 0xeb, 0xf6];
const PORT: u16 = 0x80;

pub fn probe() -> Result<Verdict, MachineError> {
    let kvm = kvm::open()?;
    let memory = Memory::new(&[Range::new(0, 0x1000)])?;
    memory.write(Gpa(0), &PROGRAM)?;
    let vm = Vm::bare(&kvm, &memory.slots())?;
    let mut vcpu = vm.create_vcpu(0).map_err(MachineError::call("KVM_CREATE_VCPU"))?;
    let mut segments = vcpu.get_sregs().map_err(MachineError::call("KVM_GET_SREGS"))?;
    (segments.cs.base, segments.cs.selector) = (0, 0);
    vcpu.set_sregs(&segments).map_err(MachineError::call("KVM_SET_SREGS"))?;
    let mut registers = vcpu.get_regs().map_err(MachineError::call("KVM_GET_REGS"))?;
    (registers.rip, registers.rflags) = (0, 2);
    vcpu.set_regs(&registers).map_err(MachineError::call("KVM_SET_REGS"))?;
    loop {
        match exit::run(&mut vcpu, vm.run_size()) {
            Ok(Stop::PortWrite { port: PORT, .. }) => return Ok(Verdict::Real),
            Ok(Stop::Internal { .. }) => return Ok(Verdict::Emulated),
            Ok(Stop::Interrupted) => (),
            Ok(other) => return Err(MachineError::Bug(format!("the KVM probe stopped by {other:?}"))),
            Err(cause) => return Err(MachineError::Call { what: "KVM_RUN", cause }),
        }
    }
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
