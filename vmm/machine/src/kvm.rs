//! KVM: one virtual machine, and its side of interrupts and doorbells.

use crate::{MAX_CPUS, MachineError, arch};
use ami_run_memory::Slot;
use ami_run_models::irq::{Bell, Doorbell, Hypervisor, Message, Vector};
use ami_run_models::trace::{Kinds, Trace};
use kvm_bindings::{
    KVM_IRQ_ROUTING_MSI, KVM_MEM_READONLY, KvmIrqRouting, kvm_irq_routing_entry, kvm_userspace_memory_region,
};
use kvm_ioctls::{Cap, IoEventAddress, Kvm, NoDatamatch, VmFd};
use parking_lot::Mutex;
use std::io;
use std::os::fd::{AsFd, FromRawFd, IntoRawFd};
use std::sync::Arc;
use vmm_sys_util::eventfd::{EFD_CLOEXEC, EFD_NONBLOCK, EventFd};

/// GSIs below are lines.
pub(crate) const FIRST_MESSAGE_GSI: u32 = 24;

/// The one version of KVM's interface.
const VERSION: i32 = 12;

/// What every machine needs of it, whatever its architecture.
const NEEDED: [(Cap, &str); 6] = [
    (Cap::UserMemory, "KVM_CAP_USER_MEMORY"),
    (Cap::ReadonlyMem, "KVM_CAP_READONLY_MEM"),
    (Cap::IrqRouting, "KVM_CAP_IRQ_ROUTING"),
    (Cap::Irqfd, "KVM_CAP_IRQFD"),
    (Cap::Ioeventfd, "KVM_CAP_IOEVENTFD"),
    (Cap::ImmediateExit, "KVM_CAP_IMMEDIATE_EXIT"),
];

/// Opens /dev/kvm and checks what every machine needs.
pub(crate) fn open() -> Result<Kvm, MachineError> {
    let kvm = open_unchecked()?;
    let lacks = missing(&kvm).next();
    lacks.map_or(Ok(kvm), |name| Err(MachineError::Capability(name)))
}

/// Opens /dev/kvm, whatever it can do.
pub(crate) fn open_unchecked() -> Result<Kvm, MachineError> {
    Kvm::new().map_err(|cause| match cause.errno() {
        libc::ENOENT | libc::ENODEV | libc::ENXIO => MachineError::NoKvm,
        libc::EACCES | libc::EPERM => MachineError::KvmPermission,
        _ => MachineError::Kvm(cause.into()),
    })
}

/// What a machine needs and this KVM says that it lacks.
pub(crate) fn missing(kvm: &Kvm) -> impl Iterator<Item = &'static str> {
    let version = (kvm.get_api_version() != VERSION).then_some("version 12 of its interface");
    let lacks = |(cap, name)| (!kvm.check_extension(cap)).then_some(name);
    let capabilities = NEEDED.into_iter().chain(arch::NEEDED).filter_map(lacks);
    version.into_iter().chain(capabilities)
}

/// The most vCPUs that a machine can have here.
pub(crate) fn most_cpus(kvm: &Kvm) -> u32 {
    u32::try_from(kvm.get_max_vcpus()).unwrap_or(MAX_CPUS).min(MAX_CPUS)
}

/// A virtual machine with memory and interrupt controllers, without vCPUs.
#[derive(Debug)]
pub(crate) struct Vm {
    fd: VmFd,
    routes: Mutex<Routes>,
    trace: Option<Arc<Trace>>,
}

#[derive(Debug)]
struct Routes {
    next: u32,
    entries: Vec<kvm_irq_routing_entry>,
}

impl Vm {
    /// Memory and nothing else.
    pub(crate) fn bare(kvm: &Kvm, slots: &[Slot]) -> Result<VmFd, MachineError> {
        let fd = arch::create_vm(kvm, slots)?;
        for (number, slot) in (0..).zip(slots) {
            set_slot(&fd, number, slot)?;
        }
        Ok(fd)
    }

    /// Memory comes first: setting it once a PIT or a vCPU is there waits for a grace period of the host's.
    pub(crate) fn new(
        kvm: &Kvm,
        cpus: &arch::Cpus,
        count: u32,
        slots: &[Slot],
        trace: Option<Arc<Trace>>,
    ) -> Result<(Vm, arch::Vcpus), MachineError> {
        let fd = Vm::bare(kvm, slots)?;
        let vcpus = arch::equip(&fd, cpus, count)?;
        let vm =
            Vm { fd, routes: Mutex::new(Routes { next: FIRST_MESSAGE_GSI, entries: arch::pins() }), trace };
        vm.write_routes(&vm.routes.lock().entries)
            .map_err(|cause| MachineError::Call { what: "KVM_SET_GSI_ROUTING", cause })?;
        Ok((vm, vcpus))
    }

    /// Takes a slot out of the guest's map, or puts it back: a live one cannot change its kind.
    pub(crate) fn change_slot(&self, number: u32, slot: Option<&Slot>) -> Result<(), MachineError> {
        match slot {
            Some(slot) => set_slot(&self.fd, number, slot),
            None => set_slot(&self.fd, number, &Slot { gpa: 0, len: 0, host: 0, read_only: false }),
        }
    }

    pub(crate) fn run_size(&self) -> usize {
        self.fd.run_size()
    }

    fn write_routes(&self, entries: &[kvm_irq_routing_entry]) -> io::Result<()> {
        let table = KvmIrqRouting::from_entries(entries)
            .map_err(|_| io::Error::other("too many interrupt routes"))?;
        Ok(self.fd.set_gsi_routing(&table)?)
    }
}

#[expect(unsafe_code, reason = "KVM maps memory that this process owns")]
fn set_slot(fd: &VmFd, number: u32, slot: &Slot) -> Result<(), MachineError> {
    let region = kvm_userspace_memory_region {
        slot: number,
        flags: if slot.read_only { KVM_MEM_READONLY } else { 0 },
        guest_phys_addr: slot.gpa,
        memory_size: slot.len,
        userspace_addr: slot.host,
    };
    // SAFETY: the range is mapped by Memory or Rom, which the machine keeps for longer than the VM.
    let result = unsafe { fd.set_user_memory_region(region) };
    result.map_err(MachineError::call("KVM_SET_USER_MEMORY_REGION"))
}

fn message_entry(gsi: u32, message: Message) -> kvm_irq_routing_entry {
    let mut entry = kvm_irq_routing_entry { gsi, type_: KVM_IRQ_ROUTING_MSI, ..Default::default() };
    let [a0, a1, a2, a3, a4, a5, a6, a7] = message.address.to_le_bytes();
    entry.u.msi.address_lo = u32::from_le_bytes([a0, a1, a2, a3]);
    entry.u.msi.address_hi = u32::from_le_bytes([a4, a5, a6, a7]);
    entry.u.msi.data = message.data;
    entry
}

/// The bell as kvm-ioctls takes events: another descriptor of the same one, for the time of a call.
#[expect(unsafe_code, reason = "an event from its descriptor")]
fn event(bell: &Bell) -> io::Result<EventFd> {
    let descriptor = bell.as_fd().try_clone_to_owned()?.into_raw_fd();
    // SAFETY: it is open, an eventfd, and this process's alone to close.
    Ok(unsafe { EventFd::from_raw_fd(descriptor) })
}

impl Hypervisor for Vm {
    fn set_line(&self, gsi: u32, level: bool) {
        if let Some(trace) = &self.trace {
            trace.line(Kinds::IRQ, format_args!("line {gsi} {}", u8::from(level)));
        }
        if let Err(cause) = self.fd.set_irq_line(arch::line(gsi), level) {
            log::error!("interrupt line {gsi}: {cause}");
        }
    }

    fn new_vector(&self) -> io::Result<Vector> {
        let event = EventFd::new(EFD_NONBLOCK | EFD_CLOEXEC)?;
        let mut routes = self.routes.lock();
        let gsi = routes.next;
        self.fd.register_irqfd(&event, gsi)?;
        routes.next += 1;
        Ok(Vector { gsi, event })
    }

    fn set_message(&self, gsi: u32, message: Message) -> io::Result<()> {
        if let Some(trace) = &self.trace {
            let Message { address, data, .. } = message;
            trace.line(Kinds::IRQ, format_args!("route {gsi} to {address:#x} {data:#x}"));
        }
        let entry = arch::message_route(message_entry(gsi, message), message);
        let mut routes = self.routes.lock();
        let others = routes.entries.iter().filter(|other| other.gsi != gsi).copied();
        let entries: Vec<_> = others.chain([entry]).collect();
        self.write_routes(&entries)?;
        // What KVM refused would have it refuse all that come after.
        routes.entries = entries;
        Ok(())
    }

    fn attach_doorbell(&self, bell: &Doorbell) -> io::Result<()> {
        Ok(self.fd.register_ioevent(&event(&bell.bell)?, &IoEventAddress::Mmio(bell.address), NoDatamatch)?)
    }

    fn detach_doorbell(&self, bell: &Doorbell) -> io::Result<()> {
        Ok(self.fd.unregister_ioevent(
            &event(&bell.bell)?,
            &IoEventAddress::Mmio(bell.address),
            NoDatamatch,
        )?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_message_that_kvm_refuses_is_nobody_else_s_loss() {
        let made = open().and_then(|kvm| Vm::new(&kvm, &arch::Cpus::ask(&kvm)?, 1, &[], None));
        let (vm, _vcpus) = match made {
            Ok(made) => made,
            Err(why) => {
                let mut uncaptured = io::stderr();
                return writeln!(uncaptured, "skipped: routes of messages: {why}").unwrap();
            }
        };
        let message = Message { address: 0xfee0_0000, data: 0x41, ..Message::default() };
        vm.set_message(FIRST_MESSAGE_GSI, message).unwrap();
        vm.set_message(u32::MAX, message).unwrap_err();
        vm.set_message(FIRST_MESSAGE_GSI + 1, message).unwrap();
        assert_eq!(vm.routes.lock().entries.len(), arch::pins().len() + 2);
    }
}
