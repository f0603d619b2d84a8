//! vCPUs: the host's features as KVM offers them, PSCI to start and stop them, performance counters where the host has
//! them.
//!
//! Left out: guests of 32 bits, nested virtualization, and features that a guest may be denied: an instance has the
//! host's CPU.

use super::registers;
use crate::MachineError;
use kvm_bindings::{
    KVM_ARM_VCPU_PMU_V3, KVM_ARM_VCPU_PMU_V3_CTRL, KVM_ARM_VCPU_PMU_V3_INIT, KVM_ARM_VCPU_PMU_V3_IRQ,
    KVM_ARM_VCPU_POWER_OFF, KVM_ARM_VCPU_PSCI_0_2, KVM_ARM_VCPU_PTRAUTH_ADDRESS,
    KVM_ARM_VCPU_PTRAUTH_GENERIC, KVM_ARM_VCPU_SVE, kvm_device_attr, kvm_vcpu_init,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};

/// The counters' interrupt, a CPU's own (Arm BSA 1.0, B_PPI_02), as the tables tell it.
const COUNTERS_INTERRUPT: u32 = 23;

/// What vCPUs can be here: bits of features.
#[derive(Debug)]
pub(crate) struct Cpus {
    features: u32,
}

/// What firmware is told of the vCPUs.
#[derive(Debug)]
pub(crate) struct CpuFacts {
    /// The affinity fields of their MPIDR_EL1.
    pub(super) ids: Vec<u64>,
    /// They have performance counters.
    pub(super) counters: bool,
}

/// vCPUs in the state of reset, all but the boot CPU, the first, off.
#[derive(Debug)]
pub(crate) struct Vcpus {
    pub(crate) fds: Vec<VcpuFd>,
    pub(crate) facts: CpuFacts,
}

impl Cpus {
    pub(crate) fn ask(kvm: &Kvm) -> Result<Cpus, MachineError> {
        let has = |cap| kvm.check_extension(cap);
        let mut features = 1 << KVM_ARM_VCPU_PSCI_0_2;
        let mut add = |wanted: bool, bits: &[u32]| {
            if wanted {
                bits.iter().for_each(|bit| features |= 1 << bit);
            }
        };
        add(has(Cap::ArmPmuV3), &[KVM_ARM_VCPU_PMU_V3]);
        add(has(Cap::ArmSve), &[KVM_ARM_VCPU_SVE]);
        // The one is not offered without the other.
        let authentication = has(Cap::ArmPtrAuthAddress) && has(Cap::ArmPtrAuthGeneric);
        add(authentication, &[KVM_ARM_VCPU_PTRAUTH_ADDRESS, KVM_ARM_VCPU_PTRAUTH_GENERIC]);
        Ok(Cpus { features })
    }

    fn has(&self, feature: u32) -> bool {
        self.features & 1 << feature != 0
    }

    pub(super) fn create(&self, vm: &VmFd, count: u32) -> Result<Vcpus, MachineError> {
        let mut kind = kvm_vcpu_init::default();
        vm.get_preferred_target(&mut kind).map_err(MachineError::call("KVM_ARM_PREFERRED_TARGET"))?;
        let mut fds = Vec::new();
        for id in 0..count {
            let fd = vm.create_vcpu(id.into()).map_err(MachineError::call("KVM_CREATE_VCPU"))?;
            // The guest starts the others by PSCI.
            let off = u32::from(id != 0) << KVM_ARM_VCPU_POWER_OFF;
            if let Some(features) = kind.features.first_mut() {
                *features = self.features | off;
            }
            fd.vcpu_init(&kind).map_err(MachineError::call("KVM_ARM_VCPU_INIT"))?;
            if self.has(KVM_ARM_VCPU_SVE) {
                let feature = libc::c_int::try_from(KVM_ARM_VCPU_SVE).unwrap_or_default();
                fd.vcpu_finalize(&feature).map_err(MachineError::call("KVM_ARM_VCPU_FINALIZE"))?;
            }
            fds.push(fd);
        }
        let ids = fds.iter().map(registers::affinity).collect::<Result<_, _>>()?;
        Ok(Vcpus { fds, facts: CpuFacts { ids, counters: self.has(KVM_ARM_VCPU_PMU_V3) } })
    }
}

impl Vcpus {
    /// After the interrupt controller is there, which the counters interrupt by.
    pub(super) fn start_counters(&mut self) -> Result<(), MachineError> {
        if !self.facts.counters {
            return Ok(());
        }
        let number = COUNTERS_INTERRUPT;
        let interrupt = std::ptr::from_ref(&number) as u64;
        for fd in &self.fds {
            for (attr, addr) in [(KVM_ARM_VCPU_PMU_V3_IRQ, interrupt), (KVM_ARM_VCPU_PMU_V3_INIT, 0)] {
                let group = KVM_ARM_VCPU_PMU_V3_CTRL;
                fd.set_device_attr(&kvm_device_attr { flags: 0, group, attr: attr.into(), addr })
                    .map_err(MachineError::call("setting up the performance counters"))?;
            }
        }
        Ok(())
    }
}
