//! What a vCPU stops for, decoded from KVM's run page (Linux Documentation/virt/kvm/api.rst, section 5).
//!
//! kvm-ioctls' own VcpuExit is not used: it drops the width of port accesses, which string instructions need, and
//! the reason and bytes of an emulation failure.
#![expect(unsafe_code, reason = "the run page holds unions, and port data beyond its own struct")]

use kvm_bindings::{
    KVM_EXIT_ARM_NISV, KVM_EXIT_FAIL_ENTRY, KVM_EXIT_HLT, KVM_EXIT_INTERNAL_ERROR, KVM_EXIT_INTR,
    KVM_EXIT_IO, KVM_EXIT_IO_OUT, KVM_EXIT_MMIO, KVM_EXIT_SHUTDOWN, KVM_EXIT_SYSTEM_EVENT,
    KVM_INTERNAL_ERROR_EMULATION, KVM_SYSTEM_EVENT_RESET, KVM_SYSTEM_EVENT_SHUTDOWN, kvm_run,
};
use kvm_ioctls::VcpuFd;
use std::fmt;
use std::io;

/// How a machine's life ended.
#[derive(Debug)]
pub enum Exit {
    /// The guest switched itself off.
    PoweredOff,
    /// [`crate::Handle::stop`] was called.
    Stopped,
    /// The guest's CPU shut down, and did so again soon after its reset.
    TripleFault,
    /// The host's KVM could not run an instruction of the guest.
    Emulation(EmulationFailure),
}

/// What KVM could not run, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EmulationFailure {
    pub cpu: u32,
    pub address: u64,
    pub instruction: Vec<u8>,
    pub why: EmulationProblem,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EmulationProblem {
    /// KVM's number for the kind of failure.
    Internal(u32),
    /// The instruction meant a device at this address, and the CPU does not tell what it does there: it moves more
    /// than one register, or its base register too (Arm ARM, ESR_ELx.ISS.ISV).
    Access(u64),
}

impl fmt::Display for EmulationFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let EmulationFailure { cpu, address, instruction, why } = self;
        write!(f, "vCPU {cpu} at {address:#x}")?;
        if !instruction.is_empty() {
            f.write_str(", bytes")?;
            for byte in instruction {
                write!(f, " {byte:02x}")?;
            }
        }
        match why {
            EmulationProblem::Internal(code) => write!(f, " (KVM's internal error {code})"),
            EmulationProblem::Access(to) => {
                write!(
                    f,
                    ", an access to the device address {to:#x} by an instruction that no device can answer"
                )
            }
        }
    }
}

/// One stop of a vCPU.
#[derive(Debug)]
pub(crate) enum Stop<'a> {
    PortRead {
        port: u16,
        size: usize,
        data: &'a mut [u8],
    },
    PortWrite {
        port: u16,
        size: usize,
        data: &'a [u8],
    },
    MemoryRead {
        address: u64,
        data: &'a mut [u8],
    },
    MemoryWrite {
        address: u64,
        data: &'a [u8],
    },
    /// A signal asked for attention, or nothing happened.
    Interrupted,
    Halted,
    Shutdown,
    /// The guest asked its hypervisor for it (Arm DEN 0022, SYSTEM_OFF and SYSTEM_RESET).
    PowerOff,
    Reset,
    /// KVM cannot tell what an instruction does at this address.
    Undecoded {
        address: u64,
    },
    /// KVM gave up, with its code and the instruction's bytes.
    Internal {
        code: u32,
        instruction: Vec<u8>,
    },
    FailedEntry {
        reason: u64,
    },
    Unknown(u32),
}

/// Runs the vCPU until it stops.
pub(crate) fn run(vcpu: &mut VcpuFd, run_size: usize) -> io::Result<Stop<'_>> {
    match vcpu.run() {
        Ok(_) => (),
        Err(cause) if matches!(cause.errno(), libc::EINTR | libc::EAGAIN) => return Ok(Stop::Interrupted),
        Err(cause) => return Err(cause.into()),
    }
    let page = vcpu.get_kvm_run();
    Ok(match page.exit_reason {
        KVM_EXIT_IO => port(page, run_size),
        KVM_EXIT_MMIO => memory(page),
        KVM_EXIT_INTR => Stop::Interrupted,
        KVM_EXIT_HLT => Stop::Halted,
        KVM_EXIT_SHUTDOWN => Stop::Shutdown,
        KVM_EXIT_SYSTEM_EVENT => system(page),
        KVM_EXIT_ARM_NISV => {
            // SAFETY: the exit reason says that this member of the union was written.
            let access = unsafe { page.__bindgen_anon_1.arm_nisv };
            Stop::Undecoded { address: access.fault_ipa }
        }
        KVM_EXIT_INTERNAL_ERROR => internal(page),
        KVM_EXIT_FAIL_ENTRY => {
            // SAFETY: the exit reason says that this member of the union was written.
            let entry = unsafe { page.__bindgen_anon_1.fail_entry };
            Stop::FailedEntry { reason: entry.hardware_entry_failure_reason }
        }
        other => Stop::Unknown(other),
    })
}

fn port(page: &mut kvm_run, run_size: usize) -> Stop<'_> {
    // SAFETY: the exit reason says that this member of the union was written.
    let io = unsafe { page.__bindgen_anon_1.io };
    let size = usize::from(io.size);
    let len = size.saturating_mul(usize::try_from(io.count).unwrap_or(usize::MAX));
    let offset = usize::try_from(io.data_offset).unwrap_or(usize::MAX);
    if size == 0 || offset.saturating_add(len) > run_size {
        return Stop::Unknown(KVM_EXIT_IO);
    }
    // SAFETY: offset + len lies in the mapping of `run_size` bytes that begins at the page, checked above.
    let start = unsafe { std::ptr::from_mut(page).cast::<u8>().add(offset) };
    // SAFETY: the bytes are in that mapping, which the vCPU's exclusive borrow keeps alive and unshared.
    let data = unsafe { std::slice::from_raw_parts_mut(start, len) };
    if u32::from(io.direction) == KVM_EXIT_IO_OUT {
        Stop::PortWrite { port: io.port, size, data }
    } else {
        Stop::PortRead { port: io.port, size, data }
    }
}

fn memory(page: &mut kvm_run) -> Stop<'_> {
    // SAFETY: the exit reason says that this member of the union was written.
    let mmio = unsafe { &mut page.__bindgen_anon_1.mmio };
    let len = usize::try_from(mmio.len).unwrap_or(usize::MAX).min(mmio.data.len());
    let (address, write) = (mmio.phys_addr, mmio.is_write != 0);
    let data = mmio.data.get_mut(..len).unwrap_or_default();
    if write { Stop::MemoryWrite { address, data } } else { Stop::MemoryRead { address, data } }
}

fn system(page: &kvm_run) -> Stop<'_> {
    // SAFETY: the exit reason says that this member of the union was written.
    match unsafe { page.__bindgen_anon_1.system_event.type_ } {
        KVM_SYSTEM_EVENT_SHUTDOWN => Stop::PowerOff,
        KVM_SYSTEM_EVENT_RESET => Stop::Reset,
        _ => Stop::Unknown(KVM_EXIT_SYSTEM_EVENT),
    }
}

fn internal(page: &kvm_run) -> Stop<'_> {
    // SAFETY: the exit reason says that this member of the union was written.
    let error = unsafe { page.__bindgen_anon_1.internal };
    let code = error.suberror;
    // With emulation failures the first word is flags (bit 0: instruction bytes follow), then size and bytes.
    let [flags, rest @ ..] = error.data;
    let mut instruction = Vec::new();
    if code == KVM_INTERNAL_ERROR_EMULATION && error.ndata >= 3 && flags & 1 != 0 {
        let mut bytes = rest.iter().flat_map(|word| word.to_le_bytes());
        let size = usize::from(bytes.next().unwrap_or(0)).min(15);
        instruction = bytes.take(size).collect();
    }
    Stop::Internal { code, instruction }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_emulation_failure_is_told_with_its_bytes() {
        let why = EmulationProblem::Internal(1);
        let mut failure = EmulationFailure { cpu: 1, address: 0x1000, instruction: vec![0xd9, 0xe8], why };
        assert_eq!(failure.to_string(), "vCPU 1 at 0x1000, bytes d9 e8 (KVM's internal error 1)");
        (failure.instruction, failure.why) = (Vec::new(), EmulationProblem::Access(0x900_0000));
        let expected = "vCPU 1 at 0x1000, an access to the device address 0x9000000 by an instruction that no device \
                        can answer";
        assert_eq!(failure.to_string(), expected);
    }
}
