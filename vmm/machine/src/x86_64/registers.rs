//! What a vCPU's registers hold before its first instruction.
//!
//! A new vCPU of KVM's is in the state of reset already; only what firmware expects beyond it is set, and the
//! entry of a kernel that is started without firmware.

use crate::MachineError;
use ami_run_firmware::direct::{Entry, Segment};
use kvm_bindings::{Msrs, kvm_msr_entry, kvm_regs, kvm_segment};
use kvm_ioctls::VcpuFd;

/// IA32_MISC_ENABLE, whose bit 0 says that string instructions are fast.
const MISC_ENABLE: u32 = 0x1a0;

pub(crate) fn set_reset_state(vcpu: &VcpuFd) -> Result<(), MachineError> {
    let entry = kvm_msr_entry { index: MISC_ENABLE, data: 1, ..Default::default() };
    let list = Msrs::from_entries(&[entry]).map_err(|cause| MachineError::Bug(format!("{cause:?}")))?;
    // A host that does not know the register leaves it: guests only copy more slowly then.
    vcpu.set_msrs(&list).map_err(MachineError::call("KVM_SET_MSRS"))?;
    Ok(())
}

/// The state in which a kernel wants to be started.
pub(crate) fn set_entry(vcpu: &VcpuFd, entry: &Entry) -> Result<(), MachineError> {
    let mut special = vcpu.get_sregs().map_err(MachineError::call("KVM_GET_SREGS"))?;
    let from = &entry.registers;
    (special.cr0, special.cr3, special.cr4, special.efer) = (from.cr0, from.cr3, from.cr4, from.efer);
    special.cs = segment(entry.code);
    for data in [&mut special.ds, &mut special.es, &mut special.fs, &mut special.gs, &mut special.ss] {
        *data = segment(entry.data);
    }
    special.tr = segment(entry.task);
    (special.gdt.base, special.gdt.limit) = (entry.gdt.base, entry.gdt.limit);
    (special.idt.base, special.idt.limit) = (entry.idt.base, entry.idt.limit);
    vcpu.set_sregs(&special).map_err(MachineError::call("KVM_SET_SREGS"))?;
    let general = kvm_regs {
        rip: from.rip,
        rsp: from.rsp,
        rbx: from.rbx,
        rsi: from.rsi,
        rflags: from.rflags,
        ..kvm_regs::default()
    };
    vcpu.set_regs(&general).map_err(MachineError::call("KVM_SET_REGS"))
}

/// Where the vCPU is.
pub(crate) fn instruction_address(vcpu: &VcpuFd) -> Option<u64> {
    vcpu.get_regs().ok().map(|registers| registers.rip)
}

fn segment(from: Segment) -> kvm_segment {
    let Segment { base, limit, selector, type_, s, dpl, present, db, l, g } = from;
    kvm_segment { base, limit, selector, type_, s, dpl, present, db, l, g, ..kvm_segment::default() }
}
