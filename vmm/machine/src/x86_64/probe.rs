//! Whether KVM really runs guest code at kernel level or only emulates it.
//!
//! Some hosts (virtual machines without nested virtualization) offer a complete /dev/kvm whose guests' kernels run
//! in an instruction emulator that knows only part of the instruction set. A guest of four instructions tells: it
//! loads a floating-point constant, which every real CPU does and that emulator does not.

use crate::MachineError;
use crate::exit::{self, Stop};
use crate::kvm::{self, Vm};
use crate::probe::Verdict;
use ami_run_memory::{Gpa, Memory, Range};

/// fninit; fld1; mov al, 'k'; out 0x80, al; then again for ever.
const PROGRAM: [u8; 10] = [0xdb, 0xe3, 0xd9, 0xe8, 0xb0, b'k', 0xe6, 0x80, 0xeb, 0xf6];
const PORT: u16 = 0x80;

pub(crate) fn probe() -> Result<Verdict, MachineError> {
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
