//! The PC's interrupt controllers and timer, which KVM models itself, and the vCPUs among them.

use super::cpuid::Supported;
use super::registers;
use crate::MachineError;
use crate::kvm::FIRST_MESSAGE_GSI;
use ami_run_memory::Slot;
use ami_run_models::irq::Message;
use kvm_bindings::{
    KVM_IRQ_ROUTING_IRQCHIP, KVM_IRQCHIP_IOAPIC, KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE,
    KVM_PIT_SPEAKER_DUMMY, kvm_irq_routing_entry, kvm_pit_config,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};

/// KVM's own pages: identity map, then three for the TSS. Below the firmware, above every BAR.
pub(super) const OWN_PAGES: (u64, u64) = (0xfeff_c000, 0x4000);

/// What a PC needs of KVM.
pub(crate) const NEEDED: [(Cap, &str); 3] = [
    (Cap::Irqchip, "KVM_CAP_IRQCHIP"),
    (Cap::Pit2, "KVM_CAP_PIT2"),
    (Cap::IoeventfdNoLength, "KVM_CAP_IOEVENTFD_NO_LENGTH"),
];

/// What is lacking that has no capability of its own: nothing.
pub(crate) fn missing_device(_: &Kvm) -> Option<&'static str> {
    None
}

pub(crate) fn create_vm(kvm: &Kvm, _: &[Slot]) -> Result<VmFd, MachineError> {
    kvm.create_vm().map_err(MachineError::call("KVM_CREATE_VM"))
}

/// What vCPUs can be here.
#[derive(Debug)]
pub(crate) struct Cpus(Supported);

impl Cpus {
    pub(crate) fn ask(kvm: &Kvm) -> Result<Cpus, MachineError> {
        Supported::ask(kvm).map(Cpus).map_err(MachineError::call("KVM_GET_SUPPORTED_CPUID"))
    }
}

/// What firmware is told of the vCPUs: their local APICs' ids.
#[derive(Debug)]
pub(crate) struct CpuFacts {
    pub(super) ids: Vec<u32>,
}

/// vCPUs in the state of reset, the boot CPU first.
#[derive(Debug)]
pub(crate) struct Vcpus {
    pub(crate) fds: Vec<VcpuFd>,
    pub(crate) facts: CpuFacts,
}

/// Makes interrupt controllers, timer and vCPUs.
pub(crate) fn equip(vm: &VmFd, cpus: &Cpus, count: u32) -> Result<Vcpus, MachineError> {
    let (own, _) = OWN_PAGES;
    vm.set_identity_map_address(own).map_err(MachineError::call("KVM_SET_IDENTITY_MAP_ADDR"))?;
    let tss = usize::try_from(own + 0x1000).unwrap_or(usize::MAX);
    vm.set_tss_address(tss).map_err(MachineError::call("KVM_SET_TSS_ADDR"))?;
    vm.create_irq_chip().map_err(MachineError::call("KVM_CREATE_IRQCHIP"))?;
    let pit = kvm_pit_config { flags: KVM_PIT_SPEAKER_DUMMY, ..kvm_pit_config::default() };
    vm.create_pit2(pit).map_err(MachineError::call("KVM_CREATE_PIT2"))?;
    let fds = (0..count).map(|id| vcpu(vm, cpus, id, count)).collect::<Result<_, _>>()?;
    Ok(Vcpus { fds, facts: CpuFacts { ids: (0..count).collect() } })
}

fn vcpu(vm: &VmFd, Cpus(supported): &Cpus, id: u32, count: u32) -> Result<VcpuFd, MachineError> {
    let fd = vm.create_vcpu(id.into()).map_err(MachineError::call("KVM_CREATE_VCPU"))?;
    let khz = fd.get_tsc_khz().ok().filter(|khz| *khz != 0);
    let leaves = supported.for_vcpu(id, count, khz).map_err(MachineError::call("KVM_SET_CPUID2"))?;
    fd.set_cpuid2(&leaves).map_err(MachineError::call("KVM_SET_CPUID2"))?;
    registers::set_reset_state(&fd)?;
    Ok(fd)
}

/// Tells the guest by its kvmclock that it did not run, so that its watchdogs do not complain.
pub(crate) fn excuse_the_pause(vcpu: &VcpuFd, id: u32) {
    // EINVAL: this vCPU's kernel does not use kvmclock, or not yet.
    if let Err(cause) = vcpu.kvmclock_ctrl()
        && cause.errno() != libc::EINVAL
    {
        log::debug!("vCPU {id}: KVM_KVMCLOCK_CTRL: {cause}");
    }
}

/// A GSI as KVM_IRQ_LINE takes it.
pub(crate) fn line(gsi: u32) -> u32 {
    gsi
}

/// What a PC's message needs beside address and data: nothing.
pub(crate) fn message_route(entry: kvm_irq_routing_entry, _: Message) -> kvm_irq_routing_entry {
    entry
}

/// Pins of PIC and IOAPIC by GSI. GSI 0, the timer, is pin 2 of the IOAPIC: the MADT and firmware say so too.
pub(crate) fn pins() -> Vec<kvm_irq_routing_entry> {
    let mut entries = Vec::new();
    for gsi in 0..FIRST_MESSAGE_GSI {
        if gsi < 16 && gsi != 2 {
            let chip = if gsi < 8 { KVM_IRQCHIP_PIC_MASTER } else { KVM_IRQCHIP_PIC_SLAVE };
            entries.push(pin(gsi, chip, gsi & 7));
        }
        match gsi {
            0 => entries.push(pin(0, KVM_IRQCHIP_IOAPIC, 2)),
            2 => (),
            _ => entries.push(pin(gsi, KVM_IRQCHIP_IOAPIC, gsi)),
        }
    }
    entries
}

fn pin(gsi: u32, irqchip: u32, pin: u32) -> kvm_irq_routing_entry {
    let mut entry = kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_IRQCHIP, ..Default::default() };
    entry.u.irqchip.irqchip = irqchip;
    entry.u.irqchip.pin = pin;
    entry
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_timer_is_pin_two_and_every_other_pin_its_gsi() {
        let io: Vec<(u32, u32)> = pins()
            .iter()
            .filter_map(|entry| {
                #[expect(unsafe_code, reason = "a union of plain numbers")]
                // SAFETY: every entry of `pins` is of the irqchip kind.
                let chip = unsafe { entry.u.irqchip };
                (chip.irqchip == KVM_IRQCHIP_IOAPIC).then_some((entry.gsi, chip.pin))
            })
            .collect();
        assert_eq!(io.len(), 23);
        assert!(io.contains(&(0, 2)) && io.contains(&(23, 23)) && !io.contains(&(2, 2)));
        assert_eq!(pins().len(), 23 + 15);
    }
}
