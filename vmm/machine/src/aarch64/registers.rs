//! What a vCPU's registers hold before its first instruction. A new vCPU of KVM's is in the state of reset already, with
//! its first instruction at 0; only the entry of a kernel that is started without firmware is set.

use crate::MachineError;
use ami_run_firmware::direct::Entry;
use kvm_bindings::{
    KVM_REG_ARM_CORE, KVM_REG_ARM64, KVM_REG_ARM64_SYSREG, KVM_REG_SIZE_U64, kvm_regs, user_pt_regs,
};
use kvm_ioctls::VcpuFd;
use std::mem::offset_of;

/// Affinity 3 to 0: the rest says what kind of number it is (Arm ARM, MPIDR_EL1).
const AFFINITY: u64 = 0xff_00ff_ffff;
/// MPIDR_EL1: op0 3, CRm 0, op2 5.
const MPIDR: u64 = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM64_SYSREG as u64 | 3 << 14 | 5;
const X0: u64 = core(offset_of!(kvm_regs, regs) + offset_of!(user_pt_regs, regs));
const PC: u64 = core(offset_of!(kvm_regs, regs) + offset_of!(user_pt_regs, pc));

/// The id of a register at an offset of `kvm_regs`, which counts in 32-bit words.
const fn core(offset: usize) -> u64 {
    KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE as u64 | (offset / 4) as u64
}

fn get(vcpu: &VcpuFd, register: u64) -> Result<u64, MachineError> {
    let mut bytes = [0; 8];
    vcpu.get_one_reg(register, &mut bytes).map_err(MachineError::call("KVM_GET_ONE_REG"))?;
    Ok(u64::from_le_bytes(bytes))
}

/// The vCPU's number as the guest sees it.
pub(super) fn affinity(vcpu: &VcpuFd) -> Result<u64, MachineError> {
    get(vcpu, MPIDR).map(|mpidr| mpidr & AFFINITY)
}

/// Where the vCPU is.
pub(crate) fn instruction_address(vcpu: &VcpuFd) -> Option<u64> {
    get(vcpu, PC).ok()
}

/// The state in which a kernel wants to be started.
pub(crate) fn set_entry(vcpu: &VcpuFd, entry: &Entry) -> Result<(), MachineError> {
    for (register, value) in [(X0, entry.x0), (PC, entry.pc)] {
        vcpu.set_one_reg(register, &value.to_le_bytes()).map_err(MachineError::call("KVM_SET_ONE_REG"))?;
    }
    Ok(())
}
