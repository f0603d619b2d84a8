//! The arm64 machine: a board of the shape of QEMU's `virt`, with the PCI devices that EC2 shows on Graviton, and what
//! KVM is told of its CPUs and interrupt controllers.

mod cpus;
mod first;
mod gic;
mod registers;
mod virt;

use crate::MachineError;
use crate::kvm;
use crate::probe::Verdict;
use ami_run_memory::{Memory, Slot};
use ami_run_models::irq::Message;
use kvm_bindings::{
    KVM_ARM_IRQ_TYPE_SHIFT, KVM_ARM_IRQ_TYPE_SPI, KVM_CAP_ARM_NISV_TO_USER, KVM_MSI_VALID_DEVID,
    kvm_enable_cap, kvm_irq_routing_entry,
};
use kvm_ioctls::{Cap, Kvm, VcpuFd, VmFd};

pub(crate) use ami_run_firmware::aarch64::Board;
pub(crate) use ami_run_models::ged::Events as PowerButton;
pub(crate) use cpus::{CpuFacts, Cpus, Vcpus};
pub(crate) use first::{Bios, MOST_FIRMWARE, prepare_uefi, uefi_places};
pub(crate) use gic::missing_device;
pub(crate) use registers::{instruction_address, set_entry};
pub(crate) use virt::{build, ram};

/// What an arm64 machine needs of KVM. Doorbells without a length work without being told: only on x86 does KVM have
/// a quicker way for them, and a capability.
pub(crate) const NEEDED: [(Cap, &str); 3] = [
    (Cap::ArmPsci02, "KVM_CAP_ARM_PSCI_0_2"),
    (Cap::OneReg, "KVM_CAP_ONE_REG"),
    (Cap::DeviceCtrl, "KVM_CAP_DEVICE_CTRL"),
];

/// Of guest-physical addresses, where the host is not asked for more or fewer.
const USUAL_ADDRESS_BITS: u32 = 40;
/// Interrupts below this one are a CPU's own.
const FIRST_SPI: u32 = 32;

/// With as many address bits as the slots need: hosts differ in how many they have.
pub(crate) fn create_vm(kvm: &Kvm, slots: &[Slot]) -> Result<VmFd, MachineError> {
    let end = slots.iter().map(|slot| slot.gpa.saturating_add(slot.len)).max().unwrap_or(0);
    let needed = u64::BITS.saturating_sub(end.leading_zeros());
    let told = u32::try_from(kvm.check_extension_int(Cap::ArmVmIPASize)).unwrap_or(0);
    let most = if told == 0 { USUAL_ADDRESS_BITS } else { told };
    if needed > most {
        return Err(MachineError::AddressBits { needed, most });
    }
    // A host that does not tell how many it has has the usual, and takes no number.
    let bits = if told == 0 { 0 } else { needed.max(most.min(USUAL_ADDRESS_BITS)) };
    let vm = kvm.create_vm_with_ipa_size(bits).map_err(MachineError::call("KVM_CREATE_VM"))?;
    // Else KVM_RUN fails where an instruction cannot be taken apart, and does not say where. Older hosts do that.
    let told = vm.enable_cap(&kvm_enable_cap { cap: KVM_CAP_ARM_NISV_TO_USER, ..Default::default() });
    if let Err(cause) = told {
        log::debug!("KVM_CAP_ARM_NISV_TO_USER: {cause}");
    }
    Ok(vm)
}

/// Makes vCPUs and interrupt controllers: these want to know all CPUs.
pub(crate) fn equip(vm: &VmFd, cpus: &Cpus, count: u32) -> Result<Vcpus, MachineError> {
    let mut vcpus = cpus.create(vm, count)?;
    gic::create(vm)?;
    vcpus.start_counters()?;
    Ok(vcpus)
}

/// Lines need no route: they are set by number.
pub(crate) fn pins() -> Vec<kvm_irq_routing_entry> {
    Vec::new()
}

/// A GSI, which is the number of a shared peripheral interrupt, as KVM_IRQ_LINE takes it.
pub(crate) fn line(gsi: u32) -> u32 {
    KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | gsi.saturating_add(FIRST_SPI)
}

/// The ITS goes by who sends a message.
pub(crate) fn message_route(mut entry: kvm_irq_routing_entry, message: Message) -> kvm_irq_routing_entry {
    entry.flags = KVM_MSI_VALID_DEVID;
    entry.u.msi.__bindgen_anon_1.devid = message.requester.into();
    entry
}

/// There is nothing to tell it by, as a PC's clock has: the guest's counter went on, so that its time of day is right,
/// and the watchdogs of its kernel may complain.
pub(crate) fn excuse_the_pause(_: &VcpuFd, _: u32) {}

pub(crate) fn ram_slots(ram: &Memory) -> Vec<Slot> {
    ram.slots()
}

/// KVM on arm64 runs guests by the CPU or not at all; but what it runs them with is the host's hardware.
pub(crate) fn probe() -> Result<Verdict, MachineError> {
    let lacks = missing_device(&kvm::open()?);
    lacks.map_or(Ok(Verdict::Real), |name| Err(MachineError::Capability(name)))
}

/// There are no ports.
pub(crate) fn absent_port(_: u16) -> Option<&'static str> {
    None
}

/// What other boards of this shape have and this one leaves out.
pub(crate) fn absent_memory(_: u64) -> Option<&'static str> {
    None
}
