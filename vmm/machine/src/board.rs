//! What every board has: what it is connected to, and the functions on its PCI bus that make it an EC2 instance.
//!
//! Slots are EC2's: the root volume in 4, the network in 5, further volumes from 6 up, instance store from 31 down.

use crate::first::First;
use crate::flash::FlashDevice;
use crate::kvm::Vm;
use crate::{Handle, MachineError, Network, Spec, arch, disks};
use ami_run_firmware::board::{PciAddress, PciFunction, PciKind};
use ami_run_memory::{Memory, Range};
use ami_run_models::bus::Bus;
use ami_run_models::fw_cfg::{FwCfg, Items};
use ami_run_models::gate::Gate;
use ami_run_models::irq::{Hypervisor, Lines};
use ami_run_models::pci::{Address, Function, Wiring};
use ami_run_models::virtio::{Net, Rng, Transport};
use std::sync::Arc;

/// As on EC2: between the root volume and the others.
const NETWORK: Address = Address { slot: 5, function: 0 };

/// A board with its devices.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) board: arch::Board,
    /// I/O ports: none where the architecture has none.
    pub(crate) ports: Bus,
    pub(crate) memory: Bus,
    pub(crate) power: Arc<arch::PowerButton>,
}

/// What a new board is connected to; all but the virtual machine and the gate outlive a reset.
#[derive(Debug)]
pub(crate) struct Outside<'a> {
    pub(crate) vm: &'a Arc<Vm>,
    pub(crate) cpus: &'a arch::CpuFacts,
    pub(crate) spec: &'a Spec,
    pub(crate) first: &'a First,
    pub(crate) ram: &'a Memory,
    pub(crate) handle: &'a Handle,
    /// The number of the slot in which the guest reads UEFI's variables.
    pub(crate) variables_slot: u32,
    pub(crate) gate: &'a Arc<Gate>,
}

impl Outside<'_> {
    /// What a PCI function is wired to.
    pub(crate) fn wiring(&self, lines: &Arc<Lines>) -> Wiring {
        Wiring {
            memory: self.ram.clone(),
            hypervisor: Arc::clone(self.vm) as Arc<dyn Hypervisor>,
            lines: Arc::clone(lines),
            gate: Arc::clone(self.gate),
            trace: self.spec.trace.clone(),
            stages: None,
        }
    }

    /// The device through which firmware learns of the machine.
    pub(crate) fn fw_cfg(&self, items: Items) -> FwCfg {
        FwCfg::new(items, self.ram.clone(), self.spec.trace.clone()).watched(&self.handle.stages)
    }

    /// Puts UEFI's variables where the guest writes to them.
    pub(crate) fn add_variables(&self, memory: &mut Bus) -> Result<(), MachineError> {
        let Some((variables, slot)) = self.first.variables().and_then(|all| Some((all, all.slot()?))) else {
            return Ok(());
        };
        let device = FlashDevice::new(Arc::clone(variables), Arc::clone(self.vm), self.variables_slot);
        Ok(memory.add(Range::new(slot.gpa, slot.len), Arc::new(device))?)
    }
}

/// PCI functions, as devices and as they are told to firmware.
#[derive(Default)]
pub(crate) struct Functions {
    pub(crate) devices: Vec<(Address, Arc<dyn Function>)>,
    pub(crate) told: Vec<PciFunction>,
    pub(crate) boot_order: Vec<PciAddress>,
}

impl Functions {
    pub(crate) fn add(&mut self, at: Address, kind: PciKind, device: Arc<dyn Function>) {
        self.told.push(PciFunction { address: told(at), kind });
        self.devices.push((at, device));
    }

    /// Adds the source of random numbers, which EC2 does not have, at a place of the board's; the network and the
    /// disks where EC2 has them.
    pub(crate) fn add_instance(
        &mut self,
        rng: Address,
        outside: &Outside<'_>,
        lines: &Arc<Lines>,
    ) -> Result<(), MachineError> {
        let wiring = outside.wiring(lines);
        // EDK II uses this and the first disk, and lets go of this one when a kernel is to start.
        let watched = Wiring { stages: Some(Arc::clone(&outside.handle.stages)), ..wiring.clone() };
        let device = Transport::new("rng", rng, Box::new(Rng), watched.clone())
            .map_err(|cause| MachineError::Call { what: "making the random number device", cause })?;
        self.add(rng, PciKind::Other, device);
        if let Some(Network { mac, link }) = &outside.spec.network {
            let net = Net::new(*mac, Arc::clone(link))
                .and_then(|net| Transport::new("net", NETWORK, Box::new(net), wiring.clone()))
                .map_err(|cause| MachineError::Call { what: "making the network card", cause })?;
            self.add(NETWORK, PciKind::Network, net);
        }
        let slots = disks::slots(&outside.spec.disks).unwrap_or_default();
        for (number, (slot, disk)) in slots.into_iter().zip(&outside.spec.disks).enumerate() {
            let at = Address { slot, function: 0 };
            let wiring = if number == 0 { &watched } else { &wiring };
            let (kind, function) = disks::function(number, at, disk, wiring.clone())
                .map_err(|cause| MachineError::Call { what: "making a disk", cause })?;
            self.add(at, kind, function);
            if number == 0 && !outside.first.has_boot_order() {
                self.boot_order.push(told(at));
            }
        }
        Ok(())
    }
}

/// As firmware and tables have it.
fn told(Address { slot, function }: Address) -> PciAddress {
    PciAddress { slot, function }
}
