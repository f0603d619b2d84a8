//! The interrupt controllers: a GICv3 and its ITS, by which PCI devices send messages. KVM models both.

use super::virt::GIC;
use crate::MachineError;
use kvm_bindings::{
    KVM_DEV_ARM_VGIC_CTRL_INIT, KVM_DEV_ARM_VGIC_GRP_ADDR, KVM_DEV_ARM_VGIC_GRP_CTRL,
    KVM_DEV_ARM_VGIC_GRP_NR_IRQS, KVM_VGIC_ITS_ADDR_TYPE, KVM_VGIC_V3_ADDR_TYPE_DIST,
    KVM_VGIC_V3_ADDR_TYPE_REDIST, kvm_create_device, kvm_device_attr,
    kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_ITS, kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3,
};
use kvm_ioctls::{DeviceFd, Kvm, VmFd};

/// A CPU's own, and as many shared ones: the board has fewer.
const INTERRUPTS: u32 = 64;

/// What an arm64 machine needs and no capability tells: it is tried with a virtual machine that does nothing else.
pub(crate) fn missing_device(kvm: &Kvm) -> Option<&'static str> {
    // Not the usual virtual machine: hosts with fewer bits of address refuse that.
    let vm = super::create_vm(kvm, &[]).ok()?;
    [CONTROLLER, TRANSLATOR].into_iter().find_map(|kind| device(&vm, kind).is_err().then_some(kind.name))
}

/// A device that KVM models.
#[derive(Clone, Copy)]
struct Kind {
    number: u32,
    name: &'static str,
}

const CONTROLLER: Kind =
    Kind { number: kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_V3, name: "a GICv3 interrupt controller" };
const TRANSLATOR: Kind = Kind {
    number: kvm_device_type_KVM_DEV_TYPE_ARM_VGIC_ITS,
    name: "a GICv3's interrupt translation service (ITS)",
};

/// KVM's flag to only try is not used: kvm-ioctls takes what comes of it for a descriptor.
fn device(vm: &VmFd, kind: Kind) -> Result<DeviceFd, MachineError> {
    let made = vm.create_device(&mut kvm_create_device { type_: kind.number, fd: 0, flags: 0 });
    made.map_err(|cause| match cause.errno() {
        libc::ENODEV => MachineError::Capability(kind.name),
        _ => MachineError::Call { what: "KVM_CREATE_DEVICE", cause: cause.into() },
    })
}

fn set<T>(device: &DeviceFd, group: u32, attr: u32, value: Option<&T>) -> Result<(), MachineError> {
    let addr = value.map_or(0, |value| std::ptr::from_ref(value) as u64);
    device
        .set_device_attr(&kvm_device_attr { flags: 0, group, attr: attr.into(), addr })
        .map_err(MachineError::call("setting up the interrupt controller"))
}

/// After all vCPUs. The devices are the virtual machine's from now on.
pub(super) fn create(vm: &VmFd) -> Result<(), MachineError> {
    let gic = device(vm, CONTROLLER)?;
    let (group, redistributors) = (KVM_DEV_ARM_VGIC_GRP_ADDR, GIC.redistributors.start);
    set(&gic, group, KVM_VGIC_V3_ADDR_TYPE_DIST, Some(&GIC.distributor.start))?;
    set(&gic, group, KVM_VGIC_V3_ADDR_TYPE_REDIST, Some(&redistributors))?;
    set(&gic, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, Some(&INTERRUPTS))?;
    set::<u64>(&gic, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, None)?;
    let its = device(vm, TRANSLATOR)?;
    set(&its, group, KVM_VGIC_ITS_ADDR_TYPE, Some(&GIC.its.start))?;
    set::<u64>(&its, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_VGIC_CTRL_INIT, None)
}
